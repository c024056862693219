//! KvPrepareFlashbackToVersion and KvFlashbackToVersion: a range of a region is set back to what it was at `version`,
//! by new versions at one commit timestamp.
//!
//! *Preparing* makes sure that nobody else changes anything:
//! 1. The region goes into flashback: what was decided before and is not written yet will be refused.
//! 2. All locks of others are rolled back, those in memory as well.
//! 3. The first key that has changed is locked. Its lock tells whether the flashback is under way, and its commit
//!    whether it is complete.
//!
//! *The flashback* then
//! 4. writes every other changed key as it was, in batches, each under the latch of the first key and while its lock
//!    is there: a flashback that was taken over by another one writes nothing any more;
//! 5. commits the first key, and only then the region leaves the flashback.
//!
//! Each request may be repeated after any step, by whoever lost its answer: a state that was reached already is
//! passed. What the first key tells: its lock: go on with 4; its commit: only leave; neither: prepare again.
//! A key that was written after the end of the flashback has a newer version than its commit, and is not looked at.
//!
//! Must never: leave the region in another state than one of these steps, or leave flashback before 5 is durable.

use std::future::Future;

use api_version::{ApiVersion, CommandKind};
use kv::{Engine, SnapshotContext, region_error};
use kvproto::kvrpcpb::{self, Context};
use lock_manager::LockManager;
use mvcc::{ChangedKeys, ScannedLocks, SnapshotReader};
use tracker::TrackerHandle;
use txn_types::{Key, LockValue, TimeStamp};

use super::flashback_steps::{CommitFirst, LockFirst, RewriteKeys, RollbackLocks};
use super::take_context;
use crate::api::check_txn_keys;
use crate::deadline::Deadline;
use crate::limits::{check_key_range, check_ts, invalid_range};
use crate::reads::yield_now;
use crate::txn::command::TxnCommand;
use crate::txn::scheduler::Scheduler;
use crate::{Error, Result};

/// Locks, or changed keys, that one read phase collects.
const BATCH_KEYS: usize = 256;

/// Keys that one read phase looks at before it lets other tasks of the pool run.
const BATCH_PASSED: usize = 4096;

const PREPARE: &str = "prepare_flashback_to_version";
const FLASHBACK: &str = CommandKind::FlashbackToVersion.name();

/// What is set back, and to when.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The request's envelope.
    pub(super) ctx: Context,
    start: Option<Key>,
    end: Option<Key>,
    /// What was visible then will be again.
    pub(super) version: TimeStamp,
    /// The start of the flashback as a transaction.
    pub(super) start_ts: TimeStamp,
}

impl Target {
    fn new(
        ctx: Option<Context>,
        (start, end): (&[u8], &[u8]),
        version: u64,
        start_ts: u64,
    ) -> Result<Self> {
        let (version, start_ts) = (TimeStamp::from(version), TimeStamp::from(start_ts));
        check_ts("version", version)?;
        check_ts("start_ts", start_ts)?;
        if version >= start_ts {
            return Err(Error::InvalidRequest(format!(
                "version {version} must be less than start_ts {start_ts}"
            )));
        }
        let bound = |raw: &[u8]| (!raw.is_empty()).then(|| Key::from_raw(raw));
        let target = Target {
            ctx: take_context(ctx),
            start: bound(start),
            end: bound(end),
            version,
            start_ts,
        };
        if let Some(from) = &target.start {
            check_key_range(from, target.end.as_ref())?;
            if target.start == target.end {
                return Err(invalid_range(start, end, "the range is empty"));
            }
        }
        Ok(target)
    }

    /// A flashback for which the region is not prepared.
    pub(super) fn not_prepared(&self) -> Error {
        kv::Error::from(region_error::flashback_not_prepared(
            self.ctx.get_region_id(),
        ))
        .into()
    }
}

/// Prepares a region.
#[derive(Debug)]
pub struct PrepareFlashback {
    target: Target,
}

impl TryFrom<kvrpcpb::PrepareFlashbackToVersionRequest> for PrepareFlashback {
    type Error = Error;

    fn try_from(mut req: kvrpcpb::PrepareFlashbackToVersionRequest) -> Result<Self> {
        let ctx = req.context.take();
        let range = (req.get_start_key(), req.get_end_key());
        let target = Target::new(ctx, range, req.get_version(), req.get_start_ts())?;
        Ok(Self { target })
    }
}

/// Sets a prepared region back.
#[derive(Debug)]
pub struct Flashback {
    target: Target,
    commit_ts: TimeStamp,
}

impl TryFrom<kvrpcpb::FlashbackToVersionRequest> for Flashback {
    type Error = Error;

    fn try_from(mut req: kvrpcpb::FlashbackToVersionRequest) -> Result<Self> {
        let ctx = req.context.take();
        let range = (req.get_start_key(), req.get_end_key());
        let target = Target::new(ctx, range, req.get_version(), req.get_start_ts())?;
        let (start_ts, commit_ts) = (target.start_ts, TimeStamp::from(req.get_commit_ts()));
        if commit_ts <= start_ts {
            return Err(mvcc::Error::InvalidTxnTso {
                start_ts,
                commit_ts,
            }
            .into());
        }
        check_ts("commit_ts", commit_ts)?;
        Ok(Self { target, commit_ts })
    }
}

impl TxnCommand for PrepareFlashback {
    type Output = ();

    fn check_api(&self, storage: ApiVersion) -> Result<()> {
        check_txn_keys(
            storage,
            &self.target.ctx,
            CommandKind::FlashbackToVersion,
            [],
        )
    }

    fn run<E: Engine, L: LockManager>(
        self,
        scheduler: &Scheduler<E, L>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E, L> {
        let work = Work::new(scheduler, self.target, tracker);
        scheduler.run_series(PREPARE, &work.target.ctx.clone(), work.prepare())
    }
}

impl TxnCommand for Flashback {
    type Output = ();

    fn check_api(&self, storage: ApiVersion) -> Result<()> {
        check_txn_keys(
            storage,
            &self.target.ctx,
            CommandKind::FlashbackToVersion,
            [],
        )
    }

    fn run<E: Engine, L: LockManager>(
        self,
        scheduler: &Scheduler<E, L>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E, L> {
        let work = Work::new(scheduler, self.target, tracker);
        let ctx = work.target.ctx.clone();
        scheduler.run_series(FLASHBACK, &ctx, work.flashback(self.commit_ts))
    }
}

/// How far a flashback has come.
enum Progress {
    /// The first key is locked for it.
    Prepared(Key),
    /// Nothing has to be written any more.
    Written,
}

/// One request under way.
struct Work<E, L> {
    scheduler: Scheduler<E, L>,
    target: Target,
    deadline: Deadline,
    tracker: TrackerHandle,
}

impl<E: Engine, L: LockManager> Work<E, L> {
    fn new(scheduler: &Scheduler<E, L>, target: Target, tracker: TrackerHandle) -> Self {
        let deadline = Deadline::of(&target.ctx, scheduler.clock());
        Self {
            scheduler: scheduler.clone(),
            target,
            deadline,
            tracker,
        }
    }

    async fn prepare(self) -> Result<()> {
        let target = &self.target;
        let concurrency_manager = &self.scheduler.shared.concurrency_manager;
        concurrency_manager.safe_point().check(target.version)?;
        concurrency_manager.update_max_ts(target.start_ts, PREPARE)?;
        // A range that the region does not contain must not bring it into flashback.
        self.reader().await?;
        let engine = self.scheduler.engine();
        engine
            .prepare_flashback(target.ctx.clone(), target.start_ts)
            .await?;
        self.roll_back_locks().await?;
        self.lock_first().await
    }

    async fn flashback(self, commit_ts: TimeStamp) -> Result<()> {
        let concurrency_manager = &self.scheduler.shared.concurrency_manager;
        concurrency_manager.update_max_ts(commit_ts, FLASHBACK)?;
        if let Progress::Prepared(first) = self.progress(commit_ts).await?
            && let Err(error) = self.write(first, commit_ts).await
        {
            // Another copy of the request may have come to the end first.
            let written = self.progress(commit_ts).await;
            if !matches!(written, Ok(Progress::Written)) {
                return Err(error);
            }
        }
        let Target { ctx, start_ts, .. } = self.target;
        let engine = self.scheduler.engine();
        Ok(engine.finish_flashback(ctx, start_ts).await?)
    }

    async fn write(&self, first: Key, commit_ts: TimeStamp) -> Result<()> {
        self.rewrite(&first, commit_ts).await?;
        let command = CommitFirst {
            target: self.target.clone(),
            key: first,
            commit_ts,
        };
        self.scheduler
            .run_until(self.deadline, command, self.tracker.clone())
            .await
    }

    /// A view of the region, which is taken whatever its state.
    async fn reader(&self) -> Result<SnapshotReader<E::Snap>> {
        self.deadline.check(self.scheduler.clock())?;
        let unbounded = || Key::from_encoded(Vec::new());
        let Target {
            ctx, start, end, ..
        } = &self.target;
        let bounds = [start, end].map(|bound| bound.clone().unwrap_or_else(unbounded));
        let view = SnapshotContext {
            key_ranges: vec![bounds.into()],
            flashback: true,
            ..SnapshotContext::new(ctx.clone())
        };
        let snapshot = self.scheduler.engine().async_snapshot(view).await?;
        let fill_cache = !ctx.get_not_fill_cache();
        Ok(SnapshotReader::new(TimeStamp::zero(), snapshot, fill_cache))
    }

    async fn roll_back_locks(&self) -> Result<()> {
        let start_ts = self.target.start_ts;
        let mut from = self.target.start.clone();
        loop {
            let mut reader = self.reader().await?;
            let range = (from.as_ref(), self.target.end.as_ref());
            let foreign = |_: &Key, lock: &txn_types::Lock| lock.ts != start_ts;
            let scanned = reader.scan_all_locks(range.0, range.1, foreign, BATCH_KEYS);
            crate::statistics::record(PREPARE, &reader.take_statistics(), &self.tracker);
            drop(reader);
            let ScannedLocks { locks, has_remain } = scanned?;
            let Some((last, _)) = locks.last() else {
                return Ok(());
            };
            let last = last.clone();
            let command = RollbackLocks {
                ctx: self.target.ctx.clone(),
                locks,
            };
            let round = self
                .scheduler
                .run_until(self.deadline, command, self.tracker.clone());
            match round.await? {
                Some(stopped_at) => from = Some(stopped_at),
                // Inclusive: some of the members of its container may be left.
                None if has_remain => from = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// The next changed keys of the range from `from` on, and a reader of the same view.
    async fn changed_keys(
        &self,
        kind: &'static str,
        from: Option<&Key>,
        limit: usize,
    ) -> Result<(SnapshotReader<E::Snap>, ChangedKeys)> {
        let mut reader = self.reader().await?;
        let Target { end, version, .. } = &self.target;
        let range = (from, end.as_ref());
        let changed = reader.scan_changed_keys(range, *version, (limit, BATCH_PASSED));
        crate::statistics::record(kind, &reader.take_statistics(), &self.tracker);
        Ok((reader, changed?))
    }

    async fn lock_first(&self) -> Result<()> {
        let mut from = self.target.start.clone();
        loop {
            let (_, changed) = self.changed_keys(PREPARE, from.as_ref(), 1).await?;
            if let Some((key, _)) = changed.keys.into_iter().next() {
                let target = self.target.clone();
                let command = LockFirst { target, key };
                let lock = self
                    .scheduler
                    .run_until(self.deadline, command, self.tracker.clone());
                return lock.await;
            }
            if changed.next.is_none() {
                return Ok(());
            }
            from = changed.next;
            yield_now().await;
        }
    }

    /// What the first changed key tells.
    async fn progress(&self, commit_ts: TimeStamp) -> Result<Progress> {
        let start_ts = self.target.start_ts;
        let mut from = self.target.start.clone();
        loop {
            let changed = self.changed_keys(FLASHBACK, from.as_ref(), BATCH_KEYS);
            let (mut reader, changed) = changed.await?;
            for (key, newest) in changed.keys {
                let lock = reader.load_lock(&key)?;
                if lock.is_some_and(|lock| is_lock_of(&lock, start_ts)) {
                    return Ok(Progress::Prepared(key));
                }
                if newest > commit_ts {
                    continue;
                }
                let record = reader.seek_write(&key, newest)?;
                let committed = newest == commit_ts
                    && record.is_some_and(|(_, write)| write.start_ts == start_ts);
                return if committed {
                    Ok(Progress::Written)
                } else {
                    Err(self.target.not_prepared())
                };
            }
            if changed.next.is_none() {
                return Ok(Progress::Written);
            }
            from = changed.next;
            yield_now().await;
        }
    }

    /// All changed keys but the first.
    async fn rewrite(&self, first: &Key, commit_ts: TimeStamp) -> Result<()> {
        let mut from = self.target.start.clone();
        loop {
            let (_, changed) = self
                .changed_keys(FLASHBACK, from.as_ref(), BATCH_KEYS)
                .await?;
            let ChangedKeys { keys, mut next } = changed;
            let keys: Vec<Key> = keys
                .into_iter()
                .filter(|(key, newest)| key != first && *newest < commit_ts)
                .map(|(key, _)| key)
                .collect();
            if keys.is_empty() {
                yield_now().await;
            } else {
                let command = RewriteKeys {
                    target: self.target.clone(),
                    first: first.clone(),
                    keys,
                    commit_ts,
                };
                let round = self
                    .scheduler
                    .run_until(self.deadline, command, self.tracker.clone());
                next = round.await?.or(next);
            }
            if next.is_none() {
                return Ok(());
            }
            from = next;
        }
    }
}

/// Whether it is the lock of the flashback that started then.
pub(super) fn is_lock_of(lock: &LockValue, start_ts: TimeStamp) -> bool {
    matches!(lock, LockValue::Exclusive(lock) if lock.ts == start_ts)
}
