//! The HTTP face: what monitors, operators and clients read beside gRPC. Translation only; what is
//! asked is in [`state`](crate::state), what is set goes through the same plans as gRPC.
//!
//! Errors are a JSON string with the code that the original uses. Paths of schedulers, operators
//! and hot spots answer that there are none, which is so: nothing is scheduled yet.
//! A request has bounded time and size; who may connect is the port's concern.

mod admin;
mod cluster;
mod config;
mod format;
mod gc;
mod keyspaces;
mod regions;
mod routes;
mod schedule;
mod settings;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

pub use routes::{HttpRoute, ROUTES};

use crate::service::{Service, Shared};
use crate::state::PdState;
use crate::{Error, PdConfig, Result};

/// The largest body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a request may take from its head to its answer, body included.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
struct Http {
    service: Service,
    config: Arc<PdConfig>,
    checkers: schedule::Checkers,
    /// In seconds since the epoch.
    started_at: i64,
}

impl Http {
    fn shared(&self) -> &Shared {
        &self.service.shared
    }

    /// Looks at what exists once there is a first region.
    async fn read<R>(&self, look: impl FnOnce(&PdState) -> Result<R>) -> Answered<R> {
        let look = |state: &PdState| {
            state.check_bootstrapped()?;
            look(state)
        };
        Ok(self.shared().cluster.read_durable(look).await?)
    }
}

/// Everything under `/`.
pub(crate) fn router(service: Service, config: PdConfig) -> Router {
    let timer = service.shared.runtime.timer.clone();
    let unix_millis = service.shared.runtime.clock.unix_millis();
    let http = Http {
        service,
        config: Arc::new(config),
        checkers: schedule::Checkers::default(),
        started_at: i64::try_from(unix_millis / 1000).unwrap_or(i64::MAX),
    };
    let mut router = Router::new();
    for route in ROUTES {
        router = router.route(route.path, (route.handler)());
    }
    let limited = move |request: Request, next: Next| {
        let timer = timer.clone();
        async move {
            // Before any of it is read.
            if claimed_length(&request).is_some_and(|length| length > BODY_BYTES_MAX as u64) {
                let text = format!("a body may have {BODY_BYTES_MAX} bytes");
                return refuse(StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
            }
            match timer.timeout(REQUEST_MAX, next.run(request)).await {
                Ok(response) => response,
                Err(_) => {
                    refuse(StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response()
                }
            }
        }
    };
    router
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "404 page not found") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(limited))
        .with_state(http)
}

fn claimed_length(request: &Request) -> Option<u64> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// A refusal: a code and a sentence.
#[derive(Debug)]
struct Refused(StatusCode, String);

/// What a handler answers.
type Answered<T> = std::result::Result<T, Refused>;

fn refuse(code: StatusCode, text: impl Into<String>) -> Refused {
    Refused(code, text.into())
}

fn bad_request(text: impl Into<String>) -> Refused {
    refuse(StatusCode::BAD_REQUEST, text)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        let code = match &error {
            Error::Stopped | Error::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Error::EntryNotFound(_) | Error::RegionNotFound(_) => StatusCode::NOT_FOUND,
            Error::Duplicated(_) | Error::AlreadyBootstrapped => StatusCode::CONFLICT,
            Error::StoreTombstone(_) => StatusCode::GONE,
            Error::Refused(_)
            | Error::InvalidArgument(_)
            | Error::InvalidValue(_)
            | Error::RangeNotCovered(_)
            | Error::ClusterIdMismatch { .. }
            | Error::Etcd(_) => StatusCode::BAD_REQUEST,
            // The original calls this its own fault, and clients wait for it to pass.
            Error::NotBootstrapped
            | Error::Config(_)
            | Error::Listen { .. }
            | Error::Store(_)
            | Error::Damaged { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        refuse(code, error.to_string())
    }
}

/// An answer as JSON, indented for people.
struct Json<T>(T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_string_pretty(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

/// A JSON body, whatever type the client says it has; an empty one is an empty object.
struct Body<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Answered<Self> {
        let bytes = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|rejection| refuse(rejection.status(), rejection.body_text()))?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text)
            .map(Body)
            .map_err(|error| bad_request(format!("invalid JSON: {error}")))
    }
}

/// A number in a path or query, with the name it has there.
fn number<N: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Answered<N> {
    text.parse()
        .map_err(|error| bad_request(format!("{name} {text:?}: {error}")))
}

async fn metrics(State(_): State<Http>) -> Response {
    use prometheus::Encoder as _;
    let encoder = prometheus::TextEncoder::new();
    let mut body = Vec::new();
    match encoder.encode(&prometheus::gather(), &mut body) {
        Ok(()) => {
            let kind = encoder.format_type().to_owned();
            ([(header::CONTENT_TYPE, kind)], body).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
