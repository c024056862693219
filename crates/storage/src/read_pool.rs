//! Where reads run: admission, deadline, and what a read is told when it is too much.
//!
//! 1. *Admission* happens on the caller, before anything is built for the read: a refusal costs next to nothing, so
//!    a store that is asked for twice what it can do spends its time on what it does.
//! 2. A read is refused when too many wait already; when the estimated wait is above what its client accepts
//!    (`busy_threshold_ms`); and when its deadline would pass before a thread is likely to be done with it. A read
//!    that is served too late costs as much as one in time, and helps nobody.
//! 3. The estimate cannot know who will overtake. So a read that waited, and whose deadline would pass while it runs,
//!    is not begun.
//! 4. The deadline is looked at again before each turn of the read: a long scan gives way every so many keys, and
//!    goes on only while somebody waits for it.
//!
//! Must never: queue without bound, or begin a read whose caller is gone.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::channel::oneshot;
use kvproto::kvrpcpb::Context;
use runtime::Clock;
use tracker::TrackerHandle;
use txn_types::TimeStamp;
use yatp::{MeanTime, Pool, TaskOptions};

use crate::deadline::Deadline;
use crate::memory::{MemoryLease, MemoryQuota, REQUEST_OVERHEAD};
use crate::txn::scheduler::task_options;
use crate::{Config, Error, Result, metrics, statistics};

/// The pool of reads.
#[derive(Clone)]
pub(crate) struct ReadPool {
    pool: Pool,
    tasks_max: Arc<AtomicUsize>,
    clock: Clock,
    memory: MemoryQuota,
    /// How long reads take from their begin to their end.
    service: Arc<MeanTime>,
}

/// A read that was admitted: what it is, how long it may take, and the memory it holds.
pub(crate) struct ReadTicket {
    kind: &'static str,
    deadline: Deadline,
    options: TaskOptions,
    memory: MemoryLease,
}

impl ReadTicket {
    /// How its task is to be run.
    pub(crate) fn options(&self) -> TaskOptions {
        self.options
    }

    /// Fails when nobody waits for the read any more.
    pub(crate) fn check(&self, clock: &Clock) -> Result<()> {
        self.deadline.check(clock)
    }
}

impl ReadPool {
    pub(crate) fn new(pool: Pool, config: &Config, clock: Clock, memory: MemoryQuota) -> Self {
        let this = Self {
            tasks_max: Arc::default(),
            pool,
            clock,
            memory,
            service: Arc::default(),
        };
        this.reconfigure(config);
        this
    }

    /// Takes over how many reads may wait.
    pub(crate) fn reconfigure(&self, config: &Config) {
        let threads = self.pool.threads().max(1);
        let tasks = threads.saturating_mul(config.max_read_tasks_per_worker);
        self.tasks_max.store(tasks, Ordering::Relaxed);
    }

    /// Admits a read at `ts` whose request has `bytes` of keys, or says why not.
    pub(crate) fn admit(
        &self,
        kind: &'static str,
        ctx: &Context,
        ts: TimeStamp,
        bytes: usize,
    ) -> Result<ReadTicket> {
        metrics::COMMAND_TOTAL.with_label_values(&[kind]).inc();
        let options = task_options(ctx, ts.into_inner());
        let deadline = Deadline::of(ctx, &self.clock);
        let admitted = self
            .check_load(ctx, options, &deadline)
            .and_then(|()| self.memory.take(REQUEST_OVERHEAD.saturating_add(bytes)));
        match admitted {
            Ok(memory) => Ok(ReadTicket {
                kind,
                deadline,
                options,
                memory,
            }),
            Err(error) => {
                metrics::TOO_BUSY_TOTAL.with_label_values(&[kind]).inc();
                Err(error)
            }
        }
    }

    fn check_load(&self, ctx: &Context, options: TaskOptions, deadline: &Deadline) -> Result<()> {
        if self.pool.queued() >= self.tasks_max.load(Ordering::Relaxed) {
            return Err(Error::SchedTooBusy);
        }
        let threshold = Duration::from_millis(ctx.get_busy_threshold_ms().into());
        if threshold.is_zero() && deadline.at().is_none() {
            return Ok(());
        }
        let estimated_wait = self.pool.estimated_wait(options.priority);
        let too_long = !threshold.is_zero() && estimated_wait > threshold;
        // An idle pool takes whatever comes: nobody else would be better served.
        let too_late = !estimated_wait.is_zero()
            && deadline.passes_within(estimated_wait + self.service.mean(), &self.clock);
        if too_long || too_late {
            return Err(Error::ReadPoolBusy { estimated_wait });
        }
        Ok(())
    }

    /// Runs an admitted read. When its caller is gone before it begins, it is not begun.
    pub(crate) fn run<T, Fut>(
        &self,
        ticket: Result<ReadTicket>,
        tracker: &TrackerHandle,
        work: Fut,
    ) -> impl Future<Output = Result<T>> + Send + 'static + use<T, Fut>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        answer(ticket.and_then(|ticket| self.start(ticket, tracker.clone(), work)))
    }

    /// Runs a task of several reads, whose tickets it holds.
    pub(crate) fn spawn(
        &self,
        options: TaskOptions,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        self.pool.spawn(options, task).map_err(|_| Error::Closed)
    }

    fn start<T, Fut>(
        &self,
        ticket: ReadTicket,
        tracker: TrackerHandle,
        work: Fut,
    ) -> Result<oneshot::Receiver<Result<T>>>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let ReadTicket {
            kind,
            deadline,
            options,
            memory,
        } = ticket;
        let (sender, receiver) = oneshot::channel();
        let clock = self.clock.clone();
        let submitted = clock.now();
        let service = Arc::clone(&self.service);
        let task = async move {
            if sender.is_canceled() {
                return;
            }
            let begun = clock.now();
            let (waited, usual) = (begun - submitted, service.mean());
            let result = if waited > usual && deadline.passes_within(usual, &clock) {
                Err(Error::DeadlineExceeded)
            } else {
                let result = in_time(deadline, &clock, work).await;
                let ended = clock.now();
                service.record(ended, ended - begun);
                result
            };
            if let Err(error) = &result {
                error.log_damage(kind);
            }
            statistics::record_read(&tracker, submitted, begun, clock.now());
            drop(memory);
            let _ = sender.send(result);
        };
        self.spawn(options, task)?;
        Ok(receiver)
    }
}

/// Goes on with `work` as long as the deadline has not passed.
async fn in_time<T>(
    deadline: Deadline,
    clock: &Clock,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut work = pin!(work);
    poll_fn(|cx| match deadline.check(clock) {
        Ok(()) => work.as_mut().poll(cx),
        Err(error) => Poll::Ready(Err(error)),
    })
    .await
}

/// The caller's end of a task: a task that vanished without an answer was dropped by a stopping pool.
async fn answer<T: Send + 'static>(started: Result<oneshot::Receiver<Result<T>>>) -> Result<T> {
    started?.await.unwrap_or(Err(Error::Closed))
}
