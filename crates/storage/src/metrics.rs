//! Metric series of this crate; TiKV's names where the series is the same.
//! Must never: carry a key, or a label whose values a client chooses.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, exponential_buckets,
    register_histogram, register_histogram_vec, register_int_counter_vec, register_int_gauge,
    register_int_gauge_vec,
};

fn duration_buckets() -> Vec<f64> {
    // 10 µs to about 5 minutes.
    exponential_buckets(0.000_01, 2.0, 25).unwrap_or_default()
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register_int_counter_vec!(name, help, labels).expect("a series is registered once")
}

fn histogram(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    register_histogram_vec!(name, help, labels, duration_buckets())
        .expect("a series is registered once")
}

/// Requests by command.
pub static COMMAND_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "tikv_storage_command_total",
        "Total number of commands received.",
        &["type"],
    )
});

/// Write commands refused because too many bytes are under way.
pub static TOO_BUSY_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "tikv_scheduler_too_busy_total",
        "Total number of commands refused because the scheduler was busy.",
        &["type"],
    )
});

/// Stages that write commands passed: `snapshot`, `process`, `write`, `done`, `error`.
pub static STAGE_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "tikv_scheduler_stage_total",
        "Total number of commands at each stage.",
        &["type", "stage"],
    )
});

/// Bytes of write commands admitted and not finished.
pub static WRITING_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "tikv_scheduler_writing_bytes",
        "Bytes of write commands under way."
    )
    .expect("a series is registered once")
});

/// Write commands admitted and not finished.
pub static CONTEXT_TOTAL: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "tikv_scheduler_contex_total",
        "Number of write commands under way."
    )
    .expect("a series is registered once")
});

/// Seconds a command waited for its latches.
pub static LATCH_WAIT: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram(
        "tikv_scheduler_latch_wait_duration_seconds",
        "Seconds a command waited for its latches.",
        &["type"],
    )
});

/// Seconds from admission to the answer.
pub static COMMAND_DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram(
        "tikv_scheduler_command_duration_seconds",
        "Seconds from the admission of a command to its answer.",
        &["type"],
    )
});

/// Entries touched while reading, by command, column family and operation.
pub static SCAN_DETAILS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "tikv_scheduler_kv_scan_details",
        "Entries touched by commands, by column family and operation.",
        &["req", "cf", "tag"],
    )
});

/// Seconds that writes were held back, those that were not left out.
pub static THROTTLE_DURATION: LazyLock<Histogram> = LazyLock::new(|| {
    register_histogram!(
        "tikv_scheduler_throttle_duration_seconds",
        "Seconds that flow control held writes back.",
        duration_buckets()
    )
    .expect("a series is registered once")
});

/// 1 for the column family on whose account writers are slowed down.
pub static THROTTLE_CF: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "tikv_scheduler_throttle_cf",
        "Whether writers are slowed down on account of this column family.",
        &["cf"]
    )
    .expect("a series is registered once")
});

/// What flow control did: `memtable`, `l0`, `pending_compaction_bytes` and `stall` when it began to slow writers down
/// for that, `refuse` for each write that was refused.
pub static THROTTLE_ACTION_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "tikv_scheduler_throttle_action_total",
        "Total number of actions of flow control.",
        &["cf", "type"],
    )
});

/// Bytes per second that writers may write; 0 while they are free.
pub static THROTTLE_FLOW: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "tikv_scheduler_throttle_flow",
        "Bytes per second that flow control lets pass; 0 while writers are free."
    )
    .expect("a series is registered once")
});

/// Bytes per second that were written of late, as flow control sees them.
pub static WRITE_FLOW: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "tikv_scheduler_write_flow",
        "Bytes per second that were written of late."
    )
    .expect("a series is registered once")
});

/// Lock requests that wait (`waiters`), and the keys that they wait for, or somebody is expected back at (`keys`).
pub static LOCK_WAITS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "tikv_lock_wait_queue_entries_gauge_vec",
        "Lock requests that wait, and keys that they wait for.",
        &["type"]
    )
    .expect("a series is registered once")
});

/// Memory of the lock requests that wait.
pub static LOCK_WAIT_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "tikv_lock_wait_queue_bytes",
        "Bytes of the lock requests that wait."
    )
    .expect("a series is registered once")
});

/// How long lock requests waited, whatever ended it.
pub static LOCK_WAIT_DURATION: LazyLock<Histogram> = LazyLock::new(|| {
    register_histogram!(
        "tikv_lock_manager_waiter_lifetime_duration",
        "Seconds a lock request waited in its queue.",
        duration_buckets()
    )
    .expect("a series is registered once")
});

/// Ends of waits: `retry`, `resume`, `timeout`, `deadlock`; and `no_room` for requests that could not begin to wait.
pub static LOCK_WAIT_ENDS_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "tikv_lock_wait_ends_total",
        "Lock requests whose wait has ended, by the reason.",
        &["reason"],
    )
});

/// Pessimistic locks that were to stay in memory: `success`, or `full` when they had to be written.
pub static IN_MEMORY_LOCKS_TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "tikv_in_memory_pessimistic_locking",
        "Requests whose pessimistic locks were to be kept in memory.",
        &["result"],
    )
});

/// Every metric of this crate.
pub fn all() -> Vec<&'static dyn Collector> {
    vec![
        &*LOCK_WAITS,
        &*LOCK_WAIT_BYTES,
        &*LOCK_WAIT_DURATION,
        &*LOCK_WAIT_ENDS_TOTAL,
        &*IN_MEMORY_LOCKS_TOTAL,
        &*COMMAND_TOTAL,
        &*TOO_BUSY_TOTAL,
        &*STAGE_TOTAL,
        &*WRITING_BYTES,
        &*CONTEXT_TOTAL,
        &*LATCH_WAIT,
        &*COMMAND_DURATION,
        &*SCAN_DETAILS,
        &*THROTTLE_DURATION,
        &*THROTTLE_CF,
        &*THROTTLE_ACTION_TOTAL,
        &*THROTTLE_FLOW,
        &*WRITE_FLOW,
    ]
}
