//! An idle engine is small, and figures are true.

use engine_rocks::{Config, RocksEngine};
use engine_traits::KvEngine;

use crate::fixture::{Directories, put};

#[test]
fn an_idle_engine_takes_little_disk_and_memory() {
    let directories = Directories::new();
    let engine = RocksEngine::open(directories.fresh(), &Config::default()).unwrap();
    assert!(
        engine.disk_usage().unwrap() < 1 << 20,
        "{} bytes",
        engine.disk_usage().unwrap()
    );
    put(&engine, b"k", b"v");
    assert!(
        engine.disk_usage().unwrap() < 1 << 20,
        "{} bytes",
        engine.disk_usage().unwrap()
    );
    assert!(
        engine.memory_usage() < 8 << 20,
        "{} bytes",
        engine.memory_usage()
    );
    let figures = engine.stats();
    assert_eq!(figures.block_cache_capacity, 128 << 20);
    assert_eq!((figures.writes, figures.wal_syncs), (1, 1));
}
