//! The way of an admitted command: latches, snapshot, decision, write, and the end.
//!
//! Whoever runs it, a thread of the pool or its caller: see [`super::carried`]. On the caller's thread it decides on
//! what stands in memory; what would need a file, or a long walk, is decided in the pool, under the latches that it
//! has already.
//! Must never: hold a lock across an await, read a clock other than the given one, block a caller's thread, or turn an
//! unknown write outcome into a definite one.

use std::future::Future;
use std::num::NonZeroU64;

use kv::{Engine, Modify, Snapshot, SnapshotContext, WriteData};
use kvproto::kvrpcpb::Context;
use lock_manager::LockManager;
use mvcc::Statistics;
use runtime::Instant;
use tracker::TrackerHandle;
use txn_types::{Key, TimeStamp};

use super::carried::Place;
use super::command::{Stamp, WriteCommand, WriteContext, WriteResult};
use super::early_answer::{Early, write_and_tell};
use super::latch::LatchSet;
use super::latch_guard::LatchGuard;
use super::scheduler::Scheduler;
use crate::deadline::Deadline;
use crate::{Error, Result, metrics};

/// What every command needs besides its decision.
pub(super) struct Envelope {
    pub(super) kind: &'static str,
    pub(super) ctx: Context,
    pub(super) deadline: Deadline,
    pub(super) started: Instant,
    pub(super) tracker: TrackerHandle,
}

/// A decision, and the term of the snapshot that it was made on.
type Decided<T> = (WriteResult<T>, Option<NonZeroU64>);

/// A decision under its latches, and when it was begun.
type Begun<T> = (LatchGuard, Instant, Decided<T>);

impl<E: Engine, L: LockManager> Scheduler<E, L> {
    /// The answer; none when it was given early.
    pub(super) async fn execute<C: WriteCommand>(
        self,
        mut env: Box<Envelope>,
        command: C,
        mut early: Early<C::Output>,
        place: Place,
    ) -> Result<Option<C::Output>> {
        let (stamp, flashback) = (command.stamp(), command.flashback());
        let (mut guard, before_snapshot, (decided, term)) =
            self.begin(&env, command, &place).await?;
        let WriteResult {
            mut modifies,
            output,
            released,
            one_pc,
            committed,
            at_commit,
            // Kept until the write has ended, and dropped before the latches.
            memory_locks,
        } = decided;
        let mut output = Some(output);

        if !modifies.is_empty() {
            self.stamp(stamp, &mut modifies).await?;
            let data = WriteData {
                modifies,
                term,
                one_pc,
                flashback,
                deadline: env.deadline.at(),
            };
            let tell = || early.tell(&mut output);
            let tell = at_commit.then_some(tell);
            let ctx = std::mem::take(&mut env.ctx);
            let how = (&env.deadline, &env.tracker);
            self.write(env.kind, ctx, data, how, tell).await?;
        }
        for (start_ts, commit_ts) in committed {
            self.shared.txn_status.insert(start_ts, commit_ts);
        }
        drop(memory_locks);
        let woke = self.wake_waiters(&mut guard, &released);
        drop(guard);
        let ended = self.shared.clock.now();
        self.shared.service.record(ended, ended - before_snapshot);
        self.observe(env.kind, env.started);
        if woke {
            // Who is answered where it is polled hears of its release before those it has woken, is back with its next
            // transaction first, and keeps them waiting for ever. From the pool they hear in the order of the answers.
            place.enter_pool().await;
        }
        Ok(output)
    }

    /// Latches, snapshot and decision. What cannot be decided on the caller's thread begins again in the pool, as if it
    /// had not been tried: those of higher priority go first there, also to the latches.
    async fn begin<C: WriteCommand>(
        &self,
        env: &Envelope,
        command: C,
        place: &Place,
    ) -> Result<Begun<C::Output>> {
        let Envelope {
            ctx,
            deadline,
            started,
            tracker,
            ..
        } = env;
        if !place.is_pool() {
            let latches = self.shared.latches.set_for(command.keys());
            let guard = self.latch(latches, deadline).await?;
            let begun = self.shared.clock.now();
            if let Some(decided) = self.decide_at_once(&command, ctx, (begun, tracker)) {
                self.latched(C::KIND, *started, tracker);
                return Ok((guard, begun, decided?));
            }
            drop(guard);
            place.enter_pool().await;
        }
        let latches = self.shared.latches.set_for(command.keys());
        let guard = self.latch(latches, deadline).await?;
        self.latched(C::KIND, *started, tracker);
        let begun = self.shared.clock.now();
        // Whoever waited and would end too late is not begun, or under more load than there is room for each would be
        // begun in its last moment and end in vain. A quarter more than the mean, which many exceed.
        let usual = self.shared.service.mean() * 5 / 4;
        if begun - *started > usual && deadline.passes_within(usual, &self.shared.clock) {
            return Err(Error::DeadlineExceeded);
        }
        let view = SnapshotContext {
            flashback: command.flashback(),
            ..SnapshotContext::new(ctx.clone())
        };
        let snapshot = self.shared.engine.async_snapshot(view).await?;
        deadline.check(&self.shared.clock)?;
        let decided = self.decide(command, snapshot, begun, tracker);
        Ok((guard, begun, decided?))
    }

    /// The decision, if it takes neither time nor a file.
    fn decide_at_once<C: WriteCommand>(
        &self,
        command: &C,
        ctx: &Context,
        (begun, tracker): (Instant, &TrackerHandle),
    ) -> Option<Result<Decided<C::Output>>> {
        let engine = &self.shared.engine;
        let snapshot = engine.memory_snapshot(ctx, TimeStamp::zero(), None)?;
        let decided = match snapshot {
            Ok(snapshot) => self.decide(command.clone(), snapshot, begun, tracker),
            Err(error) => Err(error.into()),
        };
        let in_vain = |error: &Error| error.is_not_in_memory();
        (!decided.as_ref().is_err_and(in_vain)).then_some(decided)
    }

    fn decide<C: WriteCommand>(
        &self,
        command: C,
        snapshot: E::Snap,
        before_snapshot: Instant,
        tracker: &TrackerHandle,
    ) -> Result<Decided<C::Output>> {
        let (term, begins) = (snapshot.term(), command.begins());
        let before_process = self.shared.clock.now();
        let mut statistics = Statistics::default();
        let mut ctx = WriteContext {
            concurrency_manager: &self.shared.concurrency_manager,
            clock: &self.shared.clock,
            txn_status: &self.shared.txn_status,
            statistics: &mut statistics,
        };
        let decided = command.process_write(snapshot, &mut ctx);
        if decided.as_ref().is_err_and(Error::is_not_in_memory) {
            return decided.map(|decided| (decided, term));
        }
        crate::statistics::record(C::KIND, &statistics, tracker);
        for stage in ["snapshot", "process"] {
            metrics::STAGE_TOTAL
                .with_label_values(&[C::KIND, stage])
                .inc();
        }
        let before_write = self.shared.clock.now();
        crate::statistics::record_stages(tracker, before_snapshot, before_process, before_write);
        let decided = decided?;
        if let Some(start_ts) = begins
            && !decided.modifies.is_empty()
        {
            self.shared
                .concurrency_manager
                .safe_point()
                .check(start_ts)?;
        }
        Ok((decided, term))
    }

    pub(super) async fn execute_blind(
        self,
        mut env: Box<Envelope>,
        (mut modifies, stamp): (Vec<Modify>, Stamp),
        latches: LatchSet,
    ) -> Result<()> {
        let guard = self.latch(latches, &env.deadline).await?;
        self.latched(env.kind, env.started, &env.tracker);
        self.stamp(stamp, &mut modifies).await?;
        let data = WriteData {
            modifies,
            deadline: env.deadline.at(),
            ..WriteData::default()
        };
        let ctx = std::mem::take(&mut env.ctx);
        let how = (&env.deadline, &env.tracker);
        self.write(env.kind, ctx, data, how, None::<fn()>).await?;
        drop(guard);
        self.observe(env.kind, env.started);
        Ok(())
    }

    /// Waits for latches.
    pub(super) async fn latch(&self, latches: LatchSet, deadline: &Deadline) -> Result<LatchGuard> {
        // A command that is too late already must not keep others from their keys.
        deadline.check(&self.shared.clock)?;
        let guard = LatchGuard::acquire(&self.shared.latches, latches, self.next_id()).await;
        deadline.check(&self.shared.clock)?;
        Ok(guard)
    }

    /// Notes how long a command waited until it held its latches.
    pub(super) fn latched(&self, kind: &'static str, started: Instant, tracker: &TrackerHandle) {
        let waited = self.shared.clock.now().saturating_duration_since(started);
        metrics::LATCH_WAIT
            .with_label_values(&[kind])
            .observe(waited.as_secs_f64());
        crate::statistics::record_latch_wait(tracker, waited);
    }

    /// Adds the version to the keys of the puts. The latches are held: see `raw::causal_ts`.
    async fn stamp(&self, stamp: Stamp, modifies: &mut [Modify]) -> Result<()> {
        if stamp == Stamp::None {
            return Ok(());
        }
        let no_source = || Error::MaxTimestampNotSynced {
            reason: "this store has no source of timestamps".to_owned(),
        };
        let causal_ts = self.shared.causal_ts.get().ok_or_else(no_source)?;
        let ts = causal_ts.next().await?;
        for modify in modifies {
            if let Modify::Put(_, key, _) = modify {
                let unstamped = std::mem::replace(key, Key::from_encoded(Vec::new()));
                *key = unstamped.append_ts(ts);
            }
        }
        Ok(())
    }

    /// Writes, and calls `committed` as soon as the write is bound to be applied. It is handed over at once, so that the
    /// future has nothing of it to keep.
    pub(super) fn write<'a, F: FnOnce() + 'a>(
        &'a self,
        kind: &'static str,
        ctx: Context,
        data: WriteData,
        (deadline, tracker): (&'a Deadline, &'a TrackerHandle),
        committed: Option<F>,
    ) -> impl Future<Output = Result<()>> + use<'a, E, L, F> {
        let before = self.shared.clock.now();
        let checked = self.check_write(kind, &data, deadline);
        let engine = &self.shared.engine;
        let begun = checked.map(|()| write_and_tell(engine, ctx, data, committed));
        async move {
            let written = begun?.await;
            let took = self.shared.clock.now().saturating_duration_since(before);
            crate::statistics::record_write(tracker, took);
            written.map_err(Error::from)
        }
    }

    fn check_write(&self, kind: &'static str, data: &WriteData, deadline: &Deadline) -> Result<()> {
        let limit = self.shared.limits.max_write_size();
        let size = data.size();
        if size > limit {
            return Err(Error::WriteTooLarge { size, limit });
        }
        fail::fail_point!("storage_before_write", |_| Err(Error::Closed));
        deadline.check(&self.shared.clock)?;
        metrics::STAGE_TOTAL
            .with_label_values(&[kind, "write"])
            .inc();
        Ok(())
    }

    /// Notes how long a command took.
    pub(super) fn observe(&self, kind: &'static str, started: Instant) {
        let took = self.shared.clock.now().saturating_duration_since(started);
        metrics::COMMAND_DURATION
            .with_label_values(&[kind])
            .observe(took.as_secs_f64());
    }
}
