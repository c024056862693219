//! One `tikv-server` with a data directory and addresses of its own.
//!
//! A server is ready when its status server says so; nothing here waits for a length of time. A
//! restart keeps directory and addresses, as an operator's would.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::process::{self, Process};
use crate::{Trust, binaries, http, ports, resources};

/// How long a server may take to become ready before a test gives up. The promise is a second; this
/// is for a machine that is doing much else.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a server may take to stop after SIGTERM.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How often other ports are tried when the first are taken.
const PORT_ATTEMPTS: usize = 5;

/// What a server is started with.
#[derive(Debug, Default)]
pub struct ServerBuilder {
    pd_endpoints: Option<String>,
    config: String,
    arguments: Vec<String>,
    trust: Option<Trust>,
}

impl ServerBuilder {
    /// Uses a placement driver elsewhere instead of the embedded one.
    #[must_use]
    pub fn pd_endpoints(mut self, endpoints: impl Into<String>) -> Self {
        self.pd_endpoints = Some(endpoints.into());
        self
    }

    /// Adds TOML to its configuration file.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// Adds a flag or its value.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Expects its status port to be encrypted.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Starts on an empty data directory and waits until it is ready.
    pub async fn start(self) -> anyhow::Result<TikvServer> {
        let home = TempDir::with_prefix("tikv-test-").context("create a directory")?;
        self.start_in(home).await
    }

    /// Starts on the data that `home` holds: see [`TikvServer::copy_home`].
    pub async fn start_in(self, home: TempDir) -> anyhow::Result<TikvServer> {
        let (process, addresses, ready_after) = launch(&self, home.path(), None).await?;
        Ok(TikvServer {
            builder: self,
            home,
            process,
            addresses,
            ready_after,
        })
    }
}

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    client: SocketAddr,
    status: SocketAddr,
    pd: SocketAddr,
}

impl Addresses {
    fn choose() -> Addresses {
        Addresses {
            client: ports::free_address(),
            status: ports::free_address(),
            pd: ports::free_address(),
        }
    }
}

/// A running `tikv-server`. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct TikvServer {
    // Before `home`: the process must be dead when its directory goes.
    process: Process,
    builder: ServerBuilder,
    home: TempDir,
    addresses: Addresses,
    ready_after: Duration,
}

impl TikvServer {
    /// A server with the embedded placement driver and the default configuration.
    pub async fn start() -> anyhow::Result<TikvServer> {
        TikvServer::builder().start().await
    }

    /// For a server with another configuration.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Where it serves `tikvpb.Tikv`.
    pub fn client_address(&self) -> SocketAddr {
        self.addresses.client
    }

    /// Where it serves HTTP.
    pub fn status_address(&self) -> SocketAddr {
        self.addresses.status
    }

    /// The placement driver's endpoints, as clients take them.
    pub fn pd_endpoints(&self) -> Vec<String> {
        match &self.builder.pd_endpoints {
            Some(endpoints) => endpoints.split(',').map(str::to_owned).collect(),
            None => vec![self.addresses.pd.to_string()],
        }
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        data_dir(self.home.path())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The time from the last start of the process until `/ready` said yes.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Memory that it occupies now.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        resources::resident_bytes(self.process.pid())
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        config_file(self.home.path())
    }

    /// Waits until it has given back what is more than this; fails when it does not within half a minute.
    pub async fn until_resident_below(&self, bytes_max: u64) -> anyhow::Result<()> {
        resources::until_resident_below(self.process.pid(), bytes_max).await
    }

    /// The most memory that it has occupied since its start.
    pub fn peak_resident_bytes(&self) -> anyhow::Result<u64> {
        resources::peak_resident_bytes(self.process.pid())
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// Fails when the server ended or complained.
    pub fn check_healthy(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.process.exit_status()? {
            bail!(
                "tikv-server ended with {}:\n{}",
                process::describe(status),
                self.log_tail()
            );
        }
        let complaints = self.process.complaints();
        ensure!(
            complaints.is_empty(),
            "tikv-server complained:\n{}",
            complaints.join("\n")
        );
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        self.process.terminate()
    }

    /// Waits for the process to end by itself.
    pub async fn wait(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        self.process.wait(patience).await
    }

    /// SIGTERM; expects a clean end within seconds and a log without complaints.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.check_healthy()?;
        self.terminate()?;
        let status = self.wait(STOP_PATIENCE).await?;
        ensure!(
            status.success(),
            "tikv-server ended with {}",
            process::describe(status)
        );
        let complaints = self.process.complaints();
        ensure!(
            complaints.is_empty(),
            "tikv-server complained:\n{}",
            complaints.join("\n")
        );
        Ok(())
    }

    /// Starts it again after [`TikvServer::kill`] or [`TikvServer::stop`], on the same data.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        ensure!(
            self.process.exit_status()?.is_some(),
            "tikv-server is still running"
        );
        let (process, addresses, ready_after) =
            launch(&self.builder, self.home.path(), Some(self.addresses)).await?;
        self.process = process;
        self.addresses = addresses;
        self.ready_after = ready_after;
        Ok(())
    }

    /// Its data as they are on disk now, in a directory of their own. Meant for a stopped server.
    pub fn copy_home(&self) -> anyhow::Result<TempDir> {
        let copy = TempDir::with_prefix("tikv-test-").context("create a directory")?;
        copy_directory(&self.data_dir(), &data_dir(copy.path()))?;
        Ok(copy)
    }
}

impl Drop for TikvServer {
    fn drop(&mut self) {
        process::keep_if_failing(&mut self.home);
    }
}

pub(crate) fn data_dir(home: &Path) -> PathBuf {
    home.join("data")
}

fn config_file(home: &Path) -> PathBuf {
    home.join("config.toml")
}

fn copy_directory(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Starts a process until its ports were free, then waits until it is ready.
async fn launch(
    builder: &ServerBuilder,
    home: &Path,
    previous: Option<Addresses>,
) -> anyhow::Result<(Process, Addresses, Duration)> {
    let binary = binaries::tikv_server()?;
    let mut addresses = previous.unwrap_or_else(Addresses::choose);
    for _ in 0..PORT_ATTEMPTS {
        // A server may have written changes into its file: a restart keeps them.
        if previous.is_none() {
            let written = std::fs::write(config_file(home), &builder.config);
            written.context("write the configuration")?;
        }
        let arguments = arguments(builder, home, &addresses);
        let mut process =
            Process::spawn("tikv-server", &binary, &arguments, &home.join("server.log"))?;
        match until_ready(
            &mut process,
            addresses.status,
            "/ready",
            builder.trust.as_ref(),
        )
        .await?
        {
            Some(ready_after) => return Ok((process, addresses, ready_after)),
            None => addresses = Addresses::choose(),
        }
    }
    bail!("no free ports in {PORT_ATTEMPTS} attempts")
}

/// Waits until `path` answers 200. `None` when the process ended because an address was taken.
pub(crate) async fn until_ready(
    process: &mut Process,
    status: SocketAddr,
    path: &str,
    trust: Option<&Trust>,
) -> anyhow::Result<Option<Duration>> {
    let started = process.started();
    let mut ticks = process::ticks();
    loop {
        if let Some(end) = process.exit_status()? {
            let tail = process.log_tail();
            if tail.to_lowercase().contains("in use") {
                return Ok(None);
            }
            bail!(
                "the server ended with {} before it was ready:\n{tail}",
                process::describe(end)
            );
        }
        let answer = match trust {
            None => http::get(status, path).await,
            Some(trust) => trust.get(status, path).await,
        };
        match answer {
            Ok(answer) if answer.status == 200 => return Ok(Some(started.elapsed())),
            // Nobody listens yet, or it listens and is not ready.
            _ => {}
        }
        if Instant::now() >= started + START_PATIENCE {
            bail!(
                "not ready after {START_PATIENCE:?}:\n{}",
                process.log_tail()
            );
        }
        ticks.tick().await;
    }
}

fn arguments(builder: &ServerBuilder, home: &Path, addresses: &Addresses) -> Vec<String> {
    let mut arguments: Vec<String> = [
        ("--config", config_file(home).display().to_string()),
        ("--data-dir", data_dir(home).display().to_string()),
        ("--addr", addresses.client.to_string()),
        ("--status-addr", addresses.status.to_string()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect();
    match &builder.pd_endpoints {
        Some(endpoints) => arguments.extend(["--pd-endpoints".to_owned(), endpoints.clone()]),
        None => arguments.extend(["--pd-addr".to_owned(), addresses.pd.to_string()]),
    }
    arguments.extend(builder.arguments.iter().cloned());
    arguments
}
