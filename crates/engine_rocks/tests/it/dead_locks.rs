//! What is left of released locks does not stay in the way of scans.

use std::time::Duration;

use engine_rocks::{Config, RocksEngine};
use engine_traits::{
    Cf, EngineIterator, Error, IterOptions, Iterable, KvEngine, WriteBatch, WriteOptions,
};
use runtime::Runtime;

use crate::fixture::Directories;

/// Locks that are taken and released, as many as ten thousand transactions leave.
fn take_and_release(engine: &RocksEngine) {
    for n in 0..10_000_u32 {
        let key = n.to_be_bytes();
        let mut locked = engine.write_batch();
        locked.put(Cf::Lock, &key, &[7; 40]);
        engine.write(locked, &WriteOptions::default()).unwrap();
        let mut released = engine.write_batch();
        released.delete(Cf::Lock, &key);
        engine.write(released, &WriteOptions::default()).unwrap();
    }
}

/// Looks for the first lock, over few dead ones.
fn scan(engine: &RocksEngine, max_skipped_internal: u64) -> Result<bool, Error> {
    let options = IterOptions {
        max_skipped_internal,
        ..IterOptions::default()
    };
    let mut iter = Iterable::iter(&engine.snapshot(), Cf::Lock, options).unwrap();
    iter.seek_to_first()
}

#[test]
fn a_scan_over_many_gets_them_removed() {
    let directories = Directories::new();
    let engine = RocksEngine::open(directories.fresh(), &Config::default()).unwrap();
    let runtime = Runtime::system("dead-locks", 1).unwrap();
    take_and_release(&engine);
    assert_eq!(scan(&engine, 100), Err(Error::TooManySkipped));
    let mut waits = 0;
    while scan(&engine, 0).is_ok_and(|found| !found) && scan(&engine, 100).is_err() {
        waits += 1;
        assert!(
            waits < 60,
            "the remains of locks are still there: {:?}",
            engine.stats()
        );
        // Flush and compaction run beside this. The next lock notices that the buffer is to be flushed.
        let mut write = engine.write_batch();
        write.delete(Cf::Lock, b"z");
        engine.write(write, &WriteOptions::default()).unwrap();
        futures::executor::block_on(runtime.timer.sleep(Duration::from_millis(50)));
    }
}
