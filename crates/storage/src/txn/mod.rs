//! Transaction commands: what they decide (`actions`, `commands`) and how they are run (`latch`, `scheduler`).
//! Must never: know how a write is replicated, or speak gRPC.

mod acquire;
pub mod actions;
mod carried;
pub mod command;
pub mod commands;
pub mod latch;
mod lock_waits;
pub mod scheduler;
