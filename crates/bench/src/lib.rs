//! Crate root: the modules and what the binary and the tests use. It holds no logic of its own.
#![doc = include_str!("../README.md")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a measurement lives in real time and real threads; nothing here runs in a simulation"
)]

mod client;
mod compare;
mod interrupt;
mod lab;
mod load;
mod procfs;
mod progress;
mod random;
mod report;
mod sample;
mod scenario;
mod target;
mod window;

pub use compare::{Abba, Repeats};
pub use interrupt::end_children_when_asked;
pub use lab::{Lab, Programs, Settings};
pub use progress::Progress;
pub use report::{Machine, Report, Saved, table};
pub use sample::{Percentiles, Sample};
pub use scenario::{Line, Run, SCENARIOS, Scenario, Target, Verdict, run_scenario};
pub use window::Timing;
