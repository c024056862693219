//! Gets and small commands that are answered where they arrive, and those that go to the pool after all.

use engine_mem::MemEngine;
use engine_rocks::RocksEngine;
use engine_traits::{Cf, KvEngine, WriteBatch as _, WriteOptions};
use futures::FutureExt as _;
use kvproto::kvrpcpb::{Mutation, Op, PessimisticLockRequest};
use storage::{AcquirePessimisticLock, Error, PessimisticLocked, Result, ValueEntry};
use txn_types::{Key, TimeStamp, Write, WriteType};

use crate::driver::{World, tracker};

fn put(engine: &impl KvEngine, cf: Cf, key: &Key, value: &[u8]) {
    let mut batch = engine.write_batch();
    batch.put(cf, &keys::data_key(key.as_encoded()), value);
    engine.write(batch, &WriteOptions::SYNCED).unwrap();
}

fn put_version(engine: &impl KvEngine, key: &[u8], ts: u64, write_type: WriteType) {
    let value = (write_type == WriteType::Put).then(|| b"v".to_vec());
    let write = Write::new(write_type, TimeStamp::new(ts), value);
    let versioned = Key::from_raw(key).append_ts(TimeStamp::new(ts));
    put(engine, Cf::Write, &versioned, &write.as_ref().to_bytes());
}

fn get<K: KvEngine>(
    world: &World<K>,
    key: &[u8],
) -> impl Future<Output = Result<Option<ValueEntry>>> + use<K> {
    let ts = TimeStamp::new(1000);
    world
        .storage
        .get(world.context(), Key::from_raw(key), ts, false, tracker())
}

fn raw_get<K: KvEngine>(
    world: &World<K>,
    key: &[u8],
) -> impl Future<Output = Result<Option<Vec<u8>>>> + use<K> {
    world
        .storage
        .raw_get(world.context(), String::new(), key.to_vec(), tracker())
}

fn value(found: Result<Option<ValueEntry>>) -> Option<Vec<u8>> {
    found.unwrap().map(|entry| entry.value)
}

/// Nothing of the pool runs unless the stepper does.
#[test]
fn what_is_in_memory_needs_no_thread_of_the_pool() {
    let world = World::new(1);
    put_version(&world.engine, b"a", 10, WriteType::Put);
    let put = (b"r".to_vec(), b"w".to_vec());
    let put = world
        .storage
        .raw_put(world.context(), String::new(), put, 0, tracker());
    world.run(put).unwrap();
    let found = get(&world, b"a").now_or_never().unwrap();
    assert_eq!(value(found).unwrap(), b"v");
    assert_eq!(value(get(&world, b"b").now_or_never().unwrap()), None);
    let found = raw_get(&world, b"r").now_or_never().unwrap();
    assert_eq!(found.unwrap().unwrap(), b"w");
    let concurrency = world.storage.concurrency_manager();
    assert_eq!(concurrency.max_ts(), TimeStamp::new(1000));
}

#[test]
fn refusals_are_told_at_once() {
    let world = World::new(1);
    let empty = get(&world, b"").now_or_never().unwrap();
    assert!(matches!(empty, Err(Error::EmptyKey)), "{empty:?}");
    let mut ctx = world.context();
    ctx.set_region_id(77);
    let elsewhere = world
        .storage
        .raw_get(ctx, String::new(), b"r".to_vec(), tracker())
        .now_or_never()
        .unwrap();
    let Err(Error::Kv(kv::Error::Region(error))) = elsewhere else {
        panic!("{elsewhere:?}");
    };
    assert!(error.has_region_not_found());
}

#[test]
fn a_key_with_many_versions_is_for_the_pool() {
    let world = World::new(1);
    put_version(&world.engine, b"a", 10, WriteType::Put);
    for ts in 11..200 {
        put_version(&world.engine, b"a", ts, WriteType::Rollback);
    }
    let mut found = Box::pin(get(&world, b"a"));
    assert!((&mut found).now_or_never().is_none());
    assert_eq!(value(world.run(found)).unwrap(), b"v");
}

#[test]
fn what_a_file_must_be_read_for_is_for_the_pool() {
    let directory = tempfile::TempDir::new().unwrap();
    let open = || RocksEngine::open(directory.path(), &engine_rocks::Config::default()).unwrap();
    let engine = open();
    put_version(&engine, b"a", 10, WriteType::Put);
    put(
        &engine,
        Cf::Default,
        &Key::from_encoded(b"r".to_vec()),
        b"w",
    );
    engine.flush(&Cf::DATA).unwrap();
    drop(engine);

    let world = World::over(open(), 1, &storage::Config::default());
    let mut found = Box::pin(get(&world, b"a"));
    assert!((&mut found).now_or_never().is_none());
    assert_eq!(value(world.run(found)).unwrap(), b"v");
    let mut found = Box::pin(raw_get(&world, b"r"));
    assert!((&mut found).now_or_never().is_none());
    assert_eq!(world.run(found).unwrap().unwrap(), b"w");
    // Once read it is in the cache.
    let found = get(&world, b"a").now_or_never().unwrap();
    assert_eq!(value(found).unwrap(), b"v");
    let found = raw_get(&world, b"r").now_or_never().unwrap();
    assert_eq!(found.unwrap().unwrap(), b"w");
}

#[test]
fn the_cost_of_a_get_counts_once() {
    let world: World<MemEngine> = World::new(1);
    put_version(&world.engine, b"a", 10, WriteType::Put);
    for ts in 11..200 {
        put_version(&world.engine, b"a", ts, WriteType::Rollback);
    }
    let account = tracker();
    let ts = TimeStamp::new(1000);
    let found = world.storage.get(
        world.context(),
        Key::from_raw(b"a"),
        ts,
        false,
        account.clone(),
    );
    assert_eq!(value(world.run(found)).unwrap(), b"v");
    account.with(|account| {
        assert_eq!(account.scan.processed_versions, 1);
        assert_eq!(account.scan.lock.total, 1);
    });
}

fn lock(
    world: &World,
    start: u64,
    keys: u8,
) -> impl Future<Output = Result<PessimisticLocked>> + use<> {
    let mut req = PessimisticLockRequest::default();
    req.set_context(world.context());
    req.set_start_version(start);
    req.set_for_update_ts(start);
    req.set_primary_lock(vec![0]);
    req.set_lock_ttl(3000);
    for key in 0..keys {
        let mut mutation = Mutation::default();
        mutation.set_op(Op::PessimisticLock);
        mutation.set_key(vec![key]);
        req.mut_mutations().push(mutation);
    }
    let command = AcquirePessimisticLock::try_from(req).unwrap();
    world.storage.sched_txn_command(command, tracker())
}

fn world_with_locks_in_memory() -> World {
    let world = World::new(1);
    world.storage.set_pessimistic_txn(&lock_manager::Config {
        pipelined: true,
        in_memory: true,
        ..lock_manager::Config::default()
    });
    world
}

#[test]
fn a_lock_in_memory_needs_no_thread_of_the_pool() {
    let world = world_with_locks_in_memory();
    lock(&world, 10, 4).now_or_never().unwrap().unwrap();
    let before = world.storage.scheduler().latches_in_use();
    assert_eq!((before, world.storage.memory_quota().used()), (0, 0));
    let held = lock(&world, 11, 1);
    let mut waits = Box::pin(held);
    assert!((&mut waits).now_or_never().is_none());
    assert_eq!(world.storage.lock_wait_info().len(), 1, "not in the pool");
}

#[test]
fn a_large_request_is_for_the_pool() {
    let world = world_with_locks_in_memory();
    let mut large = Box::pin(lock(&world, 10, 17));
    assert!((&mut large).now_or_never().is_none());
    world.run(large).unwrap();
}

/// Who goes to the pool after all keeps nobody from the latches until it has its turn there.
#[test]
fn a_command_that_must_read_a_file_begins_again_in_the_pool() {
    let world = world_with_locks_in_memory();
    world.engine.miss_every(1);
    let account = tracker();
    let mut locks = Box::pin(lock(&world, 10, 2));
    let rollback = {
        let mut req = kvproto::kvrpcpb::BatchRollbackRequest::default();
        req.set_context(world.context());
        req.set_start_version(20);
        req.mut_keys().push(b"k".to_vec());
        storage::BatchRollback::try_from(req).unwrap()
    };
    let rollback = world.storage.sched_txn_command(rollback, account.clone());
    let mut rollback = Box::pin(rollback);
    assert!((&mut locks).now_or_never().is_none());
    assert!((&mut rollback).now_or_never().is_none());
    assert_eq!(world.storage.scheduler().latches_in_use(), 0);
    world.run(locks).unwrap();
    world.run(rollback).unwrap();
    account.with(|account| assert_eq!(account.scan.lock.total, 1, "its cost counts once"));
    assert_eq!(world.storage.scheduler().latches_in_use(), 0);
}
