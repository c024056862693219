//! The collector in virtual time: when it walks, how it paces itself, and how it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api_version::{ApiV2, KvFormat, RawValue};
use concurrency_manager::SafePoint;
use engine_mem::MemEngine;
use engine_traits::{Cf, KvEngine, Peekable, WriteBatch, WriteOptions};
use gc::{Collector, Config, Data, Settings};
use online_config::{ReadableDuration, ReadableSize};
use runtime::{ShutdownTrigger, Stepper, shutdown_pair};
use test_case::test_case;
use txn_types::{TimeStamp, WriteType};

use crate::store::{Record, put, records};

struct Scene {
    stepper: Stepper,
    engine: MemEngine,
    safe_point: SafePoint,
    settings: Settings,
    /// What the placement driver says.
    given: Arc<AtomicU64>,
    polls: Arc<AtomicU64>,
    stop: ShutdownTrigger,
}

fn version(key: &[u8], commit: u64) -> Record {
    Record {
        key: key.to_vec(),
        commit,
        start: commit - 1,
        kind: WriteType::Put,
        long: true,
        fence: 0,
    }
}

impl Scene {
    fn new(config: &Config) -> Self {
        let stepper = Stepper::new(1);
        let engine = MemEngine::new();
        let safe_point = SafePoint::default();
        let settings = Settings::new(config);
        let data = [Data::Transactions, Data::RawVersions];
        let runtime = stepper.runtime();
        let collector = Collector::new(
            engine.clone(),
            safe_point.clone(),
            settings.clone(),
            (1, &data),
            &runtime,
        );
        let (given, polls) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (stop, stopped) = shutdown_pair();
        let (asked, counted) = (Arc::clone(&given), Arc::clone(&polls));
        let source = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let ts = TimeStamp::new(asked.load(Ordering::SeqCst));
            futures::future::ready(Ok::<_, String>(ts))
        };
        drop(runtime.spawner.spawn(collector.run(source, stopped)));
        Scene {
            stepper,
            engine,
            safe_point,
            settings,
            given,
            polls,
            stop,
        }
    }

    /// Gives a safe point, and time to hear of it and to walk.
    fn give(&self, ts: u64) {
        self.given.store(ts, Ordering::SeqCst);
        self.pass_time(Duration::from_secs(11));
    }

    fn pass_time(&self, time: Duration) {
        self.stepper.advance(time);
        self.stepper.run_until_stalled();
    }

    fn commits(&self, key: &[u8]) -> Vec<u64> {
        let records = records(&self.engine);
        let of_key = records.iter().filter(|record| record.key == key);
        of_key.map(|record| record.commit).collect()
    }
}

#[test]
fn it_collects_when_the_safe_point_grows_and_readers_know() {
    let scene = Scene::new(&Config::default());
    for commit in [10, 20, 30] {
        put(&scene.engine, &version(b"k", commit));
    }
    scene.pass_time(Duration::from_secs(11));
    assert_eq!(scene.commits(b"k"), [30, 20, 10], "no safe point yet");
    scene.give(25);
    assert_eq!(scene.safe_point.get(), TimeStamp::new(25));
    assert_eq!(scene.commits(b"k"), [30, 20]);
    scene.give(30);
    assert_eq!(scene.commits(b"k"), [30]);
    // One that goes back is nobody's safe point.
    put(&scene.engine, &version(b"k", 15));
    scene.give(12);
    assert_eq!(scene.safe_point.get(), TimeStamp::new(30));
    assert_eq!(scene.commits(b"k"), [30, 15]);
    scene.give(31);
    assert_eq!(scene.commits(b"k"), [30]);
}

#[test]
fn what_becomes_garbage_later_goes_later_though_nobody_writes() {
    let scene = Scene::new(&Config::default());
    for commit in [10, 20, 100] {
        put(&scene.engine, &version(b"k", commit));
    }
    scene.give(50);
    assert_eq!(scene.commits(b"k"), [100, 20]);
    let before = scene.engine.stats().writes;
    scene.give(60);
    scene.give(99);
    assert_eq!(scene.engine.stats().writes, before);
    assert_eq!(scene.safe_point.get(), TimeStamp::new(99), "readers know");
    assert_eq!(scene.commits(b"k"), [100, 20]);
    // Now something is due, though nobody has written.
    scene.give(100);
    assert_eq!(scene.commits(b"k"), [100]);
    assert!(scene.engine.stats().writes > before);
}

#[test]
fn deletions_are_paced_and_the_pace_changes_online() {
    let config = Config {
        batch_keys: 1,
        max_write_bytes_per_sec: ReadableSize(10),
        poll_interval: ReadableDuration::secs(1),
        ..Config::default()
    };
    let scene = Scene::new(&config);
    for key in 0..20u8 {
        put(&scene.engine, &version(&[key], 10));
        put(&scene.engine, &version(&[key], 20));
    }
    scene.given.store(20, Ordering::SeqCst);
    let left = || records(&scene.engine).len();
    // Each key is two deletions of 18 bytes: some four seconds.
    scene.pass_time(Duration::from_secs(30));
    let after = left();
    assert!(
        (30..40).contains(&after),
        "{after} records after half a minute"
    );
    scene.settings.set(&Config {
        max_write_bytes_per_sec: ReadableSize(0),
        ..config
    });
    scene.pass_time(Duration::from_secs(10));
    assert_eq!(left(), 20);
}

/// A walk over `keys` keys, one of which has a version to remove, takes eighteen seconds: those of two deletions of 18 bytes.
#[test_case(9, 1; "that found a tenth to remove is followed by another at once")]
#[test_case(30, 2; "that found little is followed by a rest of nine times as long")]
fn a_walk(keys: u8, expected: usize) {
    let scene = Scene::new(&Config {
        batch_keys: 1,
        max_write_bytes_per_sec: ReadableSize(2),
        poll_interval: ReadableDuration::secs(1),
        ..Config::default()
    });
    let seconds = |count| (0..count).for_each(|_| scene.pass_time(Duration::from_secs(1)));
    for key in 0..keys {
        put(&scene.engine, &version(&[key], 10));
    }
    put(&scene.engine, &version(&[0], 20));
    scene.given.store(20, Ordering::SeqCst);
    seconds(40);
    assert_eq!(scene.commits(&[0]), [20]);
    put(&scene.engine, &version(&[0], 30));
    scene.given.store(30, Ordering::SeqCst);
    seconds(40);
    assert_eq!(scene.commits(&[0]).len(), expected);
    assert_eq!(scene.safe_point.get(), TimeStamp::new(30), "readers know");
    seconds(180);
    assert_eq!(scene.commits(&[0]), [30]);
}

#[test]
fn it_ends_in_the_middle_of_a_walk() {
    let scene = Scene::new(&Config {
        batch_keys: 1,
        max_write_bytes_per_sec: ReadableSize(1),
        poll_interval: ReadableDuration::secs(1),
        ..Config::default()
    });
    for key in 0..20u8 {
        put(&scene.engine, &version(&[key], 10));
        put(&scene.engine, &version(&[key], 20));
    }
    scene.give(20);
    scene.stop.trigger();
    scene.stepper.run_until_stalled();
    let left = records(&scene.engine).len();
    let polls = scene.polls.load(Ordering::SeqCst);
    scene.pass_time(Duration::from_secs(1000));
    assert_eq!(records(&scene.engine).len(), left);
    assert!((21..40).contains(&left), "{left}");
    assert_eq!(scene.polls.load(Ordering::SeqCst), polls);
}

#[test]
fn raw_versions_go_and_so_does_what_has_expired() {
    let scene = Scene::new(&Config::default());
    let key = |ts| {
        let key = ApiV2::encode_raw_key(b"rkey", Some(TimeStamp::new(ts)));
        keys::data_key(key.as_encoded())
    };
    let put = |ts, value: RawValue<&[u8]>| {
        let mut batch = scene.engine.write_batch();
        batch.put(Cf::Default, &key(ts), &ApiV2::encode_raw_value(value));
        scene.engine.write(batch, &WriteOptions::SYNCED).unwrap();
    };
    let has = |ts| scene.engine.get(Cf::Default, &key(ts)).unwrap().is_some();
    let now = scene.stepper.clock().unix_millis() / 1000;
    put(10, RawValue::new(b"old"));
    let ends = RawValue {
        expire_ts: Some(now + 1000),
        ..RawValue::new(&b"ends"[..])
    };
    put(20, ends);
    scene.give(20);
    assert!(has(20) && has(10), "the newest below the safe point stays");
    scene.give(21);
    assert!(has(20) && !has(10));
    scene.give(22);
    assert!(has(20));
    // The next growth after it has expired takes it, though nobody has written.
    scene.pass_time(Duration::from_secs(1000));
    scene.give(23);
    assert!(!has(20));
}

#[test]
fn what_cannot_be_read_stays_with_everything_older() {
    let scene = Scene::new(&Config::default());
    put(&scene.engine, &version(b"k", 30));
    put(&scene.engine, &version(b"k", 10));
    let mut batch = scene.engine.write_batch();
    let at = txn_types::Key::from_raw(b"k").append_ts(TimeStamp::new(20));
    let damaged = keys::data_key(at.as_encoded());
    batch.put(Cf::Write, &damaged, b"?");
    // Raw data in the column family of records: its last bytes are no timestamp.
    for last in [b'1', b'2'] {
        let raw = [b"za-raw-key-", &[last][..]].concat();
        batch.put(Cf::Write, &raw, b"P\x01v\x01x");
    }
    scene.engine.write(batch, &WriteOptions::SYNCED).unwrap();
    let before = scene.engine.stats().cfs[Cf::Write.index()].estimated_keys;
    scene.give(100);
    let after = scene.engine.stats().cfs[Cf::Write.index()].estimated_keys;
    assert_eq!(after, before);
    assert!(scene.engine.get(Cf::Write, &damaged).unwrap().is_some());
}
