//! Answers that are given when a write is bound to be applied, before it is.
//!
//! A prewrite whose transaction is committed by it has nothing to wait for once the write cannot be lost: its locks in
//! memory keep readers off until it is applied, and its latches keep writers off.
//! Must never: answer twice, or before the write is committed.

use std::future::Future;
use std::pin::pin;

use futures::channel::oneshot;
use futures::future::{Either, select};
use futures::{Stream, StreamExt as _};
use kv::{Engine, Subscribed, WriteData, WriteEvent};
use kvproto::kvrpcpb::Context;

use super::command::WriteCommand;
use crate::{Error, Result};

/// The sending end of an early answer, where there may be one.
pub(super) struct Early<T>(Option<oneshot::Sender<T>>);

/// The receiving end.
pub(super) struct EarlyAnswer<T>(Option<oneshot::Receiver<T>>);

impl<T> Early<T> {
    /// Both ends; idle ones unless `command` may be answered early and that is `allowed`.
    pub(super) fn new<C: WriteCommand<Output = T>>(
        command: &C,
        allowed: bool,
    ) -> (Self, EarlyAnswer<T>) {
        if !allowed || !command.may_answer_at_commit() {
            return (Self(None), EarlyAnswer(None));
        }
        let (sender, receiver) = oneshot::channel();
        (Self(Some(sender)), EarlyAnswer(Some(receiver)))
    }

    /// Gives the answer, if it can be given early at all.
    pub(super) fn tell(&mut self, output: &mut Option<T>) {
        if let Some(early) = self.0.take()
            && let Some(output) = output.take()
        {
            // An error means that the client is gone.
            let _ = early.send(output);
        }
    }
}

impl<T: Send + 'static> EarlyAnswer<T> {
    /// The early answer, or the one at the end.
    pub(super) async fn or(
        self,
        started: Result<impl Future<Output = Result<Option<T>>> + Send>,
    ) -> Result<T> {
        let end = pin!(started?);
        let Some(early) = self.0 else {
            return end.await?.ok_or(Error::Closed);
        };
        // The end first: it may be the task itself, which tells early when it is polled.
        match select(end, early).await {
            Either::Left((ended, early)) => match ended? {
                Some(output) => Ok(output),
                None => early.await.map_err(|_| Error::Closed),
            },
            Either::Right((Ok(output), _)) => Ok(output),
            Either::Right((Err(_), end)) => end.await?.ok_or(Error::Closed),
        }
    }
}

/// Writes, and calls `committed` as soon as the write is bound to be applied. It is handed over at once.
pub(super) fn write_and_tell<E: Engine, F: FnOnce()>(
    engine: &E,
    ctx: Context,
    data: WriteData,
    committed: Option<F>,
) -> impl Future<Output = kv::Result<()>> + use<E, F> {
    let subscribed = Subscribed {
        committed: committed.is_some(),
        ..Subscribed::default()
    };
    tell_at_commit(engine.async_write(ctx, data, subscribed), committed)
}

async fn tell_at_commit(
    mut events: impl Stream<Item = WriteEvent> + Unpin,
    mut tell: Option<impl FnOnce()>,
) -> kv::Result<()> {
    while let Some(event) = events.next().await {
        match event {
            WriteEvent::Proposed => {}
            WriteEvent::Committed => {
                if let Some(tell) = tell.take() {
                    tell();
                }
            }
            WriteEvent::Finished(result) => return result,
        }
    }
    Err(kv::Error::Closed)
}
