//! Group commit with threads, on the real engine and the real disk.

use std::sync::Arc;

use engine_rocks::RocksEngine;
use engine_traits::{Cf, KvEngine};
use futures::executor::block_on;
use kv::Config;
use runtime::Runtime;

use crate::fixture::{put, start};

#[test]
fn concurrent_writes_share_syncs_and_a_lone_write_has_its_own() {
    const WRITERS: usize = 64;
    const WRITES: usize = 20;

    let directory = tempfile::TempDir::new().unwrap();
    let engine = RocksEngine::open(directory.path(), &engine_rocks::Config::default()).unwrap();
    let runtime = Runtime::system("test", 2).unwrap();
    let fixture = Arc::new(start(engine.clone(), &runtime, Config::default()));

    let before = engine.stats().wal_syncs;
    for n in 0..5 {
        block_on(fixture.write(put("lone", &n.to_string()))).unwrap();
    }
    assert_eq!(engine.stats().wal_syncs - before, 5);

    let before = engine.stats().wal_syncs;
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let fixture = fixture.clone();
            runtime.spawner.spawn(async move {
                for n in 0..WRITES {
                    fixture
                        .write(put(&format!("{writer}-{n}"), "v"))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        block_on(task).unwrap();
    }
    let syncs = engine.stats().wal_syncs - before;
    let writes = (WRITERS * WRITES) as u64;
    assert!(syncs * 4 < writes, "{syncs} syncs for {writes} writes");
    assert_eq!(fixture.local.stats().writes, writes + 5);

    block_on(async {
        for writer in 0..WRITERS {
            for n in 0..WRITES {
                assert!(
                    fixture
                        .get(Cf::Default, &format!("{writer}-{n}"))
                        .await
                        .is_some()
                );
            }
        }
        fixture.local.close().await;
    });
    runtime.shutdown();
}
