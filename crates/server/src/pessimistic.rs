//! What pessimistic transactions need of a node: the detector of deadlocks, the way to that of another store, and
//! their settings.
//!
//! Without replication a store holds every region, the one with the empty key as well: it finds all deadlocks itself.

use std::sync::Arc;

use api_version::KvFormat;
use engine_traits::KvEngine;
use futures::FutureExt as _;
use grpcio::{ChannelBuilder, Environment};
use kv::LocalEngine;
use kv::in_memory_locks::LockTableLimits;
use kvproto::deadlock::create_deadlock;
use lock_manager::{Detector, DetectorLimits, Role};
use online_config::ReadableSize;
use pd_client::PdClient;
use runtime::Runtime;
use security::Security;
use service::{DeadlockPeers, DeadlockService, FindLeader, OpenChannel};
use storage::Storage;

use crate::builder::ServiceFactory;

/// Waits that may stand in the queue to another store's detector. It takes them faster than requests come; those
/// that find no room are not looked at.
const QUEUED_MAX: usize = 4096;

/// Makes the detector of a node.
pub(crate) fn detector(
    config: &lock_manager::Config,
    pd: Arc<dyn PdClient>,
    security: Security,
    env: Arc<Environment>,
    runtime: &Runtime,
) -> Detector {
    let limits = DetectorLimits {
        wait_ttl: config.wait_for_lock_timeout.0,
        max_graph_bytes: bytes(config.wait_memory_limit),
        max_queued: QUEUED_MAX,
    };
    let find_leader: FindLeader = Arc::new(move || {
        let pd = pd.clone();
        async move { first_region_leader(pd.as_ref()).await }.boxed()
    });
    let open_channel: OpenChannel =
        Arc::new(move |address| security.channel(ChannelBuilder::new(env.clone()), address));
    let peers = Arc::new(DeadlockPeers::new(find_leader, open_channel));
    Detector::new(Role::Leader, limits, peers, runtime)
}

/// The address of the store that leads the region with the empty key.
async fn first_region_leader(pd: &dyn PdClient) -> Result<String, String> {
    let region = pd.get_region(Vec::new()).await;
    let region = region.map_err(|error| error.to_string())?;
    let leader = region.and_then(|region| region.leader);
    let leader = leader.ok_or_else(|| "nobody leads the first region".to_owned())?;
    let store = pd.get_store(leader.get_store_id()).await;
    let (mut store, _) = store.map_err(|error| error.to_string())?;
    Ok(store.take_address())
}

/// The service that other stores ask.
pub(crate) fn service(detector: &Detector) -> ServiceFactory {
    let detector = detector.clone();
    Box::new(move || create_deadlock(DeadlockService::new(detector.clone())))
}

/// Lets the settings take effect.
pub(crate) fn apply<E: KvEngine, F: KvFormat>(
    config: &lock_manager::Config,
    storage: &Storage<LocalEngine<E>, Detector, F>,
    detector: &Detector,
) {
    detector.set_wait_ttl(config.wait_for_lock_timeout.0);
    storage.engine().set_memory_lock_limits(LockTableLimits {
        region_bytes: bytes(config.in_memory_peer_size_limit),
        store_bytes: bytes(config.in_memory_instance_size_limit),
    });
    storage.set_pessimistic_txn(config);
}

fn bytes(size: ReadableSize) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}
