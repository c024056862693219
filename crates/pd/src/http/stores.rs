//! Stores as JSON.

use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use kvproto::metapb::{NodeState, Store, StoreState};
use serde_json::{Map, Value, json};

use super::format;
use super::{Answered, Http, Json, bad_request, number, refuse};
use crate::regions::RegionTree;
use crate::state::PdState;
use crate::stores::{StoreInfo, is_removed};

/// Without a heartbeat for so long, a store counts as disconnected.
const DISCONNECTED_SECONDS: i64 = 20;
/// And for so long, as down.
const DOWN_SECONDS: i64 = 30 * 60;

/// What regions put on a store.
#[derive(Clone, Copy, Default)]
struct Load {
    leaders: u64,
    leader_mib: u64,
    peers: u64,
    peer_mib: u64,
}

fn load_of(regions: &RegionTree, store_id: u64) -> Load {
    let mut load = Load::default();
    for info in regions.scan(b"", b"") {
        let mib = super::regions::size_mib(info);
        if info
            .region
            .get_peers()
            .iter()
            .any(|peer| peer.get_store_id() == store_id)
        {
            load.peers += 1;
            load.peer_mib += mib;
        }
        if info
            .known_leader()
            .is_some_and(|leader| leader.get_store_id() == store_id)
        {
            load.leaders += 1;
            load.leader_mib += mib;
        }
    }
    load
}

fn state_name(store: &Store, silent_seconds: i64) -> &'static str {
    if is_removed(store) {
        return "Tombstone";
    }
    match store.get_state() {
        StoreState::Offline => "Offline",
        _ if silent_seconds >= DOWN_SECONDS => "Down",
        _ if silent_seconds >= DISCONNECTED_SECONDS => "Disconnected",
        _ => "Up",
    }
}

fn meta_json(store: &Store, silent_seconds: i64) -> Value {
    let labels = store.get_labels().iter();
    let labels: Vec<Value> = labels
        .map(|label| json!({ "key": label.get_key(), "value": label.get_value() }))
        .collect();
    let mut meta = Map::new();
    meta.insert("id".to_owned(), store.get_id().into());
    let texts = [
        ("address", store.get_address()),
        ("version", store.get_version()),
        ("peer_address", store.get_peer_address()),
        ("status_address", store.get_status_address()),
        ("git_hash", store.get_git_hash()),
        ("deploy_path", store.get_deploy_path()),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        meta.insert(name.to_owned(), text.into());
    }
    if !labels.is_empty() {
        meta.insert("labels".to_owned(), labels.into());
    }
    if store.get_physically_destroyed() {
        meta.insert("physically_destroyed".to_owned(), true.into());
    }
    meta.insert("state".to_owned(), (store.get_state() as i32).into());
    meta.insert(
        "start_timestamp".to_owned(),
        store.get_start_timestamp().into(),
    );
    meta.insert(
        "last_heartbeat".to_owned(),
        store.get_last_heartbeat().into(),
    );
    meta.insert(
        "node_state".to_owned(),
        (store.get_node_state() as i32).into(),
    );
    meta.insert(
        "state_name".to_owned(),
        state_name(store, silent_seconds).into(),
    );
    let node_state_name = match store.get_node_state() {
        NodeState::Preparing => "Preparing",
        NodeState::Serving => "Serving",
        NodeState::Removing => "Removing",
        NodeState::Removed => "Removed",
    };
    meta.insert("node_state_name".to_owned(), node_state_name.into());
    meta.into()
}

fn store_json(info: &StoreInfo, load: Load, unix_nanos: i64) -> Value {
    let store = &info.store;
    let stats = &info.stats;
    let heartbeat = store.get_last_heartbeat();
    let silent = unix_nanos.saturating_sub(heartbeat) / 1_000_000_000;
    let mut status = json!({
        "capacity": format::size(stats.get_capacity()),
        "available": format::size(stats.get_available()),
        "used_size": format::size(stats.get_used_size()),
        "leader_count": load.leaders,
        "leader_weight": 1,
        "leader_score": load.leaders,
        "leader_size": load.leader_mib,
        "region_count": load.peers,
        "region_weight": 1,
        "region_score": load.peer_mib,
        "region_size": load.peer_mib,
        "slow_score": stats.get_slow_score(),
    });
    let started_at = store.get_start_timestamp();
    if started_at > 0 {
        status["start_ts"] = format::time(started_at).into();
    }
    if heartbeat > 0 {
        status["last_heartbeat_ts"] = format::time(heartbeat / 1_000_000_000).into();
        let up = heartbeat.saturating_sub(started_at.saturating_mul(1_000_000_000));
        if started_at > 0 && up > 0 {
            let up = Duration::from_nanos(up.unsigned_abs());
            status["uptime"] = format::duration(up).into();
        }
    }
    json!({ "store": meta_json(store, silent), "status": status })
}

/// `state=0&state=2`; none means those that are not gone.
fn wanted_states(query: &str) -> Answered<Vec<i32>> {
    let mut states = Vec::new();
    for value in query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("state="))
    {
        let state: i32 = number("state", value)?;
        if !(0..=2).contains(&state) {
            return Err(bad_request(format!("unknown StoreState: {state}")));
        }
        states.push(state);
    }
    if states.is_empty() {
        states = vec![StoreState::Up as i32, StoreState::Offline as i32];
    }
    Ok(states)
}

pub(super) async fn all(
    State(http): State<Http>,
    RawQuery(query): RawQuery,
) -> Answered<Json<Value>> {
    let states = wanted_states(query.as_deref().unwrap_or_default())?;
    let now = http.service.unix_nanos();
    let look = |state: &PdState| {
        let wanted = state.stores().iter().filter(|info| {
            let removed = is_removed(&info.store).then_some(StoreState::Tombstone);
            states.contains(&(removed.unwrap_or(info.store.get_state()) as i32))
        });
        let stores = wanted.map(|info| {
            let load = load_of(state.regions(), info.store.get_id());
            store_json(info, load, now)
        });
        Ok(stores.collect::<Vec<_>>())
    };
    let stores = http.read(look).await?;
    Ok(Json(json!({ "count": stores.len(), "stores": stores })))
}

pub(super) async fn one(State(http): State<Http>, Path(id): Path<String>) -> Answered<Json<Value>> {
    let id: u64 = number("store", &id)?;
    let now = http.service.unix_nanos();
    let look = |state: &PdState| {
        let info = state.stores().get(id);
        Ok(info.map(|info| store_json(info, load_of(state.regions(), id), now)))
    };
    match http.read(look).await? {
        Some(store) => Ok(Json(store)),
        None => Err(refuse(
            StatusCode::NOT_FOUND,
            format!("store {id} not found"),
        )),
    }
}
