//! Real processes, real gRPC, the real client. See the crate's README for what each module shows.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]
#![allow(
    clippy::result_large_err,
    reason = "the error is the published client's"
)]

mod bad_input;
mod clients;
mod crash;
mod ctl;
mod data_directory;
mod disk_full;
mod first_program;
mod garbage;
mod hostile_transactions;
mod lifecycle;
mod limits;
mod lock_resolution;
mod locks;
mod pd_bad_input;
mod pd_port;
mod pessimistic;
mod raw_api;
mod raw_formats;
mod security;
mod slow_log;
mod status;
mod transactions;
mod unimplemented;
mod wire;
