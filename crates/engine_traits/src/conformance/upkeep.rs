//! Flush, compaction, file deletion, estimates and figures: they never change what is there.

use std::sync::Arc;

use super::{entry, keys, put_all, scan_all, write};
use crate::{Cf, Error, KvEngine, Verdict, WriteBatch, WriteOptions};

pub(super) fn run<E: KvEngine>(make: &impl Fn() -> E) {
    upkeep_changes_nothing(&make());
    estimates(&make());
    figures(&make());
    filters(&make());
}

fn upkeep_changes_nothing<E: KvEngine>(engine: &E) {
    engine.sync_wal().unwrap();
    engine.flush(&[]).unwrap();
    engine.flush(&Cf::ALL).unwrap();
    put_all(engine, Cf::Default, &["a", "b", "c"]);
    write(engine, |batch| batch.delete(Cf::Default, b"b"));
    engine.flush(&[Cf::Default]).unwrap();
    put_all(engine, Cf::Default, &["d"]);
    engine.sync_wal().unwrap();
    engine
        .compact_range(Cf::Default, Some(b"a"), Some(b"c"))
        .unwrap();
    engine
        .compact_range(Cf::Default, Some(b"z"), Some(b"a"))
        .unwrap();
    engine.compact_range(Cf::Lock, None, None).unwrap();
    assert_eq!(keys(&scan_all(engine, Cf::Default)), ["a", "c", "d"]);

    engine
        .delete_files_in_range(Cf::Default, b"x", b"z")
        .unwrap();
    engine
        .delete_files_in_range(Cf::Default, b"z", b"x")
        .unwrap();
    engine
        .delete_files_in_range(Cf::Default, b"a", b"a")
        .unwrap();
    assert_eq!(keys(&scan_all(engine, Cf::Default)), ["a", "c", "d"]);

    // It may leave keys of the range, but never takes others.
    engine
        .delete_files_in_range(Cf::Default, b"a", b"b")
        .unwrap();
    let left = scan_all(engine, Cf::Default);
    assert!(keys(&left).ends_with(&["c", "d"]), "{left:?}");
}

fn estimates<E: KvEngine>(engine: &E) {
    assert_eq!(engine.approximate_size(Cf::Write, b"", b"\xff").unwrap(), 0);
    assert_eq!(engine.approximate_keys(Cf::Write, b"", b"\xff").unwrap(), 0);
    write(engine, |batch| {
        for n in 0..2000_u32 {
            batch.put(Cf::Write, &n.to_be_bytes(), &[n as u8; 500]);
        }
    });
    engine.flush(&[Cf::Write]).unwrap();
    let all = engine.approximate_keys(Cf::Write, b"", b"\xff").unwrap();
    assert!((1000..=4000).contains(&all), "{all} keys");
    let half = engine
        .approximate_keys(Cf::Write, b"", &1000_u32.to_be_bytes())
        .unwrap();
    assert!(
        (400..=1700).contains(&half),
        "{half} keys in half of the range"
    );
    assert!(engine.approximate_size(Cf::Write, b"", b"\xff").unwrap() > 0);
    assert_eq!(engine.approximate_size(Cf::Write, b"b", b"a").unwrap(), 0);
    assert_eq!(engine.approximate_keys(Cf::Write, b"b", b"a").unwrap(), 0);
    assert_eq!(engine.approximate_keys(Cf::Write, b"b", b"b").unwrap(), 0);
    assert!(engine.disk_usage().unwrap() > 0);
}

fn figures<E: KvEngine>(engine: &E) {
    let before = engine.stats();
    assert!(before.cfs.iter().map(|figures| figures.cf).eq(Cf::ALL));
    for _ in 0..3 {
        let mut batch = engine.write_batch();
        batch.put(Cf::Default, b"key", &[1; 1000]);
        engine.write(batch, &WriteOptions::SYNCED).unwrap();
    }
    let after = engine.stats();
    assert_eq!(after.writes - before.writes, 3);
    assert!(
        after.wal_syncs >= before.wal_syncs + 3,
        "{before:?} {after:?}"
    );
    assert!(after.wal_bytes >= before.wal_bytes + 3000);
    assert_eq!(after.background_errors, 0);
    assert!(engine.memory_usage() > 0);
}

/// A filter judges what a compaction rewrites, once it is set, and nothing else changes.
fn filters<E: KvEngine>(engine: &E) {
    put_all(engine, Cf::Default, &["a", "drop 1", "empty", "z"]);
    put_all(engine, Cf::Write, &["drop 2"]);
    engine.compact_range(Cf::Default, None, None).unwrap();
    assert_eq!(scan_all(engine, Cf::Default).len(), 4);

    let factory = || {
        Arc::new(|| -> crate::CompactionFilter {
            // Each compaction has a filter of its own: the state is not shared.
            let mut last = Vec::new();
            Box::new(move |key, value| {
                assert!(key > &last[..], "{key:?} after {last:?}");
                last = key.to_vec();
                if key.starts_with(b"drop") {
                    Verdict::Remove
                } else if key == b"empty" && !value.is_empty() {
                    Verdict::Replace(b"replaced")
                } else {
                    Verdict::Keep
                }
            })
        })
    };
    engine.filter_compactions(Cf::Default, factory()).unwrap();
    engine
        .compact_range(Cf::Default, Some(b"y"), Some(b"zz"))
        .unwrap();
    engine.compact_range(Cf::Write, None, None).unwrap();
    // What was overwritten does not come back when what covered it is removed.
    write(engine, |batch| batch.put(Cf::Default, b"drop 1", b"again"));
    engine.flush(&[Cf::Default]).unwrap();
    for _ in 0..2 {
        engine.compact_range(Cf::Default, None, None).unwrap();
        let expected = [
            entry("a", "value of a"),
            entry("empty", "replaced"),
            entry("z", "value of z"),
        ];
        assert_eq!(scan_all(engine, Cf::Default), expected);
    }
    assert_eq!(scan_all(engine, Cf::Write).len(), 1);

    let twice = engine.filter_compactions(Cf::Default, factory());
    assert!(matches!(twice, Err(Error::InvalidArgument(_))), "{twice:?}");
    let local = engine.filter_compactions(Cf::Raft, factory());
    assert!(matches!(local, Err(Error::InvalidArgument(_))), "{local:?}");
}
