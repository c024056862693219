//! A region without replication: one engine, one region, its own durability.
//!
//! It checks the request's context, takes engine snapshots on the caller's thread and hands
//! writes to the one writer task. It never blocks a caller and never answers a write before it is
//! durable.

mod config;
mod destroy;
mod disk;
mod flashback;
mod queue;
mod region;
mod snapshot;
mod writer;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use engine_traits::{Cf, CompactionFilter, CompactionFilterFactory, KvEngine, Verdict};
use futures::channel::oneshot;
use futures::future::{FutureExt, Shared};
use futures::{Future, Stream, future};
use keys::DATA_PREFIX_KEY;
use kvproto::{kvrpcpb, metapb};
use runtime::{Clock, Runtime};
use txn_types::{Key, TimeStamp};

pub use config::Config;
use destroy::{DestroyQueue, Destroyer};
use disk::DiskGate;
pub use disk::DiskStatus;
use flashback::{Change, Flashback, Passage};
use queue::{PendingWrite, Queue};
pub use region::LocalRegion;
use snapshot::{Bounds, Reach};
pub use snapshot::{LocalIterator, LocalSnapshot};
pub use writer::OnFatal;
use writer::{Counters, Writer, WriterQueue};

use crate::in_memory_locks::{LockTableLimits, LockTableQuota, RegionLocks};
use crate::{
    Engine, Error, Result, SnapshotContext, Subscribed, WriteData, WriteEvent, region_error,
};

/// [`Engine`] over one engine and without replication.
///
/// When the last clone is dropped, the writer finishes what was admitted and ends.
pub struct LocalEngine<E: KvEngine> {
    inner: Arc<Inner<E>>,
}

impl<E: KvEngine> Clone for LocalEngine<E> {
    fn clone(&self) -> Self {
        LocalEngine {
            inner: self.inner.clone(),
        }
    }
}

struct Inner<E> {
    engine: E,
    region: LocalRegion,
    flashback: Arc<Flashback>,
    /// Of the region, as engine keys.
    bounds: Arc<Bounds>,
    queue: Arc<Queue>,
    /// Pessimistic locks that were not written.
    memory_locks: RegionLocks,
    lock_quota: LockTableQuota,
    counters: Arc<Counters>,
    disk: DiskGate,
    clock: Clock,
    max_write_bytes: AtomicUsize,
    writer_stopped: Shared<oneshot::Receiver<()>>,
    destroy: Arc<DestroyQueue>,
    destroyer_stopped: Shared<oneshot::Receiver<()>>,
}

impl<E> Drop for Inner<E> {
    fn drop(&mut self) {
        self.queue.close();
        self.destroy.close();
    }
}

/// Figures of a [`LocalEngine`]; counters run from its creation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LocalStats {
    /// Writes that became durable.
    pub writes: u64,
    /// Synced engine writes that carried them.
    pub groups: u64,
    /// Writes that were refused because their deadline passed while they waited.
    pub expired: u64,
    /// Bytes that wait or are under way now.
    pub pending_bytes: usize,
}

impl<E: KvEngine> LocalEngine<E> {
    /// Serves `region` from `engine` and starts the writer on `runtime`. The caller has validated
    /// `config`.
    pub fn new(
        engine: E,
        region: LocalRegion,
        runtime: &Runtime,
        config: Config,
        on_fatal: OnFatal,
    ) -> Self {
        let queue = Arc::new(Queue::new(config.max_pending_bytes));
        let counters = Arc::new(Counters::default());
        let (stopped, writer_stopped) = oneshot::channel();
        let flashback = Arc::new(Flashback::new(region.region.clone()));
        let lock_quota = LockTableQuota::new(LockTableLimits::default());
        let memory_locks = RegionLocks::new(region.stamp(), lock_quota.clone());
        if !flashback.start_ts().is_zero() {
            memory_locks.begin_flashback();
        }
        let (ended, destroyer_stopped) = oneshot::channel();
        let parts = (engine.clone(), queue.clone(), memory_locks.clone());
        let (destroyer, destroy) = Destroyer::new(parts, ended);
        let writer = Writer {
            flashback: flashback.clone(),
            memory_locks: memory_locks.clone(),
            destroy: destroy.clone(),
            engine: engine.clone(),
            queue: WriterQueue(queue.clone()),
            counters: counters.clone(),
            clock: runtime.clock.clone(),
            max_group_bytes: config.max_group_bytes,
            on_fatal,
            _stopped: stopped,
        };
        drop(runtime.spawner.spawn_dedicated("kv-writer", writer.run()));
        drop(
            runtime
                .spawner
                .spawn_dedicated("kv-destroyer", destroyer.run()),
        );
        let bounds = Bounds::new(region.region.get_start_key(), region.region.get_end_key());
        let inner = Inner {
            flashback,
            memory_locks,
            lock_quota,
            engine,
            region,
            bounds: Arc::new(bounds),
            queue,
            counters,
            disk: DiskGate::default(),
            clock: runtime.clock.clone(),
            max_write_bytes: config.max_write_bytes.into(),
            writer_stopped: writer_stopped.shared(),
            destroy,
            destroyer_stopped: destroyer_stopped.shared(),
        };
        LocalEngine {
            inner: Arc::new(inner),
        }
    }

    /// Refuses further requests, and is done when every write that was admitted is answered and no thread
    /// of this engine holds the one below any more.
    pub fn close(&self) -> impl Future<Output = ()> + Send + 'static + use<E> {
        let inner = &self.inner;
        inner.queue.close();
        inner.destroy.close();
        future::join(
            inner.writer_stopped.clone(),
            inner.destroyer_stopped.clone(),
        )
        .map(drop)
    }

    /// The region that it serves.
    pub fn region(&self) -> &LocalRegion {
        &self.inner.region
    }

    /// The region that it serves as it is now: with the mark of a flashback while it is in one.
    pub fn region_now(&self) -> metapb::Region {
        self.inner.flashback.region()
    }

    /// The engine below, for upkeep and figures. Whoever writes to it directly goes round the
    /// group commit and the region's checks.
    pub fn kv_engine(&self) -> &E {
        &self.inner.engine
    }

    /// Lets filters of this factory judge what compactions of `cf` rewrite. They are given encoded keys, and
    /// never see local state. Once for each column family while the engine is open.
    pub fn filter_compactions(&self, cf: Cf, factory: CompactionFilterFactory) -> Result<()> {
        let data_only = move || -> CompactionFilter {
            let mut filter = factory();
            Box::new(move |key, value| match key.strip_prefix(DATA_PREFIX_KEY) {
                Some(key) => filter(key, value),
                None => Verdict::Keep,
            })
        };
        Ok(self
            .inner
            .engine
            .filter_compactions(cf, Arc::new(data_only))?)
    }

    /// Tells how much room the disk has: the engine does not look by itself.
    pub fn set_disk_status(&self, status: DiskStatus) {
        self.inner.disk.set(status);
    }

    /// The room that was told last.
    pub fn disk_status(&self) -> DiskStatus {
        self.inner.disk.status()
    }

    /// Changes how many bytes one write may have, and how many of all writes may wait or be under way at
    /// once; the latter never below one largest write.
    pub fn set_write_limits(&self, max_write_bytes: usize, max_pending_bytes: usize) {
        let limit = &self.inner.max_write_bytes;
        limit.store(max_write_bytes, Ordering::Relaxed);
        self.inner
            .queue
            .set_max_bytes(max_pending_bytes.max(max_write_bytes));
    }

    /// The pessimistic locks that it keeps in memory.
    pub fn memory_locks(&self) -> &RegionLocks {
        &self.inner.memory_locks
    }

    /// Changes what the locks in memory may take.
    pub fn set_memory_lock_limits(&self, limits: LockTableLimits) {
        self.inner.lock_quota.set_limits(limits);
    }

    /// Figures for metrics.
    pub fn stats(&self) -> LocalStats {
        let counters = &self.inner.counters;
        LocalStats {
            writes: counters.writes.load(Ordering::Relaxed),
            groups: counters.groups.load(Ordering::Relaxed),
            expired: counters.expired.load(Ordering::Relaxed),
            pending_bytes: self.inner.queue.pending_bytes(),
        }
    }

    /// A snapshot, if `check` finds that the region contains what will be read.
    fn snapshot_now(
        &self,
        ctx: &kvrpcpb::Context,
        (start_ts, flashback): (TimeStamp, bool),
        check: impl FnOnce(&LocalRegion) -> Result<()>,
        reach: Reach,
    ) -> Result<LocalSnapshot<E::Snapshot>> {
        let Inner {
            engine,
            region,
            queue,
            bounds,
            memory_locks,
            ..
        } = &*self.inner;
        if queue.is_closed() {
            return Err(Error::Closed);
        }
        region.check_context(ctx)?;
        let state = &self.inner.flashback;
        let snapshot = state.read(start_ts, flashback, || engine.snapshot())?;
        check(region)?;
        Ok(LocalSnapshot::new(
            snapshot,
            bounds.clone(),
            region.term(),
            memory_locks.at(region.stamp()),
            reach,
        ))
    }

    /// Everything that can refuse a write before it is queued. Returns its size.
    fn check_write(&self, ctx: &kvrpcpb::Context, data: &WriteData) -> Result<usize> {
        let Inner {
            region,
            disk,
            clock,
            max_write_bytes,
            ..
        } = &*self.inner;
        region.check_context(ctx)?;
        if data.term.is_some() && data.term != region.term() {
            return Err(region_error::stale_command().into());
        }
        self.inner.flashback.check_write(passage(data))?;
        region.check_modifies(&data.modifies)?;
        disk.check(region.store_id, ctx.get_disk_full_opt(), &data.modifies)?;
        let bytes = data.size();
        if bytes > max_write_bytes.load(Ordering::Relaxed) {
            let region_id = region.region.get_id();
            return Err(region_error::raft_entry_too_large(region_id, bytes as u64).into());
        }
        if data
            .deadline
            .is_some_and(|deadline| deadline <= clock.now())
        {
            return Err(Error::DeadlineExceeded);
        }
        Ok(bytes)
    }

    fn start_write(
        &self,
        ctx: &kvrpcpb::Context,
        data: WriteData,
        subscribed: Subscribed,
    ) -> LocalWrite {
        let bytes = match self.check_write(ctx, &data) {
            Ok(bytes) => bytes,
            Err(error) => return LocalWrite::failed(error),
        };
        let (answer, answered) = oneshot::channel();
        let passage = passage(&data);
        let WriteData {
            modifies, deadline, ..
        } = data;
        self.inner.queue.push(PendingWrite {
            memory_locks: self.inner.memory_locks.write_begins(&modifies),
            modifies,
            bytes,
            deadline,
            passage,
            change: None,
            answer,
        });
        LocalWrite::waiting(answered, subscribed)
    }

    fn change_state(
        &self,
        ctx: &kvrpcpb::Context,
        change: Change,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E> {
        let queued = self.inner.region.check_context(ctx).map(|()| {
            let (answer, answered) = oneshot::channel();
            self.inner.queue.push(PendingWrite {
                modifies: Vec::new(),
                bytes: 0,
                deadline: None,
                passage: Passage::Always,
                change: Some(change),
                memory_locks: None,
                answer,
            });
            answered
        });
        async move {
            let stopped = || region_error::undetermined_result("the writer stopped").into();
            queued?.await.unwrap_or_else(|_| Err(stopped()))
        }
    }
}

fn passage(data: &WriteData) -> Passage {
    if data.flashback {
        Passage::Flashback
    } else {
        Passage::Ordinary
    }
}

impl<E: KvEngine> Engine for LocalEngine<E> {
    type Snap = LocalSnapshot<E::Snapshot>;

    fn async_snapshot(
        &self,
        ctx: SnapshotContext,
    ) -> impl Future<Output = Result<Self::Snap>> + Send + 'static + use<E> {
        let check = |region: &LocalRegion| region.check_ranges(&ctx.key_ranges);
        let at = (ctx.start_ts, ctx.flashback);
        future::ready(self.snapshot_now(&ctx.ctx, at, check, Reach::Everything))
    }

    fn memory_snapshot(
        &self,
        ctx: &kvrpcpb::Context,
        start_ts: TimeStamp,
        key: Option<&Key>,
    ) -> Option<Result<Self::Snap>> {
        let check = |region: &LocalRegion| match key {
            Some(key) => region.check_key(key),
            None => Ok(()),
        };
        Some(self.snapshot_now(ctx, (start_ts, false), check, Reach::Memory))
    }

    fn async_write(
        &self,
        ctx: kvrpcpb::Context,
        data: WriteData,
        subscribed: Subscribed,
    ) -> impl Stream<Item = WriteEvent> + Send + Unpin + 'static + use<E> {
        self.start_write(&ctx, data, subscribed)
    }

    fn prepare_flashback(
        &self,
        ctx: kvrpcpb::Context,
        start_ts: TimeStamp,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E> {
        assert!(!start_ts.is_zero(), "zero stands for no flashback");
        self.change_state(&ctx, Change::Begin(start_ts))
    }

    fn finish_flashback(
        &self,
        ctx: kvrpcpb::Context,
        start_ts: TimeStamp,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E> {
        self.change_state(&ctx, Change::Finish(start_ts))
    }

    fn destroy_range(
        &self,
        start: Key,
        end: Key,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E> {
        let queued = self.inner.destroy.push(start, end);
        async move { queued?.await.unwrap_or(Err(Error::Closed)) }
    }
}

/// The stages of one write.
struct LocalWrite {
    ready: VecDeque<WriteEvent>,
    answered: Option<oneshot::Receiver<Result<()>>>,
    subscribed: Subscribed,
}

impl LocalWrite {
    fn failed(error: Error) -> Self {
        LocalWrite {
            ready: VecDeque::from([WriteEvent::Finished(Err(error))]),
            answered: None,
            subscribed: Subscribed::default(),
        }
    }

    fn waiting(mut answered: oneshot::Receiver<Result<()>>, subscribed: Subscribed) -> Self {
        let early = match answered.try_recv() {
            // A write that the queue refused was never proposed.
            Ok(Some(Err(error))) => return LocalWrite::failed(error),
            // The writer was faster than this thread. An answer comes once: it must be kept.
            Ok(Some(Ok(()))) => Some(Ok(())),
            Ok(None) | Err(oneshot::Canceled) => None,
        };
        let mut write = LocalWrite {
            ready: subscribed
                .proposed
                .then_some(WriteEvent::Proposed)
                .into_iter()
                .collect(),
            answered: Some(answered),
            subscribed,
        };
        if let Some(result) = early {
            write.finish(result);
        }
        write
    }

    fn finish(&mut self, result: Result<()>) {
        self.answered = None;
        if result.is_ok() && self.subscribed.committed {
            self.ready.push_back(WriteEvent::Committed);
        }
        self.ready.push_back(WriteEvent::Finished(result));
    }
}

impl Stream for LocalWrite {
    type Item = WriteEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WriteEvent>> {
        if let Some(event) = self.ready.pop_front() {
            return Poll::Ready(Some(event));
        }
        let Some(answered) = &mut self.answered else {
            return Poll::Ready(None);
        };
        let result = match Pin::new(answered).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(result)) => result,
            // The writer went away with the write in its hands.
            Poll::Ready(Err(oneshot::Canceled)) => {
                Err(region_error::undetermined_result("the writer stopped").into())
            }
        };
        self.finish(result);
        Poll::Ready(self.ready.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use futures::executor::block_on;

    use super::*;

    const EVERYTHING: Subscribed = Subscribed {
        proposed: true,
        committed: true,
    };

    fn events(answer: Option<Result<()>>, before_the_stream: bool) -> Vec<String> {
        let (sender, receiver) = oneshot::channel();
        let mut sender = Some(sender);
        let mut send = || {
            if let (Some(sender), Some(answer)) = (sender.take(), answer.clone()) {
                sender.send(answer).unwrap();
            }
        };
        if before_the_stream {
            send();
        }
        let write = LocalWrite::waiting(receiver, EVERYTHING);
        send();
        drop(sender);
        block_on(write.map(|event| format!("{event:?}")).collect())
    }

    #[test]
    fn an_answer_that_comes_before_anybody_waits_is_not_lost() {
        let expected = ["Proposed", "Committed", "Finished(Ok(()))"];
        assert_eq!(events(Some(Ok(())), true), expected);
        assert_eq!(events(Some(Ok(())), false), expected);
    }

    #[test]
    fn a_writer_that_goes_away_leaves_the_result_undetermined() {
        let told = events(None, false);
        assert_eq!(told[0], "Proposed");
        assert!(told[1].contains("undetermined"), "{told:?}");
        assert_eq!(told.len(), 2);
    }
}
