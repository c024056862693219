//! Destroying ranges: data that nobody will read again goes, and so does the space it took.
//!
//! 1. Table files that lie wholly inside the range are dropped: most of the space, at no cost. Among what
//!    is left older entries may show that the dropped ones covered. Whoever destroys a range gives up every
//!    reader of it, so this is the cheap step and comes first.
//! 2. Range deletions, synced through the writer like any write, remove what is left: in memory, in files
//!    that reach beyond the range, and what step 1 uncovered. From here on the range is empty, also after a
//!    crash.
//! 3. Everything in memory is flushed, of all column families, or the log would keep what they share; and
//!    the range is compacted. What the deletions cover stops taking space before the caller is answered.
//!
//! A crash before the end of step 2 may leave part of the range; the caller was not answered and asks
//! again. One range is destroyed at a time, on a thread that may block; a bounded number waits.
//!
//! Ranges that clients have deleted give their space back as well, on the same thread, after they were
//! answered. Readers that began before may still see what was there, so no files are dropped: the range is
//! compacted, if it held enough.

use std::mem;
use std::sync::Arc;

use engine_traits::{Cf, KvEngine};
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use parking_lot::Mutex;
use txn_types::Key;

use super::flashback::Passage;
use super::queue::{PendingWrite, Queue};
use crate::in_memory_locks::RegionLocks;
use crate::{Error, Modify, Result, region_error};

/// Ranges that may wait.
const WAITING_MAX: usize = 256;

/// The column families whose files are dropped. Locks are few; the range deletion does for them.
const FILES_OF: [Cf; 2] = [Cf::Default, Cf::Write];

/// Deleted ranges that may wait for their space. Those beyond are left to the engine's own compactions.
const DELETED_MAX: usize = 256;

/// Of a deleted range that is smaller than this the space is left to the engine as well.
const WORTH_BYTES: u64 = 4 << 20;

/// What a destroyer has to do.
enum Task {
    Destroy(Doomed),
    /// Look at the deleted ranges.
    Compact,
}

/// A range that was deleted, as engine keys.
pub(crate) struct Deleted {
    cf: Cf,
    lower: Vec<u8>,
    upper: Vec<u8>,
}

impl Deleted {
    /// What a write is about to delete in `engine`, if it is worth a compaction; an empty `end` is unbounded.
    pub(crate) fn by<E: KvEngine>(engine: &E, modify: &Modify) -> Option<Self> {
        let Modify::DeleteRange(cf, start, end) = modify else {
            return None;
        };
        let lower = keys::data_key(start.as_encoded());
        let upper = keys::data_end_key(end.as_encoded());
        let size = engine.approximate_size(*cf, &lower, &upper);
        size.is_ok_and(|bytes| bytes >= WORTH_BYTES)
            .then_some(Deleted {
                cf: *cf,
                lower,
                upper,
            })
    }
}

/// A range to destroy.
struct Doomed {
    start: Key,
    end: Key,
    answer: oneshot::Sender<Result<()>>,
}

/// Where ranges are handed in.
pub(crate) struct DestroyQueue(Mutex<Waiting>);

struct Waiting {
    /// `None` once it is closed.
    sender: Option<mpsc::Sender<Task>>,
    deleted: Vec<Deleted>,
}

impl DestroyQueue {
    /// Takes note of a range that was deleted.
    pub(crate) fn deleted(&self, range: Deleted) {
        let mut waiting = self.0.lock();
        let is_first = waiting.deleted.is_empty();
        if waiting.deleted.len() < DELETED_MAX {
            waiting.deleted.push(range);
        }
        if is_first && let Some(sender) = &mut waiting.sender {
            // When it is full the destroyer has something to do, and looks at these afterwards.
            drop(sender.try_send(Task::Compact));
        }
    }

    fn take_deleted(&self) -> Vec<Deleted> {
        mem::take(&mut self.0.lock().deleted)
    }

    /// Queues a range. The answer comes when it is empty and its space is free.
    pub(crate) fn push(&self, start: Key, end: Key) -> Result<oneshot::Receiver<Result<()>>> {
        let (answer, answered) = oneshot::channel();
        let doomed = Doomed { start, end, answer };
        let mut waiting = self.0.lock();
        let sender = waiting.sender.as_mut().ok_or(Error::Closed)?;
        let sent = sender.try_send(Task::Destroy(doomed));
        sent.map_err(|error| {
            if error.is_full() {
                region_error::server_is_busy("too many ranges wait to be destroyed").into()
            } else {
                Error::Closed
            }
        })?;
        Ok(answered)
    }

    /// Takes no more.
    pub(crate) fn close(&self) {
        drop(self.0.lock().sender.take());
    }
}

/// Destroys the ranges of one queue.
pub(crate) struct Destroyer<E> {
    engine: E,
    queue: Arc<Queue>,
    memory_locks: RegionLocks,
    waiting: Arc<DestroyQueue>,
    tasks: mpsc::Receiver<Task>,
    /// Dropped with the destroyer, after its engine: that tells those who wait for the end.
    _stopped: oneshot::Sender<()>,
}

impl<E: KvEngine> Destroyer<E> {
    /// A destroyer that writes through `queue` and drops `stopped` at its end, and where its ranges come
    /// from.
    pub(crate) fn new(
        (engine, queue, memory_locks): (E, Arc<Queue>, RegionLocks),
        stopped: oneshot::Sender<()>,
    ) -> (Self, Arc<DestroyQueue>) {
        let (sender, tasks) = mpsc::channel(WAITING_MAX);
        let waiting = Arc::new(DestroyQueue(Mutex::new(Waiting {
            sender: Some(sender),
            deleted: Vec::new(),
        })));
        let destroyer = Destroyer {
            engine,
            queue,
            memory_locks,
            waiting: waiting.clone(),
            tasks,
            _stopped: stopped,
        };
        (destroyer, waiting)
    }

    pub(crate) async fn run(mut self) {
        while let Some(task) = self.tasks.next().await {
            if let Task::Destroy(Doomed { start, end, answer }) = task {
                let result = if self.queue.is_closed() {
                    Err(Error::Closed)
                } else {
                    self.destroy(start, end).await
                };
                // The caller may have gone; the range is destroyed nevertheless.
                drop(answer.send(result));
            }
            for Deleted { cf, lower, upper } in self.waiting.take_deleted() {
                if self.queue.is_closed() {
                    break;
                }
                let compacted = self.engine.compact_range(cf, Some(&lower), Some(&upper));
                if let Err(error) = compacted {
                    // The engine will try again.
                    tracing::warn!(%error, "the space of a deleted range is not free yet");
                }
            }
        }
    }

    async fn destroy(&self, start: Key, end: Key) -> Result<()> {
        let lower = keys::data_key(start.as_encoded());
        let upper = keys::data_end_key(end.as_encoded());
        for cf in FILES_OF {
            self.engine.delete_files_in_range(cf, &lower, &upper)?;
        }
        self.delete_rest(start, end).await?;
        if let Err(error) = self.free_space(&lower, &upper) {
            // The range is empty, which is what was asked for. The engine will try again.
            tracing::warn!(%error, "the space of a destroyed range is not free yet");
        }
        Ok(())
    }

    fn free_space(&self, lower: &[u8], upper: &[u8]) -> engine_traits::Result<()> {
        self.engine.flush(&Cf::ALL)?;
        Cf::DATA
            .into_iter()
            .try_for_each(|cf| self.engine.compact_range(cf, Some(lower), Some(upper)))
    }

    async fn delete_rest(&self, start: Key, end: Key) -> Result<()> {
        let modifies: Vec<Modify> = Cf::DATA
            .map(|cf| Modify::DeleteRange(cf, start.clone(), end.clone()))
            .into();
        let (answer, answered) = oneshot::channel();
        self.queue.push(PendingWrite {
            bytes: modifies.iter().map(Modify::size).sum(),
            memory_locks: self.memory_locks.write_begins(&modifies),
            modifies,
            deadline: None,
            passage: Passage::Always,
            change: None,
            answer,
        });
        answered.await.unwrap_or(Err(Error::Closed))
    }
}
