//! What a node tells the placement driver, and what it learns in return, at intervals.
//!
//! Three loops: figures of the store, the region that it leads, and a fresh timestamp that bounds
//! what clients may claim to have got from the oracle. A failed report is logged and the next one is
//! in time; nothing here stops the node.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use concurrency_manager::ConcurrencyManager;
use engine_traits::{Cf, KvEngine};
use kv::LocalEngine;
use kvproto::{metapb, pdpb};
use pd_client::PdClient;
use runtime::{Instant, Runtime, Shutdown};
use txn_types::TimeStamp;

use crate::bootstrap::Identity;
use crate::config::RaftstoreConfig;
use crate::{metrics, sys};

/// How far beyond the last known timestamp of the oracle a client's may lie.
const MAX_TS_DRIFT: Duration = Duration::from_secs(60);
/// How often that bound is renewed.
const MAX_TS_SYNC_INTERVAL: Duration = Duration::from_secs(15);

/// How often reports leave, in milliseconds; may change.
#[derive(Debug)]
pub(crate) struct Intervals {
    store: AtomicU64,
    region: AtomicU64,
}

impl Intervals {
    /// Those of the configuration.
    pub(crate) fn new(config: &RaftstoreConfig) -> Self {
        let intervals = Intervals {
            store: AtomicU64::new(0),
            region: AtomicU64::new(0),
        };
        intervals.set(config);
        intervals
    }

    /// Takes new ones, from the next report on.
    pub(crate) fn set(&self, config: &RaftstoreConfig) {
        let store = config.pd_store_heartbeat_tick_interval.as_millis();
        let region = config.pd_heartbeat_tick_interval.as_millis();
        self.store.store(store, Ordering::Relaxed);
        self.region.store(region, Ordering::Relaxed);
    }

    fn store(&self) -> Duration {
        Duration::from_millis(self.store.load(Ordering::Relaxed))
    }

    fn region(&self) -> Duration {
        Duration::from_millis(self.region.load(Ordering::Relaxed))
    }
}

/// Everything that the loops read.
pub(crate) struct Heartbeats<E: KvEngine> {
    /// Who reports.
    pub(crate) identity: Identity,
    /// Where the figures come from, and the region as it is.
    pub(crate) local: LocalEngine<E>,
    /// The directory whose file system holds the data.
    pub(crate) data_dir: PathBuf,
    /// Space that the store may use; 0 for all of the disk.
    pub(crate) capacity: u64,
    /// How often it is reported; looked at after each report.
    pub(crate) intervals: Arc<Intervals>,
    /// The term that reports carry.
    pub(crate) term: u64,
    /// Takes the bound on timestamps.
    pub(crate) concurrency: ConcurrencyManager,
    /// Who is told.
    pub(crate) pd: Arc<dyn PdClient>,
    /// Clock and timers.
    pub(crate) runtime: Runtime,
    /// Ends the loops.
    pub(crate) shutdown: Shutdown,
}

impl<E: KvEngine> Heartbeats<E> {
    /// Starts the loops; the first reports leave at once.
    pub(crate) fn start(self) {
        let this = Arc::new(self);
        let spawner = &this.runtime.spawner;
        drop(spawner.spawn(this.clone().stores()));
        drop(spawner.spawn(this.clone().regions()));
        drop(spawner.spawn(this.clone().timestamps()));
    }

    /// Waits; false when the node stops.
    async fn pause(&self, interval: Duration) -> bool {
        let sleep = self.runtime.timer.sleep(interval);
        let stop = self.shutdown.wait();
        futures::pin_mut!(sleep, stop);
        let _ = futures::future::select(sleep, stop).await;
        !self.shutdown.is_triggered()
    }

    async fn stores(self: Arc<Self>) {
        let started = self.runtime.clock.unix_millis() / 1000;
        let mut last = started;
        loop {
            let now = self.runtime.clock.unix_millis() / 1000;
            let stats = self.store_stats(started, last, now);
            last = now;
            if let Err(error) = self.pd.store_heartbeat(stats).await {
                tracing::warn!(%error, "store heartbeat failed");
            }
            if !self.pause(self.intervals.store()).await {
                return;
            }
        }
    }

    fn store_stats(&self, started: u64, last: u64, now: u64) -> pdpb::StoreStats {
        let mut stats = pdpb::StoreStats::default();
        stats.set_store_id(self.identity.store_id);
        stats.set_region_count(1);
        stats.set_start_time(u32::try_from(started).unwrap_or(u32::MAX));
        stats.mut_interval().set_start_timestamp(last);
        stats.mut_interval().set_end_timestamp(now);
        let used = self.local.kv_engine().disk_usage().unwrap_or_else(|error| {
            tracing::warn!(%error, "disk usage of the engine is unknown");
            0
        });
        stats.set_used_size(used);
        match sys::disk_space(&self.data_dir) {
            Ok(space) => {
                let capacity = match self.capacity {
                    0 => space.capacity,
                    set => set.min(space.capacity),
                };
                stats.set_capacity(capacity);
                stats.set_available(capacity.saturating_sub(used).min(space.available));
            }
            Err(error) => tracing::warn!(%error, "space of the data directory is unknown"),
        }
        metrics::store_size("capacity", stats.get_capacity());
        metrics::store_size("available", stats.get_available());
        metrics::store_size("used", used);
        stats
    }

    async fn regions(self: Arc<Self>) {
        let mut last = self.runtime.clock.unix_millis() / 1000;
        loop {
            let now = self.runtime.clock.unix_millis() / 1000;
            if let Err(error) = self.pd.region_heartbeat(self.region_report(last, now)) {
                tracing::warn!(%error, "region heartbeat failed");
            }
            last = now;
            if !self.pause(self.intervals.region()).await {
                return;
            }
        }
    }

    fn region_report(&self, last: u64, now: u64) -> pdpb::RegionHeartbeatRequest {
        let mut report = pdpb::RegionHeartbeatRequest::default();
        report.set_region(self.local.region_now());
        report.set_leader(self.identity.peer.clone());
        report.set_term(self.term);
        report.mut_interval().set_start_timestamp(last);
        report.mut_interval().set_end_timestamp(now);
        let (mut size, mut keys) = (0, 0);
        for cf in Cf::DATA {
            let (start, end) = (keys::DATA_MIN_KEY, keys::DATA_MAX_KEY);
            let engine = self.local.kv_engine();
            size += engine.approximate_size(cf, start, end).unwrap_or(0);
            keys += engine.approximate_keys(cf, start, end).unwrap_or(0);
        }
        report.set_approximate_size(size);
        report.set_approximate_keys(keys);
        report
    }

    /// Keeps the bound on timestamps a drift ahead of the oracle. While the oracle does not answer the
    /// bound goes on with the clock: the placement driver may have restarted and be ahead again before
    /// this node hears of it.
    async fn timestamps(self: Arc<Self>) {
        let mut known: Option<(TimeStamp, Instant)> = None;
        loop {
            let now = self.runtime.clock.now();
            match self.pd.get_tso(1).await {
                Ok(ts) => known = Some((ts, now)),
                Err(error) => tracing::warn!(%error, "no timestamp from the placement driver"),
            }
            if let Some((ts, at)) = known {
                let ahead = now.saturating_duration_since(at) + MAX_TS_DRIFT;
                self.concurrency.set_max_ts_limit(later(ts, ahead));
            }
            if !self.pause(MAX_TS_SYNC_INTERVAL).await {
                return;
            }
        }
    }
}

/// The timestamp `ahead` after `ts`.
pub(crate) fn later(ts: TimeStamp, ahead: Duration) -> TimeStamp {
    let millis = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
    TimeStamp::compose(ts.physical().saturating_add(millis), ts.logical())
}

/// The bound to begin with, before the first renewal.
pub(crate) fn first_max_ts_limit(ts: TimeStamp) -> TimeStamp {
    later(ts, MAX_TS_SYNC_INTERVAL + MAX_TS_DRIFT)
}

/// How this node describes itself to the placement driver, without its id.
pub(crate) fn store_description(
    config: &crate::config::Config,
    addrs: &crate::node::Addrs,
    started: u64,
) -> metapb::Store {
    let mut store = metapb::Store::default();
    store.set_address(addrs.advertised.clone());
    store.set_peer_address(addrs.advertised.clone());
    store.set_status_address(addrs.advertised_status.clone());
    store.set_version(crate::COMPATIBLE_VERSION.to_owned());
    store.set_start_timestamp(i64::try_from(started).unwrap_or(i64::MAX));
    if let Ok(program) = std::env::current_exe()
        && let Some(dir) = program.parent()
    {
        store.set_deploy_path(dir.display().to_string());
    }
    for (key, value) in &config.server.labels {
        let mut label = metapb::StoreLabel::default();
        label.set_key(key.clone());
        label.set_value(value.clone());
        store.mut_labels().push(label);
    }
    store
}
