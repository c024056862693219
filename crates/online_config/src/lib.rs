#![doc = include_str!("../README.md")]
//!
//! Crate root: module list only. Must never name a key of anybody's configuration.

mod duration;
mod number;
mod online;
mod size;

pub use duration::{InvalidDuration, ReadableDuration};
pub use online::{ConfigChange, ConfigValue, Error, OnlineConfig, Result};
pub use size::{InvalidSize, ReadableSize};
