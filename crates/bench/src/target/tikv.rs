//! Our server: a process with the default configuration, loaded with data, and connections to it.
//!
//! Old versions are kept for a day: its clients count their timestamps up from the first one, which would lie below
//! the safe point of garbage collection after ten minutes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::executor::block_on;
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{Environment, WriteFlags};
use integration_tests::TikvServer;
use kvproto::kvrpcpb::PrewriteRequest;
use kvproto::pdpb;
use kvproto::tikvpb::TikvClient;
use tokio::runtime::Runtime;
use txn_types::TimeStamp;

use super::keyspace::{KEYS, Keyspace, VALUE_BYTES, key};
use crate::client::{CONNECTIONS, Connections, connect};
use crate::random::Random;

/// Keys of one request while loading.
const LOAD_BATCH: u64 = 1000;
/// All that differs from the default configuration.
const CONFIG: &str = "[pd.embedded]\ngc-life-time = \"1d\"";
/// Values of every other key of [`Tikv::write_version`]: too long to stand in the record.
const LONG_VALUE_BYTES: usize = 1024;

/// A server that serves, with data.
pub(crate) struct Tikv {
    server: TikvServer,
    pub(crate) connections: Connections,
    /// To its placement driver.
    pub(crate) pd: Connections,
    pub(crate) cluster_id: u64,
    pub(crate) keyspace: Keyspace,
}

impl Tikv {
    /// Starts one without data.
    pub(crate) fn start(tokio: &Runtime, env: &Arc<Environment>) -> anyhow::Result<Tikv> {
        Tikv::start_with(tokio, env, CONFIG)
    }

    /// Starts one without data, with this configuration.
    pub(crate) fn start_with(
        tokio: &Runtime,
        env: &Arc<Environment>,
        config: &str,
    ) -> anyhow::Result<Tikv> {
        let builder = TikvServer::builder().config(config);
        Tikv::over(tokio.block_on(builder.start())?, env)
    }

    /// Starts one, writes all keys, and starts it again, so that the data stand in table files as
    /// they do in a server that has run for a while.
    pub(crate) fn start_loaded(tokio: &Runtime, env: &Arc<Environment>) -> anyhow::Result<Tikv> {
        let tikv = Tikv::start(tokio, env)?;
        let client = TikvClient::new(tikv.connections.channel(0));
        load(&client, &tikv.keyspace).context("load the data")?;
        drop(client);
        tikv.restarted(tokio, env)
    }

    /// Stops it and starts it again on its data.
    pub(crate) fn restarted(self, tokio: &Runtime, env: &Arc<Environment>) -> anyhow::Result<Tikv> {
        let Tikv {
            mut server,
            connections,
            ..
        } = self;
        drop(connections);
        tokio.block_on(async {
            server.stop().await?;
            server.restart().await
        })?;
        Tikv::over(server, env)
    }

    /// Writes a version of the keys `g` below `keys`, `batch` at a time. The values of every other key are long, and
    /// none compresses.
    pub(crate) fn write_version(&self, version: u64, keys: u64, batch: u64) -> anyhow::Result<()> {
        let client = TikvClient::new(self.connections.channel(0));
        for first in (0..keys).step_by(batch as usize) {
            let numbers = first..first + batch;
            let keys: Vec<_> = numbers.clone().map(|number| key(b'g', number)).collect();
            let start_ts = self.keyspace.timestamp();
            let mut prewrite = self.keyspace.prewrite(keys.clone(), start_ts);
            for (mutation, number) in prewrite.mut_mutations().iter_mut().zip(numbers) {
                let bytes = if number % 2 == 0 {
                    VALUE_BYTES
                } else {
                    LONG_VALUE_BYTES
                };
                let mut random = Random::new((version << 32) + number);
                mutation.set_value(random.bytes(bytes));
            }
            write(&client, &self.keyspace, &prewrite, keys)?;
        }
        Ok(())
    }

    /// Bytes of the table files of its engine.
    pub(crate) fn table_bytes(&self) -> anyhow::Result<u64> {
        let mut bytes = 0;
        let folder = self.server.data_dir().join("db");
        for entry in std::fs::read_dir(&folder).context("list the table files")? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "sst") {
                bytes += integration_tests::allocated_bytes(&path)?;
            }
        }
        Ok(bytes)
    }

    /// Versions that walks of garbage collection have removed.
    pub(crate) fn removed_versions(&self, tokio: &Runtime) -> anyhow::Result<u64> {
        self.metric(tokio, "tikv_gc_versions_total{type=\"removed\"}")
    }

    /// Lets the placement driver give out a safe point at which everything that was written so far is old.
    pub(crate) fn move_safe_point(&self) -> anyhow::Result<()> {
        let client = pdpb::PdClient::new(self.pd.channel(0));
        let now = block_on(timestamp(&client, self.cluster_id))?.into_inner();
        let mut request = pdpb::UpdateGCSafePointRequest::default();
        request.mut_header().set_cluster_id(self.cluster_id);
        request.set_safe_point(now);
        let answer = client.update_gc_safe_point(&request)?;
        ensure!(
            answer.get_new_safe_point() == now,
            "the safe point stays: {answer:?}"
        );
        Ok(())
    }

    fn over(server: TikvServer, env: &Arc<Environment>) -> anyhow::Result<Tikv> {
        let endpoints = server.pd_endpoints();
        let endpoint = endpoints.first().context("a server without a PD")?;
        let pd = Connections::open(env, endpoint, CONNECTIONS);
        let client = pdpb::PdClient::new(pd.channel(0));
        let members = client
            .get_members(&pdpb::GetMembersRequest::default())
            .context("GetMembers")?;
        let cluster_id = members.get_header().get_cluster_id();
        let mut request = pdpb::GetRegionRequest::default();
        request.mut_header().set_cluster_id(cluster_id);
        let mut region = client.get_region(&request).context("GetRegion")?;
        ensure!(region.has_region(), "the placement driver knows no region");
        let peer = region.take_leader();
        let now = block_on(timestamp(&client, cluster_id))?;
        let address = server.client_address().to_string();
        Ok(Tikv {
            keyspace: Keyspace::new(region.get_region(), peer, now.into_inner()),
            connections: Connections::open(env, &address, CONNECTIONS),
            server,
            pd,
            cluster_id,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.client_address()
    }

    pub(crate) fn ready_after(&self) -> Duration {
        self.server.ready_after()
    }

    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.server.resident_bytes()
    }

    /// Opens another connection and makes sure that it is there.
    pub(crate) fn connection(&self, env: &Arc<Environment>) -> anyhow::Result<grpcio::Channel> {
        let channel = connect(env, &self.address().to_string());
        let health = kvproto::healthpb::HealthClient::new(channel.clone());
        health.check(&kvproto::healthpb::HealthCheckRequest::default())?;
        Ok(channel)
    }

    /// How often the server has brought its log to the disk for clients' writes.
    pub(crate) fn log_syncs(&self, tokio: &Runtime) -> anyhow::Result<u64> {
        self.metric(tokio, "tikv_engine_wal_file_synced{db=\"kv\"}")
    }

    /// How many RawPuts it has answered.
    pub(crate) fn raw_puts(&self, tokio: &Runtime) -> anyhow::Result<u64> {
        self.metric(
            tokio,
            "tikv_grpc_msg_duration_seconds_count{type=\"raw_put\"}",
        )
    }

    fn metric(&self, tokio: &Runtime, series: &str) -> anyhow::Result<u64> {
        let address = self.server.status_address();
        let metrics = tokio.block_on(integration_tests::get(address, "/metrics"))?;
        metric(&metrics.body, series)
    }
}

/// The value of a series in a text of Prometheus. One that was never counted is not there.
fn metric(text: &str, series: &str) -> anyhow::Result<u64> {
    let found = text.lines().find_map(|line| line.strip_prefix(series));
    let Some(value) = found else { return Ok(0) };
    let value: f64 = value.trim().parse().context("a metric that is no number")?;
    Ok(value as u64)
}

async fn timestamp(client: &pdpb::PdClient, cluster_id: u64) -> anyhow::Result<TimeStamp> {
    let (mut sink, mut answers) = client.tso()?;
    let mut request = pdpb::TsoRequest::default();
    request.mut_header().set_cluster_id(cluster_id);
    request.set_count(1);
    let sent = sink.send((request, WriteFlags::default())).await;
    sent.context("ask for a timestamp")?;
    let answer = answers.next().await.context("no timestamp")?;
    let answer = answer.context("wait for a timestamp")?;
    // The server may end the stream first.
    let _ = sink.close().await;
    let physical = u64::try_from(answer.get_timestamp().get_physical())?;
    let logical = u64::try_from(answer.get_timestamp().get_logical())?;
    Ok(TimeStamp::compose(physical, logical))
}

fn load(client: &TikvClient, keyspace: &Keyspace) -> anyhow::Result<()> {
    for first in (0..KEYS).step_by(LOAD_BATCH as usize) {
        let answer = client.raw_batch_put(&keyspace.raw_batch_put(first, LOAD_BATCH))?;
        let refused = answer.has_region_error() || !answer.get_error().is_empty();
        ensure!(!refused, "RawBatchPut: {answer:?}");

        let keys: Vec<_> = (first..first + LOAD_BATCH)
            .map(|number| key(b't', number))
            .collect();
        let prewrite = keyspace.prewrite(keys.clone(), keyspace.timestamp());
        write(client, keyspace, &prewrite, keys)?;
    }
    Ok(())
}

/// A transaction on `keys` from its first phase on.
fn write(
    client: &TikvClient,
    keyspace: &Keyspace,
    prewrite: &PrewriteRequest,
    keys: Vec<Vec<u8>>,
) -> anyhow::Result<()> {
    let answer = client.kv_prewrite(prewrite)?;
    let refused = answer.has_region_error() || !answer.get_errors().is_empty();
    ensure!(!refused, "KvPrewrite: {answer:?}");
    let commit_ts = keyspace.timestamp();
    let commit = keyspace.commit(keys, prewrite.get_start_version(), commit_ts);
    let answer = client.kv_commit(&commit)?;
    let refused = answer.has_region_error() || answer.has_error();
    ensure!(!refused, "KvCommit: {answer:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# HELP a b\na_total 7\na{db=\"kv\"} 12\na{db=\"raft\"} 3\n";
        assert_eq!(metric(text, "a{db=\"kv\"}").unwrap(), 12);
        assert_eq!(metric(text, "b").unwrap(), 0);
        assert!(metric(text, "a{db=").is_err());
    }
}
