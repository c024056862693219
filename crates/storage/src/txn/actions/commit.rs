//! Commit of one key.
//! Must never: write a record for a pessimistic lock, or overwrite a rollback that hides under the lock.

use kv::Snapshot;
use kvproto::kvrpcpb::CommitRole;
use mvcc::{Error, MvccTxn, Result, SnapshotReader, TxnCommitRecord};
use txn_types::{Key, Lock, LockType, LockValue, TimeStamp, Write, WriteType};

use super::{current_lock, debug_info, raw_key};

/// What became of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The lock is turned into a commit record.
    Committed,
    /// A leftover pessimistic lock was dropped; it protects nothing any more.
    PessimisticLockDropped,
    /// An earlier request committed it.
    AlreadyCommitted,
}

/// Commits `key` of the transaction of `txn` at `commit_ts`.
pub fn commit_key<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    commit_ts: TimeStamp,
    role: CommitRole,
) -> Result<CommitOutcome> {
    let start_ts = txn.start_ts;
    match current_lock(txn, reader, key)? {
        Some(LockValue::Exclusive(lock)) if lock.ts == start_ts => {
            check_min_commit_ts(reader, &lock, key, commit_ts)?;
            let outcome = put_commit_record(txn, key, &lock, commit_ts);
            txn.unlock(key.clone(), start_ts, Some(commit_ts));
            Ok(outcome)
        }
        Some(LockValue::Shared(mut locks)) if locks.contains(start_ts) => {
            let Some(lock) = locks.remove(start_ts) else {
                return already_committed(reader, key, start_ts, commit_ts, role);
            };
            check_min_commit_ts(reader, &lock, key, commit_ts)?;
            let outcome = put_commit_record(txn, key, &lock, commit_ts);
            txn.put_shared_locks(key.clone(), &locks, Some((start_ts, Some(commit_ts))));
            Ok(outcome)
        }
        _ => already_committed(reader, key, start_ts, commit_ts, role),
    }
}

fn put_commit_record(
    txn: &mut MvccTxn,
    key: &Key,
    lock: &Lock,
    commit_ts: TimeStamp,
) -> CommitOutcome {
    let Some(write_type) = WriteType::from_lock_type(lock.lock_type) else {
        debug_assert_eq!(lock.lock_type, LockType::Pessimistic);
        return CommitOutcome::PessimisticLockDropped;
    };
    let mut write = Write::new(write_type, lock.ts, lock.short_value.clone());
    write.last_change = lock.last_change;
    write.txn_source = lock.txn_source;
    if lock.rollback_ts.contains(&commit_ts) {
        // Another transaction that started exactly here was rolled back under this lock. Nothing newer can have
        // been written to this key since, hence no fence.
        write = write.with_overlapped_rollback(None);
    }
    txn.put_write(key.clone(), commit_ts, write.to_bytes());
    CommitOutcome::Committed
}

fn check_min_commit_ts<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    lock: &Lock,
    key: &Key,
    commit_ts: TimeStamp,
) -> Result<()> {
    if commit_ts >= lock.min_commit_ts {
        return Ok(());
    }
    let raw = raw_key(key)?;
    // On the primary this is expected: a reader pushed it. On another key something went wrong before.
    let mvcc_info = if raw == lock.primary {
        None
    } else {
        Some(debug_info(reader, key)?)
    };
    Err(Error::CommitTsExpired {
        start_ts: lock.ts,
        commit_ts,
        key: raw,
        min_commit_ts: lock.min_commit_ts,
        mvcc_info,
    })
}

fn already_committed<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    key: &Key,
    start_ts: TimeStamp,
    commit_ts: TimeStamp,
    role: CommitRole,
) -> Result<CommitOutcome> {
    match reader.get_txn_commit_record(key)? {
        TxnCommitRecord::SingleRecord { write, .. } if write.write_type != WriteType::Rollback => {
            Ok(CommitOutcome::AlreadyCommitted)
        }
        _ => {
            let mvcc_info = match role {
                CommitRole::Secondary => Some(debug_info(reader, key)?),
                CommitRole::Unknown | CommitRole::Primary => None,
            };
            Err(Error::TxnLockNotFound {
                start_ts,
                commit_ts,
                key: raw_key(key)?,
                mvcc_info,
            })
        }
    }
}
