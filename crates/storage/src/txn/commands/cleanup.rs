//! KvCleanup: rolls one key of a transaction back, unless its lock is still alive.
//! Must never: roll back a transaction that has committed; it says where it did instead.

use concurrency_manager::ConcurrencyManager;
use kv::Snapshot;
use kvproto::kvrpcpb::{self, Context};
use mvcc::{MvccTxn, SnapshotReader};
use txn_types::{Key, TimeStamp};

use super::take_context;
use crate::limits::check_ts;
use crate::txn::actions::rollback::{Collapse, MissingLockAction, MissingLockStatus, rollback_key};
use crate::txn::command::{KeyedCommand, TxnTarget};
use crate::{Error, Result};

/// A cleanup request.
#[derive(Clone, Debug)]
pub struct Cleanup {
    ctx: Context,
    key: Key,
    start_ts: TimeStamp,
    /// Zero: the lock is rolled back whatever its age.
    current_ts: TimeStamp,
}

/// What became of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanupResult {
    /// It is rolled back, now or before.
    RolledBack,
    /// It had committed.
    Committed(TimeStamp),
}

impl TryFrom<kvrpcpb::CleanupRequest> for Cleanup {
    type Error = Error;

    fn try_from(mut req: kvrpcpb::CleanupRequest) -> Result<Self> {
        let start_ts = TimeStamp::from(req.get_start_version());
        check_ts("start_version", start_ts)?;
        Ok(Self {
            ctx: take_context(req.context.take()),
            key: Key::from_raw(req.get_key()),
            start_ts,
            current_ts: req.get_current_ts().into(),
        })
    }
}

impl KeyedCommand for Cleanup {
    type Output = CleanupResult;

    const KIND: &'static str = "cleanup";

    fn target(&self) -> TxnTarget<'_> {
        TxnTarget {
            ctx: &self.ctx,
            start_ts: self.start_ts,
            keys: std::slice::from_ref(&self.key),
        }
    }

    fn decide<S: Snapshot>(
        &self,
        txn: &mut MvccTxn,
        reader: &mut SnapshotReader<S>,
        concurrency_manager: &ConcurrencyManager,
    ) -> Result<CleanupResult> {
        concurrency_manager.update_max_ts(self.start_ts, Self::KIND)?;
        let how = (MissingLockAction::ProtectedRollback, Collapse::No);
        Ok(
            match rollback_key(
                txn,
                reader,
                &self.key,
                self.current_ts,
                how,
                concurrency_manager,
            )? {
                MissingLockStatus::Committed(commit_ts) => CleanupResult::Committed(commit_ts),
                MissingLockStatus::RolledBack
                | MissingLockStatus::RollbackWritten
                | MissingLockStatus::DoNothing => CleanupResult::RolledBack,
            },
        )
    }

    fn committed_at(&self, output: &CleanupResult) -> Option<TimeStamp> {
        match output {
            CleanupResult::Committed(commit_ts) => Some(*commit_ts),
            CleanupResult::RolledBack => None,
        }
    }
}
