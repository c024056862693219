//! The way of a follower's waits to the leader.
//!
//! 1. Waits go out on one stream to the store that leads, in order. They have no answers but deadlocks.
//! 2. Without a stream, the placement driver is asked who holds the region with the empty key, and a stream is
//!    opened to that store.
//! 3. A stream that ends took its last messages with it: the store may have refused them because it leads no more.
//!    So what was sent since the stream was opened, a few messages at most, is sent once more on a new one. That is
//!    the second and last attempt; then the waits go on without detection.
//!
//! Must never: hold back a newer wait for an older one for longer than the two attempts take.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, Fuse};
use futures::{FutureExt as _, StreamExt as _};
use kvproto::deadlock::{DeadlockRequest, DeadlockResponse};

/// Messages that are sent once more when their stream ends; those before them were taken.
const RESENT_MAX: usize = 16;

/// How often a message is sent.
const ATTEMPTS: u32 = 2;

/// Why a stream could not be had or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEnd(pub String);

/// A stream of waits to a leader.
pub struct DetectStream {
    /// Takes the waits. When it does not take one, the stream has ended or cannot follow.
    pub requests: mpsc::Sender<DeadlockRequest>,
    /// The deadlocks. Ends when the stream does, with the reason.
    pub deadlocks: BoxStream<'static, Result<DeadlockResponse, StreamEnd>>,
}

/// The seam to the other stores: who leads, and a stream to it.
pub trait DetectorPeers: Send + Sync + 'static {
    /// Opens a stream to the store that holds the region with the empty key, as it is known now.
    fn connect(&self) -> BoxFuture<'static, Result<DetectStream, StreamEnd>>;
}

type Tell = Box<dyn Fn(DeadlockResponse) + Send>;

/// See the module.
pub(super) struct Follower {
    queued: Fuse<mpsc::Receiver<DeadlockRequest>>,
    peers: Arc<dyn DetectorPeers>,
    tell: Tell,
    stream: Option<OpenStream>,
}

struct OpenStream {
    requests: mpsc::Sender<DeadlockRequest>,
    deadlocks: Fuse<BoxStream<'static, Result<DeadlockResponse, StreamEnd>>>,
    /// What was sent since it was opened; the oldest go first.
    sent: VecDeque<(DeadlockRequest, u32)>,
}

impl OpenStream {
    fn new(stream: DetectStream) -> Self {
        OpenStream {
            requests: stream.requests,
            deadlocks: stream.deadlocks.fuse(),
            sent: VecDeque::new(),
        }
    }

    /// Sends a message; `false` when the stream does not take it.
    fn send(&mut self, message: DeadlockRequest, attempts: u32) -> bool {
        if self.requests.try_send(message.clone()).is_err() {
            return false;
        }
        if self.sent.len() == RESENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((message, attempts));
        true
    }
}

enum Event {
    Queued(Option<DeadlockRequest>),
    Deadlock(DeadlockResponse),
    Ended(StreamEnd),
}

impl Follower {
    pub(super) fn new(
        queued: Fuse<mpsc::Receiver<DeadlockRequest>>,
        peers: Arc<dyn DetectorPeers>,
        tell: Tell,
    ) -> Self {
        Follower {
            queued,
            peers,
            tell,
            stream: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            match self.next().await {
                Event::Queued(None) => return,
                Event::Queued(Some(message)) => self.send(message, 0).await,
                Event::Deadlock(found) => (self.tell)(found),
                Event::Ended(end) => {
                    tracing::info!(reason = %end.0, "stream to the deadlock detector ended");
                    let lost = self.stream.take().map(|stream| stream.sent);
                    for (message, attempts) in lost.into_iter().flatten() {
                        self.send(message, attempts).await;
                    }
                }
            }
        }
    }

    async fn next(&mut self) -> Event {
        let Some(stream) = &mut self.stream else {
            return Event::Queued(self.queued.next().await);
        };
        futures::select_biased! {
            found = stream.deadlocks.next() => match found {
                Some(Ok(found)) => Event::Deadlock(found),
                Some(Err(end)) => Event::Ended(end),
                None => Event::Ended(StreamEnd("the leader closed it".to_owned())),
            },
            message = self.queued.next().fuse() => Event::Queued(message),
        }
    }

    /// Sends a message that was sent `attempts` times before, unless these were too many.
    async fn send(&mut self, message: DeadlockRequest, mut attempts: u32) {
        while attempts < ATTEMPTS {
            attempts += 1;
            if let Some(stream) = &mut self.stream
                && stream.send(message.clone(), attempts)
            {
                return;
            }
            match self.peers.connect().await {
                Ok(stream) => {
                    let mut stream = OpenStream::new(stream);
                    let sent = stream.send(message.clone(), attempts);
                    self.stream = Some(stream);
                    if sent {
                        return;
                    }
                }
                Err(end) => {
                    self.stream = None;
                    tracing::debug!(reason = %end.0, "no stream to the deadlock detector");
                }
            }
        }
        tracing::warn!("a lock is waited for without deadlock detection");
    }
}
