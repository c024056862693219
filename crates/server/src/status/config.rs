//! `/config` and `/log-level`: what is configured, and changes of it.

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Node, Shared, body, json as answer, parameters, refusal};
use crate::Error;
use crate::online::Persist;

#[derive(Deserialize)]
struct GetParameters {
    /// Whether what is derived is filled in.
    #[serde(default)]
    full: bool,
}

/// `GET /config`
pub(super) async fn get(State(shared): Node, uri: Uri) -> Response {
    let parameters: GetParameters = match parameters(&uri) {
        Ok(parameters) => parameters,
        Err(refusal) => return refusal,
    };
    let mut config = shared.node.config().config();
    if parameters.full {
        config = config.in_force();
    }
    match serde_json::to_value(&config) {
        Ok(value) => answer(StatusCode::OK, &value),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

#[derive(Deserialize)]
struct PostParameters {
    /// Whether the change is written to the configuration file.
    #[serde(default = "yes")]
    persist: bool,
}

fn yes() -> bool {
    true
}

/// `POST /config`
pub(super) async fn post(State(shared): Node, request: Request) -> Response {
    let parameters: PostParameters = match parameters(request.uri()) {
        Ok(parameters) => parameters,
        Err(refusal) => return refusal,
    };
    let persist = if parameters.persist {
        Persist::ToFile
    } else {
        Persist::No
    };
    let change: Map<String, Value> = match read_json(&shared, request).await {
        Ok(change) => change,
        Err(refusal) => return refusal,
    };
    changed(&shared, &change, persist)
}

#[derive(Deserialize)]
struct LogLevel {
    log_level: String,
}

/// `PUT /log-level`: `log.level` until the process ends.
pub(super) async fn log_level(State(shared): Node, request: Request) -> Response {
    let LogLevel { log_level } = match read_json(&shared, request).await {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal,
    };
    let change = Map::from_iter([("log.level".to_owned(), Value::from(log_level))]);
    changed(&shared, &change, Persist::No)
}

async fn read_json<T: serde::de::DeserializeOwned>(
    shared: &Shared,
    request: Request,
) -> std::result::Result<T, Response> {
    let bytes = body(shared, request).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        refusal(
            StatusCode::BAD_REQUEST,
            format!("the body is not the JSON that is expected here: {error}"),
        )
    })
}

fn changed(shared: &Shared, change: &Map<String, Value>, persist: Persist) -> Response {
    match shared.node.config().change(change, persist) {
        Ok(()) => answer(StatusCode::OK, &json!({})),
        Err(Error::Config(problems)) => {
            let problems: Vec<Value> = problems
                .iter()
                .map(|problem| {
                    json!({
                        "key": problem.key,
                        "value": problem.value,
                        "allowed": problem.allowed,
                    })
                })
                .collect();
            let body = json!({ "error": "nothing was changed", "problems": problems });
            answer(StatusCode::BAD_REQUEST, &body)
        }
        Err(error) => {
            tracing::warn!(%error, "a change of the configuration failed");
            let body = json!({ "error": format!("nothing was changed: {error}") });
            answer(StatusCode::INTERNAL_SERVER_ERROR, &body)
        }
    }
}
