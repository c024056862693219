//! The threads of a pool. Owns the lanes, the parked threads and their handles; must never run a
//! task after `stop` returned, save the one that calls it.

#![expect(
    clippy::disallowed_methods,
    reason = "a pool's threads start here; the lint points callers to this crate"
)]

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use runtime::task::Task;

use crate::{
    lanes::{Lanes, LocalLanes},
    parking::ParkingLot,
    pool::{Core, Member},
};

type PoolTask = Arc<Task<Member>>;

pub(crate) struct Workers {
    lanes: Lanes<PoolTask>,
    parking: ParkingLot,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// Lanes for `count` threads, and what each thread is started with.
    pub(crate) fn new(count: usize) -> (Self, Vec<LocalLanes<PoolTask>>) {
        let (lanes, locals) = Lanes::new(count);
        (
            Self {
                lanes,
                parking: ParkingLot::default(),
                handles: Mutex::default(),
            },
            locals,
        )
    }

    /// Starts the thread of `local`.
    pub(crate) fn start(core: &Arc<Core>, local: LocalLanes<PoolTask>) -> io::Result<()> {
        let Some(workers) = core.workers() else {
            return Ok(());
        };
        let mut handles = workers.handles.lock();
        let name = format!("{}-{}", core.name(), handles.len());
        let core = core.clone();
        handles.push(
            thread::Builder::new()
                .name(name)
                .spawn(move || work(&core, local))?,
        );
        Ok(())
    }

    pub(crate) fn push(&self, lane: usize, task: PoolTask, begun: bool) {
        if begun {
            self.lanes.push_begun(lane, task);
        } else {
            self.lanes.push(lane, task);
        }
        self.parking.wake_one();
    }

    /// Ends the threads after the polls under way, and joins them, but the calling one.
    pub(crate) fn stop(&self) {
        self.parking.stop();
        let handles = std::mem::take(&mut *self.handles.lock());
        for handle in handles {
            if handle.thread().id() != thread::current().id() {
                // Tasks cannot panic a thread: nothing to hear from the result.
                let _ = handle.join();
            }
        }
    }

    /// Takes what stands in the lanes.
    pub(crate) fn drain(&self) -> Vec<PoolTask> {
        self.lanes.drain()
    }
}

fn work(core: &Arc<Core>, mut local: LocalLanes<PoolTask>) {
    let Some(workers) = core.workers() else {
        return;
    };
    while !workers.parking.is_stopped() {
        match workers.lanes.pop(&mut local) {
            Some(task) => core.run(task),
            None => workers.parking.park(|| workers.lanes.is_empty()),
        }
    }
}
