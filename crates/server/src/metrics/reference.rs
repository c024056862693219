//! The text of `docs/metrics.md`: what the registered metrics say of themselves, and beside it what a
//! registry has no word for, the unit and whose name it is.
//!
//! Must never: describe a metric that does not exist, or leave one out; tests compare both ways.

use std::fmt::Write as _;

use prometheus::core::Collector;
use prometheus::proto::MetricType;

/// Who else exposes a series of this name with this meaning.
#[derive(Clone, Copy)]
enum Also {
    Tikv,
    Pd,
    Nobody,
}

/// Name, unit, and who else has it; in the order of the names.
const NOTES: &[(&str, &str, Also)] = &[
    ("pd_gc_resolved_locks_total", "locks", Also::Nobody),
    ("pd_gc_runs_total", "runs", Also::Nobody),
    ("pd_metadata_group_changes", "changes", Also::Nobody),
    (
        "pd_metadata_write_duration_seconds",
        "seconds",
        Also::Nobody,
    ),
    ("pd_region_heartbeats_total", "heartbeats", Also::Nobody),
    ("pd_tso_events", "events", Also::Pd),
    ("pd_tso_timestamps_total", "timestamps", Also::Nobody),
    ("tikv_engine_wal_file_synced", "syncs", Also::Tikv),
    ("tikv_gc_failures_total", "walks", Also::Nobody),
    (
        "tikv_gc_oldest_garbage_timestamp",
        "milliseconds",
        Also::Nobody,
    ),
    ("tikv_gc_versions_total", "versions", Also::Nobody),
    (
        "tikv_gcworker_autogc_safe_point",
        "milliseconds",
        Also::Tikv,
    ),
    ("tikv_grpc_msg_duration_seconds", "seconds", Also::Tikv),
    ("tikv_grpc_msg_fail_total", "requests", Also::Tikv),
    (
        "tikv_grpc_request_source_counter_vec",
        "requests",
        Also::Tikv,
    ),
    (
        "tikv_grpc_request_source_duration_vec",
        "microseconds",
        Also::Tikv,
    ),
    ("tikv_in_memory_pessimistic_locking", "requests", Also::Tikv),
    (
        "tikv_lock_manager_waiter_lifetime_duration",
        "seconds",
        Also::Tikv,
    ),
    ("tikv_lock_wait_ends_total", "requests", Also::Nobody),
    ("tikv_lock_wait_queue_bytes", "bytes", Also::Nobody),
    (
        "tikv_lock_wait_queue_entries_gauge_vec",
        "requests, keys",
        Also::Tikv,
    ),
    (
        "tikv_scheduler_command_duration_seconds",
        "seconds",
        Also::Tikv,
    ),
    ("tikv_scheduler_contex_total", "commands", Also::Tikv),
    ("tikv_scheduler_kv_scan_details", "entries", Also::Tikv),
    (
        "tikv_scheduler_latch_wait_duration_seconds",
        "seconds",
        Also::Tikv,
    ),
    ("tikv_scheduler_stage_total", "commands", Also::Tikv),
    (
        "tikv_scheduler_throttle_action_total",
        "actions",
        Also::Tikv,
    ),
    ("tikv_scheduler_throttle_cf", "one or zero", Also::Tikv),
    (
        "tikv_scheduler_throttle_duration_seconds",
        "seconds",
        Also::Tikv,
    ),
    ("tikv_scheduler_throttle_flow", "bytes a second", Also::Tikv),
    ("tikv_scheduler_too_busy_total", "commands", Also::Tikv),
    ("tikv_scheduler_write_flow", "bytes a second", Also::Tikv),
    ("tikv_scheduler_writing_bytes", "bytes", Also::Tikv),
    ("tikv_server_grpc_req_batch_size", "requests", Also::Tikv),
    ("tikv_server_grpc_resp_batch_size", "responses", Also::Tikv),
    ("tikv_storage_command_total", "commands", Also::Tikv),
    ("tikv_store_size_bytes", "bytes", Also::Tikv),
];

/// The whole reference.
pub fn text() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Generated from the registered metrics by `cargo xtask codegen`; do not edit.\n\n\
         `GET /metrics` on the [status server](status-server.md) gives these in the text format of \
         Prometheus. A metric is there from its first event on, one with labels with those values \
         that have occurred. A histogram `x` is exposed as `x_bucket`, `x_sum` and `x_count`. Metrics \
         of the placement driver are those of the embedded one. *Also of* names whose metric of the \
         same name means the same, so that its dashboards and alerts fit; the other names are ours.\n\n\
         | name | type | labels | unit | meaning | also of |\n\
         |---|---|---|---|---|---|\n",
    );
    let mut rows: Vec<String> = super::all().into_iter().flat_map(rows_of).collect();
    rows.sort();
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{row}");
    }
    text
}

fn rows_of(metric: &'static dyn Collector) -> Vec<String> {
    let families = metric.collect();
    let kind = families
        .first()
        .map(prometheus::proto::MetricFamily::get_field_type);
    let row = |desc: &&prometheus::core::Desc| {
        let name = &desc.fq_name;
        let kind = kind.map_or("unknown", kind_name);
        let labels: Vec<String> = desc
            .variable_labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let labels = labels.join(", ");
        let note = NOTES.iter().find(|(noted, ..)| noted == name);
        let (unit, also) = note.map_or(("", Also::Nobody), |&(_, unit, also)| (unit, also));
        let also = match also {
            Also::Tikv => "TiKV",
            Also::Pd => "PD",
            Also::Nobody => "",
        };
        let help = desc.help.trim_end_matches('.');
        format!("| `{name}` | {kind} | {labels} | {unit} | {help} | {also} |")
    };
    metric.desc().iter().map(row).collect()
}

fn kind_name(kind: MetricType) -> &'static str {
    match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "untyped",
        MetricType::HISTOGRAM => "histogram",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Where metrics are declared.
    const SOURCES: &[&str] = &[
        include_str!("../metrics.rs"),
        include_str!("../../../kv/src/metrics.rs"),
        include_str!("../../../storage/src/metrics.rs"),
        include_str!("../../../gc/src/metrics.rs"),
        include_str!("../../../service/src/metrics.rs"),
        include_str!("../../../pd/src/metrics.rs"),
    ];

    fn listed() -> BTreeSet<String> {
        let names = super::super::all().into_iter().flat_map(Collector::desc);
        names.map(|desc| desc.fq_name.clone()).collect()
    }

    /// String literals that are names of metrics.
    fn declared() -> BTreeSet<String> {
        let literals = SOURCES.iter().flat_map(|source| source.split('"'));
        literals
            .filter(|text| text.starts_with("tikv_") || text.starts_with("pd_"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn every_metric_that_is_declared_is_listed() {
        assert_eq!(declared(), listed());
    }

    #[test]
    fn every_metric_has_a_note_and_every_note_a_metric() {
        let noted: Vec<String> = NOTES.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert!(noted.is_sorted());
        assert_eq!(noted.into_iter().collect::<BTreeSet<_>>(), listed());
    }

    #[test]
    fn a_row_says_what_the_metric_says_of_itself() {
        let row = "| `tikv_scheduler_stage_total` | counter | `type`, `stage` | commands | \
                   Total number of commands at each stage | TiKV |";
        let text = text();
        assert!(text.contains(row), "{text}");
        assert!(
            text.contains("| `tikv_scheduler_writing_bytes` | gauge |  | bytes |"),
            "{text}"
        );
        assert!(
            text.contains("| `pd_metadata_write_duration_seconds` | histogram |"),
            "{text}"
        );
        assert!(!text.contains("unknown"), "{text}");
    }
}
