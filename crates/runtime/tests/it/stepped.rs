//! The stepper: determinism, virtual time, and what it says when a program is stuck.

use std::{
    collections::BTreeSet,
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use runtime::{JoinError, Runtime, Stepper, panic_message, shutdown_pair};

use crate::{Drops, yield_once};

const SECOND: Duration = Duration::from_secs(1);

/// Six tasks that give way, sleep and draw; the log tells who did what and when.
fn run(seed: u64) -> (Vec<(u64, u32, u64)>, u64, u64) {
    let stepper = Stepper::new(seed);
    let log = Arc::new(Mutex::new(vec![]));
    for task in 0..6 {
        let (log, runtime) = (log.clone(), stepper.runtime());
        drop(stepper.runtime().spawner.spawn(async move {
            for _ in 0..5 {
                yield_once().await;
                let draw = runtime.rng.below(3);
                let now = runtime.clock.now().as_nanos();
                log.lock().unwrap().push((now, task, draw));
                runtime.timer.sleep(Duration::from_millis(draw)).await;
            }
        }));
    }
    stepper.advance(SECOND);
    let log = log.lock().unwrap().clone();
    assert_eq!(log.len(), 30, "every task came to its end");
    (log, stepper.trace_hash(), stepper.steps())
}

#[test]
fn one_seed_is_one_order() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn seeds_explore_different_orders() {
    let orders: BTreeSet<Vec<u32>> = (0..20)
        .map(|seed| run(seed).0.into_iter().map(|(_, task, _)| task).collect())
        .collect();
    assert_eq!(orders.len(), 20);
    let hashes: BTreeSet<u64> = (0..20).map(|seed| run(seed).1).collect();
    assert_eq!(hashes.len(), 20);
    // Even two tasks of one step each are run in both orders.
    let firsts: BTreeSet<u32> = (0..20)
        .map(|seed| {
            let (stepper, first) = (Stepper::new(seed), Arc::new(Mutex::new(None)));
            for task in 0..2 {
                let first = first.clone();
                drop(stepper.runtime().spawner.spawn(async move {
                    first.lock().unwrap().get_or_insert(task);
                }));
            }
            stepper.run_until_stalled();
            let first = *first.lock().unwrap();
            first.unwrap()
        })
        .collect();
    assert_eq!(firsts, BTreeSet::from([0, 1]));
}

#[test]
fn time_jumps_when_nothing_can_run() {
    let stepper = Stepper::new(1);
    let Runtime { clock, timer, .. } = stepper.runtime();
    let (start, unix) = (clock.now(), clock.unix_millis());
    stepper.block_on(timer.sleep(SECOND * 86_400));
    assert_eq!(clock.now() - start, SECOND * 86_400);
    assert_eq!(clock.unix_millis() - unix, 86_400_000);
    assert!(stepper.steps() < 10);
    stepper.run_until_stalled();
    assert_eq!(
        clock.now() - start,
        SECOND * 86_400,
        "only waiting moves time"
    );
    stepper.virtual_clock().jump_unix(-1_000_000);
    assert_eq!(clock.unix_millis() - unix, 86_399_999);
}

#[test]
fn advance_stops_at_each_deadline() {
    let stepper = Stepper::new(1);
    let runtime = stepper.runtime();
    let seen = Arc::new(Mutex::new(vec![]));
    let (log, rt, start) = (seen.clone(), runtime.clone(), runtime.clock.now());
    drop(runtime.spawner.spawn(async move {
        loop {
            rt.timer.sleep(SECOND * 2).await;
            log.lock().unwrap().push((rt.clock.now() - start).as_secs());
        }
    }));
    stepper.advance(SECOND * 7);
    assert_eq!(*seen.lock().unwrap(), [2, 4, 6]);
    assert_eq!(runtime.clock.now() - start, SECOND * 7);
    stepper.advance(SECOND);
    assert_eq!(*seen.lock().unwrap(), [2, 4, 6, 8]);
}

#[test]
fn a_timeout_ends_a_wait_and_spares_what_is_ready() {
    let stepper = Stepper::new(1);
    let timer = stepper.runtime().timer;
    assert!(
        stepper
            .block_on(timer.timeout(SECOND, pending::<()>()))
            .is_err()
    );
    assert_eq!(
        stepper.block_on(timer.timeout(SECOND, timer.sleep(SECOND / 2))),
        Ok(())
    );
    assert_eq!(
        stepper.block_on(timer.timeout(Duration::ZERO, async { 5 })),
        Ok(5)
    );
    // A dropped wait leaves no deadline behind: the next one is the only one.
    let (start, clock) = (stepper.clock().now(), stepper.clock());
    stepper.block_on(timer.sleep(SECOND * 3));
    assert_eq!(clock.now() - start, SECOND * 3);
}

#[test]
fn a_handle_gives_result_panic_or_cancellation() {
    let stepper = Stepper::new(1);
    let spawner = stepper.runtime().spawner;
    assert_eq!(stepper.block_on(spawner.spawn(async { 3 })), Ok(3));
    assert_eq!(
        stepper.block_on(spawner.spawn_dedicated("disk", async { 4 })),
        Ok(4)
    );
    let panicking = spawner.spawn(async { panic!("on {}", "purpose") });
    let error: JoinError = stepper.block_on(panicking).unwrap_err();
    assert_eq!(error, JoinError::Panicked("on purpose".to_owned()));

    let drops = Drops::default();
    let guard = drops.guard();
    let waiting = spawner.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    stepper.run_until_stalled();
    waiting.abort();
    assert_eq!(drops.count(), 1, "dropped at once");
    assert_eq!(stepper.block_on(waiting), Err(JoinError::Cancelled));

    let never_begun = spawner.spawn(pending::<()>());
    never_begun.abort();
    assert_eq!(stepper.block_on(never_begun), Err(JoinError::Cancelled));
}

#[test]
fn a_dropped_handle_leaves_the_task_running() {
    let stepper = Stepper::new(1);
    let runtime = stepper.runtime();
    let (trigger, signal) = shutdown_pair();
    let sleep = runtime.timer.sleep(SECOND);
    drop(runtime.spawner.spawn(async move {
        sleep.await;
        trigger.trigger();
    }));
    stepper.block_on(signal.wait());
}

fn message_of(run: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
    panic_message(payload.as_ref())
}

#[test]
fn a_deadlock_is_told_with_the_seed() {
    let stepper = Stepper::new(77);
    let message = message_of(|| stepper.block_on(pending()));
    assert!(
        message.starts_with("deadlock:") && message.contains("seed 77"),
        "{message}"
    );
}

#[test]
fn a_panic_that_nobody_awaits_fails_the_run() {
    let stepper = Stepper::new(77);
    let runtime = stepper.runtime();
    drop(runtime.spawner.spawn(async { panic!("lost") }));
    let message = message_of(|| stepper.block_on(runtime.timer.sleep(SECOND)));
    assert!(
        message.starts_with("task panicked: lost; seed 77"),
        "{message}"
    );

    drop(runtime.spawner.spawn(async { panic!("expected") }));
    stepper.run_until_stalled();
    assert_eq!(stepper.take_panics(), ["expected"]);
    stepper.block_on(runtime.timer.sleep(SECOND));
}

#[test]
fn one_runtime_stops_and_its_neighbour_goes_on() {
    let stepper = Stepper::new(1);
    let (a, b) = (stepper.runtime(), stepper.runtime());
    let drops = Drops::default();
    let spawn = |runtime: &Runtime| {
        let (timer, guard) = (runtime.timer.clone(), drops.guard());
        runtime.spawner.spawn(async move {
            let _guard = guard;
            timer.sleep(SECOND).await;
        })
    };
    let (of_a, of_b, woken) = (spawn(&a), spawn(&b), a.spawner.spawn(yield_once()));
    stepper.step();
    a.shutdown();
    assert_eq!(drops.count(), 1);
    assert_eq!(stepper.block_on(of_a), Err(JoinError::Cancelled));
    assert_eq!(
        a.spawner.spawn(async {}).now_or_never(),
        Some(Err(JoinError::Cancelled))
    );
    assert_eq!(stepper.block_on(of_b), Ok(()));
    let _ = stepper.block_on(woken);
    a.shutdown();
}

#[test]
fn a_task_may_stop_its_own_runtime() {
    let stepper = Stepper::new(1);
    let runtime = stepper.runtime();
    let (rt, drops) = (runtime.clone(), Drops::default());
    let guard = drops.guard();
    let handle = runtime.spawner.spawn(async move {
        let _guard = guard;
        rt.shutdown();
        pending::<()>().await;
    });
    assert_eq!(stepper.block_on(handle), Err(JoinError::Cancelled));
    assert_eq!(drops.count(), 1);
}
