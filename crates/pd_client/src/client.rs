//! The calls a store makes, as a trait: the gRPC client implements it, and tests and the simulator
//! give their own.
//!
//! Keys are region keys, that is, in the memcomparable encoding of region boundaries.

use std::sync::Arc;

use kvproto::{keyspacepb, metapb, pdpb, replication_modepb};
use txn_types::TimeStamp;

use crate::Result;

/// A boxed future that owns all it needs.
pub type BoxFuture<T> = futures::future::BoxFuture<'static, T>;

/// Called with each order that arrives for a region. It runs on the client's task: hand over, do
/// not work.
pub type RegionHeartbeatHandler = Arc<dyn Fn(pdpb::RegionHeartbeatResponse) + Send + Sync>;

/// Called after the client found a leader anew.
pub type ReconnectHandler = Arc<dyn Fn() + Send + Sync>;

/// A region and its leader, where one is known.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RegionWithLeader {
    /// The region as it was last reported.
    pub region: metapb::Region,
    /// Its leader.
    pub leader: Option<metapb::Peer>,
}

/// A placement driver, seen from a store.
pub trait PdClient: Send + Sync + 'static {
    /// The cluster this client belongs to; never 0.
    fn cluster_id(&self) -> u64;

    /// Whether a first region exists.
    fn is_bootstrapped(&self) -> BoxFuture<Result<bool>>;

    /// Creates the first region on the first store. [`Error::AlreadyBootstrapped`] when somebody
    /// was faster.
    ///
    /// [`Error::AlreadyBootstrapped`]: crate::Error::AlreadyBootstrapped
    fn bootstrap_cluster(
        &self,
        store: metapb::Store,
        region: metapb::Region,
    ) -> BoxFuture<Result<replication_modepb::ReplicationStatus>>;

    /// Reserves `count` (at least 1) ids. The answer is the last of them; they are contiguous.
    fn alloc_id(&self, count: u32) -> BoxFuture<Result<u64>>;

    /// Whether the cluster is being restored from a snapshot.
    fn is_snapshot_recovering(&self) -> BoxFuture<Result<bool>>;

    /// Registers a store or changes what is known of it.
    fn put_store(
        &self,
        store: metapb::Store,
    ) -> BoxFuture<Result<replication_modepb::ReplicationStatus>>;

    /// A store and its last figures. Removed stores are answered too.
    fn get_store(&self, store_id: u64) -> BoxFuture<Result<(metapb::Store, pdpb::StoreStats)>>;

    /// Every store, in no order.
    fn get_all_stores(&self, exclude_tombstone: bool) -> BoxFuture<Result<Vec<metapb::Store>>>;

    /// Reports a store's figures.
    fn store_heartbeat(
        &self,
        stats: pdpb::StoreStats,
    ) -> BoxFuture<Result<pdpb::StoreHeartbeatResponse>>;

    /// Reports a region that this store leads. The newest report of each region is kept and sent
    /// again after a reconnection. It never waits; the header is filled in by the client.
    fn region_heartbeat(&self, heartbeat: pdpb::RegionHeartbeatRequest) -> Result<()>;

    /// Stops sending reports of a region again: this store leads it no more.
    fn forget_region(&self, region_id: u64);

    /// Sets who receives the orders that come back. Orders that come before are dropped: they are
    /// repeated.
    fn handle_region_heartbeat_response(&self, handler: RegionHeartbeatHandler);

    /// Sets who is told of a reconnection.
    fn handle_reconnect(&self, handler: ReconnectHandler);

    /// Reports the buckets of a region.
    fn report_buckets(&self, epoch: metapb::RegionEpoch, buckets: metapb::Buckets) -> Result<()>;

    /// Reserves `count` (at least 1) timestamps. The answer is the highest of them; they are
    /// contiguous.
    fn get_tso(&self, count: u32) -> BoxFuture<Result<TimeStamp>>;

    /// The region that holds this key, if any is known.
    fn get_region(&self, key: Vec<u8>) -> BoxFuture<Result<Option<RegionWithLeader>>>;

    /// The region to the left of the one that holds this key.
    fn get_prev_region(&self, key: Vec<u8>) -> BoxFuture<Result<Option<RegionWithLeader>>>;

    /// The region of this id.
    fn get_region_by_id(&self, region_id: u64) -> BoxFuture<Result<Option<RegionWithLeader>>>;

    /// The regions that overlap `[start, end)` in key order, at most `limit` when it is above 0.
    /// An empty `end` is unbounded.
    fn scan_regions(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: i32,
    ) -> BoxFuture<Result<Vec<RegionWithLeader>>>;

    /// Ids for the regions and peers that a split of `region` will create.
    fn ask_batch_split(
        &self,
        region: metapb::Region,
        split_count: u32,
        reason: pdpb::SplitReason,
    ) -> BoxFuture<Result<Vec<pdpb::SplitID>>>;

    /// Tells of a split that has happened: the regions from left to right.
    fn report_batch_split(&self, regions: Vec<metapb::Region>) -> BoxFuture<Result<()>>;

    /// Below this timestamp only the newest version of a key must be kept.
    fn get_gc_safe_point(&self) -> BoxFuture<Result<TimeStamp>>;

    /// Moves the safe point forward; the answer is the one in force.
    fn update_gc_safe_point(&self, safe_point: TimeStamp) -> BoxFuture<Result<TimeStamp>>;

    /// Reports that everything up to this timestamp is resolved on this store.
    fn report_min_resolved_ts(
        &self,
        store_id: u64,
        min_resolved_ts: TimeStamp,
    ) -> BoxFuture<Result<()>>;

    /// The keyspace of this name.
    fn load_keyspace(&self, name: &str) -> BoxFuture<Result<keyspacepb::KeyspaceMeta>>;
}
