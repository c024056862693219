//! Reads of ranges, in either direction.
//!
//! A scanner walks the lock and the write column family in step: the next user key is the nearer
//! one of the two cursors, so a key that has only a lock or only records is met all the same. An
//! error that concerns one key (a lock) is reported once; the scanner is then behind that key.
//! Between two calls both cursors are behind every key that was answered, on the first entry of a
//! later one, where behind and later are meant in the direction of the scan.

mod backward;
mod cursors;
mod forward;

use kv::Snapshot;
use txn_types::Key;

use crate::{ReadView, Result, Statistics, ValueEntry};
use cursors::{Cursors, LockRead, Present};

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key up.
    #[default]
    Forward,
    /// From the largest key down.
    Backward,
}

/// A raw user key and what was found for it.
pub type KvPair = (Vec<u8>, ValueEntry);

/// Reads the keys of a range of one snapshot at one timestamp, one after the other.
pub struct Scanner<S: Snapshot> {
    direction: Direction,
    cursors: Cursors<S>,
}

impl<S: Snapshot> Scanner<S> {
    /// Scans `[lower, upper)` of `snapshot` with the eyes of `view`. An absent bound is open; a
    /// backward scan begins at the upper one.
    pub fn new(
        snapshot: S,
        view: ReadView,
        direction: Direction,
        range: (Option<Key>, Option<Key>),
    ) -> Result<Self> {
        Ok(Self {
            direction,
            cursors: Cursors::new(snapshot, view, range)?,
        })
    }

    /// The next key that has a value.
    ///
    /// After [`Error::KeyIsLocked`] the scan goes on behind the locked key. Any other error ends
    /// it: what further calls return is unspecified.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<KvPair>> {
        self.cursors.start(self.direction)?;
        while let Some(present) = self.cursors.take_next_key(self.direction)? {
            let read = self.read_key(present);
            // Behind the key first, whatever came of it: an error must not be met again.
            match self.direction {
                Direction::Forward => forward::leave_key(&mut self.cursors, present)?,
                Direction::Backward => backward::leave_key(&mut self.cursors, present)?,
            }
            if let Some(entry) = read? {
                return self.cursors.pair(entry).map(Some);
            }
        }
        Ok(None)
    }

    fn read_key(&mut self, present: Present) -> Result<Option<ValueEntry>> {
        if present.lock
            && let LockRead::Instead(entry) = self.cursors.read_lock()?
        {
            return Ok(entry);
        }
        if !present.write {
            return Ok(None);
        }
        let version = match self.direction {
            Direction::Forward => forward::find_version(&mut self.cursors)?,
            Direction::Backward => backward::find_version(&mut self.cursors)?,
        };
        self.cursors.read_version(version)
    }

    /// Up to `limit` pairs. A locked key counts and is reported in its place; any other error ends
    /// the scan. With a `sample_step` of n above one, one of every n keys is kept, locked ones
    /// included.
    pub fn scan(&mut self, limit: usize, sample_step: usize) -> Result<Vec<Result<KvPair>>> {
        let step = sample_step.max(1);
        let mut pairs = Vec::new();
        let mut met = 0usize;
        while pairs.len() < limit {
            let found = match self.next() {
                Ok(None) => break,
                Ok(Some(pair)) => Ok(pair),
                Err(error) if error.is_key_locked() => Err(error),
                Err(error) => return Err(error),
            };
            if met.is_multiple_of(step) {
                pairs.push(found);
            }
            met += 1;
        }
        Ok(pairs)
    }

    /// What the scan cost since the last call.
    pub fn take_statistics(&mut self) -> Statistics {
        self.cursors.take_statistics()
    }
}
