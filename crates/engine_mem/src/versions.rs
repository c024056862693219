//! The multi-version store: every column family an ordered map from key to its versions.
//!
//! Every applied batch gets the next sequence number, and its changes carry it. A reader at
//! sequence `s` sees, of each key, the newest version at or below `s`. Old versions are kept only
//! while a reader may want them:
//!
//! 1. Readers register their sequence in [`Horizon`] while they hold the store's read lock, so no
//!    write can prune between their choice of a sequence and its registration.
//! 2. A write that leaves an older version or a deletion behind notes the key in `garbage`.
//! 3. Later writes, holding the write lock, prune noted keys once every registered reader is at
//!    or above the sequence of the note. With no old reader that happens within the same write.
//!
//! It knows nothing of durability.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use engine_traits::Cf;
use parking_lot::Mutex;

use crate::batch::Op;

pub(crate) type Bytes = Arc<[u8]>;

/// The versions of one key, oldest first; `None` is a deletion.
type Versions = Vec<(u64, Option<Bytes>)>;

/// The registered readers: how many at which sequence.
#[derive(Default)]
pub(crate) struct Horizon {
    readers: Mutex<BTreeMap<u64, usize>>,
}

impl Horizon {
    pub(crate) fn register(&self, seq: u64) {
        *self.readers.lock().entry(seq).or_insert(0) += 1;
    }

    pub(crate) fn release(&self, seq: u64) {
        let mut readers = self.readers.lock();
        if let Some(count) = readers.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&seq);
            }
        }
    }

    /// The oldest sequence that somebody reads at.
    fn oldest(&self) -> Option<u64> {
        self.readers.lock().keys().next().copied()
    }
}

/// All column families at all sequences that are still wanted.
#[derive(Default)]
pub(crate) struct Versioned {
    cfs: [BTreeMap<Bytes, Versions>; Cf::ALL.len()],
    /// Keys that hold a version which is dead above the noted sequence, in order of sequence.
    garbage: VecDeque<(u64, Cf, Bytes)>,
    /// Sequence of the last applied batch.
    last_seq: u64,
    /// Bytes of keys and values of all versions.
    bytes: usize,
}

impl Versioned {
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn key_count(&self, cf: Cf) -> usize {
        self.cfs[cf.index()].len()
    }

    /// Applies one batch under the next sequence number and returns that number.
    pub(crate) fn apply<'a>(
        &mut self,
        ops: impl IntoIterator<Item = &'a Op>,
        horizon: &Horizon,
    ) -> u64 {
        let seq = self.last_seq + 1;
        for op in ops {
            match op {
                Op::Put(cf, key, value) => self.set(seq, *cf, key, Some(value.clone())),
                Op::Delete(cf, key) => self.set(seq, *cf, key, None),
                Op::DeleteRange(cf, start, end) => self.delete_range(seq, *cf, start, end),
            }
        }
        self.last_seq = seq;
        self.prune(horizon);
        seq
    }

    fn set(&mut self, seq: u64, cf: Cf, key: &Bytes, value: Option<Bytes>) {
        let map = &mut self.cfs[cf.index()];
        if value.is_none() && !map.contains_key(&key[..]) {
            return;
        }
        let added = key.len() + value.as_ref().map_or(0, |value| value.len());
        let versions = map.entry(key.clone()).or_default();
        // Within a batch the last operation on a key wins.
        if versions.last().is_some_and(|(last, _)| *last == seq)
            && let Some((_, replaced)) = versions.pop()
        {
            self.bytes -= key.len() + replaced.map_or(0, |value| value.len());
        }
        let leaves_garbage = value.is_none() || !versions.is_empty();
        versions.push((seq, value));
        self.bytes += added;
        if leaves_garbage {
            self.garbage.push_back((seq, cf, key.clone()));
        }
    }

    fn delete_range(&mut self, seq: u64, cf: Cf, start: &Bytes, end: &Bytes) {
        let doomed: Vec<Bytes> = self.cfs[cf.index()]
            .range::<[u8], _>((Bound::Included(&start[..]), Bound::Excluded(&end[..])))
            .filter(|(_, versions)| versions.last().is_some_and(|(_, value)| value.is_some()))
            .map(|(key, _)| key.clone())
            .collect();
        for key in doomed {
            self.set(seq, cf, &key, None);
        }
    }

    /// Drops versions that no registered reader can see.
    pub(crate) fn prune(&mut self, horizon: &Horizon) {
        let oldest = horizon.oldest().unwrap_or(self.last_seq).min(self.last_seq);
        while let Some((seq, ..)) = self.garbage.front()
            && *seq <= oldest
            && let Some((_, cf, key)) = self.garbage.pop_front()
        {
            let map = &mut self.cfs[cf.index()];
            let Some(versions) = map.get_mut(&key[..]) else {
                continue;
            };
            // The newest version at or below the oldest reader hides everything before it.
            let visible = versions.iter().rposition(|(seq, _)| *seq <= oldest);
            let mut dead = visible.unwrap_or(0);
            if visible.is_some_and(|at| versions[at].1.is_none()) {
                dead += 1;
            }
            for (_, value) in versions.drain(..dead) {
                self.bytes -= key.len() + value.map_or(0, |value| value.len());
            }
            if versions.is_empty() {
                map.remove(&key[..]);
            }
        }
    }

    /// The value of `key` at `seq`.
    pub(crate) fn get(&self, cf: Cf, key: &[u8], seq: u64) -> Option<Bytes> {
        visible(self.cfs[cf.index()].get(key)?, seq).cloned()
    }

    /// Up to `limit` entries visible at `seq`, ascending within the bounds.
    pub(crate) fn forward(
        &self,
        cf: Cf,
        seq: u64,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> Vec<(Bytes, Bytes)> {
        entries_at(self.cfs[cf.index()].range::<[u8], _>(bounds), seq, limit)
    }

    /// Up to `limit` entries visible at `seq`, descending within the bounds.
    pub(crate) fn backward(
        &self,
        cf: Cf,
        seq: u64,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> Vec<(Bytes, Bytes)> {
        entries_at(
            self.cfs[cf.index()].range::<[u8], _>(bounds).rev(),
            seq,
            limit,
        )
    }

    /// Number and bytes of the entries of a range that are visible now.
    pub(crate) fn measure(&self, cf: Cf, start: &[u8], end: &[u8]) -> (u64, u64) {
        if start >= end {
            return (0, 0);
        }
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        let mut sum = (0, 0);
        for (key, versions) in self.cfs[cf.index()].range::<[u8], _>(bounds) {
            if let Some(value) = visible(versions, self.last_seq) {
                sum.0 += 1;
                sum.1 += (key.len() + value.len()) as u64;
            }
        }
        sum
    }

    /// Everything visible at `seq`, as puts.
    pub(crate) fn dump(&self, seq: u64) -> Vec<Op> {
        let mut ops = Vec::new();
        for cf in Cf::ALL {
            for (key, versions) in &self.cfs[cf.index()] {
                if let Some(value) = visible(versions, seq) {
                    ops.push(Op::Put(cf, key.clone(), value.clone()));
                }
            }
        }
        ops
    }
}

fn visible(versions: &Versions, seq: u64) -> Option<&Bytes> {
    versions.iter().rev().find(|(at, _)| *at <= seq)?.1.as_ref()
}

fn entries_at<'a>(
    range: impl Iterator<Item = (&'a Bytes, &'a Versions)>,
    seq: u64,
    limit: usize,
) -> Vec<(Bytes, Bytes)> {
    range
        .filter_map(|(key, versions)| Some((key.clone(), visible(versions, seq)?.clone())))
        .take(limit)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Bytes {
        Arc::from(text.as_bytes())
    }

    fn put(key: &str, value: &str) -> Op {
        Op::Put(Cf::Default, bytes(key), bytes(value))
    }

    fn delete(key: &str) -> Op {
        Op::Delete(Cf::Default, bytes(key))
    }

    #[test]
    fn without_readers_nothing_old_is_kept() {
        let (mut store, horizon) = (Versioned::default(), Horizon::default());
        for round in 0..100 {
            store.apply(&[put("a", &format!("{round:03}")), put("b", "x")], &horizon);
            store.apply(&[delete("b"), delete("never")], &horizon);
        }
        assert_eq!(store.key_count(Cf::Default), 1);
        assert_eq!(store.bytes(), 4);
        assert!(store.garbage.is_empty());
    }

    #[test]
    fn a_reader_keeps_what_it_sees_until_it_leaves() {
        let (mut store, horizon) = (Versioned::default(), Horizon::default());
        let seen = store.apply(&[put("a", "1"), put("b", "1")], &horizon);
        horizon.register(seen);
        store.apply(&[put("a", "2"), delete("b")], &horizon);
        store.apply(&[put("a", "3")], &horizon);
        assert_eq!(
            store.get(Cf::Default, b"a", seen).as_deref(),
            Some(&b"1"[..])
        );
        assert_eq!(
            store.get(Cf::Default, b"b", seen).as_deref(),
            Some(&b"1"[..])
        );
        assert_eq!(store.get(Cf::Default, b"b", store.last_seq()), None);

        horizon.release(seen);
        store.apply(&[put("c", "1")], &horizon);
        assert_eq!(
            store.get(Cf::Default, b"a", store.last_seq()).as_deref(),
            Some(&b"3"[..])
        );
        assert_eq!(store.key_count(Cf::Default), 2);
        assert_eq!(store.bytes(), 4);
    }

    #[test]
    fn the_last_operation_on_a_key_in_a_batch_wins() {
        let (mut store, horizon) = (Versioned::default(), Horizon::default());
        let range = Op::DeleteRange(Cf::Default, bytes("a"), bytes("z"));
        store.apply(
            &[
                put("a", "1"),
                delete("a"),
                put("b", "1"),
                range,
                put("c", "1"),
            ],
            &horizon,
        );
        let all = store.dump(store.last_seq());
        assert_eq!(all, [put("c", "1")]);
        assert_eq!(store.bytes(), 2);
    }
}
