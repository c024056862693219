//! A task that its caller polls, and that the pool takes over when the caller goes away.
//!
//! A write that decides nothing has next to nothing to compute: handing it to a pool costs two wake-ups of a thread,
//! which is more than all the rest of it. So it runs where its caller polls it. The promise that a write runs to its
//! end whatever its caller does is kept by `Drop`.
//! Must never: carry a task that reads from the engine, since the caller's thread must not block.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use yatp::{Pool, TaskOptions};

/// See the module. Whoever holds one must poll it when it is woken, or drop it: others may wait for its latches.
pub(super) struct Carried<F: Future + Send + 'static>
where
    F::Output: Send,
{
    /// `None` when it has ended.
    task: Option<Pin<Box<F>>>,
    pool: Pool,
    options: TaskOptions,
}

impl<F: Future + Send + 'static> Carried<F>
where
    F::Output: Send,
{
    /// Runs `task` here, and on `pool` if this is dropped before its end.
    pub(super) fn new(task: F, pool: Pool, options: TaskOptions) -> Self {
        Self {
            task: Some(Box::pin(task)),
            pool,
            options,
        }
    }
}

impl<F: Future + Send + 'static> Future for Carried<F>
where
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out while it runs: one that panics is dropped by the unwinding, and must not be polled again.
        let mut task = self.task.take().expect("polled after its end");
        let polled = task.as_mut().poll(cx);
        if polled.is_pending() {
            self.task = Some(task);
        }
        polled
    }
}

impl<F: Future + Send + 'static> Drop for Carried<F>
where
    F::Output: Send,
{
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            let rest = async move {
                task.await;
            };
            // A closed pool drops the task: latches and admission are given back, and what was handed to the
            // engine goes its way.
            let _ = self.pool.spawn(self.options, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt as _;
    use futures::channel::oneshot;
    use runtime::Stepper;

    use super::*;

    struct Bench {
        stepper: Stepper,
        pool: Pool,
        ended: Arc<AtomicUsize>,
    }

    impl Bench {
        fn new() -> Self {
            let stepper = Stepper::new(7);
            let pool = yatp::Builder::new("carried").build_stepped(&stepper);
            Self {
                stepper,
                pool,
                ended: Arc::default(),
            }
        }

        fn carry(
            &self,
        ) -> (
            oneshot::Sender<()>,
            Carried<impl Future<Output = ()> + Send + use<>>,
        ) {
            let (go, gone) = oneshot::channel();
            let ended = Arc::clone(&self.ended);
            let task = async move {
                gone.await.unwrap();
                ended.fetch_add(1, Ordering::Relaxed);
            };
            (
                go,
                Carried::new(task, self.pool.clone(), TaskOptions::default()),
            )
        }

        fn ended(&self) -> usize {
            self.stepper.run_until_stalled();
            self.ended.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn it_runs_where_it_is_polled_and_only_once() {
        let bench = Bench::new();
        let (go, mut carried) = bench.carry();
        assert!((&mut carried).now_or_never().is_none());
        go.send(()).unwrap();
        assert_eq!(bench.ended(), 0, "the pool has nothing to do with it");
        assert!((&mut carried).now_or_never().is_some());
        drop(carried);
        assert_eq!(bench.ended(), 1);
    }

    #[test]
    fn dropped_before_or_after_it_was_begun_it_goes_on_in_the_pool() {
        let bench = Bench::new();
        let (go_first, first) = bench.carry();
        let (go_second, mut second) = bench.carry();
        assert!((&mut second).now_or_never().is_none());
        drop((first, second));
        assert_eq!(bench.ended(), 0);
        go_first.send(()).unwrap();
        go_second.send(()).unwrap();
        assert_eq!(bench.ended(), 2);
    }

    #[test]
    fn a_task_that_panics_is_not_polled_again() {
        let bench = Bench::new();
        let task = async { panic!("on purpose") };
        let mut carried = Carried::new(task, bench.pool.clone(), TaskOptions::default());
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (&mut carried).now_or_never()
        }));
        assert!(caught.is_err());
        drop(carried);
        assert_eq!(bench.ended(), 0);
    }
}
