//! The configuration of a node: sections, defaults, and what each value may be.
//!
//! Key names are TiKV's where a key means the same. A key is here only when something reads it.
//! The doc comment of a field is its entry in `docs/config.md`; the example `config_reference`
//! prints that file. [`Config::validate`] returns all problems at once.

mod file;
mod load;
mod memory;
mod placement;
pub mod reference;
mod sections;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

pub(crate) use self::file::write_keys;
pub use self::load::Loaded;
pub(crate) use self::load::nearest_key;
pub use self::memory::MemoryPlan;
pub use self::placement::{EmbeddedEtcdConfig, EmbeddedPdConfig, PdConfig};
pub use self::sections::{
    BlockCacheConfig, LogConfig, LogFileConfig, RaftstoreConfig, ReadPoolConfig, RedactInfoLog,
    RedactName, SecurityConfig, ServerConfig, StorageConfig, UnifiedReadPoolConfig,
};
use crate::{Error, Result, sys};
use online_config::{OnlineConfig, ReadableDuration, ReadableSize};

/// What a message holds besides the keys and values of a write.
const MESSAGE_OVERHEAD: u64 = 1 << 20;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Config {
    /// Memory that this process should keep to. 0, the default, means three quarters of what the
    /// machine (or the control group) has. Caches, buffers and quotas are derived from it where they
    /// are not set: see [Memory](#memory). Lower it when other programs share the machine.
    pub memory_usage_limit: ReadableSize,
    /// A request that takes at least this long leaves a line in the slow log, with the time of each
    /// of its stages. `0s` tells of every request. Raise it where slow requests are no news.
    pub slow_log_threshold: ReadableDuration,
    /// The file of the slow log. Empty: its lines go to the log.
    pub slow_log_file: String,
    /// The log.
    pub log: LogConfig,
    /// Addresses and the limits of gRPC.
    pub server: ServerConfig,
    /// Data and transactions.
    pub storage: StorageConfig,
    /// Pessimistic transactions: waiting for locks, and where locks are kept.
    pub pessimistic_txn: lock_manager::Config,
    /// Old versions.
    pub gc: gc::Config,
    /// Threads for reads.
    pub readpool: ReadPoolConfig,
    /// Reports to the placement driver.
    pub raftstore: RaftstoreConfig,
    /// The placement driver.
    pub pd: PdConfig,
    /// The engine.
    #[serde(serialize_with = "without_cache")]
    pub rocksdb: engine_rocks::Config,
    /// Redaction.
    pub security: SecurityConfig,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            memory_usage_limit: ReadableSize(0),
            slow_log_threshold: ReadableDuration::secs(1),
            slow_log_file: String::new(),
            log: LogConfig::default(),
            server: ServerConfig::default(),
            storage: StorageConfig::default(),
            pessimistic_txn: lock_manager::Config::default(),
            gc: gc::Config::default(),
            readpool: ReadPoolConfig::default(),
            raftstore: RaftstoreConfig::default(),
            pd: PdConfig::default(),
            rocksdb: engine_rocks::Config::default(),
            security: SecurityConfig::default(),
        }
    }
}

/// What `POST /config` can change; each key is taken by the part of the node that registered it.
impl OnlineConfig for Config {
    const ONLINE_KEYS: &'static [&'static str] = &[
        "gc.batch-keys",
        "gc.max-write-bytes-per-sec",
        "gc.poll-interval",
        "log.level",
        "pd.embedded.etcd.history-bytes",
        "pd.embedded.etcd.history-revisions",
        "pd.embedded.etcd.max-leases",
        "pd.embedded.etcd.max-response-bytes",
        "pd.embedded.etcd.max-txn-ops",
        "pd.embedded.etcd.quota-backend-bytes",
        "pd.embedded.gc-life-time",
        "pd.embedded.gc-run-interval",
        "pessimistic-txn.in-memory",
        "pessimistic-txn.in-memory-instance-size-limit",
        "pessimistic-txn.in-memory-peer-size-limit",
        "pessimistic-txn.pipelined",
        "pessimistic-txn.wait-for-lock-timeout",
        "pessimistic-txn.wait-memory-limit",
        "pessimistic-txn.wake-up-delay-duration",
        "raftstore.pd-heartbeat-tick-interval",
        "raftstore.pd-store-heartbeat-tick-interval",
        "security.redact-info-log",
        "slow-log-threshold",
        "storage.block-cache.capacity",
        "storage.flow-control.enable",
        "storage.flow-control.hard-pending-compaction-bytes-limit",
        "storage.flow-control.l0-files-threshold",
        "storage.flow-control.memtables-threshold",
        "storage.flow-control.soft-pending-compaction-bytes-limit",
        "storage.max-key-size",
        "storage.max-read-size",
        "storage.max-read-tasks-per-worker",
        "storage.max-write-size",
        "storage.memory-quota",
        "storage.scheduler-pending-write-threshold",
    ];
}

/// The size of the cache has one key, `storage.block-cache.capacity`; the engine's own is not shown.
fn without_cache<S: Serializer>(
    rocksdb: &engine_rocks::Config,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let mut table = toml::Table::try_from(rocksdb).map_err(serde::ser::Error::custom)?;
    table.remove("block-cache-size");
    table.serialize(serializer)
}

/// One value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The full key.
    pub key: String,
    /// The refused value.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl Problem {
    /// A problem with `key`.
    pub fn new(key: &str, value: &str, allowed: impl Into<String>) -> Problem {
        Problem {
            key: key.to_owned(),
            value: value.to_owned(),
            allowed: allowed.into(),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {}: {}", self.key, self.value, self.allowed)
    }
}

impl Config {
    /// Reads a configuration from TOML text over the defaults.
    pub fn from_toml(text: &str) -> Result<Loaded<Config>> {
        load::load(text).map_err(Error::Config)
    }

    /// Reads a configuration file.
    pub fn from_file(path: &Path) -> Result<Loaded<Config>> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::ReadConfig {
            path: path.to_owned(),
            error,
        })?;
        Config::from_toml(&text)
    }

    /// Every value that cannot be used.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.log.validate(&mut problems);
        self.server.validate(&mut problems);
        self.storage.validate(&mut problems);
        for (section, checked) in [
            ("pessimistic-txn", self.pessimistic_txn.validate()),
            ("gc", self.gc.validate()),
        ] {
            let found = checked.err().unwrap_or_default();
            problems.extend(found.into_iter().map(|problem| Problem {
                key: format!("{section}.{}", problem.key),
                value: problem.value,
                allowed: format!("must be {}", problem.allowed),
            }));
        }
        self.readpool.validate(&mut problems);
        self.raftstore.validate(&mut problems);
        self.pd.validate(&mut problems);
        self.security.validate(&mut problems);
        memory::validate(self, &mut problems);
        let (server, storage) = (&self.server, &self.storage.storage);
        for (key, message, bound, of) in [
            (
                "server.max-grpc-recv-msg-len",
                server.max_grpc_recv_msg_len,
                storage.max_write_size,
                "storage.max-write-size",
            ),
            (
                "server.max-grpc-send-msg-len",
                server.max_grpc_send_msg_len,
                storage.max_read_size,
                "storage.max-read-size",
            ),
        ] {
            if message.0 < bound.0.saturating_add(MESSAGE_OVERHEAD) {
                let allowed = format!("must be 1MiB above {of}, which is {bound}");
                problems.push(Problem::new(key, &message.to_string(), allowed));
            }
        }
        let slow = &self.slow_log_file;
        if !slow.is_empty() && *slow == self.log.file.filename {
            let allowed = "must be another file than log.file.filename";
            problems.push(Problem::new("slow-log-file", slow, allowed));
        }
        let cache = self.storage.block_cache.capacity;
        if cache.0 != 0 && cache < ReadableSize::mb(1) {
            let allowed = "must be at least 1MiB, or 0";
            let key = "storage.block-cache.capacity";
            problems.push(Problem::new(key, &cache.to_string(), allowed));
        }
        for problem in self.rocksdb.validate() {
            problems.push(Problem::new("rocksdb", "(section)", problem));
        }
        problems
    }

    /// How much memory each part may take.
    pub fn memory_plan(&self) -> MemoryPlan {
        MemoryPlan::of(self)
    }

    /// The settings of the storage, with what is derived filled in.
    pub fn storage(&self) -> storage::Config {
        let plan = self.memory_plan();
        let set = &self.storage.storage;
        storage::Config {
            memory_quota: ReadableSize(plan.requests),
            scheduler_pending_write_threshold: ReadableSize(plan.pending_writes),
            // A read that no empty quota could hold is too large, which no repetition changes; without this it
            // would be refused as one to repeat when others have ended.
            max_read_size: set.max_read_size.min(ReadableSize(plan.requests / 2)),
            ..set.clone()
        }
    }

    /// The settings of pessimistic transactions, with no more memory than the plan has for them.
    pub fn pessimistic_txn(&self) -> lock_manager::Config {
        let plan = self.memory_plan();
        let set = &self.pessimistic_txn;
        let of_store = ReadableSize(plan.memory_locks);
        lock_manager::Config {
            in_memory_instance_size_limit: of_store,
            in_memory_peer_size_limit: set.in_memory_peer_size_limit.min(of_store),
            wait_memory_limit: ReadableSize(plan.lock_waits),
            ..set.clone()
        }
    }

    /// The settings of the log.
    pub fn logger(&self) -> logger::Config {
        let file = &self.log.file;
        let some_path = |path: &str| (!path.is_empty()).then(|| PathBuf::from(path));
        logger::Config {
            level: self.log.level,
            format: self.log.format,
            file: some_path(&file.filename),
            slow_file: some_path(&self.slow_log_file),
            rotation: logger::Rotation {
                max_bytes: file.max_size << 20,
                max_days: file.max_days,
                max_backups: file.max_backups,
            },
            redact: self.security.redact_mode(),
        }
    }

    /// The settings of the engine of keys and values.
    pub fn kv_engine(&self) -> engine_rocks::Config {
        let plan = self.memory_plan();
        engine_rocks::Config {
            block_cache_size: ReadableSize(plan.block_cache),
            write_buffer_limit: ReadableSize(plan.write_buffers),
            ..self.rocksdb.clone()
        }
    }

    /// The settings of the engine of an embedded placement driver: it holds little.
    pub fn pd_engine() -> engine_rocks::Config {
        let small = engine_rocks::CfConfig {
            write_buffer_size: ReadableSize::mb(1),
            max_write_buffer_number: 2,
            target_file_size_base: ReadableSize::mb(1),
            max_bytes_for_level_base: ReadableSize::mb(8),
            ..engine_rocks::CfConfig::default()
        };
        engine_rocks::Config {
            max_background_jobs: 2,
            max_total_wal_size: ReadableSize::mb(4),
            block_cache_size: ReadableSize::mb(4),
            info_log_max_size: ReadableSize::kb(256),
            defaultcf: small.clone(),
            writecf: small.clone(),
            lockcf: small.clone(),
            raftcf: small,
            ..engine_rocks::Config::default()
        }
    }

    /// The bounds of the writer below the storage.
    pub fn local_engine(&self) -> kv::Config {
        let bytes = |size: ReadableSize| usize::try_from(size.0).unwrap_or(usize::MAX);
        let settings = self.storage();
        let max_write_bytes = bytes(settings.max_write_size);
        kv::Config {
            max_pending_bytes: settings.pending_write_bytes().max(max_write_bytes),
            max_write_bytes,
            ..kv::Config::default()
        }
    }

    /// The same configuration with what it leaves open filled in as it is in force: memory, caches,
    /// threads, addresses that are derived from others.
    pub fn in_force(&self) -> Config {
        let mut config = self.clone();
        let plan = self.memory_plan();
        config.memory_usage_limit = ReadableSize(plan.limit);
        config.storage.block_cache.capacity = ReadableSize(plan.block_cache);
        config.rocksdb.write_buffer_limit = ReadableSize(plan.write_buffers);
        config.pessimistic_txn = self.pessimistic_txn();
        config.storage.storage = self.storage();
        config.storage.storage.scheduler_worker_pool_size =
            self.storage.storage.scheduler_threads(sys::cpu_count());
        config.readpool.unified.max_thread_count = self.readpool.threads();
        let server = &mut config.server;
        server.grpc_memory_pool_quota = ReadableSize(plan.grpc);
        server.grpc_concurrency = self.server.grpc_threads();
        server.advertise_addr = self.server.advertised().to_owned();
        server.advertise_status_addr = self.server.advertised_status().to_owned();
        config
    }

    /// The configuration as TOML text.
    pub fn to_toml(&self) -> String {
        // Every field is a string, a number, a boolean or a table of these.
        toml::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
