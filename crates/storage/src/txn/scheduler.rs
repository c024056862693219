//! Runs write commands: admission, latches, snapshot, decision, write, answer.
//!
//! 1. *Admission* happens on the caller: above the limit of pending bytes, or of the memory of all requests, a command
//!    is refused, so nothing queues without bound.
//!    One that flow control holds back waits before everything else, while it holds nothing.
//! 2. The rest is one task on the scheduler's pool. It owns the command; the caller holds only the receiving end of
//!    a channel. A client that goes away drops that end, and the task runs on to its end: no latch is lost, no
//!    command is half-run. A blind write has nothing to read or decide: its caller polls it, and the pool takes it
//!    over only from a caller that goes away ([`super::carried`]).
//! 3. The snapshot is taken after all latches are held, so the decision sees every earlier write of its keys, and
//!    its term travels with the write.
//! 4. Latches are released when the write has finished, and only then the answer is sent: whoever sees the answer
//!    also sees the write, and so does the next command of the same key.
//! 5. The deadline is looked at before the latches, after them, before the decision and before the write; after them
//!    also whether the command is likely to end in time. Once the write
//!    is handed over its real outcome is reported, however late; only the engine may still refuse one that it has not
//!    begun.
//!
//! Must never: hold a lock across an await, read a clock other than the given one, or turn an unknown write
//! outcome into a definite one.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use concurrency_manager::ConcurrencyManager;
use futures::channel::oneshot;
use futures::future::{Either, ready};
use kv::{Engine, Modify, Snapshot, SnapshotContext, WriteData};
use kvproto::kvrpcpb::{CommandPri, Context};
use lock_manager::LockManager;
use mvcc::Statistics;
use runtime::{Clock, Instant, Runtime};
use tracker::TrackerHandle;
use txn_types::Key;
use yatp::{MeanTime, Pool, Priority, TaskOptions};

use super::admission::{Admission, gauge};
use super::carried::Carried;
use super::command::{Stamp, WriteCommand, WriteContext, WriteResult};
use super::early_answer::{Early, write_and_tell};
use super::latch::{LatchSet, Latches};
pub(super) use super::latch_guard::{LatchGuard, Waker};
use super::lock_waits::LockWaits;
use super::status_cache::TxnStatusCache;
use crate::deadline::Deadline;
use crate::flow_control::{self, FlowControl, Hold};
use crate::limits::Limits;
use crate::memory::{MemoryQuota, REQUEST_OVERHEAD};
use crate::raw::CausalTs;
use crate::{Config, Error, Result, metrics};

/// What a series of commands holds in memory between two of them, roughly: one batch of locks.
const SERIES_BYTES: usize = 32 * 1024;

/// What all clones of a scheduler share.
pub(super) struct Shared<E, L> {
    pub(super) engine: E,
    pub(super) lock_manager: L,
    pub(super) concurrency_manager: ConcurrencyManager,
    pub(super) pool: Pool,
    pub(super) clock: Clock,
    pub(super) latches: Arc<Latches<Waker>>,
    /// Requests that wait for locks.
    pub(super) waits: LockWaits,
    pub(super) txn_status: TxnStatusCache,
    /// Whether prewrites that commit may be answered once their writes are bound to be applied.
    async_apply_prewrite: AtomicBool,
    /// Where versions of raw keys come from; only where they have any.
    causal_ts: OnceLock<CausalTs>,
    next_id: AtomicU64,
    pending_bytes: Arc<AtomicUsize>,
    pending_bytes_limit: AtomicUsize,
    memory: MemoryQuota,
    flow: FlowControl,
    /// How long commands take from their latches to their end.
    service: MeanTime,
    pub(super) limits: Limits,
}

/// Runs write commands of one store; clones share everything.
pub struct Scheduler<E, L> {
    pub(super) shared: Arc<Shared<E, L>>,
}

impl<E, L> Clone for Scheduler<E, L> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// What a scheduler is made of.
pub struct SchedulerParts<E, L> {
    /// Gives snapshots and takes writes.
    pub engine: E,
    /// Learns who waits for whom.
    pub lock_manager: L,
    /// The store's `max_ts`.
    pub concurrency_manager: ConcurrencyManager,
    /// Where commands run.
    pub pool: Pool,
    /// Where time and tasks come from.
    pub runtime: Runtime,
    /// What requests in progress may take.
    pub memory: MemoryQuota,
    /// Holds writers back while the engine is behind.
    pub flow: FlowControl,
}

/// What every command needs besides its decision.
struct Envelope {
    kind: &'static str,
    ctx: Context,
    latches: LatchSet,
    deadline: Deadline,
    started: Instant,
    tracker: TrackerHandle,
}

impl<E: Engine, L: LockManager> Scheduler<E, L> {
    /// A scheduler over `parts`.
    pub fn new(parts: SchedulerParts<E, L>, config: &Config) -> Self {
        let Runtime {
            clock,
            timer,
            spawner,
            ..
        } = parts.runtime;
        let waits = LockWaits::new(&lock_manager::Config::default(), timer, spawner);
        let this = Self {
            shared: Arc::new(Shared {
                engine: parts.engine,
                lock_manager: parts.lock_manager,
                concurrency_manager: parts.concurrency_manager,
                pool: parts.pool,
                txn_status: TxnStatusCache::new(clock.clone()),
                async_apply_prewrite: AtomicBool::new(config.enable_async_apply_prewrite),
                clock,
                waits,
                latches: Arc::new(Latches::new(config.scheduler_concurrency)),
                causal_ts: OnceLock::new(),
                next_id: AtomicU64::new(0),
                pending_bytes: Arc::new(AtomicUsize::new(0)),
                pending_bytes_limit: AtomicUsize::new(config.pending_write_bytes()),
                memory: parts.memory,
                flow: parts.flow,
                service: MeanTime::default(),
                limits: Limits::new(config),
            }),
        };
        let listener: Weak<Shared<E, L>> = Arc::downgrade(&this.shared);
        this.shared.lock_manager.listen(listener);
        this
    }

    /// Takes over how many bytes of commands may be under way, and how large one may be.
    pub(crate) fn reconfigure(&self, config: &Config) {
        self.shared.limits.reconfigure(config);
        let limit = &self.shared.pending_bytes_limit;
        limit.store(config.pending_write_bytes(), Ordering::Relaxed);
        let early = &self.shared.async_apply_prewrite;
        early.store(config.enable_async_apply_prewrite, Ordering::Relaxed);
    }

    /// Takes over how pessimistic transactions lock and wait.
    pub(crate) fn reconfigure_waits(&self, config: &lock_manager::Config) {
        self.shared.waits.reconfigure(config);
    }

    /// A number for the holder of latches.
    pub(super) fn next_id(&self) -> u64 {
        self.shared.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Bytes of commands admitted and not finished.
    pub fn pending_bytes(&self) -> usize {
        self.shared.pending_bytes.load(Ordering::Acquire)
    }

    /// Latch slots that commands own right now.
    pub fn latches_in_use(&self) -> usize {
        self.shared.latches.slots_in_use()
    }

    /// The engine under the commands.
    pub(crate) fn engine(&self) -> &E {
        &self.shared.engine
    }

    /// The clock of deadlines.
    pub(crate) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Says where versions of raw keys come from, once.
    pub(crate) fn set_causal_ts(&self, causal_ts: CausalTs) {
        // A second source would be free to go back behind the first.
        let _ = self.shared.causal_ts.set(causal_ts);
    }

    /// Runs a command: latches, snapshot, decision, write.
    pub fn run<C: WriteCommand>(
        &self,
        command: C,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<C::Output>> + Send + 'static + use<E, L, C> {
        let deadline = Deadline::of(command.context(), &self.shared.clock);
        self.run_until(deadline, command, tracker)
    }

    /// Runs a command of a series, which has one deadline for all.
    pub(crate) fn run_until<C: WriteCommand>(
        &self,
        deadline: Deadline,
        command: C,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<C::Output>> + Send + 'static + use<E, L, C> {
        let allowed = self.shared.async_apply_prewrite.load(Ordering::Relaxed);
        let (early, early_answer) = Early::new(&command, allowed);
        let admitted = command.validate(&self.shared.limits).and_then(|()| {
            let latches = self.shared.latches.set_for(command.keys());
            let options = task_options(command.context(), command.task_id());
            let bytes = command.write_bytes();
            let ctx = command.context().clone();
            let envelope = Envelope {
                deadline,
                ..self.envelope(C::KIND, ctx, latches, tracker)
            };
            let this = self.clone();
            self.spawn(C::KIND, bytes, (options, &deadline), move || async move {
                this.execute(envelope, command, early).await
            })
        });
        early_answer.or(answer(admitted))
    }

    /// Writes what needs no decision, with a version if it is to have one, under the latches of `keys`. It begins with
    /// the first poll, or when it is dropped.
    pub(crate) fn run_blind(
        &self,
        kind: &'static str,
        ctx: Context,
        (modifies, stamp): (Vec<Modify>, Stamp),
        keys: &[&[u8]],
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E, L> {
        let options = task_options(&ctx, 0);
        let bytes = modifies.iter().map(Modify::size).sum();
        let deadline = Deadline::of(&ctx, &self.shared.clock);
        let admission = match self.admit_held(kind, bytes, &deadline) {
            Ok(admission) => admission,
            Err(error) => return Either::Left(ready(Err(error))),
        };
        let latches = self.shared.latches.set_for(keys.iter().copied());
        let envelope = self.envelope(kind, ctx, latches, tracker);
        let this = self.clone();
        let task = admission.cover(kind, async move {
            this.execute_blind(envelope, modifies, stamp).await
        });
        Either::Right(Carried::new(task, self.shared.pool.clone(), options))
    }

    /// Runs a series of commands as one task, admitted like a command: it counts `SERIES_BYTES` beside what its
    /// commands count themselves.
    pub(crate) fn run_series<T, Fut>(
        &self,
        kind: &'static str,
        ctx: &Context,
        work: Fut,
    ) -> impl Future<Output = Result<T>> + Send + 'static + use<E, L, T, Fut>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let run_as = (task_options(ctx, 0), &Deadline::of(ctx, &self.shared.clock));
        answer(self.spawn(kind, SERIES_BYTES, run_as, move || work))
    }

    fn envelope(
        &self,
        kind: &'static str,
        ctx: Context,
        latches: LatchSet,
        tracker: TrackerHandle,
    ) -> Envelope {
        let started = self.shared.clock.now();
        Envelope {
            kind,
            deadline: Deadline::of(&ctx, &self.shared.clock),
            ctx,
            latches,
            started,
            tracker,
        }
    }

    /// Counts a command of `bytes` as under way, or refuses it.
    fn admit(&self, kind: &'static str, bytes: usize) -> Result<Admission> {
        metrics::COMMAND_TOTAL.with_label_values(&[kind]).inc();
        let before = self.shared.pending_bytes.fetch_add(bytes, Ordering::AcqRel);
        metrics::WRITING_BYTES.add(gauge(bytes));
        metrics::CONTEXT_TOTAL.inc();
        let mut admission = Admission {
            pending_bytes: Arc::clone(&self.shared.pending_bytes),
            bytes,
            memory: None,
            hold: Hold::default(),
        };
        // Compared before this command counts: one that is larger than the limit alone must have its turn too.
        let memory = if before >= self.shared.pending_bytes_limit.load(Ordering::Relaxed) {
            Err(Error::SchedTooBusy)
        } else {
            self.shared.memory.take(REQUEST_OVERHEAD + bytes)
        };
        match memory {
            Ok(memory) => {
                admission.memory = Some(memory);
                Ok(admission)
            }
            Err(error) => {
                metrics::TOO_BUSY_TOTAL.with_label_values(&[kind]).inc();
                Err(error)
            }
        }
    }

    /// Counts a command, and learns how long flow control holds it back.
    pub(super) fn admit_held(
        &self,
        kind: &'static str,
        bytes: usize,
        deadline: &Deadline,
    ) -> Result<Admission> {
        let mut admission = self.admit(kind, bytes)?;
        let refused = |_: &Error| metrics::TOO_BUSY_TOTAL.with_label_values(&[kind]).inc();
        let hold = self.shared.flow.reserve(kind, bytes, deadline);
        admission.hold = hold.inspect_err(refused)?;
        Ok(admission)
    }

    /// Runs `work` on the pool, if it is admitted.
    fn spawn<T, F, Fut>(
        &self,
        kind: &'static str,
        bytes: usize,
        (options, deadline): (TaskOptions, &Deadline),
        work: F,
    ) -> Result<oneshot::Receiver<Result<T>>>
    where
        T: Send + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let options = flow_control::order(kind, options);
        let work = self.admit_held(kind, bytes, deadline)?.cover(kind, work());
        let (sender, receiver) = oneshot::channel();
        let task = async move {
            let _ = sender.send(work.await);
        };
        self.shared
            .pool
            .spawn(options, task)
            .map_err(|_| Error::Closed)?;
        Ok(receiver)
    }

    /// The answer; none when it was given early.
    async fn execute<C: WriteCommand>(
        self,
        env: Envelope,
        command: C,
        mut early: Early<C::Output>,
    ) -> Result<Option<C::Output>> {
        let Envelope {
            kind,
            ctx,
            latches,
            deadline,
            started,
            tracker,
        } = env;
        let mut guard = self
            .latch(kind, latches, started, &deadline, &tracker)
            .await?;
        let before_snapshot = self.shared.clock.now();
        // Whoever waited and would end too late is not begun, or under more load than there is room for each would be
        // begun in its last moment and end in vain. A quarter more than the mean, which many exceed.
        let usual = self.shared.service.mean() * 5 / 4;
        if before_snapshot - started > usual && deadline.passes_within(usual, &self.shared.clock) {
            return Err(Error::DeadlineExceeded);
        }
        let snapshot = self
            .shared
            .engine
            .async_snapshot(SnapshotContext::new(ctx.clone()))
            .await?;
        metrics::STAGE_TOTAL
            .with_label_values(&[kind, "snapshot"])
            .inc();
        let term = snapshot.term();
        let before_process = self.shared.clock.now();
        deadline.check(&self.shared.clock)?;

        let stamp = command.stamp();
        let mut statistics = Statistics::default();
        let mut write_ctx = WriteContext {
            concurrency_manager: &self.shared.concurrency_manager,
            clock: &self.shared.clock,
            txn_status: &self.shared.txn_status,
            statistics: &mut statistics,
        };
        let decided = command.process_write(snapshot, &mut write_ctx);
        crate::statistics::record(kind, &statistics, &tracker);
        metrics::STAGE_TOTAL
            .with_label_values(&[kind, "process"])
            .inc();
        let before_write = self.shared.clock.now();
        crate::statistics::record_stages(&tracker, before_snapshot, before_process, before_write);
        let WriteResult {
            mut modifies,
            output,
            released,
            one_pc,
            committed,
            at_commit,
            // Kept until the write has ended, and dropped before the latches.
            memory_locks,
        } = decided?;
        let mut output = Some(output);

        if !modifies.is_empty() {
            self.stamp(stamp, &mut modifies).await?;
            let data = WriteData {
                modifies,
                term,
                one_pc,
                deadline: deadline.at(),
            };
            let tell = || early.tell(&mut output);
            let tell = at_commit.then_some(tell);
            self.write_and(kind, ctx, data, (&deadline, &tracker), tell)
                .await?;
        }
        for (start_ts, commit_ts) in committed {
            self.shared.txn_status.insert(start_ts, commit_ts);
        }
        drop(memory_locks);
        self.wake_waiters(&mut guard, &released);
        drop(guard);
        let ended = self.shared.clock.now();
        self.shared.service.record(ended, ended - before_snapshot);
        self.observe(kind, started);
        Ok(output)
    }

    async fn execute_blind(
        self,
        env: Envelope,
        mut modifies: Vec<Modify>,
        stamp: Stamp,
    ) -> Result<()> {
        let Envelope {
            kind,
            ctx,
            latches,
            deadline,
            started,
            tracker,
        } = env;
        let guard = self
            .latch(kind, latches, started, &deadline, &tracker)
            .await?;
        self.stamp(stamp, &mut modifies).await?;
        let data = WriteData {
            modifies,
            term: None,
            one_pc: false,
            deadline: deadline.at(),
        };
        self.write(kind, ctx, data, &deadline, &tracker).await?;
        drop(guard);
        self.observe(kind, started);
        Ok(())
    }

    pub(super) async fn latch(
        &self,
        kind: &'static str,
        latches: LatchSet,
        started: Instant,
        deadline: &Deadline,
        tracker: &TrackerHandle,
    ) -> Result<LatchGuard> {
        // A command that is too late already must not keep others from their keys.
        deadline.check(&self.shared.clock)?;
        let guard = LatchGuard::acquire(&self.shared.latches, latches, self.next_id()).await;
        let waited = self.shared.clock.now().saturating_duration_since(started);
        metrics::LATCH_WAIT
            .with_label_values(&[kind])
            .observe(waited.as_secs_f64());
        crate::statistics::record_latch_wait(tracker, waited);
        deadline.check(&self.shared.clock)?;
        Ok(guard)
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

    pub(super) async fn write(
        &self,
        kind: &'static str,
        ctx: Context,
        data: WriteData,
        deadline: &Deadline,
        tracker: &TrackerHandle,
    ) -> Result<()> {
        self.write_and(kind, ctx, data, (deadline, tracker), None::<fn()>)
            .await
    }

    /// Writes, and calls `committed` as soon as the write is bound to be applied.
    async fn write_and(
        &self,
        kind: &'static str,
        ctx: Context,
        data: WriteData,
        (deadline, tracker): (&Deadline, &TrackerHandle),
        committed: Option<impl FnOnce()>,
    ) -> Result<()> {
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
        let before = self.shared.clock.now();
        let written = write_and_tell(&self.shared.engine, ctx, data, committed).await;
        let took = self.shared.clock.now().saturating_duration_since(before);
        crate::statistics::record_write(tracker, took);
        written.map_err(Error::from)
    }

    /// Notes how long a command took.
    pub(super) fn observe(&self, kind: &'static str, started: Instant) {
        let took = self.shared.clock.now().saturating_duration_since(started);
        metrics::COMMAND_DURATION
            .with_label_values(&[kind])
            .observe(took.as_secs_f64());
    }
}

/// Pool options of a request.
pub(crate) fn task_options(ctx: &Context, task_id: u64) -> TaskOptions {
    let priority = match ctx.get_priority() {
        CommandPri::High => Priority::High,
        CommandPri::Normal => Priority::Normal,
        CommandPri::Low => Priority::Low,
    };
    let task_id = if ctx.get_task_id() == 0 {
        task_id
    } else {
        ctx.get_task_id()
    };
    TaskOptions { task_id, priority }
}

/// The caller's end of a task: a task that vanished without an answer was dropped by a stopping pool.
pub(crate) async fn answer<T: Send + 'static>(
    started: Result<oneshot::Receiver<Result<T>>>,
) -> Result<T> {
    started?.await.unwrap_or(Err(Error::Closed))
}
