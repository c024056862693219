//! The placement driver and the stores: what the published client does not show.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use grpcio::{CallOption, ChannelBuilder, EnvBuilder, Environment};
use kvproto::deadlock::WaitForEntry;
use kvproto::kvrpcpb::{
    self, Context, GetLockWaitInfoRequest, LockInfo, MvccGetByKeyRequest, MvccInfo, ScanLockRequest,
};
use kvproto::metapb;
use kvproto::tikvpb::TikvClient;
use pd_client::{PdClient as _, RegionWithLeader, RpcClient};
use runtime::Runtime;
use security::Security;
use txn_types::{Key, TimeStamp};

use crate::flags::Target;

/// How often a request goes out again after the region moved.
pub(crate) const ATTEMPTS: usize = 3;

/// A connection to the placement driver, and what it takes to reach stores.
pub(crate) struct Cluster {
    pd: RpcClient,
    env: Arc<Environment>,
    security: Security,
    timeout: Duration,
    /// Drives the timers of `pd`.
    _runtime: Runtime,
}

impl Cluster {
    pub(crate) async fn connect(target: &Target) -> anyhow::Result<Cluster> {
        let runtime = Runtime::system("ctl", 1).context("cannot start a thread")?;
        let env = Arc::new(EnvBuilder::new().name_prefix("ctl").cq_count(1).build());
        let security = Security::new(&certificates(target))?;
        let config = pd_client::Config {
            request_timeout: target.timeout.0,
            connect_timeout: target.timeout.0,
            ..pd_client::Config::new(target.pd.clone())
        };
        let pd = RpcClient::connect(config, security.clone(), env.clone(), &runtime);
        let pd = pd.await.with_context(|| {
            let pd = target.pd.join(",");
            format!("cannot reach a placement driver at {pd}; --pd names it")
        })?;
        Ok(Cluster {
            pd,
            env,
            security,
            timeout: target.timeout.0,
            _runtime: runtime,
        })
    }

    /// The stores that are not buried, in the order of their ids.
    pub(crate) async fn stores(&self) -> anyhow::Result<Vec<metapb::Store>> {
        let mut stores = self.pd.get_all_stores(true).await?;
        stores.sort_by_key(metapb::Store::get_id);
        Ok(stores)
    }

    /// What a store last said of itself.
    pub(crate) async fn store(
        &self,
        id: u64,
    ) -> anyhow::Result<(metapb::Store, kvproto::pdpb::StoreStats)> {
        let found = self.pd.get_store(id).await;
        found.with_context(|| format!("store {id}"))
    }

    /// The status address of the only store there is.
    pub(crate) async fn only_status_address(&self) -> anyhow::Result<String> {
        let stores = self.stores().await?;
        let addresses: Vec<_> = stores
            .iter()
            .map(metapb::Store::get_status_address)
            .filter(|address| !address.is_empty())
            .collect();
        match addresses[..] {
            [address] => Ok(address.to_owned()),
            [] => bail!("no store has told a status address; --status-addr names one"),
            _ => bail!(
                "the cluster has several stores: choose one with --status-addr from {}",
                addresses.join(", ")
            ),
        }
    }

    /// The region that holds `key`, which is in the form of region boundaries.
    pub(crate) async fn region_of(&self, key: &[u8]) -> anyhow::Result<RegionWithLeader> {
        let region = self.pd.get_region(key.to_vec()).await?;
        region.context("the placement driver knows no region for this key")
    }

    /// Everything that is stored about `key`, which is as clients see it.
    pub(crate) async fn versions(&self, key: &[u8]) -> anyhow::Result<MvccInfo> {
        let place = Key::from_raw(key);
        let mut refusal = String::new();
        for _ in 0..ATTEMPTS {
            let region = self.region_of(place.as_encoded()).await?;
            let (client, context) = self.leader(&region).await?;
            let mut request = MvccGetByKeyRequest::default();
            request.set_context(context);
            request.set_key(key.to_vec());
            let options = self.call_options();
            let mut answer = client.mvcc_get_by_key_async_opt(&request, options)?.await?;
            if answer.has_region_error() {
                refusal = answer.take_region_error().take_message();
                continue;
            }
            if !answer.get_error().is_empty() {
                return Err(anyhow!(answer.take_error()));
            }
            return Ok(answer.take_info());
        }
        Err(anyhow!("the region keeps moving: {refusal}"))
    }

    /// The moment, as the placement driver counts it.
    pub(crate) async fn now(&self) -> anyhow::Result<TimeStamp> {
        Ok(self.pd.get_tso(1).await?)
    }

    /// Locks of transactions that began at `max_ts` or before, from `start` to the end of its region or to `end`, but no
    /// more than `limit`. Tells also where the next ones may be; nothing when these are all.
    pub(crate) async fn locks(
        &self,
        (start, end): (&[u8], Option<&[u8]>),
        max_ts: TimeStamp,
        limit: u32,
    ) -> anyhow::Result<(Vec<LockInfo>, Option<Vec<u8>>)> {
        let place = Key::from_raw(start);
        let mut refusal = String::new();
        for _ in 0..ATTEMPTS {
            let region = self.region_of(place.as_encoded()).await?;
            let behind = match region.region.get_end_key() {
                [] => None,
                key => Some(Key::from_encoded_slice(key).to_raw()?),
            };
            let last = behind
                .as_deref()
                .is_none_or(|behind| end.is_some_and(|end| end <= behind));
            let stop = if last { end } else { behind.as_deref() };
            let (client, context) = self.leader(&region).await?;
            let mut request = ScanLockRequest::default();
            request.set_context(context);
            request.set_max_version(max_ts.into_inner());
            request.set_start_key(start.to_vec());
            request.set_end_key(stop.unwrap_or_default().to_vec());
            request.set_limit(limit);
            let options = self.call_options();
            let mut answer = client.kv_scan_lock_async_opt(&request, options)?.await?;
            if answer.has_region_error() {
                refusal = answer.take_region_error().take_message();
                continue;
            }
            if answer.get_error().has_locked() {
                // On its way to the engine: it will be found in a moment, or it is what stands in the way.
                let lock = answer.take_error().take_locked();
                if lock.get_key() == start {
                    let next = [start, b"\0"].concat();
                    return Ok((vec![lock], Some(next)));
                }
                refusal = "locks are being written".to_owned();
                continue;
            }
            if answer.has_error() {
                return Err(anyhow!("{:?}", answer.get_error()));
            }
            let locks = answer.take_locks().into_vec();
            let next = match locks.last() {
                Some(lock) if locks.len() >= limit as usize => {
                    Some([lock.get_key(), b"\0"].concat())
                }
                _ if last => None,
                _ => behind,
            };
            return Ok((locks, next));
        }
        Err(anyhow!("no answer from the region: {refusal}"))
    }

    /// The lock on `key` at `now`.
    pub(crate) async fn lock(
        &self,
        key: &[u8],
        now: TimeStamp,
    ) -> anyhow::Result<Option<LockInfo>> {
        let end = [key, b"\0"].concat();
        let (locks, _) = self.locks((key, Some(&end)), now, 1).await?;
        Ok(locks.into_iter().next())
    }

    /// Who waits for a lock on the store that leads the region of `key`; nothing when it cannot tell.
    pub(crate) async fn lock_waits(&self, key: &[u8]) -> anyhow::Result<Option<Vec<WaitForEntry>>> {
        let region = self.region_of(Key::from_raw(key).as_encoded()).await?;
        let (client, context) = self.leader(&region).await?;
        let mut request = GetLockWaitInfoRequest::default();
        request.set_context(context);
        let options = self.call_options();
        let asked = client.get_lock_wait_info_async_opt(&request, options)?;
        match asked.await {
            Ok(mut answer) if !answer.has_region_error() && answer.get_error().is_empty() => {
                Ok(Some(answer.take_entries().into_vec()))
            }
            Ok(_) => Ok(None),
            Err(grpcio::Error::RpcFailure(status))
                if status.code() == grpcio::RpcStatusCode::UNIMPLEMENTED =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The region in front of the one that holds `key`.
    pub(crate) async fn region_before(&self, key: &[u8]) -> anyhow::Result<RegionWithLeader> {
        let region = self.pd.get_prev_region(key.to_vec()).await?;
        region.context("the placement driver knows no region in front of this key")
    }

    /// The number of a keyspace.
    pub(crate) async fn keyspace_id(&self, name: &str) -> anyhow::Result<u32> {
        let keyspace = self.pd.load_keyspace(name).await;
        Ok(keyspace
            .with_context(|| format!("keyspace {name}"))?
            .get_id())
    }

    /// How long a request may take.
    pub(crate) fn call_options(&self) -> CallOption {
        CallOption::default().timeout(self.timeout)
    }

    /// The store that leads a region, and the envelope of a request to it.
    pub(crate) async fn leader(
        &self,
        region: &RegionWithLeader,
    ) -> anyhow::Result<(TikvClient, Context)> {
        let leader = region.leader.as_ref();
        let leader = leader.or_else(|| region.region.get_peers().first());
        let peer = leader.context("a region without peers")?;
        let (store, _) = self.store(peer.get_store_id()).await?;
        let builder = ChannelBuilder::new(self.env.clone());
        let channel = self.security.channel(builder, store.get_address());
        let mut context = Context::default();
        context.set_region_id(region.region.get_id());
        context.set_region_epoch(region.region.get_region_epoch().clone());
        context.set_peer(peer.clone());
        context.set_priority(kvrpcpb::CommandPri::High);
        Ok((TikvClient::new(channel), context))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.pd.close();
    }
}

fn certificates(target: &Target) -> security::Config {
    let text = |path: &Option<std::path::PathBuf>| {
        path.as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default()
    };
    security::Config {
        ca_path: text(&target.ca_path),
        cert_path: text(&target.cert_path),
        key_path: text(&target.key_path),
        ..security::Config::default()
    }
}
