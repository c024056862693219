//! Locks that are on their way to the engine, where reads must see them already.
//!
//! A transaction whose commit timestamp the server chooses takes one above every read so far. Between that choice and
//! the moment when its lock can be read from the engine, only this table tells readers of it.
//!
//! 1. A writer counts itself, takes the lock of the table, loads `max_ts`, publishes, and lets go.
//! 2. A reader raises `max_ts`, loads the count, and if it is not zero takes the lock of the table and looks.
//! 3. All four are sequentially consistent. If the reader finds the count zero, the writer counts itself later, loads
//!    `max_ts` later still, and chooses above the read. If not, one of them has the lock of the table first: the
//!    reader, and the writer chooses above it; or the writer, and the reader sees its lock.
//!
//! Must never: call out under its lock but to the judging closure it was given, or hold values.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use txn_types::{Key, Lock, TimeStamp};

/// A lock whose write is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLock {
    /// The lock as it will be written, without value and secondaries.
    pub lock: Lock,
    /// It will not be written: its transaction commits at once.
    pub one_pc: bool,
}

impl MemoryLock {
    /// What readers need of `lock`.
    #[must_use]
    pub fn of(lock: &Lock, one_pc: bool) -> Self {
        let mut slim = Lock::new(lock.lock_type, lock.primary.clone(), lock.ts, lock.ttl);
        slim.for_update_ts = lock.for_update_ts;
        slim.txn_size = lock.txn_size;
        slim.min_commit_ts = lock.min_commit_ts;
        slim.use_async_commit = lock.use_async_commit;
        slim.txn_source = lock.txn_source;
        Self { lock: slim, one_pc }
    }
}

#[derive(Debug, Default)]
pub(crate) struct LockTable {
    /// Locks published or about to be: never fewer than in the map.
    count: AtomicUsize,
    locks: RwLock<BTreeMap<Arc<Key>, Box<MemoryLock>>>,
}

/// A place in the count.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }

    /// Gives the place to a lock that stays.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl LockTable {
    pub(crate) fn publish(
        &self,
        key: &Key,
        lock: impl FnOnce() -> Option<MemoryLock>,
    ) -> Option<Arc<Key>> {
        let counted = Counted::new(&self.count);
        let mut locks = self.locks.write();
        let lock = lock()?;
        let key = Arc::new(key.clone());
        let replaced = locks.insert(Arc::clone(&key), Box::new(lock));
        assert!(
            replaced.is_none(),
            "two commands have locks under way on one key, so the latches failed: {replaced:?}"
        );
        counted.keep();
        Some(key)
    }

    pub(crate) fn remove(&self, key: &Key) {
        let removed = self.locks.write().remove(key);
        assert!(removed.is_some(), "a published lock was removed twice");
        self.count.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn raise_min_commit_ts(&self, key: &Key, ts: TimeStamp) {
        if let Some(found) = self.locks.write().get_mut(key) {
            found.lock.min_commit_ts = found.lock.min_commit_ts.max(ts);
        }
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub(crate) fn check_key<E>(
        &self,
        key: &Key,
        check: impl FnOnce(&MemoryLock) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.is_empty() {
            return Ok(());
        }
        match self.locks.read().get(key) {
            Some(lock) => check(lock),
            None => Ok(()),
        }
    }

    pub(crate) fn check_range<E>(
        &self,
        start: Option<&Key>,
        end: Option<&Key>,
        mut check: impl FnMut(&Key, &MemoryLock) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.is_empty() || start.zip(end).is_some_and(|(start, end)| start >= end) {
            return Ok(());
        }
        let lower = start.map_or(Bound::Unbounded, Bound::Included);
        let upper = end.map_or(Bound::Unbounded, Bound::Excluded);
        let locks = self.locks.read();
        for (key, lock) in locks.range::<Key, _>((lower, upper)) {
            check(key, lock)?;
        }
        Ok(())
    }

    pub(crate) fn min_start_ts(&self) -> Option<TimeStamp> {
        if self.is_empty() {
            return None;
        }
        self.locks.read().values().map(|found| found.lock.ts).min()
    }
}

/// Bytes that one lock takes besides those of its two keys: its entry in a tree whose nodes are half full, its key,
/// and the handle of the command.
#[cfg(test)]
const fn bytes_per_lock() -> usize {
    const ENTRY: usize = size_of::<Arc<Key>>() + size_of::<Box<MemoryLock>>();
    const COUNTS: usize = 2 * size_of::<usize>();
    3 * ENTRY + size_of::<MemoryLock>() + COUNTS + size_of::<Key>() + size_of::<crate::LockGuard>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_takes_at_most_400_bytes() {
        // Two short keys, each rounded up by the allocator.
        let keys = 2 * 32;
        assert!(
            bytes_per_lock() + keys <= 400,
            "{} + {keys}",
            bytes_per_lock()
        );
    }
}
