//! What the collector does, as series.
//! Must never: carry a key in a label.

use std::sync::LazyLock;

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, register_int_counter,
    register_int_counter_vec, register_int_gauge, register_int_gauge_vec,
};
use txn_types::TimeStamp;

use crate::pass::Totals;

/// The safe point that readers know, as milliseconds of the Unix epoch.
pub static SAFE_POINT: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "tikv_gcworker_autogc_safe_point",
        "Safe point of garbage collection, in milliseconds of the Unix epoch"
    )
    .expect("a series is registered once")
});

/// The oldest garbage that the last walk had to leave.
pub static OLDEST_GARBAGE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "tikv_gc_oldest_garbage_timestamp",
        "When the oldest version that nobody but reads of the past needs was replaced, in milliseconds of the Unix \
         epoch; 0 when there is none",
        &["region"]
    )
    .expect("a series is registered once")
});

/// Versions by what became of them.
pub static VERSIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "tikv_gc_versions_total",
        "Versions that walks of garbage collection have met, removed, or could not read",
        &["type"]
    )
    .expect("a series is registered once")
});

/// Walks that failed.
pub static FAILURES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "tikv_gc_failures_total",
        "Walks of garbage collection that ended with an error of the engine"
    )
    .expect("a series is registered once")
});

/// Counts what one step did.
pub fn step(before: &Totals, after: &Totals) {
    let counts = [
        ("met", after.versions - before.versions),
        ("removed", after.removed - before.removed),
        ("unreadable", after.unreadable - before.unreadable),
    ];
    for (kind, count) in counts {
        VERSIONS.with_label_values(&[kind]).inc_by(count);
    }
}

/// Tells when what is garbage next in `region` became so.
pub fn oldest_garbage(region: u64, next_due: TimeStamp) {
    let millis = if next_due.is_max() {
        0
    } else {
        next_due.physical()
    };
    OLDEST_GARBAGE
        .with_label_values(&[&region.to_string()])
        .set(i64::try_from(millis).unwrap_or(i64::MAX));
}

/// Every series of this crate.
pub fn all() -> Vec<&'static dyn prometheus::core::Collector> {
    vec![&*SAFE_POINT, &*OLDEST_GARBAGE, &*VERSIONS, &*FAILURES]
}
