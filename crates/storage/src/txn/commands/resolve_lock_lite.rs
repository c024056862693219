//! KvResolveLock with keys: commits or rolls back one transaction on exactly these keys.
//! Must never: look at any other key, or tolerate a key whose transaction is unknown.

use kv::Snapshot;
use kvproto::kvrpcpb::{CommitRole, Context};
use txn_types::{Key, TimeStamp};

use super::batch_rollback::rollback_unprotected;
use super::encoded;
use crate::Result;
use crate::txn::actions::commit::commit_key;
use crate::txn::command::{WriteCommand, WriteContext, WriteResult, decide};

/// A resolve request for given keys.
#[derive(Debug)]
pub struct ResolveLockLite {
    pub(super) ctx: Context,
    pub(super) start_ts: TimeStamp,
    /// Zero: the transaction was rolled back.
    pub(super) commit_ts: TimeStamp,
    pub(super) keys: Vec<Key>,
}

impl WriteCommand for ResolveLockLite {
    type Output = ();

    const KIND: &'static str = "resolve_lock_lite";

    fn context(&self) -> &Context {
        &self.ctx
    }

    fn keys(&self) -> Vec<&[u8]> {
        encoded(&self.keys)
    }

    fn task_id(&self) -> u64 {
        self.start_ts.into_inner()
    }

    fn process_write<S: Snapshot>(
        self,
        snapshot: S,
        ctx: &mut WriteContext<'_>,
    ) -> Result<WriteResult<()>> {
        decide(self.start_ts, snapshot, &self.ctx, ctx, |txn, reader| {
            for key in &self.keys {
                if self.commit_ts.is_zero() {
                    rollback_unprotected(txn, reader, key)?;
                } else {
                    commit_key(txn, reader, key, self.commit_ts, CommitRole::Unknown)?;
                }
            }
            Ok(())
        })
    }
}
