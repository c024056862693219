//! The sections of the configuration file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use api_version::ApiVersion;
use online_config::{ReadableDuration, ReadableSize};
use serde::{Deserialize, Serialize};

use super::Problem;
use crate::sys;

/// Checks a value against a range and records what is allowed.
fn within<T: PartialOrd + std::fmt::Display>(
    problems: &mut Vec<Problem>,
    key: &str,
    value: &T,
    low: &T,
    high: &T,
) {
    if value < low || value > high {
        let allowed = format!("must be from {low} to {high}");
        problems.push(Problem::new(key, &value.to_string(), allowed));
    }
}

pub(super) fn duration_within(
    problems: &mut Vec<Problem>,
    key: &str,
    value: &ReadableDuration,
    low: Duration,
    high: Duration,
) {
    if value.0 < low || value.0 > high {
        let allowed = format!(
            "must be from {} to {}",
            ReadableDuration(low),
            ReadableDuration(high)
        );
        problems.push(Problem::new(key, &value.to_string(), allowed));
    }
}

/// `host:port`; `empty` says whether "" is fine.
pub(super) fn address(problems: &mut Vec<Problem>, key: &str, value: &str, empty: Empty) {
    if value.is_empty() && empty == Empty::Allowed {
        return;
    }
    let fine = value
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !fine {
        problems.push(Problem::new(key, value, "must be host:port"));
    }
}

/// An address that others dial: `advertised`, or `addr` when that is empty. "Any interface" is no place
/// to go to.
pub(super) fn dialled(problems: &mut Vec<Problem>, key: &str, advertised: &str, addr: &str) {
    address(problems, key, advertised, Empty::Allowed);
    let told = if advertised.is_empty() {
        addr
    } else {
        advertised
    };
    let host = told.rsplit_once(':').map_or(told, |(host, _)| host);
    if matches!(host, "0.0.0.0" | "[::]") {
        problems.push(Problem::new(
            key,
            told,
            "must be an address that others can dial",
        ));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    Allowed,
    Refused,
}

/// `[log]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct LogConfig {
    /// The least severe level that is written: `trace`, `debug`, `info`, `warn` or `error`.
    pub level: logger::Level,
    /// `text` (the unified format of TiDB) or `json`.
    pub format: logger::Format,
    /// Where the log goes.
    pub file: LogFileConfig,
}

/// `[log.file]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct LogFileConfig {
    /// The file to write to. Empty: standard error.
    pub filename: String,
    /// MiB after which a log file is put aside, as `tikv-2026-11-22T16-40-00.123.log` (UTC), and a
    /// new one is begun. 0: never. The same holds for `slow-log-file`.
    pub max_size: u64,
    /// Days for which files put aside are kept. 0: for ever. Set it, or `max-backups`, where
    /// nothing else removes old logs.
    pub max_days: u64,
    /// How many files put aside are kept. 0: all.
    pub max_backups: usize,
}

impl Default for LogFileConfig {
    fn default() -> Self {
        LogFileConfig {
            filename: String::new(),
            max_size: 300,
            max_days: 0,
            max_backups: 0,
        }
    }
}

impl LogConfig {
    pub(super) fn validate(&self, problems: &mut Vec<Problem>) {
        let file = &self.file;
        within(
            problems,
            "log.file.max-size",
            &file.max_size,
            &0,
            &(1 << 20),
        );
        within(problems, "log.file.max-days", &file.max_days, &0, &36_500);
        let backups = &file.max_backups;
        within(problems, "log.file.max-backups", backups, &0, &1_000_000);
    }
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ServerConfig {
    /// Where clients connect.
    pub addr: String,
    /// The address that clients are told. Empty: `addr`. Set it when `addr` listens on all
    /// interfaces or when clients come through a translation of addresses.
    pub advertise_addr: String,
    /// Where the status server (HTTP) listens. Empty: there is none.
    pub status_addr: String,
    /// The status address that others are told. Empty: `status-addr`.
    pub advertise_status_addr: String,
    /// Threads that handle gRPC messages. 0: a third of the processors, at least 1, at most 5.
    pub grpc_concurrency: usize,
    /// Streams that one connection may have open at once.
    pub grpc_concurrent_stream: u32,
    /// Memory that gRPC may use for its buffers. 0: derived from
    /// `memory-usage-limit`, like other parts of the memory.
    pub grpc_memory_pool_quota: ReadableSize,
    /// Bytes that a peer may send on a stream before it must wait to be read.
    pub grpc_stream_initial_window_size: ReadableSize,
    /// A connection without messages for this long is asked whether it is alive.
    pub grpc_keepalive_time: ReadableDuration,
    /// A connection that does not answer for this long is closed.
    pub grpc_keepalive_timeout: ReadableDuration,
    /// The longest message that is sent.
    pub max_grpc_send_msg_len: ReadableSize,
    /// The longest message that is accepted; a longer one gets `RESOURCE_EXHAUSTED`. It must hold
    /// the largest write, `storage.max-write-size`. gRPC refuses a message when it has received it, so one client
    /// can make it take as much as `grpc-memory-pool-quota` allows.
    pub max_grpc_recv_msg_len: ReadableSize,
    /// How long a stop waits for requests in progress before it cuts them off.
    pub graceful_shutdown_timeout: ReadableDuration,
    /// Threads for background tasks.
    pub background_thread_count: usize,
    /// Labels of this store, such as `zone = "z1"`; the placement driver sees them.
    pub labels: BTreeMap<String, String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            addr: "127.0.0.1:20160".to_owned(),
            advertise_addr: String::new(),
            status_addr: "127.0.0.1:20180".to_owned(),
            advertise_status_addr: String::new(),
            grpc_concurrency: 0,
            grpc_concurrent_stream: 1024,
            grpc_memory_pool_quota: ReadableSize(0),
            grpc_stream_initial_window_size: ReadableSize::mb(2),
            grpc_keepalive_time: ReadableDuration(Duration::from_secs(10)),
            grpc_keepalive_timeout: ReadableDuration(Duration::from_secs(3)),
            max_grpc_send_msg_len: ReadableSize::mb(64),
            max_grpc_recv_msg_len: ReadableSize::mb(16),
            graceful_shutdown_timeout: ReadableDuration(Duration::from_secs(5)),
            background_thread_count: 1,
            labels: BTreeMap::new(),
        }
    }
}

impl ServerConfig {
    /// The address that clients are told.
    pub fn advertised(&self) -> &str {
        if self.advertise_addr.is_empty() {
            &self.addr
        } else {
            &self.advertise_addr
        }
    }

    /// The status address that others are told.
    pub fn advertised_status(&self) -> &str {
        if self.advertise_status_addr.is_empty() {
            &self.status_addr
        } else {
            &self.advertise_status_addr
        }
    }

    /// Threads that handle gRPC messages.
    pub fn grpc_threads(&self) -> usize {
        match self.grpc_concurrency {
            0 => (sys::cpu_count() / 3).clamp(1, 5),
            set => set,
        }
    }

    pub(super) fn validate(&self, problems: &mut Vec<Problem>) {
        address(problems, "server.addr", &self.addr, Empty::Refused);
        address(
            problems,
            "server.status-addr",
            &self.status_addr,
            Empty::Allowed,
        );
        dialled(
            problems,
            "server.advertise-addr",
            &self.advertise_addr,
            &self.addr,
        );
        dialled(
            problems,
            "server.advertise-status-addr",
            &self.advertise_status_addr,
            &self.status_addr,
        );
        within(
            problems,
            "server.grpc-concurrency",
            &self.grpc_concurrency,
            &0,
            &64,
        );
        let streams = &self.grpc_concurrent_stream;
        within(
            problems,
            "server.grpc-concurrent-stream",
            streams,
            &1,
            &1_000_000,
        );
        if self.grpc_memory_pool_quota.0 != 0 {
            let quota = &self.grpc_memory_pool_quota;
            let (low, high) = (ReadableSize::mb(8), ReadableSize(i64::MAX as u64));
            within(
                problems,
                "server.grpc-memory-pool-quota",
                quota,
                &low,
                &high,
            );
        }
        let message = (ReadableSize::mb(1), ReadableSize::mb(1024));
        let window = (ReadableSize::kb(64), ReadableSize::mb(1024));
        for (key, value, (low, high)) in [
            (
                "server.max-grpc-send-msg-len",
                &self.max_grpc_send_msg_len,
                &message,
            ),
            (
                "server.max-grpc-recv-msg-len",
                &self.max_grpc_recv_msg_len,
                &message,
            ),
            (
                "server.grpc-stream-initial-window-size",
                &self.grpc_stream_initial_window_size,
                &window,
            ),
        ] {
            within(problems, key, value, low, high);
        }
        let hour = Duration::from_secs(3600);
        for (key, value, low) in [
            (
                "server.grpc-keepalive-time",
                &self.grpc_keepalive_time,
                Duration::from_secs(1),
            ),
            (
                "server.grpc-keepalive-timeout",
                &self.grpc_keepalive_timeout,
                Duration::from_secs(1),
            ),
            (
                "server.graceful-shutdown-timeout",
                &self.graceful_shutdown_timeout,
                Duration::ZERO,
            ),
        ] {
            duration_within(problems, key, value, low, hour);
        }
        let threads = &self.background_thread_count;
        within(problems, "server.background-thread-count", threads, &1, &64);
        for (name, value) in &self.labels {
            if name.is_empty() || !name.chars().chain(value.chars()).all(label_char) {
                let allowed = "a label is made of letters, digits and - _ . /";
                problems.push(Problem::new(
                    &format!("server.labels.{name}"),
                    value,
                    allowed,
                ));
            }
        }
    }
}

fn label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')
}

/// `[storage]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct StorageConfig {
    /// Where the data is. One server at a time may use a directory.
    pub data_dir: PathBuf,
    /// The format of keys and values, 1 or 2. With 2, keys name their kind and keyspace, so that raw data,
    /// transactions and TiDB share a cluster; it needs `enable-ttl`. A data directory keeps the format it
    /// was made with, unless it holds nothing that the formats keep differently.
    pub api_version: u8,
    /// Whether raw values may have a time to live. With `api-version = 1` the store then serves raw
    /// requests only.
    pub enable_ttl: bool,
    /// How often a store with `api-version = 1` and `enable-ttl` looks for values that have expired, to give
    /// their space back; readers never see them. Shorten it when values live for minutes and the disk is small.
    pub ttl_check_poll_interval: ReadableDuration,
    /// Space that writes leave on the disk, for what empties it. When less is left new data is
    /// refused with `disk_full`, at half of it nearly every write; reads go on, and writes are taken
    /// again when there is room. A disk of which this is more than a tenth keeps a tenth. 0 watches
    /// nothing: then a full disk stops the server.
    pub reserve_space: ReadableSize,
    /// The cache of the engine.
    pub block_cache: BlockCacheConfig,
    /// Transactions.
    #[serde(flatten)]
    pub storage: storage::Config,
}

impl Default for StorageConfig {
    fn default() -> Self {
        StorageConfig {
            data_dir: PathBuf::from("./tikv-data"),
            api_version: 1,
            enable_ttl: false,
            ttl_check_poll_interval: ReadableDuration::hours(12),
            reserve_space: ReadableSize::gb(2),
            block_cache: BlockCacheConfig::default(),
            storage: storage::Config::default(),
        }
    }
}

impl StorageConfig {
    /// The format of keys and values. The configuration has been validated.
    pub fn format(&self) -> ApiVersion {
        match (self.api_version, self.enable_ttl) {
            (2, _) => ApiVersion::V2,
            (_, true) => ApiVersion::V1ttl,
            (_, false) => ApiVersion::V1,
        }
    }

    pub(super) fn validate(&self, problems: &mut Vec<Problem>) {
        if self.data_dir.as_os_str().is_empty() {
            problems.push(Problem::new(
                "storage.data-dir",
                "\"\"",
                "must name a directory",
            ));
        }
        within(problems, "storage.api-version", &self.api_version, &1, &2);
        if self.api_version == 2 && !self.enable_ttl {
            let allowed =
                "must be true with storage.api-version = 2, where values may always expire";
            problems.push(Problem::new("storage.enable-ttl", "false", allowed));
        }
        duration_within(
            problems,
            "storage.ttl-check-poll-interval",
            &self.ttl_check_poll_interval,
            Duration::from_secs(1),
            Duration::from_secs(365 * 24 * 3600),
        );
        if let Err(found) = self.storage.validate() {
            problems.extend(found.into_iter().map(|problem| Problem {
                key: format!("storage.{}", problem.key),
                value: problem.value,
                allowed: format!("must be {}", problem.allowed),
            }));
        }
    }
}

/// `[storage.block-cache]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct BlockCacheConfig {
    /// The most memory that cached blocks may take. 0: derived from `memory-usage-limit`. An empty
    /// cache costs nothing.
    pub capacity: ReadableSize,
}

/// `[readpool]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ReadPoolConfig {
    /// The one pool that serves all reads.
    pub unified: UnifiedReadPoolConfig,
}

/// `[readpool.unified]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct UnifiedReadPoolConfig {
    /// Threads that serve reads. 0: four fifths of the processors, at least 2.
    pub max_thread_count: usize,
}

impl ReadPoolConfig {
    /// Threads that serve reads.
    pub fn threads(&self) -> usize {
        match self.unified.max_thread_count {
            0 => (sys::cpu_count() * 4 / 5).max(2),
            set => set,
        }
    }

    pub(super) fn validate(&self, problems: &mut Vec<Problem>) {
        let threads = &self.unified.max_thread_count;
        within(
            problems,
            "readpool.unified.max-thread-count",
            threads,
            &0,
            &1024,
        );
    }
}

/// `[raftstore]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct RaftstoreConfig {
    /// Space that this store may use. 0: all of the disk.
    pub capacity: ReadableSize,
    /// How often the placement driver hears of each region.
    pub pd_heartbeat_tick_interval: ReadableDuration,
    /// How often the placement driver hears of this store.
    pub pd_store_heartbeat_tick_interval: ReadableDuration,
}

impl Default for RaftstoreConfig {
    fn default() -> Self {
        RaftstoreConfig {
            capacity: ReadableSize(0),
            pd_heartbeat_tick_interval: ReadableDuration(Duration::from_secs(60)),
            pd_store_heartbeat_tick_interval: ReadableDuration(Duration::from_secs(10)),
        }
    }
}

impl RaftstoreConfig {
    pub(super) fn validate(&self, problems: &mut Vec<Problem>) {
        let (low, high) = (Duration::from_millis(100), Duration::from_secs(3600));
        for (key, value) in [
            (
                "raftstore.pd-heartbeat-tick-interval",
                &self.pd_heartbeat_tick_interval,
            ),
            (
                "raftstore.pd-store-heartbeat-tick-interval",
                &self.pd_store_heartbeat_tick_interval,
            ),
        ] {
            duration_within(problems, key, value, low, high);
        }
    }
}

/// `[security]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct SecurityConfig {
    /// Certificates and who may connect.
    #[serde(flatten)]
    pub tls: security::Config,
    /// What becomes of keys and values in log lines: `false` writes them, `true` writes `?` in
    /// their place, `"marker"` writes them between marks.
    pub redact_info_log: RedactInfoLog,
}

/// See [`SecurityConfig::redact_info_log`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be true, false or \"marker\"")]
pub enum RedactInfoLog {
    /// All or nothing.
    Switch(bool),
    /// By name.
    Mode(RedactName),
}

/// The names of [`RedactInfoLog::Mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedactName {
    /// Like `true`.
    On,
    /// Like `false`.
    Off,
    /// Between marks.
    Marker,
}

impl Default for RedactInfoLog {
    fn default() -> Self {
        RedactInfoLog::Switch(false)
    }
}

impl SecurityConfig {
    pub(super) fn validate(&self, problems: &mut Vec<Problem>) {
        for problem in self.tls.validate() {
            let key = format!("security.{}", problem.key);
            problems.push(Problem::new(&key, &problem.value, problem.allowed));
        }
    }

    /// The mode of the log.
    pub fn redact_mode(&self) -> logger::RedactMode {
        match self.redact_info_log {
            RedactInfoLog::Switch(false) | RedactInfoLog::Mode(RedactName::Off) => {
                logger::RedactMode::Off
            }
            RedactInfoLog::Switch(true) | RedactInfoLog::Mode(RedactName::On) => {
                logger::RedactMode::On
            }
            RedactInfoLog::Mode(RedactName::Marker) => logger::RedactMode::Marker,
        }
    }
}
