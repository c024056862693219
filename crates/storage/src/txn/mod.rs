//! Transaction commands: what they decide (`actions`, `commands`) and how they are run (`latch`, `scheduler`).
//! Must never: know how a write is replicated, or speak gRPC.

mod acquire;
pub mod actions;
mod admission;
mod carried;
pub mod command;
pub mod commands;
mod early_answer;
mod execute;
pub mod large_txns;
pub mod latch;
mod latch_guard;
mod lock_waits;
pub mod scheduler;
pub mod status_cache;
mod wake;
