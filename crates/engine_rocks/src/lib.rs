//! Crate root: the modules and what they export. It holds no logic of its own.
#![doc = include_str!("../README.md")]

mod batch;
mod config;
mod database;
mod directory;
mod engine;
mod error;
mod estimate;
mod filter;
mod iterator;
mod owned;
mod prefix;
mod pressure;

pub use batch::RocksWriteBatch;
pub use config::{CfConfig, Config};
pub use database::BlockCache;
pub use engine::{RocksEngine, RocksSnapshot};
pub use iterator::RocksIterator;
