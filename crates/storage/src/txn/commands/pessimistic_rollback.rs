//! KVPessimisticRollback: takes back the locks of a statement, of given keys or of the whole region.
//!
//! Without keys it alternates between a look at the locks of the region, without latches, and the removal of those
//! of its transaction, under theirs.
//! Must never: touch a lock that a later statement has renewed, or fail because there is nothing to take back.

use std::future::Future;

use concurrency_manager::ConcurrencyManager;
use kv::{Engine, Snapshot, SnapshotContext};
use kvproto::kvrpcpb::{self, Context};
use lock_manager::LockManager;
use mvcc::{MvccTxn, SnapshotReader};
use tracker::TrackerHandle;
use txn_types::{Key, Lock, LockValue, TimeStamp};

use super::{encode_keys, take_context};
use crate::deadline::Deadline;
use crate::limits::check_ts;
use crate::txn::actions::current_lock;
use crate::txn::command::{KeyedCommand, TxnCommand, TxnTarget};
use crate::txn::scheduler::Scheduler;
use crate::{Error, Result};

/// The label of a whole region's; its rounds have their own.
const SERIES: &str = "pessimistic_rollback_region";

/// Locks that one look at the region collects.
const SCAN_LOCKS: usize = 256;

/// A request to take locks back. Without keys: those of the whole region.
#[derive(Debug)]
pub struct PessimisticRollback {
    keys: RollbackKeys,
}

/// The removal of the locks of one transaction on given keys.
#[derive(Clone, Debug)]
struct RollbackKeys {
    ctx: Context,
    start_ts: TimeStamp,
    for_update_ts: TimeStamp,
    keys: Vec<Key>,
}

impl TryFrom<kvrpcpb::PessimisticRollbackRequest> for PessimisticRollback {
    type Error = Error;

    fn try_from(mut req: kvrpcpb::PessimisticRollbackRequest) -> Result<Self> {
        let start_ts = TimeStamp::from(req.get_start_version());
        check_ts("start_version", start_ts)?;
        let keys = RollbackKeys {
            ctx: take_context(req.context.take()),
            start_ts,
            for_update_ts: req.get_for_update_ts().into(),
            keys: encode_keys(req.take_keys()),
        };
        Ok(Self { keys })
    }
}

impl RollbackKeys {
    fn takes_back(&self, lock: &Lock) -> bool {
        lock.ts == self.start_ts
            && lock.is_pessimistic()
            && lock.for_update_ts <= self.for_update_ts
    }
}

impl KeyedCommand for RollbackKeys {
    type Output = ();

    const KIND: &'static str = "pessimistic_rollback";

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
    ) -> Result<()> {
        for key in &self.keys {
            match current_lock(txn, reader, key)? {
                Some(LockValue::Exclusive(lock)) if self.takes_back(&lock) => {
                    txn.unlock(key.clone(), lock.ts, None);
                }
                Some(LockValue::Shared(mut locks)) => {
                    let own = locks.get(self.start_ts);
                    if own.is_some_and(|own| self.takes_back(own)) {
                        locks.remove(self.start_ts);
                        txn.put_shared_locks(key.clone(), &locks, Some((self.start_ts, None)));
                    }
                }
                Some(LockValue::Exclusive(_)) | None => {}
            }
        }
        Ok(())
    }
}

impl TxnCommand for PessimisticRollback {
    type Output = ();

    fn run<E: Engine, L: LockManager>(
        self,
        scheduler: &Scheduler<E, L>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E, L> {
        let scheduler = scheduler.clone();
        let keys = self.keys;
        async move {
            if !keys.keys.is_empty() {
                return scheduler.run(keys, tracker).await;
            }
            // A task of its own, so that a client that goes away does not leave the region half done.
            let envelope = keys.ctx.clone();
            let work = rollback_region(scheduler.clone(), keys, tracker);
            scheduler.run_series(SERIES, &envelope, work).await
        }
    }
}

async fn rollback_region<E: Engine, L: LockManager>(
    scheduler: Scheduler<E, L>,
    keys: RollbackKeys,
    tracker: TrackerHandle,
) -> Result<()> {
    let deadline = Deadline::of(&keys.ctx, scheduler.clock());
    let mut start = None;
    loop {
        deadline.check(scheduler.clock())?;
        let snapshot = scheduler
            .engine()
            .async_snapshot(SnapshotContext::new(keys.ctx.clone()))
            .await?;
        let fill_cache = !keys.ctx.get_not_fill_cache();
        let mut reader = SnapshotReader::new(keys.start_ts, snapshot, fill_cache);
        let filter = |_: &Key, lock: &Lock| keys.takes_back(lock);
        let scanned = reader.scan_all_locks(start.as_ref(), None, filter, SCAN_LOCKS);
        crate::statistics::record(RollbackKeys::KIND, &reader.take_statistics(), &tracker);
        drop(reader);
        let scanned = scanned?;
        let Some((last, _)) = scanned.locks.last() else {
            return Ok(());
        };
        start = Some(last.clone());
        let round = RollbackKeys {
            keys: scanned.locks.into_iter().map(|(key, _)| key).collect(),
            ..keys.clone()
        };
        scheduler
            .run_until(deadline, round, tracker.clone())
            .await?;
        if !scanned.has_remain {
            return Ok(());
        }
    }
}
