//! Keyspaces as JSON: pages, single ones, creation, configuration, states.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use kvproto::keyspacepb::{KeyspaceMeta, KeyspaceState};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answered, Body, Http, Json, bad_request, number};
use crate::state::PdState;

/// Keyspaces of one page when the request does not say.
const PAGE_DEFAULT: u32 = 100;

fn keyspace_json(meta: &KeyspaceMeta) -> Value {
    let config: BTreeMap<&str, &str> = meta
        .get_config()
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    json!({
        "id": meta.get_id(),
        "name": meta.get_name(),
        "state": format!("{:?}", meta.get_state()),
        "created_at": meta.get_created_at(),
        "state_changed_at": meta.get_state_changed_at(),
        "config": config,
    })
}

#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    page_token: String,
    #[serde(default)]
    limit: String,
}

pub(super) async fn page(
    State(http): State<Http>,
    Query(query): Query<Page>,
) -> Answered<Json<Value>> {
    let start = match query.page_token.as_str() {
        "" => 0,
        text => number("page_token", text)?,
    };
    let limit = match query.limit.as_str() {
        "" => PAGE_DEFAULT,
        text => number("limit", text)?,
    };
    if limit == 0 {
        return Err(bad_request("limit must not be 0"));
    }
    let look = |state: &PdState| {
        let found = state.keyspaces().page(start, limit);
        let metas: Vec<KeyspaceMeta> = found.cloned().collect();
        let after = metas.last().and_then(|last| last.get_id().checked_add(1));
        let next = after.and_then(|start| state.keyspaces().page(start, 1).next());
        Ok((metas, next.map(KeyspaceMeta::get_id)))
    };
    let (metas, next) = http.read(look).await?;
    let metas: Vec<Value> = metas.iter().map(keyspace_json).collect();
    Ok(Json(json!({
        "keyspaces": metas,
        "next_page_token": next.map_or_else(String::new, |id| id.to_string()),
    })))
}

#[derive(Deserialize)]
pub(super) struct Creation {
    name: String,
    #[serde(default)]
    config: BTreeMap<String, String>,
}

pub(super) async fn create(
    State(http): State<Http>,
    Body(body): Body<Creation>,
) -> Answered<Json<Value>> {
    let config = body.config.into_iter().collect();
    let created = http.service.create_keyspace(body.name, config).await?;
    Ok(Json(keyspace_json(&created)))
}

pub(super) async fn by_name(
    State(http): State<Http>,
    Path(name): Path<String>,
) -> Answered<Json<Value>> {
    let look = |state: &PdState| state.keyspaces().by_name(&name).map(keyspace_json);
    Ok(Json(http.read(look).await?))
}

pub(super) async fn by_id(
    State(http): State<Http>,
    Path(id): Path<String>,
) -> Answered<Json<Value>> {
    let id: u32 = number("keyspace", &id)?;
    let look = |state: &PdState| state.keyspaces().by_id(id).map(keyspace_json);
    Ok(Json(http.read(look).await?))
}

#[derive(Deserialize)]
pub(super) struct Configuration {
    config: BTreeMap<String, Option<String>>,
}

pub(super) async fn configure(
    State(http): State<Http>,
    Path(name): Path<String>,
    Body(body): Body<Configuration>,
) -> Answered<Json<Value>> {
    let config = body.config.into_iter().collect();
    let changed = http.service.configure_keyspace(name, config).await?;
    Ok(Json(keyspace_json(&changed)))
}

#[derive(Deserialize)]
pub(super) struct NewState {
    state: String,
}

pub(super) async fn set_state(
    State(http): State<Http>,
    Path(name): Path<String>,
    Body(body): Body<NewState>,
) -> Answered<Json<Value>> {
    let state = match body.state.to_ascii_uppercase().as_str() {
        "ENABLED" => KeyspaceState::ENABLED,
        "DISABLED" => KeyspaceState::DISABLED,
        "ARCHIVED" => KeyspaceState::ARCHIVED,
        "TOMBSTONE" => KeyspaceState::TOMBSTONE,
        other => return Err(bad_request(format!("unknown keyspace state {other:?}"))),
    };
    let now = http.service.unix_nanos() / 1_000_000_000;
    let plan = move |known: &PdState| {
        known.check_bootstrapped()?;
        let id = known.keyspaces().by_name(&name)?.get_id();
        known.keyspaces().plan_state(id, state, now)
    };
    let changed = http.shared().cluster.mutate(plan).await?;
    Ok(Json(keyspace_json(&changed)))
}
