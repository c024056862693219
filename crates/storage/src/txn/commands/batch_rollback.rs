//! KvBatchRollback: a client gives up its own transaction on some keys, all of them or none.
//! Must never: roll back a key that is committed; the whole request fails instead.

use concurrency_manager::ConcurrencyManager;
use kv::Snapshot;
use kvproto::kvrpcpb::{self, Context};
use mvcc::{MvccTxn, SnapshotReader};
use txn_types::{Key, TimeStamp};

use super::{check_some_keys, encode_keys, refuse_txn_file, take_context};
use crate::limits::check_ts;
use crate::txn::actions::raw_key;
use crate::txn::actions::rollback::{Collapse, MissingLockAction, MissingLockStatus, rollback_key};
use crate::txn::command::{KeyedCommand, TxnTarget};
use crate::{Error, Result};

/// A rollback request.
#[derive(Clone, Debug)]
pub struct BatchRollback {
    ctx: Context,
    keys: Vec<Key>,
    start_ts: TimeStamp,
}

impl TryFrom<kvrpcpb::BatchRollbackRequest> for BatchRollback {
    type Error = Error;

    fn try_from(mut req: kvrpcpb::BatchRollbackRequest) -> Result<Self> {
        refuse_txn_file(req.get_is_txn_file())?;
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

/// Rolls `key` back whatever the age of its lock; the record may be collapsed.
pub(super) fn rollback_unprotected<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    concurrency_manager: &ConcurrencyManager,
) -> Result<()> {
    let how = (MissingLockAction::Rollback, Collapse::Yes);
    match rollback_key(
        txn,
        reader,
        key,
        TimeStamp::zero(),
        how,
        concurrency_manager,
    )? {
        MissingLockStatus::Committed(commit_ts) => Err(mvcc::Error::Committed {
            start_ts: txn.start_ts,
            commit_ts,
            key: raw_key(key)?,
        }
        .into()),
        MissingLockStatus::RolledBack
        | MissingLockStatus::RollbackWritten
        | MissingLockStatus::DoNothing => Ok(()),
    }
}

impl KeyedCommand for BatchRollback {
    type Output = ();

    const KIND: &'static str = "batch_rollback";

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
        self.keys
            .iter()
            .try_for_each(|key| rollback_unprotected(txn, reader, key, concurrency_manager))
    }
}
