//! Gets that are answered where they arrive, and those that go to the pool after all.

use engine_mem::MemEngine;
use engine_rocks::RocksEngine;
use engine_traits::{Cf, KvEngine, WriteBatch as _, WriteOptions};
use futures::FutureExt as _;
use storage::{Error, Result, ValueEntry};
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
