//! The seam between the scheduler, which releases locks, and whoever waits for one.
//! Must never: block, read a clock, or decide anything about the data under a lock.
#![doc = include_str!("../README.md")]

use txn_types::Key;
use txn_types::TimeStamp;

/// A lock that an applied write removed from the lock column family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleasedLock {
    /// The encoded user key that was locked, without a timestamp.
    pub key: Key,
    /// The start timestamp of the transaction that held the lock.
    pub start_ts: TimeStamp,
    /// Where that transaction committed; `None` when it was rolled back or the outcome is unknown.
    pub commit_ts: Option<TimeStamp>,
}

/// Receives the locks that commands release and wakes those who wait for them.
pub trait LockManager: Clone + Send + Sync + 'static {
    /// Tells that `released` are gone. The write that removed them is applied.
    fn on_released(&self, released: Vec<ReleasedLock>);

    /// Whether anybody waits for any lock: lets the caller skip collecting what nobody needs.
    fn has_waiters(&self) -> bool;
}

/// The lock manager of a server in which no command waits for a lock.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWaiters;

impl LockManager for NoWaiters {
    fn on_released(&self, _released: Vec<ReleasedLock>) {}

    fn has_waiters(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_before_pessimistic_locks_exist() {
        let manager = NoWaiters;
        manager.on_released(vec![ReleasedLock {
            key: Key::from_raw(b"k"),
            start_ts: TimeStamp::from(1),
            commit_ts: None,
        }]);
        assert!(!manager.has_waiters());
    }
}
