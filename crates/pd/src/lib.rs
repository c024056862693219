//! Crate root: the modules and what they export. It holds no logic of its own.
#![doc = include_str!("../README.md")]

pub mod change;
mod cluster;
mod config;
mod error;
pub mod etcd;
mod etcd_upkeep;
pub mod gc;
mod gc_worker;
pub mod ids;
pub mod keyspaces;
pub mod meta_store;
mod metrics;
mod oracle;
pub mod regions;
mod server;
mod service;
pub mod state;
pub mod stores;
pub mod tso;
pub mod version;

pub use config::{FatalHandler, PdConfig};
pub use error::{Error, Result};
pub use server::Server;
pub use service::Service;
