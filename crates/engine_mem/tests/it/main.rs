//! Integration tests of the engine in memory: the conformance suite and what only it can do.

#![allow(clippy::unwrap_used, reason = "test code")]

mod crash;

use engine_mem::{Config, MemEngine};
use engine_traits::conformance;

#[test]
fn conforms() {
    conformance::run_all(MemEngine::new, 400);
}

#[test]
fn conforms_when_it_crashes() {
    conformance::run_crash(MemEngine::new, |engine| engine.crash());
}

#[test]
fn conforms_when_it_crashes_with_a_torn_tail() {
    for seed in 0..50 {
        conformance::run_crash(MemEngine::new, |engine| engine.crash_torn(seed));
    }
}

#[test]
fn conforms_when_it_flushes_by_itself() {
    let make = || {
        MemEngine::with_config(Config {
            flush_after_bytes: 64,
        })
    };
    conformance::run_all(make, 100);
}
