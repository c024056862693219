//! Runs write commands: admission, latches, snapshot, decision, write, answer.
//!
//! 1. *Admission* happens on the caller: above the limit of pending bytes, or of the memory of all requests, a command
//!    is refused, so nothing queues without bound.
//!    One that flow control holds back waits before everything else, while it holds nothing.
//! 2. The rest is one task, which owns the command ([`super::execute`]). That of a large command runs in the
//!    scheduler's pool from the beginning. A small one, or a write that decides nothing, runs where its caller polls
//!    it; the pool takes it over when it has to read a file, or when its caller goes away ([`super::carried`]). So in
//!    any case the task runs on to its end: no latch is lost, no command is half-run.
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
use futures::future::{Either, ready};
use kv::{Engine, Modify};
use kvproto::kvrpcpb::{CommandPri, Context};
use lock_manager::LockManager;
use runtime::{Clock, Runtime};
use tracker::TrackerHandle;
use yatp::{MeanTime, Pool, Priority, TaskOptions};

use super::admission::{Admission, gauge};
use super::carried::{Carried, Place, Pooled, in_pool};
use super::command::{Stamp, WriteCommand};
use super::early_answer::Early;
use super::execute::Envelope;
use super::large_txns::LargeTxns;
use super::latch::Latches;
use super::latch_guard::Waker;
use super::lock_waits::LockWaits;
use super::status_cache::TxnStatusCache;
use crate::deadline::Deadline;
use crate::flow_control::{self, FlowControl, Hold};
use crate::limits::Limits;
use crate::memory::{MemoryQuota, REQUEST_OVERHEAD};
use crate::raw::CausalTs;
use crate::{Config, Error, Result, metrics};

/// A command of no more keys and bytes is tried where its caller polls it. What it computes there keeps others of the
/// same thread waiting: some microseconds.
const KEYS_AT_ONCE: usize = 16;
const BYTES_AT_ONCE: usize = 4096;

/// Whether a command is tried where its caller polls it.
pub(super) fn is_small(keys: usize, bytes: usize) -> bool {
    keys <= KEYS_AT_ONCE && bytes <= BYTES_AT_ONCE
}

/// A task that was started: in the pool, or where its caller polls it.
pub(super) type Started<Fut, T> = Either<Pooled<T>, Carried<Fut, T>>;

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
    large_txns: LargeTxns,
    /// Whether prewrites that commit may be answered once their writes are bound to be applied.
    async_apply_prewrite: AtomicBool,
    /// Where versions of raw keys come from; only where they have any.
    pub(super) causal_ts: OnceLock<CausalTs>,
    next_id: AtomicU64,
    pending_bytes: Arc<AtomicUsize>,
    pending_bytes_limit: AtomicUsize,
    memory: MemoryQuota,
    flow: FlowControl,
    /// How long commands take from their latches to their end.
    pub(super) service: MeanTime,
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
                large_txns: LargeTxns::new(clock.clone()),
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

    /// What clients tell of their large transactions.
    pub(crate) fn large_txns(&self) -> &LargeTxns {
        &self.shared.large_txns
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
        let started = command.validate(&self.shared.limits).and_then(|()| {
            let keys = command.keys();
            let bytes = command.write_bytes();
            let place = Place::new(is_small(keys.len(), bytes) && !command.flashback());
            let options = task_options(command.context(), command.task_id());
            let mut envelope = self.envelope(C::KIND, command.context().clone(), tracker);
            envelope.deadline = deadline;
            let admission = self.admit_held(C::KIND, bytes, &deadline)?;
            let work = self
                .clone()
                .execute(envelope, command, early, place.clone());
            let options = flow_control::order(C::KIND, options);
            self.start(admission.cover(C::KIND, work), options, place)
        });
        early_answer.or(started)
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
        let envelope = self.envelope(kind, ctx, tracker);
        let this = self.clone();
        let task = admission.cover(kind, async move {
            this.execute_blind(envelope, (modifies, stamp), latches)
                .await
        });
        let place = Place::new(true);
        Either::Right(Carried::new(task, self.shared.pool.clone(), options, place))
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
        let options = flow_control::order(kind, task_options(ctx, 0));
        let deadline = Deadline::of(ctx, &self.shared.clock);
        let admitted = self.admit_held(kind, SERIES_BYTES, &deadline);
        let started = admitted
            .and_then(|admission| in_pool(&self.shared.pool, options, admission.cover(kind, work)));
        async move { started?.await }
    }

    fn envelope(&self, kind: &'static str, ctx: Context, tracker: TrackerHandle) -> Box<Envelope> {
        let started = self.shared.clock.now();
        Box::new(Envelope {
            kind,
            deadline: Deadline::of(&ctx, &self.shared.clock),
            ctx,
            started,
            tracker,
        })
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

    /// Runs `task` in the pool from now on, or where its caller polls it.
    pub(super) fn start<T, Fut>(
        &self,
        task: Fut,
        options: TaskOptions,
        place: Place,
    ) -> Result<Started<Fut, T>>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let pool = &self.shared.pool;
        if place.is_pool() {
            return Ok(Either::Left(in_pool(pool, options, task)?));
        }
        let carried = Carried::new(task, pool.clone(), options, place);
        Ok(Either::Right(carried))
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
