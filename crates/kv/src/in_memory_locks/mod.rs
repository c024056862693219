//! Pessimistic locks of a region that are not written: a table beside the lock column family.
//!
//! A transaction that fails to find such a lock again can tell so at its prewrite, so losing the table with the
//! process is allowed. Whatever moves a region must carry the locks along all the same, because losing many at once
//! makes many transactions start over:
//!
//! 1. *Transfer of the leadership.* [`RegionLocks::begin_transfer`] stops new locks and gives out those that are
//!    there, to be proposed as writes before the transfer itself. A lock whose removal is under way is left out: its
//!    removal was proposed before, and would come before the lock that re-creates it. A transfer that fails is taken
//!    back with [`RegionLocks::thaw`]; one that succeeds ends with [`RegionLocks::step_down`].
//! 2. *Merge.* [`RegionLocks::begin_merge`] gives out all of them, removals under way included: the source region
//!    may not apply these any more, and the one who proposes waits for them before.
//! 3. *Split.* [`RegionLocks::split`] gives each new region its part. The new version is stamped first, so that
//!    nobody who decided before puts a lock into the wrong part.
//! 4. *Term and version.* Whoever reads or adds a lock names the term and version of its snapshot. A table of
//!    another term or version may lack locks that were there: then the request must not be answered from it.
//!
//! The order of a removal is: marked when its write is handed over, removed when the write is applied.
//!
//! Must never: hold more bytes than the limits of region and store, or wait.

mod lock;
mod table;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine_traits::Cf;
use parking_lot::RwLock;
use txn_types::{Key, Lock};

pub use lock::PessimisticLock;
use table::LockTable;

use crate::{Error, Modify, Result, region_error};

/// Whether a table takes locks, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockTableStatus {
    /// It does.
    Normal,
    /// The leadership is about to move; the locks were given out.
    TransferringLeader,
    /// The region is about to be merged into another; the locks were given out.
    MergingRegion,
    /// The peer does not lead.
    NotLeader,
    /// The region is being set back to an older version.
    IsInFlashback,
}

/// The state of a region that a snapshot was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionStamp {
    /// The leader's term.
    pub term: u64,
    /// The region's version.
    pub version: u64,
}

/// What the tables may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockTableLimits {
    /// Bytes of one region.
    pub region_bytes: usize,
    /// Bytes of all regions of the store.
    pub store_bytes: usize,
}

impl Default for LockTableLimits {
    fn default() -> Self {
        LockTableLimits {
            region_bytes: 512 << 10,
            store_bytes: 100 << 20,
        }
    }
}

/// What the tables of a store take together, and may take; clones share it.
#[derive(Clone, Debug)]
pub struct LockTableQuota {
    shared: Arc<Quota>,
}

#[derive(Debug)]
struct Quota {
    used: AtomicUsize,
    region_bytes: AtomicUsize,
    store_bytes: AtomicUsize,
}

impl LockTableQuota {
    /// Nothing is used.
    #[must_use]
    pub fn new(limits: LockTableLimits) -> Self {
        LockTableQuota {
            shared: Arc::new(Quota {
                used: AtomicUsize::new(0),
                region_bytes: AtomicUsize::new(limits.region_bytes),
                store_bytes: AtomicUsize::new(limits.store_bytes),
            }),
        }
    }

    /// Changes what may be used. Locks that are there stay.
    pub fn set_limits(&self, limits: LockTableLimits) {
        let quota = &self.shared;
        quota
            .region_bytes
            .store(limits.region_bytes, Ordering::Relaxed);
        quota
            .store_bytes
            .store(limits.store_bytes, Ordering::Relaxed);
    }

    /// Bytes of all regions.
    #[must_use]
    pub fn used(&self) -> usize {
        self.shared.used.load(Ordering::Relaxed)
    }

    fn region_bytes(&self) -> usize {
        self.shared.region_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let quota = &self.shared;
        let before = quota.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= quota.store_bytes.load(Ordering::Relaxed);
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.shared.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The table of one region; clones share it.
#[derive(Clone, Debug)]
pub struct RegionLocks {
    table: Arc<RwLock<LockTable>>,
}

impl RegionLocks {
    /// The empty table of a region that this store leads.
    #[must_use]
    pub fn new(stamp: RegionStamp, quota: LockTableQuota) -> Self {
        RegionLocks::from_table(LockTable::new(stamp, quota))
    }

    fn from_table(table: LockTable) -> Self {
        RegionLocks {
            table: Arc::new(RwLock::new(table)),
        }
    }

    /// The table as a snapshot of the region sees it that was taken in the state `stamp`.
    #[must_use]
    pub fn at(&self, stamp: RegionStamp) -> SnapshotLocks {
        SnapshotLocks {
            locks: self.clone(),
            stamp,
        }
    }

    /// Whether it takes locks.
    #[must_use]
    pub fn status(&self) -> LockTableStatus {
        self.table.read().status()
    }

    /// Locks in it, those whose removal is under way included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.read().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A write is handed over. What it does to locks of the table is undone or finished by the answer.
    #[must_use]
    pub fn write_begins(&self, modifies: &[Modify]) -> Option<LocksInWrite> {
        let touches = |modify: &&Modify| modify.cf() == Cf::Lock;
        if self.is_empty() || !modifies.iter().any(|modify| touches(&modify)) {
            return None;
        }
        let mut table = self.table.write();
        let mut in_write = LocksInWrite {
            locks: self.clone(),
            keys: Vec::new(),
            ranges: Vec::new(),
        };
        for modify in modifies.iter().filter(touches) {
            match modify {
                Modify::Put(_, key, _) if table.contains(key) => in_write.keys.push(key.clone()),
                Modify::Delete(_, key) if table.mark(key, true) => in_write.keys.push(key.clone()),
                Modify::DeleteRange(_, start, end) => {
                    in_write.ranges.push((start.clone(), end.clone()));
                }
                Modify::Put(..) | Modify::Delete(..) => {}
            }
        }
        Some(in_write)
    }

    /// Stops new locks and gives out those that are to be written before the leadership moves.
    #[must_use]
    pub fn begin_transfer(&self) -> Vec<(Key, Lock)> {
        let mut table = self.table.write();
        table.set_status(LockTableStatus::TransferringLeader);
        table.collect(|_, deleted| !deleted)
    }

    /// Stops new locks and gives out those that are to be written before the region is merged into another.
    #[must_use]
    pub fn begin_merge(&self) -> Vec<(Key, Lock)> {
        let mut table = self.table.write();
        table.set_status(LockTableStatus::MergingRegion);
        table.collect(|_, _| true)
    }

    /// Stops new locks, since the region is being set back. Those that are there stay: the flashback finds them like
    /// locks that are written, and rolls them back.
    pub fn begin_flashback(&self) {
        self.table
            .write()
            .set_status(LockTableStatus::IsInFlashback);
    }

    /// What stopped new locks is over, and the peer still leads.
    pub fn thaw(&self) {
        let mut table = self.table.write();
        if table.status() != LockTableStatus::NotLeader {
            table.set_status(LockTableStatus::Normal);
        }
    }

    /// The peer leads no more: its locks are where it gave them, or lost.
    pub fn step_down(&self, stamp: RegionStamp) {
        self.reset(stamp, LockTableStatus::NotLeader);
    }

    /// The peer begins to lead, without any locks.
    pub fn lead(&self, stamp: RegionStamp) {
        self.reset(stamp, LockTableStatus::Normal);
    }

    fn reset(&self, stamp: RegionStamp, status: LockTableStatus) {
        let mut table = self.table.write();
        table.clear();
        table.set_stamp(stamp);
        table.set_status(status);
    }

    /// The region was split and keeps its part before the first of `starts`, which ascend: each is where a new
    /// region begins, at which the one before it ends. All have `version` now. Gives the tables of the new ones.
    #[must_use]
    pub fn split(&self, version: u64, starts: &[Key]) -> Vec<RegionLocks> {
        let mut table = self.table.write();
        let parts = table.split(version, starts);
        drop(table);
        parts.into_iter().map(RegionLocks::from_table).collect()
    }
}

/// The table of a region, in the state of one snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotLocks {
    locks: RegionLocks,
    stamp: RegionStamp,
}

impl SnapshotLocks {
    /// The lock of an encoded user key. A region error when the region has changed since the snapshot.
    pub fn get(&self, key: &Key) -> Result<Option<Lock>> {
        let table = self.locks.table.read();
        self.check(&table)?;
        Ok(table.get(key))
    }

    /// The first `limit` locks of `[start, end)` for which `filter` holds, in key order; absent bounds are open.
    pub fn scan(
        &self,
        start: Option<&Key>,
        end: Option<&Key>,
        filter: impl Fn(&Key, &Lock) -> bool,
        limit: usize,
    ) -> Result<Vec<(Key, Lock)>> {
        let table = self.locks.table.read();
        self.check(&table)?;
        Ok(table.scan(start, end, filter, limit))
    }

    /// Adds locks, or replaces those of the same transactions: all of them, or none. `false`: they must be written
    /// instead. The caller holds the latches of the keys.
    #[must_use]
    pub fn insert(&self, locks: &[(Key, PessimisticLock)]) -> bool {
        let mut table = self.locks.table.write();
        self.check(&table).is_ok()
            && table.status() == LockTableStatus::Normal
            && table.insert(locks)
    }

    fn check(&self, table: &LockTable) -> Result<()> {
        let now = table.stamp();
        if table.status() == LockTableStatus::NotLeader || now.term != self.stamp.term {
            return Err(Error::from(region_error::stale_command()));
        }
        if now.version != self.stamp.version {
            return Err(Error::from(region_error::epoch_not_match(None, Vec::new())));
        }
        Ok(())
    }
}

/// What a write that is under way does to the locks of a table.
#[derive(Debug)]
#[must_use = "the locks stay marked until the write is answered"]
pub struct LocksInWrite {
    locks: RegionLocks,
    keys: Vec<Key>,
    ranges: Vec<(Key, Key)>,
}

impl LocksInWrite {
    /// The write is applied: the lock column family tells about these keys now.
    pub fn applied(self) {
        let mut table = self.locks.table.write();
        for key in &self.keys {
            table.remove(key);
        }
        for (start, end) in &self.ranges {
            table.remove_range(start, end);
        }
    }

    /// The write did not take place.
    pub fn failed(self) {
        let mut table = self.locks.table.write();
        for key in &self.keys {
            table.mark(key, false);
        }
    }
}
