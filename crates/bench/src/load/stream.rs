//! What loads over a duplex stream share: a message that holds several requests, and one that holds
//! the next as soon as some are answered. Nothing waits to make a message fuller.

use std::time::Instant;

use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use grpcio::WriteFlags;

use crate::window::Worker;

/// The two sides of one stream.
pub(crate) trait Conversation: Send + 'static {
    type Request: Send;
    type Response: Send;

    /// A message that asks for all of `slots`.
    fn ask(&mut self, slots: &[usize]) -> Self::Request;

    /// Which slots a message answers and what each is about, into `answered`.
    fn read(
        &mut self,
        response: Self::Response,
        answered: &mut Vec<(usize, anyhow::Result<u64>)>,
    ) -> anyhow::Result<()>;
}

/// Keeps `in_flight` requests going on one stream until the window is over, then hears out those
/// that are left.
pub(crate) async fn converse<C: Conversation>(
    mut talk: C,
    in_flight: usize,
    mut worker: Worker,
    mut sink: impl Sink<(C::Request, WriteFlags), Error = grpcio::Error> + Unpin + Send,
    mut answers: impl Stream<Item = grpcio::Result<C::Response>> + Unpin + Send,
) {
    let mut started = vec![Instant::now(); in_flight];
    let mut free: Vec<usize> = (0..in_flight).collect();
    let mut answered = Vec::new();
    let mut open = 0;
    let failure = loop {
        if worker.goes_on() && !free.is_empty() {
            let now = Instant::now();
            for slot in &free {
                started[*slot] = now;
            }
            open += free.len();
            let message = talk.ask(&free);
            free.clear();
            if let Err(error) = sink.send((message, WriteFlags::default())).await {
                break Some(anyhow::Error::new(error).context("send on the stream"));
            }
        }
        if open == 0 {
            break None;
        }
        let response = match answers.next().await {
            Some(Ok(response)) => response,
            Some(Err(error)) => break Some(anyhow::Error::new(error).context("the stream broke")),
            None => break Some(anyhow::anyhow!("the server ended the stream")),
        };
        if let Err(error) = talk.read(response, &mut answered) {
            break Some(error);
        }
        for (slot, outcome) in answered.drain(..) {
            let Some(began) = started.get(slot) else {
                continue;
            };
            worker.done(*began, outcome);
            open = open.saturating_sub(1);
            free.push(slot);
        }
    };
    if let Some(error) = failure {
        worker.done(Instant::now(), Err(error));
    }
    // The server may have closed it first.
    let _ = sink.close().await;
}
