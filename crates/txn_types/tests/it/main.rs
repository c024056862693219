//! The bytes of the formats facts, and the round trips of everything that can be written.
// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod key_vectors;
mod lock_vectors;
mod properties;
mod write_vectors;
