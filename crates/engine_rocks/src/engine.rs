//! The engine's handle and its snapshots.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine_traits::{
    Cf, CfStats, CompactionFilterFactory, EngineStats, Error, IterOptions, Iterable, KvEngine,
    Peekable, ReadOptions, Result, Snapshot, WriteBatch, WriteOptions, WritePressure,
};
use rocksdb::properties;
use rocksdb::statistics::Ticker;

use crate::batch::RocksWriteBatch;
use crate::config::Config;
use crate::database::{BlockCache, Database};
use crate::error::from_rocks;
use crate::estimate;
use crate::iterator::RocksIterator;
use crate::owned::OwnedSnapshot;
use crate::pressure;

/// An engine on RocksDB, shared by cloning. It closes when the last clone, snapshot and iterator
/// is gone. See the crate's documentation.
#[derive(Clone)]
pub struct RocksEngine {
    database: Arc<Database>,
}

impl RocksEngine {
    /// Opens the engine of a directory, or creates one where there is none.
    ///
    /// Fails with [`Error::Locked`] while another process has it open, with
    /// [`Error::ForeignDirectory`] where something else lives, with [`Error::Corruption`] where
    /// acknowledged writes are damaged, and with [`Error::InvalidArgument`] for settings that
    /// [`Config::validate`] refuses.
    pub fn open(path: impl AsRef<Path>, config: &Config) -> Result<Self> {
        let database = Arc::new(Database::open(path.as_ref(), config)?);
        Ok(RocksEngine { database })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.database.path()
    }

    /// The cache of blocks, to give it another size. It does not keep the engine open.
    pub fn block_cache(&self) -> BlockCache {
        self.database.block_cache()
    }
}

/// The contents of a [`RocksEngine`] at one moment.
#[derive(Clone)]
pub struct RocksSnapshot {
    snapshot: Arc<OwnedSnapshot>,
}

fn get_with<R>(
    database: &Database,
    cf: Cf,
    key: &[u8],
    options: &rocksdb::ReadOptions,
    f: impl FnOnce(&[u8]) -> R,
) -> Result<Option<R>> {
    let found = database
        .db()
        .get_pinned_cf_opt(database.cf(cf)?, key, options);
    Ok(found
        .map_err(|error| from_rocks(&error))?
        .map(|value| f(&value)))
}

/// How deep a read may look.
pub(crate) fn read_tier(only_cached: bool) -> rocksdb::ReadTier {
    match only_cached {
        true => rocksdb::ReadTier::BlockCache,
        false => rocksdb::ReadTier::All,
    }
}

fn read_options(opts: &ReadOptions) -> rocksdb::ReadOptions {
    let mut options = rocksdb::ReadOptions::default();
    options.fill_cache(opts.fill_cache);
    options.set_read_tier(read_tier(opts.only_cached));
    options
}

impl Peekable for RocksSnapshot {
    fn get_with<R>(
        &self,
        cf: Cf,
        key: &[u8],
        opts: &ReadOptions,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        let mut options = read_options(opts);
        self.snapshot.apply_to(&mut options);
        get_with(self.snapshot.database(), cf, key, &options, f)
    }
}

impl Iterable for RocksSnapshot {
    type Iter = RocksIterator;

    fn iter(&self, cf: Cf, opts: IterOptions) -> Result<RocksIterator> {
        RocksIterator::new(self.snapshot.database(), Some(&self.snapshot), cf, opts)
    }
}

impl Snapshot for RocksSnapshot {}

impl Peekable for RocksEngine {
    fn get_with<R>(
        &self,
        cf: Cf,
        key: &[u8],
        opts: &ReadOptions,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        get_with(&self.database, cf, key, &read_options(opts), f)
    }
}

impl Iterable for RocksEngine {
    type Iter = RocksIterator;

    fn iter(&self, cf: Cf, opts: IterOptions) -> Result<RocksIterator> {
        RocksIterator::new(&self.database, None, cf, opts)
    }
}

impl KvEngine for RocksEngine {
    type Snapshot = RocksSnapshot;
    type WriteBatch = RocksWriteBatch;

    fn snapshot(&self) -> RocksSnapshot {
        RocksSnapshot {
            snapshot: Arc::new(OwnedSnapshot::new(self.database.clone())),
        }
    }

    fn write_batch(&self) -> RocksWriteBatch {
        RocksWriteBatch::new(self.database.cf_ids())
    }

    fn write(&self, batch: RocksWriteBatch, opts: &WriteOptions) -> Result<()> {
        if opts.sync && opts.disable_wal {
            return Err(Error::InvalidArgument(
                "a write without write-ahead log cannot be synced".into(),
            ));
        }
        if batch.is_empty() {
            return if opts.sync { self.sync_wal() } else { Ok(()) };
        }
        self.database
            .write(&batch.finish()?, opts.sync, opts.disable_wal)
    }

    fn sync_wal(&self) -> Result<()> {
        self.database
            .db()
            .flush_wal(true)
            .map_err(|error| from_rocks(&error))
    }

    fn flush(&self, cfs: &[Cf]) -> Result<()> {
        // RocksDB syncs the log only where a flush leaves some of a batch behind in other column
        // families; the traits promise it always.
        self.sync_wal()?;
        let mut options = rocksdb::FlushOptions::default();
        options.set_wait(true);
        for cf in cfs {
            let handle = self.database.cf(*cf)?;
            let flushed = self.database.db().flush_cf_opt(&handle, &options);
            flushed.map_err(|error| from_rocks(&error))?;
        }
        Ok(())
    }

    fn compact_range(&self, cf: Cf, start: Option<&[u8]>, end: Option<&[u8]>) -> Result<()> {
        if let (Some(start), Some(end)) = (start, end)
            && start >= end
        {
            return Ok(());
        }
        let mut options = rocksdb::CompactOptions::default();
        // Others compact beside it, and the last level is rewritten as well.
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::ForceOptimized);
        let handle = self.database.cf(cf)?;
        let errors = self.database.property(cf, properties::BACKGROUND_ERRORS);
        self.database
            .db()
            .compact_range_cf_opt(&handle, start, end, &options);
        // The call itself has no result.
        if self.database.property(cf, properties::BACKGROUND_ERRORS) > errors {
            return Err(Error::Engine(format!(
                "the compaction of {cf} failed, see its log"
            )));
        }
        Ok(())
    }

    fn filter_compactions(&self, cf: Cf, factory: CompactionFilterFactory) -> Result<()> {
        if !Cf::DATA.contains(&cf) {
            return Err(Error::InvalidArgument(format!("{cf} holds no data")));
        }
        let slot = self.database.filter_slot(cf);
        slot.set(factory)
            .map_err(|_| Error::InvalidArgument(format!("{cf} has a filter already")))
    }

    fn delete_files_in_range(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        // RocksDB counts the end as inside, so it gets one that is below. A file that reaches
        // between the two stays, which the traits allow.
        let Some(last) = below(end).filter(|last| &last[..] >= start) else {
            return Ok(());
        };
        let handle = self.database.cf(cf)?;
        let deleted = self
            .database
            .db()
            .delete_file_in_range_cf(&handle, start, &last[..]);
        deleted.map_err(|error| from_rocks(&error))
    }

    fn approximate_size(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<u64> {
        estimate::range_bytes(&self.database, cf, start, end)
    }

    fn approximate_keys(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<u64> {
        estimate::range_keys(&self.database, cf, start, end)
    }

    fn disk_usage(&self) -> Result<u64> {
        self.database.disk_usage()
    }

    fn memory_usage(&self) -> u64 {
        let of_cf = |cf| {
            self.database.property(cf, properties::SIZE_ALL_MEM_TABLES)
                + self
                    .database
                    .property(cf, properties::ESTIMATE_TABLE_READERS_MEM)
        };
        self.database.cache_usage() + Cf::ALL.into_iter().map(of_cf).sum::<u64>()
    }

    fn stats(&self) -> EngineStats {
        let database = &self.database;
        let cf_stats = |cf| CfStats {
            cf,
            estimated_keys: database.property(cf, properties::ESTIMATE_NUM_KEYS),
            live_file_bytes: database.property(cf, properties::LIVE_SST_FILES_SIZE),
            mem_table_bytes: database.property(cf, properties::SIZE_ALL_MEM_TABLES),
            table_reader_bytes: database.property(cf, properties::ESTIMATE_TABLE_READERS_MEM),
            pending_compaction_bytes: database
                .property(cf, properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            level0_files: database.property(cf, &properties::num_files_at_level(0)),
            immutable_mem_tables: database.property(cf, properties::NUM_IMMUTABLE_MEM_TABLE),
        };
        EngineStats {
            cfs: Cf::ALL.into_iter().map(cf_stats).collect(),
            writes: database.writes.load(Ordering::Relaxed),
            wal_syncs: database.ticker(Ticker::WalFileSynced),
            wal_bytes: database.ticker(Ticker::WalFileBytes),
            block_cache_bytes: database.cache_usage(),
            block_cache_capacity: database.cache_capacity(),
            block_cache_hits: database.ticker(Ticker::BlockCacheHit),
            block_cache_misses: database.ticker(Ticker::BlockCacheMiss),
            stall_micros: database.ticker(Ticker::StallMicros),
            background_errors: database.property(Cf::Default, properties::BACKGROUND_ERRORS),
            running_background_jobs: database
                .property(Cf::Default, properties::NUM_RUNNING_FLUSHES)
                + database.property(Cf::Default, properties::NUM_RUNNING_COMPACTIONS),
        }
    }

    fn write_pressure(&self) -> Option<WritePressure> {
        Some(pressure::of(&self.database))
    }
}

/// A key below `end` with few keys between: `end` without its last byte when that is zero, or
/// with that byte one less and some of the greatest bytes after it.
fn below(end: &[u8]) -> Option<Vec<u8>> {
    let (last, head) = end.split_last()?;
    let mut key = head.to_vec();
    if let Some(less) = last.checked_sub(1) {
        key.extend([less, 0xff, 0xff, 0xff, 0xff]);
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn the_end_is_outside() {
        assert_eq!(below(b""), None);
        assert_eq!(below(b"a\0").unwrap(), b"a");
        assert!(below(b"b").unwrap() < b"b".to_vec());
        assert!(below(b"b").unwrap() > b"azzz".to_vec());
    }
}
