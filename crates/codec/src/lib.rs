#![doc = include_str!("../README.md")]
//!
//! Crate root: module list only. Owns no state and must never allocate by a length that input
//! merely claims.

pub mod bytes;
mod error;
pub mod number;

pub use error::{Error, Result};
