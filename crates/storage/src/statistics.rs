//! Where the cost of a request goes: into the metrics, and into the account that its response carries.
//! Must never: read a clock.

use std::time::Duration;

use mvcc::{CfStatistics, Statistics};
use runtime::Instant;
use tracker::{CfScan, TrackerHandle};

use crate::metrics;

/// Adds what a command has read.
pub(crate) fn record(kind: &'static str, statistics: &Statistics, tracker: &TrackerHandle) {
    for (cf, counted) in [
        ("default", &statistics.data),
        ("lock", &statistics.lock),
        ("write", &statistics.write),
    ] {
        for (tag, count) in [
            ("get", counted.get),
            ("next", counted.next),
            ("prev", counted.prev),
            ("seek", counted.seek),
            ("seek_for_prev", counted.seek_for_prev),
            ("processed_keys", counted.processed_keys),
        ] {
            if count > 0 {
                metrics::SCAN_DETAILS
                    .with_label_values(&[kind, cf, tag])
                    .inc_by(count);
            }
        }
    }
    tracker.with(|account| {
        let scan = &mut account.scan;
        scan.processed_versions += statistics.write.processed_keys;
        scan.processed_versions_size += statistics.processed_size;
        scan.total_versions += statistics.write.total_ops();
        scan.data.add(&cf_scan(&statistics.data));
        scan.lock.add(&cf_scan(&statistics.lock));
        scan.write.add(&cf_scan(&statistics.write));
    });
}

fn cf_scan(counted: &CfStatistics) -> CfScan {
    CfScan {
        total: counted.total_ops(),
        processed: counted.processed_keys,
        read_bytes: 0,
    }
}

/// Adds the times of a read: submitted, begun, ended.
pub(crate) fn record_read(
    tracker: &TrackerHandle,
    submitted: Instant,
    begun: Instant,
    ended: Instant,
) {
    tracker.with(|account| {
        let waited = nanos(begun.saturating_duration_since(submitted));
        account.time.wait_ns += waited;
        account.scan.read_pool_schedule_wait_ns += waited;
        account.time.process_ns += nanos(ended.saturating_duration_since(begun));
    });
}

/// Adds the times of a write up to its decision: before the snapshot, before and after the decision.
pub(crate) fn record_stages(
    tracker: &TrackerHandle,
    snapshot: Instant,
    decide: Instant,
    decided: Instant,
) {
    tracker.with(|account| {
        account.write.snapshot_ns += nanos(decide.saturating_duration_since(snapshot));
        account.write.process_ns += nanos(decided.saturating_duration_since(decide));
    });
}

/// Adds the wait for latches.
pub(crate) fn record_latch_wait(tracker: &TrackerHandle, waited: Duration) {
    tracker.with(|account| account.write.latch_wait_ns += nanos(waited));
}

/// Adds the time of a snapshot of a read.
pub(crate) fn record_snapshot(tracker: &TrackerHandle, took: Duration) {
    tracker.with(|account| account.scan.get_snapshot_ns += nanos(took));
}

/// Adds the time from handing a write over to its end.
pub(crate) fn record_write(tracker: &TrackerHandle, took: Duration) {
    tracker.with(|account| account.write.apply_log_ns += nanos(took));
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
