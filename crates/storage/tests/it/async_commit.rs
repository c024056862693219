//! Reads beside transactions whose commit timestamp the server chooses.

use concurrency_manager::{LockGuard, MemoryLock};
use kvproto::kvrpcpb::{Context, Mutation, Op, PrewriteRequest};
use storage::{Config, Error, Prewrite, PrewriteResult, Result, ScanOptions};
use txn_types::{Key, Lock, LockType, TimeStamp};

use crate::driver::{World, tracker};

fn key(name: &str) -> Key {
    Key::from_raw(name.as_bytes())
}

fn request(world: &World, start: u64, one_pc: bool) -> PrewriteRequest {
    let mut mutation = Mutation::default();
    mutation.set_op(Op::Put);
    mutation.set_key(b"k".to_vec());
    mutation.set_value(b"v".to_vec());
    let mut request = PrewriteRequest::default();
    request.set_context(world.context());
    request.set_primary_lock(b"k".to_vec());
    request.set_start_version(start);
    request.set_lock_ttl(3000);
    request.set_use_async_commit(!one_pc);
    request.set_try_one_pc(one_pc);
    request.mut_mutations().push(mutation);
    request
}

fn publish(world: &World, name: &str, lock_type: LockType, one_pc: bool) -> LockGuard {
    let cm = world.storage.concurrency_manager();
    let made = cm.publish(&key(name), |max_ts| {
        let mut lock = Lock::new(lock_type, b"k".to_vec(), 10.into(), 3000);
        lock.min_commit_ts = max_ts.max(10.into()).next();
        Some(MemoryLock::of(&lock, one_pc))
    });
    made.unwrap()
}

fn get(world: &World, ctx: Context, ts: TimeStamp) -> Result<bool> {
    let read = world.storage.get(ctx, key("k"), ts, false, tracker());
    world.run(read).map(|found| found.is_some())
}

fn is_locked<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Mvcc(mvcc::Error::KeyIsLocked(_))))
}

#[test]
fn trap_1_read_before_publish_race() {
    let mut outcomes = [0; 3];
    for seed in 0..300 {
        let world = World::new(seed);
        let command = Prewrite::try_from(request(&world, 10, seed % 2 == 0)).unwrap();
        let keys = vec![key("k")];
        let ctx = world.context();
        // Both are begun before either makes a step.
        let prewrite = world.storage.sched_txn_command(command, tracker());
        let read = world
            .storage
            .batch_get(ctx, keys, 60.into(), false, tracker());
        let (written, read) = world.run(futures::future::join(prewrite, read));
        let PrewriteResult {
            min_commit_ts,
            one_pc_commit_ts,
            ..
        } = written.unwrap();
        let commit_ts = min_commit_ts.max(one_pc_commit_ts);
        let locked = match &read {
            Err(_) => is_locked(&read),
            Ok(pairs) => pairs.first().is_some_and(is_locked),
        };
        let seen = read.is_ok_and(|pairs| pairs.iter().any(Result::is_ok));
        let outcome = match commit_ts > 60.into() {
            true => 0,
            false if locked => 1,
            false => 2,
        };
        outcomes[outcome] += 1;
        assert!(
            (outcome == 0 && !locked && !seen) || outcome == 1 || (outcome == 2 && seen),
            "seed {seed}: committed at {commit_ts}, locked {locked}, seen {seen}"
        );
    }
    assert!(outcomes[0] > 0, "the read never came first: {outcomes:?}");
    assert!(
        outcomes[1] + outcomes[2] > 0,
        "the write never came first: {outcomes:?}"
    );
}

#[test]
fn a_lock_in_memory_blocks_reads_as_a_written_one() {
    let world = World::new(1);
    let _guard = publish(&world, "k", LockType::Put, false);
    assert!(!get(&world, world.context(), 10.into()).unwrap());
    assert!(is_locked(&get(&world, world.context(), 11.into())));
    let mut bypassing = world.context();
    bypassing.set_resolved_locks(vec![10]);
    assert!(!get(&world, bypassing, 11.into()).unwrap());
    let mut read_committed = world.context();
    read_committed.set_isolation_level(kvproto::kvrpcpb::IsolationLevel::RC);
    assert!(!get(&world, read_committed, 11.into()).unwrap());
    let options = ScanOptions {
        limit: 10,
        ..ScanOptions::default()
    };
    let scan = |start: &str, end: &str| {
        let ctx = world.context();
        let (start, end) = (key(start), Some(key(end)));
        world.run(
            world
                .storage
                .scan(ctx, start, end, options, 20.into(), tracker()),
        )
    };
    assert!(is_locked(&scan("a", "z")));
    assert!(scan("l", "z").is_ok());
    assert!(scan("a", "k").is_ok());
}

#[test]
fn trap_4_max_ts_read_on_a_primary() {
    let world = World::new(1);
    let guard = publish(&world, "k", LockType::Put, false);
    assert!(!get(&world, world.context(), TimeStamp::max()).unwrap());
    let mut replica = world.context();
    replica.set_replica_read(true);
    assert!(is_locked(&get(&world, replica, TimeStamp::max())));
    drop(guard);
    let _guard = publish(&world, "k", LockType::Put, true);
    assert!(is_locked(&get(&world, world.context(), TimeStamp::max())));
    // Trap 3: none of these raised max_ts.
    assert_eq!(world.storage.concurrency_manager().max_ts(), 0.into());
}

#[test]
fn a_scan_of_locks_waits_for_every_lock_in_memory() {
    let world = World::new(1);
    let _guard = publish(&world, "k", LockType::Lock, true);
    let scan = |max: u64, end: Option<Key>| {
        let ctx = world.context();
        let storage = &world.storage;
        world.run(storage.scan_lock(ctx, max.into(), None, end, 0, tracker()))
    };
    assert!(is_locked(&scan(10, None)));
    assert!(scan(9, None).is_ok());
    assert!(scan(10, Some(key("k"))).is_ok());
}

#[test]
fn memory_is_empty_when_a_prewrite_is_answered_and_when_it_fails() {
    for early in [false, true] {
        let config = Config {
            enable_async_apply_prewrite: early,
            ..Config::default()
        };
        let world = World::over(engine_mem::MemEngine::new(), 1, &config);
        let run = |start| {
            let command = Prewrite::try_from(request(&world, start, false)).unwrap();
            world.run(world.storage.sched_txn_command(command, tracker()))
        };
        assert_eq!(run(10).unwrap().min_commit_ts, 11.into());
        world.stepper.run_until_stalled();
        let cm = world.storage.concurrency_manager();
        assert_eq!(cm.locks_under_way(), 0);
        assert_eq!(run(12).unwrap().locks.len(), 1);
        assert_eq!(cm.locks_under_way(), 0);
        assert_eq!(world.storage.scheduler().latches_in_use(), 0);
    }
}
