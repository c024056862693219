//! Crate root: the modules and what they export. It holds no logic of its own, and must never decide
//! whether a transaction commits: that is `storage`.
#![doc = include_str!("../README.md")]

mod conflict;
mod cursor;
mod error;
mod mvcc_info;
mod point_getter;
mod reader;
mod scanner;
mod statistics;
mod txn;
mod view;

pub use conflict::{IsolationLevel, ReplicaRead, check_lock_conflict};
pub use error::{Error, PessimisticLockLoss, Result, WriteConflictReason};
pub use mvcc_info::{MvccInfo, find_start_ts, mvcc_info};
pub use point_getter::PointGetter;
pub use reader::{ChangedKeys, OverlappedWrite, ScannedLocks, SnapshotReader, TxnCommitRecord};
pub use scanner::{Direction, KvPair, Scanner};
pub use statistics::{CfStatistics, Statistics};
pub use txn::{MvccTxn, PendingLock};
pub use view::{ReadView, ValueEntry};

/// Steps that a cursor takes one by one before it seeks, and the distance from which a reader
/// trusts the last-change pointer of a record instead of walking.
///
/// A step costs a fraction of a microsecond, a seek several.
const SEEK_BOUND: u64 = 8;

/// Versions of one key that a backward walk passes one by one before it seeks.
const REVERSE_SEEK_BOUND: u64 = 16;
const _: () = assert!(
    SEEK_BOUND > 0 && REVERSE_SEEK_BOUND > 0,
    "a bound of zero would never step"
);
