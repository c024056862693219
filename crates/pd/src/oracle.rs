//! Runs the timestamp oracle: ticks by the clock, keeps its bound on disk, waits where it must.
//!
//! The lock is held for arithmetic only; the bound is written between two short holds of it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use parking_lot::Mutex;
use runtime::{JoinHandle, Runtime, Shutdown};

use crate::gc::Moment;
use crate::meta_store::{MetaBatch, MetaStore, damaged, number_value, parse_number};
use crate::metrics::{TSO_EVENTS, TSO_TIMESTAMPS};
use crate::tso::{self, Allocation, BoundWrite, TICK_MS, Timestamp, Tso};
use crate::{Error, FatalHandler, Result};

const BOUND_KEY: &[u8] = b"tso_bound";
/// How often a request asks, with a tick between.
const TRIES: u32 = 10;
/// A tick that comes this late is worth a line in the log.
const LATE_TICK: Duration = Duration::from_millis(500);

/// How far a reset may go when nobody insists.
const RESET_GAP_MS: u64 = 24 * 3600 * 1000;

/// Which targets a reset takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// Those above the present, by less than a day.
    Near,
    /// Any; those that are not above the present change nothing.
    Larger,
}

/// See the module.
pub(crate) struct Oracle {
    tso: Mutex<Tso>,
    /// Held from the decision on a bound until it is on disk: a lower one never follows a higher.
    saving: Mutex<()>,
    store: Arc<dyn MetaStore>,
    runtime: Runtime,
}

impl Oracle {
    /// Begins above everything that was ever handed out, and starts the ticks. They end with
    /// `stop` or when the disk fails.
    pub(crate) fn start(
        store: Arc<dyn MetaStore>,
        on_fatal: FatalHandler,
        runtime: &Runtime,
        stop: Shutdown,
    ) -> Result<(Arc<Oracle>, JoinHandle<()>)> {
        let saved = match store.get(BOUND_KEY)? {
            Some(value) => parse_number(BOUND_KEY, &value)?,
            None => 0,
        };
        if saved >= 1 << 46 {
            return Err(damaged(BOUND_KEY, format!("{saved} ms is no time")));
        }
        let oracle = Arc::new(Oracle {
            tso: Mutex::new(Tso::new(saved)),
            saving: Mutex::new(()),
            store,
            runtime: runtime.clone(),
        });
        let first = oracle.tso.lock().start(runtime.clock.unix_millis());
        let first = first.ok_or_else(|| damaged(BOUND_KEY, format!("{saved} ms is too late")))?;
        oracle.persist(first)?;
        let ticking = Arc::clone(&oracle);
        let task = runtime.spawner.spawn_dedicated("pd-tso", async move {
            if let Err(error) = ticking.tick_until(stop).await {
                on_fatal(&format!("the timestamps' bound cannot be written: {error}"));
            }
        });
        Ok((oracle, task))
    }

    async fn tick_until(&self, stop: Shutdown) -> Result<()> {
        let tick = Duration::from_millis(TICK_MS);
        let mut last = self.runtime.clock.now();
        let mut full = false;
        loop {
            let pause = self.runtime.timer.sleep(tick);
            if let Either::Left(_) = select(stop.wait(), Box::pin(pause)).await {
                return Ok(());
            }
            let now = self.runtime.clock.now();
            if now - last > LATE_TICK {
                TSO_EVENTS.with_label_values(&["late_tick"]).inc();
                let late_ms = (now - last).as_millis();
                tracing::warn!(late_ms, "timestamp tick came late");
            }
            last = now;
            let _saving = self.saving.lock();
            let write = self.tso.lock().tick(self.runtime.clock.unix_millis());
            let Some(write) = write else { continue };
            match self.persist(write) {
                // The bound on disk is at least the one in force: requests wait for the next tick.
                Err(Error::Store(error @ engine_traits::Error::NoSpace(_))) => {
                    if !full {
                        tracing::warn!(%error, "the disk has no room for the timestamps' bound");
                    }
                    full = true;
                }
                written => {
                    written?;
                    full = false;
                }
            }
        }
    }

    fn persist(&self, write: BoundWrite) -> Result<()> {
        let mut batch = MetaBatch::default();
        batch.put(BOUND_KEY.to_vec(), number_value(write.bound));
        self.store.write(batch)?;
        self.tso.lock().persisted(write);
        TSO_EVENTS.with_label_values(&["save"]).inc();
        Ok(())
    }

    /// Hands out `count` timestamps; the answer is the highest.
    pub(crate) async fn timestamps(&self, count: u32) -> Result<Timestamp> {
        let mut granted = Vec::with_capacity(1);
        self.timestamps_each(&[count], &mut granted).await?;
        granted.pop().ok_or(Error::Busy)
    }

    /// Hands out one range per count, in their order, and appends the end of each to `granted`.
    /// What was appended before an error holds. The lock is taken once for all of them, and nothing
    /// is waited for unless a whole millisecond of timestamps is used up.
    pub(crate) async fn timestamps_each(
        &self,
        counts: &[u32],
        granted: &mut Vec<Timestamp>,
    ) -> Result<()> {
        let before = granted.len();
        let mut tries = TRIES;
        // A count of 0 has no last timestamp.
        let zero = counts.iter().position(|count| *count == 0);
        let askable = &counts[..zero.unwrap_or(counts.len())];
        let outcome = loop {
            let done = granted.len() - before;
            let refused = self.tso.lock().allocate_each(&askable[done..], granted);
            match refused {
                None if zero.is_some() => {
                    let text = "tso count should be positive";
                    break Err(Error::InvalidArgument(text.to_owned()));
                }
                None | Some(Allocation::Granted(_)) => break Ok(()),
                Some(Allocation::TooMany) => {
                    let count = askable[granted.len() - before];
                    let text = format!("tso count {count} exceeds what a millisecond holds");
                    break Err(Error::InvalidArgument(text));
                }
                Some(Allocation::NotStarted) => break Err(Error::Stopped),
                Some(Allocation::Exhausted) => {}
            }
            TSO_EVENTS.with_label_values(&["logical_overflow"]).inc();
            tries -= 1;
            if tries == 0 {
                break Err(Error::Busy);
            }
            let tick = Duration::from_millis(TICK_MS);
            self.runtime.timer.sleep(tick).await;
        };
        let done = granted.len() - before;
        let handed_out: u64 = counts[..done].iter().map(|count| u64::from(*count)).sum();
        TSO_TIMESTAMPS.inc_by(handed_out);
        outcome
    }

    /// Goes on above `target`, for a cluster whose data has timestamps of another one.
    pub(crate) async fn reset(self: &Arc<Self>, target: u64, how: Reset) -> Result<()> {
        let target = Timestamp::from_u64(target);
        let oracle = Arc::clone(self);
        // It writes to the disk.
        let spawner = &self.runtime.spawner;
        let task = spawner.spawn_dedicated("pd-tso-reset", async move {
            let _saving = oracle.saving.lock();
            let current = oracle.tso.lock().current();
            if how == Reset::Near && target <= current {
                let text = "the specified ts is smaller than now";
                return Err(Error::Refused(text.to_owned()));
            }
            if how == Reset::Near && target.physical >= current.physical + RESET_GAP_MS {
                let text = "the specified ts is too larger than now";
                return Err(Error::Refused(text.to_owned()));
            }
            if target.physical >= tso::PHYSICAL_MAX {
                let text = "no timestamp could follow the specified ts";
                return Err(Error::Refused(text.to_owned()));
            }
            if target <= current {
                return Ok(());
            }
            let write = oracle.tso.lock().plan_reset(target);
            if let Some(write) = write {
                oracle.persist(write)?;
            }
            oracle.tso.lock().reset(target);
            Ok(())
        });
        task.await.unwrap_or(Err(Error::Stopped))
    }

    /// Now, as the timestamps tell it.
    pub(crate) fn moment(&self) -> Moment {
        let current = self.tso.lock().current();
        Moment {
            ts: current.to_u64(),
            seconds: i64::try_from(current.physical / 1000).unwrap_or(i64::MAX),
        }
    }
}
