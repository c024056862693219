//! Crate root: the modules, and the seam between the scheduler, whose commands wait, and the detector of deadlocks.
//! It holds no logic of its own, and must never decide anything about the data under a lock.
#![doc = include_str!("../README.md")]

mod config;
mod deadlock;
mod wait_queue;

pub use config::Config;
pub use deadlock::{
    Deadlock, DetectStream, Detector, DetectorLimits, DetectorPeers, Found, NotLeader, Role,
    StreamEnd, WaitForGraph, wire_entry,
};
pub use wait_queue::{Effects, Holder, Wait, WaitLimits, WaitQueues, Waiter, WakeUpMode};

use std::sync::Arc;

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

/// One transaction waits for another, on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitFor {
    /// The start timestamp of the one that waits.
    pub txn: TimeStamp,
    /// The start timestamp of the one that holds the lock.
    pub holder: TimeStamp,
    /// The raw user key.
    pub key: Arc<[u8]>,
    /// [`key_hash`] of it.
    pub key_hash: u64,
    /// What the client wants to see again in the report of a deadlock.
    pub tag: Arc<[u8]>,
}

/// The hash by which clients recognise a key: that of the system we are compatible with.
#[must_use]
pub fn key_hash(raw_key: &[u8]) -> u64 {
    farmhash::fingerprint64(raw_key)
}

/// Hears of deadlocks.
pub trait DeadlockListener: Send + Sync + 'static {
    /// `found` was closed by a wait that was reported here.
    fn on_deadlock(&self, found: Deadlock);
}

/// Learns who waits for whom, and tells who waits in vain.
pub trait LockManager: Clone + Send + Sync + 'static {
    /// Names the one who is told of deadlocks; called once, before anything else.
    fn listen(&self, listener: std::sync::Weak<dyn DeadlockListener>);

    /// These waits have begun. The listener may be called before this returns, or later, or never.
    fn detect(&self, waits: Vec<WaitFor>);

    /// These waits have ended.
    fn forget(&self, waits: Vec<WaitFor>);
}

/// Waiting without a detector: transactions that wait in a circle wait until their time is over.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDetector;

impl LockManager for NoDetector {
    fn listen(&self, _listener: std::sync::Weak<dyn DeadlockListener>) {}

    fn detect(&self, _waits: Vec<WaitFor>) {}

    fn forget(&self, _waits: Vec<WaitFor>) {}
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_hash_as_clients_hash_them() {
        // Fingerprint64 of farmhash, by its published vectors.
        assert_eq!(super::key_hash(b""), 0x9ae16a3b2f90404f);
        assert_eq!(super::key_hash(b"a"), 0xb3454265b6df75e3);
        assert_eq!(super::key_hash(b"abc"), 0x24a5b3a074e7f369);
    }
}
