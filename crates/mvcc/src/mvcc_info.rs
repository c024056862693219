//! Everything that is stored for one key, for people who look for a fault.

use engine_traits::{Cf, EngineIterator, IterOptions, ReadOptions};
use kv::Snapshot;
use kvproto::kvrpcpb;
use txn_types::{Key, LastChange, Lock, LockValue, TimeStamp, Value, Write, WriteType};

use crate::cursor::{Cursor, append_after_versions};
use crate::{Error, Result, Statistics};

/// Everything that is stored for one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MvccInfo {
    /// Its lock.
    pub lock: Option<LockValue>,
    /// Its records with their commit timestamps, newest first.
    pub writes: Vec<(TimeStamp, Write)>,
    /// Its long values with the start timestamps of their writers, newest first.
    pub values: Vec<(TimeStamp, Value)>,
}

impl MvccInfo {
    /// The form in which it is answered. Of shared locks only the first is shown; where the last
    /// change of a record lies is not.
    #[must_use]
    pub fn into_proto(self) -> kvrpcpb::MvccInfo {
        let lock = match self.lock {
            Some(LockValue::Exclusive(lock)) => Some(lock),
            Some(LockValue::Shared(locks)) => locks.iter().next().cloned(),
            None => None,
        };
        let mut info = kvrpcpb::MvccInfo::default();
        if let Some(lock) = lock {
            info.set_lock(lock_to_proto(lock));
        }
        let writes: Vec<_> = self.writes.into_iter().map(write_to_proto).collect();
        info.set_writes(writes.into());
        let values: Vec<_> = self.values.into_iter().map(value_to_proto).collect();
        info.set_values(values.into());
        info
    }
}

fn lock_to_proto(lock: Lock) -> kvrpcpb::MvccLock {
    let mut out = kvrpcpb::MvccLock::default();
    out.set_field_type(lock.lock_type.to_op());
    out.set_start_ts(lock.ts.into_inner());
    out.set_primary(lock.primary);
    out.set_short_value(lock.short_value.unwrap_or_default());
    match lock.last_change {
        LastChange::Unknown => {}
        LastChange::NotExist => out.set_versions_to_last_change(1),
        LastChange::Exist { ts, versions } => {
            out.set_last_change_ts(ts.into_inner());
            out.set_versions_to_last_change(versions);
        }
    }
    out
}

fn write_to_proto((commit_ts, write): (TimeStamp, Write)) -> kvrpcpb::MvccWrite {
    let mut out = kvrpcpb::MvccWrite::default();
    out.set_field_type(match write.write_type {
        WriteType::Put => kvrpcpb::Op::Put,
        WriteType::Delete => kvrpcpb::Op::Del,
        WriteType::Lock => kvrpcpb::Op::Lock,
        WriteType::Rollback => kvrpcpb::Op::Rollback,
    });
    out.set_start_ts(write.start_ts.into_inner());
    out.set_commit_ts(commit_ts.into_inner());
    out.set_short_value(write.short_value.unwrap_or_default());
    out.set_has_overlapped_rollback(write.has_overlapped_rollback);
    if let Some(fence) = write.gc_fence {
        out.set_has_gc_fence(true);
        out.set_gc_fence(fence.into_inner());
    }
    if write.last_change == LastChange::NotExist {
        out.set_versions_to_last_change(1);
    }
    out
}

fn value_to_proto((start_ts, value): (TimeStamp, Value)) -> kvrpcpb::MvccValue {
    let mut out = kvrpcpb::MvccValue::default();
    out.set_start_ts(start_ts.into_inner());
    out.set_value(value);
    out
}

/// Everything that is stored for `key`.
pub fn mvcc_info<S: Snapshot>(
    snapshot: &S,
    key: &Key,
    statistics: &mut Statistics,
) -> Result<MvccInfo> {
    statistics.lock.get += 1;
    let lock = snapshot
        .get_with(
            Cf::Lock,
            key,
            &ReadOptions {
                fill_cache: false,
                ..ReadOptions::default()
            },
            LockValue::parse,
        )?
        .transpose()
        .map_err(|error| Error::corruption(Cf::Lock, key.as_encoded(), error))?;

    let mut writes = Vec::new();
    let mut cursor = versions(snapshot, Cf::Write, key)?;
    let mut valid = cursor.seek_to_first()?;
    while valid {
        writes.push((cursor.version()?.1, cursor.write()?.to_owned()));
        cursor.count_processed();
        valid = cursor.next()?;
    }
    statistics.write.add(&cursor.take_statistics());

    let mut values = Vec::new();
    let mut cursor = versions(snapshot, Cf::Default, key)?;
    let mut valid = cursor.seek_to_first()?;
    while valid {
        let ts = Key::decode_ts_from(cursor.key())
            .map_err(|error| Error::corruption(Cf::Default, cursor.key(), error))?;
        values.push((ts, cursor.value().to_vec()));
        cursor.count_processed();
        valid = cursor.next()?;
    }
    statistics.data.add(&cursor.take_statistics());
    Ok(MvccInfo {
        lock,
        writes,
        values,
    })
}

/// The first key of the snapshot that the transaction started at `start_ts` left a record or a
/// lock on. Looks at everything, one entry after the other.
pub fn find_start_ts<S: Snapshot>(
    snapshot: &S,
    start_ts: TimeStamp,
    statistics: &mut Statistics,
) -> Result<Option<Key>> {
    let mut cursor = Cursor::new(snapshot.iter(Cf::Write, everything())?);
    let found = find_write(&mut cursor, start_ts);
    statistics.write.add(&cursor.take_statistics());
    if let Some(key) = found? {
        return Ok(Some(key));
    }
    let mut cursor = Cursor::new(snapshot.iter(Cf::Lock, everything())?);
    let found = find_lock(&mut cursor, start_ts);
    statistics.lock.add(&cursor.take_statistics());
    found
}

fn find_write<I: EngineIterator>(cursor: &mut Cursor<I>, ts: TimeStamp) -> Result<Option<Key>> {
    let mut valid = cursor.seek_to_first()?;
    while valid {
        if cursor.write()?.start_ts == ts {
            return Ok(Some(Key::from_encoded_slice(cursor.version()?.0)));
        }
        valid = cursor.next()?;
    }
    Ok(None)
}

fn find_lock<I: EngineIterator>(cursor: &mut Cursor<I>, ts: TimeStamp) -> Result<Option<Key>> {
    let mut valid = cursor.seek_to_first()?;
    while valid {
        let lock = LockValue::parse(cursor.value())
            .map_err(|error| Error::corruption(Cf::Lock, cursor.key(), error))?;
        if lock.lock_of(ts).is_some() {
            return Ok(Some(Key::from_encoded_slice(cursor.key())));
        }
        valid = cursor.next()?;
    }
    Ok(None)
}

fn versions<S: Snapshot>(snapshot: &S, cf: Cf, key: &Key) -> Result<Cursor<S::Iter>> {
    let mut upper = key.as_encoded().to_vec();
    append_after_versions(&mut upper);
    let bounds = IterOptions::between(key.as_encoded(), upper);
    let options = IterOptions {
        fill_cache: false,
        ..bounds
    };
    Ok(Cursor::new(snapshot.iter(cf, options)?))
}

fn everything() -> IterOptions {
    IterOptions {
        fill_cache: false,
        ..IterOptions::default()
    }
}
