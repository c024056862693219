//! Removes versions that nobody can read any more.
//! Must never: remove anything before the safe point is known to readers, or look at locks: whoever moves the safe
//! point has resolved those below it.
#![doc = include_str!("../README.md")]

mod collector;
mod config;
mod decision;
mod expiry;
mod filter;
pub mod metrics;
mod pass;
mod raw;

pub use collector::{Collector, Settings};
pub use config::Config;
pub use decision::{Decision, Fate};
pub use expiry::Expirer;
pub use filter::write_filter;
pub use pass::{Data, Pass, Step, Totals};
pub use raw::RawDecision;
