//! Crate root: the modules and what they export. It holds no logic of its own.
#![doc = include_str!("../README.md")]

mod bell;
mod calls;
mod client;
mod config;
mod connection;
mod error;
mod outbox;
mod reports;
mod rpc_client;
mod tso_batcher;
mod tso_stream;

pub use client::{BoxFuture, PdClient, ReconnectHandler, RegionHeartbeatHandler, RegionWithLeader};
pub use config::Config;
pub use error::{Error, Result};
pub use rpc_client::RpcClient;
