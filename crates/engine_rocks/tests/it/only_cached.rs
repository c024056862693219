//! Reads that may look at memory alone.

use engine_rocks::RocksEngine;
use engine_traits::{
    Cf, EngineIterator, Error, IterOptions, Iterable, KvEngine, Peekable, ReadOptions,
};

use crate::fixture::{Directories, put, tiny};

fn get(engine: &RocksEngine, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let options = ReadOptions {
        only_cached: true,
        ..ReadOptions::default()
    };
    Peekable::get_with(
        &engine.snapshot(),
        Cf::Default,
        key,
        &options,
        <[u8]>::to_vec,
    )
}

fn first(engine: &RocksEngine) -> Result<Vec<u8>, Error> {
    let options = IterOptions {
        only_cached: true,
        ..IterOptions::default()
    };
    let mut iter = Iterable::iter(&engine.snapshot(), Cf::Default, options)?;
    iter.seek_to_first()?;
    Ok(iter.key().to_vec())
}

#[test]
fn they_never_touch_a_file() {
    let directories = Directories::new();
    let path = directories.fresh();
    let engine = RocksEngine::open(&path, &tiny()).unwrap();
    put(&engine, b"k", b"v");
    assert_eq!(get(&engine, b"k").unwrap().unwrap(), b"v");
    assert_eq!(first(&engine).unwrap(), b"k");
    engine.flush(&Cf::DATA).unwrap();
    drop(engine);

    let engine = RocksEngine::open(&path, &tiny()).unwrap();
    assert_eq!(get(&engine, b"k"), Err(Error::NotCached));
    assert_eq!(first(&engine), Err(Error::NotCached));
    assert_eq!(engine.get(Cf::Default, b"k").unwrap().unwrap(), b"v");
    // From now on it is in the cache.
    assert_eq!(get(&engine, b"k").unwrap().unwrap(), b"v");
    assert_eq!(first(&engine).unwrap(), b"k");
}
