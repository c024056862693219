//! The facade: one object that a server (or a program without one) reads and writes through.
//!
//! What takes long or reads files runs on the two pools given from outside; the rest runs where the caller polls its
//! future. Dropping it abandons a read that has not begun, and never a write.
//! Must never: decide anything about data; that is the commands' and readers' part.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use api_version::KvFormat;
use concurrency_manager::ConcurrencyManager;
use kv::{Engine, Modify, SnapshotContext};
use kvproto::kvrpcpb::Context;
use lock_manager::LockManager;
use runtime::Runtime;
use tracker::TrackerHandle;
use txn_types::{Key, TimeStamp};
use yatp::Pool;

use crate::flow_control::FlowControl;
use crate::limits::{Limits, ReadBudget, check_key_range, invalid_range};
use crate::memory::MemoryQuota;
use crate::raw::CausalTs;
use crate::read_pool::{ReadPool, ReadTicket};
use crate::txn::command::{Stamp, TxnCommand};
use crate::txn::scheduler::{Scheduler, SchedulerParts};
use crate::{Config, Result};

/// Transactions and raw access over one engine; clones share everything.
pub struct Storage<E, L, F> {
    pub(crate) engine: E,
    pub(crate) concurrency_manager: ConcurrencyManager,
    pub(crate) scheduler: Scheduler<E, L>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) reads: ReadPool,
    memory: MemoryQuota,
    flow: FlowControl,
    format: PhantomData<F>,
}

impl<E: Clone, L, F> Clone for Storage<E, L, F> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            concurrency_manager: self.concurrency_manager.clone(),
            scheduler: self.scheduler.clone(),
            limits: Arc::clone(&self.limits),
            reads: self.reads.clone(),
            memory: self.memory.clone(),
            flow: self.flow.clone(),
            format: PhantomData,
        }
    }
}

impl<E: Engine, L: LockManager, F: KvFormat> Storage<E, L, F> {
    /// A storage over `engine`. Reads run on `read_pool`, commands on `sched_pool`. The caller has validated
    /// `config`.
    pub fn new(
        engine: E,
        lock_manager: L,
        concurrency_manager: ConcurrencyManager,
        runtime: &Runtime,
        read_pool: Pool,
        sched_pool: Pool,
        config: &Config,
    ) -> Self {
        let memory = MemoryQuota::new(config.memory_quota_bytes());
        let flow = FlowControl::new(config, runtime);
        let parts = SchedulerParts {
            engine: engine.clone(),
            lock_manager,
            concurrency_manager: concurrency_manager.clone(),
            pool: sched_pool,
            runtime: runtime.clone(),
            memory: memory.clone(),
            flow: flow.clone(),
        };
        let clock = runtime.clock.clone();
        Self {
            engine,
            concurrency_manager,
            scheduler: Scheduler::new(parts, config),
            limits: Arc::new(Limits::new(config)),
            reads: ReadPool::new(read_pool, config, clock, memory.clone()),
            memory,
            flow,
            format: PhantomData,
        }
    }

    /// Gives raw keys their versions from `causal_ts`. Only a store whose format has versions needs it; without it
    /// such a store refuses raw writes.
    #[must_use]
    pub fn with_causal_ts(self, causal_ts: CausalTs) -> Self {
        self.scheduler.set_causal_ts(causal_ts);
        self
    }

    /// Locks and waits as `config` says, which its owner has validated; may be called at any time.
    pub fn set_pessimistic_txn(&self, config: &lock_manager::Config) {
        self.scheduler.reconfigure_waits(config);
    }

    /// Who waits for whom, and since when; no more than fits into one answer.
    pub fn lock_wait_info(&self) -> Vec<kvproto::deadlock::WaitForEntry> {
        self.scheduler.lock_wait_info(self.limits.max_read_size())
    }

    /// Takes over what can change while requests run: the memory of requests in progress, the bytes of writes
    /// under way, the reads that may wait, the sizes of keys, writes and answers, the thresholds of flow control. The
    /// caller has validated `config`.
    pub fn reconfigure(&self, config: &Config) {
        self.limits.reconfigure(config);
        self.memory.set_capacity(config.memory_quota_bytes());
        self.flow.reconfigure(config);
        self.scheduler.reconfigure(config);
        self.reads.reconfigure(config);
    }

    /// The largest timestamp that a read has used, and its limit.
    pub fn concurrency_manager(&self) -> &ConcurrencyManager {
        &self.concurrency_manager
    }

    /// The engine below.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// The scheduler of write commands, for its figures.
    pub fn scheduler(&self) -> &Scheduler<E, L> {
        &self.scheduler
    }

    /// Holds writers back while the engine is behind, once it has somebody who looks: see [`FlowControl::watch`].
    pub fn flow_control(&self) -> &FlowControl {
        &self.flow
    }

    /// The memory of requests in progress, for its figures.
    pub fn memory_quota(&self) -> &MemoryQuota {
        &self.memory
    }

    /// Runs a transaction command. Its work starts at once and goes on when the future is dropped.
    pub fn sched_txn_command<C: TxnCommand>(
        &self,
        command: C,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<C::Output>> + Send + 'static + use<E, L, F, C> {
        match command.check_api(F::TAG) {
            Ok(()) => futures::future::Either::Left(command.run(&self.scheduler, tracker)),
            Err(error) => futures::future::Either::Right(futures::future::ready(Err(error))),
        }
    }

    /// Removes every version, lock and record of `[start, end)`, whatever transactions are under way there.
    ///
    /// `notify_only` tells only whether the region would take it, and keeps the data.
    pub fn delete_range(
        &self,
        ctx: Context,
        start: Key,
        end: Key,
        notify_only: bool,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E, L, F> {
        let this = self.clone();
        async move {
            this.check_delete_range(&start, &end)?;
            if start == end {
                return Ok(());
            }
            if notify_only {
                this.engine
                    .async_snapshot(SnapshotContext::new(ctx))
                    .await?;
                return Ok(());
            }
            let modifies = engine_traits::Cf::DATA
                .map(|cf| Modify::DeleteRange(cf, start.clone(), end.clone()))
                .into();
            this.scheduler
                .run_blind("delete_range", ctx, (modifies, Stamp::None), &[], tracker)
                .await
        }
    }

    fn check_delete_range(&self, start: &Key, end: &Key) -> Result<()> {
        self.limits.check_bound(start)?;
        self.limits.check_bound(end)?;
        if end.is_encoded_from(b"") {
            // An absent end would erase everything to the end of the region; nobody who means that leaves it out.
            let reason = "the end must not be empty";
            let start = start.to_raw().unwrap_or_default();
            return Err(invalid_range(&start, b"", reason));
        }
        check_key_range(start, Some(end))
    }

    /// Admits a read at `ts` whose request has `bytes` of keys. To be called before anything is built for it.
    pub(crate) fn admit_read(
        &self,
        kind: &'static str,
        ctx: &Context,
        ts: TimeStamp,
        bytes: usize,
    ) -> Result<ReadTicket> {
        self.reads.admit(kind, ctx, ts, bytes)
    }

    /// Runs a read on the read pool, if it was admitted.
    pub(crate) fn spawn_read<T, Fut>(
        &self,
        ticket: Result<ReadTicket>,
        tracker: &TrackerHandle,
        work: Fut,
    ) -> impl Future<Output = Result<T>> + Send + 'static + use<E, L, F, T, Fut>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        self.reads.run(ticket, tracker, work)
    }

    /// Counts what a read collects.
    pub(crate) fn read_budget(&self) -> ReadBudget {
        ReadBudget::new(&self.limits, &self.memory)
    }
}
