//! The traits of an engine: reading, iterating, writing, upkeep.
//!
//! Every operation is synchronous: whoever calls decides on which thread it may block.

use crate::{
    Cf, CompactionFilterFactory, EngineStats, IterOptions, ReadOptions, Result, WriteBatch,
    WriteOptions, WritePressure,
};

/// Point reads.
pub trait Peekable {
    /// Looks `key` up and gives its value to `f` without copying it first.
    fn get_with<R>(
        &self,
        cf: Cf,
        key: &[u8],
        opts: &ReadOptions,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>>;

    /// The value of `key`, copied.
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get_with(cf, key, &ReadOptions::default(), <[u8]>::to_vec)
    }
}

/// Ordered reads.
pub trait Iterable {
    /// An iterator that owns what it reads from.
    type Iter: EngineIterator;

    /// An unpositioned iterator over one column family. It sees the state at this call and
    /// nothing later, also when it is made from an engine and not from a snapshot.
    fn iter(&self, cf: Cf, opts: IterOptions) -> Result<Self::Iter>;
}

/// A cursor over the keys of one column family in byte order, within the bounds of its options.
///
/// It is *valid* when it stands on an entry. Every movement returns the validity that it leads
/// to. Movements of an invalid iterator by [`next`](EngineIterator::next) or
/// [`prev`](EngineIterator::prev) leave it invalid. After an error it is invalid until the next
/// successful seek.
pub trait EngineIterator: Send + 'static {
    /// To the first entry at or after `key`.
    fn seek(&mut self, key: &[u8]) -> Result<bool>;

    /// To the last entry at or before `key`.
    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool>;

    /// To the first entry.
    fn seek_to_first(&mut self) -> Result<bool>;

    /// To the last entry.
    fn seek_to_last(&mut self) -> Result<bool>;

    /// One entry forward.
    fn next(&mut self) -> Result<bool>;

    /// One entry back.
    fn prev(&mut self) -> Result<bool>;

    /// Whether it stands on an entry.
    fn valid(&self) -> bool;

    /// The key it stands on. Empty when not valid: callers check [`valid`](Self::valid) first.
    fn key(&self) -> &[u8];

    /// The value it stands on. Empty when not valid, unspecified under `key_only`.
    fn value(&self) -> &[u8];
}

/// An immutable view of a whole engine at one moment: all column families, whole batches only.
/// Cheap to clone. Holding one keeps old versions on disk, so it is not for keeping.
pub trait Snapshot: Peekable + Iterable + Clone + Send + Sync + 'static {}

/// A store of ordered keys in column families, shared by cloning.
///
/// Range arguments are `[start, end)`; a range whose end is not above its start is empty and
/// never an error.
pub trait KvEngine: Peekable + Iterable + Clone + Send + Sync + 'static {
    /// See [`Snapshot`].
    type Snapshot: Snapshot;
    /// See [`WriteBatch`].
    type WriteBatch: WriteBatch;

    /// The state of this moment.
    fn snapshot(&self) -> Self::Snapshot;

    /// An empty batch for this engine.
    fn write_batch(&self) -> Self::WriteBatch;

    /// Applies the batch atomically: readers and crashes see all of it or nothing. Batches become
    /// visible and durable in the order in which they were applied: when one survives a crash,
    /// every earlier one that used the write-ahead log does too.
    fn write(&self, batch: Self::WriteBatch, opts: &WriteOptions) -> Result<()>;

    /// Makes every earlier write that used the write-ahead log durable.
    fn sync_wal(&self) -> Result<()>;

    /// Moves these column families from memory to files: afterwards what they hold is durable,
    /// with or without write-ahead log, and so is the log of every earlier write.
    fn flush(&self, cfs: &[Cf]) -> Result<()>;

    /// Rewrites the files of a range without dead entries. An absent end is unbounded.
    fn compact_range(&self, cf: Cf, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<()>;

    /// Lets filters of this factory judge the entries of `cf`, one of the data column families, in every
    /// compaction that begins after this call. Once for each column family while the engine is open.
    fn filter_compactions(&self, cf: Cf, factory: CompactionFilterFactory) -> Result<()>;

    /// Drops the files that lie wholly inside the range, at once and even under snapshots. Keys
    /// of the range may remain: a [`WriteBatch::delete_range`] makes the range empty.
    fn delete_files_in_range(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<()>;

    /// Bytes that the range takes, memory and files, roughly.
    fn approximate_size(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<u64>;

    /// Entries in the range, roughly.
    fn approximate_keys(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<u64>;

    /// Bytes on disk.
    fn disk_usage(&self) -> Result<u64>;

    /// Bytes of memory held by write buffers, caches and indexes.
    fn memory_usage(&self) -> u64;

    /// Figures for metrics.
    fn stats(&self) -> EngineStats;

    /// How far flushes and compactions are behind. None for an engine that has nothing to do after a write.
    fn write_pressure(&self) -> Option<WritePressure> {
        None
    }
}
