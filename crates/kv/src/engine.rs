//! The seam between transactions and what replicates (or does not replicate) their writes.
//!
//! A write answers with a stream, because a replicated write has stages that callers act upon:
//! a caller that subscribed to `Committed` may answer its client before the write is applied.

use std::num::NonZeroU64;

use engine_traits::{Cf, EngineIterator, IterOptions, ReadOptions};
use futures::{Future, Stream};
use kvproto::kvrpcpb;
use runtime::Instant;
use txn_types::{Key, TimeStamp, Value};

use crate::Result;
use crate::in_memory_locks::SnapshotLocks;

/// One change of one region. Keys are encoded keys as regions know them, without the prefix that
/// separates data from local state inside an engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Modify {
    /// Sets a key.
    Put(Cf, Key, Value),
    /// Removes a key, which need not exist.
    Delete(Cf, Key),
    /// Removes `[start, end)`; an empty end stands for the end of the region.
    DeleteRange(Cf, Key, Key),
}

impl Modify {
    /// The column family that it changes.
    pub fn cf(&self) -> Cf {
        match self {
            Modify::Put(cf, ..) | Modify::Delete(cf, _) | Modify::DeleteRange(cf, ..) => *cf,
        }
    }

    /// Bytes of keys and values.
    pub fn size(&self) -> usize {
        match self {
            Modify::Put(_, key, value) => key.as_encoded().len() + value.len(),
            Modify::Delete(_, key) => key.as_encoded().len(),
            Modify::DeleteRange(_, start, end) => start.as_encoded().len() + end.as_encoded().len(),
        }
    }
}

/// What a snapshot is wanted for.
#[derive(Clone, Debug)]
pub struct SnapshotContext {
    /// The request's envelope: which region, in which state, at which peer.
    pub ctx: kvrpcpb::Context,
    /// The timestamp that will be read at; zero when the read has none.
    pub start_ts: TimeStamp,
    /// The encoded keys that will be read; an empty end is unbounded. Empty when not known.
    pub key_ranges: Vec<(Key, Key)>,
    /// It is part of a flashback, and sees the region while others may not.
    pub flashback: bool,
}

impl SnapshotContext {
    /// For a request that reads at no timestamp and names no ranges.
    pub fn new(ctx: kvrpcpb::Context) -> Self {
        SnapshotContext {
            ctx,
            start_ts: TimeStamp::zero(),
            key_ranges: Vec::new(),
            flashback: false,
        }
    }
}

/// A write that is applied as one.
#[derive(Clone, Debug, Default)]
pub struct WriteData {
    /// Applied in this order.
    pub modifies: Vec<Modify>,
    /// The term of the snapshot that was decided on: in a later term the write is refused.
    pub term: Option<NonZeroU64>,
    /// It commits a transaction without locks having been written before.
    pub one_pc: bool,
    /// It is part of a flashback: the region takes it while it is in flashback, and only then.
    pub flashback: bool,
    /// Not begun after this moment.
    pub deadline: Option<Instant>,
}

impl WriteData {
    /// An ordinary write without term, one-phase commit or deadline.
    pub fn new(modifies: Vec<Modify>) -> Self {
        WriteData {
            modifies,
            ..Default::default()
        }
    }

    /// Bytes of all keys and values.
    pub fn size(&self) -> usize {
        self.modifies.iter().map(Modify::size).sum()
    }
}

/// A stage of a write. The stream ends with `Finished`, exactly once.
#[derive(Clone, Debug)]
pub enum WriteEvent {
    /// Accepted and in order; its fate is open. Only when subscribed.
    Proposed,
    /// Durable, bound to be applied. Only when subscribed.
    Committed,
    /// Applied: the next snapshot sees it. Or failed.
    Finished(Result<()>),
}

/// The stages that a caller wants to hear of, besides the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Subscribed {
    /// Wants [`WriteEvent::Proposed`].
    pub proposed: bool,
    /// Wants [`WriteEvent::Committed`].
    pub committed: bool,
}

/// An immutable view of one region.
pub trait Snapshot: Clone + Send + Sync + 'static {
    /// Its keys are encoded keys, without the data prefix of the engine.
    type Iter: EngineIterator;

    /// Looks `key` up and gives its value to `f` without copying it first.
    fn get_with<R>(
        &self,
        cf: Cf,
        key: &Key,
        opts: &ReadOptions,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>>;

    /// The value of `key`, copied.
    fn get(&self, cf: Cf, key: &Key) -> Result<Option<Value>> {
        self.get_with(cf, key, &ReadOptions::default(), <[u8]>::to_vec)
    }

    /// An unpositioned iterator. Bounds are encoded keys; absent ones are those of the region.
    fn iter(&self, cf: Cf, opts: IterOptions) -> Result<Self::Iter>;

    /// The term in which it was taken, for [`WriteData::term`]. `None` where there are no terms.
    fn term(&self) -> Option<NonZeroU64>;

    /// Whether `max_ts` of this store is above everything that was read from the region elsewhere. After an election
    /// or a merge it takes an answer of the placement driver; before, nothing may choose a commit timestamp from it.
    /// True where the region has never been elsewhere.
    fn max_ts_synced(&self) -> bool {
        true
    }

    /// The pessimistic locks of the region that were not written, where it keeps any in memory. For those who may
    /// change a key they are locks like others; readers do not look at them.
    fn memory_locks(&self) -> Option<&SnapshotLocks> {
        None
    }
}

/// The regions of a store, as transactions see them.
pub trait Engine: Clone + Send + Sync + 'static {
    /// See [`Snapshot`].
    type Snap: Snapshot;

    /// A view that contains every write that was finished when this was called.
    fn async_snapshot(
        &self,
        ctx: SnapshotContext,
    ) -> impl Future<Output = Result<Self::Snap>> + Send + 'static + use<Self>;

    /// Such a view at once, for a read of `key` (where keys are what regions know them as) on a thread that
    /// must not block. What a read of it would need a file for, or a long walk, fails with
    /// [`engine_traits::Error::NotCached`]; the caller then reads elsewhere, with
    /// [`async_snapshot`](Self::async_snapshot). `None` where no view can be had without waiting.
    fn memory_snapshot(
        &self,
        _ctx: &kvrpcpb::Context,
        _start_ts: TimeStamp,
        _key: Option<&Key>,
    ) -> Option<Result<Self::Snap>> {
        None
    }

    /// Starts a write and tells its stages. The write goes its way also when the stream is
    /// dropped. No order is promised between writes whose streams have not ended: whoever needs
    /// one waits, or holds latches.
    fn async_write(
        &self,
        ctx: kvrpcpb::Context,
        data: WriteData,
        subscribed: Subscribed,
    ) -> impl Stream<Item = WriteEvent> + Send + Unpin + 'static + use<Self>;

    /// The region goes into flashback: from now on, and after a restart, it takes writes and snapshots of
    /// flashbacks only, and reads at timestamps below `start_ts`, which is not zero. Ordinary writes that
    /// were begun before are in effect or refused when this ends. It replaces an older flashback that
    /// was not finished, is refused during or after a newer one, or after its own end, as the
    /// late copy that it must be, and does nothing when it is in force already.
    fn prepare_flashback(
        &self,
        ctx: kvrpcpb::Context,
        start_ts: TimeStamp,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<Self>;

    /// The flashback that started at `start_ts` has ended: the region is as it was before. Nothing happens
    /// when it is in none; while it is in another one that is an error.
    fn finish_flashback(
        &self,
        ctx: kvrpcpb::Context,
        start_ts: TimeStamp,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<Self>;

    /// Removes `[start, end)` from all data column families of this store and gives the space back. It
    /// goes round regions, latches and replication: the caller knows that nobody will read the range
    /// again, and tells every store. Until it has ended, readers of the range may see states that never
    /// were. It goes its way also when the future is dropped.
    fn destroy_range(
        &self,
        start: Key,
        end: Key,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<Self>;
}

/// Writes and waits for the end, for callers without interest in the stages.
pub async fn write<E: Engine>(engine: &E, ctx: kvrpcpb::Context, data: WriteData) -> Result<()> {
    use futures::StreamExt;

    let mut events = engine.async_write(ctx, data, Subscribed::default());
    while let Some(event) = events.next().await {
        if let WriteEvent::Finished(result) = event {
            return result;
        }
    }
    Err(crate::Error::Closed)
}
