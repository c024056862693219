//! Crashes under the stepper: an acknowledged write survives each, any other is whole or absent,
//! and a disk that refuses stops the engine loudly.

use std::sync::Arc;

use engine_mem::MemEngine;
use engine_traits::{Cf, Peekable};
use kv::{Config, Error, Modify, WriteData};
use parking_lot::Mutex;
use runtime::Stepper;

use crate::fixture::{key, put, region_error, start};

const CLIENTS: u64 = 5;
const WRITES: u64 = 20;

/// Several clients write pairs of keys into two column families; at a step that the seed chooses
/// the machine loses power.
fn crash_once(seed: u64) {
    let stepper = Stepper::new(seed);
    let runtime = stepper.runtime();
    let engine = MemEngine::new();
    let config = Config {
        max_group_bytes: 100,
        ..Config::default()
    };
    let fixture = Arc::new(start(engine.clone(), &runtime, config));
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for client in 0..CLIENTS {
        let (fixture, acknowledged) = (fixture.clone(), acknowledged.clone());
        drop(runtime.spawner.spawn(async move {
            for n in 0..WRITES {
                let name = format!("{client}-{n}");
                let modifies = vec![
                    Modify::Put(Cf::Default, key(&name), b"1".to_vec()),
                    Modify::Put(Cf::Write, key(&name), b"1".to_vec()),
                ];
                fixture.write(WriteData::new(modifies)).await.unwrap();
                acknowledged.lock().push(name);
            }
        }));
    }
    let steps = runtime.rng.below(CLIENTS * WRITES * 3);
    for _ in 0..steps {
        if !stepper.step() {
            break;
        }
    }
    let survivor = engine.crash_torn(seed);
    let has = |cf, name: &str| {
        survivor
            .get(cf, &keys::data_key(key(name).as_encoded()))
            .unwrap()
            .is_some()
    };
    for name in acknowledged.lock().iter() {
        assert!(
            has(Cf::Default, name),
            "seed {seed}: acknowledged write {name} is lost"
        );
    }
    for client in 0..CLIENTS {
        let mut gap = false;
        for n in 0..WRITES {
            let name = format!("{client}-{n}");
            let there = has(Cf::Default, &name);
            assert_eq!(
                there,
                has(Cf::Write, &name),
                "seed {seed}: {name} is half there"
            );
            assert!(
                !(there && gap),
                "seed {seed}: {name} is there without its predecessor"
            );
            gap |= !there;
        }
    }
}

#[test]
fn acknowledged_writes_survive_and_others_are_whole() {
    for seed in 0..300 {
        crash_once(seed);
    }
}

#[test]
fn a_failed_sync_is_fatal_and_undetermined() {
    let stepper = Stepper::new(1);
    let engine = MemEngine::new();
    let config = Config {
        max_group_bytes: 1,
        ..Config::default()
    };
    let fixture = start(engine.clone(), &stepper.runtime(), config);
    stepper.block_on(fixture.write(put("before", "v"))).unwrap();
    engine.fail_writes(true);
    let (first, second) = stepper.block_on(futures::future::join(
        fixture.write(put("a", "v")),
        fixture.write(put("b", "v")),
    ));
    // One was under way; the other waited behind it and was never begun.
    let mut results = [first, second];
    results.sort_by_key(|result| matches!(result, Err(Error::Closed)));
    let [undetermined, closed] = results;
    assert!(region_error(undetermined).has_undetermined_result());
    assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
    assert_eq!(fixture.fatal.lock().len(), 1);
    assert!(fixture.fatal.lock()[0].contains("injected"));

    // The disk works again, but this process has lost track of it.
    engine.fail_writes(false);
    let after = stepper.block_on(fixture.write(put("c", "v")));
    assert!(matches!(after, Err(Error::Closed)), "{after:?}");
    stepper.block_on(fixture.local.close());
    let survivor = engine.crash();
    let there = |name| {
        survivor
            .get(Cf::Default, &keys::data_key(key(name).as_encoded()))
            .unwrap()
            .is_some()
    };
    assert!(there("before"));
    assert!(!there("c"));
}

#[test]
fn a_full_disk_is_not_fatal_and_writing_goes_on_when_it_is_emptied() {
    let stepper = Stepper::new(1);
    let engine = MemEngine::new();
    let fixture = start(engine.clone(), &stepper.runtime(), Config::default());
    stepper.block_on(fixture.write(put("before", "v"))).unwrap();
    engine.fill_disk(true);
    for _ in 0..3 {
        let refused = stepper.block_on(fixture.write(put("a", "v")));
        let error = region_error(refused);
        let message = error.get_undetermined_result().get_message();
        assert!(message.contains("no space"), "{error:?}");
        assert!(
            stepper
                .block_on(fixture.get(Cf::Default, "before"))
                .is_some()
        );
    }
    engine.fill_disk(false);
    stepper.block_on(fixture.write(put("after", "v"))).unwrap();
    assert!(fixture.fatal.lock().is_empty());
    assert_eq!(fixture.local.stats().pending_bytes, 0);
    let survivor = start(engine.crash(), &stepper.runtime(), Config::default());
    for (name, there) in [("before", true), ("a", false), ("after", true)] {
        let found = stepper.block_on(survivor.get(Cf::Default, name));
        assert_eq!(found.is_some(), there, "{name}");
    }
}

#[test]
fn every_write_of_a_group_is_applied_in_order() {
    let stepper = Stepper::new(9);
    let engine = MemEngine::new();
    let fixture = start(engine, &stepper.runtime(), Config::default());
    let writes = (0..100).map(|n| fixture.write(put("k", &n.to_string())));
    let results = stepper.block_on(futures::future::join_all(writes));
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(
        stepper.block_on(fixture.get(Cf::Default, "k")).unwrap(),
        b"99"
    );
    assert_eq!(fixture.local.stats().writes, 100);
    assert!(
        fixture.local.stats().groups < 10,
        "{:?}",
        fixture.local.stats()
    );
}
