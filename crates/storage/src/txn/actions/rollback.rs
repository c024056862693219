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
//! A record says where the newest data version below it is, so that readers of a key on which many transactions were
//! rolled back need not walk over all of them, nor over what collapsing left of them ([`Below`]).
//!
//! Must never: overwrite a commit record of another transaction with a rollback record, or roll back a transaction
//! that has committed.

use concurrency_manager::ConcurrencyManager;
use kv::Snapshot;
use mvcc::{Error, MvccTxn, OverlappedWrite, Result, SnapshotReader, TxnCommitRecord};
use txn_types::{
    Key, LastChange, Lock, LockType, LockValue, Protected, TimeStamp, Write, WriteType,
};

use super::{current_lock, key_is_locked, raw_key};

/// Whether older unprotected rollback records of the key are removed on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collapse {
    /// They are.
    Yes,
    /// They stay.
    No,
}

/// Whether the newest version below the record of a rollback stays what it is now. Then the record names it.
///
/// It does if no transaction can commit between the two any more:
/// 1. No other transaction holds the key now. One that does may have its commit timestamp already.
/// 2. One that comes later and chooses its commit timestamp here chooses it above the largest timestamp that was read,
///    which is raised to that of the record while the latch of the key is held.
/// 3. One that comes later and asks for its commit timestamp does so after its prewrite, hence after the timestamp of
///    the record was given out. (Most find the record, which is newer than their start, and fail.)
#[derive(Clone, Copy)]
pub enum Below<'a> {
    /// It does, once the largest timestamp that was read is raised here.
    Stays(&'a ConcurrencyManager),
    /// Nobody knows.
    MayChange,
}

impl Below<'_> {
    /// What a record of `key` at `start_ts` can tell, `previous` being the next one below.
    fn last_change<S: Snapshot>(
        self,
        reader: &mut SnapshotReader<S>,
        (key, start_ts): (&Key, TimeStamp),
        previous: Option<&(TimeStamp, Write)>,
    ) -> Result<LastChange> {
        let Below::Stays(concurrency_manager) = self else {
            return Ok(LastChange::Unknown);
        };
        // A timestamp from the future is not believed, and the rollback needs no pointer.
        let raised = concurrency_manager.update_max_ts(start_ts, "rollback");
        let Some((ts, write)) = previous else {
            return Ok(raised.map_or(LastChange::Unknown, |()| LastChange::NotExist));
        };
        let is_fenced = write.gc_fence.is_some_and(|fence| !fence.is_zero());
        if raised.is_err() || is_fenced {
            return Ok(LastChange::Unknown);
        }
        let known = write.last_change_seen_from_above(*ts);
        if known != LastChange::Unknown {
            return Ok(known);
        }
        // The record below knew nothing, so one of them has to walk.
        let found = reader.get_write(key, *ts)?;
        Ok(
            found.map_or(LastChange::Unknown, |(ts, _)| LastChange::Exist {
                ts,
                versions: 2,
            }),
        )
    }
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
    concurrency_manager: &ConcurrencyManager,
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
    let record = (lock.ts, protected.into(), overlapped);
    let below = Below::Stays(concurrency_manager);
    leave_record(txn, reader, key, record, collapse, below)?;
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
            let record = (start_ts, Protected::No, overlapped);
            leave_record(txn, reader, key, record, collapse, Below::MayChange)?;
        }
    }
    locks.remove(start_ts);
    txn.put_shared_locks(key.clone(), &locks, Some((start_ts, None)));
    Ok(())
}

/// Decides the fate of the transaction on a key where it holds no lock. `found` is another transaction's lock there.
/// `concurrency_manager` is that of the store: see [`Below`].
pub fn rollback_missing_lock<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    found: Option<LockValue>,
    (action, resolving_pessimistic_lock): (MissingLockAction, bool),
    concurrency_manager: &ConcurrencyManager,
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
    let below = match &found {
        None => Below::Stays(concurrency_manager),
        Some(_) => Below::MayChange,
    };
    let collapse = match protected {
        Protected::No => Collapse::Yes,
        Protected::Yes => Collapse::No,
    };
    if protected == Protected::Yes
        && overlapped.is_none()
        && let Some(LockValue::Exclusive(lock)) = found
    {
        remember_under_lock(txn, key, lock, start_ts);
    }
    let record = (start_ts, protected, overlapped);
    leave_record(txn, reader, key, record, collapse, below)?;
    Ok(MissingLockStatus::RollbackWritten)
}

/// Removes the transaction's own pessimistic lock from a key that is not its primary, and leaves a protected record,
/// unless a record tells its fate already.
pub fn rollback_pessimistic_secondary<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    concurrency_manager: &ConcurrencyManager,
) -> Result<MissingLockStatus> {
    let start_ts = txn.start_ts;
    let status = match reader.get_txn_commit_record(key)? {
        TxnCommitRecord::None { overlapped } => {
            let record = (start_ts, Protected::Yes, overlapped);
            let below = Below::Stays(concurrency_manager);
            leave_record(txn, reader, key, record, Collapse::Yes, below)?;
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
    concurrency_manager: &ConcurrencyManager,
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
            rollback_lock(txn, reader, key, &lock, collapse, concurrency_manager)?;
            Ok(MissingLockStatus::RollbackWritten)
        }
        Some(LockValue::Shared(locks)) if locks.contains(start_ts) => {
            if locks.get(start_ts).is_some_and(alive) {
                return Err(key_is_locked(LockValue::Shared(locks), key));
            }
            rollback_shared_member(txn, reader, key, locks, collapse)?;
            Ok(MissingLockStatus::RollbackWritten)
        }
        found => {
            let how = (action, false);
            rollback_missing_lock(txn, reader, key, found, how, concurrency_manager)
        }
    }
}

/// Writes the record of a rollback at a timestamp, or folds it into the record of another transaction there. Removes the
/// next one below when it is an unprotected rollback, if that is to be.
fn leave_record<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    (start_ts, protected, overlapped): (TimeStamp, Protected, Option<OverlappedWrite>),
    collapse: Collapse,
    below: Below<'_>,
) -> Result<()> {
    let previous = reader.seek_write(key, start_ts)?;
    if collapse == Collapse::Yes
        && let Some((ts, write)) = &previous
        && write.write_type == WriteType::Rollback
        && !write.is_protected_rollback()
    {
        txn.delete_write(key.clone(), *ts);
    }
    let write = match (overlapped, protected) {
        (None, protected) => {
            let mut write = Write::new_rollback(start_ts, protected);
            let place = (key, start_ts);
            write.last_change = below.last_change(reader, place, previous.as_ref())?;
            write
        }
        (Some(overlapped), Protected::Yes) => overlapped
            .write
            .with_overlapped_rollback(Some(overlapped.gc_fence)),
        (Some(_), Protected::No) => return Ok(()),
    };
    txn.put_write(key.clone(), start_ts, write.to_bytes());
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
