//! KvTxnHeartBeat: keeps the primary lock of a long transaction alive.
//! Must never: shorten a time to live, or write when nothing changes.

use concurrency_manager::ConcurrencyManager;
use kv::Snapshot;
use kvproto::kvrpcpb::{self, Context};
use mvcc::{MvccTxn, SnapshotReader};
use txn_types::{Key, LockValue, TimeStamp};

use super::{refuse_txn_file, take_context};
use crate::limits::check_ts;
use crate::txn::actions::raw_key;
use crate::txn::command::{KeyedCommand, TxnTarget};
use crate::{Error, Result};

/// A heartbeat request.
#[derive(Clone, Debug)]
pub struct TxnHeartBeat {
    ctx: Context,
    primary_key: Key,
    start_ts: TimeStamp,
    advise_ttl: u64,
    min_commit_ts: TimeStamp,
}

impl TryFrom<kvrpcpb::TxnHeartBeatRequest> for TxnHeartBeat {
    type Error = Error;

    fn try_from(mut req: kvrpcpb::TxnHeartBeatRequest) -> Result<Self> {
        refuse_txn_file(req.get_is_txn_file())?;
        let start_ts = TimeStamp::from(req.get_start_version());
        check_ts("start_version", start_ts)?;
        Ok(Self {
            ctx: take_context(req.context.take()),
            primary_key: Key::from_raw(req.get_primary_lock()),
            start_ts,
            advise_ttl: req.get_advise_lock_ttl(),
            min_commit_ts: req.get_min_commit_ts().into(),
        })
    }
}

impl KeyedCommand for TxnHeartBeat {
    /// The time to live that the lock has now, in milliseconds.
    type Output = u64;

    const KIND: &'static str = "txn_heart_beat";

    fn target(&self) -> TxnTarget<'_> {
        TxnTarget {
            ctx: &self.ctx,
            start_ts: self.start_ts,
            keys: std::slice::from_ref(&self.primary_key),
        }
    }

    fn decide<S: Snapshot>(
        &self,
        txn: &mut MvccTxn,
        reader: &mut SnapshotReader<S>,
        _: &ConcurrencyManager,
    ) -> Result<u64> {
        let (key, start_ts) = (&self.primary_key, self.start_ts);
        let mut lock = match reader.load_lock(key)? {
            Some(LockValue::Exclusive(lock)) if lock.ts == start_ts => lock,
            Some(LockValue::Shared(locks)) if locks.contains(start_ts) => {
                let info = locks.into_lock_info(raw_key(key)?);
                return Err(mvcc::Error::PrimaryMismatch(Box::new(info)).into());
            }
            _ => {
                return Err(mvcc::Error::TxnNotFound {
                    start_ts,
                    key: raw_key(key)?,
                }
                .into());
            }
        };
        let before = (lock.ttl, lock.min_commit_ts);
        lock.ttl = lock.ttl.max(self.advise_ttl);
        // Only a pipelined transaction advances its earliest commit while it runs; an async one derives it.
        if !lock.use_async_commit && lock.generation > 0 && !self.min_commit_ts.is_zero() {
            lock.min_commit_ts = lock.min_commit_ts.max(self.min_commit_ts);
        }
        if (lock.ttl, lock.min_commit_ts) != before {
            txn.put_lock(key.clone(), &lock);
        }
        Ok(lock.ttl)
    }
}
