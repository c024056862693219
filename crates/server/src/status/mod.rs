//! The HTTP face for people and monitors: what the node is and how it fares, its metrics, its
//! configuration and changes of it, and profiles. `docs/status-server.md` tells of every path.
//!
//! It runs on a current-thread tokio runtime in one dedicated thread, apart from everything that
//! serves data. Here stand the server and the table of paths; connections and their limits are in
//! `connection`, the answers in the other modules.

#![allow(
    clippy::result_large_err,
    reason = "both sides are answers, moved once on the way to the client"
)]

mod config;
mod connection;
mod flame_graph;
mod heap;
mod pages;
mod pprof_format;
mod profile;
mod symbols;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use futures::channel::oneshot;
use runtime::Runtime;
use security::{HttpAcceptor, Peer};

pub use self::heap::HeapProfiler;
use crate::node_state::NodeState;
use crate::{Error, Result};

/// The longest body that a request may have: changes of a configuration, addresses of a stack.
const BODY_BYTES_MAX: usize = 64 << 10;
/// How long a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// What the handlers have.
#[derive(Clone)]
struct Shared {
    node: Arc<NodeState>,
    runtime: Runtime,
    heap: Option<Arc<dyn HeapProfiler>>,
}

/// A running status server.
pub(crate) struct StatusServer {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
}

/// What a status server is made of, beside its address.
pub(crate) struct StatusOptions {
    /// What it tells of.
    pub(crate) node: Arc<NodeState>,
    /// Encrypts connections; without it they are plain.
    pub(crate) acceptor: Option<HttpAcceptor>,
    /// The heap of the process, where it can be looked at.
    pub(crate) heap: Option<Arc<dyn HeapProfiler>>,
}

impl StatusServer {
    /// Binds `addr` and serves from a thread of its own.
    pub(crate) fn start(
        addr: &str,
        options: StatusOptions,
        runtime: &Runtime,
    ) -> Result<StatusServer> {
        let unbound = |error| Error::Bind {
            what: "status-addr",
            addr: addr.to_owned(),
            error,
        };
        let listener = TcpListener::bind(addr).map_err(unbound)?;
        listener.set_nonblocking(true).map_err(unbound)?;
        let addr = listener.local_addr().map_err(unbound)?;
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let router = router(Shared {
            node: options.node,
            runtime: runtime.clone(),
            heap: options.heap,
        });
        let connections = connection::Connections {
            router,
            acceptor: options.acceptor,
            timer: runtime.timer.clone(),
        };
        // The future blocks its thread in the event loop of tokio.
        runtime
            .spawner
            .spawn_dedicated("status-server", async move {
                tokio.block_on(connections.serve(listener, stopped));
                let _ = end.send(());
            });
        Ok(StatusServer {
            addr,
            stop: Some(stop),
            ended,
        })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops: answers in progress are cut off, they are only reports.
    pub(crate) async fn shutdown(mut self) {
        drop(self.stop.take());
        let _ = self.ended.await;
    }
}

/// Paths that anybody may ask, and those that need a known client once connections are encrypted.
fn router(shared: Shared) -> Router {
    let open = Router::new()
        .route("/status", get(pages::status))
        .route("/metrics", get(pages::metrics))
        .route("/ready", get(pages::ready));
    let closed = Router::new()
        .route("/config", get(config::get).post(config::post))
        .route("/log-level", put(config::log_level).post(config::log_level))
        .route("/region/{id}", get(pages::region))
        .route("/debug/pprof/cmdline", get(pages::cmdline))
        .route("/debug/pprof/profile", get(profile::cpu))
        .route(
            "/debug/pprof/symbol",
            get(symbols::count).post(symbols::resolve),
        )
        .route("/debug/pprof/heap", get(heap::dump))
        .route(
            "/debug/pprof/heap_activate",
            get(heap::activate).post(heap::activate),
        )
        .route(
            "/debug/pprof/heap_deactivate",
            get(heap::deactivate).post(heap::deactivate),
        )
        .route_layer(from_fn(known_only));
    open.merge(closed).with_state(shared)
}

/// Refuses whoever has not shown a certificate, on an encrypted connection.
async fn known_only(Extension(peer): Extension<Peer>, request: Request, next: Next) -> Response {
    match peer {
        Peer::Known => next.run(request).await,
        Peer::Stranger => {
            let path = request.uri().path();
            let text = format!("{path} is for clients with a certificate of the cluster\n");
            (StatusCode::FORBIDDEN, text).into_response()
        }
    }
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}

/// A refusal that a person can read.
fn refusal(status: StatusCode, text: impl Into<String>) -> Response {
    let mut text = text.into();
    text.push('\n');
    (status, text).into_response()
}

/// The body of a request, within its bounds of size and time.
async fn body(shared: &Shared, request: Request) -> std::result::Result<Bytes, Response> {
    let reading = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX);
    match shared.runtime.timer.timeout(BODY_TIME_MAX, reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a body of at most {BODY_BYTES_MAX} bytes: {error}"),
        )),
        Err(_) => Err(refusal(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {BODY_TIME_MAX:?}"),
        )),
    }
}

/// The parameters of a request, or the answer to those that are wrong.
fn parameters<T: serde::de::DeserializeOwned>(
    uri: &axum::http::Uri,
) -> std::result::Result<T, Response> {
    axum::extract::Query::try_from_uri(uri)
        .map(|axum::extract::Query(parameters)| parameters)
        .map_err(|error| refusal(StatusCode::BAD_REQUEST, error.body_text()))
}

/// The state of handlers that only read.
type Node = State<Shared>;
