//! The stored forms of raw data, and which requests a store accepts.

mod acceptance;
mod raw_formats;
