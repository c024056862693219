//! The writer task: group commit.
//!
//! 1. The writer takes whatever waits, makes one engine batch of it and writes it with one sync.
//! 2. Meanwhile further writes gather in the queue. They are the next group: the slower the disk,
//!    the larger the groups. No timer is involved, and a lone write never waits for company.
//! 3. Nobody is answered before the sync has returned.
//! 4. When the write or its sync fails, nobody knows what the disk holds, and a later sync that
//!    succeeds would prove nothing. So the writer answers that the result is undetermined, takes
//!    no further write ever, and calls `on_fatal`, by which the process ends.
//! 5. A full disk is another matter. The engine then refuses every write until there is room, and
//!    before it takes the next it puts what it holds into new files and begins a new log. Nothing
//!    is built upon what the disk refused, so the writer goes on. What became of the refused group
//!    itself is undetermined: a crash before the new log may find it, whole, in the old one.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_traits::{Cf, KvEngine, WriteBatch, WriteOptions};
use futures::channel::oneshot;
use keys::DATA_PREFIX;
use runtime::Clock;

use super::destroy::{Deleted, DestroyQueue};
use super::flashback::{Change, Flashback};
use super::queue::{PendingWrite, Queue};
use crate::in_memory_locks::RegionLocks;
use crate::{Error, Modify, metrics, region_error};

/// Called once with the reason when durability can no longer be had. Production aborts the
/// process in it: continuing would answer from a state that a restart may not find.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// Counters of the writer.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) writes: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) expired: AtomicU64,
}

pub(crate) struct Writer<E> {
    pub(crate) engine: E,
    pub(crate) queue: WriterQueue,
    pub(crate) flashback: Arc<Flashback>,
    /// Stopped while the region is in flashback.
    pub(crate) memory_locks: RegionLocks,
    /// Is told of ranges that were deleted.
    pub(crate) destroy: Arc<DestroyQueue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    pub(crate) max_group_bytes: usize,
    pub(crate) on_fatal: OnFatal,
    /// Dropped with the writer, after its queue: that tells those who wait for the end.
    pub(crate) _stopped: oneshot::Sender<()>,
}

/// The writer's end of the queue: when the writer goes, at its end or because its runtime stopped,
/// no write may wait for it.
pub(crate) struct WriterQueue(pub(crate) Arc<Queue>);

impl Drop for WriterQueue {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl<E: KvEngine> Writer<E> {
    pub(crate) async fn run(self) {
        let queue = &self.queue.0;
        let mut full = false;
        while let Some(group) = poll_fn(|cx| queue.poll_take(cx, self.max_group_bytes)).await {
            let bytes = group.iter().map(|write| write.bytes).sum();
            let result = self.write_group(group);
            queue.release(bytes);
            match result {
                Ok(()) => full = false,
                Err(error @ engine_traits::Error::NoSpace(_)) => {
                    if !full {
                        tracing::warn!(error = %error, "the disk has no room for a write");
                    }
                    full = true;
                }
                Err(error) => {
                    queue.abandon();
                    let reason = format!("a synced write to the engine failed: {error}");
                    tracing::error!(error = %error, "synced write failed, durability is lost");
                    (self.on_fatal)(&reason);
                    break;
                }
            }
        }
    }

    fn write_group(&self, group: Vec<PendingWrite>) -> engine_traits::Result<()> {
        let group = self.still_valid(group)?;
        if group.is_empty() {
            return Ok(());
        }
        let mut batch = self.engine.write_batch();
        let mut scratch = (Vec::new(), Vec::new());
        for modify in group.iter().flat_map(|write| &write.modifies) {
            add_to_batch(&mut batch, modify, &mut scratch);
        }
        // Afterwards nobody could tell how much it was.
        let modifies = group.iter().flat_map(|write| &write.modifies);
        let deleted: Vec<_> = modifies
            .filter_map(|modify| Deleted::by(&self.engine, modify))
            .collect();
        let result = self.commit(batch);
        if result.is_ok() {
            self.counters.groups.fetch_add(1, Ordering::Relaxed);
            metrics::WAL_SYNCS.inc();
            self.counters
                .writes
                .fetch_add(group.len() as u64, Ordering::Relaxed);
            for range in deleted {
                self.destroy.deleted(range);
            }
        }
        for write in group {
            write.finish(
                result
                    .clone()
                    .map_err(|error| region_error::undetermined_result(&error.to_string()).into()),
            );
        }
        result
    }

    /// Answers what is too late, or not to be applied in the state that the region is in by now; carries out
    /// changes of that state; and returns the rest.
    fn still_valid(&self, group: Vec<PendingWrite>) -> engine_traits::Result<Vec<PendingWrite>> {
        let now = self.clock.now();
        let mut valid = Vec::with_capacity(group.len());
        for write in group {
            if let Some(change) = write.change {
                self.change_state(write, change)?;
            } else if write.deadline.is_some_and(|deadline| deadline <= now) {
                self.counters.expired.fetch_add(1, Ordering::Relaxed);
                write.finish(Err(Error::DeadlineExceeded));
            } else if let Err(error) = self.flashback.check_write(write.passage) {
                write.finish(Err(error));
            } else {
                valid.push(write);
            }
        }
        Ok(valid)
    }

    fn change_state(&self, write: PendingWrite, change: Change) -> engine_traits::Result<()> {
        match self.flashback.check_change(change) {
            Ok(true) => {}
            unchanged => {
                write.finish(unchanged.map(drop));
                return Ok(());
            }
        }
        let (key, state) = self.flashback.stored(change)?;
        let mut batch = self.engine.write_batch();
        batch.put(Cf::Raft, &key, &state);
        let before = self.flashback.start_ts();
        if let Change::Begin(_) = change {
            // Locks first: one that is taken after this would have to be rolled back.
            self.memory_locks.begin_flashback();
            self.flashback.set_after(change);
        }
        let result = self.commit(batch);
        match (change, &result) {
            (Change::Begin(_), Ok(())) => {}
            (Change::Begin(_), Err(_)) => self.flashback.set(before),
            (Change::Finish(_), Ok(())) => self.flashback.set_after(change),
            (Change::Finish(_), Err(_)) => {}
        }
        if self.flashback.start_ts().is_zero() {
            self.memory_locks.thaw();
        }
        let told = result.clone();
        write.finish(
            told.map_err(|error| region_error::undetermined_result(&error.to_string()).into()),
        );
        result
    }

    fn commit(&self, batch: E::WriteBatch) -> engine_traits::Result<()> {
        fail::fail_point!("local_engine_before_sync", |_| Err(
            engine_traits::Error::Io("injected before the sync".into())
        ));
        self.engine.write(batch, &WriteOptions::SYNCED)?;
        fail::fail_point!("local_engine_after_sync", |_| Err(
            engine_traits::Error::Io("injected after the sync".into())
        ));
        Ok(())
    }
}

fn add_to_batch(
    batch: &mut impl WriteBatch,
    modify: &Modify,
    (first, second): &mut (Vec<u8>, Vec<u8>),
) {
    match modify {
        Modify::Put(cf, key, value) => {
            set_data_key(first, key.as_encoded());
            batch.put(*cf, first, value);
        }
        Modify::Delete(cf, key) => {
            set_data_key(first, key.as_encoded());
            batch.delete(*cf, first);
        }
        Modify::DeleteRange(cf, start, end) => {
            set_data_key(first, start.as_encoded());
            set_data_key(second, end.as_encoded());
            if end.as_encoded().is_empty() {
                second.clear();
                second.extend_from_slice(keys::DATA_MAX_KEY);
            }
            batch.delete_range(*cf, first, second);
        }
    }
}

fn set_data_key(out: &mut Vec<u8>, key: &[u8]) {
    out.clear();
    out.push(DATA_PREFIX);
    out.extend_from_slice(key);
}
