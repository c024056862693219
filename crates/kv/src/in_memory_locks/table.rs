//! The table itself: locks by key, their bytes, and in which state of the region they were taken.
//! Must never: be asked without the check of that state, which stands at its only caller.

use std::collections::BTreeMap;
use std::ops::Bound;

use txn_types::{Key, Lock};

use super::{LockTableQuota, LockTableStatus, PessimisticLock, RegionStamp};

#[derive(Debug)]
struct Entry {
    lock: PessimisticLock,
    /// A write that removes it is under way.
    deleted: bool,
}

/// What an entry costs besides the bytes of key and primary: its place in the ordered map, a third of which is empty.
const ENTRY_BYTES: usize = (size_of::<Key>() + size_of::<Entry>()) * 3 / 2;

#[derive(Debug)]
pub(super) struct LockTable {
    status: LockTableStatus,
    stamp: RegionStamp,
    locks: BTreeMap<Key, Entry>,
    bytes: usize,
    quota: LockTableQuota,
}

impl Drop for LockTable {
    fn drop(&mut self) {
        self.quota.give_back(self.bytes);
    }
}

fn entry_bytes(key: &Key, lock: &PessimisticLock) -> usize {
    ENTRY_BYTES + key.len() + lock.heap_bytes()
}

impl LockTable {
    pub(super) fn new(stamp: RegionStamp, quota: LockTableQuota) -> Self {
        LockTable {
            status: LockTableStatus::Normal,
            stamp,
            locks: BTreeMap::new(),
            bytes: 0,
            quota,
        }
    }

    pub(super) fn status(&self) -> LockTableStatus {
        self.status
    }

    pub(super) fn set_status(&mut self, status: LockTableStatus) {
        self.status = status;
    }

    pub(super) fn stamp(&self) -> RegionStamp {
        self.stamp
    }

    pub(super) fn set_stamp(&mut self, stamp: RegionStamp) {
        self.stamp = stamp;
    }

    pub(super) fn len(&self) -> usize {
        self.locks.len()
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.locks.contains_key(key)
    }

    /// A lock whose removal is under way is still there: whoever may decide on the key comes after that write, and
    /// others must not take it for gone before it is.
    pub(super) fn get(&self, key: &Key) -> Option<Lock> {
        self.locks.get(key).map(|entry| entry.lock.to_lock())
    }

    pub(super) fn scan(
        &self,
        start: Option<&Key>,
        end: Option<&Key>,
        filter: impl Fn(&Key, &Lock) -> bool,
        limit: usize,
    ) -> Vec<(Key, Lock)> {
        if let (Some(start), Some(end)) = (start, end)
            && start >= end
        {
            return Vec::new();
        }
        let bounds = (
            start.map_or(Bound::Unbounded, Bound::Included),
            end.map_or(Bound::Unbounded, Bound::Excluded),
        );
        self.locks
            .range::<Key, _>(bounds)
            .map(|(key, entry)| (key.clone(), entry.lock.to_lock()))
            .filter(|(key, lock)| filter(key, lock))
            .take(limit)
            .collect()
    }

    pub(super) fn collect(&self, wanted: impl Fn(&Key, bool) -> bool) -> Vec<(Key, Lock)> {
        self.locks
            .iter()
            .filter(|(key, entry)| wanted(key, entry.deleted))
            .map(|(key, entry)| (key.clone(), entry.lock.to_lock()))
            .collect()
    }

    /// All of them, or none when there is no room.
    pub(super) fn insert(&mut self, locks: &[(Key, PessimisticLock)]) -> bool {
        let bytes = locks.iter().map(|(key, lock)| entry_bytes(key, lock)).sum();
        if self.bytes.saturating_add(bytes) > self.quota.region_bytes() || !self.quota.take(bytes) {
            return false;
        }
        self.bytes += bytes;
        for (key, lock) in locks {
            let entry = Entry {
                lock: lock.clone(),
                deleted: false,
            };
            if let Some(before) = self.locks.insert(key.clone(), entry) {
                assert_eq!(
                    before.lock.start_ts, lock.start_ts,
                    "a lock of another transaction on {key} was overwritten"
                );
                self.give_back(entry_bytes(key, &before.lock));
            }
        }
        true
    }

    /// Notes whether a write that removes the lock is under way; `false` when there is no lock.
    pub(super) fn mark(&mut self, key: &Key, deleted: bool) -> bool {
        match self.locks.get_mut(key) {
            Some(entry) => {
                entry.deleted = deleted;
                true
            }
            None => false,
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.locks.remove(key) {
            self.give_back(entry_bytes(key, &entry.lock));
        }
    }

    /// Removes `[start, end)`; an empty end is that of the region.
    pub(super) fn remove_range(&mut self, start: &Key, end: &Key) {
        let mut inside = self.locks.split_off(start);
        if !end.is_empty() {
            let mut behind = inside.split_off(end);
            self.locks.append(&mut behind);
        }
        for (key, entry) in inside {
            self.give_back(entry_bytes(&key, &entry.lock));
        }
    }

    pub(super) fn clear(&mut self) {
        self.locks = BTreeMap::new();
        let bytes = self.bytes;
        self.give_back(bytes);
    }

    /// Stamps `version` and cuts off what lies at or behind each of `starts`.
    pub(super) fn split(&mut self, version: u64, starts: &[Key]) -> Vec<LockTable> {
        assert!(
            starts.is_sorted(),
            "regions of a split must ascend: {starts:?}"
        );
        self.stamp.version = version;
        let mut parts: Vec<_> = starts
            .iter()
            .rev()
            .map(|start| {
                let locks = self.locks.split_off(start);
                let bytes = locks
                    .iter()
                    .map(|(key, entry)| entry_bytes(key, &entry.lock))
                    .sum();
                self.bytes -= bytes;
                LockTable {
                    status: self.status,
                    stamp: self.stamp,
                    locks,
                    bytes,
                    quota: self.quota.clone(),
                }
            })
            .collect();
        parts.reverse();
        parts
    }

    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.quota.give_back(bytes);
    }
}
