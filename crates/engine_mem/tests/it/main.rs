//! Integration tests of the engine in memory: the conformance suite and what only it can do.

#![allow(clippy::unwrap_used, reason = "test code")]

mod crash;

use engine_mem::{Config, MemEngine};
use engine_traits::{
    Cf, EngineIterator, Error, IterOptions, Iterable, Peekable, ReadOptions, conformance,
};

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

#[test]
fn reads_of_memory_alone_miss_when_told_to() {
    let engine = MemEngine::new();
    let get = |only_cached| {
        let opts = ReadOptions {
            only_cached,
            ..ReadOptions::default()
        };
        engine.get_with(Cf::Default, b"k", &opts, <[u8]>::len)
    };
    let misses = || {
        (0..6)
            .filter(|_| matches!(get(true), Err(Error::NotCached)))
            .count()
    };
    assert_eq!(misses(), 0);
    engine.miss_every(3);
    assert_eq!(misses(), 2);
    engine.miss_every(1);
    assert_eq!(misses(), 6);
    assert_eq!(get(false).unwrap(), None);
    let opts = IterOptions {
        only_cached: true,
        ..IterOptions::default()
    };
    let mut iter = engine.iter(Cf::Default, opts).unwrap();
    assert!(matches!(iter.seek_to_first(), Err(Error::NotCached)));
    assert!(!iter.valid());
}
