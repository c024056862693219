//! Crate root: the words of the pool. It must never know what its tasks do.
#![doc = include_str!("../README.md")]

mod accounts;
mod lanes;
mod mean_time;
mod parking;
mod pool;
mod stepped;
mod workers;

pub use accounts::{LEVEL_BOUNDS, LEVELS};
pub use mean_time::MeanTime;
pub use pool::{Builder, Error, Pool, PoolClosed, Result};

/// How urgent a task is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
// In the order in which they go: counters are kept by it.
pub enum Priority {
    /// Before everything else, whatever it has cost so far.
    High,
    /// By its level: who has run little goes first.
    #[default]
    Normal,
    /// When nothing else is there, and now and then, so that it is not starved.
    Low,
}

/// What a pool is told about a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskOptions {
    /// Tasks of one id share an account of running time, so that a large request cannot hide in
    /// many small tasks. With 0 the task has its own account.
    pub task_id: u64,
    /// How urgent it is.
    pub priority: Priority,
}
