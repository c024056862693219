//! Integration tests of the storage layer, through its public interface only.

#![allow(clippy::unwrap_used, reason = "test code")]

mod admission;
mod async_commit;
mod at_once;
mod driver;
mod flashback;
mod flow_control;
mod get_runs;
mod golden;
mod history;
mod limits;
mod lock_wait;
mod model;
mod raw_cas;
mod raw_model;
mod scheduler;
