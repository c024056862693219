//! The placement driver as a process sees it: real gRPC on loopback, metadata on a crashable engine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
mod macros;

mod bad_input;
mod client;
mod configuration;
mod coverage;
mod edges;
mod etcd;
mod http;
mod port;
mod rpc;
mod streams;
mod world;
