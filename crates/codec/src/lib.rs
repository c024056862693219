//! Crate root: module list only. It owns no state and must never allocate by a length that input merely
//! claims.
#![doc = include_str!("../README.md")]

pub mod bytes;
mod error;
pub mod number;

pub use error::{Error, Result};
