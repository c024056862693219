//! The port: one socket for HTTP/2 and HTTP/1.1. It owns the listening sockets and every
//! connection until it knows what the client speaks, and those that speak HTTP/1.1 to their end.
//!
//! 1. The first bytes tell. HTTP/2 begins with a preface that is no HTTP/1.1 request; they are
//!    looked at without being taken from the socket.
//! 2. A plain HTTP/2 connection is handed to gRPC as it is, by its descriptor: from then on not a
//!    byte of it passes here, so that streams of timestamps cost what they would without a front.
//! 3. An encrypted connection is decrypted here, where handshake and lists are checked. For gRPC
//!    the bytes in the clear go through a pair of sockets of this process that nobody else can
//!    open; copying waits for whichever side is slow, and passes a half-close on.
//! 4. A client that says nothing is left after [`FIRST_BYTES_MAX`]. Of those that have not yet said
//!    what they speak, only so many may wait: one too many and the oldest is closed, because an
//!    honest client speaks at once. The same holds for HTTP/1.1 connections.
//!
//! It must never interpret a request, and never hold a byte for a client longer than a buffer.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use runtime::{JoinHandle, Runtime, Shutdown, Timer};
use security::HttpAcceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_io_timeout::TimeoutStream;

use crate::places::{Place, Places};
use crate::{Error, Result};

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client may take to say what it speaks.
const FIRST_BYTES_MAX: Duration = Duration::from_secs(10);
/// The pause between two looks at a preface that comes in pieces.
const PIECE_PAUSE: Duration = Duration::from_millis(20);
/// The pause after the system could not open a connection, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that have not said what they speak.
const UNDECIDED_MAX: usize = 1024;
/// Connections that speak HTTP/1.1.
const HTTP_MAX: usize = 256;
/// Encrypted connections that carry gRPC.
const TUNNELS_MAX: usize = 4096;
/// How long an HTTP/1.1 client may take for the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How long it may keep a connection without reading or writing anything.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The longest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// One direction's buffer of an encrypted connection.
const COPY_BYTES: usize = 32 << 10;

/// The gRPC server that connections are handed to.
pub(crate) type SharedGrpc = Arc<Mutex<grpcio::Server>>;

/// What every connection needs.
struct Front {
    grpc: SharedGrpc,
    router: Router,
    acceptor: Option<HttpAcceptor>,
    timer: Timer,
    undecided: Places,
    http: Places,
    tunnels: Places,
}

/// Takes an address: `host:port`, where port 0 picks a free one.
pub(crate) fn listen(address: &str) -> Result<(TcpListener, SocketAddr)> {
    let bind = || -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bind().map_err(|error| Error::Listen {
        address: address.to_owned(),
        detail: error.to_string(),
    })
}

/// When what ends.
pub(crate) struct Ends {
    /// No further connections from here on.
    pub(crate) accepting: Shutdown,
    /// Those that are open end here; encrypted gRPC is among them.
    pub(crate) connections: Shutdown,
}

/// Serves the listeners on a thread of its own.
pub(crate) fn serve(
    listeners: Vec<TcpListener>,
    grpc: SharedGrpc,
    router: Router,
    acceptor: Option<HttpAcceptor>,
    runtime: &Runtime,
    ends: Ends,
) -> Result<JoinHandle<()>> {
    let failed = |error: io::Error| Error::Listen {
        address: "the event loop of the port".to_owned(),
        detail: error.to_string(),
    };
    let event_loop = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(failed)?;
    let listeners = {
        let _entered = event_loop.enter();
        let listeners = listeners.into_iter().map(tokio::net::TcpListener::from_std);
        listeners.collect::<io::Result<Vec<_>>>().map_err(failed)?
    };
    let front = Arc::new(Front {
        grpc,
        router,
        acceptor,
        timer: runtime.timer.clone(),
        undecided: Places::new(UNDECIDED_MAX),
        http: Places::new(HTTP_MAX),
        tunnels: Places::new(TUNNELS_MAX),
    });
    // The future blocks its thread in the event loop of tokio; what is still open at its end is
    // dropped with the loop.
    Ok(runtime.spawner.spawn_dedicated("pd-port", async move {
        for listener in listeners {
            let accepting = Arc::clone(&front).accept_all(listener);
            let stop = ends.accepting.clone();
            drop(event_loop.spawn(async move {
                tokio::select! {
                    () = accepting => {}
                    () = stop.wait() => {}
                }
            }));
        }
        event_loop.block_on(ends.connections.wait());
    }))
}

impl Front {
    async fn accept_all(self: Arc<Self>, listener: tokio::net::TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.open(stream, peer),
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    self.timer.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn open(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let front = Arc::clone(self);
        self.undecided.occupy(move |place| async move {
            if let Err(error) = front.decide(stream, place).await {
                tracing::debug!(%error, %peer, "connection closed before it spoke");
            }
        });
    }

    /// Finds out what a connection speaks and hands it on.
    async fn decide(self: Arc<Self>, stream: TcpStream, place: Place) -> io::Result<()> {
        // Answers are small and clients wait for them.
        stream.set_nodelay(true)?;
        if let Some(acceptor) = &self.acceptor {
            let accepted = acceptor.accept(stream).await?;
            drop(place);
            if accepted.is_http2 {
                return self.tunnel(accepted.stream);
            }
            self.serve_http(accepted.stream);
            return Ok(());
        }
        let first = self.timer.timeout(FIRST_BYTES_MAX, self.is_http2(&stream));
        let is_http2 = match first.await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        drop(place);
        if is_http2 {
            // Taken out of the event loop: gRPC watches it from now on.
            let stream = stream.into_std()?;
            adopt(&self.grpc, stream.into());
        } else {
            self.serve_http(stream);
        }
        Ok(())
    }

    async fn is_http2(&self, stream: &TcpStream) -> io::Result<bool> {
        let mut seen = [0; PREFACE.len()];
        loop {
            let length = stream.peek(&mut seen).await?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if seen[..length] != PREFACE[..length] {
                return Ok(false);
            }
            if length == PREFACE.len() {
                return Ok(true);
            }
            // The socket stays readable, so there is nothing to wait for but time.
            self.timer.sleep(PIECE_PAUSE).await;
        }
    }

    /// Carries an encrypted gRPC connection.
    fn tunnel<S>(&self, mut outside: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let mut inside = UnixStream::from_std(ours)?;
        let copying = move |place: Place| async move {
            let _place = place;
            // How it ended is known to both ends; a broken connection is everyday.
            let copied = tokio::io::copy_bidirectional_with_sizes(
                &mut outside,
                &mut inside,
                COPY_BYTES,
                COPY_BYTES,
            );
            if let Err(error) = copied.await {
                tracing::debug!(%error, "encrypted connection ended");
            }
        };
        // A stream that is in use must not be closed for a newcomer.
        if self.tunnels.occupy_free(copying) {
            adopt(&self.grpc, theirs.into());
            Ok(())
        } else {
            Err(io::Error::other("too many encrypted connections"))
        }
    }

    fn serve_http<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut stream = TimeoutStream::new(stream);
        stream.set_read_timeout(Some(SILENCE_MAX));
        stream.set_write_timeout(Some(SILENCE_MAX));
        let service = TowerToHyperService::new(self.router.clone());
        self.http.occupy(move |place| async move {
            let _place = place;
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_MAX)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(Box::pin(stream)), service);
            if let Err(error) = serving.await {
                tracing::debug!(%error, "HTTP connection ended");
            }
        });
    }
}

/// Hands a connected socket to the gRPC server.
#[allow(
    unsafe_code,
    reason = "gRPC takes a connection only as a bare descriptor"
)]
fn adopt(grpc: &Mutex<grpcio::Server>, socket: OwnedFd) {
    // SAFETY: gRPC asks for a connected stream socket that nobody else reads, writes or closes. It is
    // connected, for both callers made their descriptor from a stream that was accepted or came as a
    // pair. It is nobody else's: `socket` owned it alone, since a `TcpStream` taken out of its event
    // loop is no longer registered there and nothing here clones a stream, and `into_raw_fd` gives
    // the ownership up without closing it. gRPC closes it with the channel.
    unsafe { grpc.lock().add_channel_from_fd(socket.into_raw_fd()) }
}
