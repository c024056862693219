//! Random histories of a few keys, read in every way and compared with the model.

mod generate;

use engine_mem::MemEngine;
use engine_rocks::RocksEngine;
use engine_traits::KvEngine;
use mvcc::{
    Direction, Error, IsolationLevel, PointGetter, ReadView, ReplicaRead, Scanner, SnapshotReader,
    TxnCommitRecord, ValueEntry,
};
use proptest::prelude::*;
use txn_types::{Key, TimeStamp, TsSet, WriteType};

use crate::model::{KeyHistory, Level, Outcome, Read};
use crate::store::Store;
use generate::{Case, Scan};

fn isolation(level: Level) -> IsolationLevel {
    match level {
        Level::Si => IsolationLevel::Si,
        Level::Rc => IsolationLevel::Rc,
        Level::RcCheckTs => IsolationLevel::RcCheckTs,
    }
}

fn replica(read: &Read) -> ReplicaRead {
    if read.replica {
        ReplicaRead::Yes
    } else {
        ReplicaRead::No
    }
}

/// What a reader answered, in the words of the model. Damage is never expected.
fn outcome(answer: mvcc::Result<Option<ValueEntry>>) -> Outcome {
    match answer {
        Ok(None) => Outcome::NotFound,
        Ok(Some(entry)) => Outcome::Found(entry.value, entry.commit_ts.map(TimeStamp::into_inner)),
        Err(Error::KeyIsLocked(info)) => Outcome::Locked(info.get_lock_version()),
        Err(Error::WriteConflict {
            conflict_start_ts,
            conflict_commit_ts,
            ..
        }) => {
            if conflict_commit_ts.is_zero() {
                Outcome::ConflictWithLock(conflict_start_ts.into_inner())
            } else {
                Outcome::ConflictWithRecord(conflict_commit_ts.into_inner())
            }
        }
        Err(error) => panic!("{error}"),
    }
}

fn view(read: &Read) -> ReadView {
    ReadView {
        isolation: isolation(read.level),
        bypass: TsSet::from_u64s(&read.bypass),
        access: TsSet::from_u64s(&read.access),
        replica_read: replica(read),
        need_commit_ts: read.need_commit_ts,
        key_only: read.key_only,
        ..ReadView::new(read.ts.into())
    }
}

/// Point reads of every key through one reader, and through one reader each.
fn check_gets<E: KvEngine>(store: &Store<E>, keys: &[KeyHistory], read: &Read) {
    let build = || PointGetter::new(store.snapshot(), view(read));
    let mut shared = build();
    for key in keys.iter().chain(keys.iter().rev()) {
        let expected = key.read(read);
        let encoded = Key::from_raw(&key.raw);
        assert_eq!(outcome(shared.get(&encoded)), expected, "{key:?} {read:?}");
        assert_eq!(
            outcome(build().get(&encoded)),
            expected,
            "alone {key:?} {read:?}"
        );
    }
    assert_eq!(
        outcome(shared.get(&Key::from_raw(b"nowhere"))),
        Outcome::NotFound
    );
}

/// What the model says of a scan: an outcome for each key, up to the first fatal one.
fn expected_scan(keys: &[KeyHistory], read: &Read, scan: &Scan) -> Vec<(Vec<u8>, Outcome)> {
    let inside = |key: &&KeyHistory| {
        scan.from.as_ref().is_none_or(|from| key.raw >= *from)
            && scan.to.as_ref().is_none_or(|to| key.raw < *to)
    };
    let mut keys: Vec<_> = keys.iter().filter(inside).collect();
    if scan.direction == Direction::Backward {
        keys.reverse();
    }
    let mut met = 0;
    let mut pairs = Vec::new();
    for key in keys {
        if pairs.len() == scan.limit {
            break;
        }
        let outcome = key.read(read);
        if outcome.is_fatal() {
            return vec![(Vec::new(), outcome)];
        }
        if outcome == Outcome::NotFound {
            continue;
        }
        if met % scan.sample_step.max(1) == 0 {
            pairs.push((key.raw.clone(), outcome));
        }
        met += 1;
    }
    pairs
}

fn check_scan<E: KvEngine>(store: &Store<E>, keys: &[KeyHistory], read: &Read, scan: &Scan) {
    let bound = |raw: &Option<Vec<u8>>| raw.as_ref().map(|raw| Key::from_raw(raw));
    let range = (bound(&scan.from), bound(&scan.to));
    let mut scanner = Scanner::new(store.snapshot(), view(read), scan.direction, range).unwrap();
    let actual: Vec<_> = match scanner.scan(scan.limit, scan.sample_step) {
        Err(error) => vec![(Vec::new(), outcome(Err(error)))],
        Ok(pairs) => pairs
            .into_iter()
            .map(|pair| match pair {
                Ok((raw, entry)) => (raw, outcome(Ok(Some(entry)))),
                Err(Error::KeyIsLocked(info)) => (
                    info.get_key().to_vec(),
                    Outcome::Locked(info.get_lock_version()),
                ),
                Err(error) => panic!("{error}"),
            })
            .collect(),
    };
    let expected = expected_scan(keys, read, scan);
    assert_eq!(actual, expected, "{keys:?} {read:?} {scan:?}");
}

/// What commands read: data versions, and the fate of transactions.
fn check_reader<E: KvEngine>(store: &Store<E>, keys: &[KeyHistory], start: u64, ts: u64) {
    let mut reader = SnapshotReader::new(start.into(), store.snapshot(), true);
    for key in keys {
        let encoded = Key::from_raw(&key.raw);
        let expected = key.newest_data(ts, start);
        let actual = reader.get_write(&encoded, ts.into()).unwrap();
        let actual_ts = actual.as_ref().map(|(commit_ts, _)| commit_ts.into_inner());
        assert_eq!(
            actual_ts,
            expected.map(|record| record.commit_ts),
            "{key:?} {start} {ts}"
        );
        let value = reader.get_value(&encoded, ts.into()).unwrap();
        let put = expected.filter(|record| record.write.write_type == WriteType::Put);
        assert_eq!(
            value,
            put.map(|record| record.value.clone()),
            "{key:?} {start} {ts}"
        );
        assert_eq!(
            reader.key_exists(&encoded, ts.into()).unwrap(),
            put.is_some()
        );

        let record = reader.get_txn_commit_record(&encoded).unwrap();
        let own = key.own_record(start);
        let at_start = key.record_at(start).filter(|_| own.is_none());
        match at_start {
            Some((found, _)) if found.write.has_overlapped_rollback => {
                let expected = TxnCommitRecord::OverlappedRollback {
                    commit_ts: start.into(),
                };
                assert_eq!(record, expected);
            }
            Some((found, fence)) => {
                let TxnCommitRecord::None {
                    overlapped: Some(overlapped),
                } = record
                else {
                    panic!("{record:?} {key:?} {start}");
                };
                assert_eq!(overlapped.write, found.write);
                assert_eq!(overlapped.gc_fence, fence.into());
            }
            None => {
                let own = own.map(|(commit_ts, kind)| (TimeStamp::new(commit_ts), kind));
                assert_eq!(record.status(), own, "{key:?} {start}");
            }
        }
    }
}

fn check<E: KvEngine>(store: &Store<E>, case: &Case) {
    store.clear();
    case.write_to(store);
    for (read, scan) in &case.reads {
        check_gets(store, &case.keys, read);
        check_scan(store, &case.keys, read, scan);
    }
    // What a fence names was collected, so the safe point is above it, and no transaction that began
    // before is left to read.
    let collected = case
        .keys
        .iter()
        .filter_map(KeyHistory::last_collected)
        .max();
    for (start, ts) in &case.command_reads {
        let start = (*start).max(collected.unwrap_or_default());
        // Nor does a transaction read from before its own beginning.
        check_reader(store, &case.keys, start, (*ts).max(start));
    }
}

#[test]
fn memory_engine_agrees_with_the_model() {
    let store = Store::new(MemEngine::new());
    proptest!(ProptestConfig::with_cases(400), |(case in generate::case())| check(&store, &case));
}

#[test]
fn rocksdb_agrees_with_the_model() {
    let directory = tempfile::tempdir().unwrap();
    let config = engine_rocks::Config::default();
    let store = Store::new(RocksEngine::open(directory.path(), &config).unwrap());
    proptest!(ProptestConfig::with_cases(60), |(case in generate::case())| check(&store, &case));
}
