//! The byte-bounded queue between whoever writes and the one writer task.
//!
//! Bytes count from admission until the writer has answered, so the bound covers what waits and
//! what is under way. A write that was admitted is answered exactly once: by the writer, or with
//! [`Error::Closed`] when the queue is abandoned before the writer took it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::channel::oneshot;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use runtime::Instant;

use super::flashback::{Change, Passage};
use crate::in_memory_locks::LocksInWrite;
use crate::{Error, Modify, Result, region_error};

/// A write on its way.
pub(crate) struct PendingWrite {
    pub(crate) modifies: Vec<Modify>,
    pub(crate) bytes: usize,
    pub(crate) deadline: Option<Instant>,
    pub(crate) passage: Passage,
    /// A change of the region's state, instead of changes of data.
    pub(crate) change: Option<Change>,
    /// Locks in memory that it replaces or removes.
    pub(crate) memory_locks: Option<LocksInWrite>,
    pub(crate) answer: oneshot::Sender<Result<()>>,
}

impl PendingWrite {
    /// The caller may have lost interest, which changes nothing.
    pub(crate) fn finish(self, result: Result<()>) {
        if let Some(locks) = self.memory_locks {
            match result {
                Ok(()) => locks.applied(),
                Err(_) => locks.failed(),
            }
        }
        drop(self.answer.send(result));
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<PendingWrite>,
    /// Of the waiting and of those taken but not yet released.
    bytes: usize,
    closed: bool,
}

/// See the module.
pub(crate) struct Queue {
    state: Mutex<State>,
    writer: AtomicWaker,
    max_bytes: AtomicUsize,
}

impl Queue {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Queue {
            state: Mutex::default(),
            writer: AtomicWaker::new(),
            max_bytes: AtomicUsize::new(max_bytes),
        }
    }

    /// Changes the bound. What was admitted stays.
    pub(crate) fn set_max_bytes(&self, max_bytes: usize) {
        self.max_bytes.store(max_bytes, Ordering::Relaxed);
    }

    /// Admits a write, or answers it at once. One write is always admitted when nothing waits, or
    /// a write above the bound could never pass.
    pub(crate) fn push(&self, write: PendingWrite) {
        let mut state = self.state.lock();
        let max_bytes = self.max_bytes.load(Ordering::Relaxed);
        let refusal = if state.closed {
            Error::Closed
        } else if state.bytes > 0 && state.bytes.saturating_add(write.bytes) > max_bytes {
            region_error::server_is_busy("too many bytes wait to be written").into()
        } else {
            state.bytes += write.bytes;
            state.waiting.push_back(write);
            drop(state);
            self.writer.wake();
            return;
        };
        drop(state);
        write.finish(Err(refusal));
    }

    /// For the writer: what waits, in order, up to `max_bytes` but at least one write; a change of the
    /// region's state comes alone. `None` when the queue is closed and empty.
    pub(crate) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        max_bytes: usize,
    ) -> Poll<Option<Vec<PendingWrite>>> {
        // Registered before looking: a push after the look finds the waker.
        self.writer.register(cx.waker());
        let mut state = self.state.lock();
        let mut group = Vec::new();
        let mut bytes = 0_usize;
        while let Some(write) = state.waiting.front()
            && (group.is_empty()
                || (write.change.is_none() && bytes.saturating_add(write.bytes) <= max_bytes))
            && let Some(write) = state.waiting.pop_front()
        {
            bytes += write.bytes;
            let alone = write.change.is_some();
            group.push(write);
            if alone {
                break;
            }
        }
        if !group.is_empty() {
            Poll::Ready(Some(group))
        } else if state.closed {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }

    /// For the writer: these bytes were answered.
    pub(crate) fn release(&self, bytes: usize) {
        self.state.lock().bytes -= bytes;
    }

    /// No further writes; those that wait are still written.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.writer.wake();
    }

    /// No further writes, and those that wait are not written either.
    pub(crate) fn abandon(&self) {
        let abandoned = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        for write in abandoned {
            self.release(write.bytes);
            write.finish(Err(Error::Closed));
        }
        self.writer.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.state.lock().bytes
    }
}
