//! The table of `testdata/versions.txt`: what a walk leaves of one key.

use engine_mem::MemEngine;
use engine_traits::KvEngine;
use gc::{Data, Pass};
use txn_types::{TimeStamp, WriteType};

use crate::store::{Record, put, records, values};

fn kind(letter: char) -> WriteType {
    match letter {
        'P' | 'V' => WriteType::Put,
        'D' => WriteType::Delete,
        'L' => WriteType::Lock,
        'R' => WriteType::Rollback,
        other => panic!("unknown kind {other}"),
    }
}

/// `P30`, `V30` (its value is long), `P10/20` (with a fence at 20).
fn record(word: &str) -> Record {
    let letter = word.chars().next().unwrap();
    let (commit, fence) = word[1..].split_once('/').unwrap_or((&word[1..], "0"));
    let commit: u64 = commit.parse().unwrap();
    Record {
        key: b"k".to_vec(),
        commit,
        start: if letter == 'R' { commit } else { commit - 1 },
        kind: kind(letter),
        long: letter == 'V',
        fence: fence.parse().unwrap(),
    }
}

fn word(record: &Record) -> String {
    let letter = match (record.kind, record.long) {
        (WriteType::Put, true) => 'V',
        (WriteType::Put, false) => 'P',
        (WriteType::Delete, _) => 'D',
        (WriteType::Lock, _) => 'L',
        (WriteType::Rollback, _) => 'R',
    };
    match record.fence {
        0 => format!("{letter}{}", record.commit),
        fence => format!("{letter}{}/{fence}", record.commit),
    }
}

fn left<E: KvEngine>(engine: &E) -> String {
    let words: Vec<_> = records(engine).iter().map(word).collect();
    let orphans = values(engine).len() - records(engine).iter().filter(|r| r.long).count();
    assert_eq!(orphans, 0, "values without a record");
    match words.as_slice() {
        [] => "nothing".to_owned(),
        some => some.join(" "),
    }
}

#[test]
fn what_a_walk_leaves_is_as_recorded() {
    let table = include_str!("../../testdata/versions.txt");
    let mut rows = 0;
    for line in table.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [given, safe_point, expected] = cells[..] else {
            panic!("three cells: {line}");
        };
        let engine = MemEngine::new();
        for word in given.split_whitespace() {
            put(&engine, &record(word));
        }
        let safe_point = TimeStamp::new(safe_point.parse().unwrap());
        let mut pass = Pass::new(engine.clone(), Data::Transactions, safe_point, 0);
        assert!(pass.step(10).unwrap().is_done);
        assert_eq!(left(&engine), expected, "{line}");
        rows += 1;
    }
    assert!(rows > 10);
}

/// The fence of an overlapped rollback that was written after another replica's collector had removed the record.
#[test]
fn trap_16_gc_fence() {
    let engine = MemEngine::new();
    put(&engine, &record("P10/20"));
    assert_eq!(crate::store::read(&records(&engine), b"k", 30), None);
    assert_eq!(crate::store::read(&records(&engine), b"k", 15), Some(10));
    let mut pass = Pass::new(engine.clone(), Data::Transactions, TimeStamp::new(19), 0);
    assert!(pass.step(10).unwrap().is_done);
    assert_eq!(left(&engine), "P10/20", "a read at 19 believes it");
    assert_eq!(pass.next_due(), TimeStamp::new(20));
    let mut pass = Pass::new(engine.clone(), Data::Transactions, TimeStamp::new(20), 0);
    assert!(pass.step(10).unwrap().is_done);
    assert_eq!(left(&engine), "nothing");
}

/// More versions than one batch removes: the tombstone goes with the last of them.
#[test]
fn a_key_with_very_many_versions_is_gone_on_with() {
    let engine = MemEngine::new();
    for commit in 1..=3000 {
        put(&engine, &record(&format!("P{}", commit * 2)));
    }
    put(&engine, &record("D6002"));
    let mut pass = Pass::new(engine.clone(), Data::Transactions, TimeStamp::new(6002), 0);
    let mut steps = 0;
    loop {
        let step = pass.step(512).unwrap();
        assert!(
            step.written_bytes < 40 << 10,
            "{} bytes",
            step.written_bytes
        );
        steps += 1;
        if step.is_done {
            break;
        }
        let left = records(&engine);
        assert_eq!(left[0].commit, 6002, "the delete stays until the end");
        assert_eq!(crate::store::read(&left, b"k", 6002), None);
    }
    assert!(steps > 1);
    assert_eq!(left(&engine), "nothing");
    assert_eq!(pass.totals().removed, 3001);
}
