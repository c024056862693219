//! Batches: order within, save points, ranges, accounting.

use super::{entry, put_all, scan_all, write};
use crate::{Cf, KvEngine, WriteBatch, WriteOptions};

pub(super) fn run<E: KvEngine>(make: &impl Fn() -> E) {
    later_operations_win(&make());
    counts_and_clears(&make());
    save_points(&make());
    appends(&make());
    deletes_ranges(&make());
    range_deletion_within_a_batch(&make());
}

fn later_operations_win<E: KvEngine>(engine: &E) {
    write(engine, |batch| {
        batch.put(Cf::Default, b"a", b"1");
        batch.delete(Cf::Default, b"a");
        batch.put(Cf::Default, b"b", b"1");
        batch.put(Cf::Default, b"b", b"2");
        batch.delete(Cf::Default, b"c");
        batch.put(Cf::Default, b"c", b"3");
        batch.put(Cf::Lock, b"a", b"4");
    });
    assert_eq!(
        scan_all(engine, Cf::Default),
        [entry("b", "2"), entry("c", "3")]
    );
    assert_eq!(scan_all(engine, Cf::Lock), [entry("a", "4")]);
}

fn counts_and_clears<E: KvEngine>(engine: &E) {
    let mut batch = engine.write_batch();
    assert!(batch.is_empty());
    let empty_size = batch.byte_size();
    batch.put(Cf::Default, b"key", b"value");
    batch.delete(Cf::Write, b"key");
    batch.delete_range(Cf::Lock, b"a", b"b");
    assert_eq!(batch.len(), 3);
    assert!(!batch.is_empty());
    assert!(batch.byte_size() >= empty_size + 13);
    batch.set_save_point();
    batch.clear();
    assert!(batch.is_empty());
    assert_eq!(batch.byte_size(), empty_size);
    assert!(batch.pop_save_point().is_err());
    engine.write(batch, &WriteOptions::default()).unwrap();
    engine
        .write(engine.write_batch(), &WriteOptions::SYNCED)
        .unwrap();
    assert_eq!(scan_all(engine, Cf::Default), []);
}

fn save_points<E: KvEngine>(engine: &E) {
    let mut batch = engine.write_batch();
    assert!(batch.rollback_to_save_point().is_err());
    assert!(batch.pop_save_point().is_err());

    batch.put(Cf::Default, b"a", b"1");
    batch.set_save_point();
    batch.put(Cf::Default, b"b", b"1");
    batch.set_save_point();
    batch.delete(Cf::Default, b"a");
    let with_all = batch.byte_size();
    assert_eq!(batch.len(), 3);
    batch.rollback_to_save_point().unwrap();
    assert_eq!(batch.len(), 2);
    assert!(batch.byte_size() < with_all);
    batch.pop_save_point().unwrap();
    assert!(batch.rollback_to_save_point().is_err());

    batch.set_save_point();
    batch.put(Cf::Write, b"c", b"1");
    batch.rollback_to_save_point().unwrap();
    batch.put(Cf::Write, b"d", b"1");
    batch.set_save_point();
    engine.write(batch, &WriteOptions::default()).unwrap();
    assert_eq!(
        scan_all(engine, Cf::Default),
        [entry("a", "1"), entry("b", "1")]
    );
    assert_eq!(scan_all(engine, Cf::Write), [entry("d", "1")]);
}

fn appends<E: KvEngine>(engine: &E) {
    let mut first = engine.write_batch();
    first.put(Cf::Default, b"a", b"1");
    first.set_save_point();
    let mut second = engine.write_batch();
    second.put(Cf::Default, b"a", b"2");
    second.set_save_point();
    second.put(Cf::Lock, b"b", b"2");
    first.append(second);
    first.append(engine.write_batch());
    assert_eq!(first.len(), 3);
    first.set_save_point();
    let mut third = engine.write_batch();
    third.put(Cf::Default, b"c", b"3");
    first.append(third);
    first.rollback_to_save_point().unwrap();
    assert_eq!(first.len(), 3);
    engine.write(first, &WriteOptions::default()).unwrap();
    assert_eq!(scan_all(engine, Cf::Default), [entry("a", "2")]);
    assert_eq!(scan_all(engine, Cf::Lock), [entry("b", "2")]);

    let mut batch = engine.write_batch();
    batch.put(Cf::Default, b"x", b"1");
    batch.set_save_point();
    let mut other = engine.write_batch();
    other.put(Cf::Default, b"y", b"1");
    batch.append(other);
    batch.rollback_to_save_point().unwrap();
    assert_eq!(batch.len(), 1);
    assert!(batch.pop_save_point().is_err());
}

fn deletes_ranges<E: KvEngine>(engine: &E) {
    let all = ["a", "b", "b1", "c", "d"];
    put_all(engine, Cf::Default, &all);
    put_all(engine, Cf::Write, &all);
    write(engine, |batch| batch.delete_range(Cf::Default, b"b", b"c"));
    assert_eq!(super::keys(&scan_all(engine, Cf::Default)), ["a", "c", "d"]);
    assert_eq!(super::keys(&scan_all(engine, Cf::Write)), all);

    // Empty and inverted ranges are nothing.
    write(engine, |batch| {
        batch.delete_range(Cf::Default, b"a", b"a");
        batch.delete_range(Cf::Default, b"d", b"a");
        batch.delete_range(Cf::Default, b"", b"");
    });
    assert_eq!(super::keys(&scan_all(engine, Cf::Default)), ["a", "c", "d"]);

    write(engine, |batch| {
        batch.delete_range(Cf::Default, b"", b"\xff")
    });
    assert_eq!(scan_all(engine, Cf::Default), []);
    assert_eq!(engine.get(Cf::Default, b"a").unwrap(), None);
    put_all(engine, Cf::Default, &["b"]);
    assert_eq!(super::keys(&scan_all(engine, Cf::Default)), ["b"]);
}

fn range_deletion_within_a_batch<E: KvEngine>(engine: &E) {
    put_all(engine, Cf::Default, &["a", "b"]);
    write(engine, |batch| {
        batch.put(Cf::Default, b"c", b"lost");
        batch.delete_range(Cf::Default, b"a", b"z");
        batch.put(Cf::Default, b"b", b"kept");
    });
    assert_eq!(scan_all(engine, Cf::Default), [entry("b", "kept")]);
}
