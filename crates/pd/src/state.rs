//! The whole metadata of a cluster in memory: plans what requests change, applies changes. No IO.
//!
//! Planning takes `&self`; only [`PdState::apply`] changes anything, and it cannot fail.

mod gc;

use kvproto::metapb::{Cluster, Region, Store};
use kvproto::pdpb::{RegionHeartbeatRequest, SplitID, StoreStats};

pub use gc::Caller;

use crate::change::Change;
use crate::etcd::EtcdState;
use crate::gc::{GcState, Moment};
use crate::ids::IdAllocator;
use crate::keyspaces::{Keyspaces, default_keyspace};
use crate::meta_store::MetaStore;
use crate::regions::{RegionInfo, RegionTree, before_end};
use crate::stores::{Stores, is_removed};
use crate::{Error, Result, version};

/// Replicas that a region gets by default.
const MAX_PEER_COUNT: u32 = 3;
/// Ids that one split may need, for regions and peers together: the answer lists them all.
const SPLIT_IDS_MAX: u32 = 1 << 16;

/// See the module.
#[derive(Debug)]
pub struct PdState {
    cluster: Option<Cluster>,
    ids: IdAllocator,
    stores: Stores,
    regions: RegionTree,
    gc: GcState,
    keyspaces: Keyspaces,
    etcd: EtcdState,
    /// 0 when it was never set.
    external_ts: u64,
}

impl Default for PdState {
    fn default() -> Self {
        PdState {
            cluster: None,
            ids: IdAllocator::new(0),
            stores: Stores::default(),
            regions: RegionTree::default(),
            gc: GcState::default(),
            keyspaces: Keyspaces::default(),
            etcd: EtcdState::default(),
            external_ts: 0,
        }
    }
}

impl PdState {
    /// What the disk holds.
    pub fn load(store: &dyn MetaStore) -> Result<PdState> {
        let mut state = PdState::default();
        for (key, value) in store.scan(b"")? {
            match Change::decode(&key, &value)? {
                // Whatever the last run handed out lies within the window: it is skipped.
                Some(Change::IdWindow(end)) => state.ids = IdAllocator::new(end),
                Some(change) => state.apply(change),
                None => {}
            }
        }
        Ok(state)
    }

    /// Whether there is a first region.
    pub fn is_bootstrapped(&self) -> bool {
        self.cluster.is_some()
    }

    /// Fails before the first region exists.
    pub fn check_bootstrapped(&self) -> Result<()> {
        if self.is_bootstrapped() {
            Ok(())
        } else {
            Err(Error::NotBootstrapped)
        }
    }

    /// The stores.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// The regions.
    pub fn regions(&self) -> &RegionTree {
        &self.regions
    }

    /// The safe points.
    pub fn gc(&self) -> &GcState {
        &self.gc
    }

    /// The keyspaces.
    pub fn keyspaces(&self) -> &Keyspaces {
        &self.keyspaces
    }

    /// The revisioned store.
    pub fn etcd(&self) -> &EtcdState {
        &self.etcd
    }

    /// The revisioned store, for its limits and the beginning of time.
    pub(crate) fn etcd_mut(&mut self) -> &mut EtcdState {
        &mut self.etcd
    }

    /// The timestamp that another cluster goes by; 0 when it was never set.
    pub fn external_ts(&self) -> u64 {
        self.external_ts
    }

    /// The cluster's id and size, once there is a first region.
    pub fn cluster(&self) -> Result<&Cluster> {
        self.cluster.as_ref().ok_or(Error::NotBootstrapped)
    }

    /// Sets how many replicas a region has.
    pub fn plan_put_cluster(&self, cluster: &Cluster) -> Result<Vec<Change>> {
        let mut known = self.cluster()?.clone();
        if cluster.get_id() != known.get_id() {
            return Err(Error::Refused(format!(
                "invalid cluster: its id is {}, but this one's {}",
                cluster.get_id(),
                known.get_id()
            )));
        }
        if cluster.get_max_peer_count() == 0 {
            let text = "invalid cluster: max peer count must not be 0";
            return Err(Error::Refused(text.to_owned()));
        }
        known.set_max_peer_count(cluster.get_max_peer_count());
        Ok(vec![Change::ClusterPut(known)])
    }

    /// Moves the external timestamp, which only grows and is never ahead of time.
    pub fn plan_external_ts(&self, ts: u64, now: Moment) -> Result<Vec<Change>> {
        self.check_bootstrapped()?;
        if ts > now.ts {
            return Err(Error::Refused(format!(
                "external timestamp {ts} is above the newest timestamp {}",
                now.ts
            )));
        }
        if ts <= self.external_ts {
            return Err(Error::Refused(format!(
                "external timestamp {ts} is not above {}",
                self.external_ts
            )));
        }
        Ok(vec![Change::ExternalTs(ts)])
    }

    /// A store tells up to where it has resolved its locks.
    pub fn plan_min_resolved(&self, store_id: u64, ts: u64) -> Result<Vec<Change>> {
        self.check_bootstrapped()?;
        self.stores.check_alive(store_id)?;
        Ok(vec![Change::MinResolvedSeen { store_id, ts }])
    }

    /// The first region on the first store.
    pub fn plan_bootstrap(
        &self,
        cluster_id: u64,
        store: Store,
        region: Region,
        unix_seconds: i64,
    ) -> Result<Vec<Change>> {
        if self.is_bootstrapped() {
            return Err(Error::AlreadyBootstrapped);
        }
        check_first_region(&store, &region)?;
        let version = version::parse(store.get_version())?;
        let mut cluster = Cluster::default();
        cluster.set_id(cluster_id);
        cluster.set_max_peer_count(MAX_PEER_COUNT);
        Ok(vec![
            Change::ClusterPut(cluster),
            Change::StorePut(Box::new(store)),
            Change::ClusterVersion(version),
            Change::RegionPut(Box::new(RegionInfo::new(region))),
            Change::KeyspacePut(Box::new(default_keyspace(unix_seconds))),
        ])
    }

    /// A range of ids; the answer is its last.
    pub fn plan_ids(&self, count: u32) -> Result<(Vec<Change>, u64)> {
        let plan = self.ids.plan(count)?;
        let window = plan.new_end.map(Change::IdWindow);
        let changes = window.into_iter().chain([Change::IdsUsed(plan.last)]);
        Ok((changes.collect(), plan.last))
    }

    /// Ids up to this one are never handed out from now on.
    pub fn plan_raise_ids(&self, base: u64) -> Result<Vec<Change>> {
        let window = self.ids.plan_raise(base)?;
        let changes = window.map(|end| [Change::IdWindow(end), Change::IdsUsed(base)]);
        Ok(changes.into_iter().flatten().collect())
    }

    /// A store registers.
    pub fn plan_put_store(&self, store: Store) -> Result<Vec<Change>> {
        self.check_bootstrapped()?;
        self.stores.plan_put(store)
    }

    /// A store reports.
    pub fn plan_store_heartbeat(&self, stats: StoreStats, unix_nanos: i64) -> Result<Vec<Change>> {
        self.check_bootstrapped()?;
        self.stores
            .plan_heartbeat(stats, self.regions.len(), unix_nanos)
    }

    /// A leader reports. No changes when its store was removed meanwhile.
    pub fn plan_region_heartbeat(&self, heartbeat: RegionHeartbeatRequest) -> Result<Vec<Change>> {
        self.check_bootstrapped()?;
        check_reported_region(heartbeat.get_region())?;
        let leader = heartbeat.get_leader();
        if leader.get_id() == 0 {
            let region_id = heartbeat.get_region().get_id();
            return Err(Error::Refused(format!("region {region_id} has no leader")));
        }
        match self.stores.get(leader.get_store_id()) {
            Some(info) if is_removed(&info.store) => return Ok(Vec::new()),
            Some(_) => {}
            None => {
                let store_id = leader.get_store_id();
                return Err(Error::Refused(format!("store {store_id} not found")));
            }
        }
        let info = Box::new(RegionInfo::from_heartbeat(heartbeat));
        let acceptance = self
            .regions
            .judge(&info)
            .map_err(|stale| Error::Refused(stale.0))?;
        let replaced = acceptance.replaced.into_iter().map(Change::RegionDelete);
        Ok(replaced
            .chain([if acceptance.persist {
                Change::RegionPut(info)
            } else {
                Change::RegionSeen(info)
            }])
            .collect())
    }

    /// Ids for the regions and peers of a split.
    pub fn plan_split(&self, region: &Region, count: u32) -> Result<(Vec<Change>, Vec<SplitID>)> {
        self.check_bootstrapped()?;
        if count == 0 {
            return Err(Error::Refused("split count must not be 0".to_owned()));
        }
        check_reported_region(region)?;
        let known = self.regions.find(region.get_start_key()).ok_or_else(|| {
            Error::RegionNotFound(format!("region {} not found", region.get_id()))
        })?;
        let (asked, current) = (region.get_region_epoch(), known.region.get_region_epoch());
        if asked.get_version() < current.get_version()
            || asked.get_conf_ver() < current.get_conf_ver()
        {
            return Err(Error::Refused(format!(
                "region {} with epoch {asked:?} is behind region {} with epoch {current:?}",
                region.get_id(),
                known.region.get_id()
            )));
        }
        let per_region = u32::try_from(region.get_peers().len() + 1).unwrap_or(u32::MAX);
        let total = count
            .checked_mul(per_region)
            .filter(|total| *total <= SPLIT_IDS_MAX)
            .ok_or_else(|| {
                Error::Refused(format!(
                    "a split of region {} into {count} with {per_region} ids each needs more than {SPLIT_IDS_MAX}",
                    region.get_id()
                ))
            })?;
        let (changes, last) = self.plan_ids(total)?;
        let mut next = last - u64::from(total) + 1..;
        let ids = (0..count)
            .map(|_| {
                let mut id = SplitID::default();
                id.set_new_region_id(next.next().unwrap_or_default());
                let peers = next.by_ref().take(region.get_peers().len());
                id.set_new_peer_ids(peers.collect());
                id
            })
            .collect();
        Ok((changes, ids))
    }

    /// A change is durable, as far as it has to be.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::ClusterPut(cluster) => self.cluster = Some(cluster),
            Change::ClusterVersion(version) => self.stores.set_cluster_version(version),
            Change::IdWindow(end) => self.ids.set_end(end),
            Change::IdsUsed(last) => self.ids.use_up_to(last),
            Change::StorePut(store) => self.stores.put(*store),
            Change::StoreSeen { stats, unix_nanos } => self.stores.see(*stats, unix_nanos),
            Change::RegionPut(info) | Change::RegionSeen(info) => self.regions.put(*info),
            Change::RegionDelete(region_id) => self.regions.remove(region_id),
            Change::GcPoints(scope, points) => self.gc.set_points(scope, points),
            Change::GcClaimed(claimed) => self.gc.set_claimed(claimed),
            Change::BarrierPut(place, id, barrier) => self.gc.put_barrier(place, id, barrier),
            Change::BarrierDelete(place, id) => self.gc.delete_barrier(place, &id),
            Change::ExternalTs(ts) => self.external_ts = ts,
            Change::MinResolvedSeen { store_id, ts } => self.stores.see_resolved(store_id, ts),
            Change::Etcd(change) => self.etcd.apply(change),
            Change::KeyspacePut(meta) => self.keyspaces.put(*meta),
        }
    }
}

/// What a region must be like to be recorded or split.
pub fn check_reported_region(region: &Region) -> Result<()> {
    let region_id = region.get_id();
    if region_id == 0 {
        return Err(Error::Refused("region id must not be 0".to_owned()));
    }
    if region.get_peers().is_empty() {
        return Err(Error::Refused(format!("region {region_id} has no peers")));
    }
    if !before_end(region.get_start_key(), region.get_end_key()) {
        return Err(Error::Refused(format!(
            "region {region_id} ends before it starts"
        )));
    }
    Ok(())
}

/// The regions of a finished split: from left to right, without gaps.
pub fn check_split_regions(regions: &[Region]) -> Result<()> {
    if regions.len() < 2 {
        return Err(Error::Refused(
            "a split makes at least two regions".to_owned(),
        ));
    }
    for region in regions {
        check_reported_region(region)?;
    }
    for pair in regions.windows(2) {
        if pair[0].get_end_key().is_empty() || pair[0].get_end_key() != pair[1].get_start_key() {
            return Err(Error::Refused(format!(
                "regions {} and {} do not follow each other",
                pair[0].get_id(),
                pair[1].get_id()
            )));
        }
    }
    Ok(())
}

fn check_first_region(store: &Store, region: &Region) -> Result<()> {
    let refuse = |text: &str| Err(Error::Refused(format!("bootstrap: {text}")));
    if store.get_id() == 0 {
        return refuse("store id must not be 0");
    }
    if store.get_address().is_empty() {
        return refuse("the store has no address");
    }
    if region.get_id() == 0 {
        return refuse("region id must not be 0");
    }
    if !region.get_start_key().is_empty() || !region.get_end_key().is_empty() {
        return refuse("the first region must span all keys");
    }
    match region.get_peers() {
        [peer] if peer.get_id() == 0 => refuse("peer id must not be 0"),
        [peer] if peer.get_store_id() != store.get_id() => {
            refuse("the peer must be on the first store")
        }
        [_] => Ok(()),
        peers => refuse(&format!("one peer is needed, got {}", peers.len())),
    }
}

#[cfg(test)]
mod tests;
