//! How fast writers may go: a state machine that looks at the backlog of the engine from time to time.
//!
//! 1. Each kind of backlog of each column family has a *threshold*, from the configuration or a safe part of what the
//!    engine bears, whichever is less, and a *band*: from a little below the threshold to where the engine would hold
//!    writers back itself. *Severity* is the place in that band, 0 to 1; the worst of all counts.
//! 2. Writers are free until a backlog reaches its threshold, and again once all have been below their bands for a
//!    second.
//! 3. In between the rate is `mean flow * gain(severity)`. The gain is 1 a quarter into the band, more below, less
//!    above. The mean flow follows what was really written, over seconds: it is the integral part. Above the balance
//!    it falls and below it rises, until what is written is what the engine gets done; the gain itself is the
//!    proportional part, which acts at once. Nothing needs to know how fast the disk is.
//! 4. Pending compactions at their hard limit mean that space and reads suffer already: new data is refused.
//! 5. An engine that holds writers back all the same is at severity 1.
//!
//! Must never: read a clock, wait, or know who writes.

use std::time::Duration;

use engine_traits::{Backlog, Cf, HeldBack, WritePressure};
use runtime::Instant;

use crate::FlowControlConfig;

/// Slowest rate in bytes per second: whatever the backlog, the largest write must pass within seconds.
pub(super) const RATE_MIN: f64 = 1024.0 * 1024.0;
/// How long the mean of the flow remembers.
const FLOW_MEMORY: Duration = Duration::from_secs(3);
/// How long all must be well before writers are free.
const CALM: Duration = Duration::from_secs(1);
/// Files and buffers are counted in whole numbers, so the gain must be small well before the end of the band.
const GAIN_MAX: f64 = 1.5;
const GAIN_SLOPE: f64 = 2.0;
const GAIN_MIN: f64 = 0.02;

/// What is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Write buffers wait to be flushed.
    MemTables(Cf),
    /// Files wait to be merged.
    Level0Files(Cf),
    /// Bytes wait to be rewritten.
    PendingCompaction(Cf),
    /// The engine holds writers back.
    Engine,
}

impl Cause {
    /// The column family, as metrics name it.
    pub(crate) fn cf(self) -> &'static str {
        match self {
            Cause::MemTables(cf) | Cause::Level0Files(cf) | Cause::PendingCompaction(cf) => {
                cf.name()
            }
            Cause::Engine => "all",
        }
    }

    /// The kind, as metrics name it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Cause::MemTables(_) => "memtable",
            Cause::Level0Files(_) => "l0",
            Cause::PendingCompaction(_) => "pending_compaction_bytes",
            Cause::Engine => "stall",
        }
    }

    /// What is wrong, for whoever is refused.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Cause::MemTables(_) => "too many write buffers wait to be flushed",
            Cause::Level0Files(_) => "too many level-0 files wait to be merged",
            Cause::PendingCompaction(_) => "too many bytes wait to be compacted",
            Cause::Engine => "the engine holds writes back",
        }
    }
}

/// What writers may do until the next look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Whatever they like.
    Free,
    /// So many bytes per second.
    Rate(f64, Cause),
    /// The same for what ends transactions; nothing new.
    Refuse(f64, Cause),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Controller {
    config: FlowControlConfig,
    /// Bytes per second that were written, of late. None before the second look.
    flow: Option<f64>,
    last_look: Option<Instant>,
    held: bool,
    /// Since when nothing is in its band.
    calm_since: Option<Instant>,
}

impl Controller {
    pub(crate) fn new(config: FlowControlConfig) -> Self {
        Self {
            config,
            flow: None,
            last_look: None,
            held: false,
            calm_since: None,
        }
    }

    /// Takes over other thresholds; they count from the next look.
    pub(crate) fn reconfigure(&mut self, config: FlowControlConfig) {
        self.config = config;
    }

    /// Bytes per second that were written of late.
    pub(crate) fn flow(&self) -> f64 {
        self.flow.unwrap_or(0.0)
    }

    /// Judges `pressure`; `written` bytes were admitted since the last look.
    pub(crate) fn look(&mut self, now: Instant, pressure: &WritePressure, written: u64) -> Verdict {
        self.count(now, written);
        let worst = worst(&self.config, pressure);
        if !self.config.enable {
            self.held = false;
        } else if worst.reached {
            self.held = true;
        }
        if worst.severity >= 0.0 {
            self.calm_since = None;
        } else {
            let since = *self.calm_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= CALM {
                self.held = false;
            }
        }
        if !self.held {
            return Verdict::Free;
        }
        let rate = (self.flow() * gain(worst.severity)).max(RATE_MIN);
        if worst.beyond {
            Verdict::Refuse(rate, worst.cause)
        } else {
            Verdict::Rate(rate, worst.cause)
        }
    }

    fn count(&mut self, now: Instant, written: u64) {
        let Some(last) = self.last_look.replace(now) else {
            return;
        };
        let passed = now.saturating_duration_since(last).as_secs_f64();
        if passed <= 0.0 {
            // Nothing can be said of a moment; what was written in it counts for the next.
            self.last_look = Some(last);
            return;
        }
        let seen = written as f64 / passed;
        self.flow = Some(match self.flow {
            None => seen,
            Some(flow) => {
                let weight = 1.0 - (-passed / FLOW_MEMORY.as_secs_f64()).exp();
                flow + (seen - flow) * weight
            }
        });
    }
}

fn gain(severity: f64) -> f64 {
    (GAIN_MAX - GAIN_SLOPE * severity).clamp(GAIN_MIN, GAIN_MAX)
}

/// The worst of all backlogs.
struct Worst {
    severity: f64,
    cause: Cause,
    /// Any is at its threshold.
    reached: bool,
    /// Nothing may come on top of it.
    beyond: bool,
}

fn worst(config: &FlowControlConfig, pressure: &WritePressure) -> Worst {
    let mut worst = Worst {
        severity: -1.0,
        cause: Cause::Engine,
        reached: false,
        beyond: false,
    };
    if pressure.held_back != HeldBack::Free {
        worst.severity = 1.0;
        worst.reached = true;
    }
    for cf in &pressure.cfs {
        let Backlog {
            immutable_mem_tables,
            level0_files,
            pending_compaction_bytes,
        } = cf.backlog;
        let hard = config.hard_pending_compaction_bytes_limit.0;
        let soft = config.soft_pending_compaction_bytes_limit.0;
        let bears = &cf.limit;
        for (value, threshold, limit, cause) in [
            (
                immutable_mem_tables,
                config
                    .memtables_threshold
                    .min(bears.immutable_mem_tables.div_ceil(2)),
                bears.immutable_mem_tables,
                Cause::MemTables(cf.cf),
            ),
            (
                level0_files,
                config
                    .l0_files_threshold
                    .min(bears.level0_files - bears.level0_files / 4),
                bears.level0_files,
                Cause::Level0Files(cf.cf),
            ),
            (
                pending_compaction_bytes,
                soft.min(bears.pending_compaction_bytes - bears.pending_compaction_bytes / 4),
                hard.min(bears.pending_compaction_bytes),
                Cause::PendingCompaction(cf.cf),
            ),
        ] {
            let severity = severity(value, threshold, limit);
            if severity > worst.severity {
                worst.severity = severity;
                worst.cause = cause;
            }
            worst.reached |= value >= threshold;
        }
        if pending_compaction_bytes >= hard {
            worst.beyond = true;
            worst.severity = 1.0;
            worst.cause = Cause::PendingCompaction(cf.cf);
        }
    }
    worst
}

/// The place of `value` in the band of `threshold`, 1 at most; negative below the band.
fn severity(value: u64, threshold: u64, limit: u64) -> f64 {
    let low = threshold.saturating_sub((threshold / 5).max(1));
    let width = limit.saturating_sub(low).max(1);
    if value <= low {
        return -1.0;
    }
    ((value - low) as f64 / width as f64).min(1.0)
}

#[cfg(test)]
mod tests;
