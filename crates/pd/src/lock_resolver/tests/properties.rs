//! Random transactions that died at any point, beside some that live, over stores that lose calls
//! and regions that change meanwhile.

use super::*;
use crate::lock_resolver::tests::fake::Faults;

/// What a transaction must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Committed(u64),
    RolledBack,
    /// Its locks are those of statements: they go, or they stay while it lives.
    Nothing,
    Alive,
}

struct Txn {
    start_ts: u64,
    /// What it has prewritten, the primary first.
    keys: Vec<String>,
    /// What its statements have locked.
    statement_keys: Vec<String>,
    expected: Expected,
}

fn below(world: &World, bound: u64) -> u64 {
    world.stepper.runtime().rng.below(bound)
}

/// Keys that nobody else uses, spread over the regions.
fn fresh_keys(world: &World, used: &mut Vec<u64>) -> Vec<String> {
    let count = 1 + below(world, 5);
    let mut keys = Vec::new();
    while (keys.len() as u64) < count {
        let number = below(world, 400);
        if !used.contains(&number) {
            used.push(number);
            keys.push(format!("k{number:03}"));
        }
    }
    keys
}

fn add(world: &World, start_ts: u64, keys: Vec<String>) -> Txn {
    let primary = keys[0].clone();
    let commit_ts = start_ts + 50;
    let committed = Record::Committed(commit_ts);
    let mut txn = Txn {
        start_ts,
        keys: keys.clone(),
        statement_keys: Vec::new(),
        expected: Expected::RolledBack,
    };
    let others: Vec<&str> = keys[1..].iter().map(String::as_str).collect();
    let ordinary = prewritten(start_ts, &primary);
    match below(world, 8) {
        // Dead before its first commit, perhaps before the primary was written.
        0 => {
            let from = below(world, 2).min(keys.len() as u64 - 1) as usize;
            keys[from..]
                .iter()
                .for_each(|key| world.lock(key, &ordinary));
        }
        // Dead after it.
        1 => {
            world.state(|state| state.record(&primary, start_ts, committed));
            others.iter().for_each(|key| world.lock(key, &ordinary));
            txn.expected = Expected::Committed(commit_ts);
        }
        // Dead while rolling back.
        2 => {
            world.state(|state| state.record(&primary, start_ts, Record::RolledBack));
            others.iter().for_each(|key| world.lock(key, &ordinary));
        }
        // All of an asynchronous commit, or all but one.
        kind @ (3 | 4) => {
            let lock = of_async_commit(start_ts, &primary, &others, start_ts + 20);
            world.lock(&primary, &lock);
            let missing =
                (kind == 4 && !others.is_empty()).then(|| below(world, others.len() as u64));
            for (at, key) in others.iter().enumerate() {
                if Some(at as u64) != missing {
                    let mut lock = of_async_commit(start_ts, &primary, &[], start_ts + 20);
                    lock.min_commit_ts += 1 + at as u64;
                    world.lock(key, &lock);
                }
            }
            if missing.is_none() {
                txn.expected = Expected::Committed(start_ts + 20 + others.len() as u64);
            }
        }
        // Statements only.
        5 => {
            let lock = of_a_statement(start_ts, &primary);
            keys.iter().for_each(|key| world.lock(key, &lock));
            txn.statement_keys = std::mem::take(&mut txn.keys);
            txn.expected = Expected::Nothing;
        }
        // Committed, with a lock of a statement left behind.
        6 => {
            world.state(|state| state.record(&primary, start_ts, committed));
            let lock = of_a_statement(start_ts, &primary);
            others.iter().for_each(|key| world.lock(key, &lock));
            txn.statement_keys = txn.keys.split_off(1);
            txn.expected = Expected::Committed(commit_ts);
        }
        // Alive.
        _ => {
            let mut lock = of_a_statement(start_ts, &primary);
            lock.ttl = LONG_TTL;
            world.lock(&primary, &lock);
            lock.ttl = SHORT_TTL;
            others.iter().for_each(|key| world.lock(key, &lock));
            txn.statement_keys = std::mem::take(&mut txn.keys);
            txn.expected = Expected::Alive;
        }
    }
    txn
}

fn check(world: &World, txns: &[Txn], resolved: &Resolved, context: &str) {
    world.state(|state| {
        for (key, locks) in &state.locks {
            for lock in locks {
                assert!(
                    lock.start_ts > resolved.safe_point,
                    "{context}: {key:?} has {lock:?} below {}",
                    resolved.safe_point
                );
            }
        }
    });
    let oldest = txns
        .iter()
        .filter(|txn| txn.expected == Expected::Alive && txn.start_ts <= TARGET)
        .map(|txn| txn.start_ts - 1)
        .min();
    assert_eq!(resolved.safe_point, oldest.unwrap_or(TARGET), "{context}");
    for txn in txns.iter().filter(|txn| txn.start_ts <= TARGET) {
        let locked = |key: &String| world.locked().contains(key);
        let outcome = |key: &String| world.outcome(key, txn.start_ts);
        let facts = format!("{context}: {} is {:?}", txn.start_ts, txn.expected);
        match txn.expected {
            Expected::Alive => assert!(txn.statement_keys.iter().all(locked), "{facts}"),
            Expected::Nothing => {
                assert!(txn.statement_keys.iter().all(|key| outcome(key).is_none()));
            }
            Expected::Committed(at) => {
                let is_committed = |key| outcome(key) == Some(Record::Committed(at));
                assert!(txn.keys.iter().all(is_committed), "{facts}");
            }
            Expected::RolledBack => {
                let is_committed = |key| matches!(outcome(key), Some(Record::Committed(_)));
                assert!(!txn.keys.iter().any(is_committed), "{facts}");
            }
        }
    }
}

#[test]
fn no_lock_is_left_at_the_point_and_everybody_comes_to_what_he_has_to() {
    let mut failed = 0;
    for seed in 0..150 {
        let mut world = World::new(1_000 + seed);
        world.resolver.page_locks = 1 + u32::try_from(below(&world, 9)).unwrap();
        let mut used = Vec::new();
        let mut txns = Vec::new();
        for number in 0..below(&world, 40) {
            // A few of them after the target, where nobody looks.
            let start_ts = ts(100_000 + number * 1_400);
            let keys = fresh_keys(&world, &mut used);
            txns.push(add(&world, start_ts, keys));
        }
        let faults = Faults {
            lost_requests: below(&world, 200),
            lost_answers: below(&world, 200),
            region_changes: below(&world, 300),
        };
        world.state(|state| state.faults = faults);
        // One run may fail, and leaves a state that the next one can go on from.
        let resolved = world.run().unwrap_or_else(|_| {
            failed += 1;
            world.state(|state| state.faults = Faults::default());
            world.run().unwrap()
        });
        check(
            &world,
            &txns,
            &resolved,
            &format!("seed {seed}, {faults:?}"),
        );
    }
    assert!(failed < 50, "{failed} of 150 runs failed");
}

#[test]
fn a_transaction_that_ends_while_a_run_looks_is_never_torn() {
    for seed in 0..60 {
        let mut world = World::new(5_000 + seed);
        world.resolver.page_locks = 2;
        let start_ts = ts(100_000);
        let keys: Vec<String> = (0..6)
            .map(|number| format!("k{:03}", number * 60))
            .collect();
        for key in &keys {
            let mut lock = prewritten(start_ts, &keys[0]);
            // Just about to run out.
            lock.ttl = 100_000;
            world.lock(key, &lock);
        }
        world.state(|state| state.faults.region_changes = 100);
        let stores = Arc::clone(&world.stores);
        let runtime = world.stepper.runtime();
        let (timer, rng) = (runtime.timer.clone(), runtime.rng.fork());
        // The client commits its primary key, if it still can, and then the others.
        let client = runtime.spawner.spawn(async move {
            let mut committed = false;
            for (at, key) in keys.iter().enumerate() {
                timer
                    .sleep(std::time::Duration::from_micros(rng.below(4_000)))
                    .await;
                let mut state = stores.state.lock();
                state.now += rng.below(2) << 18;
                let is_locked = state.locks.contains_key(key.as_bytes());
                if at == 0 && !is_locked {
                    break;
                }
                committed = true;
                if is_locked {
                    state.locks.remove(key.as_bytes());
                    state.record(key, start_ts, Record::Committed(start_ts + 50));
                }
            }
            (committed, keys)
        });
        let resolved = world.run().unwrap();
        let (committed, keys) = world.stepper.block_on(client).unwrap();
        // What the run had to leave, the next one finds.
        world.state(|state| state.now += ts(10_000));
        let again = world.run().unwrap();
        assert_eq!(again.safe_point, TARGET, "seed {seed}");
        assert!(world.locked().is_empty(), "seed {seed}: {resolved:?}");
        for key in &keys {
            let expected = if committed {
                Record::Committed(start_ts + 50)
            } else {
                Record::RolledBack
            };
            assert_eq!(world.outcome(key, start_ts), Some(expected), "seed {seed}");
        }
    }
}
