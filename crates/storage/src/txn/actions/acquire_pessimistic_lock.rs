//! One key of a lock request: what is on the key decides whether it can be locked, and what the client is told.
//!
//! A statement of a pessimistic transaction reads at its own timestamp, `for_update_ts`. The lock it asks for must
//! protect what it read, so a newer version is a conflict: the statement runs again at a later timestamp. A client
//! that can cope asks to be given the lock all the same, and is told the newer version.
//!
//! Must never: lock a key on which the transaction was rolled back, however late the request comes, or write anything
//! when it returns an error.

use kv::Snapshot;
use mvcc::{Error, MvccTxn, Result, SnapshotReader, WriteConflictReason};
use txn_types::{
    Key, LastChange, Lock, LockType, LockValue, SharedLocks, TimeStamp, Value, Write, WriteType,
};

use super::constraint::check_not_exists;
use super::{current_lock, raw_key};

/// What the keys of one request have in common.
#[derive(Clone, Debug)]
pub struct LockProps<'a> {
    /// The transaction.
    pub start_ts: TimeStamp,
    /// Its primary key, raw.
    pub primary: &'a [u8],
    /// Milliseconds for which the lock counts as alive.
    pub ttl: u64,
    /// When the statement reads.
    pub for_update_ts: TimeStamp,
    /// The transaction will not commit below this.
    pub min_commit_ts: TimeStamp,
    /// The client wants the value.
    pub need_value: bool,
    /// The client wants to know whether there is a value.
    pub need_existence: bool,
    /// A key without a value is not locked.
    pub lock_only_if_exists: bool,
    /// A newer version is no obstacle.
    pub allow_conflict: bool,
}

/// What the client is told about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLocked {
    /// That it is locked.
    Plain,
    /// Its value; `None` when it has none.
    Value(Option<Value>),
    /// Whether it has a value.
    Existence(bool),
    /// That it is locked although there was a newer version, and that version.
    WithConflict {
        /// The newest value.
        value: Option<Value>,
        /// Where it was committed.
        commit_ts: TimeStamp,
    },
}

/// What is to become of a key.
#[derive(Debug)]
pub enum Acquired {
    /// It is to get this lock.
    Lock(Lock, KeyLocked),
    /// Nothing changes: it is locked already, or is not to be.
    AsItIs(KeyLocked),
    /// The changes in the transaction's buffer say it: a shared lock.
    Shared(KeyLocked),
    /// It is locked by this, and the request must wait or fail.
    Locked(LockValue),
    /// Shared locks are in the way of an exclusive one. Nobody may join them from now on: this is to be written
    /// instead of everything else.
    ShrinkOnly(SharedLocks),
}

/// Looks at `key` for an exclusive lock.
pub fn acquire_exclusive<S: Snapshot>(
    txn: &MvccTxn,
    reader: &mut SnapshotReader<S>,
    props: &LockProps<'_>,
    key: &Key,
    should_not_exist: bool,
) -> Result<Acquired> {
    match current_lock(txn, reader, key)? {
        None => {
            let (lock, told) = check_newest(reader, props, key, should_not_exist)?;
            Ok(match lock {
                Some(lock) => Acquired::Lock(lock, told),
                None => Acquired::AsItIs(told),
            })
        }
        Some(LockValue::Exclusive(lock)) if lock.ts == props.start_ts => {
            lock_again(reader, props, key, lock, should_not_exist)
        }
        Some(LockValue::Shared(mut locks)) if !locks.shrink_only => {
            locks.shrink_only = true;
            Ok(Acquired::ShrinkOnly(locks))
        }
        Some(other) => Ok(Acquired::Locked(other)),
    }
}

/// Looks at `key` for a shared lock, and puts it into `txn`.
pub fn acquire_shared<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    props: &LockProps<'_>,
    key: &Key,
    should_not_exist: bool,
) -> Result<Acquired> {
    let locks = match current_lock(txn, reader, key)? {
        None => SharedLocks::new(),
        Some(LockValue::Shared(locks)) if locks.contains(props.start_ts) => {
            return share_again(txn, props, key, locks);
        }
        Some(LockValue::Shared(locks)) if !locks.shrink_only => locks,
        // Its own exclusive lock, too: it cannot become a member.
        Some(other) => return Ok(Acquired::Locked(other)),
    };
    let (lock, told) = check_newest(reader, props, key, should_not_exist)?;
    let Some(lock) = lock else {
        return Ok(Acquired::AsItIs(told));
    };
    join(txn, key, locks, lock)?;
    Ok(Acquired::Shared(told))
}

fn join(txn: &mut MvccTxn, key: &Key, mut locks: SharedLocks, lock: Lock) -> Result<()> {
    if locks.insert(lock).is_err() {
        return Err(Error::InvalidRequest(
            "only pessimistic locks can be shared".to_owned(),
        ));
    }
    txn.put_shared_locks(key.clone(), &locks, None);
    Ok(())
}

/// The transaction is a member already: a later statement only renews its lock.
fn share_again(
    txn: &mut MvccTxn,
    props: &LockProps<'_>,
    key: &Key,
    locks: SharedLocks,
) -> Result<Acquired> {
    let told = told(props, None, None);
    match locks.get(props.start_ts) {
        Some(own) if !own.is_pessimistic() => type_mismatch(props, key),
        Some(own) if own.for_update_ts < props.for_update_ts => {
            let lock = new_lock(props, props.for_update_ts, own.last_change, false);
            join(txn, key, locks, lock)?;
            Ok(Acquired::Shared(told))
        }
        _ => Ok(Acquired::AsItIs(told)),
    }
}

fn type_mismatch<T>(props: &LockProps<'_>, key: &Key) -> Result<T> {
    Err(Error::LockTypeNotMatch {
        start_ts: props.start_ts,
        key: raw_key(key)?,
        pessimistic: false,
    })
}

/// The transaction has locked the key already.
fn lock_again<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    props: &LockProps<'_>,
    key: &Key,
    lock: Lock,
    should_not_exist: bool,
) -> Result<Acquired> {
    if !lock.is_pessimistic() {
        return type_mismatch(props, key);
    }
    // An earlier copy of this request, or another one of the transaction, was granted with a conflict: what this
    // statement has read may be older than the lock.
    let conflict = (props.allow_conflict && props.for_update_ts < lock.for_update_ts)
        .then_some(lock.for_update_ts);
    let read_ts = conflict.unwrap_or(props.for_update_ts);
    let mut value = None;
    let load = props.need_value || conflict.is_some();
    if (load || props.need_existence || should_not_exist)
        && let Some((commit_ts, write)) = reader.get_write(key, read_ts)?
    {
        if should_not_exist {
            let newest = Some((commit_ts, write.clone()));
            match check_not_exists(reader, key, props.start_ts, &newest) {
                // Newer than the statement, which is to run again before it is told of a duplicate.
                Err(Error::AlreadyExist { .. }) if commit_ts > props.for_update_ts => {
                    return Err(write_conflict(props, key, commit_ts, &write)?);
                }
                checked => checked?,
            }
        }
        value = existing(reader, key, write, load)?;
    }
    let told = told(props, conflict, value);
    if read_ts <= lock.for_update_ts {
        return Ok(Acquired::AsItIs(told));
    }
    let with_conflict = lock.is_locked_with_conflict;
    let renewed = new_lock(props, read_ts, lock.last_change, with_conflict);
    Ok(Acquired::Lock(renewed, told))
}

/// Nobody has locked the key, or those who have do not exclude this request: the newest record decides. The lock is
/// `None` when the key has no value and is to be locked only if it has.
fn check_newest<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    props: &LockProps<'_>,
    key: &Key,
    should_not_exist: bool,
) -> Result<(Option<Lock>, KeyLocked)> {
    let Some((commit_ts, write)) = reader.seek_write(key, TimeStamp::max())? else {
        let lock = new_lock(props, props.for_update_ts, LastChange::NotExist, false);
        let lock = Some(lock).filter(|_| !props.lock_only_if_exists);
        return Ok((lock, told(props, None, None)));
    };
    let conflict = (commit_ts > props.for_update_ts).then_some(commit_ts);
    if conflict.is_some() && !props.allow_conflict {
        return Err(write_conflict(props, key, commit_ts, &write)?);
    }
    check_rolled_back(reader, props, key, commit_ts, &write)?;
    if should_not_exist {
        let newest = Some((commit_ts, write.clone()));
        match check_not_exists(reader, key, props.start_ts, &newest) {
            // The statement has not seen this version: it is to run again before it is told of a duplicate.
            Err(Error::AlreadyExist { .. }) if conflict.is_some() => {
                return Err(write_conflict(props, key, commit_ts, &write)?);
            }
            checked => checked?,
        }
    }
    let last_change = last_change(commit_ts, &write);
    let (load, start_ts) = (props.need_value || conflict.is_some(), props.start_ts);
    let value = if !(load || props.need_existence) {
        None
    } else {
        match write.write_type {
            WriteType::Put if write.is_valid_at(start_ts) => {
                existing(reader, key, write.clone(), load)?
            }
            WriteType::Put | WriteType::Delete => None,
            WriteType::Lock | WriteType::Rollback => {
                match reader.get_write(key, commit_ts.prev())? {
                    Some((_, below)) => existing(reader, key, below, load)?,
                    None => None,
                }
            }
        }
    };
    if props.lock_only_if_exists && value.is_none() {
        return match conflict {
            // Whether it exists for the statement is not known: it is to run again.
            Some(_) => Err(write_conflict(props, key, commit_ts, &write)?),
            None => Ok((None, told(props, None, None))),
        };
    }
    let for_update_ts = conflict.unwrap_or(props.for_update_ts);
    let lock = new_lock(props, for_update_ts, last_change, conflict.is_some());
    Ok((Some(lock), told(props, conflict, value)))
}

/// A rollback that was written before a late request must win over it.
fn check_rolled_back<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    props: &LockProps<'_>,
    key: &Key,
    commit_ts: TimeStamp,
    write: &Write,
) -> Result<()> {
    let start_ts = props.start_ts;
    let is_rollback =
        |write: &Write| write.write_type == WriteType::Rollback || write.has_overlapped_rollback;
    let rolled_back = if commit_ts > start_ts {
        reader
            .seek_write(key, start_ts)?
            .is_some_and(|(ts, older)| ts == start_ts && is_rollback(&older))
    } else {
        commit_ts == start_ts && is_rollback(write)
    };
    if rolled_back {
        return Err(Error::PessimisticLockRolledBack {
            start_ts,
            key: raw_key(key)?,
        });
    }
    Ok(())
}

/// The value of a data version; empty when only its existence is of interest.
fn existing<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    key: &Key,
    write: Write,
    load: bool,
) -> Result<Option<Value>> {
    match (write.write_type, load) {
        (WriteType::Put, true) => Ok(Some(reader.load_data(key, write)?)),
        (WriteType::Put, false) => Ok(Some(Value::new())),
        _ => Ok(None),
    }
}

fn told(props: &LockProps<'_>, conflict: Option<TimeStamp>, value: Option<Value>) -> KeyLocked {
    match conflict {
        Some(commit_ts) => KeyLocked::WithConflict { value, commit_ts },
        None if props.need_value => KeyLocked::Value(value),
        None if props.need_existence => KeyLocked::Existence(value.is_some()),
        None => KeyLocked::Plain,
    }
}

fn new_lock(
    props: &LockProps<'_>,
    for_update_ts: TimeStamp,
    last_change: LastChange,
    with_conflict: bool,
) -> Lock {
    let primary = props.primary.to_vec();
    let mut lock = Lock::new(LockType::Pessimistic, primary, props.start_ts, props.ttl);
    lock.for_update_ts = for_update_ts;
    lock.min_commit_ts = props.min_commit_ts;
    lock.last_change = last_change;
    lock.is_locked_with_conflict = with_conflict;
    lock
}

/// Where the newest data version below the lock is.
fn last_change(commit_ts: TimeStamp, write: &Write) -> LastChange {
    // What lies at or below a fenced record may differ between replicas.
    if write.gc_fence.is_some_and(|fence| !fence.is_zero()) {
        return LastChange::Unknown;
    }
    write.last_change_seen_from_above(commit_ts)
}

fn write_conflict(
    props: &LockProps<'_>,
    key: &Key,
    commit_ts: TimeStamp,
    write: &Write,
) -> Result<Error> {
    Ok(Error::WriteConflict {
        start_ts: props.start_ts,
        conflict_start_ts: write.start_ts,
        conflict_commit_ts: commit_ts,
        key: raw_key(key)?,
        primary: props.primary.to_vec(),
        reason: WriteConflictReason::PessimisticRetry,
    })
}
