//! Metric series of this crate; TiKV's names where the series is the same.
//! Must never: carry a key, or a label whose values a client chooses.

use std::sync::LazyLock;

use prometheus::{IntCounter, IntCounterVec, register_int_counter_vec};

/// Synced writes of the writer: with the number of requests it tells how large its groups are.
pub(crate) static WAL_SYNCS: LazyLock<IntCounter> = LazyLock::new(|| {
    let by_db: IntCounterVec = register_int_counter_vec!(
        "tikv_engine_wal_file_synced",
        "Number of times the write-ahead log was brought to the disk for writes of clients.",
        &["db"]
    )
    .expect("a series is registered once");
    by_db.with_label_values(&["kv"])
});
