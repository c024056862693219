//! Pages that only tell: status, readiness, metrics, the region, the command line.

use std::io::Write as _;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus::{Encoder as _, TextEncoder};
use serde::Deserialize;

use super::{Node, json, parameters, refusal};

/// `/status`
pub(super) async fn status(State(shared): Node) -> Response {
    json(StatusCode::OK, &shared.node.status())
}

#[derive(Deserialize)]
struct ReadyParameters {
    /// Present, with any value, for the single conditions.
    verbose: Option<String>,
}

/// `/ready`
pub(super) async fn ready(State(shared): Node, uri: Uri) -> Response {
    let parameters: ReadyParameters = match parameters(&uri) {
        Ok(parameters) => parameters,
        Err(refusal) => return refusal,
    };
    let conditions = shared.node.readiness();
    let code = if conditions.iter().all(|(_, ready)| *ready) {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    if parameters.verbose.is_none() {
        return code.into_response();
    }
    let conditions: serde_json::Map<String, serde_json::Value> = conditions
        .into_iter()
        .map(|(name, ready)| (name.to_owned(), ready.into()))
        .collect();
    json(code, &conditions.into())
}

/// `/metrics`, in the text format that every scraper takes.
pub(super) async fn metrics(headers: HeaderMap) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    if let Err(error) = encoder.encode(&prometheus::gather(), &mut text) {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    }
    let content_type = (header::CONTENT_TYPE, encoder.format_type().to_owned());
    let vary = (header::VARY, "accept-encoding".to_owned());
    if !takes_gzip(&headers) {
        return ([content_type, vary], text).into_response();
    }
    match gzip(&text) {
        Ok(packed) => {
            let encoding = (header::CONTENT_ENCODING, "gzip".to_owned());
            ([content_type, vary, encoding], packed).into_response()
        }
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Whether a client takes gzip: named, and not with a weight of zero.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let named = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let refused = parts.any(|part| {
            part.strip_prefix("q=")
                .and_then(|weight| weight.parse::<f32>().ok())
                .is_some_and(|weight| weight == 0.0)
        });
        coding.eq_ignore_ascii_case("gzip") && !refused
    })
}

/// Packs `bytes`, fast rather than small.
pub(super) fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes)?;
    packer.finish()
}

/// `/region/{id}`
pub(super) async fn region(State(shared): Node, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<u64>() else {
        return refusal(
            StatusCode::BAD_REQUEST,
            format!("{id:?} is no region id: a whole number is"),
        );
    };
    match shared.node.region(id) {
        Some(region) => json(StatusCode::OK, &region),
        None => refusal(
            StatusCode::NOT_FOUND,
            format!("no region {id} on this store"),
        ),
    }
}

/// `/debug/pprof/cmdline`: the arguments, separated by zeros.
pub(super) async fn cmdline() -> Vec<u8> {
    let arguments: Vec<Vec<u8>> = std::env::args_os()
        .map(std::ffi::OsString::into_encoded_bytes)
        .collect();
    arguments.join(&0)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn gzip_is_asked_for() {
        for (value, expected) in [
            ("gzip", true),
            ("identity, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("deflate", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(takes_gzip(&headers), expected, "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
