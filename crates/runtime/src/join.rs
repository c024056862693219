//! Awaiting a spawned future: its result, or that it panicked or was cancelled. Knows nothing of
//! executors.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt, channel::oneshot};

/// Why a task has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It was aborted, or its runtime was shut down.
    #[error("task was cancelled")]
    Cancelled,
    /// It panicked, with this message.
    #[error("task panicked: {0}")]
    Panicked(String),
    /// The system refused a thread for it.
    #[error("task was not started: {0}")]
    NotStarted(String),
}

/// Something that can be told to stop.
pub(crate) trait Abort: Send + Sync {
    fn abort(&self);
}

/// The result of a spawned task, when it comes. Dropping the handle leaves the task running.
pub struct JoinHandle<T> {
    result: oneshot::Receiver<Result<T, JoinError>>,
    task: Option<Arc<dyn Abort>>,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(
        result: oneshot::Receiver<Result<T, JoinError>>,
        task: Option<Arc<dyn Abort>>,
    ) -> Self {
        Self { result, task }
    }

    /// A handle of a task that never began.
    pub(crate) fn failed(error: JoinError) -> Self {
        let (sender, result) = oneshot::channel();
        // The receiver is in hand: the send cannot fail.
        let _ = sender.send(Err(error));
        Self { result, task: None }
    }

    /// Drops the task's future: now, or right after the poll that is under way.
    pub fn abort(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.result
            .poll_unpin(cx)
            .map(|received| received.unwrap_or(Err(JoinError::Cancelled)))
    }
}

/// Splits a future into what an executor runs and what a handle awaits. A panic goes to the handle;
/// when nobody holds the handle any more it goes on to the executor, so that it is reported once,
/// somewhere.
pub(crate) fn observed<F>(
    future: F,
) -> (
    impl Future<Output = ()> + Send + 'static,
    oneshot::Receiver<Result<F::Output, JoinError>>,
)
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let task = async move {
        match AssertUnwindSafe(future).catch_unwind().await {
            Ok(output) => {
                let _ = sender.send(Ok(output));
            }
            Err(payload) => {
                let error = JoinError::Panicked(panic_message(payload.as_ref()));
                if sender.send(Err(error)).is_err() {
                    resume_unwind(payload);
                }
            }
        }
    };
    (task, receiver)
}

/// The message of a panic's payload.
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(message) = payload.downcast_ref::<&str>() {
        (*message).to_owned()
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message.clone()
    } else {
        "(panic without a message)".to_owned()
    }
}
