//! KvResolveLock: finishes transactions whose fate is known, on given keys or wherever they left locks.
//!
//! Without keys the command alternates between two phases until the region holds no more of these locks:
//! 1. read: a snapshot without latches, at most [`SCAN_LOCKS`] locks;
//! 2. write: [`ResolveLockBatch`] under the latches of their keys, at most about 32 KiB of changes.
//!
//! The next round starts at the last key seen, inclusive, or where the write phase stopped. Each write is complete in
//! itself: when a round fails, what earlier rounds did stays and is right.
//! Must never: hold latches while it scans.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use kv::{Engine, SnapshotContext};
use kvproto::kvrpcpb::{self, Context};
use lock_manager::LockManager;
use mvcc::{ScannedLocks, SnapshotReader};
use tracker::TrackerHandle;
use txn_types::TimeStamp;

use super::resolve_lock_batch::ResolveLockBatch;
use super::{ResolveLockLite, encode_keys, refuse_txn_file, take_context};
use crate::deadline::Deadline;
use crate::limits::check_ts;
use crate::txn::command::TxnCommand;
use crate::txn::scheduler::Scheduler;
use crate::{Error, Result};

/// The label of a whole region's resolving; its rounds have their own.
const SERIES: &str = "resolve_region";

/// Locks that one read phase collects.
const SCAN_LOCKS: usize = 256;

/// A resolve request.
#[derive(Debug)]
pub enum ResolveLock {
    /// One transaction on given keys.
    Lite(ResolveLockLite),
    /// Some transactions in the whole region.
    Full {
        /// The request's envelope.
        ctx: Context,
        /// Start timestamp to commit timestamp, zero for a rollback.
        status: HashMap<TimeStamp, TimeStamp>,
    },
}

impl TryFrom<kvrpcpb::ResolveLockRequest> for ResolveLock {
    type Error = Error;

    fn try_from(mut req: kvrpcpb::ResolveLockRequest) -> Result<Self> {
        refuse_txn_file(req.get_is_txn_file())?;
        let ctx = take_context(req.context.take());
        let start_ts = TimeStamp::from(req.get_start_version());
        let commit_ts = TimeStamp::from(req.get_commit_version());
        let keys = encode_keys(req.take_keys());
        if !keys.is_empty() {
            check_outcome(start_ts, commit_ts)?;
            return Ok(Self::Lite(ResolveLockLite {
                ctx,
                start_ts,
                commit_ts,
                keys,
            }));
        }
        let mut status = HashMap::new();
        for info in req.get_txn_infos() {
            refuse_txn_file(info.get_is_txn_file())?;
            status.insert(
                TimeStamp::from(info.get_txn()),
                TimeStamp::from(info.get_status()),
            );
        }
        // The single form is meant only when it is filled in or there is no other.
        if !start_ts.is_zero() || status.is_empty() {
            status.insert(start_ts, commit_ts);
        }
        for (start_ts, commit_ts) in &status {
            check_outcome(*start_ts, *commit_ts)?;
        }
        Ok(Self::Full { ctx, status })
    }
}

fn check_outcome(start_ts: TimeStamp, commit_ts: TimeStamp) -> Result<()> {
    check_ts("start_version", start_ts)?;
    if commit_ts.is_zero() {
        Ok(())
    } else {
        check_ts("commit_version", commit_ts)
    }
}

impl TxnCommand for ResolveLock {
    type Output = ();

    fn run<E: Engine, L: LockManager>(
        self,
        scheduler: &Scheduler<E, L>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E, L> {
        let scheduler = scheduler.clone();
        async move {
            match self {
                Self::Lite(command) => scheduler.run(command, tracker).await,
                Self::Full { ctx, status } => {
                    // A task of its own, so that a client that goes away does not leave the region half done.
                    let envelope = ctx.clone();
                    let deadline = Deadline::of(&ctx, scheduler.clock());
                    let rounds = resolve_region(scheduler.clone(), ctx, status, deadline, tracker);
                    scheduler.run_series(SERIES, &envelope, rounds).await
                }
            }
        }
    }
}

async fn resolve_region<E: Engine, L: LockManager>(
    scheduler: Scheduler<E, L>,
    ctx: Context,
    status: HashMap<TimeStamp, TimeStamp>,
    deadline: Deadline,
    tracker: TrackerHandle,
) -> Result<()> {
    let status = Arc::new(status);
    let mut start = None;
    loop {
        deadline.check(scheduler.clock())?;
        let snapshot = scheduler
            .engine()
            .async_snapshot(SnapshotContext::new(ctx.clone()))
            .await?;
        let mut reader =
            SnapshotReader::new(TimeStamp::zero(), snapshot, !ctx.get_not_fill_cache());
        let known = Arc::clone(&status);
        let scanned = reader.scan_locks(
            start.as_ref(),
            None,
            move |_, lock| known.contains_key(&lock.ts),
            SCAN_LOCKS,
        );
        crate::statistics::record("resolve_lock", &reader.take_statistics(), &tracker);
        drop(reader);
        let ScannedLocks { locks, has_remain } = scanned?;
        let Some((last, _)) = locks.last() else {
            return Ok(());
        };
        let last = last.clone();
        let batch = ResolveLockBatch {
            ctx: ctx.clone(),
            status: Arc::clone(&status),
            locks,
        };
        let round = scheduler.run_until(deadline, batch, tracker.clone());
        match round.await? {
            Some(stopped_at) => start = Some(stopped_at),
            None if has_remain => start = Some(last),
            None => return Ok(()),
        }
    }
}
