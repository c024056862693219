//! Crate root: the modules and what they export. It holds no logic of its own.
#![doc = include_str!("../README.md")]

mod batch;
mod call;
mod deadlock;
mod details;
pub mod errors;
mod feedback;
mod flashback;
mod health;
mod in_flight;
mod message;
pub mod metrics;
mod pessimistic;
mod pipelined;
mod raw;
pub mod rpc_table;
mod rpcs;
mod service;
mod slow_log;
mod slow_score;
mod txn;

pub use deadlock::{DeadlockPeers, DeadlockService, FindLeader, OpenChannel};
pub use health::{HealthService, ServingStatus};
pub use in_flight::InFlight;
pub use message::Failure;
pub use service::{Service, ServiceIdentity};
pub use slow_log::SlowLog;
