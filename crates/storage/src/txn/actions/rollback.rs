//! Rollback of one key, with its lock or without.
//!
//! A rollback leaves a record at the start timestamp of the transaction, so that a late copy of its prewrite fails.
//! Records of rollbacks that need not be kept are collapsed: a newer one makes an older *unprotected* one superfluous,
//! because it is the newest record at the time of a late prewrite that counts. A *protected* one is kept: it is what
//! decides the fate of its transaction.
//!
//! When another transaction committed exactly at that timestamp, the rollback hides in its record as a flag, and a
//! fence remembers the next newer version: garbage collection is not ordered with this rewrite, so on a replica that
//! has collected the record the rewrite brings it back, and the fence tells readers not to believe it.
//!
//! Must never: overwrite a commit record of another transaction with a rollback record, or roll back a transaction
//! that has committed.

use kv::Snapshot;
use mvcc::{Error, MvccTxn, OverlappedWrite, Result, SnapshotReader, TxnCommitRecord};
use txn_types::{Key, Lock, LockType, LockValue, Protected, TimeStamp, Write, WriteType};

use super::{current_lock, key_is_locked, raw_key};

/// Whether older unprotected rollback records of the key are removed on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collapse {
    /// They are.
    Yes,
    /// They stay.
    No,
}

/// What to do about a transaction that has neither lock nor record on the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingLockAction {
    /// Say so.
    ReturnError,
    /// Roll it back, keeping the record for good.
    ProtectedRollback,
    /// Roll it back with a record that may be collapsed.
    Rollback,
}

/// The fate of a transaction as one of its keys tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingLockStatus {
    /// It committed.
    Committed(TimeStamp),
    /// It was rolled back before.
    RolledBack,
    /// There was no trace of it; a rollback record is written now.
    RollbackWritten,
    /// There was no trace of it, and it was left alone.
    DoNothing,
}

/// Removes the transaction's own exclusive lock and leaves a rollback record.
///
/// Protection depends on the lock alone: the primary decides the transaction, and a flushed key must remember.
pub fn rollback_lock<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    lock: &Lock,
    collapse: Collapse,
) -> Result<()> {
    let overlapped = match reader.get_txn_commit_record(key)? {
        TxnCommitRecord::SingleRecord { write, .. } if write.write_type != WriteType::Rollback => {
            return Err(Error::Inconsistent {
                start_ts: lock.ts,
                key: raw_key(key)?,
                detail: "a commit record exists beside the lock",
            });
        }
        TxnCommitRecord::SingleRecord { .. } | TxnCommitRecord::OverlappedRollback { .. } => {
            txn.unlock(key.clone(), lock.ts, None);
            return Ok(());
        }
        TxnCommitRecord::None { overlapped } => overlapped,
    };
    if lock.lock_type == LockType::Put && lock.short_value.is_none() {
        txn.delete_value(key.clone(), lock.ts);
    }
    let protected = key.is_encoded_from(&lock.primary) || lock.generation > 0;
    put_rollback_record(txn, key, lock.ts, protected.into(), overlapped);
    if collapse == Collapse::Yes {
        collapse_previous(txn, reader, key, lock.ts)?;
    }
    txn.unlock(key.clone(), lock.ts, None);
    Ok(())
}

/// Takes the transaction out of a container of shared locks and leaves an unprotected rollback record.
fn rollback_shared_member<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    mut locks: txn_types::SharedLocks,
    collapse: Collapse,
) -> Result<()> {
    let start_ts = txn.start_ts;
    match reader.get_txn_commit_record(key)? {
        TxnCommitRecord::SingleRecord { write, .. } if write.write_type != WriteType::Rollback => {
            return Err(Error::Inconsistent {
                start_ts,
                key: raw_key(key)?,
                detail: "a commit record exists beside the shared lock",
            });
        }
        TxnCommitRecord::SingleRecord { .. } | TxnCommitRecord::OverlappedRollback { .. } => {}
        TxnCommitRecord::None { overlapped } => {
            put_rollback_record(txn, key, start_ts, Protected::No, overlapped);
            if collapse == Collapse::Yes {
                collapse_previous(txn, reader, key, start_ts)?;
            }
        }
    }
    locks.remove(start_ts);
    txn.put_shared_locks(key.clone(), &locks, Some((start_ts, None)));
    Ok(())
}

/// Decides the fate of the transaction on a key where it holds no lock. `found` is another transaction's lock there.
pub fn rollback_missing_lock<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    found: Option<LockValue>,
    action: MissingLockAction,
    resolving_pessimistic_lock: bool,
) -> Result<MissingLockStatus> {
    let start_ts = txn.start_ts;
    let overlapped = match reader.get_txn_commit_record(key)? {
        TxnCommitRecord::SingleRecord { commit_ts, write } => {
            return Ok(match write.write_type {
                WriteType::Rollback => MissingLockStatus::RolledBack,
                _ => MissingLockStatus::Committed(commit_ts),
            });
        }
        TxnCommitRecord::OverlappedRollback { .. } => return Ok(MissingLockStatus::RolledBack),
        TxnCommitRecord::None { overlapped } => overlapped,
    };
    let protected = match action {
        MissingLockAction::ReturnError => {
            return Err(Error::TxnNotFound {
                start_ts,
                key: raw_key(key)?,
            });
        }
        // The transaction may be alive with its primary moved elsewhere: a record here would kill it.
        _ if resolving_pessimistic_lock => return Ok(MissingLockStatus::DoNothing),
        MissingLockAction::ProtectedRollback => Protected::Yes,
        MissingLockAction::Rollback => Protected::No,
    };
    match (protected, found) {
        (Protected::No, _) => collapse_previous(txn, reader, key, start_ts)?,
        (Protected::Yes, Some(LockValue::Exclusive(lock))) if overlapped.is_none() => {
            remember_under_lock(txn, key, lock, start_ts);
        }
        (Protected::Yes, _) => {}
    }
    put_rollback_record(txn, key, start_ts, protected, overlapped);
    Ok(MissingLockStatus::RollbackWritten)
}

/// Removes the transaction's own pessimistic lock from a key that is not its primary, and leaves a protected record,
/// unless a record tells its fate already.
pub fn rollback_pessimistic_secondary<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
) -> Result<MissingLockStatus> {
    let start_ts = txn.start_ts;
    let status = match reader.get_txn_commit_record(key)? {
        TxnCommitRecord::None { overlapped } => {
            collapse_previous(txn, reader, key, start_ts)?;
            put_rollback_record(txn, key, start_ts, Protected::Yes, overlapped);
            MissingLockStatus::RollbackWritten
        }
        // A stale request locked the key again after the transaction had ended.
        determined => match determined.committed_at() {
            Some(commit_ts) => MissingLockStatus::Committed(commit_ts),
            None => MissingLockStatus::RolledBack,
        },
    };
    txn.unlock(key.clone(), start_ts, None);
    Ok(status)
}

/// Rolls the transaction back on `key`, whether its lock is there or not.
///
/// `current_ts` guards a lock that is still alive; zero rolls back whatever its age.
pub fn rollback_key<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    current_ts: TimeStamp,
    (action, collapse): (MissingLockAction, Collapse),
) -> Result<MissingLockStatus> {
    let start_ts = txn.start_ts;
    let found = current_lock(txn, reader, key)?;
    let alive = |lock: &Lock| {
        !current_ts.is_zero()
            && start_ts.physical().saturating_add(lock.ttl) >= current_ts.physical()
    };
    match found {
        Some(LockValue::Exclusive(lock)) if lock.ts == start_ts => {
            if alive(&lock) {
                return Err(key_is_locked(lock, key));
            }
            rollback_lock(txn, reader, key, &lock, collapse)?;
            Ok(MissingLockStatus::RollbackWritten)
        }
        Some(LockValue::Shared(locks)) if locks.contains(start_ts) => {
            if locks.get(start_ts).is_some_and(alive) {
                return Err(key_is_locked(LockValue::Shared(locks), key));
            }
            rollback_shared_member(txn, reader, key, locks, collapse)?;
            Ok(MissingLockStatus::RollbackWritten)
        }
        found => rollback_missing_lock(txn, reader, key, found, action, false),
    }
}

/// Writes the record, or folds it into the record of another transaction at the same timestamp.
fn put_rollback_record(
    txn: &mut MvccTxn,
    key: &Key,
    start_ts: TimeStamp,
    protected: Protected,
    overlapped: Option<OverlappedWrite>,
) {
    let write = match (overlapped, protected) {
        (None, protected) => Write::new_rollback(start_ts, protected),
        (Some(overlapped), Protected::Yes) => overlapped
            .write
            .with_overlapped_rollback(Some(overlapped.gc_fence)),
        (Some(_), Protected::No) => return,
    };
    txn.put_write(key.clone(), start_ts, write.to_bytes());
}

/// Removes the newest record at or below `start_ts` when it is an unprotected rollback.
fn collapse_previous<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    start_ts: TimeStamp,
) -> Result<()> {
    if let Some((ts, write)) = reader.seek_write(key, start_ts)?
        && write.write_type == WriteType::Rollback
        && !write.is_protected_rollback()
    {
        txn.delete_write(key.clone(), ts);
    }
    Ok(())
}

/// Another transaction's lock may still commit exactly at `start_ts` and would then overwrite the record: the lock
/// remembers, and its commit sets the flag.
fn remember_under_lock(txn: &mut MvccTxn, key: &Key, mut lock: Lock, start_ts: TimeStamp) {
    if lock.use_async_commit && lock.ts != start_ts && start_ts >= lock.min_commit_ts {
        lock.rollback_ts.push(start_ts);
        txn.put_lock(key.clone(), &lock);
    }
}
