//! Connections of the status server, and what one of them may take.
//!
//! Only so many are open at once; further ones wait in the system's queue. A connection that does
//! not send a whole request head in time, or does not take its answer, is closed: nobody holds a
//! place by being slow. Bodies have their own bound where they are read.

use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use futures::channel::oneshot;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use runtime::{Sleep, Timer};
use security::{HttpAcceptor, Peer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Monitors are few; more is a mistake or an attack.
const CONNECTIONS_MAX: usize = 64;
/// How long a request head may take to arrive, and a connection may be silent between requests.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of a request head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long a peer may take none of an answer.
const STALL_MAX: Duration = Duration::from_secs(10);
/// After an accept that failed, for example because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What connections are served with.
pub(super) struct Connections {
    pub(super) router: Router,
    pub(super) acceptor: Option<HttpAcceptor>,
    pub(super) timer: Timer,
}

impl Connections {
    /// Serves until told to stop; what is in progress then is cut off.
    pub(super) async fn serve(self, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the status server cannot listen");
                return;
            }
        };
        let this = Arc::new(self);
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut open = JoinSet::new();
        loop {
            let accepted = async {
                // The semaphore is never closed, so there is always a place in the end.
                let place = free.clone().acquire_owned().await.ok();
                (place, listener.accept().await)
            };
            tokio::select! {
                _ = &mut stopped => return,
                (place, accepted) = accepted => match accepted {
                    Ok((stream, _)) => {
                        let this = this.clone();
                        open.spawn(async move {
                            this.connection(stream).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the status server cannot accept a connection");
                        this.timer.sleep(ACCEPT_PAUSE).await;
                    }
                },
                // Ended connections are forgotten as they end.
                Some(_) = open.join_next() => {}
            }
        }
    }

    async fn connection(&self, stream: TcpStream) {
        let stream = Impatient {
            stream,
            timer: self.timer.clone(),
            stalled: None,
        };
        let ended = match &self.acceptor {
            // Without encryption whoever reaches the address is trusted.
            None => self.requests(stream, Peer::Known).await,
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(accepted) => self.requests(accepted.stream, accepted.peer).await,
                Err(error) => {
                    tracing::debug!(%error, "handshake with the status server failed");
                    return;
                }
            },
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection of the status server ended");
        }
    }

    async fn requests<S>(&self, stream: S, peer: Peer) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = TowerToHyperService::new(self.router.clone().layer(Extension(peer)));
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .await
    }
}

/// A connection that ends when its peer takes nothing for too long.
struct Impatient {
    stream: TcpStream,
    timer: Timer,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    /// The outcome of an attempt to write, or the end of patience.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if attempt.is_ready() {
            self.stalled = None;
            return attempt;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(self.timer.sleep(STALL_MAX)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, attempt)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, attempt)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, attempt)
    }
}
