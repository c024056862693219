//! What may change while a placement driver runs: the schedule of garbage collection and the limits of
//! the revisioned store.
//!
//! It takes what the caller has validated, and must never keep the engine open: the handle may outlive
//! the driver.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cluster::Cluster;
use crate::config::PdConfig;
use crate::etcd::EtcdLimits;
use crate::gc_worker::{Schedule, SharedSchedule};

/// Takes changes of settings; clones are the same handle. See
/// [`Server::online_settings`](crate::Server::online_settings).
#[derive(Clone)]
pub struct OnlineSettings {
    schedule: SharedSchedule,
    cluster: Cluster,
}

impl OnlineSettings {
    pub(crate) fn new(config: &PdConfig, cluster: Cluster) -> OnlineSettings {
        let schedule = Schedule {
            life_time: config.gc_life_time,
            interval: config.gc_run_interval,
            reclaim: config.gc_reclaim,
        };
        OnlineSettings {
            schedule: Arc::new(Mutex::new(schedule)),
            cluster,
        }
    }

    pub(crate) fn schedule(&self) -> SharedSchedule {
        Arc::clone(&self.schedule)
    }

    /// [`PdConfig::gc_life_time`] and [`PdConfig::gc_run_interval`] from here on, within a minute.
    pub fn set_gc(&self, life_time: Duration, run_interval: Duration) {
        let mut schedule = self.schedule.lock();
        schedule.life_time = life_time;
        schedule.interval = run_interval;
    }

    /// [`PdConfig::etcd`] from here on. What exceeds the limits already stays until it is compacted
    /// or deleted.
    pub fn set_etcd_limits(&self, limits: EtcdLimits) {
        self.cluster.set_etcd_limits(limits);
    }
}
