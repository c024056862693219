//! Crate root: the modules and the bundle of seams. It must never grow a third driver.
#![doc = include_str!("../README.md")]

mod byte_queue;
mod join;
mod rng;
mod shutdown;
mod spawner;
mod stepper;
pub mod task;
mod threads;
mod time;
mod timer;

pub use byte_queue::{ByteQueue, PushError, QueueClosed};
pub use join::{JoinError, JoinHandle, panic_message};
pub use rng::Rng;
pub use shutdown::{Shutdown, ShutdownTrigger, ShutdownWait, shutdown_pair};
pub use spawner::Spawner;
pub use stepper::{Runnable, Stepper};
pub use time::{Clock, Instant, VirtualClock};
pub use timer::{Elapsed, Sleep, Timer};

/// The seams in one hand. Cheap to clone; clones are the same runtime.
#[derive(Clone)]
pub struct Runtime {
    /// Time.
    pub clock: Clock,
    /// Waits.
    pub timer: Timer,
    /// Randomness.
    pub rng: Rng,
    /// Tasks.
    pub spawner: Spawner,
}

impl Runtime {
    /// The production runtime: the machine's clocks and randomness, `background_threads` threads
    /// (at least one) named after `name`, and a timer thread. They live until
    /// [`Runtime::shutdown`].
    pub fn system(name: &str, background_threads: usize) -> std::io::Result<Self> {
        let clock = Clock::system();
        let timers = timer::TimerQueue::new(clock.clone());
        let threads = threads::Threads::start(name, background_threads, timers.clone())?;
        Ok(Self {
            clock,
            timer: Timer::new(timers),
            rng: Rng::from_os(),
            spawner: Spawner::threads(threads),
        })
    }

    /// The stepper that drives this runtime, if one does: pools build themselves accordingly.
    #[must_use]
    pub fn stepper(&self) -> Option<Stepper> {
        self.spawner.stepper()
    }

    /// Stops: new tasks are refused, polls under way end, every other future is dropped, the oldest
    /// first, and all threads are joined (but the calling one). Waits of this runtime that others
    /// hold are never ready afterwards.
    pub fn shutdown(&self) {
        self.spawner.shutdown();
    }
}
