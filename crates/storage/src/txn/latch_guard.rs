//! Latches that a command holds, or waits for.
//! Must never: be lost; whoever drops them wakes the next.

use std::sync::Arc;

use futures::channel::oneshot;

use super::latch::{LatchSet, Latches};

/// Wakes a command that waits for latches.
pub(super) type Waker = oneshot::Sender<()>;

/// Latches of one command; gives them up and wakes the next when dropped, wherever the command stands.
pub(super) struct LatchGuard {
    latches: Arc<Latches<Waker>>,
    set: LatchSet,
    id: u64,
}

impl LatchGuard {
    pub(super) async fn acquire(latches: &Arc<Latches<Waker>>, set: LatchSet, id: u64) -> Self {
        let mut guard = Self {
            latches: Arc::clone(latches),
            set,
            id,
        };
        loop {
            let (waker, woken) = oneshot::channel();
            let mut waker = Some(waker);
            let mut token = || waker.take().unwrap_or_else(|| oneshot::channel().0);
            if guard.latches.acquire(&mut guard.set, id, &mut token) {
                return guard;
            }
            // An error means that the waker was dropped unsent; asking again is right in any case.
            let _ = woken.await;
        }
    }

    /// Gives the latch of `key` away, to be held under `id`. Nothing when it is not held.
    pub(super) fn split_off(&mut self, key: &[u8], id: u64) -> Option<Self> {
        let set = self.latches.split_off(&mut self.set, self.id, key, id)?;
        Some(Self {
            latches: Arc::clone(&self.latches),
            set,
            id,
        })
    }

    /// Whether the latch of `key` is held.
    pub(super) fn covers(&self, key: &[u8]) -> bool {
        self.latches.covers(&self.set, key)
    }
}

impl Drop for LatchGuard {
    fn drop(&mut self) {
        for waker in self.latches.release(&mut self.set, self.id) {
            // A receiver that is gone belongs to a guard that was dropped, and its drop passes the latch on.
            let _ = waker.send(());
        }
    }
}
