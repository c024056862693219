//! `max_ts` and its limit, two atomics shared by every handle of a store, the table of locks under way, and the safe
//! point of garbage collection.
//! Must never: lower `max_ts`, or let `u64::MAX` in.
#![doc = include_str!("../README.md")]

mod lock_table;
mod safe_point;

pub use lock_table::MemoryLock;
pub use safe_point::{BelowSafePoint, SafePoint};

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use lock_table::LockTable;
use txn_types::{Key, TimeStamp};

/// A timestamp beyond what the placement driver can have handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
// Clients search the text for `invalid max_ts update`.
#[error("invalid max_ts update: {attempted} exceeds the limit {limit}, source: {source_name}")]
pub struct InvalidMaxTsUpdate {
    /// The refused timestamp.
    pub attempted: TimeStamp,
    /// The limit in force.
    pub limit: TimeStamp,
    /// Which command asked.
    pub source_name: &'static str,
}

/// What happens with a timestamp above the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InvalidMaxTsAction {
    /// Refuse the request.
    #[default]
    Error,
    /// Log it and accept the timestamp.
    Log,
}

#[derive(Debug)]
struct Shared {
    max_ts: AtomicU64,
    /// Zero: no limit known yet.
    limit: AtomicU64,
    action: InvalidMaxTsAction,
    locks: LockTable,
    safe_point: SafePoint,
}

/// Keeps a published lock in the table; it goes when this is dropped.
///
/// To be dropped after the write is applied, or has failed, and before the latch of the key is given up.
#[derive(Debug)]
pub struct LockGuard {
    shared: Arc<Shared>,
    key: Arc<Key>,
}

impl LockGuard {
    /// Which key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The transaction will commit at `ts` or later.
    pub fn raise_min_commit_ts(&self, ts: TimeStamp) {
        self.shared.locks.raise_min_commit_ts(&self.key, ts);
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.shared.locks.remove(&self.key);
    }
}

/// A handle on the store's `max_ts` and its locks under way; clones share them.
#[derive(Clone, Debug)]
pub struct ConcurrencyManager {
    shared: Arc<Shared>,
}

impl ConcurrencyManager {
    /// A manager that starts at `initial` (a recent TSO) and refuses timestamps above the limit.
    pub fn new(initial: TimeStamp) -> Self {
        Self::with_action(initial, InvalidMaxTsAction::Error)
    }

    /// A manager with a chosen treatment of timestamps above the limit.
    pub fn with_action(initial: TimeStamp, action: InvalidMaxTsAction) -> Self {
        let initial = if initial.is_max() {
            TimeStamp::zero()
        } else {
            initial
        };
        Self {
            shared: Arc::new(Shared {
                max_ts: AtomicU64::new(initial.into_inner()),
                limit: AtomicU64::new(0),
                action,
                locks: LockTable::default(),
                safe_point: SafePoint::default(),
            }),
        }
    }

    /// The largest timestamp used so far.
    pub fn max_ts(&self) -> TimeStamp {
        TimeStamp::from(self.shared.max_ts.load(Ordering::SeqCst))
    }

    /// The safe point of the store's garbage collection.
    pub fn safe_point(&self) -> &SafePoint {
        &self.shared.safe_point
    }

    /// Raises `max_ts` to at least `ts`; `source` names the command for the error text and the log.
    ///
    /// Sequentially consistent: a reader raises and then looks at locks, a writer publishes its lock and then loads.
    /// One of the two must see the other.
    pub fn update_max_ts(
        &self,
        ts: TimeStamp,
        source: &'static str,
    ) -> Result<(), InvalidMaxTsUpdate> {
        if ts.is_max() {
            return Ok(());
        }
        let limit = TimeStamp::from(self.shared.limit.load(Ordering::SeqCst));
        if !limit.is_zero() && ts > limit {
            match self.shared.action {
                InvalidMaxTsAction::Error => {
                    return Err(InvalidMaxTsUpdate {
                        attempted: ts,
                        limit,
                        source_name: source,
                    });
                }
                InvalidMaxTsAction::Log => tracing::warn!(
                    attempted = ts.into_inner(),
                    limit = limit.into_inner(),
                    source,
                    "max_ts raised above its limit"
                ),
            }
        }
        self.shared
            .max_ts
            .fetch_max(ts.into_inner(), Ordering::SeqCst);
        Ok(())
    }

    /// Publishes the lock that `lock` makes of the current `max_ts`, unless it makes none. The caller holds the latch
    /// of `key`, and no lock of it is in the table.
    ///
    /// Every read either has raised `max_ts` before `lock` sees it, or finds the lock.
    ///
    /// # Panics
    /// When a lock of the key is in the table: two commands have run on one key, and their writes could be mixed up.
    pub fn publish(
        &self,
        key: &Key,
        lock: impl FnOnce(TimeStamp) -> Option<MemoryLock>,
    ) -> Option<LockGuard> {
        let published = self.shared.locks.publish(key, || lock(self.max_ts()))?;
        Some(LockGuard {
            shared: Arc::clone(&self.shared),
            key: published,
        })
    }

    /// Lets `check` judge the lock under way on `key`, if there is one. A read has raised `max_ts` before. `check`
    /// must be quick: writers wait for it.
    pub fn check_key<E>(
        &self,
        key: &Key,
        check: impl FnOnce(&MemoryLock) -> Result<(), E>,
    ) -> Result<(), E> {
        self.shared.locks.check_key(key, check)
    }

    /// Lets `check` judge the locks under way in `[start, end)`, in key order, up to the first error. An absent bound
    /// is open.
    pub fn check_range<E>(
        &self,
        start: Option<&Key>,
        end: Option<&Key>,
        check: impl FnMut(&Key, &MemoryLock) -> Result<(), E>,
    ) -> Result<(), E> {
        self.shared.locks.check_range(start, end, check)
    }

    /// The earliest start of a transaction with a lock under way. To be asked after raising `max_ts`.
    pub fn min_start_ts(&self) -> Option<TimeStamp> {
        self.shared.locks.min_start_ts()
    }

    /// Locks under way.
    pub fn locks_under_way(&self) -> usize {
        self.shared.locks.len()
    }

    /// Sets the limit: the latest TSO known to the store plus the allowed drift. It never goes back.
    pub fn set_max_ts_limit(&self, limit: TimeStamp) {
        if !limit.is_max() {
            self.shared
                .limit
                .fetch_max(limit.into_inner(), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use txn_types::{Lock, LockType};

    use super::*;

    fn lock(start: u64, max_ts: TimeStamp) -> MemoryLock {
        let mut lock = Lock::new(LockType::Put, b"p".to_vec(), ts(start), 3000);
        lock.min_commit_ts = max_ts.next();
        MemoryLock::of(&lock, false)
    }

    fn key(name: &str) -> Key {
        Key::from_raw(name.as_bytes())
    }

    fn in_range(cm: &ConcurrencyManager, start: Option<&str>, end: Option<&str>) -> String {
        let mut found = String::new();
        let (start, end) = (start.map(key), end.map(key));
        let collect = |key: &Key, _: &MemoryLock| {
            found.push_str(&String::from_utf8(key.to_raw().unwrap()).unwrap());
            Ok::<_, ()>(())
        };
        cm.check_range(start.as_ref(), end.as_ref(), collect)
            .unwrap();
        found
    }

    #[test]
    fn a_lock_is_found_until_its_guard_is_dropped() {
        let cm = ConcurrencyManager::new(ts(50));
        let guard = cm.publish(&key("k"), |max| Some(lock(10, max))).unwrap();
        let found = cm.check_key(&key("k"), |found| Err(found.lock.min_commit_ts));
        assert_eq!(found, Err(ts(51)));
        guard.raise_min_commit_ts(ts(70));
        guard.raise_min_commit_ts(ts(60));
        let found = cm.check_key(&key("k"), |found| Err(found.lock.min_commit_ts));
        assert_eq!(found, Err(ts(70)));
        assert_eq!(cm.check_key(&key("j"), |_| Err(())), Ok(()));
        assert_eq!(cm.locks_under_way(), 1);
        drop(guard);
        assert_eq!(cm.check_key(&key("k"), |_| Err(())), Ok(()));
        assert_eq!(cm.locks_under_way(), 0);
    }

    #[test]
    fn a_lock_that_is_not_made_leaves_nothing() {
        let cm = ConcurrencyManager::new(ts(50));
        assert!(cm.publish(&key("k"), |_| None).is_none());
        assert_eq!(cm.locks_under_way(), 0);
        assert!(cm.publish(&key("k"), |max| Some(lock(10, max))).is_some());
    }

    #[test]
    fn a_range_check_sees_the_locks_of_the_range_only() {
        let cm = ConcurrencyManager::new(ts(50));
        let publish = |name, start| cm.publish(&key(name), |max| Some(lock(start, max)));
        let _guards = [publish("b", 20), publish("d", 10), publish("f", 30)];
        assert_eq!(in_range(&cm, None, None), "bdf");
        assert_eq!(in_range(&cm, Some("b"), Some("d")), "b");
        assert_eq!(in_range(&cm, Some("c"), None), "df");
        assert_eq!(in_range(&cm, None, Some("c")), "b");
        assert_eq!(in_range(&cm, Some("d"), Some("b")), "");
        assert_eq!(cm.min_start_ts(), Some(ts(10)));
        let mut judged = 0;
        let first = cm.check_range(None, None, |_, found| {
            judged += 1;
            Err(found.lock.ts)
        });
        assert_eq!((first, judged), (Err(ts(20)), 1));
    }

    #[test]
    fn two_locks_on_one_key_are_a_broken_latch() {
        let cm = ConcurrencyManager::new(ts(50));
        let _first = cm.publish(&key("k"), |max| Some(lock(10, max)));
        let second = || cm.publish(&key("k"), |max| Some(lock(11, max)));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(second));
        let panic = caught.expect_err("a second lock was taken");
        let message = panic.downcast_ref::<String>().map_or("", String::as_str);
        assert!(message.contains("the latches failed"), "{message}");
    }

    fn ts(v: u64) -> TimeStamp {
        TimeStamp::from(v)
    }

    #[test]
    fn max_ts_only_grows_and_clones_share_it() {
        let cm = ConcurrencyManager::new(ts(5));
        let other = cm.clone();
        other.update_max_ts(ts(10), "get").unwrap();
        assert_eq!(cm.max_ts(), ts(10));
        cm.update_max_ts(ts(7), "get").unwrap();
        assert_eq!(other.max_ts(), ts(10));
    }

    #[test]
    fn latest_read_leaves_max_ts() {
        let cm = ConcurrencyManager::new(ts(5));
        cm.set_max_ts_limit(ts(100));
        cm.update_max_ts(TimeStamp::max(), "get").unwrap();
        assert_eq!(cm.max_ts(), ts(5));
        assert_eq!(ConcurrencyManager::new(TimeStamp::max()).max_ts(), ts(0));
    }

    #[test]
    fn above_the_limit_is_refused() {
        let cm = ConcurrencyManager::new(ts(5));
        cm.set_max_ts_limit(ts(100));
        cm.update_max_ts(ts(100), "scan").unwrap();
        let err = cm.update_max_ts(ts(101), "scan").unwrap_err();
        assert_eq!(
            err.to_string(),
            "invalid max_ts update: 101 exceeds the limit 100, source: scan"
        );
        assert_eq!(cm.max_ts(), ts(100));
        cm.set_max_ts_limit(ts(50));
        cm.update_max_ts(ts(90), "scan").unwrap();
    }

    #[test]
    fn above_the_limit_is_accepted_when_only_logged() {
        let cm = ConcurrencyManager::with_action(ts(5), InvalidMaxTsAction::Log);
        cm.set_max_ts_limit(ts(100));
        cm.update_max_ts(ts(101), "scan").unwrap();
        assert_eq!(cm.max_ts(), ts(101));
    }
}
