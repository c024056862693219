//! The building blocks of commands: what happens to one key. Facts: one action, one table of the protocol.
//! Must never: look at more than one key, or write anywhere but into the transaction buffer it is given.

use kv::Snapshot;
use mvcc::{MvccTxn, PendingLock, Result, SnapshotReader, Statistics};
use txn_types::{Key, LockValue};

pub mod acquire_pessimistic_lock;
pub mod assertion;
pub mod check_txn_status;
pub mod commit;
pub mod commit_mode;
pub mod constraint;
pub mod prewrite;
pub mod rollback;

/// The lock of `key` as this command sees it: what it has changed itself comes before the snapshot.
///
/// Matters when one command touches a key twice, as with several members of one shared container.
pub fn current_lock<S: Snapshot>(
    txn: &MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
) -> Result<Option<LockValue>> {
    match txn.pending_lock(key)? {
        PendingLock::Untouched => reader.load_lock(key),
        PendingLock::Present(lock) => Ok(Some(lock)),
        PendingLock::Removed => Ok(None),
    }
}

/// The error of a command that a lock stands in the way of.
pub fn key_is_locked(lock: impl Into<LockValue>, key: &Key) -> mvcc::Error {
    match key.to_raw() {
        Ok(raw) => mvcc::Error::KeyIsLocked(Box::new(lock.into().into_lock_info(raw))),
        Err(error) => mvcc::Error::InvalidKey(error),
    }
}

/// What is on `key`, for the error of a commit that went wrong: without long values.
pub fn debug_info<S: Snapshot>(
    reader: &SnapshotReader<S>,
    key: &Key,
) -> Result<Box<kvproto::kvrpcpb::MvccInfo>> {
    let mut info = mvcc::mvcc_info(reader.snapshot(), key, &mut Statistics::default())?;
    info.values.clear();
    Ok(Box::new(info.into_proto()))
}

/// The user key as clients know it.
pub fn raw_key(key: &Key) -> Result<Vec<u8>> {
    key.to_raw().map_err(mvcc::Error::InvalidKey)
}
