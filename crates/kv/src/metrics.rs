//! Metric series of this crate; TiKV's names where the series is the same.
//! Must never: carry a key, or a label whose values a client chooses.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, register_int_counter_vec};

static WAL_SYNCS_BY_DB: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "tikv_engine_wal_file_synced",
        "Number of times the write-ahead log was brought to the disk for writes of clients.",
        &["db"]
    )
    .expect("a series is registered once")
});

/// Synced writes of the writer: with the number of requests it tells how large its groups are.
pub(crate) static WAL_SYNCS: LazyLock<IntCounter> =
    LazyLock::new(|| WAL_SYNCS_BY_DB.with_label_values(&["kv"]));

/// Every metric of this crate.
pub fn all() -> Vec<&'static dyn Collector> {
    vec![&*WAL_SYNCS_BY_DB]
}
