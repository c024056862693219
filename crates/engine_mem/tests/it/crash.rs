//! What a crash of this engine loses, to the letter.

use std::collections::BTreeSet;

use engine_mem::{Config, MemEngine};
use engine_traits::{Cf, Error, KvEngine, Peekable, WriteBatch, WriteOptions};

const UNSYNCED: WriteOptions = WriteOptions {
    sync: false,
    disable_wal: false,
};

fn put(engine: &MemEngine, key: &[u8], opts: &WriteOptions) {
    let mut batch = engine.write_batch();
    batch.put(Cf::Default, key, b"default");
    batch.put(Cf::Write, key, b"write");
    engine.write(batch, opts).unwrap();
}

fn has(engine: &MemEngine, key: &[u8]) -> bool {
    let default = engine.get(Cf::Default, key).unwrap().is_some();
    assert_eq!(
        engine.get(Cf::Write, key).unwrap().is_some(),
        default,
        "a batch is half there"
    );
    default
}

#[test]
fn unsynced_writes_are_lost() {
    let engine = MemEngine::new();
    put(&engine, b"1", &WriteOptions::SYNCED);
    put(&engine, b"2", &UNSYNCED);
    assert_eq!(engine.unsynced_batches(), 1);
    let survivor = engine.crash();
    assert!(has(&survivor, b"1"));
    assert!(!has(&survivor, b"2"));
    assert_eq!(survivor.unsynced_batches(), 0);
    // The crash took a copy: this engine runs on as if nothing had been.
    assert!(has(&engine, b"2"));
    put(&survivor, b"3", &UNSYNCED);
    assert!(!has(&engine, b"3"));
}

#[test]
fn overwritten_and_deleted_values_come_back() {
    let engine = MemEngine::new();
    put(&engine, b"1", &WriteOptions::SYNCED);
    let mut batch = engine.write_batch();
    batch.delete_range(Cf::Default, b"", b"\xff");
    batch.delete(Cf::Write, b"1");
    engine.write(batch, &UNSYNCED).unwrap();
    assert!(!has(&engine, b"1"));
    assert!(has(&engine.crash(), b"1"));
}

#[test]
fn every_torn_tail_occurs_and_is_a_prefix() {
    let engine = MemEngine::new();
    put(&engine, &[0], &WriteOptions::SYNCED);
    for n in 1..=4 {
        put(&engine, &[n], &UNSYNCED);
    }
    let mut lengths = BTreeSet::new();
    for seed in 0..100 {
        let survivor = engine.crash_torn(seed);
        let there: Vec<bool> = (0..=4).map(|n| has(&survivor, &[n])).collect();
        let length = there.iter().filter(|there| **there).count();
        assert!(
            there[..length].iter().all(|there| *there),
            "a hole: {there:?}"
        );
        assert!(length >= 1);
        lengths.insert(length);
        assert_eq!(
            has(&engine.crash_torn(seed), &[4]),
            length == 5,
            "a seed means one tail"
        );
    }
    assert_eq!(lengths, BTreeSet::from([1, 2, 3, 4, 5]));
}

#[test]
fn full_buffers_are_flushed_without_being_asked() {
    let engine = MemEngine::with_config(Config {
        flush_after_bytes: 10_000,
    });
    for n in 0..10_000_u32 {
        put(&engine, &(n % 10).to_be_bytes(), &UNSYNCED);
    }
    assert!(
        engine.memory_usage() < 20_000,
        "{} bytes",
        engine.memory_usage()
    );
    assert!(has(&engine.crash(), &0_u32.to_be_bytes()));
}

#[test]
fn a_refusing_disk_fails_writes_and_changes_nothing() {
    let engine = MemEngine::new();
    engine.fail_writes(true);
    let mut batch = engine.write_batch();
    batch.put(Cf::Default, b"k", b"v");
    assert!(matches!(
        engine.write(batch, &WriteOptions::SYNCED),
        Err(Error::Io(_))
    ));
    assert!(matches!(engine.sync_wal(), Err(Error::Io(_))));
    assert!(matches!(engine.flush(&Cf::ALL), Err(Error::Io(_))));
    assert_eq!(engine.get(Cf::Default, b"k").unwrap(), None);
    engine.fail_writes(false);
    put(&engine, b"k", &WriteOptions::SYNCED);
    assert!(has(&engine.crash(), b"k"));
}
