//! A task that its caller polls, and that the pool takes over when the caller goes away or the task asks for it.
//!
//! A small command has next to nothing to compute: handing it to a pool costs two wake-ups of a thread, which is more
//! than all the rest of it. So it runs where its caller polls it. The promise that a write runs to its end whatever
//! its caller does is kept by `Drop`. A task that finds that it has to read a file goes on in the pool, with all that
//! it holds.
//! Must never: carry a task that reads files before it has entered the pool, since the caller's thread must not block.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::channel::oneshot;
use yatp::{Pool, TaskOptions};

use crate::memory::REQUEST_OVERHEAD;
use crate::{Error, Result};

const CALLER: u8 = 0;
/// It is on its way from the caller to the pool.
const LEAVING: u8 = 1;
const POOL: u8 = 2;

/// A task is moved and allocated with each command, and is most of what the plan of memory counts for one: what stands
/// in it twice shows.
const TASK_BYTES_MAX: usize = REQUEST_OVERHEAD;

/// Where a task runs, as the task sees it. Clones are the same place.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<AtomicU8>);

impl Place {
    /// The caller's thread, or the pool from the beginning.
    pub(super) fn new(caller: bool) -> Self {
        Self(Arc::new(AtomicU8::new(if caller { CALLER } else { POOL })))
    }

    /// Whether it may read files.
    pub(super) fn is_pool(&self) -> bool {
        self.0.load(Ordering::Acquire) == POOL
    }

    /// Goes on in the pool, or stays there.
    pub(super) async fn enter_pool(&self) {
        poll_fn(|_| {
            if self.is_pool() {
                return Poll::Ready(());
            }
            // Whoever polls looks at this; nobody has to be woken.
            self.0.store(LEAVING, Ordering::Release);
            Poll::Pending
        })
        .await;
    }

    fn is_leaving(&self) -> bool {
        self.0.load(Ordering::Acquire) == LEAVING
    }

    fn entered_pool(&self) {
        self.0.store(POOL, Ordering::Release);
    }
}

/// A task in the pool. A task that vanished without an answer was dropped by a stopping pool.
pub(super) struct Pooled<T>(oneshot::Receiver<Result<T>>);

impl<T> Future for Pooled<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        self.0
            .poll_unpin(cx)
            .map(|answer| answer.unwrap_or(Err(Error::Closed)))
    }
}

/// Runs `task` in the pool from now on, whether or not somebody waits for it.
pub(super) fn in_pool<T: Send + 'static>(
    pool: &Pool,
    options: TaskOptions,
    task: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<Pooled<T>> {
    let (sender, receiver) = oneshot::channel();
    let run = task.map(move |result| drop(sender.send(result)));
    pool.spawn(options, run).map_err(|_| Error::Closed)?;
    Ok(Pooled(receiver))
}

/// See the module. Whoever holds one must poll it when it is woken, or drop it: others may wait for its latches.
pub(super) struct Carried<F, T>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    state: State<F, T>,
    pool: Pool,
    options: TaskOptions,
    place: Place,
}

enum State<F, T> {
    Here(Pin<Box<F>>),
    There(Pooled<T>),
    Ended,
}

impl<F, T> Carried<F, T>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    /// Runs `task`, which knows its place, here; and on `pool` if it asks for it, or this is dropped before its end.
    pub(super) fn new(task: F, pool: Pool, options: TaskOptions, place: Place) -> Self {
        const { assert!(size_of::<F>() <= TASK_BYTES_MAX, "a task is moved about") };
        Self {
            state: State::Here(Box::pin(task)),
            pool,
            options,
            place,
        }
    }

    /// A closed pool drops the task: latches and admission are given back, and what was handed to the engine goes its
    /// way.
    fn hand_over(&self, task: Pin<Box<F>>) -> Result<Pooled<T>> {
        self.place.entered_pool();
        in_pool(&self.pool, self.options, task)
    }
}

impl<F, T> Future for Carried<F, T>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        // Taken out while it runs: one that panics is dropped by the unwinding, and must not be polled again.
        let mut pooled = match std::mem::replace(&mut self.state, State::Ended) {
            State::Here(mut task) => {
                if let Poll::Ready(result) = task.as_mut().poll(cx) {
                    return Poll::Ready(result);
                }
                if !self.place.is_leaving() {
                    self.state = State::Here(task);
                    return Poll::Pending;
                }
                match self.hand_over(task) {
                    Ok(pooled) => pooled,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            State::There(pooled) => pooled,
            State::Ended => panic!("polled after its end"),
        };
        let polled = pooled.poll_unpin(cx);
        if polled.is_pending() {
            self.state = State::There(pooled);
        }
        polled
    }
}

impl<F, T> Drop for Carried<F, T>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    fn drop(&mut self) {
        if let State::Here(task) = std::mem::replace(&mut self.state, State::Ended) {
            drop(self.hand_over(task));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

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

        /// A task that waits for the sender, and enters the pool then if it is to.
        fn carry(
            &self,
            enters: bool,
        ) -> (
            oneshot::Sender<()>,
            Carried<impl Future<Output = Result<()>> + Send + use<>, ()>,
        ) {
            let (go, gone) = oneshot::channel();
            let ended = Arc::clone(&self.ended);
            let place = Place::new(true);
            let here = place.clone();
            let task = async move {
                gone.await.unwrap();
                if enters {
                    here.enter_pool().await;
                    assert!(here.is_pool());
                }
                ended.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            let pool = self.pool.clone();
            (go, Carried::new(task, pool, TaskOptions::default(), place))
        }

        fn ended(&self) -> usize {
            self.stepper.run_until_stalled();
            self.ended.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn it_runs_where_it_is_polled_and_only_once() {
        let bench = Bench::new();
        let (go, mut carried) = bench.carry(false);
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
        let (go_first, first) = bench.carry(false);
        let (go_second, mut second) = bench.carry(true);
        assert!((&mut second).now_or_never().is_none());
        drop((first, second));
        assert_eq!(bench.ended(), 0);
        go_first.send(()).unwrap();
        go_second.send(()).unwrap();
        assert_eq!(bench.ended(), 2);
    }

    #[test]
    fn a_task_that_asks_for_the_pool_goes_on_there_and_its_caller_hears_of_the_end() {
        let bench = Bench::new();
        let (go, mut carried) = bench.carry(true);
        go.send(()).unwrap();
        assert!((&mut carried).now_or_never().is_none());
        assert_eq!(bench.ended.load(Ordering::Relaxed), 0);
        assert_eq!(bench.ended(), 1, "without another poll of its caller");
        assert!(matches!((&mut carried).now_or_never(), Some(Ok(()))));
    }

    #[test]
    fn a_task_that_asks_for_a_pool_that_is_closed_ends() {
        let bench = Bench::new();
        let (go, mut carried) = bench.carry(true);
        go.send(()).unwrap();
        bench.pool.shutdown();
        let ended = (&mut carried).now_or_never();
        assert!(matches!(ended, Some(Err(Error::Closed))), "{ended:?}");
        assert_eq!(bench.ended(), 0);
    }

    #[test]
    fn a_task_that_panics_is_not_polled_again() {
        let bench = Bench::new();
        let task = async { panic!("on purpose") };
        let place = Place::new(true);
        let pool = bench.pool.clone();
        let mut carried: Carried<_, ()> = Carried::new(task, pool, TaskOptions::default(), place);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (&mut carried).now_or_never()
        }));
        assert!(caught.is_err());
        drop(carried);
        assert_eq!(bench.ended(), 0);
    }
}
