//! KvCheckTxnStatus: the fate of a transaction, asked on its primary key.
//! Must never: answer without raising `max_ts`, because the answer is about the state at these timestamps.

use concurrency_manager::ConcurrencyManager;
use kv::Snapshot;
use kvproto::kvrpcpb::{self, Context};
use mvcc::{MvccTxn, SnapshotReader};
use txn_types::{Key, LockValue, TimeStamp};

use super::{TxnStatus, refuse_txn_file, take_context};
use crate::limits::check_ts;
use crate::txn::actions::check_txn_status::{StatusQuery, check_with_lock, check_without_lock};
use crate::txn::actions::raw_key;
use crate::txn::actions::rollback::MissingLockAction;
use crate::txn::command::{KeyedCommand, TxnTarget};
use crate::{Error, Result};

/// A status request.
#[derive(Clone, Debug)]
pub struct CheckTxnStatus {
    ctx: Context,
    primary_key: Key,
    lock_ts: TimeStamp,
    query: StatusQuery,
}

impl TryFrom<kvrpcpb::CheckTxnStatusRequest> for CheckTxnStatus {
    type Error = Error;

    fn try_from(mut req: kvrpcpb::CheckTxnStatusRequest) -> Result<Self> {
        refuse_txn_file(req.get_is_txn_file())?;
        let lock_ts = TimeStamp::from(req.get_lock_ts());
        check_ts("lock_ts", lock_ts)?;
        Ok(Self {
            primary_key: Key::from_raw(req.get_primary_key()),
            lock_ts,
            query: StatusQuery {
                caller_start_ts: req.get_caller_start_ts().into(),
                current_ts: req.get_current_ts().into(),
                force_sync_commit: req.get_force_sync_commit(),
                resolving_pessimistic_lock: req.get_resolving_pessimistic_lock(),
                verify_is_primary: req.get_verify_is_primary(),
                missing_lock: if req.get_rollback_if_not_exist() {
                    MissingLockAction::ProtectedRollback
                } else {
                    MissingLockAction::ReturnError
                },
            },
            ctx: take_context(req.context.take()),
        })
    }
}

impl KeyedCommand for CheckTxnStatus {
    type Output = TxnStatus;

    const KIND: &'static str = "check_txn_status";

    fn target(&self) -> TxnTarget<'_> {
        TxnTarget {
            ctx: &self.ctx,
            start_ts: self.lock_ts,
            keys: std::slice::from_ref(&self.primary_key),
        }
    }

    fn decide<S: Snapshot>(
        &self,
        txn: &mut MvccTxn,
        reader: &mut SnapshotReader<S>,
        concurrency_manager: &ConcurrencyManager,
    ) -> Result<TxnStatus> {
        for ts in [
            self.lock_ts,
            self.query.current_ts,
            self.query.caller_start_ts,
        ] {
            concurrency_manager.update_max_ts(ts, Self::KIND)?;
        }
        let key = &self.primary_key;
        let status = match reader.load_lock(key)? {
            Some(LockValue::Exclusive(lock)) if lock.ts == self.lock_ts => {
                check_with_lock(txn, reader, key, lock, &self.query, concurrency_manager)?
            }
            // A shared lock is never a primary, so the caller was misled.
            Some(LockValue::Shared(locks)) => {
                let info = locks.into_lock_info(raw_key(key)?);
                return Err(mvcc::Error::PrimaryMismatch(Box::new(info)).into());
            }
            found => check_without_lock(txn, reader, key, found, &self.query, concurrency_manager)?,
        };
        Ok(status)
    }

    fn committed_at(&self, output: &TxnStatus) -> Option<TimeStamp> {
        match output {
            TxnStatus::Committed { commit_ts } => Some(*commit_ts),
            _ => None,
        }
    }
}
