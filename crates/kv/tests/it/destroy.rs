//! Destroying ranges: everything inside goes, nothing outside, and the space comes back.

use engine_mem::MemEngine;
use engine_rocks::RocksEngine;
use engine_traits::{Cf, KvEngine, Verdict, WriteBatch as _, WriteOptions};
use futures::executor::block_on;
use kv::{Config, Engine, Modify, WriteData};
use runtime::{Runtime, Stepper};

use crate::fixture::{Fixture, key, start};

/// One entry in every data column family.
fn everywhere(name: &str, value: &[u8]) -> WriteData {
    WriteData::new(
        Cf::DATA
            .map(|cf| Modify::Put(cf, key(name), value.to_vec()))
            .into(),
    )
}

async fn present<E: KvEngine>(fixture: &Fixture<E>, name: &str) -> Vec<bool> {
    let mut found = Vec::new();
    for cf in Cf::DATA {
        found.push(fixture.get(cf, name).await.is_some());
    }
    found
}

async fn destroys_what_lies_inside<E: KvEngine>(fixture: &Fixture<E>) {
    for name in ["a", "b", "bb", "c", "d"] {
        fixture.write(everywhere(name, b"v")).await.unwrap();
    }
    fixture
        .local
        .destroy_range(key("b"), key("c"))
        .await
        .unwrap();
    for (name, stays) in [
        ("a", true),
        ("b", false),
        ("bb", false),
        ("c", true),
        ("d", true),
    ] {
        assert_eq!(present(fixture, name).await, [stays; 3], "{name}");
    }
    // Again, and where nothing is.
    fixture
        .local
        .destroy_range(key("b"), key("c"))
        .await
        .unwrap();
    fixture
        .local
        .destroy_range(key("x"), key("y"))
        .await
        .unwrap();
    fixture.write(everywhere("b", b"new")).await.unwrap();
    assert_eq!(present(fixture, "b").await, [true; 3]);
}

#[test]
fn in_memory() {
    let stepper = Stepper::new(1);
    let fixture = start(MemEngine::new(), &stepper.runtime(), Config::default());
    stepper.block_on(destroys_what_lies_inside(&fixture));
}

#[test]
fn on_disk_and_the_space_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::system("destroy-test", 1).unwrap();
    let engine = RocksEngine::open(dir.path(), &engine_rocks::Config::default()).unwrap();
    let fixture = start(engine.clone(), &runtime, Config::default());
    // Local state that nobody flushes: it must not keep the log.
    let mut batch = engine.write_batch();
    batch.put(Cf::Raft, b"state", b"of a region");
    engine.write(batch, &WriteOptions::SYNCED).unwrap();
    block_on(destroys_what_lies_inside(&fixture));

    // Half of it in files, half of it still in memory, and all of it incompressible.
    const VALUE: usize = 4096;
    const KEYS: u64 = 1500;
    let mut state = 1_u64;
    let mut noise = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    for n in 0..KEYS {
        let value: Vec<u8> = (0..VALUE).map(|_| noise()).collect();
        block_on(fixture.write(everywhere(&format!("fill {n:05}"), &value))).unwrap();
        if n == KEYS / 2 {
            engine.flush(&Cf::DATA).unwrap();
        }
    }
    let used = engine.disk_usage().unwrap();
    assert!(used > 3 * KEYS * VALUE as u64, "{used} bytes");
    block_on(fixture.local.destroy_range(key("fill"), key("film"))).unwrap();
    let left = engine.disk_usage().unwrap();
    assert!(left < 512 << 10, "{left} of {used} bytes are left");
    assert_eq!(block_on(present(&fixture, "fill 00001")), [false; 3]);
    assert_eq!(block_on(present(&fixture, "a")), [true; 3]);

    block_on(fixture.local.close());
    let closed = block_on(fixture.local.destroy_range(key("a"), key("b")));
    assert!(matches!(closed, Err(kv::Error::Closed)), "{closed:?}");
    drop(fixture);
    runtime.shutdown();
}

/// A client's deletion of a range gives its space back by itself; a small one is not worth a compaction.
#[test]
fn a_deleted_range_gives_its_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::system("delete-test", 1).unwrap();
    let engine = RocksEngine::open(dir.path(), &engine_rocks::Config::default()).unwrap();
    let fixture = start(engine.clone(), &runtime, Config::default());
    let delete = |first: &str, last: &str| {
        let range = Modify::DeleteRange(Cf::Default, key(first), key(last));
        block_on(fixture.write(WriteData::new(vec![range]))).unwrap();
    };
    let files = || engine.stats().cfs[Cf::Default.index()].live_file_bytes;
    let fill = |prefix: &str, count: u64| {
        let mut state = 1_u64;
        for n in 0..count {
            let mut value = Vec::with_capacity(64 << 10);
            while value.len() < 64 << 10 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                value.extend_from_slice(&state.to_be_bytes());
            }
            let put = Modify::Put(Cf::Default, key(&format!("{prefix} {n:05}")), value);
            block_on(fixture.write(WriteData::new(vec![put]))).unwrap();
        }
        engine.flush(&Cf::DATA).unwrap();
    };
    fill("few", 8);
    fill("many", 120);
    let full = files();
    assert!(full > 8 << 20, "{full} bytes");
    delete("few", "fez");
    delete("many", "mbny");
    // Nobody tells when the space is free.
    let patience = runtime.clock.now() + std::time::Duration::from_secs(60);
    while files() > full / 4 {
        assert!(
            runtime.clock.now() < patience,
            "{} of {full} bytes",
            files()
        );
        block_on(runtime.timer.sleep(std::time::Duration::from_millis(20)));
    }
    block_on(fixture.local.close());
    drop(fixture);
    runtime.shutdown();
}

/// What is destroyed is destroyed also after a crash.
#[test]
fn is_durable_when_it_is_answered() {
    let stepper = Stepper::new(2);
    let engine = MemEngine::new();
    let fixture = start(engine.clone(), &stepper.runtime(), Config::default());
    stepper
        .block_on(fixture.write(everywhere("b", b"v")))
        .unwrap();
    stepper
        .block_on(fixture.local.destroy_range(key("a"), key("c")))
        .unwrap();
    let survived = start(engine.crash(), &stepper.runtime(), Config::default());
    assert_eq!(stepper.block_on(present(&survived, "b")), [false; 3]);
}

/// Filters see data only, by the keys that regions know.
#[test]
fn filters_never_see_local_state() {
    let stepper = Stepper::new(3);
    let engine = MemEngine::new();
    let fixture = start(engine.clone(), &stepper.runtime(), Config::default());
    stepper
        .block_on(fixture.write(everywhere("k", b"v")))
        .unwrap();
    let mut batch = engine.write_batch();
    batch.put(Cf::Default, keys::STORE_IDENT_KEY, b"ident");
    engine.write(batch, &WriteOptions::SYNCED).unwrap();
    let everything = std::sync::Arc::new(|| -> engine_traits::CompactionFilter {
        Box::new(|seen, _| {
            assert_eq!(seen, key("k").as_encoded());
            Verdict::Remove
        })
    });
    fixture
        .local
        .filter_compactions(Cf::Default, everything)
        .unwrap();
    engine.compact_range(Cf::Default, None, None).unwrap();
    assert_eq!(
        stepper.block_on(present(&fixture, "k")),
        [false, true, true]
    );
    let ident = engine_traits::Peekable::get(&engine, Cf::Default, keys::STORE_IDENT_KEY);
    assert_eq!(ident.unwrap().as_deref(), Some(&b"ident"[..]));
}
