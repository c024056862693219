//! Crate root: the modules and what they export. It holds no logic of its own.
#![doc = include_str!("../README.md")]

mod engine;
mod error;
pub mod in_memory_locks;
mod local;
pub mod metrics;
pub mod region_error;

pub use engine::{
    Engine, Modify, Snapshot, SnapshotContext, Subscribed, WriteData, WriteEvent, write,
};
pub use error::{Error, Result};
pub use local::{
    Config, DiskStatus, LocalEngine, LocalIterator, LocalRegion, LocalSnapshot, LocalStats, OnFatal,
};
