//! The requests of a store that wait for locks: the queues, and what they need to be acted upon.
//!
//! A request that waits is no task and has no future: it is its key, its timestamps, and the end of the channel on
//! which its client waits. One that can be resumed is kept as the bytes of its message.
//! Must never: answer, resume or report under the lock of the queues.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::channel::oneshot;
use lock_manager::{Effects, WaitLimits, WaitQueues};
use parking_lot::Mutex;
use prometheus::IntGauge;
use runtime::{Instant, Spawner, Timer};
use tracker::TrackerHandle;

use super::admission::gauge;
use super::commands::PessimisticLocked;
use crate::deadline::Deadline;
use crate::{Error, Result, metrics};

/// How a lock request is answered. The answer is made when there is one: it is larger than all else of a channel.
#[derive(Debug)]
pub(super) struct LockAnswer(oneshot::Sender<Box<Result<PessimisticLocked>>>);

impl LockAnswer {
    /// Both ends. Who is dropped without an answer is told that the store stops.
    pub(super) fn channel() -> (
        Self,
        impl Future<Output = Result<PessimisticLocked>> + Send + Unpin + 'static,
    ) {
        let (sender, receiver) = oneshot::channel::<Box<Result<PessimisticLocked>>>();
        let received = receiver.map(|answer| answer.map_or(Err(Error::Closed), |answer| *answer));
        (LockAnswer(sender), received)
    }

    /// Answers, if anybody still waits for that.
    pub(super) fn send(self, answer: Result<PessimisticLocked>) {
        drop(self.0.send(Box::new(answer)));
    }

    /// Whether the client is gone.
    pub(super) fn is_canceled(&self) -> bool {
        self.0.is_canceled()
    }
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) answer: LockAnswer,
    /// Of one that tries again the primary key, for the answer; of one that is resumed the whole message.
    pub(super) request: Box<[u8]>,
    pub(super) deadline: Deadline,
    pub(super) tracker: TrackerHandle,
}

/// What a parked request costs besides itself and its message: the channel to its client.
pub(super) const PARKED_BYTES: usize = 96;

struct State {
    queues: WaitQueues<Parked>,
    /// When the timer task that was started last will look.
    armed: Option<Instant>,
}

/// What the queues show of themselves, looked up once.
struct Gauges {
    waiters: IntGauge,
    keys: IntGauge,
}

impl Default for Gauges {
    fn default() -> Self {
        Gauges {
            waiters: metrics::LOCK_WAITS.with_label_values(&["waiters"]),
            keys: metrics::LOCK_WAITS.with_label_values(&["keys"]),
        }
    }
}

impl Gauges {
    fn show(&self, queues: &WaitQueues<Parked>) {
        self.waiters.set(gauge(queues.len()));
        self.keys.set(gauge(queues.keys()));
        metrics::LOCK_WAIT_BYTES.set(gauge(queues.bytes()));
    }
}

/// The waiting requests of a store.
pub(super) struct LockWaits {
    state: Mutex<State>,
    gauges: Gauges,
    /// For how many keys somebody waits or is expected back; may be looked at without the lock.
    keys: AtomicUsize,
    wait_timeout_ms: AtomicU64,
    pipelined: AtomicBool,
    in_memory: AtomicBool,
    pub(super) timer: Timer,
    pub(super) spawner: Spawner,
}

fn limits(config: &lock_manager::Config) -> WaitLimits {
    WaitLimits {
        wake_up_delay: config.wake_up_delay_duration.0,
        max_bytes: usize::try_from(config.wait_memory_limit.0).unwrap_or(usize::MAX),
    }
}

impl LockWaits {
    /// Nobody waits.
    pub(super) fn new(config: &lock_manager::Config, timer: Timer, spawner: Spawner) -> Self {
        let waits = LockWaits {
            state: Mutex::new(State {
                queues: WaitQueues::new(limits(config)),
                armed: None,
            }),
            gauges: Gauges::default(),
            keys: AtomicUsize::new(0),
            wait_timeout_ms: AtomicU64::new(0),
            pipelined: AtomicBool::new(false),
            in_memory: AtomicBool::new(false),
            timer,
            spawner,
        };
        waits.reconfigure(config);
        waits
    }

    /// Takes over the settings.
    pub(super) fn reconfigure(&self, config: &lock_manager::Config) {
        self.state.lock().queues.set_limits(limits(config));
        let timeout = config.wait_for_lock_timeout.as_millis();
        self.wait_timeout_ms.store(timeout, Ordering::Relaxed);
        self.pipelined.store(config.pipelined, Ordering::Relaxed);
        self.in_memory
            .store(config.pipelined && config.in_memory, Ordering::Relaxed);
    }

    /// Whether locks are kept in memory where that is possible.
    pub(super) fn in_memory(&self) -> bool {
        self.in_memory.load(Ordering::Relaxed)
    }

    /// Whether a lock request is answered before its write is applied.
    pub(super) fn pipelined(&self) -> bool {
        self.pipelined.load(Ordering::Relaxed) && !self.in_memory()
    }

    /// How long a request that asks for `wait_timeout` milliseconds waits; `None` when it does not.
    pub(super) fn timeout(&self, wait_timeout: i64) -> Option<Duration> {
        let longest = self.wait_timeout_ms.load(Ordering::Relaxed);
        let millis = match u64::try_from(wait_timeout) {
            Ok(0) => longest,
            Ok(asked) => asked.min(longest),
            Err(_) => return None,
        };
        Some(Duration::from_millis(millis))
    }

    /// Whether nobody waits, nor is expected back. A release under a latch sees every request that was parked under it
    /// before.
    pub(super) fn is_quiet(&self) -> bool {
        self.keys.load(Ordering::Acquire) == 0
    }

    /// Does something with the queues.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut WaitQueues<Parked>) -> T) -> T {
        let mut state = self.state.lock();
        let outcome = act(&mut state.queues);
        self.keys.store(state.queues.keys(), Ordering::Release);
        self.gauges.show(&state.queues);
        outcome
    }

    /// When a timer task is to be started, because none would look in time.
    pub(super) fn arm(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        let next = state.queues.next_deadline()?;
        if state.armed.is_some_and(|armed| armed <= next) {
            return None;
        }
        state.armed = Some(next);
        Some(next)
    }

    /// The timer task for `at` looks at the queues.
    pub(super) fn fire(&self, at: Instant, now: Instant) -> Effects<Parked> {
        {
            let mut state = self.state.lock();
            if state.armed == Some(at) {
                state.armed = None;
            }
        }
        self.with(|queues| queues.tick(now))
    }
}

/// A tag of a request: none costs nothing.
pub(super) fn tag(tag: &[u8]) -> Arc<[u8]> {
    if tag.is_empty() {
        Arc::default()
    } else {
        Arc::from(tag)
    }
}
