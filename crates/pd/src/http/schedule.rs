//! Schedulers, operators, checkers, hot spots, placement rules. Nothing is scheduled yet, and these
//! paths say so in the words of the original; only the pause of a checker is remembered, because
//! importers ask for it back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use parking_lot::Mutex;
use runtime::Instant;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answered, Body, Http, Json, Refused, refuse};

/// The checkers of the original.
const CHECKERS: [&str; 6] = [
    "joint-state",
    "learner",
    "merge",
    "replica",
    "rule",
    "split",
];

/// Until when each checker is paused. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Checkers(Arc<Mutex<BTreeMap<&'static str, Instant>>>);

fn known_checker(name: &str) -> Answered<&'static str> {
    CHECKERS
        .into_iter()
        .find(|known| *known == name)
        .ok_or_else(|| {
            refuse(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("checker {name} not found"),
            )
        })
}

pub(super) async fn checker(
    State(http): State<Http>,
    Path(name): Path<String>,
) -> Answered<Json<Value>> {
    let name = known_checker(&name)?;
    let until = http.checkers.0.lock().get(name).copied();
    let paused = until.is_some_and(|until| until > http.shared().runtime.clock.now());
    Ok(Json(json!({ "paused": paused })))
}

#[derive(Deserialize)]
pub(super) struct Pause {
    /// Seconds; 0 resumes.
    delay: u32,
}

pub(super) async fn pause_checker(
    State(http): State<Http>,
    Path(name): Path<String>,
    Body(pause): Body<Pause>,
) -> Answered<Json<&'static str>> {
    let name = known_checker(&name)?;
    let until = http.shared().runtime.clock.now() + Duration::from_secs(pause.delay.into());
    http.checkers.0.lock().insert(name, until);
    Ok(Json("Pause or resume the checker successfully."))
}

pub(super) async fn none() -> Json<[(); 0]> {
    Json([])
}

pub(super) async fn no_scheduler() -> Refused {
    refuse(StatusCode::NOT_FOUND, "scheduler not found")
}

pub(super) async fn no_operator() -> Refused {
    refuse(StatusCode::NOT_FOUND, "operator not found")
}

pub(super) async fn no_rules() -> Refused {
    refuse(
        StatusCode::PRECONDITION_FAILED,
        "placement rules feature is disabled",
    )
}

pub(super) async fn no_hot_regions() -> Json<Value> {
    Json(json!({ "as_peer": {}, "as_leader": {} }))
}

pub(super) async fn no_history() -> Json<Value> {
    Json(json!({ "history_hot_region": [] }))
}

pub(super) async fn no_hot_stores() -> Json<Value> {
    Json(json!({
        "bytes-write-rate": {},
        "bytes-read-rate": {},
        "keys-write-rate": {},
        "keys-read-rate": {},
        "query-write-rate": {},
        "query-read-rate": {},
    }))
}
