//! The life of a command: admission, latches, deadline, limits, and clients that go away.

use std::time::Duration;

use engine_mem::MemEngine;
use engine_traits::{Cf, Peekable};
use futures::FutureExt as _;
use futures::future::join_all;
use kvproto::kvrpcpb;
use online_config::ReadableSize;
use storage::{Commit, Config, Error, Prewrite, ResolveLock};
use txn_types::{Key, TimeStamp};

use crate::driver::{World, tracker};

fn prewrite(ctx: kvrpcpb::Context, start: u64, keys: &[&[u8]], value: &[u8]) -> Prewrite {
    let mut req = kvrpcpb::PrewriteRequest::default();
    req.set_context(ctx);
    req.set_start_version(start);
    req.set_primary_lock(keys[0].to_vec());
    req.set_lock_ttl(3000);
    for key in keys {
        let mut mutation = kvrpcpb::Mutation::default();
        mutation.set_key(key.to_vec());
        mutation.set_value(value.to_vec());
        req.mut_mutations().push(mutation);
    }
    Prewrite::try_from(req).unwrap()
}

fn commit(ctx: kvrpcpb::Context, start: u64, commit: u64, keys: &[&[u8]]) -> Commit {
    let mut req = kvrpcpb::CommitRequest::default();
    req.set_context(ctx);
    req.set_start_version(start);
    req.set_commit_version(commit);
    req.set_keys(keys.iter().map(|key| key.to_vec()).collect());
    Commit::try_from(req).unwrap()
}

fn is_locked(engine: &MemEngine, key: &[u8]) -> bool {
    let key = keys::data_key(Key::from_raw(key).as_encoded());
    engine.get(Cf::Lock, &key).unwrap().is_some()
}

fn assert_idle(world: &World) {
    assert_eq!(world.storage.scheduler().latches_in_use(), 0);
    assert_eq!(world.storage.scheduler().pending_bytes(), 0);
}

#[test]
fn of_many_transactions_on_crossing_keys_none_is_half_there() {
    for seed in 0..20 {
        let world = World::new(seed);
        let all: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
        let commands = (0..12usize).map(|n| {
            let mut keys = [all[n % 4], all[(n + 1) % 4], all[(n * 3) % 4]];
            keys.rotate_left(n % 3);
            let command = prewrite(world.context(), n as u64 + 1, &keys, b"v");
            world.storage.sched_txn_command(command, tracker())
        });
        let results = world.run(join_all(commands));
        for (n, result) in results.into_iter().enumerate() {
            // A refused one reports the locks of others and leaves none of its own.
            let refused = !result.unwrap().locks.is_empty();
            let locked = all.iter().any(|key| {
                let lock = world.run(world.storage.scan_lock(
                    world.context(),
                    TimeStamp::max(),
                    Some(Key::from_raw(key)),
                    None,
                    1,
                    tracker(),
                ));
                lock.unwrap()
                    .first()
                    .is_some_and(|lock| lock.get_lock_version() == n as u64 + 1)
            });
            assert!(!(refused && locked), "seed {seed}, transaction {}", n + 1);
        }
        assert_idle(&world);
    }
}

#[test]
fn dropped_client_loses_no_latch_and_the_command_runs_to_its_end() {
    for steps in 0..12 {
        let world = World::new(steps);
        let keys: [&[u8]; 2] = [b"a", b"b"];
        let begun = world
            .storage
            .sched_txn_command(prewrite(world.context(), 10, &keys, b"v"), tracker());
        for _ in 0..steps {
            world.stepper.step();
        }
        drop(begun);
        world.stepper.run_until_stalled();
        assert_idle(&world);
        let after = world
            .storage
            .sched_txn_command(commit(world.context(), 10, 20, &keys), tracker());
        assert_eq!(
            world.run(after).unwrap(),
            TimeStamp::new(20),
            "dropped after {steps} steps"
        );
    }
}

#[test]
fn dropped_client_does_not_keep_a_put_from_being_written() {
    for polls in 0..3 {
        let world = World::new(polls);
        let pair = (b"k".to_vec(), b"v".to_vec());
        let put = |pair| {
            let cf = String::new();
            world
                .storage
                .raw_put(world.context(), cf, pair, 0, tracker())
        };
        let mut begun = Box::pin(put(pair));
        for _ in 0..polls {
            assert!(begun.as_mut().now_or_never().is_none());
        }
        drop(begun);
        world.stepper.run_until_stalled();
        assert_idle(&world);
        let key = keys::data_key(b"k");
        assert_eq!(world.engine.get(Cf::Default, &key).unwrap().unwrap(), b"v");
        world.run(put((b"k".to_vec(), b"w".to_vec()))).unwrap();
        assert_idle(&world);
    }
}

#[test]
fn dropped_client_does_not_leave_a_region_half_resolved() {
    let world = World::new(3);
    let names: Vec<Vec<u8>> = (0..600).map(|n| format!("k{n:04}").into_bytes()).collect();
    let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let locked = world
        .storage
        .sched_txn_command(prewrite(world.context(), 10, &keys, b"v"), tracker());
    world.run(locked).unwrap();
    let mut req = kvrpcpb::ResolveLockRequest::default();
    req.set_context(world.context());
    req.set_start_version(10);
    req.set_commit_version(20);
    let mut resolving = Box::pin(
        world
            .storage
            .sched_txn_command(ResolveLock::try_from(req).unwrap(), tracker()),
    );
    // Begun: the first poll starts the task of the region.
    let waker = futures::task::noop_waker();
    assert!(
        resolving
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker))
            .is_pending()
    );
    drop(resolving);
    world.stepper.run_until_stalled();
    assert!(keys.iter().all(|key| !is_locked(&world.engine, key)));
    assert_idle(&world);
}

#[test]
fn passed_deadline_writes_nothing() {
    let world = World::new(1);
    let mut ctx = world.context();
    ctx.set_max_execution_duration_ms(5);
    let late = world.storage.sched_txn_command(
        prewrite(ctx.clone(), 10, &[b"a".as_slice()], b"v"),
        tracker(),
    );
    world
        .stepper
        .virtual_clock()
        .advance(Duration::from_millis(6));
    assert!(matches!(world.run(late), Err(Error::DeadlineExceeded)));
    assert!(!is_locked(&world.engine, b"a"));
    assert_idle(&world);
    let read = world.storage.batch_get(
        ctx.clone(),
        vec![Key::from_raw(b"a")],
        TimeStamp::new(5),
        false,
        tracker(),
    );
    world
        .stepper
        .virtual_clock()
        .advance(Duration::from_millis(6));
    assert!(matches!(world.run(read), Err(Error::DeadlineExceeded)));
    let in_time = world
        .storage
        .sched_txn_command(prewrite(ctx, 10, &[b"a".as_slice()], b"v"), tracker());
    world.run(in_time).unwrap();
    assert!(is_locked(&world.engine, b"a"));
}

#[test]
fn too_many_pending_bytes_refuse_the_next_command() {
    let config = Config {
        scheduler_pending_write_threshold: ReadableSize(100),
        ..Config::default()
    };
    let world = World::over(MemEngine::new(), 1, &config);
    let command = |start: u64, key: &[u8]| {
        let command = prewrite(world.context(), start, &[key], &[b'v'; 200]);
        world.storage.sched_txn_command(command, tracker())
    };
    // Larger than the limit alone: it must have its turn.
    let first = command(10, b"a");
    let second = command(11, b"b");
    assert!(matches!(world.run(second), Err(Error::SchedTooBusy)));
    world.run(first).unwrap();
    assert_idle(&world);
    world.run(command(12, b"c")).unwrap();
    assert!(!is_locked(&world.engine, b"b"));
}

#[test]
fn too_large_writes_are_refused_whole() {
    let config = Config {
        max_key_size: ReadableSize(64),
        max_write_size: ReadableSize(1000),
        ..Config::default()
    };
    let world = World::over(MemEngine::new(), 1, &config);
    let run = |keys: &[&[u8]], len: usize| {
        let command = prewrite(world.context(), 10, keys, &vec![b'v'; len]);
        world.run(world.storage.sched_txn_command(command, tracker()))
    };
    assert!(matches!(
        run(&[b"a"], 1001),
        Err(Error::ValueTooLarge {
            size: 1001,
            limit: 1000
        })
    ));
    assert!(matches!(
        run(&[b"a", b"b"], 500),
        Err(Error::WriteTooLarge { limit: 1000, .. })
    ));
    assert!(!is_locked(&world.engine, b"a") && !is_locked(&world.engine, b"b"));
    run(&[b"a"], 500).unwrap();
    assert_idle(&world);
}

#[test]
fn refused_snapshot_gives_the_latches_back() {
    let world = World::new(1);
    let mut foreign = world.context();
    foreign.mut_region_epoch().set_version(99);
    let keys: [&[u8]; 1] = [b"a"];
    let refused = world
        .storage
        .sched_txn_command(prewrite(foreign, 10, &keys, b"v"), tracker());
    assert!(matches!(
        world.run(refused),
        Err(Error::Kv(kv::Error::Region(_)))
    ));
    assert_idle(&world);
    let served = world
        .storage
        .sched_txn_command(prewrite(world.context(), 10, &keys, b"v"), tracker());
    world.run(served).unwrap();
}

#[test]
fn one_seed_gives_one_trace() {
    let trace = |seed| {
        let world = World::new(seed);
        let commands = (0..8u64).map(|n| {
            let command = prewrite(world.context(), n + 1, &[b"a", b"b"], b"v");
            world.start(world.storage.sched_txn_command(command, tracker()))
        });
        let results = world.run(join_all(commands));
        let won: Vec<_> = results
            .iter()
            .map(|r| r.as_ref().unwrap().locks.is_empty())
            .collect();
        (world.stepper.trace_hash(), won)
    };
    assert_eq!(trace(5), trace(5));
    let winners: std::collections::HashSet<_> = (0..20).map(|seed| trace(seed).1).collect();
    assert!(winners.len() > 1, "seeds must lead to different orders");
}

/// Fail points belong to the whole process, so `cargo xtask test` runs these by themselves.
#[cfg(feature = "failpoints")]
mod failpoints {
    use super::*;

    #[test]
    fn failure_before_the_write_releases_everything_and_writes_nothing() {
        let scenario = fail::FailScenario::setup();
        fail::cfg("storage_before_write", "1*return->off").unwrap();
        let world = World::new(1);
        let keys: [&[u8]; 1] = [b"a"];
        let command = || prewrite(world.context(), 10, &keys, b"v");
        let failed = world.run(world.storage.sched_txn_command(command(), tracker()));
        assert!(matches!(failed, Err(Error::Closed)));
        assert!(!is_locked(&world.engine, b"a"));
        assert_idle(&world);
        world
            .run(world.storage.sched_txn_command(command(), tracker()))
            .unwrap();
        scenario.teardown();
    }
}
