//! What one read sees: the rules shared by point reads and scans.
//!
//! A read looks at the lock of a key first and then at its records, newest first:
//! 1. A lock that is in the way ends the read of the key, unless the client knows that the lock's
//!    transaction is committed: then the lock itself is the version to return.
//! 2. The newest record at or below the read's timestamp counts. A record fenced off at that
//!    timestamp hides everything below it.
//! 3. Records without data are walked over, or jumped over when they say how far it is.

use engine_traits::{Cf, EngineIterator, ReadOptions};
use kv::Snapshot;
use txn_types::{
    Key, LastChange, Lock, LockType, LockValue, TimeStamp, TsSet, Value, Write, WriteRef, WriteType,
};

use crate::cursor::Cursor;
use crate::{
    CfStatistics, Error, IsolationLevel, ReplicaRead, Result, SEEK_BOUND, WriteConflictReason,
    check_lock_conflict,
};

/// A value that a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueEntry {
    /// The value; empty when only keys were asked for.
    pub value: Value,
    /// Where it was committed. `None` when it was read through the lock of a transaction that the
    /// client knows to be committed: a lock does not say where.
    pub commit_ts: Option<TimeStamp>,
}

/// The parameters of a read: what a [`PointGetter`](crate::PointGetter) or a
/// [`Scanner`](crate::Scanner) takes for the state of the data.
///
/// Start from [`ReadView::new`] and set what differs.
#[derive(Clone, Debug)]
pub struct ReadView {
    /// The newest commit that the read sees.
    pub ts: TimeStamp,
    /// What the read may see of other transactions.
    pub isolation: IsolationLevel,
    /// Transactions whose locks are no obstacle.
    pub bypass: TsSet,
    /// Transactions known to be committed, whose locks are read as versions.
    pub access: TsSet,
    /// Whether a replica other than the leader serves the read.
    pub replica_read: ReplicaRead,
    /// Whether blocks that are read stay in the cache.
    pub fill_cache: bool,
    /// Whether every value must come with its commit timestamp. A lock cannot stand in for a record
    /// then, so this turns [`access`](Self::access) off.
    pub need_commit_ts: bool,
    /// Leaves values out: the read only tells whether keys exist.
    pub key_only: bool,
}

impl ReadView {
    /// Reads at `ts` with snapshot isolation and nothing special.
    #[must_use]
    pub fn new(ts: TimeStamp) -> Self {
        Self {
            ts,
            isolation: IsolationLevel::Si,
            bypass: TsSet::Empty,
            access: TsSet::Empty,
            replica_read: ReplicaRead::No,
            fill_cache: true,
            need_commit_ts: false,
            key_only: false,
        }
    }

    pub(crate) fn read_options(&self) -> ReadOptions {
        ReadOptions {
            fill_cache: self.fill_cache,
            ..ReadOptions::default()
        }
    }

    /// Judges what the lock column family holds for `user_key`. Answers the lock that is to be read
    /// as a committed version, if there is one; an error when the read is blocked.
    pub(crate) fn check_lock(&self, user_key: &[u8], bytes: &[u8]) -> Result<Option<Lock>> {
        if LockValue::is_shared(bytes) {
            return Ok(None);
        }
        let lock =
            Lock::parse(bytes).map_err(|error| Error::corruption(Cf::Lock, user_key, error))?;
        let key = Key::from_encoded_slice(user_key);
        let checked = check_lock_conflict(
            &lock,
            &key,
            self.ts,
            self.isolation,
            &self.bypass,
            self.replica_read,
        );
        match checked {
            Ok(()) => Ok(None),
            Err(Error::KeyIsLocked(_)) if !self.need_commit_ts && self.access.contains(lock.ts) => {
                Ok(Some(lock))
            }
            Err(error) => Err(error),
        }
    }

    /// The version that a lock of a committed transaction stands for.
    pub(crate) fn read_through<S: Snapshot>(
        &self,
        snapshot: &S,
        user_key: &[u8],
        lock: Lock,
        data: &mut CfStatistics,
    ) -> Result<Option<ValueEntry>> {
        if lock.lock_type != LockType::Put {
            return Ok(None);
        }
        let value = match lock.short_value {
            _ if self.key_only => Value::new(),
            Some(value) => value,
            None => load_long_value(snapshot, user_key, lock.ts, &self.read_options(), data)?,
        };
        Ok(Some(ValueEntry {
            value,
            commit_ts: None,
        }))
    }

    /// The value of a data version; `None` when it is a deletion.
    pub(crate) fn read_version<S: Snapshot>(
        &self,
        snapshot: &S,
        user_key: &[u8],
        (commit_ts, write): (TimeStamp, Write),
        data: &mut CfStatistics,
    ) -> Result<Option<ValueEntry>> {
        if write.write_type != WriteType::Put {
            return Ok(None);
        }
        let value = match write.short_value {
            _ if self.key_only => Value::new(),
            Some(value) => value,
            None => load_long_value(
                snapshot,
                user_key,
                write.start_ts,
                &self.read_options(),
                data,
            )?,
        };
        Ok(Some(ValueEntry {
            value,
            commit_ts: Some(commit_ts),
        }))
    }

    /// With the timestamp check, the newest record of a key must not be above the read. `cursor`
    /// stands on that record.
    pub(crate) fn check_newest<I: EngineIterator>(&self, cursor: &Cursor<I>) -> Result<()> {
        if self.isolation != IsolationLevel::RcCheckTs {
            return Ok(());
        }
        let (_, commit_ts) = cursor.version()?;
        if commit_ts <= self.ts {
            return Ok(());
        }
        Err(Error::WriteConflict {
            start_ts: self.ts,
            conflict_start_ts: TimeStamp::zero(),
            conflict_commit_ts: commit_ts,
            key: cursor.key().to_vec(),
            primary: Vec::new(),
            reason: WriteConflictReason::RcCheckTs,
        })
    }
}

/// The value of `user_key` that the transaction started at `start_ts` wrote beside its lock.
pub(crate) fn load_long_value<S: Snapshot>(
    snapshot: &S,
    user_key: &[u8],
    start_ts: TimeStamp,
    options: &ReadOptions,
    data: &mut CfStatistics,
) -> Result<Value> {
    let key = Key::from_encoded_slice(user_key).append_ts(start_ts);
    data.get += 1;
    match snapshot.get_with(Cf::Default, &key, options, <[u8]>::to_vec)? {
        Some(value) => {
            data.processed_keys += 1;
            Ok(value)
        }
        None => Err(Error::DefaultNotFound {
            key: key.into_encoded(),
        }),
    }
}

/// The newest Put or Delete at or below the record of `user_key` that `cursor` stands on, as far as
/// no record on the way is fenced off at `fence_ts`.
pub(crate) fn newest_data<S: Snapshot>(
    snapshot: &S,
    cursor: &mut Cursor<S::Iter>,
    user_key: &[u8],
    fence_ts: TimeStamp,
    options: &ReadOptions,
) -> Result<Option<(TimeStamp, Write)>> {
    while let Some(commit_ts) = cursor.commit_ts_of(user_key)? {
        let write = cursor.write()?;
        if !write.is_valid_at(fence_ts) {
            return Ok(None);
        }
        if write.write_type.is_data() {
            let write = write.to_owned();
            cursor.count_processed();
            return Ok(Some((commit_ts, write)));
        }
        match write.last_change {
            LastChange::NotExist => return Ok(None),
            LastChange::Exist { ts, versions } if versions >= SEEK_BOUND => {
                let key = Key::from_encoded_slice(user_key).append_ts(ts);
                cursor.count_get();
                let found = jump_to(snapshot, &key, ts, fence_ts, options)?;
                if found.is_some() {
                    cursor.count_processed();
                }
                return Ok(found);
            }
            LastChange::Exist { .. } | LastChange::Unknown => {}
        }
        cursor.next()?;
    }
    Ok(None)
}

/// Reads the data version that a last-change pointer names. It may have been collected meanwhile.
fn jump_to<S: Snapshot>(
    snapshot: &S,
    versioned_key: &Key,
    commit_ts: TimeStamp,
    fence_ts: TimeStamp,
    options: &ReadOptions,
) -> Result<Option<(TimeStamp, Write)>> {
    let corrupted = |error| Error::corruption(Cf::Write, versioned_key.as_encoded(), error);
    let read = snapshot.get_with(Cf::Write, versioned_key, options, |bytes| {
        WriteRef::parse(bytes).map(|write| (write.is_valid_at(fence_ts), write.to_owned()))
    })?;
    let Some(parsed) = read else {
        return Ok(None);
    };
    let (valid, write) = parsed.map_err(corrupted)?;
    if !write.write_type.is_data() {
        let error = txn_types::Error::Write("last change points at a record without data");
        return Err(corrupted(error));
    }
    Ok(valid.then_some((commit_ts, write)))
}
