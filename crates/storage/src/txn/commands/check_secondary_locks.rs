//! KvCheckSecondaryLocks: whether the other locks of an async commit were all written.
//!
//! The answer that one is missing must stay true, or its late prewrite would commit a transaction that others believe
//! to be rolled back. So a missing lock is made impossible first, by a protected rollback record.
//! Must never: answer without raising `max_ts`, or leave a key open whose lock it has reported missing.

use concurrency_manager::ConcurrencyManager;
use kv::Snapshot;
use kvproto::kvrpcpb::{self, Context, LockInfo};
use mvcc::{MvccTxn, SnapshotReader};
use txn_types::{Key, LockValue, TimeStamp};

use super::{check_some_keys, encode_keys, take_context};
use crate::limits::check_ts;
use crate::txn::actions::rollback::{
    MissingLockAction, MissingLockStatus, rollback_missing_lock, rollback_pessimistic_secondary,
};
use crate::txn::actions::{current_lock, raw_key};
use crate::txn::command::{KeyedCommand, TxnTarget};
use crate::{Error, Result};

/// A request about secondary locks.
#[derive(Clone, Debug)]
pub struct CheckSecondaryLocks {
    ctx: Context,
    keys: Vec<Key>,
    start_ts: TimeStamp,
}

/// What the secondary keys tell about the transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum SecondaryLocksStatus {
    /// All of them are locked.
    Locked(Vec<LockInfo>),
    /// It is committed.
    Committed(TimeStamp),
    /// It is rolled back, now or before.
    RolledBack,
}

impl TryFrom<kvrpcpb::CheckSecondaryLocksRequest> for CheckSecondaryLocks {
    type Error = Error;

    fn try_from(mut req: kvrpcpb::CheckSecondaryLocksRequest) -> Result<Self> {
        let start_ts = TimeStamp::from(req.get_start_version());
        check_ts("start_version", start_ts)?;
        let keys = encode_keys(req.take_keys());
        check_some_keys(&keys)?;
        Ok(Self {
            ctx: take_context(req.context.take()),
            keys,
            start_ts,
        })
    }
}

impl KeyedCommand for CheckSecondaryLocks {
    type Output = SecondaryLocksStatus;

    const KIND: &'static str = "check_secondary_locks";

    fn target(&self) -> TxnTarget<'_> {
        TxnTarget {
            ctx: &self.ctx,
            start_ts: self.start_ts,
            keys: &self.keys,
        }
    }

    fn decide<S: Snapshot>(
        &self,
        txn: &mut MvccTxn,
        reader: &mut SnapshotReader<S>,
        concurrency_manager: &ConcurrencyManager,
    ) -> Result<SecondaryLocksStatus> {
        concurrency_manager.update_max_ts(self.start_ts, Self::KIND)?;
        let mut locks = Vec::new();
        for key in &self.keys {
            let status = match current_lock(txn, reader, key)? {
                Some(LockValue::Exclusive(lock)) if lock.ts == self.start_ts => {
                    if !lock.is_pessimistic() {
                        locks.push(lock.into_lock_info(raw_key(key)?));
                        continue;
                    }
                    // The transaction had not come to its prewrite here, and must not any more.
                    rollback_pessimistic_secondary(txn, reader, key, concurrency_manager)?
                }
                found => {
                    let how = (MissingLockAction::ProtectedRollback, false);
                    rollback_missing_lock(txn, reader, key, found, how, concurrency_manager)?
                }
            };
            return Ok(match status {
                MissingLockStatus::Committed(commit_ts) => {
                    SecondaryLocksStatus::Committed(commit_ts)
                }
                MissingLockStatus::RolledBack
                | MissingLockStatus::RollbackWritten
                | MissingLockStatus::DoNothing => SecondaryLocksStatus::RolledBack,
            });
        }
        Ok(SecondaryLocksStatus::Locked(locks))
    }

    fn committed_at(&self, output: &SecondaryLocksStatus) -> Option<TimeStamp> {
        match output {
            SecondaryLocksStatus::Committed(commit_ts) => Some(*commit_ts),
            SecondaryLocksStatus::Locked(_) | SecondaryLocksStatus::RolledBack => None,
        }
    }
}
