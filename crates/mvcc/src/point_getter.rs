//! Reads of single keys.

use engine_traits::Cf;
use kv::Snapshot;
use txn_types::{Key, TimeStamp, TsSet};

use crate::cursor::VersionCursor;
use crate::view::{View, newest_data};
use crate::{IsolationLevel, ReplicaRead, Result, Statistics, ValueEntry};

/// Collects the parameters of point reads.
pub struct PointGetterBuilder<S: Snapshot> {
    snapshot: S,
    view: View,
}

impl<S: Snapshot> PointGetterBuilder<S> {
    /// Reads at `ts` with snapshot isolation and nothing special.
    #[must_use]
    pub fn new(snapshot: S, ts: TimeStamp) -> Self {
        Self {
            snapshot,
            view: View::new(ts),
        }
    }

    /// What the reads may see of other transactions.
    #[must_use]
    pub fn isolation_level(mut self, isolation: IsolationLevel) -> Self {
        self.view.isolation = isolation;
        self
    }

    /// Transactions whose locks are no obstacle.
    #[must_use]
    pub fn bypass_locks(mut self, bypass: TsSet) -> Self {
        self.view.bypass = bypass;
        self
    }

    /// Transactions known to be committed, whose locks are read as versions.
    #[must_use]
    pub fn access_locks(mut self, access: TsSet) -> Self {
        self.view.access = access;
        self
    }

    /// Whether a replica other than the leader serves the reads.
    #[must_use]
    pub fn replica_read(mut self, replica_read: ReplicaRead) -> Self {
        self.view.replica_read = replica_read;
        self
    }

    /// Whether blocks that are read stay in the cache.
    #[must_use]
    pub fn fill_cache(mut self, fill_cache: bool) -> Self {
        self.view.fill_cache = fill_cache;
        self
    }

    /// Whether every value must come with its commit timestamp; turns
    /// [`access_locks`](Self::access_locks) off.
    #[must_use]
    pub fn need_commit_ts(mut self, need: bool) -> Self {
        self.view.need_commit_ts = need;
        self
    }

    /// Leaves values out: the reads only tell whether keys exist.
    #[must_use]
    pub fn key_only(mut self, key_only: bool) -> Self {
        self.view.key_only = key_only;
        self
    }

    /// The reader.
    #[must_use]
    pub fn build(self) -> PointGetter<S> {
        PointGetter {
            versions: VersionCursor::new(self.view.fill_cache),
            snapshot: self.snapshot,
            view: self.view,
            statistics: Statistics::default(),
        }
    }
}

/// Reads single keys of one snapshot at one timestamp. Keys may come in any order.
pub struct PointGetter<S: Snapshot> {
    snapshot: S,
    view: View,
    versions: VersionCursor<S>,
    statistics: Statistics,
}

impl<S: Snapshot> PointGetter<S> {
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
