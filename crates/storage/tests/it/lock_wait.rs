//! Many who wait: a hundred thousand on one key, a circle of a thousand, and clients that come, give up and go in
//! every order that a few hundred seeds give.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either, LocalBoxFuture, join_all, select};
use kvproto::kvrpcpb::{self, Op, PessimisticLockWakeUpMode};
use online_config::{ReadableDuration, ReadableSize};
use storage::{AcquirePessimisticLock, Error, PessimisticLocked, PessimisticRollback, Result};

use crate::driver::{World, tracker};

/// Longer than any test takes: who is woken by this was lost.
const FOR_EVER: Duration = Duration::from_secs(3600);

fn lock_request(
    world: &World,
    start: u64,
    key: &[u8],
    force: bool,
) -> kvrpcpb::PessimisticLockRequest {
    let mut req = kvrpcpb::PessimisticLockRequest::default();
    req.set_context(world.context());
    req.set_start_version(start);
    req.set_for_update_ts(start);
    req.set_primary_lock(key.to_vec());
    req.set_lock_ttl(3000);
    let mut mutation = kvrpcpb::Mutation::default();
    mutation.set_op(Op::PessimisticLock);
    mutation.set_key(key.to_vec());
    req.mut_mutations().push(mutation);
    if force {
        req.set_wake_up_mode(PessimisticLockWakeUpMode::WakeUpModeForceLock);
    }
    req
}

fn acquire(
    world: &World,
    req: kvrpcpb::PessimisticLockRequest,
) -> impl Future<Output = Result<PessimisticLocked>> + use<> {
    let command = AcquirePessimisticLock::try_from(req).unwrap();
    world.storage.sched_txn_command(command, tracker())
}

fn give_back(world: &World, start: u64, key: &[u8]) -> impl Future<Output = Result<()>> + use<> {
    let mut req = kvrpcpb::PessimisticRollbackRequest::default();
    req.set_context(world.context());
    req.set_start_version(start);
    req.set_for_update_ts(u64::MAX);
    req.mut_keys().push(key.to_vec());
    let command = PessimisticRollback::try_from(req).unwrap();
    world.storage.sched_txn_command(command, tracker())
}

fn set(world: &World, timeout: Duration, in_memory: bool) {
    world.storage.set_pessimistic_txn(&lock_manager::Config {
        wait_for_lock_timeout: ReadableDuration(timeout),
        in_memory,
        pipelined: in_memory,
        ..lock_manager::Config::default()
    });
}

fn is_conflict(outcome: &Result<PessimisticLocked>) -> bool {
    matches!(outcome, Err(Error::Mvcc(mvcc::Error::WriteConflict { .. })))
}

fn is_locked(outcome: &Result<PessimisticLocked>) -> bool {
    matches!(outcome, Err(Error::Mvcc(mvcc::Error::KeyIsLocked(_))))
}

fn assert_idle(world: &World) {
    world.stepper.run_until_stalled();
    assert_eq!(world.storage.scheduler().latches_in_use(), 0);
    assert_eq!(world.storage.scheduler().pending_bytes(), 0);
    assert!(world.storage.lock_wait_info().is_empty());
}

#[test]
fn a_hundred_thousand_wait_on_one_key_and_each_is_answered() {
    const WAITERS: u64 = 100_000;
    let world = World::new(1);
    world
        .run(acquire(&world, lock_request(&world, 1, b"k", false)))
        .unwrap();
    let mut waiting = Vec::new();
    for start in 2..WAITERS + 2 {
        let wait = acquire(&world, lock_request(&world, start, b"k", false));
        waiting.push(world.start(wait));
        if start.is_multiple_of(1000) {
            world.stepper.run_until_stalled();
        }
    }
    world.stepper.run_until_stalled();
    assert_eq!(world.storage.scheduler().pending_bytes(), 0);
    assert_eq!(world.storage.memory_quota().used(), 0);
    assert_eq!(world.storage.lock_wait_info().len() as u64, WAITERS);
    world.run(give_back(&world, 1, b"k")).unwrap();
    world.stepper.run_until_stalled();
    let first = waiting.remove(0).now_or_never().unwrap();
    assert!(is_conflict(&first));
    world.stepper.advance(Duration::from_millis(20));
    for outcome in waiting {
        assert!(is_conflict(&outcome.now_or_never().unwrap()));
    }
    assert_idle(&world);
}

#[test]
fn who_finds_no_room_to_wait_is_told_at_once() {
    let world = World::new(1);
    world.storage.set_pessimistic_txn(&lock_manager::Config {
        wait_memory_limit: ReadableSize::kb(64),
        ..lock_manager::Config::default()
    });
    let held = acquire(&world, lock_request(&world, 1, b"k", false));
    world.run(held).unwrap();
    let waiting: Vec<_> = (2..1000)
        .map(|start| world.start(acquire(&world, lock_request(&world, start, b"k", true))))
        .collect();
    world.stepper.run_until_stalled();
    let waits = world.storage.lock_wait_info().len();
    assert!((10..900).contains(&waits), "{waits}");
    let outcomes: Vec<_> = waiting
        .into_iter()
        .map(|wait| wait.now_or_never())
        .collect();
    let refused = outcomes
        .iter()
        .flatten()
        .filter(|outcome| is_locked(outcome));
    assert_eq!(refused.count(), 998 - waits);
}

#[test]
fn a_deadlock_of_a_thousand_transactions_has_one_victim() {
    const TXNS: u64 = 1000;
    let world = World::new(1);
    let key = |n: u64| format!("k{n}").into_bytes();
    for txn in 1..=TXNS {
        let own = acquire(&world, lock_request(&world, txn, &key(txn), false));
        world.run(own).unwrap();
    }
    let waiting: Vec<_> = (1..TXNS)
        .map(|txn| {
            world.start(acquire(
                &world,
                lock_request(&world, txn, &key(txn + 1), true),
            ))
        })
        .collect();
    world.stepper.run_until_stalled();
    let closing = lock_request(&world, TXNS, &key(1), true);
    let Err(Error::Mvcc(mvcc::Error::Deadlock { wait_chain, .. })) =
        world.run(acquire(&world, closing))
    else {
        panic!("the last one closes the circle");
    };
    assert_eq!(wait_chain.len() as u64, TXNS);
    // The victim gives its lock back, and one after the other goes on.
    let mut last = TXNS;
    for wait in waiting.into_iter().rev() {
        world.run(give_back(&world, last, &key(last))).unwrap();
        world.run(wait).unwrap();
        last -= 1;
        world.run(give_back(&world, last, &key(last + 1))).unwrap();
    }
    world.run(give_back(&world, 1, &key(1))).unwrap();
    assert_idle(&world);
}

/// How the clients of one run behave.
#[derive(Clone, Copy)]
struct Crowd {
    clients: u64,
    in_memory: bool,
    /// Clients give up while they wait.
    impatient: bool,
    /// Waits are so short that most run out.
    short: bool,
}

/// Clients that lock one key, hold it for a moment, and give it back, each until it had it once.
fn run_crowd(seed: u64, crowd: Crowd) {
    let world = Rc::new(World::new(seed));
    let timeout = if crowd.short {
        Duration::from_millis(3)
    } else {
        FOR_EVER
    };
    set(&world, timeout, crowd.in_memory);
    let holding = Arc::new(AtomicUsize::new(0));
    let ts = Arc::new(AtomicU64::new(10));
    let left = Rc::new(Cell::new(crowd.clients));
    let started = world.stepper.clock().now();
    let mut all: Vec<LocalBoxFuture<'static, ()>> = Vec::new();
    for client in 0..crowd.clients {
        let (world, holding, ts) = (world.clone(), holding.clone(), ts.clone());
        let left = left.clone();
        all.push(
            async move {
                let timer = world.stepper.runtime().timer;
                for attempt in 0.. {
                    assert!(attempt < 1000, "seed {seed}: client {client} starves");
                    let start = ts.fetch_add(1, Ordering::Relaxed);
                    let req = lock_request(&world, start, b"k", (client + seed).is_multiple_of(2));
                    let asked = acquire(&world, req);
                    let outcome = if crowd.impatient && (client + attempt).is_multiple_of(3) {
                        let patience = timer.sleep(Duration::from_micros(300 * (attempt + 1)));
                        match select(Box::pin(asked), patience).await {
                            Either::Left((outcome, _)) => outcome,
                            Either::Right(((), asked)) => {
                                drop(asked);
                                // It may have the lock without knowing, now or in a moment.
                                for _ in 0..4 {
                                    give_back(&world, start, b"k").await.unwrap();
                                    timer.sleep(Duration::from_millis(1)).await;
                                }
                                continue;
                            }
                        }
                    } else {
                        asked.await
                    };
                    if outcome.is_ok() {
                        let others = holding.fetch_add(1, Ordering::SeqCst);
                        assert_eq!(others, 0, "seed {seed}: two hold the lock");
                        timer.sleep(Duration::from_micros(100)).await;
                        holding.fetch_sub(1, Ordering::SeqCst);
                        give_back(&world, start, b"k").await.unwrap();
                        left.set(left.get() - 1);
                        return;
                    }
                    assert!(
                        is_conflict(&outcome) || is_locked(&outcome),
                        "seed {seed}: {outcome:?}"
                    );
                }
            }
            .boxed_local(),
        );
    }
    world.stepper.block_on(join_all(all));
    assert_eq!(left.get(), 0);
    let took = world.stepper.clock().now() - started;
    assert!(
        took < Duration::from_secs(60),
        "seed {seed}: a wake-up was lost"
    );
    assert_idle(&world);
}

#[test]
fn no_wake_up_is_lost_in_any_order() {
    for seed in 0..150 {
        for in_memory in [true, false] {
            let crowd = Crowd {
                clients: 6,
                in_memory,
                impatient: false,
                short: false,
            };
            run_crowd(seed, crowd);
        }
    }
}

#[test]
fn clients_that_give_up_leave_nobody_asleep() {
    for seed in 0..150 {
        let crowd = Crowd {
            clients: 6,
            in_memory: seed % 2 == 0,
            impatient: true,
            short: false,
        };
        run_crowd(seed, crowd);
    }
}

#[test]
fn a_wake_up_and_the_end_of_time_exclude_each_other() {
    for seed in 0..150 {
        let crowd = Crowd {
            clients: 6,
            in_memory: seed % 2 == 0,
            impatient: seed % 3 == 0,
            short: true,
        };
        run_crowd(seed, crowd);
    }
}

/// A writer that queues for the latch behind the release finds the key locked: by the one who releases, or by the one
/// who was resumed. Were the latch given up in between, it could find it free.
#[test]
fn trap_27_a_wake_up_inherits_the_latches() {
    for seed in 0..100 {
        let world = World::new(seed);
        set(&world, FOR_EVER, seed % 2 == 0);
        let held = acquire(&world, lock_request(&world, 10, b"k", false));
        world.run(held).unwrap();
        let mut waiting = world.start(acquire(&world, lock_request(&world, 20, b"k", true)));
        world.stepper.run_until_stalled();
        let mut req = kvrpcpb::PrewriteRequest::default();
        req.set_context(world.context());
        req.set_start_version(30);
        req.set_primary_lock(b"k".to_vec());
        let mut mutation = kvrpcpb::Mutation::default();
        mutation.set_key(b"k".to_vec());
        req.mut_mutations().push(mutation);
        let writer = storage::Prewrite::try_from(req).unwrap();
        let release = world.start(give_back(&world, 10, b"k"));
        let writer = world.start(world.storage.sched_txn_command(writer, tracker()));
        let both = futures::future::join(release, writer);
        let (released, written) = world.run(both);
        released.unwrap();
        let locks = written.unwrap().locks;
        assert_eq!(locks.len(), 1, "seed {seed}: a writer came between");
        world.stepper.run_until_stalled();
        (&mut waiting).now_or_never().unwrap().unwrap();
        world.run(give_back(&world, 20, b"k")).unwrap();
        assert_idle(&world);
    }
}

/// Whoever is woken to try again is one request away from the lock, and so is the next transaction of the one who
/// released it: the one that hears first is there first.
#[test]
fn who_is_woken_hears_of_it_before_the_one_who_released() {
    for seed in 0..20 {
        let world = World::new(seed);
        set(&world, FOR_EVER, seed % 2 == 0);
        let held = acquire(&world, lock_request(&world, 10, b"k", false));
        world.run(held).unwrap();
        let mut waiting = acquire(&world, lock_request(&world, 20, b"k", false)).boxed();
        assert!((&mut waiting).now_or_never().is_none());
        world.stepper.run_until_stalled();
        let mut release = give_back(&world, 10, b"k").boxed();
        let woken = loop {
            let released = (&mut release).now_or_never();
            assert!(released.is_none(), "seed {seed}: answered first");
            if let Some(woken) = (&mut waiting).now_or_never() {
                break woken;
            }
            assert!(world.stepper.step(), "seed {seed}: nobody was woken");
        };
        assert!(is_conflict(&woken), "seed {seed}: {woken:?}");
        world.run(release).unwrap();
        assert_idle(&world);
    }
}

/// The worst that can happen to clients that are woken to try again: the one who released the lock is always back with
/// its next transaction before them.
#[test]
fn who_releases_and_is_back_first_does_not_keep_others_waiting() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 200;
    struct Client {
        start: u64,
        /// In which round it asked first.
        since: usize,
        asked: Option<BoxFuture<'static, Result<PessimisticLocked>>>,
    }
    for in_memory in [true, false] {
        let world = World::new(1);
        set(&world, FOR_EVER, in_memory);
        let mut last_ts = 10;
        let ask = |start| {
            let asked = world.start(acquire(&world, lock_request(&world, start, b"k", false)));
            world.stepper.run_until_stalled();
            asked
        };
        let mut next_client = |since| {
            last_ts += 10;
            Client {
                start: last_ts,
                since,
                asked: Some(ask(last_ts)),
            }
        };
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| next_client(0)).collect();
        let (mut longest, mut had) = (0, 0);
        for round in 1..ROUNDS {
            let mut holder = None;
            // Those who were woken come one after the other, and only now.
            for (number, client) in clients.iter_mut().enumerate() {
                match client.asked.as_mut().and_then(|asked| asked.now_or_never()) {
                    Some(Ok(_)) => assert_eq!(holder.replace(number), None, "two hold the lock"),
                    Some(outcome) => {
                        assert!(is_conflict(&outcome), "{outcome:?}");
                        client.asked = None;
                    }
                    None => {}
                }
            }
            for client in clients.iter_mut().filter(|client| client.asked.is_none()) {
                client.asked = Some(ask(client.start));
            }
            if let Some(number) = holder {
                had += 1;
                longest = longest.max(round - clients[number].since);
                world
                    .run(give_back(&world, clients[number].start, b"k"))
                    .unwrap();
                clients[number] = next_client(round);
            }
        }
        let oldest = clients.iter().map(|client| client.since).min().unwrap();
        longest = longest.max(ROUNDS - oldest);
        assert!(
            had >= ROUNDS / 3,
            "the lock was idle: {had} turns in {ROUNDS} rounds"
        );
        assert!(
            longest <= 4 * CLIENTS,
            "somebody waited for {longest} rounds"
        );
    }
}

/// Whoever has the turn at one key and must wait for another does not keep those from the first who could have it.
#[test]
fn a_turn_is_given_up_by_one_that_waits_elsewhere() {
    let world = World::new(1);
    set(&world, FOR_EVER, true);
    let ask = |req| {
        let asked = world.start(acquire(&world, req));
        world.stepper.run_until_stalled();
        asked
    };
    let must_retry = |asked: BoxFuture<'static, Result<PessimisticLocked>>| {
        world.stepper.run_until_stalled();
        assert!(is_conflict(&asked.now_or_never().unwrap()));
    };
    let one = |start, key: &[u8]| lock_request(&world, start, key, false);
    let both = || {
        let mut req = one(20, b"a");
        let mut second = req.get_mutations()[0].clone();
        second.set_key(b"b".to_vec());
        req.mut_mutations().push(second);
        req
    };
    // 20 is woken for b twice, and overtaken by 30 in between.
    for (holder, next) in [(10, 30), (30, 40)] {
        world.run(acquire(&world, one(holder, b"b"))).unwrap();
        let waiting = ask(both());
        world.run(give_back(&world, holder, b"b")).unwrap();
        must_retry(waiting);
        if next == 30 {
            continue;
        }
        let mut behind = ask(one(next, b"b"));
        assert!((&mut behind).now_or_never().is_none(), "it is 20's turn");
        world.run(acquire(&world, one(5, b"a"))).unwrap();
        let elsewhere = ask(both());
        must_retry(behind);
        world.run(acquire(&world, one(next, b"b"))).unwrap();
        world.run(give_back(&world, next, b"b")).unwrap();
        world.run(give_back(&world, 5, b"a")).unwrap();
        must_retry(elsewhere);
    }
    assert_idle(&world);
}

/// Fail points belong to the whole process, so `cargo xtask test` runs these by themselves.
#[cfg(feature = "failpoints")]
mod failpoints {
    use super::*;

    #[test]
    fn a_release_that_fails_wakes_nobody() {
        let scenario = fail::FailScenario::setup();
        let world = World::new(1);
        set(&world, FOR_EVER, false);
        let held = acquire(&world, lock_request(&world, 10, b"k", false));
        world.run(held).unwrap();
        let mut waiting = world.start(acquire(&world, lock_request(&world, 20, b"k", true)));
        world.stepper.run_until_stalled();
        fail::cfg("storage_before_write", "1*return->off").unwrap();
        assert!(world.run(give_back(&world, 10, b"k")).is_err());
        world.stepper.run_until_stalled();
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(world.storage.lock_wait_info().len(), 1);
        world.run(give_back(&world, 10, b"k")).unwrap();
        world.stepper.run_until_stalled();
        waiting.now_or_never().unwrap().unwrap();
        world.run(give_back(&world, 20, b"k")).unwrap();
        assert_idle(&world);
        scenario.teardown();
    }
}
