//! What the placement driver counts.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, exponential_buckets};

/// Timestamps handed out.
pub(crate) static TSO_TIMESTAMPS: LazyLock<IntCounter> = LazyLock::new(|| {
    registered(IntCounter::new(
        "pd_tso_timestamps_total",
        "Timestamps handed out",
    ))
});

/// Events of the timestamp oracle that somebody may want to look into.
pub(crate) static TSO_EVENTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    registered(IntCounterVec::new(
        Opts::new("pd_tso_events", "Events of the timestamp oracle"),
        &["type"],
    ))
});

/// Heartbeats of regions by outcome.
pub(crate) static REGION_HEARTBEATS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    registered(IntCounterVec::new(
        Opts::new("pd_region_heartbeats_total", "Region heartbeats by outcome"),
        &["status"],
    ))
});

/// Seconds that a synced write of metadata takes.
pub(crate) static METADATA_WRITE_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let opts = HistogramOpts::new(
        "pd_metadata_write_duration_seconds",
        "Time of a synced metadata write",
    );
    registered(
        exponential_buckets(0.0001, 2.0, 16)
            .and_then(|buckets| Histogram::with_opts(opts.buckets(buckets))),
    )
});

/// Changes that share one write of metadata.
pub(crate) static METADATA_GROUP_JOBS: LazyLock<Histogram> = LazyLock::new(|| {
    let opts = HistogramOpts::new(
        "pd_metadata_group_changes",
        "Changes that share one write of metadata",
    );
    registered(
        exponential_buckets(1.0, 2.0, 11)
            .and_then(|buckets| Histogram::with_opts(opts.buckets(buckets))),
    )
});

/// Runs of garbage collection by outcome.
pub(crate) static GC_RUNS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    registered(IntCounterVec::new(
        Opts::new("pd_gc_runs_total", "Runs of garbage collection by outcome"),
        &["result"],
    ))
});

/// Locks of ended transactions that runs of garbage collection took away.
pub(crate) static GC_RESOLVED_LOCKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    registered(IntCounterVec::new(
        Opts::new(
            "pd_gc_resolved_locks_total",
            "Locks that garbage collection resolved, by outcome",
        ),
        &["type"],
    ))
});

/// Every metric of this crate.
pub fn all() -> Vec<&'static dyn Collector> {
    vec![
        &*TSO_TIMESTAMPS,
        &*TSO_EVENTS,
        &*REGION_HEARTBEATS,
        &*METADATA_WRITE_SECONDS,
        &*METADATA_GROUP_JOBS,
        &*GC_RUNS,
        &*GC_RESOLVED_LOCKS,
    ]
}

/// Registers a metric whose definition is a constant of this file.
#[allow(
    clippy::expect_used,
    reason = "a wrong definition shows in the first test that touches it, never by input"
)]
fn registered<M: prometheus::core::Collector + Clone + 'static>(
    metric: prometheus::Result<M>,
) -> M {
    let metric = metric.expect("metric definitions of this file are valid");
    prometheus::default_registry()
        .register(Box::new(metric.clone()))
        .expect("metric names of this file are unique");
    metric
}
