//! Snapshots and iterators that own their database: the only unsafe code of lifetimes.
//!
//! The binding's snapshots and iterators borrow the database. Ours must outlive the call that
//! makes them, so they hold the database by [`Arc`] beside a borrow whose lifetime is stretched.
//! The argument, for both types:
//!
//! 1. The borrow points into the `Arc`'s allocation, which does not move and lives while the
//!    `Arc` in the same struct lives, wherever the struct itself moves. Nothing takes the database
//!    out of its `Arc` or puts another in its place: the fields here are private and never assigned,
//!    and the `Arc` is only cloned and dereferenced, in this crate and outside, where the type is
//!    not visible.
//! 2. Fields are dropped in the order of their declaration: the borrower before the `Arc`. A
//!    snapshot is released, and an iterator destroyed, while the database is open.
//! 3. What has the stretched lifetime does not leave its owner. A snapshot is never given out. A
//!    cursor is given out only by a borrow of its owner, and keys and values live no longer than
//!    that borrow; but with `&mut` two cursors could be exchanged between owners of two databases.
//!    The one caller of `get_mut`, `iterator`, only calls methods of the cursor.
//! 4. Options keep a bare pointer to the snapshot that was put into them, and the binding ties no
//!    lifetime to it. An iterator holds that snapshot as long as itself; a single read lives no
//!    longer than the borrow of the handle that holds it (`engine`).

#![allow(unsafe_code, reason = "stretches two borrows; argued above")]

use std::sync::Arc;

use rocksdb::{DBRawIteratorWithThreadMode, ReadOptions, SnapshotWithThreadMode};

use crate::database::{Database, Db};

/// A registered sequence of an open database.
pub(crate) struct OwnedSnapshot {
    snapshot: SnapshotWithThreadMode<'static, Db>,
    /// After `snapshot`: see the module.
    database: Arc<Database>,
}

impl OwnedSnapshot {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        // SAFETY: the database outlives the snapshot, which does not leave here, see 1 to 3 of the module.
        let db = unsafe { stretch(database.db()) };
        OwnedSnapshot {
            snapshot: db.snapshot(),
            database,
        }
    }

    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Makes reads with these options see this snapshot. They must not be read with when it is gone:
    /// see 4 of the module.
    pub(crate) fn apply_to(&self, options: &mut ReadOptions) {
        options.set_snapshot(&self.snapshot);
    }
}

/// A cursor over an open database.
pub(crate) struct OwnedIterator {
    iter: DBRawIteratorWithThreadMode<'static, Db>,
    /// What `iter` reads at, when that is not the moment of its creation. RocksDB keeps a pointer
    /// to it in the iterator's options.
    _snapshot: Option<Arc<OwnedSnapshot>>,
    /// After `iter`: see the module.
    _database: Arc<Database>,
}

impl OwnedIterator {
    /// `options` read at `snapshot`, or at no snapshot when there is none.
    pub(crate) fn new(
        database: Arc<Database>,
        snapshot: Option<Arc<OwnedSnapshot>>,
        cf: engine_traits::Cf,
        mut options: ReadOptions,
    ) -> engine_traits::Result<Self> {
        if let Some(snapshot) = &snapshot {
            snapshot.apply_to(&mut options);
        }
        // SAFETY: the database outlives the iterator, which does not leave here, see 1 to 3 of the module.
        let db = unsafe { stretch(database.db()) };
        let iter = db.raw_iterator_cf_opt(database.cf(cf)?, options);
        Ok(OwnedIterator {
            iter,
            _snapshot: snapshot,
            _database: database,
        })
    }

    /// The cursor, for as long as this is borrowed.
    pub(crate) fn get(&self) -> &DBRawIteratorWithThreadMode<'static, Db> {
        &self.iter
    }

    /// The cursor, for as long as this is borrowed.
    pub(crate) fn get_mut(&mut self) -> &mut DBRawIteratorWithThreadMode<'static, Db> {
        &mut self.iter
    }
}

/// # Safety
/// The caller keeps the database alive for as long as the result, or anything made from it, is
/// used.
unsafe fn stretch(db: &Db) -> &'static Db {
    // SAFETY: the pointer comes from a reference, and the caller answers for its lifetime.
    unsafe { &*std::ptr::from_ref(db) }
}
