//! How many requests are in progress, so that a stop can wait for them and for nothing else.
//!
//! Connections that say nothing would make gRPC's own drain wait; they are not counted here.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use futures::task::AtomicWaker;
use runtime::{Shutdown, ShutdownTrigger, ShutdownWait, shutdown_pair};

struct Shared {
    count: AtomicUsize,
    waiting: AtomicWaker,
    /// Set off when no more requests are to be taken.
    close: ShutdownTrigger,
    closing: Shutdown,
}

impl Default for Shared {
    fn default() -> Self {
        let (close, closing) = shutdown_pair();
        Shared {
            count: AtomicUsize::new(0),
            waiting: AtomicWaker::new(),
            close,
            closing,
        }
    }
}

/// A counter of requests; clones share it.
#[derive(Clone, Default)]
pub struct InFlight {
    shared: Arc<Shared>,
}

/// One request; it is over when this is dropped.
pub(crate) struct Request {
    shared: Arc<Shared>,
}

impl InFlight {
    /// Begins a request.
    pub(crate) fn begin(&self) -> Request {
        self.shared.count.fetch_add(1, Ordering::AcqRel);
        Request {
            shared: self.shared.clone(),
        }
    }

    /// Tells the streams that bring requests to take no more of them. gRPC keeps streams that exist
    /// for as long as their clients like.
    pub fn close(&self) {
        self.shared.close.trigger();
    }

    /// Ready once no more requests are to be taken.
    pub(crate) fn closing(&self) -> ShutdownWait {
        self.shared.closing.wait()
    }

    /// Requests that have begun and are not answered.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Acquire)
    }

    /// Ready once no request is in progress. One caller may wait at a time.
    pub async fn none(&self) {
        poll_fn(|cx| {
            // Registered before looking: an end after the look finds the waker.
            self.shared.waiting.register(cx.waker());
            if self.count() == 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.shared.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::task::noop_waker;

    use super::*;

    #[test]
    fn a_wait_ends_with_the_last_request() {
        let in_flight = InFlight::default();
        assert!(in_flight.none().now_or_never().is_some());
        let (first, second) = (in_flight.begin(), in_flight.begin());
        assert_eq!(in_flight.count(), 2);
        let mut none = Box::pin(in_flight.none());
        let waker = noop_waker();
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(none.poll_unpin(&mut cx).is_pending());
        drop(first);
        assert!(none.poll_unpin(&mut cx).is_pending());
        drop(second);
        assert!(none.poll_unpin(&mut cx).is_ready());
    }
}
