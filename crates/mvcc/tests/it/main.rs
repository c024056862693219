//! Reads of many versions, as golden scripts and against a naive model.
// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod histories;
mod model;
mod script;
mod store;
