//! Whole nodes: start, requests, status pages, stop, restart.

mod fixture;
mod lifecycle;
mod status;
