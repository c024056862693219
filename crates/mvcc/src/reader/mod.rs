//! What transaction commands read: locks, records and values of keys that they may change.
//!
//! Unlike the readers for clients it judges no locks and blocks on nothing.

mod changed_keys;
mod commit_record;
mod scan_locks;

pub use changed_keys::ChangedKeys;
pub use commit_record::{OverlappedWrite, TxnCommitRecord};
pub use scan_locks::ScannedLocks;

use engine_traits::{Cf, IterOptions, ReadOptions};
use kv::Snapshot;
use txn_types::{Key, LockValue, TimeStamp, Value, Write, WriteType};

use crate::cursor::{VersionCursor, append_after_versions};
use crate::view::{load_long_value, newest_data};
use crate::{Error, Result, Statistics};

/// Entries that the probe of [`SnapshotReader::range_has_write`] passes before it gives up.
const PROBE_SKIPPED_MAX: u64 = 100;

/// Reads keys of one snapshot on behalf of the transaction that started at `start_ts`.
pub struct SnapshotReader<S: Snapshot> {
    start_ts: TimeStamp,
    snapshot: S,
    fill_cache: bool,
    versions: VersionCursor<S>,
    statistics: Statistics,
}

impl<S: Snapshot> SnapshotReader<S> {
    /// A reader for the transaction that started at `start_ts`.
    #[must_use]
    pub fn new(start_ts: TimeStamp, snapshot: S, fill_cache: bool) -> Self {
        Self {
            start_ts,
            snapshot,
            fill_cache,
            versions: VersionCursor::new(fill_cache),
            statistics: Statistics::default(),
        }
    }

    /// The transaction on whose behalf it reads.
    #[must_use]
    pub fn start_ts(&self) -> TimeStamp {
        self.start_ts
    }

    /// What it reads from.
    #[must_use]
    pub fn snapshot(&self) -> &S {
        &self.snapshot
    }

    fn read_options(&self) -> ReadOptions {
        ReadOptions {
            fill_cache: self.fill_cache,
            ..ReadOptions::default()
        }
    }

    /// The lock of `key`, in memory or in the lock column family.
    ///
    /// Memory comes first: a lock there may be newer than one of the same transaction that was written.
    pub fn load_lock(&mut self, key: &Key) -> Result<Option<LockValue>> {
        if let Some(locks) = self.snapshot.memory_locks()
            && let Some(lock) = locks.get(key)?
        {
            return Ok(Some(LockValue::Exclusive(lock)));
        }
        self.statistics.lock.get += 1;
        let parsed =
            self.snapshot
                .get_with(Cf::Lock, key, &self.read_options(), LockValue::parse)?;
        let lock = parsed
            .transpose()
            .map_err(|error| Error::corruption(Cf::Lock, key.as_encoded(), error))?;
        if lock.is_some() {
            self.statistics.lock.processed_keys += 1;
        }
        Ok(lock)
    }

    /// The newest record of `key` at or below `ts`, with its commit timestamp.
    pub fn seek_write(&mut self, key: &Key, ts: TimeStamp) -> Result<Option<(TimeStamp, Write)>> {
        let Some(cursor) = self.versions.seek(&self.snapshot, key, ts)? else {
            return Ok(None);
        };
        let commit_ts = cursor.version()?.1;
        let write = cursor.write()?.to_owned();
        cursor.count_processed();
        Ok(Some((commit_ts, write)))
    }

    /// The newest data version of `key` (a Put or a Delete) at or below `ts`, with its commit
    /// timestamp. Nothing when a record on the way is fenced off for this transaction.
    ///
    /// Between `ts` and a later start of the transaction there must be no data version: a record
    /// could be fenced by it, and whether the walk meets that record is not determined.
    pub fn get_write(&mut self, key: &Key, ts: TimeStamp) -> Result<Option<(TimeStamp, Write)>> {
        let options = self.read_options();
        let Some(cursor) = self.versions.seek(&self.snapshot, key, ts)? else {
            return Ok(None);
        };
        newest_data(
            &self.snapshot,
            cursor,
            key.as_encoded(),
            self.start_ts,
            &options,
        )
    }

    /// The value of `key` at `ts`, whatever locks there are.
    pub fn get_value(&mut self, key: &Key, ts: TimeStamp) -> Result<Option<Value>> {
        match self.get_write(key, ts)? {
            Some((_, write)) if write.write_type == WriteType::Put => {
                Ok(Some(self.load_data(key, write)?))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Whether `key` has a value at `ts`, whatever locks there are.
    pub fn key_exists(&mut self, key: &Key, ts: TimeStamp) -> Result<bool> {
        let version = self.get_write(key, ts)?;
        Ok(version.is_some_and(|(_, write)| write.write_type == WriteType::Put))
    }

    /// The value that a Put record of `key` stands for.
    pub fn load_data(&mut self, key: &Key, put: Write) -> Result<Value> {
        assert_eq!(put.write_type, WriteType::Put, "only a Put has a value");
        match put.short_value {
            Some(value) => Ok(value),
            None => load_long_value(
                &self.snapshot,
                key.as_encoded(),
                put.start_ts,
                &self.read_options(),
                &mut self.statistics.data,
            ),
        }
    }

    /// Whether there may be any record of the keys from `first` to `last`, both included.
    ///
    /// A probe to skip the checks of many new keys at once: it answers `true` rather than walk
    /// over many deleted entries to find out.
    pub fn range_has_write(&mut self, first: &Key, last: &Key) -> Result<bool> {
        let mut upper = last.as_encoded().to_vec();
        append_after_versions(&mut upper);
        let options = IterOptions {
            lower: Some(first.as_encoded().to_vec()),
            upper: Some(upper),
            fill_cache: self.fill_cache,
            key_only: true,
            max_skipped_internal: PROBE_SKIPPED_MAX,
            ..IterOptions::default()
        };
        let mut iter = self.snapshot.iter(Cf::Write, options)?;
        self.statistics.write.seek += 1;
        match engine_traits::EngineIterator::seek_to_first(&mut iter) {
            Ok(found) => Ok(found),
            Err(engine_traits::Error::TooManySkipped) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// What the reads cost since the last call.
    pub fn take_statistics(&mut self) -> Statistics {
        self.statistics.write.add(&self.versions.take_statistics());
        std::mem::take(&mut self.statistics)
    }
}
