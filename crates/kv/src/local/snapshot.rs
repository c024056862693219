//! Snapshots of a local engine: an engine snapshot without the data prefix.

use std::num::NonZeroU64;

use engine_traits::{Cf, EngineIterator, IterOptions, Iterable, Peekable, ReadOptions};
use keys::{DATA_PREFIX, DATA_PREFIX_KEY};
use txn_types::Key;

use crate::{Result, Snapshot};

/// A snapshot of a [`LocalEngine`](crate::LocalEngine).
#[derive(Clone)]
pub struct LocalSnapshot<S> {
    snapshot: S,
    /// Bounds of the region as engine keys.
    lower: Vec<u8>,
    upper: Vec<u8>,
    term: Option<NonZeroU64>,
}

impl<S> LocalSnapshot<S> {
    pub(crate) fn new(
        snapshot: S,
        start_key: &[u8],
        end_key: &[u8],
        term: Option<NonZeroU64>,
    ) -> Self {
        LocalSnapshot {
            snapshot,
            lower: keys::data_key(start_key),
            upper: keys::data_end_key(end_key),
            term,
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
        Ok(Peekable::get_with(&self.snapshot, cf, &data_key, opts, f)?)
    }

    fn iter(&self, cf: Cf, mut opts: IterOptions) -> Result<Self::Iter> {
        // A bound of the caller only ever narrows the region.
        let lower = opts.lower.take().map(|key| keys::data_key(&key));
        let upper = opts.upper.take().map(|key| keys::data_key(&key));
        opts.lower =
            Some(lower.map_or_else(|| self.lower.clone(), |key| key.max(self.lower.clone())));
        opts.upper =
            Some(upper.map_or_else(|| self.upper.clone(), |key| key.min(self.upper.clone())));
        let iter = Iterable::iter(&self.snapshot, cf, opts)?;
        Ok(LocalIterator {
            iter,
            target: DATA_PREFIX_KEY.to_vec(),
        })
    }

    fn term(&self) -> Option<NonZeroU64> {
        self.term
    }
}

/// An iterator of a [`LocalSnapshot`].
pub struct LocalIterator<I> {
    /// Its bounds lie within the data, so each of its keys begins with the prefix.
    iter: I,
    /// The engine key of the last seek; kept for its memory.
    target: Vec<u8>,
}

impl<I> LocalIterator<I> {
    fn set_target(&mut self, key: &[u8]) {
        self.target.clear();
        self.target.push(DATA_PREFIX);
        self.target.extend_from_slice(key);
    }
}

impl<I: EngineIterator> EngineIterator for LocalIterator<I> {
    fn seek(&mut self, key: &[u8]) -> engine_traits::Result<bool> {
        self.set_target(key);
        self.iter.seek(&self.target)
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> engine_traits::Result<bool> {
        self.set_target(key);
        self.iter.seek_for_prev(&self.target)
    }

    fn seek_to_first(&mut self) -> engine_traits::Result<bool> {
        self.iter.seek_to_first()
    }

    fn seek_to_last(&mut self) -> engine_traits::Result<bool> {
        self.iter.seek_to_last()
    }

    fn next(&mut self) -> engine_traits::Result<bool> {
        self.iter.next()
    }

    fn prev(&mut self) -> engine_traits::Result<bool> {
        self.iter.prev()
    }

    fn valid(&self) -> bool {
        self.iter.valid()
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
