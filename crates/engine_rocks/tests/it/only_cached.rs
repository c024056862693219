//! Reads that may look at memory alone.

use engine_rocks::RocksEngine;
use engine_traits::{
    Cf, EngineIterator, Error, IterOptions, Iterable, KvEngine, Peekable, ReadOptions, WriteBatch,
    WriteOptions,
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

/// A seek within the prefix of a key that is nowhere is answered by filters, where another seek needs a block.
#[test]
fn filters_answer_for_absent_prefixes() {
    let directories = Directories::new();
    let path = directories.fresh();
    let versions = ["a:00000001", "c:00000001"];
    let seek = |engine: &RocksEngine, within_prefix, key: &[u8]| {
        let options = IterOptions {
            only_cached: true,
            within_prefix,
            ..IterOptions::default()
        };
        let mut iter = engine.iter(Cf::Write, options).unwrap();
        iter.seek(key)
    };
    let engine = RocksEngine::open(&path, &tiny()).unwrap();
    let mut batch = engine.write_batch();
    for key in versions {
        batch.put(Cf::Write, key.as_bytes(), b"v");
    }
    engine.write(batch, &WriteOptions::default()).unwrap();
    engine.flush(&[Cf::Write]).unwrap();
    drop(engine);

    let engine = RocksEngine::open(&path, &tiny()).unwrap();
    // Brings the index and the filter of the file into memory, but no block.
    assert_eq!(seek(&engine, true, b"b:00000000"), Ok(false));
    assert_eq!(seek(&engine, false, b"b:00000000"), Err(Error::NotCached));
    assert_eq!(seek(&engine, true, b"a:00000000"), Err(Error::NotCached));
}
