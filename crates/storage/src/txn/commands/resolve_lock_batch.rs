//! The write phase of a full KvResolveLock: commits or rolls back the locks that the read phase found.
//!
//! Between the two phases the locks were not latched, so each is looked at again: whoever resolved it meanwhile did
//! what this command would have done.
//! Must never: write more than about its size limit at once; it says where it stopped instead.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use concurrency_manager::ConcurrencyManager;
use kv::Snapshot;
use kvproto::kvrpcpb::{CommitRole, Context};
use mvcc::{MvccTxn, SnapshotReader};
use txn_types::{Key, Lock, LockValue, TimeStamp};

use super::batch_rollback::rollback_unprotected;
use crate::Result;
use crate::txn::actions::commit::commit_key;
use crate::txn::command::{WriteCommand, WriteContext, WriteResult};

/// Bytes of changes after which the rest is left to another round.
const WRITE_SIZE_MAX: usize = 32 * 1024;

/// One round of resolving.
#[derive(Clone, Debug)]
pub(super) struct ResolveLockBatch {
    pub(super) ctx: Context,
    /// Start timestamp to commit timestamp, zero for a rollback.
    pub(super) status: Arc<HashMap<TimeStamp, TimeStamp>>,
    pub(super) locks: Vec<(Key, LockValue)>,
}

impl WriteCommand for ResolveLockBatch {
    /// The first key that is still to be done, when the round was cut short.
    type Output = Option<Key>;

    const KIND: &'static str = "resolve_lock";

    fn context(&self) -> &Context {
        &self.ctx
    }

    fn keys(&self) -> Vec<&[u8]> {
        self.locks.iter().map(|(key, _)| key.as_encoded()).collect()
    }

    fn process_write<S: Snapshot>(
        self,
        snapshot: S,
        ctx: &mut WriteContext<'_>,
    ) -> Result<WriteResult<Option<Key>>> {
        let fill_cache = !self.ctx.get_not_fill_cache();
        let mut txn = MvccTxn::new(TimeStamp::zero());
        let mut committed = BTreeMap::new();
        let mut stopped_at = None;
        for (key, found) in &self.locks {
            if txn.write_size() >= WRITE_SIZE_MAX {
                stopped_at = Some(key.clone());
                break;
            }
            let locks: Vec<&Lock> = match found {
                LockValue::Exclusive(lock) => vec![lock],
                LockValue::Shared(locks) => locks.iter().collect(),
            };
            for lock in locks {
                let Some(&commit_ts) = self.status.get(&lock.ts) else {
                    continue;
                };
                // The locks may be of different transactions; their changes still go into one write.
                txn.start_ts = lock.ts;
                let mut reader = SnapshotReader::new(lock.ts, snapshot.clone(), fill_cache);
                let cm = ctx.concurrency_manager;
                let resolved = resolve(&mut txn, &mut reader, key, lock, commit_ts, cm);
                ctx.statistics.add(&reader.take_statistics());
                resolved?;
                if !commit_ts.is_zero() {
                    committed.insert(lock.ts, commit_ts);
                }
            }
        }
        let mut result = WriteResult::from_txn(txn, stopped_at);
        result.committed = committed.into_iter().collect();
        Ok(result)
    }
}

fn resolve<S: Snapshot>(
    txn: &mut MvccTxn,
    reader: &mut SnapshotReader<S>,
    key: &Key,
    lock: &Lock,
    commit_ts: TimeStamp,
    concurrency_manager: &ConcurrencyManager,
) -> Result<()> {
    if commit_ts.is_zero() {
        return rollback_unprotected(txn, reader, key, concurrency_manager);
    }
    if commit_ts <= lock.ts {
        return Err(mvcc::Error::InvalidTxnTso {
            start_ts: lock.ts,
            commit_ts,
        }
        .into());
    }
    match commit_key(txn, reader, key, commit_ts, CommitRole::Unknown) {
        // Somebody dropped the leftover between the two phases; there was nothing to commit.
        Err(mvcc::Error::TxnLockNotFound { .. }) if lock.is_pessimistic() => Ok(()),
        result => Ok(result.map(|_| ())?),
    }
}
