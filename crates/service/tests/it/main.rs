//! The service over a real gRPC server and client, on an engine in memory.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_imports,
    reason = "a fixture that fails is a test that fails; a test names dozens of messages"
)]

mod bad_input;
mod batch;
mod coverage;
mod deadlock;
mod fixture;
mod health;
mod properties;
mod raw;
mod raw_formats;
mod stream;
mod txn;
