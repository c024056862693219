//! The pool: what callers hold, and the way of a task through it. Owns accounting and shutdown;
//! where tasks run is the driver's matter: threads (`workers`) or a stepper (`stepped`).

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use runtime::{
    Clock, Runtime, Stepper,
    task::{RunOutcome, Schedule, Task, TaskSet},
};

use crate::{
    Priority, TaskOptions,
    accounts::{Account, Accounts},
    lanes::lane_of,
    mean_time::MeanTime,
    stepped::{Ready, SteppedLanes},
    workers::Workers,
};

/// Why a pool was not built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused a thread.
    #[error("cannot start a thread of pool {name}: {source}")]
    Thread {
        /// Name of the pool.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Result of building a pool.
pub type Result<T> = std::result::Result<T, Error>;

/// The pool takes no more tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("pool is closed")]
pub struct PoolClosed;

type PanicHandler = Arc<dyn Fn(&str) + Send + Sync>;

/// Describes a pool to build.
pub struct Builder {
    name: String,
    threads: usize,
    on_panic: Option<PanicHandler>,
}

impl Builder {
    /// A pool of one thread whose threads are named after `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            threads: 1,
            on_panic: None,
        }
    }

    /// Number of threads, at least one.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Is told the message of each panic of a task, after the process's panic hook. The task is
    /// gone, the pool goes on.
    #[must_use]
    pub fn on_panic(mut self, handler: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_panic = Some(Arc::new(handler));
        self
    }

    /// Starts the pool on the driver of `runtime`: its own threads, or the runtime's stepper.
    pub fn build(self, runtime: &Runtime) -> Result<Pool> {
        if let Some(stepper) = runtime.stepper() {
            return Ok(self.build_stepped(&stepper));
        }
        let (workers, locals) = Workers::new(self.threads);
        let core =
            Arc::new(self.into_core(runtime.clock.clone(), Driver::Threads(Box::new(workers))));
        let pool = Pool {
            handle: Arc::new(Handle { core: core.clone() }),
        };
        for local in locals {
            // On failure the pool is dropped, which stops the threads that did start.
            Workers::start(&core, local).map_err(|source| Error::Thread {
                name: core.name.clone(),
                source,
            })?;
        }
        Ok(pool)
    }

    /// Puts the pool under `stepper`, which picks any ready task in the order of its seed: as with
    /// enough threads, levels and priorities order nothing.
    #[must_use]
    pub fn build_stepped(self, stepper: &Stepper) -> Pool {
        self.build_on(stepper, Driver::Stepped(stepper.clone()))
    }

    /// Puts the pool under `stepper` like one thread: the stepper decides when the pool takes a turn,
    /// and levels and priorities decide whose turn it is.
    #[must_use]
    pub fn build_stepped_in_order(self, stepper: &Stepper) -> Pool {
        let lanes = SteppedLanes::new(stepper);
        self.build_on(stepper, Driver::SteppedInOrder(Box::new(lanes)))
    }

    fn build_on(self, stepper: &Stepper, driver: Driver) -> Pool {
        let core = self.into_core(stepper.clock(), driver);
        Pool {
            handle: Arc::new(Handle {
                core: Arc::new(core),
            }),
        }
    }

    fn into_core(self, clock: Clock, driver: Driver) -> Core {
        Core {
            name: self.name,
            threads: self.threads,
            on_panic: self.on_panic,
            clock,
            driver,
            tasks: TaskSet::default(),
            accounts: Accounts::default(),
            queued: Default::default(),
            turns: MeanTime::default(),
            panics: AtomicU64::new(0),
        }
    }
}

/// A pool of futures. Cheap to clone; with the last clone it shuts down.
#[derive(Clone)]
pub struct Pool {
    handle: Arc<Handle>,
}

impl Pool {
    /// Runs `future` to its end. When the pool is closed the future is dropped.
    pub fn spawn(
        &self,
        options: TaskOptions,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> std::result::Result<(), PoolClosed> {
        let core = &self.handle.core;
        if core.tasks.is_closed() {
            return Err(PoolClosed);
        }
        let id = match core.stepper() {
            None => core.tasks.next_id(),
            Some(stepper) => stepper.next_id(),
        };
        let member = Member {
            account: core.accounts.get(options.task_id, core.clock.now()),
            priority: options.priority,
            core: core.clone(),
        };
        let task = Task::new(id, member, future);
        if !core.tasks.insert(&task) {
            return Err(PoolClosed);
        }
        Member::schedule(task);
        Ok(())
    }

    /// Tasks that are ready and wait for a thread.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.handle.core.queued_before(Priority::Low)
    }

    /// How long a new task of this priority would wait for a thread, going by what stands before it
    /// and by how long threads have lately run at a time.
    #[must_use]
    pub fn estimated_wait(&self, priority: Priority) -> Duration {
        let core = &self.handle.core;
        core.turns
            .of_many(core.queued_before(priority), core.threads)
    }

    /// Tasks that have not ended: queued, running or waiting for something.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.handle.core.tasks.len()
    }

    /// Tasks that panicked since the pool was built.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.handle.core.panics.load(Ordering::Relaxed)
    }

    /// The name it was built with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.handle.core.name
    }

    /// The number of its threads, also when none exists because a stepper drives it.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.handle.core.threads
    }

    /// Stops: new tasks are refused, polls under way end, every other future is dropped, the oldest
    /// first, and the threads are joined (but the calling one, when a task of the pool calls).
    /// Further calls change nothing.
    pub fn shutdown(&self) {
        self.handle.core.shutdown();
    }
}

/// What the clones of a pool share. Tasks and threads hold the core instead, so the last clone ends
/// the pool.
struct Handle {
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.shutdown();
    }
}

pub(crate) struct Core {
    name: String,
    threads: usize,
    on_panic: Option<PanicHandler>,
    clock: Clock,
    driver: Driver,
    tasks: TaskSet<Member>,
    accounts: Accounts,
    /// Ready tasks that wait for a thread, by priority.
    queued: [AtomicUsize; 3],
    turns: MeanTime,
    panics: AtomicU64,
}

enum Driver {
    Threads(Box<Workers>),
    Stepped(Stepper),
    SteppedInOrder(Box<SteppedLanes>),
}

/// What a task of a pool carries.
pub(crate) struct Member {
    core: Arc<Core>,
    account: Arc<Account>,
    priority: Priority,
}

impl Member {
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Schedule for Member {
    fn schedule(task: Arc<Task<Self>>) {
        let core = task.executor.core.clone();
        core.enqueue(task, false);
    }

    fn finished(task: &Task<Self>) {
        task.executor.core.tasks.remove(task.id());
    }
}

impl Core {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The threads, if this pool has any.
    pub(crate) fn workers(&self) -> Option<&Workers> {
        match &self.driver {
            Driver::Threads(workers) => Some(workers),
            Driver::Stepped(_) | Driver::SteppedInOrder(_) => None,
        }
    }

    fn stepper(&self) -> Option<&Stepper> {
        match &self.driver {
            Driver::Threads(_) => None,
            Driver::Stepped(stepper) => Some(stepper),
            Driver::SteppedInOrder(lanes) => Some(lanes.stepper()),
        }
    }

    /// `begun`: it gave way while it ran, instead of being woken from a wait.
    fn enqueue(self: &Arc<Self>, task: Arc<Task<Member>>, begun: bool) {
        let Member {
            priority, account, ..
        } = &task.executor;
        let lane = lane_of(*priority, account.level());
        self.queued[*priority as usize].fetch_add(1, Ordering::SeqCst);
        match &self.driver {
            Driver::Threads(workers) => {
                workers.push(lane, task, begun);
                if self.tasks.is_closed() {
                    // Too late for the threads, maybe too late for the shutdown's own look at the
                    // lanes.
                    self.discard_queued(workers.drain());
                }
            }
            Driver::Stepped(stepper) => stepper.push(Arc::new(Ready(task))),
            Driver::SteppedInOrder(lanes) => lanes.push(lane, task, begun, self),
        }
    }

    /// Tasks that stand before a new one of this priority.
    fn queued_before(&self, priority: Priority) -> usize {
        self.queued[..=priority as usize]
            .iter()
            .map(|queued| queued.load(Ordering::SeqCst))
            .sum()
    }

    /// Lets the next task of the lanes have its turn, under a stepper that goes by them.
    pub(crate) fn take_turn(self: &Arc<Self>) {
        if let Driver::SteppedInOrder(lanes) = &self.driver
            && let Some(task) = lanes.pop()
        {
            self.run(task);
        }
    }

    /// Runs a task that was taken from a queue: polls it once, books the time, queues it again if
    /// it was woken.
    pub(crate) fn run(self: &Arc<Self>, task: Arc<Task<Member>>) {
        self.queued[task.executor.priority as usize].fetch_sub(1, Ordering::SeqCst);
        let begin = self.clock.now();
        let outcome = task.run();
        let end = self.clock.now();
        task.executor.account.add(end - begin);
        self.turns.record(end, end - begin);
        match outcome {
            RunOutcome::Woken => self.enqueue(task, true),
            RunOutcome::Panicked(message) => self.report_panic(&message),
            RunOutcome::Waiting | RunOutcome::Finished => {}
        }
    }

    fn report_panic(&self, message: &str) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        if let Some(handler) = &self.on_panic {
            handler(message);
        }
        if let Some(stepper) = self.stepper() {
            stepper.record_panic(format!("pool {}: {message}", self.name));
        }
    }

    fn shutdown(&self) {
        self.tasks.close();
        if let Some(workers) = self.workers() {
            workers.stop();
        }
        self.tasks.cancel_all();
        match &self.driver {
            Driver::Threads(workers) => self.discard_queued(workers.drain()),
            Driver::Stepped(_) => {}
            Driver::SteppedInOrder(lanes) => self.discard_queued(lanes.drain()),
        }
    }

    /// Forgets what stood in the lanes of a closed pool; the futures are dropped through the task set,
    /// in their order.
    fn discard_queued(&self, left: Vec<Arc<Task<Member>>>) {
        for task in left {
            self.queued[task.executor.priority as usize].fetch_sub(1, Ordering::SeqCst);
        }
    }
}
