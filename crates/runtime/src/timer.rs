//! Timers: a queue of wakers by deadline, and the futures that stand in it. Who fires the queue is
//! the driver's matter: a thread (`threads`) or the stepper. Must never run a task itself: it only
//! wakes.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use crate::time::{Clock, Instant};

/// The timer thread looks at the queue at least this often: no platform is asked for an absurd
/// wait.
const MAX_PARK: Duration = Duration::from_secs(3_600);

/// Makes waits. Cheap to clone.
#[derive(Clone)]
pub struct Timer {
    queue: Arc<TimerQueue>,
}

impl Timer {
    pub(crate) fn new(queue: Arc<TimerQueue>) -> Self {
        Self { queue }
    }

    /// Ready after `d`.
    pub fn sleep(&self, d: Duration) -> Sleep {
        self.sleep_until(self.queue.clock.now() + d)
    }

    /// Ready at `at`, at once if that has passed.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep {
            queue: self.queue.clone(),
            at,
            registered: None,
        }
    }

    /// Runs `future` for at most `d`. The future is polled first: one that is ready wins over a
    /// passed deadline.
    pub async fn timeout<F: Future>(&self, d: Duration, future: F) -> Result<F::Output, Elapsed> {
        let sleep = self.sleep(d);
        let future = pin!(future);
        match futures::future::select(future, sleep).await {
            futures::future::Either::Left((output, _)) => Ok(output),
            futures::future::Either::Right(((), _)) => Err(Elapsed),
        }
    }
}

/// A future was not ready in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deadline has elapsed")]
pub struct Elapsed;

/// A wait. Stands in the queue from its first poll until it is ready or dropped. Never ready once
/// its runtime is shut down.
#[must_use = "a wait does nothing unless awaited"]
pub struct Sleep {
    queue: Arc<TimerQueue>,
    at: Instant,
    /// Key in the queue, present between the first poll and readiness.
    registered: Option<u64>,
}

impl Sleep {
    /// When it is ready.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.at
    }

    fn leave(&mut self) {
        if let Some(id) = self.registered.take() {
            self.queue.remove(self.at, id);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.queue.clock.now() >= self.at {
            self.leave();
            return Poll::Ready(());
        }
        let this = &mut *self;
        let id = *this.registered.get_or_insert_with(|| this.queue.next_id());
        this.queue.insert(this.at, id, cx.waker());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Wakers by deadline; of equal deadlines the older first.
pub(crate) struct TimerQueue {
    clock: Clock,
    state: Mutex<State>,
    /// Signalled when the earliest deadline moves forward, and at stop. Only the timer thread
    /// waits.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wakers: BTreeMap<(Instant, u64), Waker>,
    last_id: u64,
    stopped: bool,
}

impl TimerQueue {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn next_id(&self) -> u64 {
        let mut state = self.state.lock();
        state.last_id += 1;
        state.last_id
    }

    fn insert(&self, at: Instant, id: u64, waker: &Waker) {
        let mut state = self.state.lock();
        if state.stopped {
            return;
        }
        match state.wakers.get_mut(&(at, id)) {
            Some(known) => known.clone_from(waker),
            None => {
                state.wakers.insert((at, id), waker.clone());
            }
        }
        if state
            .wakers
            .first_key_value()
            .is_some_and(|(first, _)| *first == (at, id))
        {
            self.changed.notify_one();
        }
    }

    fn remove(&self, at: Instant, id: u64) {
        // Dropped outside the lock: dropping a waker can drop a task, and with it other waits of
        // this queue.
        let waker = self.state.lock().wakers.remove(&(at, id));
        drop(waker);
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.state
            .lock()
            .wakers
            .first_key_value()
            .map(|((at, _), _)| *at)
    }

    /// Wakes everything whose deadline has passed.
    pub(crate) fn fire(&self) {
        let now = self.clock.now();
        let due = {
            let mut state = self.state.lock();
            let later = state.wakers.split_off(&(now, u64::MAX));
            std::mem::replace(&mut state.wakers, later)
        };
        for waker in due.into_values() {
            waker.wake();
        }
    }

    /// Fires deadlines as they pass, until [`TimerQueue::stop`]. Parked while nothing is due.
    pub(crate) fn run(&self) {
        loop {
            self.fire();
            let mut state = self.state.lock();
            if state.stopped {
                return;
            }
            let wait = match state.wakers.first_key_value() {
                Some(((at, _), _)) => at.saturating_duration_since(self.clock.now()),
                None => MAX_PARK,
            };
            if !wait.is_zero() {
                self.changed.wait_for(&mut state, wait.min(MAX_PARK));
            }
        }
    }

    /// Ends [`TimerQueue::run`] and forgets every waker.
    pub(crate) fn stop(&self) {
        let forgotten = {
            let mut state = self.state.lock();
            state.stopped = true;
            std::mem::take(&mut state.wakers)
        };
        self.changed.notify_one();
        drop(forgotten);
    }
}
