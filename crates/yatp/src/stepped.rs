//! A pool under the stepper: what the stepper sees of it.
//!
//! Two ways. Either every ready task is known to the stepper, whose seed picks any of them: that
//! explores orders which many threads could bring about. Or the stepper sees only that the pool has
//! something to run, and the lanes say what, as with one thread: that shows what levels and priorities
//! do. Must never start a thread.

use std::sync::Arc;

use parking_lot::Mutex;
use runtime::{Runnable, Stepper, task::Task};

use crate::{
    lanes::{Lanes, LocalLanes},
    pool::{Core, Member},
};

type PoolTask = Arc<Task<Member>>;

/// A ready task as the stepper sees it.
pub(crate) struct Ready(pub(crate) PoolTask);

impl Runnable for Ready {
    fn run_once(self: Arc<Self>) {
        self.0.executor.core().run(self.0.clone());
    }

    fn trace_id(&self) -> u64 {
        self.0.id()
    }
}

/// The lanes of a pool that runs like one thread.
pub(crate) struct SteppedLanes {
    stepper: Stepper,
    lanes: Lanes<PoolTask>,
    /// The one worker's end.
    local: Mutex<Option<LocalLanes<PoolTask>>>,
    trace_id: u64,
}

impl SteppedLanes {
    pub(crate) fn new(stepper: &Stepper) -> Self {
        let (lanes, locals) = Lanes::new(1);
        Self {
            stepper: stepper.clone(),
            lanes,
            local: Mutex::new(locals.into_iter().next()),
            trace_id: stepper.next_id(),
        }
    }

    pub(crate) fn stepper(&self) -> &Stepper {
        &self.stepper
    }

    /// Queues a task, and a turn in which this or another one will run.
    pub(crate) fn push(&self, lane: usize, task: PoolTask, begun: bool, core: &Arc<Core>) {
        if begun {
            self.lanes.push_begun(lane, task);
        } else {
            self.lanes.push(lane, task);
        }
        self.stepper.push(Arc::new(Turn {
            core: core.clone(),
            trace_id: self.trace_id,
        }));
    }

    pub(crate) fn pop(&self) -> Option<PoolTask> {
        let mut local = self.local.lock();
        self.lanes.pop(local.as_mut()?)
    }

    pub(crate) fn drain(&self) -> Vec<PoolTask> {
        self.lanes.drain()
    }
}

/// A turn of the pool as the stepper sees it.
struct Turn {
    core: Arc<Core>,
    trace_id: u64,
}

impl Runnable for Turn {
    fn run_once(self: Arc<Self>) {
        self.core.take_turn();
    }

    fn trace_id(&self) -> u64 {
        self.trace_id
    }
}
