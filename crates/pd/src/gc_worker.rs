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
//! A run has three steps, as that of every collector:
//!
//! 1. The txn safe point moves to the aim: from here on nobody begins a transaction below it.
//! 2. Every lock of a transaction that began at or before it is resolved, in every region; see
//!    [`lock_resolver`](crate::lock_resolver). A transaction that is alive keeps its locks, and
//!    holds the next step back below its start.
//! 3. The GC safe point follows. Only then may stores remove what lies below it.
//!
//! Step 3 is never taken for a run whose second step was not finished. Such a run is taken up again
//! after a pause that doubles up to an interval, and at the next start at once: the first point is
//! ahead of the second on disk. A run that a transaction held back is over; the next one comes in
//! its time.

use std::sync::Arc;
use std::time::Duration;

use futures::future::select;
use parking_lot::Mutex;
use runtime::{Instant, Runtime, Shutdown};

use crate::Result;
use crate::change::Change;
use crate::cluster::Cluster;
use crate::gc::{Moment, NULL_KEYSPACE, Points};
use crate::gc_report::{GcOutcome, GcReport, GcReports};
use crate::lock_resolver::LockResolver;
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

/// What a worker works with.
pub(crate) struct GcWorker {
    pub(crate) schedule: SharedSchedule,
    pub(crate) cluster: Cluster,
    pub(crate) oracle: Arc<Oracle>,
    pub(crate) resolver: LockResolver,
    pub(crate) reports: GcReports,
    pub(crate) runtime: Runtime,
}

impl GcWorker {
    /// Runs until `stop`, also in the middle of a run.
    pub(crate) async fn run(self, stop: Shutdown) {
        let work = Box::pin(self.work());
        select(stop.wait(), work).await;
    }

    async fn work(&self) {
        let first = *self.schedule.lock();
        if first.reclaim
            && !first.life_time.is_zero()
            && let Err(error) = reclaim(&self.cluster).await
        {
            tracing::warn!(%error, "garbage collection was not taken back");
        }
        let started = self.runtime.clock.now();
        // What the last process left unfinished is the first thing to do.
        let mut backlog = Backlog {
            unfinished: true,
            failures: 0,
            not_before: started,
        };
        loop {
            let schedule = *self.schedule.lock();
            let pause = schedule.check_interval();
            self.runtime.timer.sleep(pause).await;
            let schedule = *self.schedule.lock();
            let age = Age {
                started,
                now: self.runtime.clock.now(),
            };
            if age.now < backlog.not_before {
                continue;
            }
            let now = self.oracle.moment();
            let points = self.cluster.read(|state| state.gc().points(NULL_KEYSPACE));
            let due = schedule.due(points, now, age);
            let rest =
                backlog.unfinished && points.gc < points.txn && !schedule.life_time.is_zero();
            let Some(target) = due.or(rest.then_some(points.txn)) else {
                continue;
            };
            let outcome = self.collect(target, now).await;
            backlog.account(&outcome, schedule, self.runtime.clock.now());
            let Some(outcome) = outcome.transpose() else {
                continue;
            };
            self.reports.put(GcReport {
                ended_at: self.oracle.moment().seconds,
                target,
                outcome: outcome.unwrap_or_else(|error| GcOutcome::Failed {
                    error,
                    failures: backlog.failures,
                }),
            });
        }
    }

    /// One run. The answer is what became of it, if there was anything to do, or why it failed.
    async fn collect(
        &self,
        target: u64,
        now: Moment,
    ) -> std::result::Result<Option<GcOutcome>, String> {
        let text = |error: crate::Error| error.to_string();
        let begin = move |state: &PdState| state.plan_gc_begin(target, now);
        let Some(aim) = self.cluster.mutate(begin).await.map_err(text)? else {
            return Ok(None);
        };
        let resolved = self.resolver.resolve_up_to(aim).await;
        let resolved = resolved.map_err(|error| error.to_string())?;
        let safe_point = resolved.safe_point;
        let end = move |state: &PdState| state.plan_gc_end(safe_point);
        let points = self.cluster.mutate(end).await.map_err(text)?;
        Ok(Some(GcOutcome::Ended {
            safe_point: points.gc,
            resolved,
        }))
    }
}

/// What is left of runs that failed.
struct Backlog {
    unfinished: bool,
    /// In a row.
    failures: u32,
    not_before: Instant,
}

impl Backlog {
    fn account<T>(
        &mut self,
        outcome: &std::result::Result<Option<T>, String>,
        schedule: Schedule,
        now: Instant,
    ) {
        match outcome {
            Ok(None) => {}
            Ok(Some(_)) => {
                self.unfinished = false;
                self.failures = 0;
            }
            Err(_) => {
                self.unfinished = true;
                let doubled = 1_u32 << self.failures.min(16);
                let pause = schedule.check_interval().saturating_mul(doubled);
                self.not_before = now + pause.min(schedule.interval);
                self.failures += 1;
            }
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

/// How long the placement driver has run.
#[derive(Clone, Copy)]
struct Age {
    started: Instant,
    now: Instant,
}

impl Schedule {
    /// How often to look whether a run is due.
    fn check_interval(self) -> Duration {
        (self.interval / 10).clamp(CHECK_INTERVAL_MIN, CHECK_INTERVAL_MAX)
    }

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
