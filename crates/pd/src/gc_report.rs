//! What the last run of garbage collection came to: for the log, the metrics, and whoever asks over
//! HTTP why garbage stays. Only the placement driver's own runs, and only of this process.

use std::sync::Arc;

use logger::RedactedKey;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::lock_resolver::{Holder, Resolved};
use crate::metrics::GC_RUNS;

/// As many failed runs in a row need a person.
const FAILURES_TO_TELL: u32 = 3;

/// The last run, for many readers.
#[derive(Clone, Default)]
pub(crate) struct GcReports(Arc<Mutex<Option<GcReport>>>);

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct GcReport {
    /// Seconds of the timestamps' clock.
    pub(crate) ended_at: i64,
    /// Up to where locks were to be resolved.
    pub(crate) target: u64,
    /// How it ended.
    pub(crate) outcome: GcOutcome,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) enum GcOutcome {
    /// The GC safe point is here, perhaps held back.
    Ended { safe_point: u64, resolved: Resolved },
    /// It stayed, for the so many-th time in a row.
    Failed { error: String, failures: u32 },
}

impl GcReports {
    /// Takes a run in, and tells of it: one line each, so that nobody has to guess.
    pub(crate) fn put(&self, report: GcReport) {
        report.log();
        GC_RUNS.with_label_values(&[report.result()]).inc();
        *self.0.lock() = Some(report);
    }

    /// The last one as JSON; none before the first.
    pub(crate) fn last(&self) -> Option<Value> {
        self.0.lock().as_ref().map(GcReport::to_json)
    }
}

impl GcReport {
    fn holder(&self) -> Option<&Holder> {
        match &self.outcome {
            GcOutcome::Ended { resolved, .. } => resolved.holder.as_ref(),
            GcOutcome::Failed { .. } => None,
        }
    }

    fn result(&self) -> &'static str {
        match &self.outcome {
            GcOutcome::Failed { .. } => "failed",
            GcOutcome::Ended { .. } if self.holder().is_some() => "held",
            GcOutcome::Ended { .. } => "finished",
        }
    }

    fn log(&self) {
        let target = self.target;
        let (safe_point, resolved) = match &self.outcome {
            GcOutcome::Ended {
                safe_point,
                resolved,
            } => (*safe_point, resolved),
            GcOutcome::Failed { error, failures } if *failures >= FAILURES_TO_TELL => {
                tracing::error!(%error, target, failures, "garbage stays: locks cannot be resolved");
                return;
            }
            GcOutcome::Failed { error, failures } => {
                tracing::warn!(%error, target, failures, "the safe point was not moved");
                return;
            }
        };
        let (locks, regions) = (resolved.locks, resolved.regions);
        let Some(holder) = &resolved.holder else {
            tracing::info!(safe_point, locks, regions, "safe point moved");
            return;
        };
        tracing::warn!(
            safe_point,
            target,
            start_ts = holder.start_ts,
            primary = %RedactedKey(&holder.primary),
            reason = %holder.reason,
            locks,
            regions,
            "a transaction holds the safe point back"
        );
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "ended_at": self.ended_at,
            "target": self.target,
            "result": self.result(),
        });
        if let GcOutcome::Failed { error, failures } = &self.outcome {
            json["error"] = json!(error);
            json["failures"] = json!(failures);
        }
        if let GcOutcome::Ended { resolved, .. } = &self.outcome {
            json["resolved_locks"] = json!(resolved.locks);
        }
        if let Some(holder) = self.holder() {
            json["held_by"] = json!({
                "start_ts": holder.start_ts,
                "primary": RedactedKey(&holder.primary).to_string(),
                "reason": holder.reason,
            });
        }
        json
    }
}
