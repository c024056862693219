//! Crate root: module list only. It must never name a key of anybody's configuration.
#![doc = include_str!("../README.md")]

mod duration;
mod number;
mod online;
mod problem;
mod size;

pub use duration::{InvalidDuration, ReadableDuration};
pub use online::{ConfigChange, ConfigValue, Error, OnlineConfig, Result};
pub use problem::ConfigProblem;
pub use size::{InvalidSize, ReadableSize};
