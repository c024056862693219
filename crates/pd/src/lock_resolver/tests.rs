//! Runs over stores in memory, in virtual time.

pub(crate) mod fake;
mod properties;

use std::sync::Arc;

use runtime::Stepper;

use self::fake::{FakeLock, FakeStores, Record, State, ts};
use super::stores::CallError;
use super::walk::Resolved;
use super::{LockResolver, Stores};

/// Long ended when a run looks at it, at 200 s.
const SHORT_TTL: u64 = 3_000;
/// Not ended.
const LONG_TTL: u64 = 1_000_000;
/// Up to where locks are resolved.
const TARGET: u64 = 150_000 << 18;

pub(super) struct World {
    stepper: Stepper,
    stores: Arc<FakeStores>,
    resolver: LockResolver,
}

impl World {
    fn new(seed: u64) -> World {
        let stepper = Stepper::new(seed);
        let runtime = stepper.runtime();
        let stores = Arc::new(FakeStores::new(&runtime));
        let resolver = LockResolver::new(Arc::clone(&stores) as Arc<dyn Stores>, &runtime);
        World {
            stepper,
            stores,
            resolver,
        }
    }

    fn state<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.stores.state.lock())
    }

    fn run(&self) -> Result<Resolved, CallError> {
        self.stepper.block_on(self.resolver.resolve_up_to(TARGET))
    }

    fn lock(&self, key: &str, lock: &FakeLock) {
        self.state(|state| state.lock(key, lock.clone()));
    }

    fn locked(&self) -> Vec<String> {
        let text = |key: &Vec<u8>| String::from_utf8(key.clone()).unwrap();
        self.state(|state| state.locks.keys().map(text).collect())
    }

    fn outcome(&self, key: &str, start_ts: u64) -> Option<Record> {
        self.state(|state| state.outcome(key, start_ts))
    }

    fn calls(&self, name: &str) -> usize {
        self.state(|state| state.calls.get(name).copied().unwrap_or_default())
    }
}

fn prewritten(start_ts: u64, primary: &str) -> FakeLock {
    FakeLock {
        start_ts,
        primary: primary.to_owned(),
        ttl: SHORT_TTL,
        min_commit_ts: start_ts + 1,
        ..FakeLock::default()
    }
}

fn of_a_statement(start_ts: u64, primary: &str) -> FakeLock {
    FakeLock {
        pessimistic: true,
        for_update_ts: start_ts + 5,
        min_commit_ts: 0,
        ..prewritten(start_ts, primary)
    }
}

/// The primary's lists the others; those list nothing.
fn of_async_commit(start_ts: u64, primary: &str, secondaries: &[&str], commit_ts: u64) -> FakeLock {
    FakeLock {
        secondaries: Some(secondaries.iter().map(|key| (*key).to_owned()).collect()),
        min_commit_ts: commit_ts,
        ..prewritten(start_ts, primary)
    }
}

fn finished(locks: u64, regions: u64) -> Resolved {
    Resolved {
        safe_point: TARGET,
        holder: None,
        locks,
        regions,
    }
}

#[test]
fn without_locks_a_run_asks_each_region_once() {
    let world = World::new(1);
    world
        .stores
        .split(&[b"raw", &super::page::encoded(b"k100")]);
    assert_eq!(world.run(), Ok(finished(0, 3)));
    assert_eq!(world.calls("scan"), 3);
    assert_eq!(world.state(|state| state.runs_ended), 1);
}

#[test]
fn what_committed_is_committed_and_what_did_not_is_rolled_back() {
    let world = World::new(2);
    world.stores.split(&[&super::page::encoded(b"b")]);
    let (done, dead, late) = (ts(100_000), ts(110_000), ts(160_000));
    world.state(|state| state.record("a1", done, Record::Committed(done + 7)));
    world.lock("b1", &prewritten(done, "a1"));
    world.lock("a2", &prewritten(dead, "b2"));
    world.lock("b2", &prewritten(dead, "b2"));
    world.lock("c", &prewritten(late, "c"));
    // The question of its fate has ended the third one already.
    assert_eq!(world.run(), Ok(finished(2, 2)));
    assert_eq!(world.outcome("b1", done), Some(Record::Committed(done + 7)));
    for key in ["a2", "b2"] {
        assert_eq!(world.outcome(key, dead), Some(Record::RolledBack));
    }
    assert_eq!(world.locked(), ["c"], "it began after the target");
}

#[test]
fn a_primary_that_never_came_is_fenced_off() {
    let world = World::new(3);
    let start_ts = ts(100_000);
    world.lock("k", &prewritten(start_ts, "never"));
    assert_eq!(world.run(), Ok(finished(1, 1)));
    for key in ["k", "never"] {
        assert_eq!(world.outcome(key, start_ts), Some(Record::RolledBack));
    }
}

#[test]
fn a_primary_that_may_still_come_is_waited_for() {
    let world = World::new(4);
    let start_ts = ts(100_000);
    let mut lock = prewritten(start_ts, "not yet");
    lock.ttl = LONG_TTL;
    world.lock("k", &lock);
    world.lock("dead", &prewritten(start_ts - 1, "dead"));
    let resolved = world.run().unwrap();
    assert_eq!(resolved.safe_point, start_ts - 1);
    assert_eq!(resolved.holder.unwrap().primary, b"not yet");
    assert_eq!(world.outcome("not yet", start_ts), None);
    assert_eq!(world.locked(), ["k"]);
}

#[test]
fn who_is_alive_holds_the_point_back_and_nobody_else() {
    let world = World::new(5);
    let (old, young) = (ts(100_000), ts(120_000));
    for (key, start_ts) in [("b", old), ("y", young)] {
        let mut primary = of_a_statement(start_ts, key);
        primary.ttl = LONG_TTL;
        world.lock(key, &primary);
    }
    // Only the primary's time is prolonged by heart-beats.
    world.lock("c", &of_a_statement(old, "b"));
    for (key, start_ts) in [("a", old - 1), ("d", old + 1), ("z", young + 1)] {
        world.lock(key, &prewritten(start_ts, key));
    }
    let resolved = world.run().unwrap();
    assert_eq!(resolved.safe_point, old - 1);
    assert_eq!(resolved.locks, 3);
    let holder = resolved.holder.unwrap();
    assert_eq!((holder.start_ts, holder.primary), (old, b"b".to_vec()));
    assert_eq!(world.locked(), ["b", "c", "y"]);
}

#[test]
fn locks_of_statements_go_without_a_trace() {
    let world = World::new(6);
    let (dead, orphan, moved) = (ts(100_000), ts(101_000), ts(102_000));
    world.lock("a", &of_a_statement(dead, "a"));
    world.lock("b", &of_a_statement(dead, "a"));
    world.lock("c", &of_a_statement(orphan, "gone"));
    // Its statement was repeated with another primary key.
    world.lock("d", &of_a_statement(moved, "e"));
    world.lock("e", &of_a_statement(moved, "f"));
    assert_eq!(world.run(), Ok(finished(5, 1)));
    assert!(world.locked().is_empty());
    assert!(world.state(|state| state.records.is_empty()));
}

#[test]
fn a_lock_of_a_statement_does_not_decide_about_a_commit() {
    let world = World::new(7);
    let start_ts = ts(100_000);
    world.state(|state| state.record("p", start_ts, Record::Committed(start_ts + 9)));
    world.lock("a", &of_a_statement(start_ts, "stale"));
    world.lock("b", &prewritten(start_ts, "p"));
    world.lock("c", &of_a_statement(start_ts, "p"));
    assert_eq!(world.run(), Ok(finished(3, 1)));
    let committed = Some(Record::Committed(start_ts + 9));
    assert_eq!(world.outcome("b", start_ts), committed);
    for key in ["a", "c", "stale"] {
        assert_eq!(world.outcome(key, start_ts), None, "{key}");
    }
}

#[test]
fn an_asynchronous_commit_is_decided_by_all_its_keys() {
    let world = World::new(8);
    world.stores.split(&[&super::page::encoded(b"k3")]);
    let start_ts = ts(100_000);
    world.lock(
        "k1",
        &of_async_commit(start_ts, "k1", &["k3", "k2"], start_ts + 3),
    );
    world.lock("k2", &of_async_commit(start_ts, "k1", &[], start_ts + 9));
    world.lock("k3", &of_async_commit(start_ts, "k1", &[], start_ts + 5));
    assert_eq!(world.run(), Ok(finished(3, 2)));
    for key in ["k1", "k2", "k3"] {
        let committed = Some(Record::Committed(start_ts + 9));
        assert_eq!(world.outcome(key, start_ts), committed);
    }
    assert_eq!(world.calls("check_secondaries"), 2, "one for each region");
}

#[test]
fn an_asynchronous_commit_without_one_of_its_keys_is_rolled_back() {
    let world = World::new(9);
    let start_ts = ts(100_000);
    world.lock(
        "k1",
        &of_async_commit(start_ts, "k1", &["k2", "k3"], start_ts + 3),
    );
    world.lock("k2", &of_async_commit(start_ts, "k1", &[], start_ts + 9));
    assert_eq!(world.run(), Ok(finished(2, 1)));
    for key in ["k1", "k2", "k3"] {
        assert_eq!(world.outcome(key, start_ts), Some(Record::RolledBack));
    }
}

#[test]
fn an_asynchronous_commit_that_one_client_finished_in_part_is_finished() {
    let world = World::new(10);
    let start_ts = ts(100_000);
    let committed = Record::Committed(start_ts + 9);
    world.lock(
        "k1",
        &of_async_commit(start_ts, "k1", &["k2", "k3"], start_ts + 3),
    );
    world.lock("k3", &of_async_commit(start_ts, "k1", &[], start_ts + 4));
    world.state(|state| state.record("k2", start_ts, committed));
    assert_eq!(world.run(), Ok(finished(2, 1)));
    for key in ["k1", "k2", "k3"] {
        assert_eq!(world.outcome(key, start_ts), Some(committed));
    }
}

#[test]
fn an_asynchronous_commit_that_fell_back_is_an_ordinary_one() {
    let world = World::new(11);
    let start_ts = ts(100_000);
    world.lock(
        "k1",
        &of_async_commit(start_ts, "k1", &["k2"], start_ts + 3),
    );
    world.lock("k2", &prewritten(start_ts, "k1"));
    assert_eq!(world.run(), Ok(finished(2, 1)));
    for key in ["k1", "k2"] {
        assert_eq!(world.outcome(key, start_ts), Some(Record::RolledBack));
    }
}

#[test]
fn an_asynchronous_commit_that_is_alive_is_let_alone() {
    let world = World::new(12);
    let start_ts = ts(100_000);
    let mut lock = of_async_commit(start_ts, "k1", &["k2"], start_ts + 3);
    lock.ttl = LONG_TTL;
    world.lock("k1", &lock);
    assert_eq!(world.run().unwrap().safe_point, start_ts - 1);
    assert_eq!(world.calls("check_secondaries"), 0);
    assert_eq!(world.locked(), ["k1"]);
}

#[test]
fn each_holder_of_a_shared_lock_ends_by_itself() {
    let world = World::new(13);
    let (dead, alive) = (ts(100_000), ts(101_000));
    for start_ts in [dead, alive] {
        let primary = format!("p{start_ts}");
        let mut lock = of_a_statement(start_ts, &primary);
        lock.ttl = if start_ts == dead {
            SHORT_TTL
        } else {
            LONG_TTL
        };
        world.lock(&primary, &lock);
        lock.shared = true;
        world.lock("shared", &lock);
    }
    assert_eq!(world.run().unwrap().safe_point, alive - 1);
    let left = world.state(|state| state.locks[b"shared".as_slice()].clone());
    let starts: Vec<u64> = left.iter().map(|lock| lock.start_ts).collect();
    assert_eq!(starts, [alive]);
}

#[test]
fn many_locks_are_taken_in_pages_and_each_transaction_is_asked_once() {
    let mut world = World::new(14);
    world.resolver.page_locks = 8;
    let start_ts = ts(100_000);
    world.state(|state| state.record("p", start_ts, Record::Committed(start_ts + 1)));
    for number in 0..100 {
        world.lock(&format!("k{number:03}"), &prewritten(start_ts, "p"));
    }
    assert_eq!(world.run(), Ok(finished(100, 1)));
    assert_eq!(world.calls("check_txn"), 1);
    // Twelve full pages, the rest, and the walk that finds nothing.
    assert_eq!(world.calls("scan"), 14);
    assert_eq!(world.calls("resolve"), 13);
}

#[test]
fn pages_that_are_too_large_shrink() {
    let world = World::new(15);
    world.state(|state| state.locks_max = Some(3));
    for number in 0..20 {
        let key = format!("k{number:03}");
        world.lock(&key, &prewritten(ts(100_000) + number, &key));
    }
    assert_eq!(world.run(), Ok(finished(20, 1)));
}

#[test]
fn a_store_that_is_away_fails_the_run_and_is_named() {
    let world = World::new(16);
    world.lock("k", &prewritten(ts(100_000), "k"));
    world.state(|state| state.dead_store = Some(1));
    let error = world.run().unwrap_err().to_string();
    assert!(error.contains("store 1"), "{error}");
    assert_eq!(world.state(|state| state.runs_ended), 1);
    world.state(|state| state.dead_store = None);
    assert_eq!(world.run(), Ok(finished(1, 1)));
}

#[test]
fn what_a_store_only_says_to_have_done_is_done_again() {
    let world = World::new(18);
    world.state(|state| state.idle_answers = 2);
    for key in ["a", "b"] {
        world.lock(key, &prewritten(ts(100_000), "a"));
    }
    assert_eq!(world.run().unwrap().safe_point, TARGET);
    assert!(world.locked().is_empty());
    // One that never does it is found out.
    world.lock("c", &prewritten(ts(110_000), "gone"));
    world.state(|state| state.idle_answers = usize::MAX);
    let error = world.run().unwrap_err().to_string();
    assert!(error.contains("locks are left"), "{error}");
}

#[test]
fn a_lock_that_is_being_written_is_waited_for() {
    let world = World::new(19);
    world.state(|state| state.in_flight = 3);
    world.lock("k", &prewritten(ts(100_000), "k"));
    assert_eq!(world.run(), Ok(finished(1, 1)));
    world.state(|state| state.in_flight = usize::MAX);
    assert!(world.run().is_err(), "but not for ever");
}

#[test]
fn a_transaction_that_nobody_can_tell_of_is_let_alone() {
    let world = World::new(20);
    let start_ts = ts(100_000);
    // Its primary key says that another one is.
    world.lock("k", &prewritten(start_ts, "p"));
    world.lock("p", &prewritten(start_ts, "q"));
    world.lock("dead", &prewritten(start_ts - 1, "dead"));
    let resolved = world.run().unwrap();
    assert_eq!(resolved.safe_point, start_ts - 1);
    let reason = resolved.holder.unwrap().reason;
    assert!(reason.contains("primary mismatch"), "{reason}");
    assert!(world.locked().contains(&"k".to_owned()));
}

#[test]
fn a_hole_between_regions_fails_the_run() {
    let world = World::new(17);
    world.stores.split(&[b"b", b"c"]);
    world.stores.forget_region(b"b");
    assert!(world.run().is_err());
}
