//! Settings of garbage collection, with TiKV's names where a key means the same.
//! Must never: hold a setting that nothing reads.

use online_config::{ConfigProblem, ReadableDuration, ReadableSize};
use serde::{Deserialize, Serialize};

/// Shortest and longest pause between two looks at the safe point.
const POLL_INTERVAL_MIN: ReadableDuration = ReadableDuration::millis(100);
const POLL_INTERVAL_MAX: ReadableDuration = ReadableDuration::hours(1);

/// How a store removes versions that nobody can read any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Config {
    /// Keys that a walk looks at before it pauses for three times as long as that took. Default: `512`. Lower it when
    /// other requests are slow while garbage is collected.
    pub batch_keys: usize,
    /// Bytes of deletions that a walk may write in a second; `0KiB` is no limit. Default: `0KiB`. Set it when the disk
    /// is busy with deletions for long.
    pub max_write_bytes_per_sec: ReadableSize,
    /// Let the engine drop garbage whenever it rewrites files for its own reasons, as well. Default: `true`. It takes
    /// effect at the start.
    pub enable_compaction_filter: bool,
    /// How often the placement driver is asked for the safe point. Default: `10s`.
    pub poll_interval: ReadableDuration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            batch_keys: 512,
            max_write_bytes_per_sec: ReadableSize(0),
            enable_compaction_filter: true,
            poll_interval: ReadableDuration::secs(10),
        }
    }
}

impl Config {
    /// Returns every setting that is out of range.
    pub fn validate(&self) -> Result<(), Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        if self.batch_keys == 0 {
            problems.push(ConfigProblem {
                key: "batch-keys",
                value: self.batch_keys.to_string(),
                allowed: "at least 1".to_owned(),
            });
        }
        if !(POLL_INTERVAL_MIN..=POLL_INTERVAL_MAX).contains(&self.poll_interval) {
            problems.push(ConfigProblem {
                key: "poll-interval",
                value: self.poll_interval.to_string(),
                allowed: format!("from {POLL_INTERVAL_MIN} to {POLL_INTERVAL_MAX}"),
            });
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_every_problem_is_reported() {
        assert_eq!(Config::default().validate(), Ok(()));
        let config = Config {
            batch_keys: 0,
            poll_interval: ReadableDuration::millis(99),
            ..Config::default()
        };
        let problems = config.validate().unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["batch-keys", "poll-interval"]);
    }
}
