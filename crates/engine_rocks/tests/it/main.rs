//! Integration tests of the engine on RocksDB: the conformance suite, opening, damage, size.

#![allow(clippy::unwrap_used, reason = "test code")]

mod damage;
mod dead_locks;
mod fixture;
mod only_cached;
mod open;
mod refusal;
mod size;

use engine_rocks::RocksEngine;
use engine_traits::{Cf, KvEngine, WriteBatch, WriteOptions, conformance};

use crate::fixture::{Directories, copy_directory, tiny};

#[test]
fn conforms() {
    let directories = Directories::new();
    conformance::run_all(
        || RocksEngine::open(directories.fresh(), &tiny()).unwrap(),
        40,
    );
}

/// The kill of a process: what it gave to the system is there, what it held is not.
#[test]
fn conforms_when_it_crashes() {
    let directories = Directories::new();
    let make = || RocksEngine::open(directories.fresh(), &tiny()).unwrap();
    conformance::run_crash(make, |engine| {
        let copy = directories.fresh();
        copy_directory(engine.path(), &copy);
        drop(engine);
        RocksEngine::open(copy, &tiny()).unwrap()
    });
}

#[test]
fn every_write_is_synced_when_asked() {
    let directories = Directories::new();
    let engine = RocksEngine::open(directories.fresh(), &tiny()).unwrap();
    for sync in [true, false] {
        let before = engine.stats().wal_syncs;
        for n in 0..10_u8 {
            let mut batch = engine.write_batch();
            batch.put(Cf::Default, &[n], b"v");
            engine
                .write(
                    batch,
                    &WriteOptions {
                        sync,
                        disable_wal: false,
                    },
                )
                .unwrap();
        }
        assert_eq!(engine.stats().wal_syncs - before, if sync { 10 } else { 0 });
    }
}
