//! Walks and filters on both engines, against a model, with crashes.

#![allow(clippy::unwrap_used, reason = "test code")]

mod collector;
mod expiry;
mod golden;
mod histories;
mod raw_histories;
mod store;
