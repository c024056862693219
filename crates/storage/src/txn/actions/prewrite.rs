//! Prewrite of one key by an optimistic transaction.
//!
//! Order of the checks: lock, newer version, existence, assertion; then the lock (and a long value) is written.
//! Must never: write anything when it returns an error, or treat its own earlier lock as a conflict.

use kv::Snapshot;
use mvcc::{Error, MvccTxn, Result, SnapshotReader};
use txn_types::{Key, LastChange, Lock, LockValue, Mutation, TimeStamp, is_short_value};

use super::assertion::{AssertionLevel, Known, check_assertion};
use super::constraint::{check_newer_version, check_not_exists};
use super::{current_lock, key_is_locked};

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
    /// The commit timestamp that the client promises not to go below.
    pub min_commit_ts: TimeStamp,
    /// How much work assertions are worth.
    pub assertion_level: AssertionLevel,
    /// Nothing newer can be there, so the check for it is skipped.
    pub skip_constraint_check: bool,
    /// Who issued the transaction, for change feeds.
    pub txn_source: u64,
}

/// What became of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prewritten {
    /// It is locked now.
    Locked,
    /// An earlier copy of this request has locked it.
    Duplicate,
    /// It was only checked.
    CheckedOnly,
}

/// Checks `mutation` and locks its key.
pub fn prewrite_mutation<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    props: &PrewriteProps<'_>,
    mutation: Mutation,
) -> Result<Prewritten> {
    let key = &mutation.key;
    if let Some(lock) = current_lock(txn, reader, key)? {
        return check_lock(lock, key, props.start_ts);
    }
    let known = if props.skip_constraint_check {
        Known::Nothing
    } else {
        let newest = check_newer_version(reader, key, props.start_ts, props.primary)?;
        if mutation.op.should_not_exist() {
            check_not_exists(reader, key, props.start_ts, &newest)?;
        }
        Known::Newest(newest)
    };
    let Some(lock_type) = mutation.op.lock_type() else {
        return Ok(Prewritten::CheckedOnly);
    };
    let id = (props.start_ts, props.primary);
    check_assertion(
        reader,
        key,
        mutation.assertion,
        props.assertion_level,
        &known,
        id,
    )?;

    let mut lock = Lock::new(
        lock_type,
        props.primary.to_vec(),
        props.start_ts,
        props.lock_ttl,
    );
    lock.txn_size = props.txn_size;
    lock.min_commit_ts = props.min_commit_ts;
    lock.txn_source = props.txn_source;
    if lock_type == txn_types::LockType::Lock {
        lock.last_change = last_change(&known);
    }
    if mutation.op.has_value() {
        if is_short_value(&mutation.value) {
            lock.short_value = Some(mutation.value);
        } else {
            txn.put_value(key.clone(), props.start_ts, mutation.value);
        }
    }
    txn.put_lock(mutation.key, &lock);
    Ok(Prewritten::Locked)
}

/// The lock that was found: its own is success, any other is in the way.
fn check_lock(found: LockValue, key: &Key, start_ts: TimeStamp) -> Result<Prewritten> {
    match found {
        LockValue::Exclusive(lock) if lock.ts == start_ts => {
            if lock.is_pessimistic() {
                return Err(Error::LockTypeNotMatch {
                    start_ts,
                    key: super::raw_key(key)?,
                    pessimistic: true,
                });
            }
            Ok(Prewritten::Duplicate)
        }
        LockValue::Shared(locks) if locks.contains(start_ts) => Err(Error::InvalidRequest(
            format!("txn {start_ts} holds a shared lock and prewrites the key exclusively"),
        )),
        other => Err(key_is_locked(other, key)),
    }
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
