//! Random histories that transactions could have left, and random ways to read them.

use engine_traits::{Cf, KvEngine};
use mvcc::Direction;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use txn_types::{
    Key, LastChange, Lock, LockType, Protected, SharedLocks, Write, WriteType, is_short_value,
};

use crate::model::{KeyHistory, Level, Locked, Read, Record};
use crate::store::Store;

/// Raw keys of every case: neighbours, prefixes of each other, one and several groups long.
const KEYS: [&[u8]; 5] = [b"a", b"ab", b"abcdefgh", b"abcdefghi", b"b"];

/// The range and the form of a scan.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub(crate) direction: Direction,
    pub(crate) from: Option<Vec<u8>>,
    pub(crate) to: Option<Vec<u8>>,
    pub(crate) limit: usize,
    pub(crate) sample_step: usize,
}

/// A history and the ways to read it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) keys: Vec<KeyHistory>,
    pub(crate) reads: Vec<(Read, Scan)>,
    /// Start timestamps of transactions, and timestamps not below that they read at.
    pub(crate) command_reads: Vec<(u64, u64)>,
}

impl Case {
    pub(crate) fn write_to<E: KvEngine>(&self, store: &Store<E>) {
        for history in &self.keys {
            let key = Key::from_raw(&history.raw);
            for record in &history.records {
                store.put_write(&key, record.commit_ts.into(), &record.write);
                if record.write.write_type == WriteType::Put && record.write.short_value.is_none() {
                    store.put_default(&key, record.write.start_ts, record.value.clone());
                }
            }
            match &history.lock {
                Locked::No => {}
                Locked::By(lock, value) => {
                    if lock.lock_type == LockType::Put && lock.short_value.is_none() {
                        store.put_default(&key, lock.ts, value.clone());
                    }
                    store.put_lock(&key, lock.clone());
                }
                Locked::Shared(starts) => {
                    let mut locks = SharedLocks::new();
                    for start in starts {
                        let lock =
                            Lock::new(LockType::Pessimistic, b"p".to_vec(), (*start).into(), 1);
                        locks.insert(lock).unwrap();
                    }
                    store.put(Cf::Lock, key, locks.to_bytes());
                }
            }
        }
    }
}

/// One transaction that ended on a key.
#[derive(Clone, Debug)]
struct Step {
    write_type: WriteType,
    /// From the end of the one before to the start of this.
    gap: u64,
    /// From start to commit.
    span: u64,
    long: bool,
    /// A record without data tells where the data is.
    tells: bool,
    rewrite: Rewrite,
}

/// Whether the record was rewritten to fold a rollback in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rewrite {
    No,
    /// At its commit, without a fence.
    Unfenced,
    Fenced,
    /// And the deletion that the fence names was collected before.
    Revived,
}

fn step() -> impl Strategy<Value = Step> {
    let write_type = prop_oneof![
        3 => Just(WriteType::Put),
        1 => Just(WriteType::Delete),
        4 => Just(WriteType::Lock),
        4 => Just(WriteType::Rollback),
    ];
    let rewrite = prop_oneof![
        20 => Just(Rewrite::No),
        1 => Just(Rewrite::Unfenced),
        1 => Just(Rewrite::Fenced),
        1 => Just(Rewrite::Revived),
    ];
    let fields = (
        write_type,
        1..3u64,
        1..3u64,
        prop::bool::weighted(0.2),
        any::<bool>(),
        rewrite,
    );
    fields.prop_map(|(write_type, gap, span, long, tells, rewrite)| Step {
        write_type,
        gap,
        span,
        long,
        tells,
        rewrite,
    })
}

/// Values differ by key and transaction.
fn value(raw: &[u8], start: u64, long: bool) -> Vec<u8> {
    let mut value = format!("{}-{start}", String::from_utf8_lossy(raw)).into_bytes();
    if long {
        value.resize(300, b'.');
    }
    value
}

fn records(raw: &[u8], steps: &[Step]) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut now = 0;
    let mut last_change = LastChange::NotExist;
    for step in steps {
        let start = now + step.gap;
        let commit_ts = if step.write_type == WriteType::Rollback {
            start
        } else {
            start + step.span
        };
        now = commit_ts;
        let value = value(raw, start, step.long);
        let mut write = match step.write_type {
            WriteType::Rollback => Write::new_rollback(start.into(), Protected::from(step.long)),
            WriteType::Put => {
                let short = Some(value.clone()).filter(|value| is_short_value(value));
                Write::new(WriteType::Put, start.into(), short)
            }
            other => Write::new(other, start.into(), None),
        };
        if step.tells && !write.write_type.is_data() {
            write.last_change = last_change;
        }
        last_change = if write.write_type.is_data() {
            LastChange::Exist {
                ts: commit_ts.into(),
                versions: 1,
            }
        } else {
            last_change.seen_from_above()
        };
        records.push(Record {
            commit_ts,
            write,
            value,
        });
    }
    rewrite(&mut records, steps);
    records
}

/// Folds rollbacks in, and takes away what was collected: a deletion goes together with everything
/// below it, and then a rewrite brings one of those records back.
fn rewrite(records: &mut Vec<Record>, steps: &[Step]) {
    let mut revived = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if step.rewrite == Rewrite::No || step.write_type == WriteType::Rollback {
            continue;
        }
        let newer = records[at + 1..]
            .iter()
            .find(|record| record.write.write_type.is_data());
        let newer = newer.map(|record| (record.commit_ts, record.write.write_type));
        let Record {
            commit_ts, write, ..
        } = &mut records[at];
        write.has_overlapped_rollback = true;
        if step.rewrite != Rewrite::Unfenced {
            write.gc_fence = Some(newer.map_or(0, |(commit_ts, _)| commit_ts).into());
        }
        if let (Rewrite::Revived, Some((fence, WriteType::Delete))) = (step.rewrite, newer) {
            revived.push((*commit_ts, fence));
        }
    }
    for (kept, fence) in revived {
        records.retain(|record| record.commit_ts == kept || record.commit_ts > fence);
    }
}

fn lock(raw: &'static [u8]) -> impl Strategy<Value = Locked> {
    let kinds = prop_oneof![
        5 => Just(LockType::Put),
        2 => Just(LockType::Delete),
        1 => Just(LockType::Lock),
        1 => Just(LockType::Pessimistic),
    ];
    let fields = (kinds, 0..80u64, option::of(0..20u64), any::<[bool; 3]>());
    let exclusive = fields.prop_map(move |(lock_type, start, min, [own, is_async, long])| {
        let primary = if own { raw.to_vec() } else { b"p".to_vec() };
        let mut lock = Lock::new(lock_type, primary, start.into(), 3000);
        let value = value(raw, start, long);
        if lock_type == LockType::Put && is_short_value(&value) {
            lock.short_value = Some(value.clone());
        }
        lock.min_commit_ts = min.map_or(0, |min| start + min).into();
        lock.use_async_commit = is_async;
        Locked::By(lock, value)
    });
    prop_oneof![
        2 => Just(Locked::No),
        3 => exclusive,
        1 => vec(0..80u64, 1..3).prop_map(Locked::Shared),
    ]
}

fn key_history(raw: &'static [u8]) -> impl Strategy<Value = KeyHistory> {
    let steps = prop_oneof![2 => vec(step(), 0..6), 1 => vec(step(), 15..40)];
    (steps, lock(raw)).prop_map(move |(steps, lock)| {
        // A lock's value is stored under its start: no ended transaction may have started there.
        let records = records(raw, &steps);
        let lock = match lock {
            Locked::By(lock, value) => {
                let starts = |record: &Record| record.write.start_ts == lock.ts;
                if records.iter().any(starts) {
                    Locked::No
                } else {
                    Locked::By(lock, value)
                }
            }
            other => other,
        };
        KeyHistory {
            raw: raw.to_vec(),
            records,
            lock,
        }
    })
}

fn timestamp() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(u64::MAX), 12 => 0..130u64]
}

fn read() -> impl Strategy<Value = Read> {
    let level = prop_oneof![
        4 => Just(Level::Si),
        1 => Just(Level::Rc),
        1 => Just(Level::RcCheckTs),
    ];
    // Half of all start timestamps: locks get hit often enough.
    let some = || {
        prop_oneof![
            2 => Just(Vec::new()),
            1 => vec(0..80u64, 1..4),
            1 => vec(0..80u64, 40..60),
        ]
    };
    let flags = prop::array::uniform3(prop::bool::weighted(0.2));
    (timestamp(), level, some(), some(), flags).prop_map(
        |(ts, level, bypass, access, [replica, need_commit_ts, key_only])| Read {
            ts,
            level,
            bypass,
            access,
            replica,
            need_commit_ts,
            key_only,
        },
    )
}

fn scan() -> impl Strategy<Value = Scan> {
    let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Backward)];
    let bound = || option::of(prop::sample::select(&KEYS[..]).prop_map(<[u8]>::to_vec));
    let limit = prop_oneof![3 => Just(usize::MAX), 1 => 0..4usize];
    (direction, bound(), bound(), limit, 0..4usize).prop_map(
        |(direction, from, to, limit, sample_step)| Scan {
            direction,
            from,
            to,
            limit,
            sample_step,
        },
    )
}

/// A history and the ways to read it.
pub(crate) fn case() -> impl Strategy<Value = Case> {
    let keys = KEYS.map(key_history);
    let command_read =
        (0..130u64, timestamp()).prop_map(|(start, ts): (u64, u64)| (start, ts.max(start)));
    let reads = (vec((read(), scan()), 8..12), vec(command_read, 4..8));
    (keys, reads).prop_map(|(keys, (reads, command_reads))| Case {
        keys: keys.to_vec(),
        reads,
        command_reads,
    })
}
