#![doc = include_str!("../README.md")]
//!
//! Crate root: the modules and what they export. It holds no logic of its own.

mod details;
pub mod errors;
mod health;
mod in_flight;
mod message;
pub mod metrics;
mod raw;
pub mod rpc_table;
mod service;
mod txn;

pub use health::{HealthService, ServingStatus};
pub use in_flight::InFlight;
pub use message::Failure;
pub use service::{Service, ServiceIdentity};
