//! The open database: options, column families, and the calls that all handles share.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_traits::{Cf, Error, Result};
use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DBCompressionType,
    DBRecoveryMode, DBWithThreadMode, Options, SingleThreaded, WriteBatch,
};

use crate::batch::{CfIds, cf_id_of_probe};
use crate::config::{CfConfig, Config};
use crate::error::{from_open, from_rocks};
use crate::filter::{Slot, SlotFactory};
use crate::prefix;
use crate::pressure::{self, Bears};

/// Column families are opened once and never created or dropped afterwards.
pub(crate) type Db = DBWithThreadMode<SingleThreaded>;

/// Compression by level: what is rewritten soon stays plain or fast, the bulk is small.
const COMPRESSION: [DBCompressionType; 7] = [
    DBCompressionType::None,
    DBCompressionType::None,
    DBCompressionType::Lz4,
    DBCompressionType::Lz4,
    DBCompressionType::Lz4,
    DBCompressionType::Zstd,
    DBCompressionType::Zstd,
];

/// See the module.
pub(crate) struct Database {
    db: Db,
    cf_ids: CfIds,
    path: PathBuf,
    cache: BlockCache,
    /// Holds the statistics that the database counts in.
    options: Options,
    /// By column family; the local one's stays empty.
    filters: [Slot; Cf::ALL.len()],
    /// By column family.
    bears: [Bears; Cf::ALL.len()],
    pub(crate) writes: AtomicU64,
}

/// The cache of blocks of an engine. Clones are the same cache.
#[derive(Clone)]
pub struct BlockCache {
    cache: Cache,
    capacity: Arc<AtomicU64>,
}

impl BlockCache {
    /// Gives the cache another size; what does not fit any more is dropped.
    pub fn set_capacity(&self, bytes: u64) {
        let capacity = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.cache.clone().set_capacity(capacity);
        self.capacity.store(bytes, Ordering::Relaxed);
    }
}

impl Database {
    pub(crate) fn open(path: &Path, config: &Config) -> Result<Self> {
        let problems = config.validate();
        if !problems.is_empty() {
            return Err(Error::InvalidArgument(problems.join("; ")));
        }
        crate::directory::check(path)?;
        let cache_capacity = config.block_cache_size.0;
        let cache = Cache::new_lru_cache(usize::try_from(cache_capacity).unwrap_or(usize::MAX));
        let options = db_options(config)?;
        let filters = Cf::ALL.map(|_| Slot::default());
        let cfs = Cf::ALL.map(|cf| {
            let mut options = cf_options(cf, config.cf(cf), &cache)?;
            if Cf::DATA.contains(&cf) {
                options.set_compaction_filter_factory(SlotFactory(filters[cf.index()].clone()));
            }
            Ok(ColumnFamilyDescriptor::new(cf.name(), options))
        });
        let cfs = cfs.into_iter().collect::<Result<Vec<_>>>()?;
        let db = Db::open_cf_descriptors(&options, path, cfs)
            .map_err(|error| from_open(path, &error))?;
        let mut cf_ids = CfIds::default();
        for cf in Cf::ALL {
            cf_ids[cf.index()] = cf_id(&db, cf)?;
        }
        Ok(Database {
            db,
            cf_ids,
            path: path.to_owned(),
            cache: BlockCache {
                cache,
                capacity: Arc::new(AtomicU64::new(cache_capacity)),
            },
            options,
            filters,
            bears: Cf::ALL.map(|cf| Bears::of(config.cf(cf))),
            writes: AtomicU64::new(0),
        })
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn cf_ids(&self) -> CfIds {
        self.cf_ids
    }

    pub(crate) fn cf(&self, cf: Cf) -> Result<&ColumnFamily> {
        cf_handle(&self.db, cf)
    }

    /// Where the filters of a column family come from.
    pub(crate) fn filter_slot(&self, cf: Cf) -> &Slot {
        &self.filters[cf.index()]
    }

    /// How much backlog a column family bears.
    pub(crate) fn bears(&self, cf: Cf) -> Bears {
        self.bears[cf.index()]
    }

    pub(crate) fn cache_usage(&self) -> u64 {
        self.cache.cache.get_usage() as u64
    }

    pub(crate) fn cache_capacity(&self) -> u64 {
        self.cache.capacity.load(Ordering::Relaxed)
    }

    pub(crate) fn block_cache(&self) -> BlockCache {
        self.cache.clone()
    }

    /// A counter since the opening.
    pub(crate) fn ticker(&self, ticker: Ticker) -> u64 {
        self.options.get_ticker_count(ticker)
    }

    /// An integer property of a column family; 0 when the engine does not know it.
    pub(crate) fn property(&self, cf: Cf, name: &rocksdb::properties::PropName) -> u64 {
        let Ok(handle) = self.cf(cf) else { return 0 };
        self.db
            .property_int_value_cf(handle, name)
            .ok()
            .flatten()
            .unwrap_or(0)
    }

    /// Writes a finished representation. `sync` returns after the log is on stable storage.
    pub(crate) fn write(&self, rep: &[u8], sync: bool, disable_wal: bool) -> Result<()> {
        let mut options = rocksdb::WriteOptions::default();
        options.set_sync(sync);
        options.disable_wal(disable_wal);
        self.db
            .write_opt(WriteBatch::from_data(rep), &options)
            .map_err(|error| from_rocks(&error))?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes that the directory takes on the disk, blocks allocated in advance included.
    pub(crate) fn disk_usage(&self) -> Result<u64> {
        const BLOCK: u64 = 512;
        let io = |error: std::io::Error| Error::Io(format!("{}: {error}", self.path.display()));
        let mut bytes = 0;
        for entry in std::fs::read_dir(&self.path).map_err(io)? {
            // A file may go between the listing and the look at it.
            if let Ok(metadata) = entry.map_err(io)?.metadata() {
                bytes += metadata.blocks() * BLOCK;
            }
        }
        Ok(bytes)
    }
}

fn cf_handle(db: &Db, cf: Cf) -> Result<&ColumnFamily> {
    db.cf_handle(cf.name())
        .ok_or_else(|| Error::Engine(format!("the column family {cf} is not open")))
}

/// The binding does not tell the id, but a batch contains it.
fn cf_id(db: &Db, cf: Cf) -> Result<u32> {
    let mut probe = WriteBatch::default();
    probe.put_cf(&cf_handle(db, cf)?, b"", b"");
    cf_id_of_probe(probe.data())
        .ok_or_else(|| Error::Engine(format!("the column family {cf} has no id")))
}

fn db_options(config: &Config) -> Result<Options> {
    // Files are not allocated in advance: the log would take a write buffer's size of disk from
    // the start. The binding has no setter for it.
    let mut options = Options::default()
        .get_options_from_string("allow_fallocate=false")
        .map_err(|error| from_rocks(&error))?;
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A record cut off at the very end of the log is a write that was never acknowledged. Any
    // other damage is the loss of acknowledged writes: opening fails and says so.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // A log file that was synced and is gone is such a loss too.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    options.set_max_total_wal_size(config.max_total_wal_size.0);
    // Zero means no limit there as well.
    let buffers = usize::try_from(config.write_buffer_limit.0).unwrap_or(usize::MAX);
    options.set_db_write_buffer_size(buffers);
    options.set_manifest_preallocation_size(64 << 10);
    options.set_max_manifest_file_size(16 << 20);
    options.set_max_background_jobs(config.max_background_jobs);
    options.set_max_open_files(config.max_open_files);
    options.set_bytes_per_sync(1 << 20);
    options.set_skip_stats_update_on_db_open(true);
    let log_size = usize::try_from(config.info_log_max_size.0).unwrap_or(usize::MAX);
    options.set_max_log_file_size(log_size);
    options.set_keep_log_file_num(3);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    Ok(options)
}

/// Remains of released locks that a scan may meet in a write buffer before the buffer is flushed. Each
/// transaction leaves some, and each scan walks over those in its range: 4096 of them take less than half a
/// millisecond, and a flush for so many is cheap.
const DEAD_LOCKS_MAX: u32 = 4096;

/// Remains of records that a seek may meet in a write buffer before the buffer is flushed, and in a row in a file
/// before the file is compacted: rollbacks of a key that many want leave them, and so does garbage collection.
const DEAD_RECORDS_MAX: u32 = 1024;

/// Options of a column family whose write buffer is flushed once an iterator has met so many dead entries in it.
fn flushed_after(dead: u32) -> Result<Options> {
    Options::default()
        .get_options_from_string(format!("memtable_op_scan_flush_trigger={dead}"))
        .map_err(|error| from_rocks(&error))
}

fn cf_options(cf: Cf, config: &CfConfig, cache: &Cache) -> Result<Options> {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(size(config.block_size.0));
    // Indexes and filters live in the cache too, so that the cache's size bounds them.
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let bits = config.bloom_filter_bits_per_key;
    if bits > 0.0 {
        table.set_bloom_filter(bits, false);
        // What is looked for where keys have prefixes is one of those with a prefix, hardly ever a known key.
        table.set_whole_key_filtering(cf.prefix(&[]).is_none());
    }
    let mut options = match cf {
        // The binding has no setter for it.
        Cf::Lock => flushed_after(DEAD_LOCKS_MAX)?,
        Cf::Write => flushed_after(DEAD_RECORDS_MAX)?,
        Cf::Default | Cf::Raft => Options::default(),
    };
    prefix::set_filters(&mut options, cf, bits);
    if cf == Cf::Write {
        // A file with so many in a row is compacted, whatever its size, until they are gone.
        let (window, trigger) = (2 * DEAD_RECORDS_MAX as usize, DEAD_RECORDS_MAX as usize);
        options.add_compact_on_deletion_collector_factory(window, trigger, 0.0);
    }
    options.set_level_zero_file_num_compaction_trigger(config.level0_file_num_compaction_trigger);
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(size(config.write_buffer_size.0));
    options.set_max_write_buffer_number(config.max_write_buffer_number);
    options.set_target_file_size_base(config.target_file_size_base.0);
    options.set_max_bytes_for_level_base(config.max_bytes_for_level_base.0);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_compression_per_level(&COMPRESSION);
    pressure::set_brakes(&mut options);
    Ok(options)
}
