//! Crate root: the modules and what they export. It holds no logic of its own.
#![doc = include_str!("../README.md")]

mod cf;
mod compaction;
#[cfg(feature = "conformance")]
pub mod conformance;
mod engine;
mod error;
mod options;
mod pressure;
mod stats;
mod write_batch;

pub use cf::Cf;
pub use compaction::{CompactionFilter, CompactionFilterFactory, Verdict};
pub use engine::{EngineIterator, Iterable, KvEngine, Peekable, Snapshot};
pub use error::{Error, Result};
pub use options::{IterOptions, ReadOptions, WriteOptions};
pub use pressure::{Backlog, CfPressure, HeldBack, WritePressure};
pub use stats::{CfStats, EngineStats};
pub use write_batch::WriteBatch;
