//! The facade: one object that a server (or a program without one) reads and writes through.
//!
//! Everything runs on the two pools given from outside; a caller's future only waits. Dropping it abandons a read
//! that has not begun, and never a write.
//! Must never: decide anything about data; that is the commands' and readers' part.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use api_version::KvFormat;
use concurrency_manager::ConcurrencyManager;
use futures::channel::oneshot;
use kv::{Engine, Modify, SnapshotContext};
use kvproto::kvrpcpb::Context;
use lock_manager::LockManager;
use runtime::Runtime;
use tracker::TrackerHandle;
use txn_types::{Key, TimeStamp};
use yatp::Pool;

use crate::deadline::Deadline;
use crate::limits::{Limits, check_key_range, invalid_range};
use crate::txn::command::TxnCommand;
use crate::txn::scheduler::{Scheduler, SchedulerParts, answer, task_options};
use crate::{Config, Error, Result, metrics, statistics};

/// Transactions and raw access over one engine; clones share everything.
pub struct Storage<E, L, F> {
    pub(crate) engine: E,
    pub(crate) concurrency_manager: ConcurrencyManager,
    pub(crate) scheduler: Scheduler<E, L>,
    pub(crate) limits: Limits,
    read_pool: Pool,
    read_tasks_max: usize,
    runtime: Arc<Runtime>,
    format: PhantomData<F>,
}

impl<E: Clone, L, F> Clone for Storage<E, L, F> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            concurrency_manager: self.concurrency_manager.clone(),
            scheduler: self.scheduler.clone(),
            limits: self.limits,
            read_pool: self.read_pool.clone(),
            read_tasks_max: self.read_tasks_max,
            runtime: Arc::clone(&self.runtime),
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
        let parts = SchedulerParts {
            engine: engine.clone(),
            lock_manager,
            concurrency_manager: concurrency_manager.clone(),
            pool: sched_pool,
            clock: runtime.clock.clone(),
        };
        let threads = read_pool.threads().max(1);
        Self {
            engine,
            concurrency_manager,
            scheduler: Scheduler::new(parts, config),
            limits: Limits::new(config),
            read_pool,
            read_tasks_max: threads.saturating_mul(config.max_read_tasks_per_worker),
            runtime: Arc::new(runtime.clone()),
            format: PhantomData,
        }
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
                .run_blind("delete_range", ctx, modifies, &[], tracker)
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

    /// Runs a read on the read pool. A read whose caller is gone is not begun.
    pub(crate) fn spawn_read<T, Fut>(
        &self,
        kind: &'static str,
        ctx: &Context,
        ts: TimeStamp,
        tracker: &TrackerHandle,
        work: Fut,
    ) -> impl Future<Output = Result<T>> + Send + 'static + use<E, L, F, T, Fut>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        metrics::COMMAND_TOTAL.with_label_values(&[kind]).inc();
        let (sender, receiver) = oneshot::channel();
        let clock = self.runtime.clock.clone();
        let deadline = Deadline::of(ctx, &clock);
        let submitted = clock.now();
        let tracker = tracker.clone();
        let task = async move {
            if sender.is_canceled() {
                return;
            }
            let begun = clock.now();
            let result = match deadline.check(&clock) {
                Ok(()) => work.await,
                Err(error) => Err(error),
            };
            if let Err(error) = &result {
                error.log_damage(kind);
            }
            statistics::record_read(&tracker, submitted, begun, clock.now());
            let _ = sender.send(result);
        };
        let spawned = if self.read_pool.queued() >= self.read_tasks_max {
            metrics::TOO_BUSY_TOTAL.with_label_values(&[kind]).inc();
            Err(Error::SchedTooBusy)
        } else {
            let options = task_options(ctx, ts.into_inner());
            self.read_pool
                .spawn(options, task)
                .map_err(|_| Error::Closed)
        };
        answer(spawned.map(|()| receiver))
    }
}
