//! The fate of a transaction, asked on its primary key by somebody who met one of its locks.
//! Must never: roll back an async-commit primary unless told to fall back, or a lock that is still alive.

use concurrency_manager::ConcurrencyManager;
use kv::Snapshot;
use mvcc::{Error, MvccTxn, Result, SnapshotReader, TxnCommitRecord};
use txn_types::{Key, Lock, LockValue, TimeStamp, WriteType};

use super::raw_key;
use super::rollback::{
    Collapse, MissingLockAction, MissingLockStatus, rollback_lock, rollback_missing_lock,
};

/// What the caller knows and wants.
#[derive(Clone, Copy, Debug)]
pub struct StatusQuery {
    /// When the caller's own transaction started; zero: it has none, the largest: it reads the latest.
    pub caller_start_ts: TimeStamp,
    /// Now, from the placement driver; zero never expires a lock, the largest always does.
    pub current_ts: TimeStamp,
    /// Treat an async-commit primary as an ordinary one.
    pub force_sync_commit: bool,
    /// The lock that the caller met is pessimistic.
    pub resolving_pessimistic_lock: bool,
    /// The key must be the primary of the lock on it.
    pub verify_is_primary: bool,
    /// What to do when there is no trace of the transaction.
    pub missing_lock: MissingLockAction,
}

/// The fate of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum TxnStatus {
    /// Rolled back before.
    RolledBack,
    /// Its lock had expired; rolled back now.
    TtlExpire,
    /// Its pessimistic lock had expired; the lock is removed, no record is left.
    PessimisticRollBack,
    /// There was no trace of it; a rollback record is written now.
    LockNotExist,
    /// There is no trace of it, and it was left alone.
    LockNotExistDoNothing,
    /// Alive, or to be decided by its secondary locks.
    Uncommitted {
        /// Its primary lock as it is now.
        lock: Box<Lock>,
        /// It can no longer commit at or below the caller's start timestamp.
        min_commit_ts_pushed: bool,
    },
    /// Committed.
    Committed {
        /// Where.
        commit_ts: TimeStamp,
    },
}

impl From<MissingLockStatus> for TxnStatus {
    fn from(status: MissingLockStatus) -> Self {
        match status {
            MissingLockStatus::Committed(commit_ts) => Self::Committed { commit_ts },
            MissingLockStatus::RolledBack => Self::RolledBack,
            MissingLockStatus::RollbackWritten => Self::LockNotExist,
            MissingLockStatus::DoNothing => Self::LockNotExistDoNothing,
        }
    }
}

/// The primary key carries a lock of the transaction: rows a to f of the table.
pub fn check_with_lock<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    lock: Lock,
    query: &StatusQuery,
    concurrency_manager: &ConcurrencyManager,
) -> Result<TxnStatus> {
    if query.verify_is_primary && !key.is_encoded_from(&lock.primary) {
        return check_wrong_primary(txn, reader, key, lock, query, concurrency_manager);
    }
    if lock.use_async_commit && !query.force_sync_commit {
        // Its fate lies with its secondaries: neither roll back nor push.
        return Ok(TxnStatus::Uncommitted {
            lock: Box::new(lock),
            min_commit_ts_pushed: false,
        });
    }
    if lock.is_pessimistic()
        && lock.is_locked_with_conflict
        && let Some(status) = determined(reader, key)?
    {
        // A stale request locked the key again after the transaction had ended.
        txn.unlock(key.clone(), lock.ts, None);
        return Ok(status);
    }
    let expires_at = lock.ts.physical().saturating_add(lock.ttl);
    if query.current_ts.is_max() || expires_at < query.current_ts.physical() {
        if lock.is_pessimistic() && query.resolving_pessimistic_lock {
            txn.unlock(key.clone(), lock.ts, None);
            return Ok(TxnStatus::PessimisticRollBack);
        }
        let collapse = Collapse::Yes;
        rollback_lock(txn, reader, key, &lock, collapse, concurrency_manager)?;
        return Ok(TxnStatus::TtlExpire);
    }
    Ok(push_min_commit_ts(txn, key, lock, query))
}

/// The primary key carries no lock of the transaction. `found` is what it carries instead.
pub fn check_without_lock<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    found: Option<LockValue>,
    query: &StatusQuery,
    concurrency_manager: &ConcurrencyManager,
) -> Result<TxnStatus> {
    let how = (query.missing_lock, query.resolving_pessimistic_lock);
    rollback_missing_lock(txn, reader, key, found, how, concurrency_manager).map(Into::into)
}

/// Row a: the transaction's lock says that its primary is another key.
fn check_wrong_primary<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    lock: Lock,
    query: &StatusQuery,
    concurrency_manager: &ConcurrencyManager,
) -> Result<TxnStatus> {
    if query.resolving_pessimistic_lock || !lock.is_pessimistic() {
        return Err(Error::PrimaryMismatch(Box::new(
            lock.into_lock_info(raw_key(key)?),
        )));
    }
    // The caller met a prewritten lock, so the transaction's primary is settled and this pessimistic lock is a
    // leftover from before it was moved: records decide, and the leftover goes.
    let start_ts = lock.ts;
    let status = check_without_lock(txn, reader, key, None, query, concurrency_manager)?;
    txn.unlock(key.clone(), start_ts, None);
    Ok(status)
}

/// The outcome that the records of the key tell, if any.
fn determined<S: Snapshot>(reader: &mut SnapshotReader<S>, key: &Key) -> Result<Option<TxnStatus>> {
    Ok(match reader.get_txn_commit_record(key)? {
        TxnCommitRecord::SingleRecord { commit_ts, write } => Some(match write.write_type {
            WriteType::Rollback => TxnStatus::RolledBack,
            _ => TxnStatus::Committed { commit_ts },
        }),
        TxnCommitRecord::OverlappedRollback { .. } => Some(TxnStatus::RolledBack),
        TxnCommitRecord::None { .. } => None,
    })
}

/// Rows e and f: a reader that started later may read past the lock once it cannot commit below the reader.
fn push_min_commit_ts(
    txn: &mut MvccTxn,
    key: &Key,
    mut lock: Lock,
    query: &StatusQuery,
) -> TxnStatus {
    let caller = query.caller_start_ts;
    if !lock.min_commit_ts.is_zero() && !caller.is_max() && caller >= lock.min_commit_ts {
        lock.min_commit_ts = caller.next().max(query.current_ts);
        txn.put_lock(key.clone(), &lock);
    }
    let min_commit_ts_pushed =
        caller.is_max() || (!caller.is_zero() && lock.min_commit_ts > caller);
    TxnStatus::Uncommitted {
        lock: Box::new(lock),
        min_commit_ts_pushed,
    }
}
