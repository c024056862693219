//! etcd as Debian ships it: one member, its own data directory, everything else as it comes.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use grpcio::{CallOption, Environment};
use integration_tests::{Process, free_address};
use kvproto::etcdserverpb::{KvClient, PutRequest};
use tempfile::TempDir;

use super::keyspace::{KEYS, key};
use super::ready::ready;
use crate::client::{CONNECTIONS, Connections};
use crate::random::Random;

/// A member of a cluster of one starts within a second or two.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// A running etcd. Dropping it kills it and removes its data.
pub(crate) struct Etcd {
    process: Process,
    _home: TempDir,
    pub(crate) connections: Connections,
}

impl Etcd {
    pub(crate) fn start(program: &Path, env: &Arc<Environment>) -> anyhow::Result<Etcd> {
        let home = TempDir::with_prefix("bench-etcd-").context("create a directory")?;
        let client = free_address();
        let peer = format!("http://{}", free_address());
        let url = format!("http://{client}");
        let data = home.path().join("data");
        fs::create_dir(&data)?;
        let arguments = [
            ("--name", "bench".to_owned()),
            ("--data-dir", data.display().to_string()),
            ("--listen-client-urls", url.clone()),
            ("--advertise-client-urls", url),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer.clone()),
            ("--initial-cluster", format!("bench={peer}")),
            // The default bound of its file would end a long run.
            ("--quota-backend-bytes", (8u64 << 30).to_string()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect::<Vec<_>>();
        let log = home.path().join("etcd.log");
        let mut process = Process::spawn("etcd", program, &arguments, &log)?;
        let connections = Connections::open(env, &client.to_string(), CONNECTIONS);
        let client = KvClient::new(connections.channel(0));
        ready("etcd", &mut process, START_PATIENCE, || {
            let brief = CallOption::default().timeout(Duration::from_secs(1));
            Ok(client.put_opt(&put(&mut Random::new(0)), brief)?)
        })?;
        Ok(Etcd {
            process,
            _home: home,
            connections,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// A write of the size of ours.
pub(crate) fn put(random: &mut Random) -> PutRequest {
    let mut request = PutRequest::default();
    request.set_key(key(b'p', random.below(KEYS)));
    request.set_value(random.bytes(super::VALUE_BYTES));
    request
}
