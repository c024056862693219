//! Crate root: the modules and what they export. It holds no logic of its own.
#![doc = include_str!("../README.md")]

mod engine;
mod error;

pub use engine::{
    Engine, Modify, Snapshot, SnapshotContext, Subscribed, WriteData, WriteEvent, write,
};
pub use error::{Error, Result};
