//! KvResolveLock with keys: commits or rolls back one transaction on exactly these keys.
//! Must never: look at any other key, or tolerate a key whose transaction is unknown.

use concurrency_manager::ConcurrencyManager;
use kv::Snapshot;
use kvproto::kvrpcpb::{CommitRole, Context};
use mvcc::{MvccTxn, SnapshotReader};
use txn_types::{Key, TimeStamp};

use super::batch_rollback::rollback_unprotected;
use crate::Result;
use crate::txn::actions::commit::commit_key;
use crate::txn::command::{KeyedCommand, TxnTarget};

/// A resolve request for given keys.
#[derive(Clone, Debug)]
pub struct ResolveLockLite {
    pub(super) ctx: Context,
    pub(super) start_ts: TimeStamp,
    /// Zero: the transaction was rolled back.
    pub(super) commit_ts: TimeStamp,
    pub(super) keys: Vec<Key>,
}

impl KeyedCommand for ResolveLockLite {
    type Output = ();

    const KIND: &'static str = "resolve_lock_lite";

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
    ) -> Result<()> {
        for key in &self.keys {
            if self.commit_ts.is_zero() {
                rollback_unprotected(txn, reader, key, concurrency_manager)?;
            } else {
                commit_key(txn, reader, key, self.commit_ts, CommitRole::Unknown)?;
            }
        }
        Ok(())
    }

    fn committed_at(&self, (): &()) -> Option<TimeStamp> {
        Some(self.commit_ts).filter(|commit_ts| !commit_ts.is_zero())
    }
}
