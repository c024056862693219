//! KvCommit: turns the locks of a transaction into commit records, all of the request's keys or none.
//!
//! That the primary is committed first is the client's business; the server does not check it.
//! Must never: commit below what a reader was promised (`min_commit_ts`).

use concurrency_manager::ConcurrencyManager;
use kv::Snapshot;
use kvproto::kvrpcpb::{self, CommitRole, Context};
use mvcc::{MvccTxn, SnapshotReader};
use txn_types::{Key, TimeStamp};

use super::{check_some_keys, encode_keys, refuse_txn_file, take_context};
use crate::limits::check_ts;
use crate::txn::actions::commit::commit_key;
use crate::txn::command::{KeyedCommand, TxnTarget};
use crate::{Error, Result};

/// A commit request.
#[derive(Clone, Debug)]
pub struct Commit {
    ctx: Context,
    keys: Vec<Key>,
    start_ts: TimeStamp,
    commit_ts: TimeStamp,
    role: CommitRole,
}

impl TryFrom<kvrpcpb::CommitRequest> for Commit {
    type Error = Error;

    fn try_from(mut req: kvrpcpb::CommitRequest) -> Result<Self> {
        refuse_txn_file(req.get_is_txn_file())?;
        let start_ts = TimeStamp::from(req.get_start_version());
        let commit_ts = TimeStamp::from(req.get_commit_version());
        check_ts("start_version", start_ts)?;
        if commit_ts <= start_ts {
            return Err(mvcc::Error::InvalidTxnTso {
                start_ts,
                commit_ts,
            }
            .into());
        }
        check_ts("commit_version", commit_ts)?;
        let keys = encode_keys(req.take_keys());
        check_some_keys(&keys)?;
        let role = req.get_commit_role();
        Ok(Self {
            ctx: take_context(req.context.take()),
            keys,
            start_ts,
            commit_ts,
            role,
        })
    }
}

impl KeyedCommand for Commit {
    /// Where the transaction is committed.
    type Output = TimeStamp;

    const KIND: &'static str = "commit";

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
        _: &ConcurrencyManager,
    ) -> Result<TimeStamp> {
        for key in &self.keys {
            commit_key(txn, reader, key, self.commit_ts, self.role)?;
        }
        Ok(self.commit_ts)
    }

    fn committed_at(&self, output: &TimeStamp) -> Option<TimeStamp> {
        Some(*output)
    }
}
