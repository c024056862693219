//! Scanning down.
//!
//! Going down, the versions of a key come oldest first. The walk remembers the last one that has
//! data until it passes the read's timestamp, and gives up after a number of versions: then it
//! seeks to the timestamp and reads as a forward scan does. Either way it then goes to the key
//! before. Invariant between two calls: both cursors are before every key that was answered, on the
//! last entry of an earlier key.

use std::cmp::Ordering;

use kv::Snapshot;
use txn_types::{Key, TimeStamp, Write, WriteType};

use super::{Cursors, Present};
use crate::view::newest_data;
use crate::{IsolationLevel, REVERSE_SEEK_BOUND, Result, ValueEntry};

pub(super) struct BackwardScanner<S: Snapshot> {
    pub(super) cursors: Cursors<S>,
}

/// How far the walk up the versions of a key came.
enum Walked {
    /// To the newest one that the read may see.
    ToTheEnd(Option<(TimeStamp, Write)>),
    /// As far as is worth while.
    TooFar,
}

impl<S: Snapshot> BackwardScanner<S> {
    pub(super) fn new(cursors: Cursors<S>) -> Self {
        Self { cursors }
    }

    pub(super) fn next(&mut self) -> Result<Option<(Key, ValueEntry)>> {
        self.start()?;
        while let Some(present) = self.cursors.take_next_key(Ordering::Greater)? {
            let read = self.read_key(present);
            // Before the key first, whatever came of it: an error must not be met again.
            self.leave_key(present)?;
            let entry = read?;
            if let Some(pair) = self.cursors.pair(entry) {
                return Ok(Some(pair));
            }
        }
        Ok(None)
    }

    fn start(&mut self) -> Result<()> {
        if self.cursors.started {
            return Ok(());
        }
        if let Some(lock) = &mut self.cursors.lock {
            lock.seek_to_last()?;
        }
        self.cursors.write.seek_to_last()?;
        self.cursors.started = true;
        Ok(())
    }

    fn read_key(&mut self, present: Present) -> Result<Option<ValueEntry>> {
        if present.lock
            && let Some(lock) = self.cursors.check_lock()?
        {
            let Cursors {
                snapshot,
                view,
                user_key,
                statistics,
                ..
            } = &mut self.cursors;
            return view.read_through(snapshot, user_key, lock, &mut statistics.data);
        }
        if present.write {
            self.read_versions()
        } else {
            Ok(None)
        }
    }

    fn read_versions(&mut self) -> Result<Option<ValueEntry>> {
        let version = match self.walk_versions()? {
            Walked::ToTheEnd(version) => version,
            Walked::TooFar => self.seek_version()?,
        };
        let Cursors {
            snapshot,
            view,
            user_key,
            statistics,
            ..
        } = &mut self.cursors;
        match version {
            None => Ok(None),
            Some(version) => view.read_version(snapshot, user_key, version, &mut statistics.data),
        }
    }

    /// Walks from the oldest version up, one by one.
    fn walk_versions(&mut self) -> Result<Walked> {
        let Cursors {
            view,
            write: cursor,
            user_key,
            ..
        } = &mut self.cursors;
        let mut newest = None;
        for _ in 0..REVERSE_SEEK_BOUND {
            let Some(commit_ts) = cursor.commit_ts_of(user_key)? else {
                return Ok(Walked::ToTheEnd(newest));
            };
            if commit_ts > view.ts {
                // The check is about the newest version of all, which is further up.
                if view.isolation == IsolationLevel::RcCheckTs {
                    return Ok(Walked::TooFar);
                }
                return Ok(Walked::ToTheEnd(newest));
            }
            let write = cursor.write()?;
            if !write.is_valid_at(view.ts) {
                newest = None;
            } else if write.write_type.is_data() {
                // Deletions hide what is below just the same.
                newest =
                    (write.write_type == WriteType::Put).then(|| (commit_ts, write.to_owned()));
                cursor.count_processed();
            }
            cursor.prev()?;
        }
        Ok(Walked::TooFar)
    }

    /// Finds the version by a seek, and reads on from there as a forward scan does.
    fn seek_version(&mut self) -> Result<Option<(TimeStamp, Write)>> {
        let seek_ts = match self.cursors.view.isolation {
            IsolationLevel::RcCheckTs => TimeStamp::max(),
            IsolationLevel::Si | IsolationLevel::Rc => self.cursors.view.ts,
        };
        self.cursors.set_seek_key(seek_ts);
        let Cursors {
            snapshot,
            view,
            write: cursor,
            user_key,
            seek_key,
            ..
        } = &mut self.cursors;
        if !cursor.seek(seek_key)? || !Key::is_user_key_eq(cursor.key(), user_key) {
            return Ok(None);
        }
        view.check_newest(cursor)?;
        newest_data(snapshot, cursor, user_key, view.ts, &view.read_options())
    }

    fn leave_key(&mut self, present: Present) -> Result<()> {
        let cursors = &mut self.cursors;
        if present.lock
            && let Some(lock) = &mut cursors.lock
        {
            lock.prev()?;
        }
        if !present.write {
            return Ok(());
        }
        // The bare user key sorts before all its versions. A forward read may have run off the end
        // of the range, from where there are no steps back.
        if cursors.write.valid() {
            cursors.write.near_seek_for_prev(&cursors.user_key)?;
        } else {
            cursors.write.seek_for_prev(&cursors.user_key)?;
        }
        Ok(())
    }
}
