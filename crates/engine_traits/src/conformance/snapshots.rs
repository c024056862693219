//! Snapshots and iterators see one moment, and batches whole, also beside concurrent writers.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{entry, keys, put_all, scan_all, write};
use crate::{Cf, EngineIterator, IterOptions, Iterable, KvEngine, Peekable, WriteBatch};

pub(super) fn run<E: KvEngine>(make: &impl Fn() -> E) {
    snapshots_do_not_move(&make());
    iterators_do_not_move(&make());
    snapshots_outlive_the_handle(make());
    many_snapshots(&make());
    batches_are_seen_whole(&make());
}

fn snapshots_do_not_move<E: KvEngine>(engine: &E) {
    let before = engine.snapshot();
    put_all(engine, Cf::Default, &["a", "b", "c"]);
    let between = engine.snapshot();
    write(engine, |batch| {
        batch.delete(Cf::Default, b"a");
        batch.put(Cf::Default, b"b", b"new");
        batch.put(Cf::Default, b"d", b"new");
    });
    write(engine, |batch| batch.delete_range(Cf::Default, b"c", b"d"));
    engine.flush(&Cf::ALL).unwrap();
    engine.compact_range(Cf::Default, None, None).unwrap();

    assert_eq!(scan_all(&before, Cf::Default), []);
    assert_eq!(before.get(Cf::Default, b"a").unwrap(), None);
    let copy = between.clone();
    drop(between);
    assert_eq!(keys(&scan_all(&copy, Cf::Default)), ["a", "b", "c"]);
    assert_eq!(copy.get(Cf::Default, b"b").unwrap().unwrap(), b"value of b");
    assert_eq!(copy.get(Cf::Default, b"c").unwrap().unwrap(), b"value of c");
    assert_eq!(copy.get(Cf::Default, b"d").unwrap(), None);
    assert_eq!(
        scan_all(engine, Cf::Default),
        [entry("b", "new"), entry("d", "new")]
    );
}

fn iterators_do_not_move<E: KvEngine>(engine: &E) {
    put_all(engine, Cf::Lock, &["a", "b", "c"]);
    let snapshot = engine.snapshot();
    let mut of_snapshot = snapshot.iter(Cf::Lock, IterOptions::default()).unwrap();
    let mut of_engine = engine.iter(Cf::Lock, IterOptions::default()).unwrap();
    drop(snapshot);
    write(engine, |batch| batch.delete_range(Cf::Lock, b"a", b"z"));
    put_all(engine, Cf::Lock, &["bb"]);
    sees_abc(engine, &mut of_snapshot);
    sees_abc(engine, &mut of_engine);
    assert_eq!(keys(&scan_all(engine, Cf::Lock)), ["ab", "bb"]);
}

fn sees_abc<E: KvEngine>(engine: &E, iter: &mut impl EngineIterator) {
    assert!(iter.seek_to_first().unwrap());
    write(engine, |batch| batch.put(Cf::Lock, b"ab", b"late"));
    for key in [b"a", b"b", b"c"] {
        assert!(iter.valid());
        assert_eq!(iter.key(), key);
        iter.next().unwrap();
    }
    assert!(!iter.valid());
}

fn snapshots_outlive_the_handle<E: KvEngine>(engine: E) {
    put_all(&engine, Cf::Default, &["a"]);
    let snapshot = engine.snapshot();
    let mut iter = snapshot
        .iter(Cf::Default, IterOptions::between("a", "b"))
        .unwrap();
    drop(engine);
    assert_eq!(
        snapshot.get(Cf::Default, b"a").unwrap().unwrap(),
        b"value of a"
    );
    drop(snapshot);
    assert!(iter.seek(b"a").unwrap());
    assert_eq!(iter.value(), b"value of a");
}

fn many_snapshots<E: KvEngine>(engine: &E) {
    let mut taken = Vec::new();
    for round in 0..50_u32 {
        write(engine, |batch| {
            batch.put(Cf::Write, b"k", &round.to_be_bytes())
        });
        taken.push((round, engine.snapshot()));
    }
    // Released out of order, the others keep what they see.
    for keep in [7, 5, 3, 2] {
        taken.retain(|(round, _)| round % keep != 0);
        write(engine, |batch| batch.delete(Cf::Write, b"k"));
        for (round, snapshot) in &taken {
            assert_eq!(
                snapshot.get(Cf::Write, b"k").unwrap().unwrap(),
                round.to_be_bytes()
            );
        }
    }
}

/// A writer moves an amount between two keys of two column families; every snapshot, taken at any
/// moment, holds the same sum.
fn batches_are_seen_whole<E: KvEngine>(engine: &E) {
    const SUM: u64 = 1000;
    let set = |left: u64| {
        write(engine, |batch| {
            batch.put(Cf::Default, b"left", &left.to_be_bytes());
            batch.put(Cf::Write, b"right", &(SUM - left).to_be_bytes());
        });
    };
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
    set(SUM);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let snapshot = engine.snapshot();
                    let left = snapshot.get(Cf::Default, b"left").unwrap().unwrap();
                    let mut iter = snapshot.iter(Cf::Write, IterOptions::default()).unwrap();
                    assert!(iter.seek(b"right").unwrap());
                    assert_eq!(number(&left) + number(iter.value()), SUM);
                }
            });
        }
        for round in 0..2000 {
            set(round * 7 % SUM);
        }
        done.store(true, Ordering::Relaxed);
    });
}
