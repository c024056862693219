//! Settings of the engine. Names in files are TiKV's where the meaning is the same.
//!
//! The defaults suit a small machine: memory is taken as data comes, an idle engine stays small.

use engine_traits::Cf;
use online_config::ReadableSize;
use serde::{Deserialize, Serialize};

/// Settings of a [`RocksEngine`](crate::RocksEngine).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Threads for flushes and compactions together. Raise it with cores and write load.
    /// Default 3, at least 2.
    pub max_background_jobs: i32,
    /// Table files kept open; -1 for all. Mind the process's limit of open files. Default 640.
    pub max_open_files: i32,
    /// Bytes of write-ahead log that force a flush. Larger means fewer flushes and a longer
    /// replay at the start. Default 64 MiB.
    pub max_total_wal_size: ReadableSize,
    /// Bytes of the cache of blocks, indexes and filters, shared by the column families. The
    /// main knob of reads. Default 128 MiB.
    pub block_cache_size: ReadableSize,
    /// Bytes of the write buffers of all column families together; when they are nearly used up the
    /// largest is flushed early. 0 leaves only the sizes of each buffer; a server derives it from
    /// `memory-usage-limit` instead. Default 0.
    pub write_buffer_limit: ReadableSize,
    /// Bytes of one file of the engine's own log, of which three are kept. Default 1 MiB.
    pub info_log_max_size: ReadableSize,
    /// Long values and raw data.
    pub defaultcf: CfConfig,
    /// Commit and rollback records.
    pub writecf: CfConfig,
    /// Locks.
    pub lockcf: CfConfig,
    /// State of regions.
    pub raftcf: CfConfig,
}

/// Settings of one column family.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CfConfig {
    /// Bytes that one write buffer collects before it is flushed. Default 32 MiB; locks 16 MiB,
    /// region state 8 MiB.
    pub write_buffer_size: ReadableSize,
    /// Write buffers, filling and being flushed, before writers are held back. The flow control
    /// (`storage.flow-control`) begins at half of them. Default 5, at least 2.
    pub max_write_buffer_number: i32,
    /// Table files of the first level, which lie over each other, that are merged into the next. Fewer
    /// means cheaper reads and more rewriting. Default 4; locks 1, because what is left of released
    /// locks is in the way of every scan. At least 1.
    pub level0_file_num_compaction_trigger: i32,
    /// Bytes of one table file below the first level. Default 16 MiB.
    pub target_file_size_base: ReadableSize,
    /// Bytes of the first sorted level. Default 128 MiB.
    pub max_bytes_for_level_base: ReadableSize,
    /// Bits per key of the filters, of files and of write buffers, that spare reads of absent keys; 0 for
    /// none. Default 10.
    pub bloom_filter_bits_per_key: f64,
    /// Bytes of a block, before compression. Default 16 KiB.
    pub block_size: ReadableSize,
}

impl Default for CfConfig {
    fn default() -> Self {
        CfConfig {
            write_buffer_size: ReadableSize::mb(32),
            max_write_buffer_number: 5,
            level0_file_num_compaction_trigger: 4,
            target_file_size_base: ReadableSize::mb(16),
            max_bytes_for_level_base: ReadableSize::mb(128),
            bloom_filter_bits_per_key: 10.0,
            block_size: ReadableSize::kb(16),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let with_buffer = |size| CfConfig {
            write_buffer_size: size,
            ..CfConfig::default()
        };
        Config {
            max_background_jobs: 3,
            max_open_files: 640,
            max_total_wal_size: ReadableSize::mb(64),
            block_cache_size: ReadableSize::mb(128),
            write_buffer_limit: ReadableSize(0),
            info_log_max_size: ReadableSize::mb(1),
            defaultcf: CfConfig::default(),
            writecf: CfConfig::default(),
            lockcf: CfConfig {
                level0_file_num_compaction_trigger: 1,
                ..with_buffer(ReadableSize::mb(16))
            },
            raftcf: with_buffer(ReadableSize::mb(8)),
        }
    }
}

impl Config {
    /// The settings of one column family.
    pub(crate) fn cf(&self, cf: Cf) -> &CfConfig {
        match cf {
            Cf::Default => &self.defaultcf,
            Cf::Lock => &self.lockcf,
            Cf::Write => &self.writecf,
            Cf::Raft => &self.raftcf,
        }
    }

    /// Everything that is wrong, one sentence each with name, value and range; empty when all is
    /// well.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut within = |name: String, value: i64, low: i64, high: i64| {
            if value < low || value > high {
                problems.push(format!(
                    "{name} is {value}, it must be from {low} to {high}"
                ));
            }
        };
        const GIB: i64 = 1 << 30;
        let bytes = |size: ReadableSize| i64::try_from(size.0).unwrap_or(i64::MAX);
        within(
            "max-background-jobs".into(),
            self.max_background_jobs.into(),
            2,
            256,
        );
        if self.max_open_files != -1 {
            within(
                "max-open-files".into(),
                self.max_open_files.into(),
                64,
                1 << 24,
            );
        }
        let wal = bytes(self.max_total_wal_size);
        within("max-total-wal-size".into(), wal, 1 << 20, 64 * GIB);
        within(
            "block-cache-size".into(),
            bytes(self.block_cache_size),
            1 << 20,
            4096 * GIB,
        );
        if self.write_buffer_limit.0 != 0 {
            let limit = bytes(self.write_buffer_limit);
            within("write-buffer-limit".into(), limit, 4 << 20, 4096 * GIB);
        }
        within(
            "info-log-max-size".into(),
            bytes(self.info_log_max_size),
            1 << 16,
            GIB,
        );
        for (name, cf) in [
            ("defaultcf", &self.defaultcf),
            ("writecf", &self.writecf),
            ("lockcf", &self.lockcf),
            ("raftcf", &self.raftcf),
        ] {
            let named = |key| format!("{name}.{key}");
            let (low, high) = (1 << 16, 8 * GIB);
            within(
                named("write-buffer-size"),
                bytes(cf.write_buffer_size),
                low,
                high,
            );
            within(
                named("target-file-size-base"),
                bytes(cf.target_file_size_base),
                low,
                high,
            );
            let base = bytes(cf.max_bytes_for_level_base);
            within(named("max-bytes-for-level-base"), base, 1 << 20, 4096 * GIB);
            within(named("block-size"), bytes(cf.block_size), 1 << 10, 16 << 20);
            let buffers = cf.max_write_buffer_number.into();
            within(named("max-write-buffer-number"), buffers, 2, 64);
            let trigger = cf.level0_file_num_compaction_trigger.into();
            within(named("level0-file-num-compaction-trigger"), trigger, 1, 20);
            let bits = cf.bloom_filter_bits_per_key;
            // Not a number becomes 0 here and is caught below.
            within(named("bloom-filter-bits-per-key"), bits as i64, 0, 64);
            if bits.is_nan() {
                within(named("bloom-filter-bits-per-key"), -1, 0, 64);
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_all_problems_are_told() {
        assert_eq!(Config::default().validate(), Vec::<String>::new());
        let mut config = Config::default();
        config.max_background_jobs = 0;
        config.max_open_files = -1;
        config.writecf.max_write_buffer_number = 1;
        config.lockcf.bloom_filter_bits_per_key = f64::NAN;
        config.raftcf.write_buffer_size = ReadableSize(u64::MAX);
        let problems = config.validate();
        assert_eq!(problems.len(), 4, "{problems:#?}");
        assert_eq!(
            problems[0],
            "max-background-jobs is 0, it must be from 2 to 256"
        );
        assert!(
            problems
                .iter()
                .any(|problem| problem.starts_with("raftcf.write-buffer-size"))
        );
    }
}
