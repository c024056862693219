//! Snapshots of a local engine: an engine snapshot without the data prefix.
//!
//! One for a thread that must not block looks at memory alone, and gives up where a read would become
//! long: nothing may be slow there, neither a disk nor a thousand versions of one key.

use std::num::NonZeroU64;
use std::sync::Arc;

use engine_traits::{Cf, EngineIterator, Error, IterOptions, Iterable, Peekable, ReadOptions};
use keys::{DATA_PREFIX, DATA_PREFIX_KEY};
use txn_types::Key;

use crate::in_memory_locks::SnapshotLocks;
use crate::{Result, Snapshot};

/// How often an iterator that looks at memory alone moves, and over how many dead entries at once: as long
/// as a read takes that goes straight to its key, with room for some versions above it.
const MOVES_IN_MEMORY: u32 = 32;

/// How far reads of a snapshot go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// As far as they must.
    Everything,
    /// Through memory, and not far.
    Memory,
}

/// Bounds of a region as engine keys.
pub(crate) struct Bounds {
    lower: Vec<u8>,
    upper: Vec<u8>,
}

impl Bounds {
    /// Of the region `[start_key, end_key)`.
    pub(crate) fn new(start_key: &[u8], end_key: &[u8]) -> Bounds {
        Bounds {
            lower: keys::data_key(start_key),
            upper: keys::data_end_key(end_key),
        }
    }
}

/// A snapshot of a [`LocalEngine`](crate::LocalEngine).
#[derive(Clone)]
pub struct LocalSnapshot<S> {
    snapshot: S,
    bounds: Arc<Bounds>,
    term: Option<NonZeroU64>,
    memory_locks: SnapshotLocks,
    reach: Reach,
}

impl<S> LocalSnapshot<S> {
    pub(crate) fn new(
        snapshot: S,
        bounds: Arc<Bounds>,
        term: Option<NonZeroU64>,
        memory_locks: SnapshotLocks,
        reach: Reach,
    ) -> Self {
        LocalSnapshot {
            snapshot,
            bounds,
            term,
            memory_locks,
            reach,
        }
    }
}

impl<S: engine_traits::Snapshot> Snapshot for LocalSnapshot<S> {
    type Iter = LocalIterator<<S as Iterable>::Iter>;

    fn get_with<R>(
        &self,
        cf: Cf,
        key: &Key,
        opts: &ReadOptions,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        let data_key = keys::data_key(key.as_encoded());
        let opts = ReadOptions {
            only_cached: opts.only_cached || self.reach == Reach::Memory,
            ..*opts
        };
        Ok(Peekable::get_with(&self.snapshot, cf, &data_key, &opts, f)?)
    }

    fn iter(&self, cf: Cf, mut opts: IterOptions) -> Result<Self::Iter> {
        // A bound of the caller only ever narrows the region.
        let bounds = &*self.bounds;
        let lower = opts.lower.take().map(|key| keys::data_key(&key));
        let upper = opts.upper.take().map(|key| keys::data_key(&key));
        opts.lower = Some(
            lower
                .filter(|key| *key > bounds.lower)
                .unwrap_or_else(|| bounds.lower.clone()),
        );
        opts.upper = Some(
            upper
                .filter(|key| *key < bounds.upper)
                .unwrap_or_else(|| bounds.upper.clone()),
        );
        let moves_left = match self.reach {
            Reach::Everything => None,
            Reach::Memory => {
                opts.only_cached = true;
                opts.max_skipped_internal = MOVES_IN_MEMORY.into();
                Some(MOVES_IN_MEMORY)
            }
        };
        let iter = Iterable::iter(&self.snapshot, cf, opts)?;
        Ok(LocalIterator {
            iter,
            target: DATA_PREFIX_KEY.to_vec(),
            moves_left,
            stopped: false,
        })
    }

    fn term(&self) -> Option<NonZeroU64> {
        self.term
    }

    fn memory_locks(&self) -> Option<&SnapshotLocks> {
        Some(&self.memory_locks)
    }
}

/// An iterator of a [`LocalSnapshot`].
pub struct LocalIterator<I> {
    /// Its bounds lie within the data, so each of its keys begins with the prefix.
    iter: I,
    /// The engine key of the last seek; kept for its memory.
    target: Vec<u8>,
    /// How often it may still move, where that is limited.
    moves_left: Option<u32>,
    /// It was to move once more than it may, and is where nobody may look.
    stopped: bool,
}

impl<I> LocalIterator<I> {
    fn set_target(&mut self, key: &[u8]) {
        self.target.clear();
        self.target.push(DATA_PREFIX);
        self.target.extend_from_slice(key);
    }

    /// To be called before each movement.
    fn count_move(&mut self) -> engine_traits::Result<()> {
        match &mut self.moves_left {
            None => Ok(()),
            Some(0) => {
                self.stopped = true;
                Err(Error::NotCached)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// What a movement led to. One that passed too many dead entries belongs elsewhere, too.
    fn moved(&self, outcome: engine_traits::Result<bool>) -> engine_traits::Result<bool> {
        match outcome {
            Err(Error::TooManySkipped) if self.moves_left.is_some() => Err(Error::NotCached),
            outcome => outcome,
        }
    }
}

impl<I: EngineIterator> EngineIterator for LocalIterator<I> {
    fn seek(&mut self, key: &[u8]) -> engine_traits::Result<bool> {
        self.count_move()?;
        self.set_target(key);
        let outcome = self.iter.seek(&self.target);
        self.moved(outcome)
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> engine_traits::Result<bool> {
        self.count_move()?;
        self.set_target(key);
        let outcome = self.iter.seek_for_prev(&self.target);
        self.moved(outcome)
    }

    fn seek_to_first(&mut self) -> engine_traits::Result<bool> {
        self.count_move()?;
        let outcome = self.iter.seek_to_first();
        self.moved(outcome)
    }

    fn seek_to_last(&mut self) -> engine_traits::Result<bool> {
        self.count_move()?;
        let outcome = self.iter.seek_to_last();
        self.moved(outcome)
    }

    fn next(&mut self) -> engine_traits::Result<bool> {
        self.count_move()?;
        let outcome = self.iter.next();
        self.moved(outcome)
    }

    fn prev(&mut self) -> engine_traits::Result<bool> {
        self.count_move()?;
        let outcome = self.iter.prev();
        self.moved(outcome)
    }

    fn valid(&self) -> bool {
        !self.stopped && self.iter.valid()
    }

    fn key(&self) -> &[u8] {
        self.iter
            .key()
            .strip_prefix(DATA_PREFIX_KEY)
            .unwrap_or_default()
    }

    fn value(&self) -> &[u8] {
        self.iter.value()
    }
}
