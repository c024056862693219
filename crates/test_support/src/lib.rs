//! Crate root: what tests of several crates need to speak to a server below the level of its messages. It must never be
//! more than a dev-dependency, nor know the server that it is used on.
#![doc = include_str!("../README.md")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod bytes_rpc;
pub mod sample;
pub mod spoil;
pub mod varint;
