//! Scanning up.
//!
//! Versions of a key come newest first, so the one to return is the first at or below the read's
//! timestamp that has data. Invariant between two calls: both cursors are behind every key that was
//! answered, on the first entry of a later key.

use std::cmp::Ordering;

use kv::Snapshot;
use txn_types::Key;

use super::{Cursors, Present};
use crate::cursor::append_after_versions;
use crate::view::newest_data;
use crate::{IsolationLevel, Result, ValueEntry};

pub(super) struct ForwardScanner<S: Snapshot> {
    pub(super) cursors: Cursors<S>,
}

impl<S: Snapshot> ForwardScanner<S> {
    pub(super) fn new(cursors: Cursors<S>) -> Self {
        Self { cursors }
    }

    pub(super) fn next(&mut self) -> Result<Option<(Key, ValueEntry)>> {
        self.start()?;
        while let Some(present) = self.cursors.take_next_key(Ordering::Less)? {
            let read = self.read_key(present);
            // Behind the key first, whatever came of it: an error must not be met again.
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
            lock.seek_to_first()?;
        }
        self.cursors.write.seek_to_first()?;
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
        let ts = self.cursors.view.ts;
        if self.cursors.view.isolation == IsolationLevel::RcCheckTs {
            self.cursors.view.check_newest(&self.cursors.write)?;
        } else {
            self.cursors.set_seek_key(ts);
            self.cursors.write.near_seek(&self.cursors.seek_key)?;
        }
        let Cursors {
            snapshot,
            view,
            write,
            user_key,
            statistics,
            ..
        } = &mut self.cursors;
        let options = view.read_options();
        match newest_data(snapshot, write, user_key, ts, &options)? {
            None => Ok(None),
            Some(version) => view.read_version(snapshot, user_key, version, &mut statistics.data),
        }
    }

    fn leave_key(&mut self, present: Present) -> Result<()> {
        let cursors = &mut self.cursors;
        if present.lock
            && let Some(lock) = &mut cursors.lock
        {
            lock.next()?;
        }
        if present.write {
            cursors.seek_key.clear();
            cursors.seek_key.extend_from_slice(&cursors.user_key);
            append_after_versions(&mut cursors.seek_key);
            cursors.write.near_seek(&cursors.seek_key)?;
        }
        Ok(())
    }
}
