//! The closed loop over gRPC: a fixed number of requests in flight, each followed by the next.

use std::future::{Future, Ready, ready};
use std::sync::Arc;
use std::time::Instant;

use crate::client::Connections;
use crate::random::Random;
use crate::sample::Sample;
use crate::window::{Timing, measure};

/// Keeps `in_flight` operations going. `op` gets the number of the worker and its random numbers,
/// and gives what the operation was about: rows, or one.
pub(crate) fn closed_loop<Op, Fut>(
    connections: &Connections,
    in_flight: usize,
    timing: Timing,
    server: Option<u32>,
    op: Op,
) -> anyhow::Result<Sample>
where
    Op: Fn(usize, &mut Random) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<u64>> + Send,
{
    let op = move |number, random: &mut Random| {
        let done = op(number, random);
        async { done.await.map(|items| (items, ready(()))) }
    };
    closed_loop_with_rest::<_, _, Ready<()>>(connections, in_flight, timing, server, op)
}

/// Does the same, with something to be done after each operation that does not count to it, such as its undoing.
pub(crate) fn closed_loop_with_rest<Op, Fut, Rest>(
    connections: &Connections,
    in_flight: usize,
    timing: Timing,
    server: Option<u32>,
    op: Op,
) -> anyhow::Result<Sample>
where
    Op: Fn(usize, &mut Random) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<(u64, Rest)>> + Send,
    Rest: Future<Output = ()> + Send,
{
    let op = Arc::new(op);
    measure(timing, server, |workers| {
        for number in 0..in_flight {
            let mut worker = workers.worker();
            let op = op.clone();
            let mut random = Random::new(number as u64 + 1);
            connections.spawn(number, async move {
                while worker.goes_on() {
                    let started = Instant::now();
                    match op(number, &mut random).await {
                        Ok((items, rest)) => {
                            worker.done(started, Ok(items));
                            rest.await;
                        }
                        Err(error) => {
                            worker.done(started, Err(error));
                            yield_once().await;
                        }
                    }
                }
            });
        }
        Ok(())
    })
}

/// A request that cannot even be sent fails at once. This lets the others, and the end, have a turn.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return std::task::Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
