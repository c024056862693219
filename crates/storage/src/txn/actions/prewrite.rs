//! Prewrite of one key.
//!
//! Order of the checks: lock, newer version, existence, assertion; then the lock (and a long value) is made. A lock
//! whose transaction gets its commit timestamp from the server is published in memory first: see [`CommitMode`].
//!
//! A flush of pipelined DML is a prewrite with a generation. Where the transaction has locked the key by an earlier
//! generation, the newer one takes its place, without any check but that an insert finds nothing.
//!
//! Must never: write anything when it returns an error, or treat its own earlier lock as a conflict.

use kv::Snapshot;
use mvcc::{Error, MvccTxn, PessimisticLockLoss, Result, SnapshotReader};
use txn_types::{
    Key, LastChange, Lock, LockType, LockValue, Mutation, MutationOp, SharedLocks, TimeStamp,
    is_short_value,
};

use super::assertion::{AssertionLevel, Known, check_assertion};
use super::commit_mode::CommitMode;
use super::constraint::{ConflictRule, check_newer_version, check_not_exists};
use super::{current_lock, key_is_locked, raw_key};

/// What a pessimistic transaction expects of a key at its prewrite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PessimisticAction {
    /// It was not locked; nothing is checked but that it is not locked by others.
    #[default]
    Skip,
    /// Its lock must be there.
    CheckLock,
    /// It was not locked, and conflicts are looked for now.
    CheckConstraint,
}

/// What the keys of one prewrite have in common.
#[derive(Clone, Debug)]
pub struct PrewriteProps<'a> {
    /// The transaction.
    pub start_ts: TimeStamp,
    /// Its primary key, raw.
    pub primary: &'a [u8],
    /// Milliseconds for which the locks count as alive.
    pub lock_ttl: u64,
    /// Keys in the transaction.
    pub txn_size: u64,
    /// Of a pessimistic transaction the last statement, zero of an optimistic one.
    pub for_update_ts: TimeStamp,
    /// The commit timestamp that the client promises not to go below.
    pub min_commit_ts: TimeStamp,
    /// How much work assertions are worth.
    pub assertion_level: AssertionLevel,
    /// Nothing newer can be there, so the check of an optimistic transaction is skipped.
    pub skip_constraint_check: bool,
    /// An earlier copy of the request may have been carried out and its transaction ended.
    pub is_retry: bool,
    /// Who issued the transaction, for change feeds.
    pub txn_source: u64,
    /// Which flush of a pipelined transaction it is, from 1 on; zero for any other prewrite.
    pub generation: u64,
}

/// One key of a prewrite.
#[derive(Clone, Debug)]
pub struct KeyPrewrite {
    /// The change.
    pub mutation: Mutation,
    /// What a pessimistic transaction expects.
    pub action: PessimisticAction,
    /// By which statement the lock that must be there was acquired.
    pub expected_for_update_ts: Option<TimeStamp>,
}

/// What the key carries of this transaction.
enum Status {
    /// Nothing; where that was found out against a record, with it.
    NotLocked(Option<Known>),
    /// Its pessimistic lock.
    Pessimistic(Lock),
    /// An earlier copy of the request, or a later flush, has locked it.
    Duplicate(Lock),
    /// An earlier flush has locked it.
    Flushed(Lock),
}

/// Checks the key and locks it. Returns the least commit timestamp that it allows, as far as the server chooses that;
/// zero for a lock of an ordinary two-phase commit.
pub fn prewrite_key<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    props: &PrewriteProps<'_>,
    request: KeyPrewrite,
    mode: &mut CommitMode<'_>,
) -> Result<TimeStamp> {
    let key = &request.mutation.key;
    let is_shared = request.mutation.op == MutationOp::SharedLock;
    let found = current_lock(txn, reader, key)?;
    let (status, container) = match found {
        Some(LockValue::Shared(locks)) => {
            let status = check_shared(&locks, key, props, &request)?;
            (status, Some(locks))
        }
        Some(found @ LockValue::Exclusive(_)) if is_shared => {
            return Err(locked(found, key, props));
        }
        Some(LockValue::Exclusive(lock)) => (check_lock(lock, key, props, &request)?, None),
        None => (check_absent(reader, key, props, &request)?, None),
    };
    let (held, amended) = match status {
        Status::Duplicate(lock) if lock.use_async_commit => return Ok(lock.min_commit_ts),
        Status::Duplicate(_) => return Ok(TimeStamp::zero()),
        Status::Flushed(lock) => return flush_again(txn, reader, props, request, (&lock, mode)),
        Status::Pessimistic(lock) => (Some(lock), None),
        Status::NotLocked(known) => (None, known),
    };
    let rule = conflict_rule(props, request.action);
    let known = match amended {
        Some(known) => known,
        None if skips_constraint_check(props, request.action) => Known::Nothing,
        None => {
            let newest = check_newer_version(reader, key, props.primary, rule)?;
            if request.mutation.op.should_not_exist() {
                check_not_exists(reader, key, props.start_ts, &newest)?;
            }
            Known::Newest(newest)
        }
    };
    let Some(lock_type) = request.mutation.op.lock_type() else {
        return Ok(props.min_commit_ts.max(props.start_ts.next()));
    };
    let asserted = (request.mutation.assertion, props.assertion_level);
    check_assertion(reader, key, asserted, &known, (rule, props.primary))?;

    let lock = new_lock(lock_type, props, held.as_ref(), &known);
    let container = match container {
        None if is_shared => Some(SharedLocks::new()),
        container => container,
    };
    Ok(write_lock(
        txn,
        request.mutation,
        lock,
        (held.is_some(), container),
        mode,
    ))
}

fn conflict_rule(props: &PrewriteProps<'_>, action: PessimisticAction) -> ConflictRule {
    match (props.for_update_ts, action) {
        (ts, _) if ts.is_zero() => ConflictRule::Optimistic,
        (_, PessimisticAction::CheckConstraint) => ConflictRule::Deferred,
        (for_update_ts, _) => ConflictRule::NotLocked { for_update_ts },
    }
}

fn skips_constraint_check(props: &PrewriteProps<'_>, action: PessimisticAction) -> bool {
    if props.for_update_ts.is_zero() {
        return props.skip_constraint_check;
    }
    match action {
        PessimisticAction::CheckLock => true,
        PessimisticAction::CheckConstraint => false,
        PessimisticAction::Skip => !props.is_retry,
    }
}

/// The error about a lock in the way. A pessimistic transaction must not wait for its age: whoever holds a key that
/// this transaction locked before has to go.
fn locked(found: LockValue, key: &Key, props: &PrewriteProps<'_>) -> Error {
    let mut error = key_is_locked(found, key);
    if let Error::KeyIsLocked(info) = &mut error
        && !props.for_update_ts.is_zero()
    {
        info.set_lock_ttl(0);
    }
    error
}

fn lost(key: &Key, props: &PrewriteProps<'_>, reason: PessimisticLockLoss) -> Result<Status> {
    Err(Error::PessimisticLockNotFound {
        start_ts: props.start_ts,
        key: raw_key(key)?,
        reason,
    })
}

/// The key carries an exclusive lock: its own is success, any other is in the way.
fn check_lock(
    lock: Lock,
    key: &Key,
    props: &PrewriteProps<'_>,
    request: &KeyPrewrite,
) -> Result<Status> {
    if lock.ts == props.start_ts {
        return check_own(lock, key, props, request);
    }
    if request.action == PessimisticAction::CheckLock {
        return lost(key, props, PessimisticLockLoss::LockTsMismatch);
    }
    Err(locked(lock.into(), key, props))
}

/// The key carries a lock of this transaction.
fn check_own(
    lock: Lock,
    key: &Key,
    props: &PrewriteProps<'_>,
    request: &KeyPrewrite,
) -> Result<Status> {
    if !lock.is_pessimistic() {
        let is_older = lock.generation > 0 && lock.generation < props.generation;
        return Ok(if is_older {
            Status::Flushed(lock)
        } else {
            Status::Duplicate(lock)
        });
    }
    if props.for_update_ts.is_zero() {
        return Err(Error::LockTypeNotMatch {
            start_ts: props.start_ts,
            key: raw_key(key)?,
            pessimistic: true,
        });
    }
    let expected = request.expected_for_update_ts;
    if expected.is_some_and(|expected| expected != lock.for_update_ts) {
        return lost(key, props, PessimisticLockLoss::LockForUpdateTsMismatch);
    }
    Ok(Status::Pessimistic(lock))
}

/// The key carries shared locks.
fn check_shared(
    locks: &SharedLocks,
    key: &Key,
    props: &PrewriteProps<'_>,
    request: &KeyPrewrite,
) -> Result<Status> {
    let is_shared = request.mutation.op == MutationOp::SharedLock;
    match locks.get(props.start_ts) {
        Some(own) if is_shared => check_own(own.clone(), key, props, request),
        Some(_) => Err(Error::InvalidRequest(format!(
            "txn {} holds a shared lock and prewrites the key exclusively",
            props.start_ts
        ))),
        None if is_shared => lost(key, props, PessimisticLockLoss::LockMissingAmendFail),
        None => Err(locked(LockValue::Shared(locks.clone()), key, props)),
    }
}

/// The key carries no lock. One that must be there may have been lost with the memory of a former leader, and is made
/// again if nobody wrote the key meanwhile. A record exactly at the start may be the rollback of this transaction.
fn check_absent<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    key: &Key,
    props: &PrewriteProps<'_>,
    request: &KeyPrewrite,
) -> Result<Status> {
    if request.action != PessimisticAction::CheckLock {
        return Ok(Status::NotLocked(None));
    }
    let missing = PessimisticLockLoss::LockMissingAmendFail;
    if request.mutation.op == MutationOp::SharedLock {
        return lost(key, props, missing);
    }
    match reader.seek_write(key, TimeStamp::max())? {
        Some((commit_ts, _)) if commit_ts >= props.start_ts => lost(key, props, missing),
        newest => Ok(Status::NotLocked(Some(Known::Newest(newest)))),
    }
}

fn new_lock(
    lock_type: LockType,
    props: &PrewriteProps<'_>,
    held: Option<&Lock>,
    known: &Known,
) -> Lock {
    let mut lock = Lock::new(
        lock_type,
        props.primary.to_vec(),
        props.start_ts,
        props.lock_ttl,
    );
    lock.txn_size = props.txn_size;
    lock.for_update_ts = props.for_update_ts;
    lock.min_commit_ts = props.min_commit_ts;
    lock.txn_source = props.txn_source;
    lock.generation = props.generation;
    if let Some(held) = held {
        // What others were promised of the lock that this one takes the place of.
        lock.ttl = lock.ttl.max(held.ttl);
        lock.min_commit_ts = lock.min_commit_ts.max(held.min_commit_ts);
    }
    if lock_type == LockType::Lock {
        lock.last_change = match (known, held) {
            (Known::Nothing, Some(held)) => held.last_change,
            _ => last_change(known),
        };
    }
    lock
}

/// Puts the newer of two flushes in the place of the `flushed` one. The key has been this transaction's since, so nobody
/// else can have changed it; and what the client believed about it was checked then.
fn flush_again<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    props: &PrewriteProps<'_>,
    request: KeyPrewrite,
    (flushed, mode): (&Lock, &mut CommitMode<'_>),
) -> Result<TimeStamp> {
    let KeyPrewrite { mutation, .. } = request;
    let key = &mutation.key;
    if mutation.op.should_not_exist() {
        match flushed.lock_type {
            LockType::Put => return Err(Error::AlreadyExist { key: raw_key(key)? }),
            LockType::Delete => {}
            // They leave the data as it was.
            LockType::Lock | LockType::Pessimistic => {
                let newest = reader.seek_write(key, TimeStamp::max())?;
                check_not_exists(reader, key, props.start_ts, &newest)?;
            }
        }
    }
    let Some(lock_type) = mutation.op.lock_type() else {
        return Ok(props.min_commit_ts.max(props.start_ts.next()));
    };
    let had_long_value = flushed.lock_type == LockType::Put && flushed.short_value.is_none();
    let has_long_value = mutation.op.has_value() && !is_short_value(&mutation.value);
    if had_long_value && !has_long_value {
        // Neither commit nor rollback would find it: they know only the newest lock.
        txn.delete_value(key.clone(), flushed.ts);
    }
    let lock = new_lock(lock_type, props, Some(flushed), &Known::Nothing);
    Ok(write_lock(txn, mutation, lock, (true, None), mode))
}

/// Makes the lock, with its value, as the commit of its transaction wants it.
fn write_lock(
    txn: &mut MvccTxn,
    mutation: Mutation,
    mut lock: Lock,
    (was_held, container): (bool, Option<SharedLocks>),
    mode: &mut CommitMode<'_>,
) -> TimeStamp {
    let key = mutation.key;
    if mutation.op.has_value() {
        if is_short_value(&mutation.value) {
            lock.short_value = Some(mutation.value);
        } else {
            txn.put_value(key.clone(), lock.ts, mutation.value);
        }
    }
    let min_commit_ts = mode.publish(&key, &mut lock);
    mode.lock(txn, key, lock, was_held, container);
    min_commit_ts
}

/// Where the newest data version below the new lock is.
fn last_change(known: &Known) -> LastChange {
    match known {
        Known::Nothing => LastChange::Unknown,
        Known::Newest(None) => LastChange::NotExist,
        // What lies at or below a fenced record may differ between replicas.
        Known::Newest(Some((_, write))) if write.gc_fence.is_some_and(|ts| !ts.is_zero()) => {
            LastChange::Unknown
        }
        Known::Newest(Some((commit_ts, write))) => write.last_change_seen_from_above(*commit_ts),
    }
}
