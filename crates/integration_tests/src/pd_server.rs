//! One `pd-server` with a data directory and an address of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::process::{self, Process};
use crate::{binaries, ports, resources};

const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const PORT_ATTEMPTS: usize = 5;

/// A running `pd-server`. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct PdServer {
    // Before `home`: the process must be dead when its directory goes.
    process: Process,
    home: TempDir,
    address: SocketAddr,
    arguments: Vec<String>,
}

impl PdServer {
    /// Starts on an empty data directory and waits until it accepts connections.
    pub async fn start() -> anyhow::Result<PdServer> {
        PdServer::start_with(Vec::new()).await
    }

    /// The same with further flags.
    pub async fn start_with(arguments: Vec<String>) -> anyhow::Result<PdServer> {
        let home = TempDir::with_prefix("pd-test-").context("create a directory")?;
        let (process, address) = launch(home.path(), None, &arguments).await?;
        Ok(PdServer {
            process,
            home,
            address,
            arguments,
        })
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Memory that it occupies now.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        resources::resident_bytes(self.process.pid())
    }

    /// Waits until it has given back what is more than this; fails when it does not within half a minute.
    pub async fn until_resident_below(&self, bytes_max: u64) -> anyhow::Result<()> {
        resources::until_resident_below(self.process.pid(), bytes_max).await
    }

    /// The most memory that it has occupied since its start.
    pub fn peak_resident_bytes(&self) -> anyhow::Result<u64> {
        resources::peak_resident_bytes(self.process.pid())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Starts it again on the same data and address.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        ensure!(
            self.process.exit_status()?.is_some(),
            "pd-server is still running"
        );
        let (process, address) =
            launch(self.home.path(), Some(self.address), &self.arguments).await?;
        ensure!(
            address == self.address,
            "the placement driver's port {} was taken",
            self.address
        );
        self.process = process;
        Ok(())
    }

    /// SIGTERM; expects a clean end within seconds and a log without complaints.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process.terminate()?;
        let status = self.process.wait(STOP_PATIENCE).await?;
        ensure!(
            status.success(),
            "pd-server ended with {}",
            process::describe(status)
        );
        let complaints = self.process.complaints();
        ensure!(
            complaints.is_empty(),
            "pd-server complained:\n{}",
            complaints.join("\n")
        );
        Ok(())
    }
}

impl Drop for PdServer {
    fn drop(&mut self) {
        process::keep_if_failing(&mut self.home);
    }
}

async fn launch(
    home: &Path,
    previous: Option<SocketAddr>,
    further: &[String],
) -> anyhow::Result<(Process, SocketAddr)> {
    let binary = binaries::pd_server()?;
    let mut address = previous.unwrap_or_else(ports::free_address);
    for _ in 0..PORT_ATTEMPTS {
        let data = home.join("data").display().to_string();
        let mut arguments = vec![
            "--data-dir".to_owned(),
            data,
            "--addr".to_owned(),
            address.to_string(),
        ];
        arguments.extend_from_slice(further);
        let mut process =
            Process::spawn("pd-server", &binary, &arguments, &home.join("server.log"))?;
        if until_listening(&mut process, address).await? {
            return Ok((process, address));
        }
        address = ports::free_address();
    }
    bail!("no free port in {PORT_ATTEMPTS} attempts")
}

/// Waits until a connection is accepted. False when the process ended because the port was taken.
async fn until_listening(process: &mut Process, address: SocketAddr) -> anyhow::Result<bool> {
    let mut ticks = process::ticks();
    loop {
        if let Some(end) = process.exit_status()? {
            let tail = process.log_tail();
            if tail.to_lowercase().contains("in use") {
                return Ok(false);
            }
            bail!(
                "pd-server ended with {} before it listened:\n{tail}",
                process::describe(end)
            );
        }
        if TcpStream::connect(address).await.is_ok() {
            return Ok(true);
        }
        if Instant::now() >= process.started() + START_PATIENCE {
            bail!(
                "pd-server does not listen after {START_PATIENCE:?}:\n{}",
                process.log_tail()
            );
        }
        ticks.tick().await;
    }
}
