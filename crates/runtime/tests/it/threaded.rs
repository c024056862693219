//! The thread driver: results, threads by name, and a shutdown that leaves nothing behind.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use futures::{executor::block_on, future::join_all};
use runtime::{ByteQueue, JoinError, PushError, Runtime};

use crate::{Drops, yield_once};

/// Long enough to tell a hang from a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

#[test]
fn tasks_run_on_named_threads_and_dedicated_ones_on_their_own() {
    let runtime = Runtime::system("rt", 2).unwrap();
    assert!(runtime.stepper().is_none());
    let name = block_on(runtime.spawner.spawn(async { thread_name() })).unwrap();
    assert!(name == "rt-0" || name == "rt-1", "{name}");
    let dedicated = runtime.spawner.spawn_dedicated("writer", async {
        yield_once().await;
        thread_name()
    });
    assert_eq!(block_on(dedicated).unwrap(), "writer");
    runtime.shutdown();
}

#[test]
fn a_dedicated_task_may_block_while_others_go_on() {
    let runtime = Runtime::system("rt", 1).unwrap();
    let (sender, receiver) = mpsc::channel();
    let blocked = runtime
        .spawner
        .spawn_dedicated("disk", async move { receiver.recv_timeout(PATIENCE) });
    let other = runtime
        .spawner
        .spawn(async move { sender.send(5).unwrap() });
    block_on(other).unwrap();
    assert_eq!(block_on(blocked).unwrap(), Ok(5));
    runtime.shutdown();
}

#[test]
fn waits_end_in_their_order() {
    let runtime = Runtime::system("rt", 2).unwrap();
    let (sender, receiver) = mpsc::channel();
    let start = runtime.clock.now();
    for millis in [30, 10, 20] {
        let (timer, sender) = (runtime.timer.clone(), sender.clone());
        drop(runtime.spawner.spawn(async move {
            timer
                .sleep_until(start + Duration::from_millis(millis))
                .await;
            sender.send(millis).unwrap();
        }));
    }
    drop(sender);
    let order: Vec<_> = receiver.iter().collect();
    assert!(runtime.clock.now() - start >= Duration::from_millis(30));
    // Two threads may swap neighbours only when both were due at once.
    assert_eq!(order.len(), 3);
    assert!(
        block_on(
            runtime
                .timer
                .timeout(Duration::from_millis(5), pending::<()>())
        )
        .is_err()
    );
    runtime.shutdown();
}

#[test]
fn a_panic_is_contained_and_told() {
    let runtime = Runtime::system("rt", 1).unwrap();
    let panicking = runtime.spawner.spawn(async { panic!("on purpose") });
    let error = block_on(panicking).unwrap_err();
    assert_eq!(error, JoinError::Panicked("on purpose".to_owned()));
    let dedicated = runtime
        .spawner
        .spawn_dedicated("d", async { panic!("there") });
    let error = block_on(dedicated).unwrap_err();
    assert_eq!(error, JoinError::Panicked("there".to_owned()));
    drop(runtime.spawner.spawn(async { panic!("awaited by nobody") }));
    assert_eq!(
        block_on(runtime.spawner.spawn(async { 1 })),
        Ok(1),
        "the thread lives"
    );
    runtime.shutdown();
}

#[test]
fn shutdown_drops_everything_and_returns() {
    let runtime = Runtime::system("rt", 2).unwrap();
    let drops = Drops::default();
    let mut handles = vec![];
    for i in 0..20 {
        let (timer, guard) = (runtime.timer.clone(), drops.guard());
        let waiting = async move {
            let _guard = guard;
            timer.sleep(PATIENCE).await;
        };
        handles.push(match i % 4 {
            0 => runtime.spawner.spawn_dedicated("d", waiting),
            _ => runtime.spawner.spawn(waiting),
        });
    }
    runtime.shutdown();
    assert_eq!(drops.count(), 20);
    for result in block_on(join_all(handles)) {
        assert_eq!(result, Err(JoinError::Cancelled));
    }
    let late = [
        runtime.spawner.spawn(async {}),
        runtime.spawner.spawn_dedicated("d", async {}),
    ];
    for result in block_on(join_all(late)) {
        assert_eq!(result, Err(JoinError::Cancelled));
    }
    runtime.shutdown();
}

#[test]
fn shutdown_from_a_task_of_the_runtime_returns() {
    for dedicated in [false, true] {
        let runtime = Runtime::system("rt", 2).unwrap();
        let (rt, drops) = (runtime.clone(), Drops::default());
        let (guard, (sender, receiver)) = (drops.guard(), mpsc::channel());
        let stop = async move {
            let _guard = guard;
            rt.shutdown();
            sender.send(()).unwrap();
            pending::<()>().await;
        };
        let handle = match dedicated {
            true => runtime.spawner.spawn_dedicated("d", stop),
            false => runtime.spawner.spawn(stop),
        };
        receiver.recv_timeout(PATIENCE).unwrap();
        assert_eq!(block_on(handle), Err(JoinError::Cancelled));
        assert_eq!(drops.count(), 1);
    }
}

#[test]
fn abort_reaches_waiting_queued_and_running_tasks() {
    let runtime = Runtime::system("rt", 2).unwrap();
    let drops = Drops::default();
    for round in 0..300 {
        let guard = drops.guard();
        let spinning = async move {
            let _guard = guard;
            loop {
                yield_once().await;
            }
        };
        let handle = match round % 10 {
            0 => runtime.spawner.spawn_dedicated("d", spinning),
            _ => runtime.spawner.spawn(spinning),
        };
        if round % 3 == 0 {
            block_on(runtime.spawner.spawn(yield_once())).unwrap();
        }
        handle.abort();
        assert_eq!(block_on(handle), Err(JoinError::Cancelled));
    }
    assert_eq!(drops.count(), 300);
    runtime.shutdown();
}

#[test]
fn no_wake_up_is_lost() {
    let runtime = Runtime::system("rt", 3).unwrap();
    let queue = ByteQueue::new(64);
    let consumer = queue.clone();
    let received = runtime.spawner.spawn_dedicated("consumer", async move {
        let (mut batch, mut count) = (vec![], 0);
        while consumer.pop_all(&mut batch).await.is_ok() {
            count += batch.len();
            batch.clear();
        }
        count
    });
    let refused = Arc::new(AtomicUsize::new(0));
    let producers = (0..4).map(|_| {
        let (queue, refused) = (queue.clone(), refused.clone());
        runtime.spawner.spawn(async move {
            for i in 0..5_000 {
                let mut item = i;
                while let Err(PushError::Full(back)) = queue.push(item, 1) {
                    item = back;
                    refused.fetch_add(1, Ordering::Relaxed);
                    yield_once().await;
                }
            }
        })
    });
    for result in block_on(join_all(producers)) {
        result.unwrap();
    }
    queue.close();
    assert_eq!(block_on(received), Ok(20_000));
    runtime.shutdown();
}
