//! Redis as Debian ships it: no snapshots; the log of writes synced always, or none.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use integration_tests::{Process, free_address};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::keyspace::{KEYS, VALUE_BYTES, key};
use super::ready::ready;
use crate::load;
use crate::random::Random;

const START_PATIENCE: Duration = Duration::from_secs(10);

/// What Redis promises about a write that it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fsync {
    /// It is on the disk.
    Always,
    /// Nothing: data are in memory only.
    Never,
}

/// A running Redis. Dropping it kills it and removes its data.
pub(crate) struct Redis {
    process: Process,
    _home: TempDir,
    address: SocketAddr,
}

impl Redis {
    /// Starts one with all keys in it.
    pub(crate) fn start(program: &Path, fsync: Fsync, tokio: &Runtime) -> anyhow::Result<Redis> {
        let home = TempDir::with_prefix("bench-redis-").context("create a directory")?;
        let address = free_address();
        let log_writes = match fsync {
            Fsync::Always => "yes",
            Fsync::Never => "no",
        };
        let arguments = [
            ("--port", address.port().to_string()),
            ("--bind", address.ip().to_string()),
            ("--dir", home.path().display().to_string()),
            ("--daemonize", "no".to_owned()),
            ("--save", String::new()),
            ("--appendonly", log_writes.to_owned()),
            ("--appendfsync", "always".to_owned()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect::<Vec<_>>();
        let log = home.path().join("redis.log");
        let mut process = Process::spawn("redis-server", program, &arguments, &log)?;
        let stream = ready("Redis", &mut process, START_PATIENCE, || {
            Ok(tokio.block_on(TcpStream::connect(address))?)
        })?;
        tokio.block_on(fill(&stream)).context("fill Redis")?;
        Ok(Redis {
            process,
            _home: home,
            address,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Writes all keys, a thousand a message.
async fn fill(stream: &TcpStream) -> anyhow::Result<()> {
    const BATCH: u64 = 1000;
    let mut request = Vec::new();
    for first in (0..KEYS).step_by(BATCH as usize) {
        request.clear();
        let mut words = vec![b"MSET".to_vec()];
        for number in first..first + BATCH {
            words.push(key(b'r', number));
            words.push(Random::new(number).bytes(VALUE_BYTES));
        }
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        load::encode(&mut request, &words);
        load::exchange(stream, &request, b"+OK\r\n").await?;
    }
    Ok(())
}
