//! A spawned future and its states, shared by every executor of the workspace (this crate's drivers
//! and `yatp`).
//!
//! A task is in exactly one state:
//!
//! ```text
//!            wake                 run                 poll: pending
//!   IDLE ───────────▶ SCHEDULED ───────▶ RUNNING ─────────────────────▶ IDLE
//!                         ▲                 │ wake          poll: pending │
//!                         │                 ▼                             │
//!                         └──────────── NOTIFIED ◀── (woken while polled) ┘
//!   any ──▶ DONE   when the future is taken out: ready, panicked or cancelled
//! ```
//!
//! Invariants:
//! 1. A task is handed to its executor exactly when it becomes SCHEDULED, hence stands in at most
//!    one queue, once.
//! 2. Only the thread that moved it to RUNNING polls it.
//! 3. The future leaves its slot once; whoever takes it out calls [`Schedule::finished`], once.
//! 4. `cancel` on a running task is not lost: `cancelled` is set *before* the slot is tried, and
//!    the runner looks at it *after* releasing the slot. One of both sees the other.
//!
//! It must never block: the slot's lock is only tried (cancel) or free by invariant 2 (run).

use std::{
    collections::HashMap,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use parking_lot::Mutex;

use crate::join::{Abort, panic_message};

const IDLE: u8 = 0;
const SCHEDULED: u8 = 1;
const RUNNING: u8 = 2;
const NOTIFIED: u8 = 3;
const DONE: u8 = 4;

type BoxedFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What an executor does with its tasks. The implementing type is what a task carries for its
/// executor.
pub trait Schedule: Sized + Send + Sync + 'static {
    /// The task was woken: queue it. Called on any thread.
    fn schedule(task: Arc<Task<Self>>);
    /// The task's future is gone and it will not run again. Called once, on any thread.
    fn finished(task: &Task<Self>);
}

/// How one run of a task ended.
#[derive(Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// It waits; its waker will schedule it.
    Waiting,
    /// It was woken while it ran: the caller queues it again.
    Woken,
    /// It is over: ready or cancelled.
    Finished,
    /// It is over: it panicked, with this message.
    Panicked(String),
}

/// A future on its way through an executor.
pub struct Task<S> {
    id: u64,
    state: AtomicU8,
    cancelled: AtomicBool,
    future: Mutex<Option<BoxedFuture>>,
    /// What the executor keeps with the task.
    pub executor: S,
}

impl<S: Schedule> Task<S> {
    /// A task in state SCHEDULED: the caller queues it.
    pub fn new(
        id: u64,
        executor: S,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            state: AtomicU8::new(SCHEDULED),
            cancelled: AtomicBool::new(false),
            future: Mutex::new(Some(Box::pin(future))),
            executor,
        })
    }

    /// The executor's number of this task.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Polls the future once. The caller took the task from its queue.
    pub fn run(self: &Arc<Self>) -> RunOutcome {
        if self
            .state
            .compare_exchange(SCHEDULED, RUNNING, Ordering::SeqCst, Ordering::SeqCst)
            .is_err()
        {
            // Cancelled while it stood in the queue.
            return RunOutcome::Finished;
        }
        let mut slot = self.future.lock();
        let Some(future) = slot.as_mut() else {
            self.state.store(DONE, Ordering::SeqCst);
            return RunOutcome::Finished;
        };
        if self.cancelled.load(Ordering::SeqCst) {
            let future = slot.take();
            drop(slot);
            return self.finish(future, None);
        }
        let waker = Waker::from(self.clone());
        let polled = catch_unwind(AssertUnwindSafe(|| {
            future.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        match polled {
            Ok(Poll::Pending) => {
                drop(slot);
                self.after_pending()
            }
            Ok(Poll::Ready(())) => {
                let future = slot.take();
                drop(slot);
                self.finish(future, None)
            }
            Err(payload) => {
                let future = slot.take();
                drop(slot);
                self.finish(future, Some(panic_message(payload.as_ref())))
            }
        }
    }

    fn after_pending(&self) -> RunOutcome {
        if self.cancelled.load(Ordering::SeqCst) {
            self.cancel();
            return RunOutcome::Finished;
        }
        let idle = self
            .state
            .compare_exchange(RUNNING, IDLE, Ordering::SeqCst, Ordering::SeqCst);
        match idle {
            Ok(_) => {
                // The slot is free and no queue holds the task: a cancel from here on takes the
                // future itself.
                RunOutcome::Waiting
            }
            Err(NOTIFIED) => {
                self.state.store(SCHEDULED, Ordering::SeqCst);
                RunOutcome::Woken
            }
            // A cancel took the future between the check above and here.
            Err(_) => RunOutcome::Finished,
        }
    }

    /// Drops the future: now, or, when it is being polled, right after the poll. Idempotent.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        if let Some(mut slot) = self.future.try_lock() {
            let future = slot.take();
            drop(slot);
            if future.is_some() {
                self.finish(future, None);
            }
        }
    }

    fn finish(&self, future: Option<BoxedFuture>, panic: Option<String>) -> RunOutcome {
        self.state.store(DONE, Ordering::SeqCst);
        // A destructor of the future may panic as well; it must not take the executor down.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
        S::finished(self);
        match (panic, dropped) {
            (Some(message), _) => RunOutcome::Panicked(message),
            (None, Err(payload)) => RunOutcome::Panicked(panic_message(payload.as_ref())),
            (None, Ok(())) => RunOutcome::Finished,
        }
    }
}

impl<S: Schedule> Wake for Task<S> {
    fn wake(self: Arc<Self>) {
        loop {
            let (from, to) = match self.state.load(Ordering::SeqCst) {
                IDLE => (IDLE, SCHEDULED),
                RUNNING => (RUNNING, NOTIFIED),
                _ => return,
            };
            if self
                .state
                .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
            {
                if to == SCHEDULED {
                    S::schedule(self);
                }
                return;
            }
        }
    }
}

impl<S: Schedule> Abort for Task<S> {
    fn abort(&self) {
        self.cancel();
    }
}

const SHARDS: usize = 16;

/// All unfinished tasks of an executor, so that its shutdown reaches those that wait somewhere.
/// After [`TaskSet::close`] it takes no more.
pub struct TaskSet<S> {
    closed: AtomicBool,
    last_id: AtomicU64,
    shards: [Mutex<HashMap<u64, Arc<Task<S>>>>; SHARDS],
}

impl<S> Default for TaskSet<S> {
    fn default() -> Self {
        Self {
            closed: AtomicBool::new(false),
            last_id: AtomicU64::new(0),
            shards: Default::default(),
        }
    }
}

impl<S: Schedule> TaskSet<S> {
    /// A number for the next task: rising from 1.
    pub fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether [`TaskSet::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Adds a task, or refuses because the set is closed; then the task is cancelled.
    pub fn insert(&self, task: &Arc<Task<S>>) -> bool {
        self.shard(task.id).lock().insert(task.id, task.clone());
        // Looked at after the insert: either this sees the close, or `cancel_all` sees the task.
        if self.is_closed() {
            task.cancel();
            self.remove(task.id);
            return false;
        }
        true
    }

    /// Forgets a finished task.
    pub fn remove(&self, id: u64) {
        let task = self.shard(id).lock().remove(&id);
        drop(task);
    }

    /// Unfinished tasks.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether no task is unfinished.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses tasks from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Cancels every task, the oldest first.
    pub fn cancel_all(&self) {
        let mut tasks: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>())
            .collect();
        tasks.sort_by_key(|task| task.id);
        for task in tasks {
            task.cancel();
        }
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Arc<Task<S>>>> {
        // In range by the modulus.
        &self.shards[(id % SHARDS as u64) as usize]
    }
}
