//! The engine and its snapshots: locks around the versioned store and its log.
//!
//! One lock holds both, so that a sequence number and what the log says of it never disagree. It
//! is held for the length of one batch or one chunk of an iteration, never while a caller's code
//! runs.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use engine_traits::{
    Cf, CfStats, CompactionFilterFactory, EngineStats, Error, IterOptions, Iterable, KvEngine,
    Peekable, ReadOptions, Result, Snapshot, Verdict, WriteBatch, WriteOptions,
};
use parking_lot::RwLock;

use crate::batch::{MemWriteBatch, Op};
use crate::iterator::MemIterator;
use crate::log::Log;
use crate::versions::{Bytes, Horizon, Versioned};

/// Settings of a [`MemEngine`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of batches that may wait for durability before the engine flushes everything, as a
    /// real engine does when its write buffers are full. Default 32 MiB.
    pub flush_after_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            flush_after_bytes: 32 << 20,
        }
    }
}

pub(crate) struct State {
    pub(crate) store: Versioned,
    log: Log,
}

pub(crate) struct Shared {
    pub(crate) state: RwLock<State>,
    pub(crate) horizon: Horizon,
    config: Config,
    writes: AtomicU64,
    failing: AtomicBool,
    full: AtomicBool,
    /// Every so many reads from memory alone miss; 0 is never.
    miss_every: AtomicU64,
    /// Reads from memory alone.
    memory_reads: AtomicU64,
    /// By column family.
    filters: [OnceLock<CompactionFilterFactory>; Cf::ALL.len()],
}

/// An engine in memory, shared by cloning. See the crate's documentation.
#[derive(Clone)]
pub struct MemEngine {
    shared: Arc<Shared>,
}

impl Default for MemEngine {
    fn default() -> Self {
        MemEngine::new()
    }
}

impl MemEngine {
    /// An empty engine.
    pub fn new() -> Self {
        MemEngine::with_config(Config::default())
    }

    /// An empty engine with its own settings.
    pub fn with_config(config: Config) -> Self {
        let state = State {
            store: Versioned::default(),
            log: Log::default(),
        };
        let shared = Shared {
            state: RwLock::new(state),
            horizon: Horizon::default(),
            config,
            writes: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            full: AtomicBool::new(false),
            miss_every: AtomicU64::new(0),
            memory_reads: AtomicU64::new(0),
            filters: Default::default(),
        };
        // The contents at the log's base are what a crash falls back to: a reader like any other.
        shared.horizon.register(0);
        MemEngine {
            shared: Arc::new(shared),
        }
    }

    /// What a crash at this moment leaves: everything that was made durable and nothing else.
    /// This engine stays as it is.
    pub fn crash(&self) -> MemEngine {
        self.crash_keeping(0)
    }

    /// Like [`crash`](Self::crash), but some first part of the batches that were logged and not
    /// synced has reached the disk by luck; `seed` chooses how many, from none to all.
    pub fn crash_torn(&self, seed: u64) -> MemEngine {
        let unsynced = self.unsynced_batches();
        self.crash_keeping((mix(seed) % (unsynced as u64 + 1)) as usize)
    }

    /// Batches that were logged and that a crash may lose.
    pub fn unsynced_batches(&self) -> usize {
        self.shared.state.read().log.unsynced()
    }

    /// From now on (or no longer) every write and sync fails as if the disk had refused it. A
    /// failed write changes nothing that readers of this engine see.
    pub fn fail_writes(&self, failing: bool) {
        self.shared.failing.store(failing, Ordering::SeqCst);
    }

    /// From now on (or no longer) every write and sync fails because the disk has no room.
    pub fn fill_disk(&self, full: bool) {
        self.shared.full.store(full, Ordering::SeqCst);
    }

    /// From now on one of so many point reads and seeks that may look at memory only
    /// ([`ReadOptions::only_cached`]) fails as if it needed a file; 0 is none.
    pub fn miss_every(&self, reads: u64) {
        self.shared.miss_every.store(reads, Ordering::SeqCst);
    }

    fn crash_keeping(&self, tail: usize) -> MemEngine {
        let survivor = MemEngine::with_config(self.shared.config.clone());
        {
            let state = self.shared.state.read();
            let mut fresh = survivor.shared.state.write();
            let base = state.store.dump(state.log.base_seq());
            for ops in std::iter::once(base).chain(state.log.surviving(tail)) {
                let seq = fresh.store.apply(&ops, &survivor.shared.horizon);
                fresh.log.append(seq, ops.into(), true);
            }
            survivor.shared.make_durable(&mut fresh, Log::sync);
        }
        survivor
    }

    fn check_disk(&self) -> Result<()> {
        if self.shared.failing.load(Ordering::SeqCst) {
            return Err(Error::Io("the disk refuses writes (injected)".into()));
        }
        if self.shared.full.load(Ordering::SeqCst) {
            return Err(Error::NoSpace("the disk is full (injected)".into()));
        }
        Ok(())
    }

    fn snapshot_now(&self) -> MemSnapshot {
        // Under the read lock: see the argument in `versions`.
        let state = self.shared.state.read();
        MemSnapshot {
            reader: Arc::new(Reader::new(&self.shared, state.store.last_seq())),
        }
    }
}

impl Shared {
    fn read_memory(&self) -> Result<()> {
        let every = self.miss_every.load(Ordering::SeqCst);
        if every == 0 {
            return Ok(());
        }
        let before = self.memory_reads.fetch_add(1, Ordering::SeqCst);
        if before % every == every - 1 {
            return Err(Error::NotCached);
        }
        Ok(())
    }

    /// Changes durability and moves the registration of the log's base along.
    fn make_durable(&self, state: &mut State, change: impl FnOnce(&mut Log)) {
        let before = state.log.base_seq();
        change(&mut state.log);
        let after = state.log.base_seq();
        if after != before {
            self.horizon.register(after);
            self.horizon.release(before);
            state.store.prune(&self.horizon);
        }
    }
}

/// What the filter of one compaction does to a range.
fn filtered(
    store: &Versioned,
    cf: Cf,
    (start, end): (Option<&[u8]>, Option<&[u8]>),
    factory: &CompactionFilterFactory,
) -> Vec<Op> {
    if start.zip(end).is_some_and(|(start, end)| start >= end) {
        return Vec::new();
    }
    let mut filter = factory();
    let lower = start.map_or(Bound::Unbounded, Bound::Included);
    let upper = end.map_or(Bound::Unbounded, Bound::Excluded);
    store
        .forward(cf, store.last_seq(), (lower, upper), usize::MAX)
        .into_iter()
        .filter_map(|(key, value)| match filter(&key, &value) {
            Verdict::Keep => None,
            Verdict::Remove => Some(Op::Delete(cf, key)),
            Verdict::Replace(value) => Some(Op::Put(cf, key, value.into())),
        })
        .collect()
}

/// Spreads a seed over all bits (the finaliser of splitmix64).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A registered sequence: keeps alive what is visible there.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    seq: u64,
}

impl Reader {
    /// The caller holds the state's lock.
    fn new(shared: &Arc<Shared>, seq: u64) -> Self {
        shared.horizon.register(seq);
        Reader {
            shared: shared.clone(),
            seq,
        }
    }

    /// Fails when a read that may look at memory only is to miss.
    pub(crate) fn read_memory(&self) -> Result<()> {
        self.shared.read_memory()
    }

    pub(crate) fn with_store<R>(&self, f: impl FnOnce(&Versioned, u64) -> R) -> R {
        f(&self.shared.state.read().store, self.seq)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.horizon.release(self.seq);
    }
}

/// The contents of a [`MemEngine`] at one moment.
#[derive(Clone)]
pub struct MemSnapshot {
    reader: Arc<Reader>,
}

impl Peekable for MemSnapshot {
    fn get_with<R>(
        &self,
        cf: Cf,
        key: &[u8],
        opts: &ReadOptions,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        if opts.only_cached {
            self.reader.read_memory()?;
        }
        let value: Option<Bytes> = self.reader.with_store(|store, seq| store.get(cf, key, seq));
        Ok(value.map(|value| f(&value)))
    }
}

impl Iterable for MemSnapshot {
    type Iter = MemIterator;

    fn iter(&self, cf: Cf, opts: IterOptions) -> Result<MemIterator> {
        MemIterator::new(self.reader.clone(), cf, opts)
    }
}

impl Snapshot for MemSnapshot {}

impl Peekable for MemEngine {
    fn get_with<R>(
        &self,
        cf: Cf,
        key: &[u8],
        opts: &ReadOptions,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        self.snapshot_now().get_with(cf, key, opts, f)
    }
}

impl Iterable for MemEngine {
    type Iter = MemIterator;

    fn iter(&self, cf: Cf, opts: IterOptions) -> Result<MemIterator> {
        self.snapshot_now().iter(cf, opts)
    }
}

impl KvEngine for MemEngine {
    type Snapshot = MemSnapshot;
    type WriteBatch = MemWriteBatch;

    fn snapshot(&self) -> MemSnapshot {
        self.snapshot_now()
    }

    fn write_batch(&self) -> MemWriteBatch {
        MemWriteBatch::default()
    }

    fn write(&self, batch: MemWriteBatch, opts: &WriteOptions) -> Result<()> {
        if opts.sync && opts.disable_wal {
            return Err(Error::InvalidArgument(
                "a write without write-ahead log cannot be synced".into(),
            ));
        }
        self.check_disk()?;
        let shared = &self.shared;
        let mut state = shared.state.write();
        if !batch.is_empty() {
            let seq = state.store.apply(&batch.ops, &shared.horizon);
            state.log.append(seq, batch.ops.into(), !opts.disable_wal);
            shared.writes.fetch_add(1, Ordering::Relaxed);
        }
        if opts.sync {
            shared.make_durable(&mut state, Log::sync);
        } else if state.log.bytes() > shared.config.flush_after_bytes {
            shared.make_durable(&mut state, |log| log.flush(&Cf::ALL));
        }
        Ok(())
    }

    fn sync_wal(&self) -> Result<()> {
        self.check_disk()?;
        let mut state = self.shared.state.write();
        self.shared.make_durable(&mut state, Log::sync);
        Ok(())
    }

    fn flush(&self, cfs: &[Cf]) -> Result<()> {
        self.check_disk()?;
        let mut state = self.shared.state.write();
        self.shared.make_durable(&mut state, |log| log.flush(cfs));
        Ok(())
    }

    /// There are no files; dead entries go with the last reader that sees them. What a filter changes is
    /// as durable as a write that is not synced: it happens again after a crash.
    fn compact_range(&self, cf: Cf, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<()> {
        let shared = &self.shared;
        let mut state = shared.state.write();
        if let Some(factory) = shared.filters[cf.index()].get() {
            let ops = filtered(&state.store, cf, (start, end), factory);
            if !ops.is_empty() {
                let seq = state.store.apply(&ops, &shared.horizon);
                state.log.append(seq, ops.into(), true);
            }
        }
        state.store.prune(&shared.horizon);
        Ok(())
    }

    fn filter_compactions(&self, cf: Cf, factory: CompactionFilterFactory) -> Result<()> {
        if !Cf::DATA.contains(&cf) {
            return Err(Error::InvalidArgument(format!("{cf} holds no data")));
        }
        self.shared.filters[cf.index()]
            .set(factory)
            .map_err(|_| Error::InvalidArgument(format!("{cf} has a filter already")))
    }

    /// There are no files, so none lies inside the range.
    fn delete_files_in_range(&self, _cf: Cf, _start: &[u8], _end: &[u8]) -> Result<()> {
        Ok(())
    }

    fn approximate_size(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<u64> {
        Ok(self.shared.state.read().store.measure(cf, start, end).1)
    }

    fn approximate_keys(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<u64> {
        Ok(self.shared.state.read().store.measure(cf, start, end).0)
    }

    fn disk_usage(&self) -> Result<u64> {
        let state = self.shared.state.read();
        Ok((state.store.bytes() + state.log.bytes()) as u64)
    }

    fn memory_usage(&self) -> u64 {
        let state = self.shared.state.read();
        (state.store.bytes() + state.log.bytes()) as u64
    }

    fn stats(&self) -> EngineStats {
        let state = self.shared.state.read();
        let cf_stats = |cf| CfStats {
            estimated_keys: state.store.key_count(cf) as u64,
            ..CfStats::new(cf)
        };
        EngineStats {
            cfs: Cf::ALL.into_iter().map(cf_stats).collect(),
            writes: self.shared.writes.load(Ordering::Relaxed),
            wal_syncs: state.log.syncs(),
            wal_bytes: state.log.logged_bytes(),
            ..EngineStats::default()
        }
    }
}
