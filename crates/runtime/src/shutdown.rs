//! One event for everybody: "stop now". Owns the waiters; must never decide what stopping means.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

#[derive(Default)]
struct State {
    triggered: bool,
    waiters: BTreeMap<u64, Waker>,
    last_id: u64,
}

/// A trigger and the signal it sets off.
#[must_use]
pub fn shutdown_pair() -> (ShutdownTrigger, Shutdown) {
    let state = Arc::new(Mutex::new(State::default()));
    (
        ShutdownTrigger {
            state: state.clone(),
        },
        Shutdown { state },
    )
}

/// Sets off the signal, also when dropped: an owner that is gone can no longer ask.
pub struct ShutdownTrigger {
    state: Arc<Mutex<State>>,
}

impl ShutdownTrigger {
    /// Sets off the signal. Further calls change nothing.
    pub fn trigger(&self) {
        let waiters = {
            let mut state = self.state.lock();
            state.triggered = true;
            std::mem::take(&mut state.waiters)
        };
        for waker in waiters.into_values() {
            waker.wake();
        }
    }
}

impl Drop for ShutdownTrigger {
    fn drop(&mut self) {
        self.trigger();
    }
}

/// The signal. Cheap to clone.
#[derive(Clone)]
pub struct Shutdown {
    state: Arc<Mutex<State>>,
}

impl Shutdown {
    /// Whether it was set off.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.state.lock().triggered
    }

    /// Ready once it is set off.
    pub fn wait(&self) -> ShutdownWait {
        ShutdownWait {
            state: self.state.clone(),
            id: None,
        }
    }
}

/// See [`Shutdown::wait`].
#[must_use = "a wait does nothing unless awaited"]
pub struct ShutdownWait {
    state: Arc<Mutex<State>>,
    id: Option<u64>,
}

impl Future for ShutdownWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.state.lock();
        if state.triggered {
            return Poll::Ready(());
        }
        let id = *this.id.get_or_insert_with(|| {
            state.last_id += 1;
            state.last_id
        });
        state.waiters.insert(id, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ShutdownWait {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let waker = self.state.lock().waiters.remove(&id);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, executor::block_on};

    use super::*;

    #[test]
    fn every_waiter_wakes_and_late_ones_need_not_wait() {
        let (trigger, signal) = shutdown_pair();
        let mut waits = [signal.wait(), signal.clone().wait()];
        assert!(waits.iter_mut().all(|wait| wait.now_or_never().is_none()));
        assert!(!signal.is_triggered());
        trigger.trigger();
        assert!(signal.is_triggered());
        for wait in waits {
            block_on(wait);
        }
        block_on(signal.wait());
    }

    #[test]
    fn a_dropped_trigger_sets_it_off_and_a_dropped_wait_leaves() {
        let (trigger, signal) = shutdown_pair();
        let mut wait = signal.wait();
        assert!((&mut wait).now_or_never().is_none());
        assert_eq!(signal.state.lock().waiters.len(), 1);
        drop(wait);
        assert_eq!(signal.state.lock().waiters.len(), 0);
        drop(trigger);
        assert!(signal.is_triggered());
    }
}
