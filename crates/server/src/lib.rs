//! Crate root: the modules and what they export. It holds no logic of its own.
#![doc = include_str!("../README.md")]

mod below;
mod bootstrap;
mod builder;
pub mod config;
mod data_dir;
mod disk_watch;
mod engines;
mod error;
mod gc;
mod grpc_threads;
mod heartbeat;
pub mod metrics;
mod net;
mod node;
mod node_state;
mod online;
mod pessimistic;
mod server;
pub mod signal;
mod status;
mod sys;

pub use bootstrap::Identity;
pub use builder::{BuilderFactory, GrpcBuilderFactory, ServiceFactory};
pub use data_dir::DataDir;
pub use engines::{Engines, ResizeCache, RocksEngines};
pub use error::{Error, Result};
pub use node::{Addrs, Node, NodeBuilder};
pub use server::{Server, ServerOptions};
pub use status::HeapProfiler;

/// The release of TiKV whose behaviour clients may count on; they choose features by it.
pub const COMPATIBLE_VERSION: &str = "8.5.5";
