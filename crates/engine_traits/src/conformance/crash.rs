//! Crashes: what was synced is there, what was not is there or not, whole batches in order.

use super::{entry, scan_all, write_with};
use crate::{Cf, KvEngine, WriteBatch, WriteOptions};

const UNSYNCED: WriteOptions = WriteOptions {
    sync: false,
    disable_wal: false,
};
const UNLOGGED: WriteOptions = WriteOptions {
    sync: false,
    disable_wal: true,
};

pub(super) fn run<E: KvEngine>(make: &impl Fn() -> E, crash: &impl Fn(E) -> E) {
    synced_writes_survive(make(), crash);
    survivors_are_a_prefix(make(), crash);
    flushed_writes_survive(make(), crash);
    log_sync_covers_earlier_writes(make(), crash);
    crash_after_crash(make(), crash);
}

fn synced_writes_survive<E: KvEngine>(engine: E, crash: &impl Fn(E) -> E) {
    write_with(&engine, &WriteOptions::SYNCED, |batch| {
        batch.put(Cf::Default, b"a", b"1");
        batch.put(Cf::Lock, b"b", b"1");
    });
    write_with(&engine, &WriteOptions::SYNCED, |batch| {
        batch.delete_range(Cf::Lock, b"a", b"z")
    });
    let engine = crash(engine);
    assert_eq!(scan_all(&engine, Cf::Default), [entry("a", "1")]);
    assert_eq!(scan_all(&engine, Cf::Lock), []);
}

/// Batches number themselves in three column families; after a crash all three agree on some
/// number that is not below the last synced one.
fn survivors_are_a_prefix<E: KvEngine>(engine: E, crash: &impl Fn(E) -> E) {
    let mut engine = engine;
    let mut survived = 0_u32;
    for round in 1..=10_u32 {
        let synced_up_to = round * 3 % 7;
        let mut floor = survived;
        for step in 1..=7 {
            let number = survived + step;
            let sync = step == synced_up_to;
            let opts = WriteOptions {
                sync,
                disable_wal: false,
            };
            write_with(&engine, &opts, |batch| {
                for cf in Cf::DATA {
                    batch.put(cf, b"last", &number.to_be_bytes());
                    batch.put(cf, &number.to_be_bytes(), b"");
                }
            });
            if sync {
                floor = number;
            }
        }
        engine = crash(engine);
        let read = |cf| {
            let last = engine.get(cf, b"last").unwrap();
            last.map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
        };
        let last = read(Cf::Default);
        assert!(last >= floor, "synced up to {floor}, {last} survived");
        for cf in Cf::DATA {
            assert_eq!(read(cf), last, "{cf} disagrees");
            let numbers = scan_all(&engine, cf);
            // Batches that were lost took their keys along; their numbers are used again.
            assert_eq!(numbers.len() as u32, if last == 0 { 0 } else { last + 1 });
        }
        survived = last;
    }
}

fn flushed_writes_survive<E: KvEngine>(engine: E, crash: &impl Fn(E) -> E) {
    write_with(&engine, &UNLOGGED, |batch| {
        batch.put(Cf::Default, b"a", b"1");
        batch.put(Cf::Write, b"a", b"1");
    });
    write_with(&engine, &UNSYNCED, |batch| batch.put(Cf::Lock, b"a", b"1"));
    engine.flush(&[Cf::Default]).unwrap();
    let engine = crash(engine);
    assert_eq!(scan_all(&engine, Cf::Default), [entry("a", "1")]);
    assert_eq!(scan_all(&engine, Cf::Lock), [entry("a", "1")]);
    // Neither logged nor flushed.
    assert_eq!(scan_all(&engine, Cf::Write), []);
}

fn log_sync_covers_earlier_writes<E: KvEngine>(engine: E, crash: &impl Fn(E) -> E) {
    write_with(&engine, &UNSYNCED, |batch| {
        batch.put(Cf::Default, b"a", b"1")
    });
    write_with(&engine, &UNSYNCED, |batch| batch.put(Cf::Raft, b"a", b"1"));
    engine.sync_wal().unwrap();
    let engine = crash(engine);
    assert_eq!(scan_all(&engine, Cf::Default), [entry("a", "1")]);
    assert_eq!(scan_all(&engine, Cf::Raft), [entry("a", "1")]);
    // An empty synced write is a sync too.
    write_with(&engine, &UNSYNCED, |batch| batch.put(Cf::Raft, b"b", b"1"));
    engine
        .write(engine.write_batch(), &WriteOptions::SYNCED)
        .unwrap();
    let engine = crash(engine);
    assert_eq!(
        scan_all(&engine, Cf::Raft),
        [entry("a", "1"), entry("b", "1")]
    );
}

fn crash_after_crash<E: KvEngine>(engine: E, crash: &impl Fn(E) -> E) {
    let mut engine = engine;
    for round in 0..5_u8 {
        write_with(&engine, &WriteOptions::SYNCED, |batch| {
            batch.put(Cf::Default, &[round], b"");
        });
        engine = crash(crash(engine));
        assert_eq!(scan_all(&engine, Cf::Default).len(), usize::from(round) + 1);
    }
}
