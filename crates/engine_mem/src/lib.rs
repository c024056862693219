//! Crate root: the modules and what they export. It holds no logic of its own.
#![doc = include_str!("../README.md")]

mod batch;
mod engine;
mod iterator;
mod log;
mod versions;

pub use batch::MemWriteBatch;
pub use engine::{Config, MemEngine, MemSnapshot};
pub use iterator::MemIterator;
