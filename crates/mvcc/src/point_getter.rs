//! Reads of single keys.

use engine_traits::Cf;
use kv::Snapshot;
use txn_types::{Key, TimeStamp};

use crate::cursor::VersionCursor;
use crate::view::newest_data;
use crate::{IsolationLevel, ReadView, Result, Statistics, ValueEntry};

/// Reads single keys of one snapshot at one timestamp. Keys may come in any order.
pub struct PointGetter<S: Snapshot> {
    snapshot: S,
    view: ReadView,
    versions: VersionCursor<S>,
    statistics: Statistics,
}

impl<S: Snapshot> PointGetter<S> {
    /// A reader of `snapshot` with the eyes of `view`.
    #[must_use]
    pub fn new(snapshot: S, view: ReadView) -> Self {
        Self {
            versions: VersionCursor::new(view.fill_cache),
            snapshot,
            view,
            statistics: Statistics::default(),
        }
    }

    /// The value of `key`, which carries no timestamp. An error concerns this key alone: others can
    /// still be read.
    pub fn get(&mut self, key: &Key) -> Result<Option<ValueEntry>> {
        let found = match self.view.isolation {
            IsolationLevel::Rc => self.load(key)?,
            IsolationLevel::Si | IsolationLevel::RcCheckTs => self.check_lock_and_load(key)?,
        };
        if let Some(entry) = &found {
            self.statistics.processed_size += (key.len() + entry.value.len()) as u64;
        }
        Ok(found)
    }

    fn check_lock_and_load(&mut self, key: &Key) -> Result<Option<ValueEntry>> {
        self.statistics.lock.get += 1;
        let options = self.view.read_options();
        let checked = self.snapshot.get_with(Cf::Lock, key, &options, |bytes| {
            self.view.check_lock(key.as_encoded(), bytes)
        })?;
        if checked.is_some() {
            self.statistics.lock.processed_keys += 1;
        }
        match checked.transpose()?.flatten() {
            None => self.load(key),
            Some(lock) => self.view.read_through(
                &self.snapshot,
                key.as_encoded(),
                lock,
                &mut self.statistics.data,
            ),
        }
    }

    fn load(&mut self, key: &Key) -> Result<Option<ValueEntry>> {
        // The timestamp check needs the newest record; when it passes, that is the one to read.
        let seek_ts = match self.view.isolation {
            IsolationLevel::RcCheckTs => TimeStamp::max(),
            IsolationLevel::Si | IsolationLevel::Rc => self.view.ts,
        };
        let Some(cursor) = self.versions.seek(&self.snapshot, key, seek_ts)? else {
            return Ok(None);
        };
        self.view.check_newest(cursor)?;
        let options = self.view.read_options();
        let user_key = key.as_encoded();
        match newest_data(&self.snapshot, cursor, user_key, self.view.ts, &options)? {
            None => Ok(None),
            Some(version) => {
                self.view
                    .read_version(&self.snapshot, user_key, version, &mut self.statistics.data)
            }
        }
    }

    /// What the reads cost since the last call.
    pub fn take_statistics(&mut self) -> Statistics {
        self.statistics.write.add(&self.versions.take_statistics());
        std::mem::take(&mut self.statistics)
    }
}
