//! Random histories beside a naive model: one `BTreeMap` per column family, copied for a snapshot.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::entry;
use crate::{
    Cf, EngineIterator, IterOptions, Iterable, KvEngine, Peekable, Snapshot, WriteBatch,
    WriteOptions,
};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Model = [Map; Cf::ALL.len()];

#[derive(Clone, Debug)]
enum BatchOp {
    Put(Cf, Vec<u8>, Vec<u8>),
    Delete(Cf, Vec<u8>),
    DeleteRange(Cf, Vec<u8>, Vec<u8>),
    SetSavePoint,
    RollBack,
    Pop,
}

#[derive(Clone, Debug)]
enum Move {
    Seek(Vec<u8>),
    SeekForPrev(Vec<u8>),
    First,
    Last,
    Next,
    Prev,
}

#[derive(Clone, Debug)]
enum Action {
    Write(Vec<BatchOp>),
    TakeSnapshot,
    DropSnapshot,
    Get(Cf, Vec<u8>),
    Iterate {
        cf: Cf,
        lower: Option<Vec<u8>>,
        upper: Option<Vec<u8>>,
        moves: Vec<Move>,
    },
    /// Seeks of a column family with prefixes, and how many steps after each.
    IterateVersions(Vec<(Vec<u8>, usize)>),
    Flush(Cf),
    Compact(Cf),
}

/// Short keys, and versions of user keys that are no beginnings of any other.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let short = vec(
        prop_oneof![Just(0_u8), Just(b'a'), Just(b'b'), Just(0xff)],
        0..4,
    );
    prop_oneof![2 => short, 1 => version()]
}

fn version() -> impl Strategy<Value = Vec<u8>> {
    (0..4_u8, 0..6_u64).prop_map(|(user, ts)| {
        let mut key = vec![b'v', user];
        key.extend_from_slice(&ts.to_be_bytes());
        key
    })
}

fn cf() -> impl Strategy<Value = Cf> {
    prop_oneof![4 => Just(Cf::Default), 2 => Just(Cf::Lock), 2 => Just(Cf::Write), 1 => Just(Cf::Raft)]
}

fn batch_op() -> impl Strategy<Value = BatchOp> {
    prop_oneof![
        8 => (cf(), key(), vec(any::<u8>(), 0..8)).prop_map(|(cf, k, v)| BatchOp::Put(cf, k, v)),
        3 => (cf(), key()).prop_map(|(cf, k)| BatchOp::Delete(cf, k)),
        1 => (cf(), key(), key()).prop_map(|(cf, s, e)| BatchOp::DeleteRange(cf, s, e)),
        1 => Just(BatchOp::SetSavePoint),
        1 => Just(BatchOp::RollBack),
        1 => Just(BatchOp::Pop),
    ]
}

fn movement() -> impl Strategy<Value = Move> {
    prop_oneof![
        2 => key().prop_map(Move::Seek),
        2 => key().prop_map(Move::SeekForPrev),
        1 => Just(Move::First),
        1 => Just(Move::Last),
        5 => Just(Move::Next),
        5 => Just(Move::Prev),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let iterate = (
        cf(),
        option::of(key()),
        option::of(key()),
        vec(movement(), 1..20),
    )
        .prop_map(|(cf, lower, upper, moves)| Action::Iterate {
            cf,
            lower,
            upper,
            moves,
        });
    prop_oneof![
        6 => vec(batch_op(), 0..10).prop_map(Action::Write),
        1 => Just(Action::TakeSnapshot),
        1 => Just(Action::DropSnapshot),
        2 => (cf(), key()).prop_map(|(cf, k)| Action::Get(cf, k)),
        6 => iterate,
        3 => vec((version(), 0..4_usize), 1..8).prop_map(Action::IterateVersions),
        1 => cf().prop_map(Action::Flush),
        1 => cf().prop_map(Action::Compact),
    ]
}

pub(super) fn run<E: KvEngine>(make: &impl Fn() -> E, cases: u32) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let histories = vec(action(), 1..40);
    let outcome = TestRunner::new(config).run(&histories, |history| {
        check(&make(), &history);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

fn check<E: KvEngine>(engine: &E, history: &[Action]) {
    let mut model = Model::default();
    let mut snapshots: Vec<(E::Snapshot, Model)> = Vec::new();
    for action in history {
        match action {
            Action::Write(ops) => write(engine, &mut model, ops),
            Action::TakeSnapshot => snapshots.push((engine.snapshot(), model.clone())),
            Action::DropSnapshot => {
                if !snapshots.is_empty() {
                    snapshots.remove(0);
                }
            }
            Action::Get(cf, key) => {
                let expected = model[cf.index()].get(key);
                assert_eq!(engine.get(*cf, key).unwrap().as_ref(), expected);
                for (snapshot, model) in &snapshots {
                    let expected = model[cf.index()].get(key);
                    assert_eq!(snapshot.get(*cf, key).unwrap().as_ref(), expected);
                }
            }
            Action::Iterate {
                cf,
                lower,
                upper,
                moves,
            } => {
                let opts = IterOptions {
                    lower: lower.clone(),
                    upper: upper.clone(),
                    ..IterOptions::default()
                };
                iterate(
                    engine.iter(*cf, opts.clone()).unwrap(),
                    &model[cf.index()],
                    &opts,
                    moves,
                );
                for (snapshot, model) in &snapshots {
                    let iter = snapshot.iter(*cf, opts.clone()).unwrap();
                    iterate(iter, &model[cf.index()], &opts, moves);
                }
            }
            Action::IterateVersions(seeks) => {
                let opts = IterOptions {
                    within_prefix: true,
                    ..IterOptions::default()
                };
                let iter = engine.iter(Cf::Write, opts.clone()).unwrap();
                iterate_versions(iter, &model[Cf::Write.index()], seeks);
                for (snapshot, model) in &snapshots {
                    let iter = snapshot.iter(Cf::Write, opts.clone()).unwrap();
                    iterate_versions(iter, &model[Cf::Write.index()], seeks);
                }
            }
            Action::Flush(cf) => engine.flush(&[*cf]).unwrap(),
            Action::Compact(cf) => engine.compact_range(*cf, None, None).unwrap(),
        }
    }
    compare(&engine.snapshot(), &model);
    for (snapshot, model) in &snapshots {
        compare(snapshot, model);
    }
}

fn compare(snapshot: &impl Snapshot, model: &Model) {
    for cf in Cf::ALL {
        let expected: Vec<_> = model[cf.index()].iter().map(|(k, v)| entry(k, v)).collect();
        assert_eq!(super::scan_all(snapshot, cf), expected, "{cf}");
    }
}

fn write<E: KvEngine>(engine: &E, model: &mut Model, ops: &[BatchOp]) {
    let mut batch = engine.write_batch();
    let mut saved: Vec<Model> = Vec::new();
    let mut next = model.clone();
    for op in ops {
        match op {
            BatchOp::Put(cf, key, value) => {
                batch.put(*cf, key, value);
                next[cf.index()].insert(key.clone(), value.clone());
            }
            BatchOp::Delete(cf, key) => {
                batch.delete(*cf, key);
                next[cf.index()].remove(key);
            }
            BatchOp::DeleteRange(cf, start, end) => {
                batch.delete_range(*cf, start, end);
                next[cf.index()].retain(|key, _| key < start || key >= end);
            }
            BatchOp::SetSavePoint => {
                batch.set_save_point();
                saved.push(next.clone());
            }
            BatchOp::RollBack => match saved.pop() {
                Some(earlier) => {
                    batch.rollback_to_save_point().unwrap();
                    next = earlier;
                }
                None => assert!(batch.rollback_to_save_point().is_err()),
            },
            BatchOp::Pop => assert_eq!(batch.pop_save_point().is_ok(), saved.pop().is_some()),
        }
    }
    engine.write(batch, &WriteOptions::default()).unwrap();
    *model = next;
}

fn iterate_versions(mut iter: impl EngineIterator, map: &Map, seeks: &[(Vec<u8>, usize)]) {
    for (target, steps) in seeks {
        let prefix = Cf::Write.prefix(target);
        let mut expected = map
            .range(target.clone()..)
            .take_while(|(key, _)| Cf::Write.prefix(key) == prefix);
        let mut valid = iter.seek(target).unwrap();
        for _ in 0..=*steps {
            let found = iter.valid().then(|| entry(iter.key(), iter.value()));
            assert_eq!(valid, iter.valid());
            assert_eq!(found, expected.next().map(|(k, v)| entry(k, v)));
            valid = iter.next().unwrap();
        }
    }
}

fn iterate(mut iter: impl EngineIterator, map: &Map, opts: &IterOptions, moves: &[Move]) {
    let inside = |key: &Vec<u8>| {
        opts.lower.as_ref().is_none_or(|lower| key >= lower)
            && opts.upper.as_ref().is_none_or(|upper| key < upper)
    };
    let entries: Vec<_> = map.iter().filter(|(key, _)| inside(key)).collect();
    let mut at: Option<usize> = None;
    for movement in moves {
        let valid = match movement {
            Move::Seek(key) => {
                at = entries.iter().position(|(found, _)| *found >= key);
                iter.seek(key)
            }
            Move::SeekForPrev(key) => {
                at = entries.iter().rposition(|(found, _)| *found <= key);
                iter.seek_for_prev(key)
            }
            Move::First => {
                at = (!entries.is_empty()).then_some(0);
                iter.seek_to_first()
            }
            Move::Last => {
                at = entries.len().checked_sub(1);
                iter.seek_to_last()
            }
            Move::Next => {
                at = at.map(|at| at + 1).filter(|at| *at < entries.len());
                iter.next()
            }
            Move::Prev => {
                at = at.and_then(|at| at.checked_sub(1));
                iter.prev()
            }
        };
        let expected = at.map(|at| entry(entries[at].0, entries[at].1));
        let found = iter.valid().then(|| entry(iter.key(), iter.value()));
        assert_eq!(valid.unwrap(), iter.valid());
        assert_eq!(found, expected, "after {movement:?} within {opts:?}");
    }
}
