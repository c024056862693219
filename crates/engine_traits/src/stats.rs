//! Figures of an engine for metrics and status pages. Estimates, never inputs of a decision.

use crate::Cf;

/// Figures of a whole engine. Counters run from the opening of the engine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EngineStats {
    /// One entry per column family, in the order of [`Cf::ALL`].
    pub cfs: Vec<CfStats>,
    /// Calls of `write` that were applied.
    pub writes: u64,
    /// Times that the write-ahead log was brought to stable storage.
    pub wal_syncs: u64,
    /// Bytes added to the write-ahead log.
    pub wal_bytes: u64,
    /// Bytes held by the shared block cache.
    pub block_cache_bytes: u64,
    /// Capacity of the shared block cache.
    pub block_cache_capacity: u64,
    /// Block reads that the cache served.
    pub block_cache_hits: u64,
    /// Block reads that went to the file.
    pub block_cache_misses: u64,
    /// Time that writers were held back for flushes and compactions, in microseconds.
    pub stall_micros: u64,
    /// Errors in background work since the opening. Any is serious.
    pub background_errors: u64,
    /// Background flushes and compactions that run now.
    pub running_background_jobs: u64,
}

/// Figures of one column family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CfStats {
    /// Which one.
    pub cf: Cf,
    /// Entries, roughly.
    pub estimated_keys: u64,
    /// Bytes of live files.
    pub live_file_bytes: u64,
    /// Bytes of write buffers.
    pub mem_table_bytes: u64,
    /// Bytes of indexes and filters outside the block cache.
    pub table_reader_bytes: u64,
    /// Bytes that compactions still have to rewrite, roughly.
    pub pending_compaction_bytes: u64,
    /// Files not yet sorted among each other.
    pub level0_files: u64,
    /// Write buffers that wait to be flushed.
    pub immutable_mem_tables: u64,
}

impl CfStats {
    /// All zero.
    pub fn new(cf: Cf) -> Self {
        CfStats {
            cf,
            estimated_keys: 0,
            live_file_bytes: 0,
            mem_table_bytes: 0,
            table_reader_bytes: 0,
            pending_compaction_bytes: 0,
            level0_files: 0,
            immutable_mem_tables: 0,
        }
    }
}
