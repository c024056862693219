//! A pool that takes turns in order under a stepper: priorities, starvation, and the estimated wait.
//!
//! Each turn of a task here takes a millisecond of virtual time, so that queues have lengths in time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::Stepper;
use yatp::{Builder, Pool, Priority, TaskOptions};

use crate::yield_once;

const MS: Duration = Duration::from_millis(1);

fn in_order(stepper: &Stepper) -> Pool {
    Builder::new("ordered").build_stepped_in_order(stepper)
}

/// Spawns a task of so many turns, which notes itself at its end.
fn work(
    stepper: &Stepper,
    pool: &Pool,
    priority: Priority,
    turns: u32,
    ended: &Arc<Mutex<Vec<Priority>>>,
) {
    let options = TaskOptions {
        priority,
        ..TaskOptions::default()
    };
    let (time, ended) = (stepper.virtual_clock().clone(), ended.clone());
    pool.spawn(options, async move {
        time.advance(MS);
        for _ in 1..turns {
            yield_once().await;
            time.advance(MS);
        }
        ended.lock().unwrap().push(priority);
    })
    .unwrap();
}

#[test]
fn high_goes_first_and_low_last() {
    use Priority::{High, Low, Normal};
    for seed in 0..20 {
        let stepper = Stepper::new(seed);
        let (pool, ended) = (in_order(&stepper), Arc::default());
        for priority in [Low, Normal, High, Low, Normal, High] {
            work(&stepper, &pool, priority, 1, &ended);
        }
        assert_eq!(pool.queued(), 6);
        stepper.run_until_stalled();
        // The second pick prefers a normal one, so that high priority starves nobody.
        let order = ended.lock().unwrap().clone();
        assert_eq!(order, [High, Normal, High, Normal, Low, Low], "seed {seed}");
        assert_eq!(pool.queued(), 0);
    }
}

#[test]
fn low_does_not_starve_under_a_constant_load() {
    let stepper = Stepper::new(1);
    let (pool, ended) = (in_order(&stepper), Arc::default());
    work(&stepper, &pool, Priority::Low, 3, &ended);
    let mut turns = 0;
    while !ended.lock().unwrap().contains(&Priority::Low) {
        for priority in [Priority::High, Priority::Normal] {
            work(&stepper, &pool, priority, 1, &ended);
        }
        stepper.step();
        turns += 1;
        assert!(turns < 1000, "three turns of low priority never came");
    }
    // One turn in 64.
    assert!((3 * 60..=3 * 64).contains(&turns), "{turns}");
}

#[test]
fn the_estimated_wait_counts_what_goes_before() {
    let stepper = Stepper::new(1);
    let (pool, ended) = (in_order(&stepper), Arc::default());
    work(&stepper, &pool, Priority::Normal, 1, &ended);
    assert_eq!(
        pool.estimated_wait(Priority::Low),
        Duration::ZERO,
        "nothing is known yet"
    );
    stepper.run_until_stalled();
    assert_eq!(
        pool.estimated_wait(Priority::Low),
        Duration::ZERO,
        "nothing waits"
    );
    for (priority, count) in [
        (Priority::High, 2),
        (Priority::Normal, 5),
        (Priority::Low, 10),
    ] {
        for _ in 0..count {
            work(&stepper, &pool, priority, 1, &ended);
        }
    }
    let waits = [Priority::High, Priority::Normal, Priority::Low].map(|p| pool.estimated_wait(p));
    assert_eq!(waits, [2 * MS, 7 * MS, 17 * MS]);
    stepper.run_until_stalled();
    assert_eq!(pool.estimated_wait(Priority::Low), Duration::ZERO);
}

#[test]
fn shutdown_empties_the_queue() {
    let stepper = Stepper::new(1);
    let (pool, ended) = (in_order(&stepper), Arc::default());
    for _ in 0..3 {
        work(&stepper, &pool, Priority::Normal, 2, &ended);
    }
    stepper.step();
    pool.shutdown();
    assert_eq!((pool.queued(), pool.unfinished()), (0, 0));
    stepper.run_until_stalled();
    assert!(ended.lock().unwrap().is_empty());
}
