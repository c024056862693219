//! A bell that one task listens to: rings are remembered, several before a wait count as one.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures::task::AtomicWaker;

/// See the module.
#[derive(Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    listener: AtomicWaker,
}

impl Bell {
    /// Wakes the listener, now or at its next wait.
    pub(crate) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.listener.wake();
    }

    /// Waits until the bell was rung since the last wait. One listener at a time.
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| {
            // Registering comes first: a ring between the two is then seen by one of them.
            self.listener.register(cx.waker());
            if self.rung.swap(false, Ordering::AcqRel) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn rings_are_remembered_once() {
        let bell = Bell::default();
        assert!(bell.wait().now_or_never().is_none());
        bell.ring();
        bell.ring();
        assert!(bell.wait().now_or_never().is_some());
        assert!(bell.wait().now_or_never().is_none());
    }
}
