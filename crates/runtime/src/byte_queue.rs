//! A queue bounded by bytes: many producers that are refused when it is full, one consumer that
//! takes everything at once. That is the shape of group commit: the batch grows by itself while the
//! consumer is busy. Must never block a producer and never measures items itself: the producer
//! states their size.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

use parking_lot::Mutex;

/// The queue. Clones are the same queue; at most one of them may wait in [`ByteQueue::pop_all`] at
/// a time.
pub struct ByteQueue<T> {
    state: Arc<Mutex<State<T>>>,
    limit: usize,
}

struct State<T> {
    items: Vec<T>,
    bytes: usize,
    closed: bool,
    consumer: Option<Waker>,
}

/// Why an item was refused; it is given back.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError<T> {
    /// The queue holds as many bytes as it may.
    #[error("queue is full")]
    Full(T),
    /// Nobody will take it.
    #[error("queue is closed")]
    Closed(T),
}

/// The queue is closed and everything that stood in it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("queue is closed")]
pub struct QueueClosed;

impl<T> Clone for ByteQueue<T> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            limit: self.limit,
        }
    }
}

impl<T> ByteQueue<T> {
    /// A queue for at most `limit_bytes`, plus one item that is larger on its own.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        let state = State {
            items: vec![],
            bytes: 0,
            closed: false,
            consumer: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            limit: limit_bytes,
        }
    }

    /// Appends an item of `bytes`. An empty queue takes an item of any size, otherwise one above
    /// the limit would be refused for ever.
    pub fn push(&self, item: T, bytes: usize) -> Result<(), PushError<T>> {
        let consumer = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(PushError::Closed(item));
            }
            let total = state.bytes.saturating_add(bytes);
            if total > self.limit && !state.items.is_empty() {
                return Err(PushError::Full(item));
            }
            state.bytes = total;
            state.items.push(item);
            state.consumer.take()
        };
        if let Some(waker) = consumer {
            waker.wake();
        }
        Ok(())
    }

    /// Waits until there is something, then appends all of it to `out`, in the order of the pushes.
    /// What was taken no longer counts against the limit.
    pub async fn pop_all(&self, out: &mut Vec<T>) -> Result<(), QueueClosed> {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if !state.items.is_empty() {
                out.append(&mut state.items);
                state.bytes = 0;
                return Poll::Ready(Ok(()));
            }
            if state.closed {
                return Poll::Ready(Err(QueueClosed));
            }
            state.consumer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Refuses items from now on. What stands in the queue is still taken.
    pub fn close(&self) {
        let consumer = {
            let mut state = self.state.lock();
            state.closed = true;
            state.consumer.take()
        };
        if let Some(waker) = consumer {
            waker.wake();
        }
    }

    /// Bytes in the queue.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Items in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    /// Whether nothing stands in the queue.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, executor::block_on};

    use super::*;

    #[test]
    fn it_is_bounded_and_gives_all_in_order() {
        let queue = ByteQueue::new(10);
        queue.push("a", 6).unwrap();
        assert_eq!(queue.push("b", 5), Err(PushError::Full("b")));
        queue.push("c", 4).unwrap();
        assert_eq!((queue.bytes(), queue.len()), (10, 2));
        let mut out = vec!["z"];
        block_on(queue.pop_all(&mut out)).unwrap();
        assert_eq!(out, ["z", "a", "c"]);
        assert!(queue.is_empty() && queue.bytes() == 0);
    }

    #[test]
    fn an_item_above_the_limit_passes_alone() {
        let queue = ByteQueue::new(10);
        queue.push(1, usize::MAX).unwrap();
        assert_eq!(queue.push(2, 0), Err(PushError::Full(2)));
        assert_eq!(queue.push(3, usize::MAX), Err(PushError::Full(3)));
        block_on(queue.pop_all(&mut vec![])).unwrap();
        queue.push(2, 1).unwrap();
        assert_eq!(queue.push(3, 11), Err(PushError::Full(3)));
    }

    #[test]
    fn a_waiting_consumer_is_woken() {
        let stepper = crate::Stepper::new(1);
        let queue = ByteQueue::new(10);
        let consumer = queue.clone();
        let handle = stepper.runtime().spawner.spawn(async move {
            let mut out = vec![];
            while consumer.pop_all(&mut out).await.is_ok() {}
            out
        });
        stepper.run_until_stalled();
        queue.push(1, 1).unwrap();
        stepper.run_until_stalled();
        assert!(queue.is_empty());
        queue.push(2, 1).unwrap();
        queue.close();
        assert_eq!(queue.push(3, 1), Err(PushError::Closed(3)));
        assert_eq!(stepper.block_on(handle), Ok(vec![1, 2]));
    }

    #[test]
    fn a_dropped_wait_loses_nothing() {
        let queue = ByteQueue::new(10);
        let mut out = vec![];
        assert!(queue.pop_all(&mut out).now_or_never().is_none());
        queue.push(1, 1).unwrap();
        block_on(queue.pop_all(&mut out)).unwrap();
        assert_eq!(out, [1]);
    }
}
