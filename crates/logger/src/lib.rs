//! Crate root: module list only. It must never hold state of its own.
#![doc = include_str!("../README.md")]

mod config;
mod fields;
mod format;
mod layer;
mod redact;
mod rotate;
mod setup;
mod sink;
mod timestamp;

pub use config::{Config, Format, InvalidLevel, Level};
pub use redact::{
    InvalidRedactMode, RedactMode, Redacted, RedactedKey, redact_mode, set_redact_mode,
};
pub use rotate::Rotation;
pub use setup::{Error, Guard, Result, UnixMillis, init, log_panics, scoped};

/// The target of events about slow requests: `tracing::info!(target: logger::SLOW_LOG, …)`. They are
/// written at every level of the log, to a file of their own where there is one.
pub const SLOW_LOG: &str = "slow_log";
