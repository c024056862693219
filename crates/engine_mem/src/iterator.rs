//! The iterator: a position in one column family at one sequence.
//!
//! It reads ahead in chunks under the store's read lock. That is sound because what is visible at
//! a registered sequence never changes.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use engine_traits::{Cf, EngineIterator, IterOptions, Result};

use crate::engine::Reader;
use crate::versions::Bytes;

/// Entries that the first chunk after a seek reads; point-like uses should not pay for more.
const FIRST_CHUNK: usize = 2;

/// Entries that later chunks grow to.
const LARGEST_CHUNK: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// An iterator over a [`MemEngine`](crate::MemEngine).
pub struct MemIterator {
    reader: Arc<Reader>,
    cf: Cf,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    empty: bool,
    only_cached: bool,
    within_prefix: bool,
    /// Of the key last sought, where the iterator stays within it.
    prefix: Option<Vec<u8>>,
    direction: Direction,
    /// The front is where the iterator stands; the rest follows in `direction`.
    ahead: VecDeque<(Bytes, Bytes)>,
    chunk: usize,
}

impl MemIterator {
    pub(crate) fn new(reader: Arc<Reader>, cf: Cf, opts: IterOptions) -> Result<Self> {
        opts.check(cf)?;
        Ok(MemIterator {
            reader,
            cf,
            empty: opts.is_empty_range(),
            only_cached: opts.only_cached,
            within_prefix: opts.within_prefix,
            prefix: None,
            lower: opts.lower.map_or(Bound::Unbounded, Bound::Included),
            upper: opts.upper.map_or(Bound::Unbounded, Bound::Excluded),
            direction: Direction::Forward,
            ahead: VecDeque::new(),
            chunk: FIRST_CHUNK,
        })
    }

    /// Refuses a movement that is not defined within a prefix.
    fn check_free(&mut self) -> Result<()> {
        IterOptions::check_free(self.within_prefix).inspect_err(|_| self.ahead.clear())
    }

    /// Reads the chunk that starts at `from` (or at the end of the bounds where one looks from).
    fn fill(&mut self, direction: Direction, from: Option<Bound<&[u8]>>) -> bool {
        self.direction = direction;
        self.ahead.clear();
        let mut bounds = (as_slice(&self.lower), as_slice(&self.upper));
        match (direction, from) {
            (_, None) => {}
            (Direction::Forward, Some(from)) => bounds.0 = from,
            (Direction::Backward, Some(from)) => bounds.1 = from,
        }
        if self.empty || is_empty(&bounds) {
            return false;
        }
        let (cf, chunk) = (self.cf, self.chunk);
        let entries = self.reader.with_store(|store, seq| match direction {
            Direction::Forward => store.forward(cf, seq, bounds, chunk),
            Direction::Backward => store.backward(cf, seq, bounds, chunk),
        });
        self.ahead = entries.into();
        if let Some(prefix) = &self.prefix {
            let same = |(key, _): &(Bytes, Bytes)| cf.prefix(key) == Some(prefix);
            let end = self.ahead.iter().position(|entry| !same(entry));
            self.ahead.truncate(end.unwrap_or(self.ahead.len()));
        }
        self.chunk = (self.chunk * 2).min(LARGEST_CHUNK);
        !self.ahead.is_empty()
    }

    /// Begins a seek, which may miss; then the iterator stands nowhere.
    fn begin_seek(&mut self) -> Result<()> {
        self.chunk = FIRST_CHUNK;
        if self.only_cached {
            self.reader
                .read_memory()
                .inspect_err(|_| self.ahead.clear())?;
        }
        Ok(())
    }

    fn step(&mut self, direction: Direction) -> bool {
        if self.direction != direction {
            self.chunk = FIRST_CHUNK;
            self.ahead.truncate(1);
            self.direction = direction;
        }
        let Some((key, _)) = self.ahead.pop_front() else {
            return false;
        };
        if !self.ahead.is_empty() {
            return true;
        }
        self.fill(direction, Some(Bound::Excluded(&key)))
    }
}

impl EngineIterator for MemIterator {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        self.begin_seek()?;
        self.prefix = match self.within_prefix {
            true => self.cf.prefix(key).map(<[u8]>::to_vec),
            false => None,
        };
        let below = matches!(&self.lower, Bound::Included(lower) if key <= &lower[..]);
        Ok(self.fill(Direction::Forward, (!below).then_some(Bound::Included(key))))
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool> {
        self.check_free()?;
        self.begin_seek()?;
        let above = matches!(&self.upper, Bound::Excluded(upper) if key >= &upper[..]);
        Ok(self.fill(
            Direction::Backward,
            (!above).then_some(Bound::Included(key)),
        ))
    }

    fn seek_to_first(&mut self) -> Result<bool> {
        self.check_free()?;
        self.begin_seek()?;
        Ok(self.fill(Direction::Forward, None))
    }

    fn seek_to_last(&mut self) -> Result<bool> {
        self.check_free()?;
        self.begin_seek()?;
        Ok(self.fill(Direction::Backward, None))
    }

    fn next(&mut self) -> Result<bool> {
        Ok(self.step(Direction::Forward))
    }

    fn prev(&mut self) -> Result<bool> {
        self.check_free()?;
        Ok(self.step(Direction::Backward))
    }

    fn valid(&self) -> bool {
        !self.ahead.is_empty()
    }

    fn key(&self) -> &[u8] {
        self.ahead.front().map_or(&[], |(key, _)| key)
    }

    fn value(&self) -> &[u8] {
        self.ahead.front().map_or(&[], |(_, value)| value)
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Whether no key fits; `BTreeMap::range` panics on some such bounds.
fn is_empty(bounds: &(Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match bounds {
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Included(upper) | Bound::Excluded(upper),
        ) => lower >= upper,
        _ => false,
    }
}
