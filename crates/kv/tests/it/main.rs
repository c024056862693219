//! Integration tests of the local engine: durability and refusals under the stepper with the
//! engine that can crash, group commit with threads on RocksDB.

#![allow(clippy::unwrap_used, reason = "test code")]

mod crash;
mod destroy;
#[cfg(feature = "failpoints")]
mod failpoints;
mod fixture;
mod flashback;
mod group_commit;
mod refusals;
mod snapshots;
