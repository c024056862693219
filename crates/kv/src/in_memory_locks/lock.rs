//! A pessimistic lock as it stands in memory: what such a lock can have, and no more.

use txn_types::{LastChange, Lock, LockType, TimeStamp};

/// An exclusive pessimistic lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PessimisticLock {
    /// Raw primary key of the transaction.
    pub primary: Box<[u8]>,
    /// When the transaction started.
    pub start_ts: TimeStamp,
    /// Milliseconds after the start for which the lock counts as alive.
    pub ttl: u64,
    /// The statement's timestamp.
    pub for_update_ts: TimeStamp,
    /// The transaction will not commit below this.
    pub min_commit_ts: TimeStamp,
    /// Where the newest data version below the lock is.
    pub last_change: LastChange,
    /// It was granted although there was a version newer than the statement.
    pub is_locked_with_conflict: bool,
}

impl PessimisticLock {
    /// The lock as the lock column family knows it.
    #[must_use]
    pub fn to_lock(&self) -> Lock {
        let primary = self.primary.to_vec();
        let mut lock = Lock::new(LockType::Pessimistic, primary, self.start_ts, self.ttl);
        lock.for_update_ts = self.for_update_ts;
        lock.min_commit_ts = self.min_commit_ts;
        lock.last_change = self.last_change;
        lock.is_locked_with_conflict = self.is_locked_with_conflict;
        lock
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.primary.len()
    }
}
