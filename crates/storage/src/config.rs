//! Settings of the storage layer, with TiKV's names where a key means the same.
//! Must never: hold a setting that nothing reads.

use online_config::ReadableSize;
use serde::{Deserialize, Serialize};

/// Smallest and largest number of latch slots.
const SCHEDULER_CONCURRENCY_MIN: usize = 1;
const SCHEDULER_CONCURRENCY_MAX: usize = 2 * 1024 * 1024;

/// Smallest and largest limit on keys: a key must fit into one entry of the engine's index without crowding it.
const MAX_KEY_SIZE_MIN: u64 = 9;
const MAX_KEY_SIZE_MAX: u64 = 64 * 1024;

/// Smallest limit of pending writes: a series of commands and the command it is at must fit beside others.
const PENDING_WRITE_THRESHOLD_MIN: ReadableSize = ReadableSize::mb(1);

/// Used by those who derive nothing from the memory of the machine.
const PENDING_WRITE_THRESHOLD: ReadableSize = ReadableSize::mb(100);
const MEMORY_QUOTA: ReadableSize = ReadableSize::mb(256);

/// What to do with a timestamp that the placement driver cannot have handed out yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionOnInvalidUpdate {
    /// Refuse the request.
    #[default]
    Error,
    /// Log a warning and serve the request.
    Log,
}

impl From<ActionOnInvalidUpdate> for concurrency_manager::InvalidMaxTsAction {
    fn from(action: ActionOnInvalidUpdate) -> Self {
        match action {
            ActionOnInvalidUpdate::Error => Self::Error,
            ActionOnInvalidUpdate::Log => Self::Log,
        }
    }
}

/// The `[storage.max-ts]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct MaxTsConfig {
    /// What to do with a timestamp above TSO plus the allowed drift. Default: `error`. Change to `log` only to
    /// serve a client with a broken clock while it is being repaired.
    pub action_on_invalid_update: ActionOnInvalidUpdate,
}

/// The `[storage.flow-control]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct FlowControlConfig {
    /// Whether writers are slowed down one by one before the engine holds all of them back. Default: true. Without it
    /// only the engine's own brakes are left, which stop everybody at once.
    pub enable: bool,
    /// Write buffers of a column family that wait to be flushed, from which writers are slowed down. Default: 5; where
    /// it is less, half of what the engine bears counts (`rocksdb.*.max-write-buffer-number`). Above 0.
    pub memtables_threshold: u64,
    /// Files of a column family's level 0 from which writers are slowed down. Default: 20; at most 24, three quarters
    /// of what the engine bears. Above 0. More lets bursts pass and makes reads slower meanwhile.
    pub l0_files_threshold: u64,
    /// Bytes of a column family that compactions have still to rewrite, from which writers are slowed down.
    /// Default: 192 GiB.
    pub soft_pending_compaction_bytes_limit: ReadableSize,
    /// As many of them have new data refused with `server is busy`; commits and rollbacks go on. Default: 1 TiB. Above
    /// `soft-pending-compaction-bytes-limit`.
    pub hard_pending_compaction_bytes_limit: ReadableSize,
}

impl Default for FlowControlConfig {
    fn default() -> Self {
        Self {
            enable: true,
            memtables_threshold: 5,
            l0_files_threshold: 20,
            soft_pending_compaction_bytes_limit: ReadableSize::gb(192),
            hard_pending_compaction_bytes_limit: ReadableSize::gb(1024),
        }
    }
}

/// The `[storage]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Config {
    /// Latch slots, rounded up to a power of two. Unrelated keys of one slot wait for each other. Default: 524288.
    /// Slots cost no memory while nobody is in them.
    pub scheduler_concurrency: usize,
    /// Bytes of write commands admitted and not yet finished; above it new ones get `scheduler is busy`. 0, the
    /// default, derives it from `memory-usage-limit`, and is 100 MiB where nobody does.
    pub scheduler_pending_write_threshold: ReadableSize,
    /// Memory of all requests in progress: their keys and values, and what reads have collected for their answers.
    /// Above it new ones get `memory quota exceeded`. 0, the default, derives it from `memory-usage-limit`, and is
    /// 256 MiB where nobody does.
    pub memory_quota: ReadableSize,
    /// Threads that run write commands. 0, the default, derives it from the machine: 4 from 16 cores on, 8 from
    /// 32 cores on, otherwise half the cores and at least one.
    pub scheduler_worker_pool_size: usize,
    /// Longest key in bytes: of the encoded key for transactions, of the key itself for raw access.
    /// Default: 8 KiB.
    pub max_key_size: ReadableSize,
    /// Most bytes one request may write (keys and values of the resulting batch). Default: 8 MiB, the largest
    /// entry of a replicated log; raising it lets one request hold up everybody behind it.
    pub max_write_size: ReadableSize,
    /// Most memory that the answer of one read may take, 128 bytes for each pair included; beyond it the read fails
    /// with a precise error instead of exhausting memory. Default: 48 MiB. It must fit into one message,
    /// `server.max-grpc-send-msg-len`.
    pub max_read_size: ReadableSize,
    /// Reads that may wait for each thread of the read pool; beyond it new ones get `scheduler is busy`.
    /// Default: 2000.
    pub max_read_tasks_per_worker: usize,
    /// Whether the prewrite of an async or one-phase commit is answered as soon as its write cannot be lost, before it
    /// is applied. Default: false. On where replication makes applying slow; one store alone gains nothing.
    pub enable_async_apply_prewrite: bool,
    /// Treatment of timestamps beyond TSO.
    pub max_ts: MaxTsConfig,
    /// When writers are slowed down.
    pub flow_control: FlowControlConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler_concurrency: 524_288,
            scheduler_pending_write_threshold: ReadableSize(0),
            memory_quota: ReadableSize(0),
            scheduler_worker_pool_size: 0,
            max_key_size: ReadableSize::kb(8),
            max_write_size: ReadableSize::mb(8),
            max_read_size: ReadableSize::mb(48),
            max_read_tasks_per_worker: 2000,
            enable_async_apply_prewrite: false,
            max_ts: MaxTsConfig::default(),
            flow_control: FlowControlConfig::default(),
        }
    }
}

/// One setting that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("storage.{key} = {value}: must be {allowed}")]
pub struct ConfigProblem {
    /// The key below `storage.`.
    pub key: &'static str,
    /// The refused value.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl Config {
    /// Returns every setting that is out of range.
    pub fn validate(&self) -> Result<(), Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let mut require = |ok: bool, key, value: String, allowed: String| {
            if !ok {
                problems.push(ConfigProblem {
                    key,
                    value,
                    allowed,
                });
            }
        };
        require(
            (SCHEDULER_CONCURRENCY_MIN..=SCHEDULER_CONCURRENCY_MAX)
                .contains(&self.scheduler_concurrency),
            "scheduler-concurrency",
            self.scheduler_concurrency.to_string(),
            format!("from {SCHEDULER_CONCURRENCY_MIN} to {SCHEDULER_CONCURRENCY_MAX}"),
        );
        require(
            self.scheduler_pending_write_threshold.0 == 0
                || self.scheduler_pending_write_threshold >= PENDING_WRITE_THRESHOLD_MIN,
            "scheduler-pending-write-threshold",
            self.scheduler_pending_write_threshold.to_string(),
            format!("0 or at least {PENDING_WRITE_THRESHOLD_MIN}"),
        );
        let quota_min = ReadableSize(self.max_write_size.0.saturating_mul(2));
        require(
            self.memory_quota.0 == 0 || self.memory_quota >= quota_min,
            "memory-quota",
            self.memory_quota.to_string(),
            format!("0 or at least {quota_min}, twice storage.max-write-size"),
        );
        require(
            (MAX_KEY_SIZE_MIN..=MAX_KEY_SIZE_MAX).contains(&self.max_key_size.0),
            "max-key-size",
            self.max_key_size.to_string(),
            format!("from {MAX_KEY_SIZE_MIN} B to {MAX_KEY_SIZE_MAX} B"),
        );
        require(
            self.max_write_size.0 > self.max_key_size.0,
            "max-write-size",
            self.max_write_size.to_string(),
            "above storage.max-key-size".to_owned(),
        );
        require(
            self.max_read_size.0 >= self.max_write_size.0,
            "max-read-size",
            self.max_read_size.to_string(),
            "at least storage.max-write-size: what was written must be readable".to_owned(),
        );
        require(
            self.max_read_tasks_per_worker > 0,
            "max-read-tasks-per-worker",
            self.max_read_tasks_per_worker.to_string(),
            "above 0".to_owned(),
        );
        let flow = &self.flow_control;
        for (key, threshold) in [
            ("flow-control.memtables-threshold", flow.memtables_threshold),
            ("flow-control.l0-files-threshold", flow.l0_files_threshold),
        ] {
            require(
                threshold > 0,
                key,
                threshold.to_string(),
                "above 0".to_owned(),
            );
        }
        let (soft, hard) = (
            flow.soft_pending_compaction_bytes_limit,
            flow.hard_pending_compaction_bytes_limit,
        );
        require(
            soft.0 > 0,
            "flow-control.soft-pending-compaction-bytes-limit",
            soft.to_string(),
            "above 0".to_owned(),
        );
        require(
            hard > soft,
            "flow-control.hard-pending-compaction-bytes-limit",
            hard.to_string(),
            format!("above storage.flow-control.soft-pending-compaction-bytes-limit, {soft}"),
        );
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// Bytes of write commands that may be under way.
    pub fn pending_write_bytes(&self) -> usize {
        bytes_or(
            self.scheduler_pending_write_threshold,
            PENDING_WRITE_THRESHOLD,
        )
    }

    /// Memory that requests in progress may take, in bytes.
    pub fn memory_quota_bytes(&self) -> usize {
        bytes_or(self.memory_quota, MEMORY_QUOTA)
    }

    /// Threads of the pool that runs write commands, on a machine with `cores` cores.
    pub fn scheduler_threads(&self, cores: usize) -> usize {
        match (self.scheduler_worker_pool_size, cores) {
            (0, 32..) => 8,
            (0, 16..) => 4,
            (0, cores) => (cores / 2).max(1),
            (set, _) => set,
        }
    }
}

/// What is set, or the default.
fn bytes_or(set: ReadableSize, default: ReadableSize) -> usize {
    let size = if set.0 == 0 { default } else { set };
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn every_problem_is_reported() {
        let config = Config {
            scheduler_concurrency: 0,
            scheduler_pending_write_threshold: ReadableSize(1),
            memory_quota: ReadableSize(1),
            max_key_size: ReadableSize(1),
            max_write_size: ReadableSize(1),
            max_read_size: ReadableSize(0),
            max_read_tasks_per_worker: 0,
            flow_control: FlowControlConfig {
                memtables_threshold: 0,
                l0_files_threshold: 0,
                soft_pending_compaction_bytes_limit: ReadableSize(0),
                hard_pending_compaction_bytes_limit: ReadableSize(0),
                ..FlowControlConfig::default()
            },
            ..Config::default()
        };
        let problems = config.validate().unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key).collect();
        assert_eq!(
            keys,
            [
                "scheduler-concurrency",
                "scheduler-pending-write-threshold",
                "memory-quota",
                "max-key-size",
                "max-write-size",
                "max-read-size",
                "max-read-tasks-per-worker",
                "flow-control.memtables-threshold",
                "flow-control.l0-files-threshold",
                "flow-control.soft-pending-compaction-bytes-limit",
                "flow-control.hard-pending-compaction-bytes-limit"
            ]
        );
        assert_eq!(
            problems[0].to_string(),
            "storage.scheduler-concurrency = 0: must be from 1 to 2097152"
        );
    }

    #[test]
    fn scheduler_threads_follow_the_machine_unless_set() {
        let mut config = Config::default();
        let derived: Vec<_> = [1, 2, 8, 16, 32]
            .map(|cores| config.scheduler_threads(cores))
            .into();
        assert_eq!(derived, [1, 1, 4, 4, 8]);
        config.scheduler_worker_pool_size = 3;
        assert_eq!(config.scheduler_threads(32), 3);
    }
}
