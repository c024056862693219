//! What one run of a load gave: how many operations, at what cost, with which latencies.

use std::time::Duration;

use anyhow::bail;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latencies above this count as this. Longer than any run.
const LATENCY_MAX: Duration = Duration::from_secs(120);

/// What one worker counted while the window was open.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    /// Nanoseconds, to one per cent.
    pub(crate) latencies: Histogram<u64>,
    /// Operations that succeeded.
    pub(crate) ops: u64,
    /// What the operations were about: rows, timestamps; as many as operations otherwise.
    pub(crate) items: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        let nanos = u64::try_from(LATENCY_MAX.as_nanos()).unwrap_or(u64::MAX);
        // These bounds are valid by the library's rules; its smallest histogram stands in for the
        // error that cannot be.
        let latencies = Histogram::new_with_bounds(100, nanos, 2)
            .or_else(|_| Histogram::new(1))
            .unwrap_or_else(|_| unreachable!("one significant digit is allowed"));
        Recorder {
            latencies,
            ops: 0,
            items: 0,
            errors: 0,
            first_error: None,
        }
    }

    /// An operation about `items` that took `latency`.
    pub(crate) fn done(&mut self, latency: Duration, items: u64) {
        self.ops += 1;
        self.items += items;
        self.latencies
            .saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn failed(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }

    pub(crate) fn merge(&mut self, other: &Recorder) {
        self.ops += other.ops;
        self.items += other.items;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        // Both have the same bounds.
        let _ = self.latencies.add(&other.latencies);
    }
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// Nine of ten are faster.
    pub p90: f64,
    /// Ninety-nine of a hundred are faster.
    pub p99: f64,
    /// All but one in a thousand are faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl Percentiles {
    pub(crate) fn of(latencies: &Histogram<u64>) -> Percentiles {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let at = |quantile| micros(latencies.value_at_quantile(quantile));
        Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(latencies.max()),
        }
    }
}

/// One run of a load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The length of the window.
    pub seconds: f64,
    /// Operations that succeeded in it.
    pub ops: u64,
    /// Rows, timestamps or what else the operations were about.
    pub items: u64,
    /// Operations that failed in it.
    pub errors: u64,
    /// What the first failure said.
    pub first_error: Option<String>,
    /// Processor time of the server in it, user and system; nothing when there is no server process.
    pub server_cpu_us: Option<f64>,
    /// Processor time of the load generator in it; for a load without a server, of the load itself.
    pub client_cpu_us: f64,
    /// From the start of an operation, in an open loop from the time when it was due.
    pub latency_us: Percentiles,
}

impl Sample {
    /// Operations a second.
    pub fn ops_per_second(&self) -> f64 {
        per(self.ops as f64, self.seconds)
    }

    /// Items a second.
    pub fn items_per_second(&self) -> f64 {
        per(self.items as f64, self.seconds)
    }

    /// Processor time that the server spent on one operation, in microseconds.
    pub fn server_cpu_us_per_op(&self) -> Option<f64> {
        self.server_cpu_us.map(|cpu| per(cpu, self.ops as f64))
    }

    /// Processor time that the load generator spent on one operation, in microseconds.
    pub fn client_cpu_us_per_op(&self) -> f64 {
        per(self.client_cpu_us, self.ops as f64)
    }

    /// The sample, if nothing failed and something was done.
    pub(crate) fn clean(self) -> anyhow::Result<Sample> {
        if self.errors > 0 {
            let first = self.first_error.as_deref().unwrap_or("no reason given");
            bail!("{} operations failed, the first: {first}", self.errors);
        }
        if self.ops == 0 {
            bail!("no operation finished within {:.1} s", self.seconds);
        }
        Ok(self)
    }
}

/// `what` for each of `units`; zero where there is none.
fn per(what: f64, units: f64) -> f64 {
    if units > 0.0 { what / units } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sequence() {
        let mut recorder = Recorder::new();
        for micros in 1..=1000 {
            recorder.done(Duration::from_micros(micros), 1);
        }
        let found = Percentiles::of(&recorder.latencies);
        let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() < 0.01;
        assert!(near(found.p50, 500.0), "{found:?}");
        assert!(near(found.p90, 900.0), "{found:?}");
        assert!(near(found.p99, 990.0), "{found:?}");
        assert!(near(found.p999, 999.0), "{found:?}");
        assert!(near(found.max, 1000.0), "{found:?}");
    }

    #[test]
    fn what_is_too_long_is_kept_as_the_longest() {
        let mut recorder = Recorder::new();
        recorder.done(Duration::from_secs(3600), 1);
        assert_eq!(recorder.ops, 1);
        assert!(Percentiles::of(&recorder.latencies).max > 100e6);
    }

    #[test]
    fn workers_add_up() {
        let (mut one, mut two) = (Recorder::new(), Recorder::new());
        one.done(Duration::from_micros(10), 5);
        two.done(Duration::from_micros(1000), 7);
        two.failed(&anyhow::anyhow!("broken"));
        one.merge(&two);
        assert_eq!((one.ops, one.items, one.errors), (2, 12, 1));
        assert_eq!(one.first_error.as_deref(), Some("broken"));
        assert_eq!(one.latencies.len(), 2);
    }

    #[test]
    fn rates_and_costs() {
        let sample = Sample {
            seconds: 2.0,
            ops: 1000,
            items: 5000,
            server_cpu_us: Some(20_000.0),
            client_cpu_us: 5_000.0,
            ..Sample::default()
        };
        assert_eq!(sample.ops_per_second(), 500.0);
        assert_eq!(sample.items_per_second(), 2500.0);
        assert_eq!(sample.server_cpu_us_per_op(), Some(20.0));
        assert_eq!(sample.client_cpu_us_per_op(), 5.0);
        assert!(sample.clone().clean().is_ok());
        let failed = Sample {
            errors: 1,
            ..sample
        };
        assert!(failed.clean().is_err());
        assert!(Sample::default().clean().is_err());
        assert_eq!(Sample::default().ops_per_second(), 0.0);
    }
}
