//! Collects garbage as long as nobody else does: moves the safe points of the null keyspace along
//! behind the clock.
//!
//! In a cluster with SQL servers one of those moves the safe points. Without them nobody would, and
//! old versions would pile up for ever. So the placement driver does, by these rules:
//!
//! 1. Every run aims at now less the life time. Barriers, running transactions and what stores
//!    report as resolved hold it back, and nothing moves the points back.
//! 2. A run is due when its aim lies an interval ahead of the safe point. So restarts neither
//!    delay runs nor add any. A cluster that never had a safe point gets its first an interval
//!    after the start: until then somebody else may show up.
//! 3. As soon as anybody calls what only a collector calls (UpdateGCSafePoint with a point,
//!    AdvanceTxnSafePoint, AdvanceGCSafePoint, UpdateServiceGCSafePoint as `gc_worker`, or one of
//!    their V2 forms, on the null keyspace), granted or not, garbage collection is *claimed*, on
//!    disk, and the runs end for good. There is no way to tell a collector that is gone from one
//!    that keeps old versions on purpose, so the claim does not lapse.
//!    [`PdConfig::gc_reclaim`](crate::PdConfig::gc_reclaim) takes it back at a start.
//!
//! It resolves no locks. Whoever removes versions below the safe point has to resolve the locks
//! below it first, as it does under every other collector that died between the two steps.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use parking_lot::Mutex;
use runtime::{Instant, Runtime, Shutdown};

use crate::Result;
use crate::change::Change;
use crate::cluster::Cluster;
use crate::gc::{Moment, NULL_KEYSPACE, Points};
use crate::oracle::Oracle;
use crate::state::PdState;

/// How often to look whether a run is due, at least and at most; ten times an interval in between.
const CHECK_INTERVAL_MIN: Duration = Duration::from_secs(1);
const CHECK_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// When and how far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// How long versions stay readable; 0 leaves all that to clients.
    pub(crate) life_time: Duration,
    /// The pause between runs.
    pub(crate) interval: Duration,
    /// Whether to begin with taking garbage collection back.
    pub(crate) reclaim: bool,
}

/// The schedule in force. A change is seen when the worker looks next: within
/// [`CHECK_INTERVAL_MAX`].
pub(crate) type SharedSchedule = Arc<Mutex<Schedule>>;

/// Runs until `stop`.
pub(crate) async fn run(
    schedule: SharedSchedule,
    cluster: Cluster,
    oracle: Arc<Oracle>,
    runtime: Runtime,
    stop: Shutdown,
) {
    let first = *schedule.lock();
    if first.reclaim
        && !first.life_time.is_zero()
        && let Err(error) = reclaim(&cluster).await
    {
        tracing::warn!(%error, "garbage collection was not taken back");
    }
    let started = runtime.clock.now();
    loop {
        let pause = schedule.lock().interval / 10;
        let pause = pause.clamp(CHECK_INTERVAL_MIN, CHECK_INTERVAL_MAX);
        let sleep = Box::pin(runtime.timer.sleep(pause));
        if let Either::Left(_) = select(stop.wait(), sleep).await {
            return;
        }
        let now = oracle.moment();
        let age = Age {
            started,
            now: runtime.clock.now(),
        };
        let schedule = *schedule.lock();
        let due = cluster.read(|state| {
            let points = state.gc().points(NULL_KEYSPACE);
            schedule.due(points, now, age)
        });
        let Some(target) = due else {
            continue;
        };
        if let Err(error) = collect(&cluster, target, now).await {
            tracing::warn!(%error, "the safe point was not moved");
        }
    }
}

async fn reclaim(cluster: &Cluster) -> Result<()> {
    let plan = |state: &PdState| {
        let claimed = state.gc().is_claimed();
        let change = claimed.then_some(Change::GcClaimed(false));
        Ok((change.into_iter().collect(), claimed))
    };
    if cluster.mutate(plan).await? {
        tracing::warn!("garbage collection taken back from the client that had it");
    }
    Ok(())
}

async fn collect(cluster: &Cluster, target: u64, now: Moment) -> Result<()> {
    let plan = move |state: &PdState| {
        let before = state.gc().points(NULL_KEYSPACE);
        let (changes, after) = state.plan_gc_run(target, now)?;
        Ok((changes, (before, after)))
    };
    let (before, after) = cluster.mutate(plan).await?;
    if after != before {
        tracing::info!(safe_point = after.gc, target, "safe point moved");
    }
    Ok(())
}

/// How long the placement driver has run.
#[derive(Clone, Copy)]
struct Age {
    started: Instant,
    now: Instant,
}

impl Schedule {
    /// What a run would aim at, if one is due.
    fn due(self, points: Points, now: Moment, age: Age) -> Option<u64> {
        if self.life_time.is_zero() {
            return None;
        }
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).ok();
        let target = (now.ts >> 18).checked_sub(millis(self.life_time)?)?;
        let due = if points.txn == 0 {
            age.now - age.started >= self.interval
        } else {
            target >= (points.txn >> 18).checked_add(millis(self.interval)?)?
        };
        due.then_some(target << 18)
    }
}

#[cfg(test)]
mod tests;
