//! Flow control: writers are slowed down one by one before the engine holds all of them back.
//!
//! An engine that falls behind with flushes and compactions stops its writers, with whatever locks and latches they
//! hold, for as long as it likes. Here they wait *before* they hold anything, in order, for a time that is known:
//!
//! 1. [`FlowControl::watch`] looks at the engine's [`WritePressure`] while there are writes: at an interval, and at
//!    once when half a write buffer was written since the last look, so that a fast writer is not faster than the
//!    watch. Without writes it sleeps for as long as there are none.
//! 2. The [`Controller`](controller::Controller) turns each look into a verdict: free, a rate, or nothing new.
//! 3. A write asks when it is admitted. While writers are free that is one addition. Under a rate it learns how long
//!    it has to wait; one that would wait longer than anybody should, or than its deadline, is refused at once with
//!    that time as a hint, and takes nothing from the others.
//! 4. What ends a transaction is counted but neither waits nor is refused: it takes locks away that others wait for,
//!    and is small. It is also run before what begins one: a transaction that is half done has cost its part already.
//!
//! Must never: hold a lock across an await, or read a clock other than the given one.

mod bucket;
mod controller;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use engine_traits::WritePressure;
use futures::future::select;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use runtime::{Clock, Runtime, Timer};
use yatp::{Priority, TaskOptions};

use self::bucket::{Bucket, Turn};
use self::controller::{Cause, Controller, RATE_MIN, Verdict};
use crate::deadline::Deadline;
use crate::{Config, Error, Result, metrics};

/// Between two looks at the engine while there are writes, and while they are held back: a flush may change everything
/// within milliseconds, and nobody should wait for what is over.
const INTERVAL: Duration = Duration::from_millis(100);
const INTERVAL_HELD: Duration = Duration::from_millis(20);
/// Whoever waits looks again whether the rate has changed: after a part of its wait, at least this.
const RECHECK_MIN: Duration = Duration::from_millis(10);
const RECHECK_PART: u32 = 4;
/// Nobody waits longer than this: whoever would is refused, and tries again when the queue is shorter.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// What those are told to wait who are refused because of what compactions have to do: that takes minutes.
const REFUSED_BACKOFF: Duration = Duration::from_secs(5);

struct State {
    controller: Controller,
    bucket: Bucket,
    verdict: Verdict,
}

struct Shared {
    clock: Clock,
    timer: Timer,
    state: Mutex<State>,
    /// Whether the verdict is anything but free: what a write looks at.
    holding: AtomicBool,
    /// Bytes admitted since the last look.
    written: AtomicU64,
    /// As many of them bring the next look forward.
    look_after: AtomicU64,
    /// The watch waits for the first write.
    idle: AtomicBool,
    watch: AtomicWaker,
}

/// Holds writers back while the engine is behind; clones share everything. Without a watch nobody is held back.
#[derive(Clone)]
pub struct FlowControl {
    shared: Arc<Shared>,
}

impl FlowControl {
    pub(crate) fn new(config: &Config, runtime: &Runtime) -> Self {
        let clock = runtime.clock.clone();
        let state = State {
            controller: Controller::new(config.flow_control.clone()),
            bucket: Bucket::new(RATE_MIN, clock.now()),
            verdict: Verdict::Free,
        };
        Self {
            shared: Arc::new(Shared {
                clock,
                timer: runtime.timer.clone(),
                state: Mutex::new(state),
                holding: AtomicBool::new(false),
                written: AtomicU64::new(0),
                look_after: AtomicU64::new(u64::MAX),
                idle: AtomicBool::new(false),
                watch: AtomicWaker::new(),
            }),
        }
    }

    /// Takes over other thresholds, from the next look on.
    pub(crate) fn reconfigure(&self, config: &Config) {
        let mut state = self.shared.state.lock();
        state.controller.reconfigure(config.flow_control.clone());
    }

    /// Bytes per second that writers may write now; none while they are free.
    pub fn rate(&self) -> Option<u64> {
        match self.shared.state.lock().verdict {
            Verdict::Free => None,
            // A rate is positive, and far from the end of the type.
            Verdict::Rate(rate, _) | Verdict::Refuse(rate, _) => Some(rate as u64),
        }
    }

    /// Looks at the engine through `pressure` for as long as it has any, or the runtime lives.
    pub async fn watch(self, pressure: impl Fn() -> Option<WritePressure> + Send + 'static) {
        while let Some(pressure) = pressure() {
            self.look(&pressure);
            let interval = if self.shared.holding.load(Ordering::Relaxed) {
                INTERVAL_HELD
            } else {
                self.first_write().await;
                INTERVAL
            };
            let sleep = self.shared.timer.sleep(interval);
            select(sleep, Box::pin(self.many_bytes())).await;
        }
    }

    fn look(&self, pressure: &WritePressure) {
        let shared = &*self.shared;
        let now = shared.clock.now();
        let buffers = pressure.cfs.iter().map(|cf| cf.mem_table_bytes);
        let half = buffers.min().unwrap_or(u64::MAX) / 2;
        shared.look_after.store(half.max(1), Ordering::Relaxed);
        let written = shared.written.swap(0, Ordering::SeqCst);
        let mut state = shared.state.lock();
        let verdict = state.controller.look(now, pressure, written);
        let held = match verdict {
            Verdict::Free => None,
            Verdict::Rate(rate, cause) | Verdict::Refuse(rate, cause) => Some((rate, cause)),
        };
        if state.verdict == Verdict::Free {
            state.bucket.settle(now);
        }
        if let Some((rate, _)) = held {
            state.bucket.set_rate(rate, now);
        }
        tell(&state.verdict, &verdict);
        state.verdict = verdict;
        metrics::WRITE_FLOW.set(gauge(state.controller.flow()));
        metrics::THROTTLE_FLOW.set(held.map_or(0, |(rate, _)| gauge(rate)));
        shared.holding.store(held.is_some(), Ordering::Release);
    }

    /// Ready when there was a write since the last look.
    async fn first_write(&self) {
        let shared = &*self.shared;
        poll_fn(|cx| {
            shared.watch.register(cx.waker());
            // The order matters on both sides: the writer counts before it looks whether anybody is idle.
            shared.idle.store(true, Ordering::SeqCst);
            if shared.written.load(Ordering::SeqCst) == 0 {
                return Poll::Pending;
            }
            shared.idle.store(false, Ordering::SeqCst);
            Poll::Ready(())
        })
        .await;
    }

    /// Ready when so much was written since the last look that the next must not wait.
    async fn many_bytes(&self) {
        let shared = &*self.shared;
        poll_fn(|cx| {
            shared.watch.register(cx.waker());
            let many = shared.look_after.load(Ordering::Relaxed);
            if shared.written.load(Ordering::SeqCst) < many {
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Counts a write of `bytes`. The caller waits for what it gets before it holds anything; a refusal says when to
    /// come again.
    pub(crate) fn reserve(
        &self,
        kind: &'static str,
        bytes: usize,
        deadline: &Deadline,
    ) -> Result<Hold> {
        let shared = &*self.shared;
        let holding = shared.holding.load(Ordering::Acquire);
        let turn = if holding {
            self.turn_of(kind, bytes, deadline)?
        } else {
            None
        };
        let bytes = bytes as u64;
        let before = shared.written.fetch_add(bytes, Ordering::SeqCst);
        let many = shared.look_after.load(Ordering::Relaxed);
        let crossed = before < many && before.saturating_add(bytes) >= many;
        if crossed || shared.idle.load(Ordering::SeqCst) {
            shared.watch.wake();
        }
        Ok(Hold(turn.map(|turn| (self.clone(), turn))))
    }

    /// The turn of a write, if it has to wait.
    fn turn_of(
        &self,
        kind: &'static str,
        bytes: usize,
        deadline: &Deadline,
    ) -> Result<Option<Turn>> {
        let shared = &*self.shared;
        let now = shared.clock.now();
        let mut state = shared.state.lock();
        let (refuse, cause) = match state.verdict {
            // It was free between the look at the flag and here.
            Verdict::Free => return Ok(None),
            Verdict::Rate(_, cause) => (false, cause),
            Verdict::Refuse(_, cause) => (true, cause),
        };
        if ends_transaction(kind) {
            state.bucket.take(bytes);
            return Ok(None);
        }
        let turn = state.bucket.turn();
        let wait = state.bucket.wait(turn, now);
        if refuse {
            return Err(refused(cause, REFUSED_BACKOFF));
        }
        if wait > WAIT_MAX || deadline.passes_within(wait, &shared.clock) {
            return Err(refused(cause, wait));
        }
        state.bucket.take(bytes);
        Ok((!wait.is_zero()).then_some(turn))
    }

    /// How long a turn is away at the rate of this moment.
    fn away(&self, turn: Turn) -> Duration {
        let mut state = self.shared.state.lock();
        match state.verdict {
            Verdict::Free => Duration::ZERO,
            Verdict::Rate(..) | Verdict::Refuse(..) => {
                state.bucket.wait(turn, self.shared.clock.now())
            }
        }
    }
}

fn refused(cause: Cause, backoff: Duration) -> Error {
    metrics::THROTTLE_ACTION_TOTAL
        .with_label_values(&[cause.cf(), "refuse"])
        .inc();
    Error::FlowControl {
        reason: cause.reason(),
        backoff,
    }
}

/// A turn that a write has to wait for. Dropping it gives nothing back: whoever goes away while it waits has still been
/// counted.
#[derive(Default)]
#[must_use = "a write that does not wait is not held back"]
pub(crate) struct Hold(Option<(FlowControl, Turn)>);

impl Hold {
    /// Waits for the turn.
    pub(crate) async fn over(self) {
        let Some((flow, turn)) = self.0 else { return };
        let shared = &*flow.shared;
        let begun = shared.clock.now();
        loop {
            let wait = flow.away(turn);
            if wait.is_zero() {
                break;
            }
            let part = (wait / RECHECK_PART).max(RECHECK_MIN).min(wait);
            shared.timer.sleep(part).await;
        }
        let waited = shared.clock.now().saturating_duration_since(begun);
        metrics::THROTTLE_DURATION.observe(waited.as_secs_f64());
    }
}

/// Whether a command only finishes what others have begun. Of a flashback, for which a whole region waits, that is
/// all but the values that it writes again.
fn ends_transaction(kind: &str) -> bool {
    matches!(
        kind,
        "commit"
            | "cleanup"
            | "batch_rollback"
            | "pessimistic_rollback"
            | "resolve_lock"
            | "resolve_lock_lite"
            | "check_txn_status"
            | "check_secondary_locks"
            | "txn_heart_beat"
            | "prepare_flashback_to_version"
            | "flashback_to_version"
            | "flashback_rollback"
            | "flashback_lock"
            | "flashback_commit"
    )
}

/// What ends a transaction goes before what begins one, unless its client says otherwise.
pub(crate) fn order(kind: &str, options: TaskOptions) -> TaskOptions {
    match options.priority {
        Priority::Normal if ends_transaction(kind) => TaskOptions {
            priority: Priority::High,
            ..options
        },
        _ => options,
    }
}

fn gauge(bytes: f64) -> i64 {
    // Saturates; neither negative nor absurd in practice.
    bytes as i64
}

/// Says in metrics and the log what changed.
fn tell(before: &Verdict, after: &Verdict) {
    let cause = |verdict: &Verdict| match verdict {
        Verdict::Free => None,
        Verdict::Rate(_, cause) | Verdict::Refuse(_, cause) => Some(*cause),
    };
    let refuses = |verdict: &Verdict| matches!(verdict, Verdict::Refuse(..));
    let (old, new) = (cause(before), cause(after));
    if old != new {
        if let Some(old) = old {
            metrics::THROTTLE_CF.with_label_values(&[old.cf()]).set(0);
        }
        if let Some(new) = new {
            metrics::THROTTLE_CF.with_label_values(&[new.cf()]).set(1);
            metrics::THROTTLE_ACTION_TOTAL
                .with_label_values(&[new.cf(), new.kind()])
                .inc();
        }
    }
    match (old, new) {
        (None, Some(cause)) => {
            let (cf, reason) = (cause.cf(), cause.reason());
            tracing::info!(cf, reason, "writers are slowed down");
        }
        (Some(_), None) => tracing::info!("writers are free again"),
        _ => {}
    }
    if refuses(after) && !refuses(before) {
        tracing::warn!("new data is refused until compactions have caught up");
    }
}
