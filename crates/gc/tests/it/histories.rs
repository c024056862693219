//! Random histories: what reads from the safe point on see never changes, whatever has run and however far.

use std::collections::HashSet;

use concurrency_manager::SafePoint;
use engine_mem::MemEngine;
use engine_rocks::RocksEngine;
use engine_traits::{Cf, KvEngine};
use gc::{Data, Pass, write_filter};
use proptest::prelude::*;
use txn_types::{TimeStamp, WriteType};

use crate::store::{Record, put, read, records, values};

/// Timestamps of a history; starts are odd, commits even.
const LAST: u64 = 40;

fn history() -> impl Strategy<Value = Vec<Record>> {
    let kinds = prop_oneof![
        4 => Just(WriteType::Put),
        2 => Just(WriteType::Delete),
        1 => Just(WriteType::Lock),
        2 => Just(WriteType::Rollback),
    ];
    let record = (0u8..3, 1..=LAST / 2, kinds, any::<bool>(), 0u64..4);
    let fix = |(key, at, kind, long, fence): (u8, u64, WriteType, bool, u64)| {
        let is_put = kind == WriteType::Put;
        let commit = at * 2;
        Record {
            key: vec![b'a' + key; 1 + usize::from(key) * 7],
            commit,
            start: if kind == WriteType::Rollback {
                commit
            } else {
                commit - 1
            },
            kind,
            long: is_put && long,
            fence: if is_put && fence == 0 { commit + 4 } else { 0 },
        }
    };
    // A key has one record at a timestamp.
    prop::collection::vec(record.prop_map(fix), 0..60).prop_map(|mut history| {
        let mut taken = HashSet::new();
        history.retain(|record| taken.insert((record.key.clone(), record.commit)));
        history
    })
}

/// What every read from `safe_point` on finds.
fn all_reads<E: KvEngine>(engine: &E, safe_point: u64) -> Vec<Option<u64>> {
    let records = records(engine);
    let keys: Vec<Vec<u8>> = (0..3u8)
        .map(|key| vec![b'a' + key; 1 + usize::from(key) * 7])
        .collect();
    keys.iter()
        .flat_map(|key| (safe_point..=LAST + 5).map(|ts| read(&records, key, ts)))
        .collect()
}

fn compact<E: KvEngine>(engine: &E) {
    engine.flush(&Cf::ALL).unwrap();
    for cf in Cf::DATA {
        engine.compact_range(cf, None, None).unwrap();
    }
}

/// Puts the history, with flushes in between so that it lies in several files.
fn fill<E: KvEngine>(engine: &E, history: &[Record]) {
    for (n, record) in history.iter().enumerate() {
        put(engine, record);
        if n % 16 == 15 {
            engine.flush(&Cf::ALL).unwrap();
        }
    }
}

fn filtered<E: KvEngine>(engine: &E) -> SafePoint {
    let safe_point = SafePoint::default();
    let filter = write_filter(safe_point.clone());
    let data_only = move || -> engine_traits::CompactionFilter {
        let mut filter = filter();
        Box::new(move |key, value| filter(keys::origin_key(key).unwrap(), value))
    };
    let factory = std::sync::Arc::new(data_only);
    engine.filter_compactions(Cf::Write, factory).unwrap();
    safe_point
}

/// Nothing that a walk at `safe_point` would remove is left, and no value without its record.
fn assert_clean<E: KvEngine>(engine: &E, safe_point: u64) {
    let mut again = Pass::new(engine.clone(), Data::Transactions, ts(safe_point), 0);
    while !again.step(2).unwrap().is_done {}
    assert_eq!(again.totals().removed, 0, "a second walk finds nothing");
    let records = records(engine);
    for (key, start) in values(engine) {
        let owned = records
            .iter()
            .any(|r| r.long && r.key == key && r.start == start);
        assert!(owned, "the value {key:?}@{start} has no record");
    }
}

fn ts(ts: u64) -> TimeStamp {
    TimeStamp::new(ts)
}

fn check<E: KvEngine>(engine: &E, history: &[Record], safe_point: u64, filter_first: bool) {
    let shared = filtered(engine);
    fill(engine, history);
    let before = all_reads(engine, safe_point);
    shared.advance(ts(safe_point));
    if filter_first {
        compact(engine);
        assert_eq!(all_reads(engine, safe_point), before, "after the filter");
    }
    let mut pass = Pass::new(engine.clone(), Data::Transactions, ts(safe_point), 0);
    loop {
        let step = pass.step(1).unwrap();
        assert_eq!(all_reads(engine, safe_point), before, "after a step");
        if step.is_done {
            break;
        }
    }
    assert_clean(engine, safe_point);
    compact(engine);
    assert_eq!(all_reads(engine, safe_point), before, "after a compaction");
    // What is due next is due then, and not before.
    let due = pass.next_due();
    for later in safe_point..=LAST + 6 {
        let mut pass = Pass::new(engine.clone(), Data::Transactions, ts(later), 0);
        while !pass.step(100).unwrap().is_done {}
        let removed = pass.totals().removed;
        if ts(later) < due {
            assert_eq!(removed, 0, "nothing is due before {due}: {later}");
        } else {
            assert!(removed > 0, "something is due at {due}");
            break;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn reads_from_the_safe_point_on_stay_the_same(
        history in history(),
        safe_point in 0..=LAST + 4,
        filter_first: bool,
    ) {
        check(&MemEngine::new(), &history, safe_point, filter_first);
    }

    /// A crash takes back some batches that were not synced; the walk begins again on what is left.
    #[test]
    fn a_crash_at_any_step_harms_nothing(
        history in history(),
        safe_point in 0..=LAST + 4,
        steps in 0usize..6,
        torn: u64,
    ) {
        let engine = MemEngine::new();
        fill(&engine, &history);
        let before = all_reads(&engine, safe_point);
        let mut pass = Pass::new(engine.clone(), Data::Transactions, ts(safe_point), 0);
        for _ in 0..steps {
            if pass.step(1).unwrap().is_done {
                break;
            }
        }
        let survivor = engine.crash_torn(torn);
        prop_assert_eq!(all_reads(&survivor, safe_point), before.clone());
        let mut pass = Pass::new(survivor.clone(), Data::Transactions, ts(safe_point), 0);
        while !pass.step(3).unwrap().is_done {}
        prop_assert_eq!(all_reads(&survivor, safe_point), before);
        assert_clean(&survivor, safe_point);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn on_rocksdb_too(
        history in history(),
        safe_point in 0..=LAST + 4,
        filter_first: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let engine = RocksEngine::open(dir.path(), &engine_rocks::Config::default()).unwrap();
        check(&engine, &history, safe_point, filter_first);
    }
}
