//! Crate root: the modules and what they export. It holds no logic of its own.
#![doc = include_str!("../README.md")]

pub mod change;
mod cluster;
mod config;
mod error;
pub mod etcd;
mod etcd_upkeep;
mod front;
pub mod gc;
mod gc_report;
mod gc_worker;
mod http;
pub mod ids;
pub mod keyspaces;
mod lock_resolver;
pub mod meta_store;
pub mod metrics;
mod online;
mod oracle;
mod places;
pub mod regions;
pub mod resource_groups;
pub mod rpc_table;
mod server;
mod service;
pub mod state;
pub mod stores;
pub mod tso;
pub mod version;

pub use config::{FatalHandler, GC_TIME_MAX, GC_TIME_MIN, PdConfig};
pub use error::{Error, Result};
pub use http::{HttpRoute, ROUTES as HTTP_ROUTES};
pub use online::OnlineSettings;
pub use server::Server;
pub use service::Service;
