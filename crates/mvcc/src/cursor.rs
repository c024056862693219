//! An engine iterator that counts what it does, and the cursor over the versions of keys.

use engine_traits::{Cf, EngineIterator, IterOptions};
use kv::Snapshot;
use txn_types::{Key, TS_LEN, TimeStamp, WriteRef};

use crate::{CfStatistics, Error, Result, SEEK_BOUND};

/// An engine iterator that counts what it does.
pub(crate) struct Cursor<I> {
    iter: I,
    statistics: CfStatistics,
}

impl<I: EngineIterator> Cursor<I> {
    pub(crate) fn new(iter: I) -> Self {
        Self {
            iter,
            statistics: CfStatistics::default(),
        }
    }

    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<bool> {
        self.statistics.seek += 1;
        Ok(self.iter.seek(key)?)
    }

    pub(crate) fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool> {
        self.statistics.seek_for_prev += 1;
        Ok(self.iter.seek_for_prev(key)?)
    }

    pub(crate) fn seek_to_first(&mut self) -> Result<bool> {
        self.statistics.seek += 1;
        Ok(self.iter.seek_to_first()?)
    }

    pub(crate) fn seek_to_last(&mut self) -> Result<bool> {
        self.statistics.seek_for_prev += 1;
        Ok(self.iter.seek_to_last()?)
    }

    pub(crate) fn next(&mut self) -> Result<bool> {
        self.statistics.next += 1;
        Ok(self.iter.next()?)
    }

    pub(crate) fn prev(&mut self) -> Result<bool> {
        self.statistics.prev += 1;
        Ok(self.iter.prev()?)
    }

    pub(crate) fn valid(&self) -> bool {
        self.iter.valid()
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.iter.key()
    }

    pub(crate) fn value(&self) -> &[u8] {
        self.iter.value()
    }

    /// Moves forward to the first entry at or after `target`: step by step while that may be
    /// near, then by a seek. Entries behind the current position are not looked for.
    pub(crate) fn near_seek(&mut self, target: &[u8]) -> Result<bool> {
        for _ in 0..SEEK_BOUND {
            if !self.valid() {
                return Ok(false);
            }
            if self.key() >= target {
                return Ok(true);
            }
            self.next()?;
        }
        if self.valid() && self.key() < target {
            return self.seek(target);
        }
        Ok(self.valid())
    }

    /// Moves back to the last entry at or before `target`, as [`near_seek`](Self::near_seek) does
    /// forward.
    pub(crate) fn near_seek_for_prev(&mut self, target: &[u8]) -> Result<bool> {
        for _ in 0..SEEK_BOUND {
            if !self.valid() {
                return Ok(false);
            }
            if self.key() <= target {
                return Ok(true);
            }
            self.prev()?;
        }
        if self.valid() && self.key() > target {
            return self.seek_for_prev(target);
        }
        Ok(self.valid())
    }

    /// One more entry contributed to a result.
    pub(crate) fn count_processed(&mut self) {
        self.statistics.processed_keys += 1;
    }

    /// One point read went around the iterator.
    pub(crate) fn count_get(&mut self) {
        self.statistics.get += 1;
    }

    pub(crate) fn take_statistics(&mut self) -> CfStatistics {
        std::mem::take(&mut self.statistics)
    }
}

/// Entries of the write column family.
impl<I: EngineIterator> Cursor<I> {
    /// User key and commit timestamp of the current entry.
    pub(crate) fn version(&self) -> Result<(&[u8], TimeStamp)> {
        Key::split_on_ts_for(self.key())
            .map_err(|error| Error::corruption(Cf::Write, self.key(), error))
    }

    /// The record of the current entry.
    pub(crate) fn write(&self) -> Result<WriteRef<'_>> {
        WriteRef::parse(self.value())
            .map_err(|error| Error::corruption(Cf::Write, self.key(), error))
    }

    /// Commit timestamp of the current entry when it is a version of `user_key`.
    pub(crate) fn commit_ts_of(&self, user_key: &[u8]) -> Result<Option<TimeStamp>> {
        if !self.valid() || !Key::is_user_key_eq(self.key(), user_key) {
            return Ok(None);
        }
        Ok(Some(self.version()?.1))
    }
}

/// Turns an encoded user key into a position above all its versions and below every later user
/// key. Encoded user keys are no prefixes of each other, so nothing else lies between.
pub(crate) fn append_after_versions(user_key: &mut Vec<u8>) {
    user_key.extend_from_slice(&[u8::MAX; TS_LEN + 1]);
}

/// A cursor over the records of one user key after the other.
///
/// Its iterator stays among the versions of the key it sought: it never walks into the remains of deleted
/// neighbours, and the engine's filters spare it the files and buffers where the key is not.
pub(crate) struct VersionCursor<S: Snapshot> {
    cursor: Option<Cursor<S::Iter>>,
    fill_cache: bool,
    seek_key: Vec<u8>,
}

impl<S: Snapshot> VersionCursor<S> {
    pub(crate) fn new(fill_cache: bool) -> Self {
        Self {
            cursor: None,
            fill_cache,
            seek_key: Vec::new(),
        }
    }

    /// Moves to the newest record of `key` at or below `ts`. The cursor is handed out when there
    /// is one.
    pub(crate) fn seek(
        &mut self,
        snapshot: &S,
        key: &Key,
        ts: TimeStamp,
    ) -> Result<Option<&mut Cursor<S::Iter>>> {
        let cursor = match &mut self.cursor {
            Some(cursor) => cursor,
            none => {
                let options = IterOptions {
                    fill_cache: self.fill_cache,
                    within_prefix: true,
                    ..IterOptions::default()
                };
                none.insert(Cursor::new(snapshot.iter(Cf::Write, options)?))
            }
        };
        self.seek_key.clear();
        self.seek_key.extend_from_slice(key.as_encoded());
        codec::number::encode_u64_desc(&mut self.seek_key, ts.into_inner());
        // Walking down the versions of a key is the usual reason to come back to it.
        let found = match cursor.commit_ts_of(key.as_encoded())? {
            Some(current) if current >= ts => cursor.near_seek(&self.seek_key)?,
            _ => cursor.seek(&self.seek_key)?,
        };
        Ok((found && Key::is_user_key_eq(cursor.key(), key.as_encoded())).then_some(cursor))
    }

    pub(crate) fn take_statistics(&mut self) -> CfStatistics {
        self.cursor
            .as_mut()
            .map(Cursor::take_statistics)
            .unwrap_or_default()
    }
}
