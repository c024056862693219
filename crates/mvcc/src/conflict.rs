//! Whether a lock is in the way of a read.
//!
//! A container of shared locks never is: it only keeps writers out. So the question is asked of
//! single locks alone.

use kvproto::kvrpcpb;
use txn_types::{Key, Lock, LockType, TimeStamp, TsSet};

use crate::{Error, Result, WriteConflictReason};

/// What a read may see of other transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsolationLevel {
    /// The committed state at the read's timestamp.
    #[default]
    Si,
    /// What is committed now; locks are not looked at.
    Rc,
    /// What is committed, provided that nothing is newer than the read's timestamp.
    RcCheckTs,
}

impl From<kvrpcpb::IsolationLevel> for IsolationLevel {
    fn from(level: kvrpcpb::IsolationLevel) -> Self {
        match level {
            kvrpcpb::IsolationLevel::SI => Self::Si,
            kvrpcpb::IsolationLevel::RC => Self::Rc,
            kvrpcpb::IsolationLevel::RCCheckTS => Self::RcCheckTs,
        }
    }
}

/// Whether the read is served by a replica that is not the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplicaRead {
    /// By the leader.
    #[default]
    No,
    /// By a follower or learner.
    Yes,
}

/// Answers `Ok` when a read of `key` at `ts` may ignore `lock`, and the error to report otherwise.
///
/// `key` carries no timestamp. `bypass` names the transactions whose locks the client knows to be
/// no obstacle: they will commit later than `ts`, or were rolled back.
pub fn check_lock_conflict(
    lock: &Lock,
    key: &Key,
    ts: TimeStamp,
    isolation: IsolationLevel,
    bypass: &TsSet,
    replica_read: ReplicaRead,
) -> Result<()> {
    match isolation {
        IsolationLevel::Rc => Ok(()),
        IsolationLevel::Si => check_snapshot(lock, key, ts, bypass, replica_read),
        IsolationLevel::RcCheckTs => check_nothing_newer(lock, key, ts, bypass),
    }
}

/// Whether a commit of the lock leaves the data as it is.
fn changes_nothing(lock: &Lock) -> bool {
    matches!(lock.lock_type, LockType::Lock | LockType::Pessimistic)
}

fn check_snapshot(
    lock: &Lock,
    key: &Key,
    ts: TimeStamp,
    bypass: &TsSet,
    replica_read: ReplicaRead,
) -> Result<()> {
    // A lock that will commit above the read, or changes nothing, is invisible anyway.
    if lock.ts > ts || changes_nothing(lock) || lock.min_commit_ts > ts || bypass.contains(lock.ts)
    {
        return Ok(());
    }
    // A read of the latest version may return what is committed so far, if the transaction is still
    // free to commit later. Only its primary tells, and only when it is not committed by the mere
    // presence of its locks. On a replica nobody kept the transaction from committing meanwhile.
    if ts.is_max()
        && replica_read == ReplicaRead::No
        && !lock.use_async_commit
        && key.is_encoded_from(&lock.primary)
    {
        return Ok(());
    }
    let raw = key.to_raw().map_err(Error::InvalidKey)?;
    Err(Error::KeyIsLocked(Box::new(
        lock.clone().into_lock_info(raw),
    )))
}

fn check_nothing_newer(lock: &Lock, key: &Key, ts: TimeStamp, bypass: &TsSet) -> Result<()> {
    if changes_nothing(lock) || bypass.contains(lock.ts) {
        return Ok(());
    }
    Err(Error::WriteConflict {
        start_ts: ts,
        conflict_start_ts: lock.ts,
        conflict_commit_ts: TimeStamp::zero(),
        key: key.to_raw().map_err(Error::InvalidKey)?,
        primary: lock.primary.clone(),
        reason: WriteConflictReason::RcCheckTs,
    })
}
