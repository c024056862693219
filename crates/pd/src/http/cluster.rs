//! Who and how: version, members, health, the cluster as a whole.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use kvproto::pdpb;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::format;
use super::{Answered, Http, Json, number};
use crate::keyspaces::DEFAULT_ID;
use crate::{Error, Result};

pub(super) async fn version(State(http): State<Http>) -> Json<Value> {
    Json(json!({ "version": version_text(&http) }))
}

/// With the letter that the original puts before it.
fn version_text(http: &Http) -> String {
    format!("v{}", http.config.version.trim_start_matches('v'))
}

pub(super) async fn status(State(http): State<Http>) -> Json<Value> {
    Json(json!({
        // A build is what its revision says, whenever it was made.
        "build_ts": "",
        "version": version_text(&http),
        "git_hash": http.config.git_hash,
        "start_timestamp": http.started_at,
    }))
}

pub(super) async fn ping() {}

fn member(http: &Http) -> Result<&pdpb::Member> {
    http.shared().member.get().ok_or(Error::Stopped)
}

fn member_json(member: &pdpb::Member) -> Value {
    json!({
        "name": member.get_name(),
        "member_id": member.get_member_id(),
        "peer_urls": member.get_peer_urls().to_vec(),
        "client_urls": member.get_client_urls().to_vec(),
        "binary_version": member.get_binary_version(),
        "git_hash": member.get_git_hash(),
    })
}

pub(super) async fn health(State(http): State<Http>) -> Answered<Json<Value>> {
    let member = member(&http)?;
    Ok(Json(json!([{
        "name": member.get_name(),
        "member_id": member.get_member_id(),
        "client_urls": member.get_client_urls().to_vec(),
        "health": !http.shared().stop.is_triggered(),
    }])))
}

pub(super) async fn members(State(http): State<Http>) -> Answered<Json<Value>> {
    let member = member_json(member(&http)?);
    Ok(Json(json!({
        "header": { "cluster_id": http.shared().cluster_id },
        "members": [member],
        "leader": member,
        "etcd_leader": member,
    })))
}

pub(super) async fn leader(State(http): State<Http>) -> Answered<Json<Value>> {
    Ok(Json(member_json(member(&http)?)))
}

pub(super) async fn cluster(State(http): State<Http>) -> Answered<Json<Value>> {
    let cluster = http.read(|state| state.cluster().cloned()).await?;
    Ok(Json(json!({
        "id": cluster.get_id(),
        "max_peer_count": cluster.get_max_peer_count(),
    })))
}

pub(super) async fn cluster_status(State(http): State<Http>) -> Answered<Json<Value>> {
    let look = |state: &crate::state::PdState| {
        // Made together with the first region.
        let default = state.keyspaces().by_id(DEFAULT_ID).ok();
        Ok(default.map(|keyspace| keyspace.get_created_at()))
    };
    let bootstrapped_at = http.shared().cluster.read_durable(look).await?;
    let mut status = json!({
        "is_initialized": bootstrapped_at.is_some(),
        "replication_status": "majority",
    });
    if let Some(at) = bootstrapped_at {
        status["raft_bootstrap_time"] = format::time(at).into();
    }
    Ok(Json(status))
}

#[derive(Deserialize)]
pub(super) struct Scope {
    #[serde(default)]
    scope: String,
}

#[derive(Serialize)]
pub(super) struct MinResolved {
    min_resolved_ts: u64,
    is_real_time: bool,
    persist_interval: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stores_min_resolved_ts: Option<BTreeMap<u64, u64>>,
}

fn min_resolved(ts: u64, stores: Option<BTreeMap<u64, u64>>) -> Json<MinResolved> {
    Json(MinResolved {
        min_resolved_ts: ts,
        // It is what stores told last, never what the disk remembers.
        is_real_time: ts > 0,
        persist_interval: "1s",
        stores_min_resolved_ts: stores,
    })
}

pub(super) async fn min_resolved_ts(
    State(http): State<Http>,
    Query(query): Query<Scope>,
) -> Answered<Json<MinResolved>> {
    let all = query.scope == "cluster";
    let mut wanted = Vec::new();
    if !all {
        for id in query.scope.split(',').filter(|id| !id.is_empty()) {
            wanted.push(number::<u64>("scope", id.trim())?);
        }
    }
    let (ts, stores) = http
        .read(|state| {
            let stores = state
                .stores()
                .iter()
                .filter(|info| all || wanted.contains(&info.store.get_id()));
            let each: BTreeMap<u64, u64> = stores
                .map(|info| (info.store.get_id(), info.min_resolved_ts()))
                .collect();
            Ok((state.stores().min_resolved_ts(), each))
        })
        .await?;
    if all || !wanted.is_empty() {
        let ts = if all {
            ts
        } else {
            stores.values().copied().min().unwrap_or(0)
        };
        return Ok(min_resolved(ts, Some(stores)));
    }
    Ok(min_resolved(ts, None))
}

pub(super) async fn min_resolved_ts_of(
    State(http): State<Http>,
    Path(id): Path<String>,
) -> Answered<Json<MinResolved>> {
    let id: u64 = number("store", &id)?;
    let ts = http
        .read(|state| {
            Ok(state
                .stores()
                .get(id)
                .map_or(0, |info| info.min_resolved_ts()))
        })
        .await?;
    Ok(min_resolved(ts, None))
}
