//! Flush, compaction, file deletion, estimates and figures: they never change what is there.

use super::{keys, put_all, scan_all, write};
use crate::{Cf, KvEngine, WriteBatch, WriteOptions};

pub(super) fn run<E: KvEngine>(make: &impl Fn() -> E) {
    upkeep_changes_nothing(&make());
    estimates(&make());
    figures(&make());
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
