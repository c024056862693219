//! Parking of workers that find nothing, so that an idle pool costs nothing.
//!
//! No wake-up is lost. A producer (1) pushes its task, then (2) reads `idle`. A worker (a)
//! announces itself in `idle`, then (b) looks at the queues once more, then (c) waits. All four are
//! sequentially consistent: if (2) misses (a), then (1) came before (b), and the worker finds the
//! task. If (2) sees (a), the producer leaves a token under the lock that the worker holds from (a)
//! to (c), so the token is there when it waits or it is woken.
//!
//! A token wakes one worker. There are never more tokens than parked workers, so a burst of tasks
//! wakes each worker once, and producers do not even take the lock while everybody is awake or
//! about to be.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use parking_lot::{Condvar, Mutex};

#[derive(Default)]
pub(crate) struct ParkingLot {
    /// `parked - tokens`, readable without the lock.
    idle: AtomicUsize,
    stopped: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    parked: usize,
    tokens: usize,
}

impl ParkingLot {
    /// A task was pushed: wakes a worker if one is idle.
    pub(crate) fn wake_one(&self) {
        fence(Ordering::SeqCst);
        if self.idle.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut state = self.state.lock();
        if state.parked > state.tokens {
            state.tokens += 1;
            self.idle
                .store(state.parked - state.tokens, Ordering::SeqCst);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Parks the calling worker until a task may be there, unless `is_empty` says that one is.
    pub(crate) fn park(&self, is_empty: impl FnOnce() -> bool) {
        let mut state = self.state.lock();
        state.parked += 1;
        self.idle
            .store(state.parked - state.tokens, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if is_empty() {
            while state.tokens == 0 && !self.is_stopped() {
                self.changed.wait(&mut state);
            }
            // The token is for who waited; who finds a task by itself leaves it to the others.
            state.tokens = state.tokens.saturating_sub(1);
        }
        state.parked -= 1;
        self.idle
            .store(state.parked - state.tokens, Ordering::SeqCst);
    }

    /// Whether [`ParkingLot::stop`] was called.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Wakes everybody for good.
    pub(crate) fn stop(&self) {
        // Under the lock: a worker is either before its look at the flag, or waits and hears the
        // notification.
        let state = self.state.lock();
        self.stopped.store(true, Ordering::SeqCst);
        drop(state);
        self.changed.notify_all();
    }
}
