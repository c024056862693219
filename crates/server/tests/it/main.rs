//! Whole nodes: start, requests, status pages, stop, restart.

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that fails is a test that fails"
)]

mod fixture;
mod grpc_limits;
mod lifecycle;
mod status;
