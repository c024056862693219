//! Raw data as one read sees it: a snapshot at one second.
//!
//! Where raw keys have versions, the newest one of each counts, and versions of a key lie together, the
//! newest first. Walking over them, a scan steps a few times and then seeks: keys are seldom overwritten
//! often, but one that is must not cost its whole history. Backward, where the newest version comes last,
//! the same: step back while the key is the same, and seek to the newest when that takes long.
//! Must never: show a value that is deleted or has expired, or a version that is not the newest.

use std::marker::PhantomData;

use api_version::{KvFormat, RawValue};
use engine_traits::{Cf, EngineIterator, IterOptions, ReadOptions};
use kv::Snapshot;
use mvcc::Direction;
use txn_types::Key;

use super::{RawKvPair, format};
use crate::Result;
use crate::reads::yield_now;

/// Keys that a scan passes before it lets other tasks of the pool run: about a millisecond.
const YIELD_KEYS: usize = 4096;

/// Versions of one key that a scan passes one by one before it seeks.
const STEPS_MAX: usize = 8;

/// Behind every version of a key: a version is eight bytes.
const BEYOND_VERSIONS: [u8; 9] = [0xff; 9];

/// One column family of a snapshot, at one second.
pub(super) struct RawView<'s, S, F> {
    pub(super) snapshot: &'s S,
    pub(super) cf: Cf,
    /// The second of the Unix epoch; see [`format::now_secs`].
    pub(super) now_secs: u64,
    pub(super) fill_cache: bool,
    format: PhantomData<F>,
}

impl<'s, S: Snapshot, F: KvFormat> RawView<'s, S, F> {
    pub(super) fn new(snapshot: &'s S, cf: Cf, now_secs: u64, fill_cache: bool) -> Self {
        RawView {
            snapshot,
            cf,
            now_secs,
            fill_cache,
            format: PhantomData,
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get_with(key, |value| value.user_value.to_vec())
    }

    /// Looks a key up and gives its value to `f`.
    pub(super) fn get_with<T>(
        &self,
        key: &[u8],
        f: impl FnOnce(RawValue<&[u8]>) -> T,
    ) -> Result<Option<T>> {
        let key = format::encode_key::<F>(key);
        if F::HAS_VERSIONS {
            return self.newest_of(&key, f);
        }
        let options = ReadOptions {
            fill_cache: self.fill_cache,
            ..ReadOptions::default()
        };
        let look = |stored: &[u8]| Ok(visible::<F>(stored, self.now_secs)?.map(f));
        let found: Option<Result<Option<T>>> =
            self.snapshot.get_with(self.cf, &key, &options, look)?;
        Ok(found.transpose()?.flatten())
    }

    fn newest_of<T>(&self, key: &Key, f: impl FnOnce(RawValue<&[u8]>) -> T) -> Result<Option<T>> {
        let mut beyond = key.as_encoded().to_vec();
        beyond.extend_from_slice(&BEYOND_VERSIONS);
        let options = IterOptions {
            lower: Some(key.as_encoded().to_vec()),
            upper: Some(beyond),
            fill_cache: self.fill_cache,
            ..IterOptions::default()
        };
        let mut iter = self.snapshot.iter(self.cf, options)?;
        if !iter.seek_to_first().map_err(kv::Error::from)? {
            return Ok(None);
        }
        Ok(visible::<F>(iter.value(), self.now_secs)?.map(f))
    }

    /// A scan of the raw keys in `[lower, upper)`; absent bounds are open.
    pub(super) fn scan(
        &self,
        lower: Option<&[u8]>,
        upper: Option<&[u8]>,
        direction: Direction,
    ) -> Result<RawScanner<S::Iter, F>> {
        let bound = |key: &[u8]| format::encode_key::<F>(key).into_encoded();
        let options = IterOptions {
            lower: lower.map(bound),
            upper: upper.map(bound),
            fill_cache: self.fill_cache,
            ..IterOptions::default()
        };
        let mut iter = self.snapshot.iter(self.cf, options)?;
        let valid = match direction {
            Direction::Forward => iter.seek_to_first(),
            Direction::Backward => iter.seek_to_last(),
        };
        Ok(RawScanner {
            iter,
            direction,
            now_secs: self.now_secs,
            valid: valid.map_err(kv::Error::from)?,
            user: Vec::new(),
            newest: Vec::new(),
            passed: 0,
            format: PhantomData,
        })
    }
}

/// The raw value of a stored one, unless it counts as absent.
fn visible<F: KvFormat>(stored: &[u8], now_secs: u64) -> Result<Option<RawValue<&[u8]>>> {
    let value = F::decode_raw_value(stored)?;
    Ok(Some(value).filter(|value| value.is_visible(now_secs)))
}

/// Walks over the raw keys of a range.
pub(super) struct RawScanner<I, F> {
    iter: I,
    direction: Direction,
    now_secs: u64,
    /// Whether `iter` stands on an entry: forward on the newest version of a key that has not been looked
    /// at, backward on the oldest.
    valid: bool,
    /// The stored key without version that is being looked at; only where there are versions.
    user: Vec<u8>,
    /// The stored value of its newest version seen so far; only backward.
    newest: Vec<u8>,
    /// Keys passed since the beginning.
    passed: usize,
    format: PhantomData<F>,
}

impl<I: EngineIterator, F: KvFormat> RawScanner<I, F> {
    /// The next pair; its value is empty when only keys are wanted.
    pub(super) async fn next(&mut self, key_only: bool) -> Result<Option<RawKvPair>> {
        while self.valid {
            self.passed += 1;
            if self.passed.is_multiple_of(YIELD_KEYS) {
                yield_now().await;
            }
            let found = match (F::HAS_VERSIONS, self.direction) {
                (false, _) => self.next_entry(key_only)?,
                (true, Direction::Forward) => self.next_key(key_only)?,
                (true, Direction::Backward) => self.previous_key(key_only)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Without versions an entry is a key.
    fn next_entry(&mut self, key_only: bool) -> Result<Option<RawKvPair>> {
        let found = self.pair(self.iter.key(), self.iter.value(), key_only)?;
        match self.direction {
            Direction::Forward => self.step_forward()?,
            Direction::Backward => self.step_back()?,
        }
        Ok(found)
    }

    fn next_key(&mut self, key_only: bool) -> Result<Option<RawKvPair>> {
        let found = self.pair(self.iter.key(), self.iter.value(), key_only)?;
        self.remember_user()?;
        for _ in 0..STEPS_MAX {
            self.step_forward()?;
            if !self.is_same_user() {
                return Ok(found);
            }
        }
        self.user.extend_from_slice(&BEYOND_VERSIONS);
        self.valid = self.iter.seek(&self.user).map_err(kv::Error::from)?;
        Ok(found)
    }

    fn previous_key(&mut self, key_only: bool) -> Result<Option<RawKvPair>> {
        self.remember_user()?;
        let key = self.iter.key().to_vec();
        for _ in 0..STEPS_MAX {
            self.remember_value();
            self.step_back()?;
            if !self.is_same_user() {
                return self.pair(&key, &self.newest, key_only);
            }
        }
        // The newest version is further back. It is the first at or after the key without version; what
        // stands before that is the oldest version of the key before.
        self.iter.seek(&self.user).map_err(kv::Error::from)?;
        self.remember_value();
        self.valid = self
            .iter
            .seek_for_prev(&self.user)
            .map_err(kv::Error::from)?;
        self.pair(&key, &self.newest, key_only)
    }

    fn step_forward(&mut self) -> Result<()> {
        self.valid = self.iter.next().map_err(kv::Error::from)?;
        Ok(())
    }

    fn step_back(&mut self) -> Result<()> {
        self.valid = self.iter.prev().map_err(kv::Error::from)?;
        Ok(())
    }

    fn remember_user(&mut self) -> Result<()> {
        let user = Key::truncate_ts_for(self.iter.key()).map_err(api_version::Error::from)?;
        self.user.clear();
        self.user.extend_from_slice(user);
        Ok(())
    }

    fn remember_value(&mut self) {
        self.newest.clear();
        self.newest.extend_from_slice(self.iter.value());
    }

    /// Whether the entry here is a version of the remembered key. No stored key begins with another one.
    fn is_same_user(&self) -> bool {
        self.valid && self.iter.key().starts_with(&self.user)
    }

    /// A stored pair as the client knows it, unless it counts as absent.
    fn pair(&self, key: &[u8], stored: &[u8], key_only: bool) -> Result<Option<RawKvPair>> {
        let Some(value) = visible::<F>(stored, self.now_secs)? else {
            return Ok(None);
        };
        let (key, _) = F::decode_raw_key(key)?;
        let value = if key_only {
            Vec::new()
        } else {
            value.user_value.to_vec()
        };
        Ok(Some((key, value)))
    }
}
