//! The pool through its public API, on both drivers.

#![expect(
    clippy::unwrap_used,
    reason = "tests may unwrap, also in what they share"
)]

mod in_order;

use std::{
    collections::BTreeSet,
    fs,
    future::{pending, poll_fn},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use futures::{channel::oneshot, executor::block_on};
use runtime::{Runtime, Stepper};
use test_case::test_case;
use yatp::{Builder, LEVEL_BOUNDS, Pool, PoolClosed, Priority, TaskOptions};

/// Long enough to tell a hang from a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn threaded(name: &str, threads: usize) -> (Runtime, Pool) {
    let runtime = Runtime::system("rt", 1).unwrap();
    let pool = Builder::new(name).threads(threads).build(&runtime).unwrap();
    (runtime, pool)
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Sends when dropped, so that a test sees a future go.
struct OnDrop(mpsc::Sender<u32>, u32);

impl Drop for OnDrop {
    fn drop(&mut self) {
        // The test may have stopped listening.
        let _ = self.0.send(self.1);
    }
}

/// Occupies the one thread of `pool` until the returned sender sends.
fn block_thread(pool: &Pool) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel();
    let (begun, has_begun) = mpsc::channel();
    let high = TaskOptions {
        priority: Priority::High,
        ..TaskOptions::default()
    };
    pool.spawn(high, async move {
        begun.send(()).unwrap();
        released.recv_timeout(PATIENCE).unwrap();
    })
    .unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    release
}

/// Runs a task of `task_id` that keeps its thread for `d`.
fn burn(runtime: &Runtime, pool: &Pool, task_id: u64, d: Duration) {
    let (done, is_done) = mpsc::channel();
    let clock = runtime.clock.clone();
    pool.spawn(
        TaskOptions {
            task_id,
            ..TaskOptions::default()
        },
        async move {
            let end = clock.now() + d;
            while clock.now() < end {
                std::hint::spin_loop();
            }
            done.send(()).unwrap();
        },
    )
    .unwrap();
    is_done.recv_timeout(PATIENCE).unwrap();
    // The time is booked once the run ended: the next task of the only thread runs after that.
    let (next, is_next) = mpsc::channel();
    pool.spawn(
        TaskOptions::default(),
        async move { next.send(()).unwrap() },
    )
    .unwrap();
    is_next.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn who_has_run_little_goes_first() {
    let (runtime, pool) = threaded("pool", 1);
    burn(&runtime, &pool, 1, LEVEL_BOUNDS[1]);
    burn(&runtime, &pool, 2, LEVEL_BOUNDS[0]);
    let release = block_thread(&pool);
    let (sender, receiver) = mpsc::channel();
    let plan = [
        ("low", 0, Priority::Low),
        ("heavy", 1, Priority::Normal),
        ("middle", 2, Priority::Normal),
        ("new", 3, Priority::Normal),
        ("high", 1, Priority::High),
    ];
    const EACH: usize = 64;
    for (name, task_id, priority) in plan.repeat(EACH) {
        let sender = sender.clone();
        pool.spawn(TaskOptions { task_id, priority }, async move {
            sender.send(name).unwrap()
        })
        .unwrap();
    }
    assert_eq!(pool.queued(), plan.len() * EACH);
    drop(sender);
    release.send(()).unwrap();
    let order: Vec<_> = receiver.iter().collect();
    assert_eq!(order.len(), plan.len() * EACH);
    // Some picks prefer a lower lane, so that none starves: the order is one of shares, not of
    // single tasks.
    let sum_of_places = |name| {
        let of_name = order.iter().enumerate().filter(|(_, n)| **n == name);
        of_name.map(|(place, _)| place).sum::<usize>()
    };
    let places = ["high", "new", "middle", "heavy", "low"].map(sum_of_places);
    assert!(places.is_sorted(), "{places:?}");
    runtime.shutdown();
}

#[test]
fn many_tasks_on_many_threads_all_end() {
    let (runtime, pool) = threaded("pool", 4);
    let (done, (sender, receiver)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel::<()>());
    for i in 0..20_000_u64 {
        let (done, sender) = (done.clone(), sender.clone());
        let priority = match i % 3 {
            0 => Priority::High,
            1 => Priority::Normal,
            _ => Priority::Low,
        };
        pool.spawn(
            TaskOptions {
                task_id: i % 7,
                priority,
            },
            async move {
                let (wake, woken) = oneshot::channel();
                yield_once().await;
                thread_of_pool();
                wake.send(()).unwrap();
                woken.await.unwrap();
                done.fetch_add(1, Ordering::SeqCst);
                drop(sender);
            },
        )
        .unwrap();
    }
    drop(sender);
    assert!(
        receiver
            .recv_timeout(PATIENCE)
            .is_err_and(|e| e == mpsc::RecvTimeoutError::Disconnected)
    );
    assert_eq!(done.load(Ordering::SeqCst), 20_000);
    pool.shutdown();
    assert_eq!((pool.queued(), pool.unfinished(), pool.panics()), (0, 0, 0));
    runtime.shutdown();
}

fn thread_of_pool() {
    let current = thread::current();
    assert!(
        current.name().unwrap().starts_with("pool-"),
        "{:?}",
        current.name()
    );
}

/// Tasks that wake each other over and over: a lost wake-up hangs it.
#[test]
fn no_wake_up_is_lost() {
    let (runtime, pool) = threaded("pool", 3);
    let (sender, receiver) = mpsc::channel();
    for _ in 0..8 {
        let (mut ping, mut pong) = (vec![], vec![]);
        for _ in 0..2_000 {
            ping.push(oneshot::channel::<()>());
            pong.push(oneshot::channel::<()>());
        }
        let (ping_tx, ping_rx): (Vec<_>, Vec<_>) = ping.into_iter().unzip();
        let (pong_tx, pong_rx): (Vec<_>, Vec<_>) = pong.into_iter().unzip();
        pool.spawn(TaskOptions::default(), async move {
            for (tx, rx) in ping_tx.into_iter().zip(pong_rx) {
                tx.send(()).unwrap();
                rx.await.unwrap();
            }
        })
        .unwrap();
        let sender = sender.clone();
        pool.spawn(TaskOptions::default(), async move {
            for (tx, rx) in pong_tx.into_iter().zip(ping_rx) {
                rx.await.unwrap();
                tx.send(()).unwrap();
            }
            sender.send(()).unwrap();
        })
        .unwrap();
    }
    for _ in 0..8 {
        receiver.recv_timeout(PATIENCE).unwrap();
    }
    runtime.shutdown();
}

/// One task at a time on one thread: each spawn meets a worker that is about to park, parks or is
/// parked.
#[test]
fn a_spawn_meets_a_parking_worker() {
    let (runtime, pool) = threaded("pool", 1);
    let (sender, receiver) = mpsc::channel();
    for i in 0..50_000_u32 {
        let sender = sender.clone();
        pool.spawn(
            TaskOptions::default(),
            async move { sender.send(i).unwrap() },
        )
        .unwrap();
        // From "still looking" to "asleep": the spawn after this comes at different moments.
        for _ in 0..i % 500 {
            std::hint::spin_loop();
        }
        assert_eq!(receiver.recv_timeout(PATIENCE), Ok(i));
        for _ in 0..i % 311 {
            std::hint::spin_loop();
        }
    }
    runtime.shutdown();
}

/// State and number of voluntary context switches of the threads whose names begin with `prefix`.
fn threads_of(prefix: &str) -> Vec<(String, String)> {
    let mut found = vec![];
    for entry in fs::read_dir("/proc/self/task").unwrap() {
        // A thread may end while the directory is read.
        let Ok(status) = fs::read_to_string(entry.unwrap().path().join("status")) else {
            continue;
        };
        let line = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_once('\t').unwrap().1.to_owned()
        };
        if line("Name:").starts_with(prefix) {
            found.push((line("State:"), line("voluntary_ctxt_switches:")));
        }
    }
    found
}

#[test]
fn an_idle_pool_costs_nothing() {
    let (runtime, pool) = threaded("idlepool", 3);
    let (sender, receiver) = mpsc::channel();
    pool.spawn(
        TaskOptions::default(),
        async move { sender.send(()).unwrap() },
    )
    .unwrap();
    receiver.recv_timeout(PATIENCE).unwrap();
    let settle = || block_on(runtime.timer.sleep(Duration::from_millis(100)));
    settle();
    let before = threads_of("idlepool");
    settle();
    assert_eq!(before.len(), 3);
    assert!(
        before.iter().all(|(state, _)| state.starts_with('S')),
        "{before:?}"
    );
    assert_eq!(threads_of("idlepool"), before, "nobody woke");
    pool.shutdown();
    assert_eq!(threads_of("idlepool"), []);
    runtime.shutdown();
}

#[test]
fn a_panic_is_contained_and_told() {
    let runtime = Runtime::system("rt", 1).unwrap();
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    let pool = Builder::new("pool")
        .on_panic(move |message| sender.lock().unwrap().send(message.to_owned()).unwrap())
        .build(&runtime)
        .unwrap();
    pool.spawn(TaskOptions::default(), async { panic!("on {}", "purpose") })
        .unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), "on purpose");
    let (after, is_after) = mpsc::channel();
    pool.spawn(
        TaskOptions::default(),
        async move { after.send(()).unwrap() },
    )
    .unwrap();
    is_after.recv_timeout(PATIENCE).unwrap();
    assert_eq!((pool.panics(), pool.threads(), pool.name()), (1, 1, "pool"));
    runtime.shutdown();
}

/// Running polls end; queued and waiting futures are dropped before the shutdown returns, the
/// oldest first.
#[test]
fn shutdown_drops_what_has_not_ended() {
    let (runtime, pool) = threaded("pool", 1);
    let (drops, dropped) = mpsc::channel();
    let (waits, is_waiting) = mpsc::channel();
    let guard = OnDrop(drops.clone(), 0);
    pool.spawn(TaskOptions::default(), async move {
        let _guard = guard;
        waits.send(()).unwrap();
        pending::<()>().await;
    })
    .unwrap();
    is_waiting.recv_timeout(PATIENCE).unwrap();
    let release = block_thread(&pool);
    for i in 1..10 {
        let guard = OnDrop(drops.clone(), i);
        pool.spawn(TaskOptions::default(), async move {
            let _guard = guard;
            pending::<()>().await;
        })
        .unwrap();
    }
    drop(drops);
    let stopping = pool.clone();
    let stop = runtime
        .spawner
        .spawn_dedicated("stop", async move { stopping.shutdown() });
    while pool.spawn(TaskOptions::default(), async {}).is_ok() {
        thread::yield_now();
    }
    release.send(()).unwrap();
    block_on(stop).unwrap();
    assert_eq!(
        dropped.iter().collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    assert_eq!((pool.queued(), pool.unfinished()), (0, 0));
    assert_eq!(
        pool.spawn(TaskOptions::default(), async {}),
        Err(PoolClosed)
    );
    pool.shutdown();
    runtime.shutdown();
}

#[test]
fn a_task_may_hold_the_last_handle() {
    let (runtime, pool) = threaded("pool", 2);
    let (drops, dropped) = mpsc::channel();
    let (last, (go, may_go)) = (pool.clone(), oneshot::channel::<()>());
    let guard = OnDrop(drops, 1);
    pool.spawn(TaskOptions::default(), async move {
        let _guard = guard;
        may_go.await.unwrap();
        drop(last);
        pending::<()>().await;
    })
    .unwrap();
    drop(pool);
    go.send(()).unwrap();
    assert_eq!(dropped.recv_timeout(PATIENCE), Ok(1));
    runtime.shutdown();
}

/// Names in the order in which they ran, and the digest of the run.
fn stepped_run(seed: u64) -> (Vec<u32>, u64) {
    let stepper = Stepper::new(seed);
    let runtime = stepper.runtime();
    let pool = Builder::new("pool").threads(4).build(&runtime).unwrap();
    let order = Arc::new(Mutex::new(vec![]));
    for name in 0..8 {
        let (order, timer) = (order.clone(), runtime.timer.clone());
        let options = TaskOptions {
            task_id: 1,
            priority: Priority::High,
        };
        pool.spawn(options, async move {
            yield_once().await;
            timer.sleep(Duration::from_millis(1)).await;
            order.lock().unwrap().push(name);
        })
        .unwrap();
    }
    assert_eq!(pool.queued(), 8);
    stepper.advance(Duration::from_millis(1));
    assert_eq!((pool.queued(), pool.unfinished()), (0, 0));
    let order = order.lock().unwrap().clone();
    (order, stepper.trace_hash())
}

#[test]
fn stepped_one_seed_is_one_order() {
    let runs: Vec<_> = (0..20).map(stepped_run).collect();
    for (seed, run) in (0..).zip(&runs) {
        assert_eq!(&stepped_run(seed), run);
        assert_eq!(run.0.len(), 8);
    }
    let orders: BTreeSet<_> = runs.into_iter().map(|(order, _)| order).collect();
    assert!(orders.len() > 15, "seeds explore: {}", orders.len());
}

#[test_case(false; "queued")]
#[test_case(true; "waiting")]
fn stepped_shutdown_drops_in_order(begun: bool) {
    let stepper = Stepper::new(3);
    let pool = Builder::new("pool").build_stepped(&stepper);
    let (drops, dropped) = mpsc::channel();
    for i in 0..5 {
        let guard = OnDrop(drops.clone(), i);
        pool.spawn(TaskOptions::default(), async move {
            let _guard = guard;
            pending::<()>().await;
        })
        .unwrap();
    }
    drop(drops);
    if begun {
        stepper.run_until_stalled();
    }
    pool.shutdown();
    assert_eq!(dropped.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(
        pool.spawn(TaskOptions::default(), async {}),
        Err(PoolClosed)
    );
    stepper.run_until_stalled();
    assert_eq!((pool.queued(), pool.unfinished()), (0, 0));
}

#[test]
fn stepped_panic_reaches_the_stepper() {
    let stepper = Stepper::new(3);
    let pool = Builder::new("pool").build_stepped(&stepper);
    pool.spawn(TaskOptions::default(), async { panic!("on purpose") })
        .unwrap();
    stepper.run_until_stalled();
    assert_eq!(stepper.take_panics(), ["pool pool: on purpose"]);
    assert_eq!(pool.panics(), 1);
}
