//! Settings of pessimistic transactions, with TiKV's names where a key means the same.
//! Must never: hold a setting that nothing reads.

use std::time::Duration;

use online_config::{ConfigProblem, ReadableDuration, ReadableSize};
use serde::{Deserialize, Serialize};

/// Shortest and longest wait for a lock. Clients count on an answer within seconds.
const WAIT_TIMEOUT_MIN: ReadableDuration = ReadableDuration(Duration::from_millis(1));
const WAIT_TIMEOUT_MAX: ReadableDuration = ReadableDuration(Duration::from_secs(60 * 60));

/// Smallest table of waiting requests that is of any use.
const WAIT_MEMORY_MIN: ReadableSize = ReadableSize::kb(64);

/// How pessimistic transactions lock and wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Config {
    /// The longest time that a request waits for a lock before it is told who holds it; also the time that a
    /// request gets which names none. Clients then look whether the holder is alive, and ask again. Default: `1s`.
    /// Lower it when transactions often die with locks in their hands.
    pub wait_for_lock_timeout: ReadableDuration,
    /// When a lock is released the oldest waiting transaction goes first; the others are told to try again so much
    /// later, unless somebody has taken the lock by then. So long, too, new requests wait for a transaction that was
    /// overtaken after its last wake-up. Default: `20ms`. Raise it when many transactions
    /// wait for the same keys and often start over; lower it when they wait although nobody holds the lock.
    pub wake_up_delay_duration: ReadableDuration,
    /// Answer a lock request as soon as its write is under way, instead of when it is applied. Such a lock can be
    /// lost with the store; the prewrite of its transaction then finds out. Default: `true`. Set it to `false` when
    /// no lock may be lost.
    pub pipelined: bool,
    /// Keep exclusive locks in memory, without a write, where `pipelined` is on as well. They too can be lost with
    /// the store. Default: `true`. Set it to `false` when no lock may be lost.
    pub in_memory: bool,
    /// Memory that the locks of one region may take; beyond it locks are written. Default: 512 KiB. Raise it when
    /// transactions lock very many keys of a region.
    pub in_memory_peer_size_limit: ReadableSize,
    /// Memory that the locks of all regions of the store may take; beyond it locks are written. Default: 100 MiB, but
    /// never more than the part that `memory-usage-limit` leaves for it.
    pub in_memory_instance_size_limit: ReadableSize,
    /// Memory that waiting lock requests may take; beyond it a request is told at once who holds the lock, as if it
    /// had waited. The graph in which deadlocks are found may take as much again. Default: 64 MiB, enough for about
    /// 190,000 on one key, but never more than the part that `memory-usage-limit` leaves for it. Raise it when more
    /// clients than that wait at a time.
    pub wait_memory_limit: ReadableSize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            wait_for_lock_timeout: ReadableDuration::secs(1),
            wake_up_delay_duration: ReadableDuration::millis(20),
            pipelined: true,
            in_memory: true,
            in_memory_peer_size_limit: ReadableSize::kb(512),
            in_memory_instance_size_limit: ReadableSize::mb(100),
            wait_memory_limit: ReadableSize::mb(64),
        }
    }
}

impl Config {
    /// Returns every setting that is out of range.
    pub fn validate(&self) -> Result<(), Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let mut require = |ok: bool, key, value: String, allowed: String| {
            if !ok {
                problems.push(ConfigProblem {
                    key,
                    value,
                    allowed,
                });
            }
        };
        require(
            (WAIT_TIMEOUT_MIN..=WAIT_TIMEOUT_MAX).contains(&self.wait_for_lock_timeout),
            "wait-for-lock-timeout",
            self.wait_for_lock_timeout.to_string(),
            format!("from {WAIT_TIMEOUT_MIN} to {WAIT_TIMEOUT_MAX}"),
        );
        require(
            self.wake_up_delay_duration <= self.wait_for_lock_timeout,
            "wake-up-delay-duration",
            self.wake_up_delay_duration.to_string(),
            "at most pessimistic-txn.wait-for-lock-timeout: nobody waits longer".to_owned(),
        );
        require(
            self.in_memory_peer_size_limit <= self.in_memory_instance_size_limit,
            "in-memory-peer-size-limit",
            self.in_memory_peer_size_limit.to_string(),
            "at most pessimistic-txn.in-memory-instance-size-limit".to_owned(),
        );
        require(
            self.wait_memory_limit >= WAIT_MEMORY_MIN,
            "wait-memory-limit",
            self.wait_memory_limit.to_string(),
            format!("at least {WAIT_MEMORY_MIN}"),
        );
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
            wait_for_lock_timeout: ReadableDuration::secs(0),
            wake_up_delay_duration: ReadableDuration::secs(1),
            in_memory_instance_size_limit: ReadableSize(1),
            wait_memory_limit: ReadableSize(1),
            ..Config::default()
        };
        let problems = config.validate().unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key).collect();
        assert_eq!(
            keys,
            [
                "wait-for-lock-timeout",
                "wake-up-delay-duration",
                "in-memory-peer-size-limit",
                "wait-memory-limit"
            ]
        );
    }
}
