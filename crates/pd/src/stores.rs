//! The stores of the cluster: who they are, what they last reported, and the cluster's version.
//! No IO: planning reads, applying writes.

use std::collections::BTreeMap;

use kvproto::metapb::{NodeState, Store, StoreLabel, StoreState};
use kvproto::pdpb::StoreStats;
use semver::Version;

use crate::change::Change;
use crate::{Error, Result, version};

/// A cluster with fewer regions takes new stores into service at once.
const TINY_CLUSTER_REGIONS: usize = 100;
/// A store that has run this long serves, whatever it holds.
const SERVING_AFTER_SECONDS: i64 = 48 * 3600;
/// The time of the last heartbeat goes to disk this often.
const HEARTBEAT_PERSIST_NANOS: i64 = 5 * 60 * 1_000_000_000;

/// A store and what it last reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreInfo {
    /// Address, version, labels, states. `last_heartbeat` is current here, on disk it lags.
    pub store: Store,
    /// The figures of its last heartbeat; empty before the first of this run.
    pub stats: StoreStats,
    /// `last_heartbeat` as it is on disk.
    persisted_heartbeat: i64,
    /// Up to where it has resolved its locks, as it told in this run; 0 before.
    min_resolved_ts: u64,
}

impl StoreInfo {
    /// Up to where it has resolved its locks; 0 when it has not told.
    pub fn min_resolved_ts(&self) -> u64 {
        self.min_resolved_ts
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Stores {
    stores: BTreeMap<u64, StoreInfo>,
    cluster_version: Option<Version>,
    min_resolved_ts: u64,
}

impl Stores {
    /// The store of this id, also when it is tombstone.
    pub fn get(&self, store_id: u64) -> Option<&StoreInfo> {
        self.stores.get(&store_id)
    }

    /// Every store by id.
    pub fn iter(&self) -> impl Iterator<Item = &StoreInfo> {
        self.stores.values()
    }

    /// The lowest version that the cluster relies on, for stores to gate features by.
    pub fn cluster_version(&self) -> String {
        self.cluster_version
            .as_ref()
            .map_or_else(String::new, Version::to_string)
    }

    /// Up to where every store that is up has resolved its locks; 0 before each has told. It never
    /// goes back: a store that comes late only keeps it where it is.
    pub fn min_resolved_ts(&self) -> u64 {
        self.min_resolved_ts
    }

    /// Whether this store may take part: known and not removed.
    pub fn check_alive(&self, store_id: u64) -> Result<&StoreInfo> {
        let info = self
            .get(store_id)
            .ok_or_else(|| Error::Refused(format!("store {store_id} not found")))?;
        if is_removed(&info.store) {
            return Err(Error::StoreTombstone(store_id));
        }
        Ok(info)
    }

    /// Registers a store or takes over what it says anew of itself.
    pub fn plan_put(&self, request: Store) -> Result<Vec<Change>> {
        let store_id = request.get_id();
        if store_id == 0 {
            return Err(Error::Refused("store id must not be 0".to_owned()));
        }
        if request.get_address().is_empty() {
            return Err(Error::Refused(format!("store {store_id} has no address")));
        }
        let store_version = version::parse(request.get_version())?;
        if let Some(cluster) = &self.cluster_version
            && !version::is_compatible(cluster, &store_version)
        {
            return Err(Error::Refused(format!(
                "version should compatible with version {cluster}, got {store_version}"
            )));
        }
        let store = match self.stores.get(&store_id) {
            Some(known) if is_removed(&known.store) => {
                return Err(Error::StoreTombstone(store_id));
            }
            Some(known) => merged(&known.store, request),
            None => request,
        };
        self.check_addresses(&store)?;
        let mut changes = vec![Change::StorePut(Box::new(store))];
        changes.extend(self.plan_cluster_version(store_id, &store_version));
        Ok(changes)
    }

    fn check_addresses(&self, store: &Store) -> Result<()> {
        let others = self.stores.values().map(|info| &info.store);
        for other in others.filter(|other| other.get_id() != store.get_id() && !is_removed(other)) {
            let same_peer_address = !store.get_peer_address().is_empty()
                && other.get_peer_address() == store.get_peer_address();
            if other.get_address() == store.get_address() || same_peer_address {
                return Err(Error::Refused(format!(
                    "duplicated store address: {} of store {} is already registered by store {}",
                    store.get_address(),
                    store.get_id(),
                    other.get_id()
                )));
            }
        }
        Ok(())
    }

    /// The cluster's version once this store has this version, when that raises it.
    fn plan_cluster_version(&self, store_id: u64, store_version: &Version) -> Option<Change> {
        let others = self.stores.values().map(|info| &info.store);
        let lowest = others
            .filter(|other| other.get_id() != store_id && !is_removed(other))
            .filter_map(|other| version::parse(other.get_version()).ok())
            .chain([store_version.clone()])
            .min()?;
        let raises = self
            .cluster_version
            .as_ref()
            .is_none_or(|current| lowest > *current);
        raises.then_some(Change::ClusterVersion(lowest))
    }

    /// Takes a store's report. `regions` is the number of regions in the cluster.
    pub fn plan_heartbeat(
        &self,
        stats: StoreStats,
        regions: usize,
        unix_nanos: i64,
    ) -> Result<Vec<Change>> {
        let info = self.check_alive(stats.get_store_id())?;
        let mut store = info.store.clone();
        store.set_last_heartbeat(unix_nanos);
        let mut persist = unix_nanos - info.persisted_heartbeat >= HEARTBEAT_PERSIST_NANOS;
        if store.get_node_state() == NodeState::Preparing {
            let uptime = unix_nanos / 1_000_000_000 - store.get_start_timestamp();
            if regions < TINY_CLUSTER_REGIONS || uptime >= SERVING_AFTER_SECONDS {
                store.set_node_state(NodeState::Serving);
                persist = true;
            }
        }
        let mut changes = Vec::new();
        if persist {
            changes.push(Change::StorePut(Box::new(store)));
        }
        changes.push(Change::StoreSeen {
            stats: Box::new(stats),
            unix_nanos,
        });
        Ok(changes)
    }

    /// A store is on disk so.
    pub(crate) fn put(&mut self, store: Store) {
        let info = self.stores.entry(store.get_id()).or_default();
        info.persisted_heartbeat = store.get_last_heartbeat();
        info.store = store;
    }

    /// A store was heard of.
    pub(crate) fn see(&mut self, stats: StoreStats, unix_nanos: i64) {
        if let Some(info) = self.stores.get_mut(&stats.get_store_id()) {
            info.store.set_last_heartbeat(unix_nanos);
            info.stats = stats;
        }
    }

    /// A store told up to where it has resolved its locks.
    pub(crate) fn see_resolved(&mut self, store_id: u64, ts: u64) {
        if let Some(info) = self.stores.get_mut(&store_id) {
            info.min_resolved_ts = ts;
        }
        let up = self.stores.values();
        let up = up.filter(|info| info.store.get_state() == StoreState::Up);
        let lowest = up.map(|info| info.min_resolved_ts).min();
        self.min_resolved_ts = self.min_resolved_ts.max(lowest.unwrap_or_default());
    }

    /// The cluster's version is on disk so.
    pub(crate) fn set_cluster_version(&mut self, version: Version) {
        self.cluster_version = Some(version);
    }
}

/// Whether a store is gone for good.
pub fn is_removed(store: &Store) -> bool {
    store.get_state() == StoreState::Tombstone || store.get_node_state() == NodeState::Removed
}

/// What a store says of itself replaces what was known, except its states and heartbeat, which
/// are the placement driver's own, and its labels, which are merged.
fn merged(known: &Store, request: Store) -> Store {
    let mut store = request;
    store.set_state(known.get_state());
    store.set_node_state(known.get_node_state());
    store.set_last_heartbeat(known.get_last_heartbeat());
    store.set_physically_destroyed(known.get_physically_destroyed());
    let mut labels: Vec<StoreLabel> = known.get_labels().to_vec();
    for label in store.take_labels() {
        match labels
            .iter_mut()
            .find(|old| old.get_key() == label.get_key())
        {
            Some(old) => *old = label,
            None => labels.push(label),
        }
    }
    store.set_labels(labels.into());
    store
}

#[cfg(test)]
mod tests;
