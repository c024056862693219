//! The HTTP face for people and monitors: `/status`, `/metrics`, `/config`, `/ready`.
//!
//! It runs on a current-thread tokio runtime in one dedicated thread, apart from everything that
//! serves data, and reads shared state only. It never changes anything.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::channel::oneshot;
use prometheus::{Encoder as _, TextEncoder};
use runtime::Runtime;
use serde::Deserialize;

use crate::status_listener::BoundedListener;
use crate::{Error, Result};

/// Monitors are few; more is a mistake or an attack.
const CONNECTIONS_MAX: usize = 64;

/// What the handlers read.
pub(crate) trait StatusSource: Send + Sync + 'static {
    /// Facts for `/status`.
    fn status(&self) -> serde_json::Value;
    /// The configuration in force, for `/config`.
    fn config(&self) -> serde_json::Value;
    /// What is ready and what is not, for `/ready`.
    fn readiness(&self) -> Vec<(&'static str, bool)>;
}

/// A running status server.
pub(crate) struct StatusServer {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
}

type Source = Arc<dyn StatusSource>;

impl StatusServer {
    /// Binds `addr` and serves from a thread of its own.
    pub(crate) fn start(addr: &str, source: Source, runtime: &Runtime) -> Result<StatusServer> {
        let unbound = |error| Error::Bind {
            what: "status-addr",
            addr: addr.to_owned(),
            error,
        };
        let listener = TcpListener::bind(addr).map_err(unbound)?;
        listener.set_nonblocking(true).map_err(unbound)?;
        let addr = listener.local_addr().map_err(unbound)?;
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(Error::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let router = router(source);
        // The future blocks its thread in the event loop of tokio.
        runtime
            .spawner
            .spawn_dedicated("status-server", async move {
                tokio.block_on(serve(listener, router, stopped));
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

async fn serve(listener: TcpListener, router: Router, stopped: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the status server cannot listen");
            return;
        }
    };
    let listener = BoundedListener::new(listener, CONNECTIONS_MAX);
    let serving = axum::serve(listener, router).into_future();
    tokio::select! {
        result = serving => {
            if let Err(error) = result {
                tracing::error!(%error, "the status server ended");
            }
        }
        _ = stopped => {}
    }
}

fn router(source: Source) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/config", get(config))
        .route("/ready", get(ready))
        .with_state(source)
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}

async fn status(State(source): State<Source>) -> Response {
    json(StatusCode::OK, &source.status())
}

async fn config(State(source): State<Source>) -> Response {
    json(StatusCode::OK, &source.config())
}

async fn metrics() -> Response {
    let encoder = TextEncoder::new();
    let mut body = Vec::new();
    match encoder.encode(&prometheus::gather(), &mut body) {
        Ok(()) => (
            [(header::CONTENT_TYPE, encoder.format_type().to_owned())],
            body,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[derive(Deserialize)]
struct ReadyQuery {
    /// Present, with any value, for the single conditions.
    verbose: Option<String>,
}

async fn ready(State(source): State<Source>, Query(query): Query<ReadyQuery>) -> Response {
    let conditions = source.readiness();
    let code = if conditions.iter().all(|(_, ready)| *ready) {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    if query.verbose.is_none() {
        return code.into_response();
    }
    let conditions: serde_json::Map<String, serde_json::Value> = conditions
        .into_iter()
        .map(|(name, ready)| (name.to_owned(), ready.into()))
        .collect();
    json(code, &conditions.into())
}
