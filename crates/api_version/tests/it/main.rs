//! The stored forms of raw data, and which requests a store accepts.
// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod acceptance;
mod raw_formats;
