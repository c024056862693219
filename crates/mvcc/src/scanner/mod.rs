//! Reads of ranges, in either direction.
//!
//! A scanner walks the lock and the write column family in step: the next user key is the nearer
//! one of the two cursors, so a key that has only a lock or only records is met all the same. An
//! error that concerns one key (a lock) is reported once; the scanner is then behind that key.

mod backward;
mod forward;

use engine_traits::{Cf, IterOptions};
use kv::Snapshot;
use txn_types::{Key, TimeStamp, TsSet};

use crate::cursor::Cursor;
use crate::view::View;
use crate::{Error, IsolationLevel, ReplicaRead, Result, Statistics, ValueEntry};
use backward::BackwardScanner;
use forward::ForwardScanner;

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

/// Collects the parameters of a scan.
pub struct ScannerBuilder<S: Snapshot> {
    snapshot: S,
    view: View,
    direction: Direction,
    lower: Option<Key>,
    upper: Option<Key>,
}

impl<S: Snapshot> ScannerBuilder<S> {
    /// Scans everything forward at `ts` with snapshot isolation and nothing special.
    #[must_use]
    pub fn new(snapshot: S, ts: TimeStamp) -> Self {
        Self {
            snapshot,
            view: View::new(ts),
            direction: Direction::Forward,
            lower: None,
            upper: None,
        }
    }

    /// Which way to go.
    #[must_use]
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Scans `[lower, upper)`, in either direction; an absent bound is open.
    #[must_use]
    pub fn range(mut self, lower: Option<Key>, upper: Option<Key>) -> Self {
        self.lower = lower;
        self.upper = upper;
        self
    }

    /// What the scan may see of other transactions.
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

    /// Whether a replica other than the leader serves the scan.
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

    /// Leaves values out.
    #[must_use]
    pub fn key_only(mut self, key_only: bool) -> Self {
        self.view.key_only = key_only;
        self
    }

    /// The scanner, not yet positioned.
    pub fn build(self) -> Result<Scanner<S>> {
        let options = IterOptions {
            lower: self.lower.map(Key::into_encoded),
            upper: self.upper.map(Key::into_encoded),
            fill_cache: self.view.fill_cache,
            ..IterOptions::default()
        };
        let lock = match self.view.isolation {
            IsolationLevel::Rc => None,
            IsolationLevel::Si | IsolationLevel::RcCheckTs => {
                Some(Cursor::new(self.snapshot.iter(Cf::Lock, options.clone())?))
            }
        };
        let cursors = Cursors {
            lock,
            write: Cursor::new(self.snapshot.iter(Cf::Write, options)?),
            snapshot: self.snapshot,
            view: self.view,
            statistics: Statistics::default(),
            started: false,
            user_key: Vec::new(),
            seek_key: Vec::new(),
        };
        let walk = match self.direction {
            Direction::Forward => Walk::Forward(ForwardScanner::new(cursors)),
            Direction::Backward => Walk::Backward(BackwardScanner::new(cursors)),
        };
        Ok(Scanner { walk })
    }
}

/// What both directions work with.
struct Cursors<S: Snapshot> {
    snapshot: S,
    view: View,
    /// Absent when locks are not looked at.
    lock: Option<Cursor<S::Iter>>,
    write: Cursor<S::Iter>,
    statistics: Statistics,
    /// Whether the cursors were positioned.
    started: bool,
    /// The encoded user key in work; kept to save allocations.
    user_key: Vec<u8>,
    /// Where to seek to; kept to save allocations.
    seek_key: Vec<u8>,
}

/// Which column families have something on the user key in work.
#[derive(Clone, Copy)]
struct Present {
    lock: bool,
    write: bool,
}

impl<S: Snapshot> Cursors<S> {
    /// Puts the encoded key of the version of the key in work at `ts` into `seek_key`.
    fn set_seek_key(&mut self, ts: TimeStamp) {
        self.seek_key.clear();
        self.seek_key.extend_from_slice(&self.user_key);
        codec::number::encode_u64_desc(&mut self.seek_key, ts.into_inner());
    }

    /// Takes the user key that comes next into work. `Ordering` says how the next one relates to
    /// the other candidate: less when going up, greater when going down.
    fn take_next_key(&mut self, first: std::cmp::Ordering) -> Result<Option<Present>> {
        let locked = self
            .lock
            .as_ref()
            .filter(|cursor| cursor.valid())
            .map(Cursor::key);
        let written = match self.write.valid() {
            true => Some(self.write.version()?.0),
            false => None,
        };
        let (key, present) = match (locked, written) {
            (None, None) => return Ok(None),
            (Some(key), None) => (
                key,
                Present {
                    lock: true,
                    write: false,
                },
            ),
            (None, Some(key)) => (
                key,
                Present {
                    lock: false,
                    write: true,
                },
            ),
            (Some(locked), Some(written)) => match locked.cmp(written) {
                std::cmp::Ordering::Equal => (
                    locked,
                    Present {
                        lock: true,
                        write: true,
                    },
                ),
                order if order == first => (
                    locked,
                    Present {
                        lock: true,
                        write: false,
                    },
                ),
                _ => (
                    written,
                    Present {
                        lock: false,
                        write: true,
                    },
                ),
            },
        };
        self.user_key.clear();
        self.user_key.extend_from_slice(key);
        Ok(Some(present))
    }

    /// Judges the lock of the key in work, on which the lock cursor stands.
    fn check_lock(&mut self) -> Result<Option<txn_types::Lock>> {
        match &mut self.lock {
            Some(cursor) => {
                cursor.count_processed();
                self.view.check_lock(&self.user_key, cursor.value())
            }
            None => Ok(None),
        }
    }

    /// What a scan returns for the key in work.
    fn pair(&mut self, entry: Option<ValueEntry>) -> Option<(Key, ValueEntry)> {
        let entry = entry?;
        self.statistics.processed_size += (self.user_key.len() + entry.value.len()) as u64;
        Some((Key::from_encoded_slice(&self.user_key), entry))
    }

    fn take_statistics(&mut self) -> Statistics {
        if let Some(cursor) = &mut self.lock {
            self.statistics.lock.add(&cursor.take_statistics());
        }
        self.statistics.write.add(&self.write.take_statistics());
        std::mem::take(&mut self.statistics)
    }
}

enum Walk<S: Snapshot> {
    Forward(ForwardScanner<S>),
    Backward(BackwardScanner<S>),
}

/// Reads the keys of a range of one snapshot at one timestamp, one after the other.
pub struct Scanner<S: Snapshot> {
    walk: Walk<S>,
}

impl<S: Snapshot> Scanner<S> {
    /// The next key that has a value, encoded.
    ///
    /// After [`Error::KeyIsLocked`] the scan goes on behind the locked key. Any other error ends
    /// it: what further calls return is unspecified.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<(Key, ValueEntry)>> {
        match &mut self.walk {
            Walk::Forward(scanner) => scanner.next(),
            Walk::Backward(scanner) => scanner.next(),
        }
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
                pairs.push(match found {
                    Ok((key, entry)) => Ok((key.to_raw().map_err(Error::InvalidKey)?, entry)),
                    Err(error) => Err(error),
                });
            }
            met += 1;
        }
        Ok(pairs)
    }

    /// What the scan cost since the last call.
    pub fn take_statistics(&mut self) -> Statistics {
        match &mut self.walk {
            Walk::Forward(scanner) => scanner.cursors.take_statistics(),
            Walk::Backward(scanner) => scanner.cursors.take_statistics(),
        }
    }
}
