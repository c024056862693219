//! Regions as JSON, and sums over them.

use std::collections::BTreeMap;

use axum::extract::{Path, RawQuery, State};
use axum::http::Uri;
use kvproto::metapb::{Peer, PeerRole};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::format::hex_key;
use super::{Answered, Http, Json, bad_request, number};
use crate::regions::RegionInfo;
use crate::state::PdState;

/// Regions of one answer when the request does not say.
const LIMIT_DEFAULT: i64 = 16;
/// And at most, where the request says.
const LIMIT_MAX: i64 = 10_240;

/// In the unit of the original, and never 0 once it is known.
pub(super) fn size_mib(info: &RegionInfo) -> u64 {
    match info.approximate_size {
        0 => 0,
        bytes => (bytes >> 20).max(1),
    }
}

fn peer_json(peer: &Peer) -> Value {
    let role = match peer.get_role() {
        PeerRole::Voter => "Voter",
        PeerRole::Learner => "Learner",
        PeerRole::IncomingVoter => "IncomingVoter",
        PeerRole::DemotingVoter => "DemotingVoter",
    };
    let mut json = json!({
        "id": peer.get_id(),
        "store_id": peer.get_store_id(),
        "role_name": role,
    });
    if peer.get_role() != PeerRole::Voter {
        json["role"] = (peer.get_role() as i32).into();
    }
    if peer.get_role() == PeerRole::Learner {
        json["is_learner"] = true.into();
    }
    if peer.get_is_witness() {
        json["is_witness"] = true.into();
    }
    json
}

fn region_json(info: &RegionInfo) -> Value {
    let region = &info.region;
    let epoch = region.get_region_epoch();
    let peers: Vec<Value> = region.get_peers().iter().map(peer_json).collect();
    let mut json = json!({
        "id": region.get_id(),
        "start_key": hex_key(region.get_start_key()),
        "end_key": hex_key(region.get_end_key()),
        "epoch": { "conf_ver": epoch.get_conf_ver(), "version": epoch.get_version() },
        "peers": peers,
        "leader": info.known_leader().map_or_else(|| Map::new().into(), peer_json),
        "cpu_usage": 0,
        "written_bytes": info.flow.bytes_written,
        "read_bytes": info.flow.bytes_read,
        "written_keys": info.flow.keys_written,
        "read_keys": info.flow.keys_read,
        "approximate_size": size_mib(info),
        "approximate_keys": info.approximate_keys,
    });
    if !info.down_peers.is_empty() {
        let down = info.down_peers.iter();
        let down = down.map(|stats| {
            json!({ "peer": peer_json(stats.get_peer()), "down_seconds": stats.get_down_seconds() })
        });
        json["down_peers"] = down.collect();
    }
    if !info.pending_peers.is_empty() {
        json["pending_peers"] = info.pending_peers.iter().map(peer_json).collect();
    }
    json
}

fn list(regions: Vec<Value>) -> Json<Value> {
    Json(json!({ "count": regions.len(), "regions": regions }))
}

pub(super) async fn all(State(http): State<Http>) -> Answered<Json<Value>> {
    let look = |state: &PdState| Ok(state.regions().scan(b"", b"").map(region_json).collect());
    Ok(list(http.read(look).await?))
}

pub(super) async fn count(State(http): State<Http>) -> Answered<Json<Value>> {
    let count = http.read(|state| Ok(state.regions().len())).await?;
    Ok(Json(json!({ "count": count })))
}

/// The arguments of a query, as bytes: keys need not be text.
struct Arguments(Vec<(String, Vec<u8>)>);

impl Arguments {
    fn parse(query: Option<&str>) -> Arguments {
        let pairs = query.unwrap_or_default().split('&');
        Arguments(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (name.to_owned(), unescape(value)))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> &[u8] {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or(b"", |(_, value)| value)
    }

    fn key(&self, name: &str) -> Answered<Vec<u8>> {
        key_of(self.get(name), self.get("format"))
    }
}

/// What stands behind per-cent signs, and blanks behind plus signs.
fn unescape(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(&text.replace('+', " ")).collect()
}

/// A key as it is, or in hexadecimal if the request says so.
fn key_of(key: &[u8], format: &[u8]) -> Answered<Vec<u8>> {
    match format {
        b"" | b"raw" => Ok(key.to_vec()),
        b"hex" => hex::decode(key)
            .map_err(|error| bad_request(format!("key {}: {error}", key.escape_ascii()))),
        other => Err(bad_request(format!(
            "unknown key format {}",
            other.escape_ascii()
        ))),
    }
}

pub(super) async fn from_key(
    State(http): State<Http>,
    RawQuery(query): RawQuery,
) -> Answered<Json<Value>> {
    let arguments = Arguments::parse(query.as_deref());
    let (start, end) = (arguments.key("key")?, arguments.key("end_key")?);
    let limit = match String::from_utf8_lossy(arguments.get("limit")).as_ref() {
        "" => LIMIT_DEFAULT,
        text => match number::<i64>("limit", text)? {
            limit if limit <= 0 => LIMIT_DEFAULT,
            limit => limit.min(LIMIT_MAX),
        },
    };
    let limit = usize::try_from(limit).unwrap_or(0);
    let look = |state: &PdState| {
        let found = state.regions().scan(&start, &end).take(limit);
        Ok(found.map(region_json).collect())
    };
    Ok(list(http.read(look).await?))
}

pub(super) async fn of_store(
    State(http): State<Http>,
    Path(id): Path<String>,
) -> Answered<Json<Value>> {
    let id: u64 = number("store", &id)?;
    let look = |state: &PdState| {
        let regions = state.regions().scan(b"", b"").filter(|info| {
            let peers = info.region.get_peers();
            peers.iter().any(|peer| peer.get_store_id() == id)
        });
        Ok(regions.map(region_json).collect())
    };
    Ok(list(http.read(look).await?))
}

pub(super) async fn by_id(
    State(http): State<Http>,
    Path(id): Path<String>,
) -> Answered<Json<Option<Value>>> {
    let id: u64 = number("region", &id)?;
    let look = |state: &PdState| Ok(state.regions().get(id).map(region_json));
    Ok(Json(http.read(look).await?))
}

pub(super) async fn by_key(State(http): State<Http>, uri: Uri) -> Answered<Json<Option<Value>>> {
    // Not through the router's own decoding: a key need not be text.
    let (_, segment) = uri.path().rsplit_once('/').unwrap_or_default();
    let format = Arguments::parse(uri.query());
    let key = key_of(&unescape(segment), format.get("format"))?;
    let look = |state: &PdState| Ok(state.regions().find(&key).map(region_json));
    Ok(Json(http.read(look).await?))
}

/// Sums over regions. Sizes are in MiB.
#[derive(Default, Serialize)]
pub(super) struct RegionStats {
    count: u64,
    empty_count: u64,
    storage_size: u64,
    storage_keys: u64,
    store_leader_count: BTreeMap<u64, u64>,
    store_peer_count: BTreeMap<u64, u64>,
    store_leader_size: BTreeMap<u64, u64>,
    store_leader_keys: BTreeMap<u64, u64>,
    store_peer_size: BTreeMap<u64, u64>,
    store_peer_keys: BTreeMap<u64, u64>,
}

impl RegionStats {
    fn add(&mut self, info: &RegionInfo) {
        let (size, keys) = (size_mib(info), info.approximate_keys);
        self.count += 1;
        self.empty_count += u64::from(size <= 1);
        self.storage_size += size;
        self.storage_keys += keys;
        if let Some(leader) = info.known_leader() {
            let store = leader.get_store_id();
            *self.store_leader_count.entry(store).or_default() += 1;
            *self.store_leader_size.entry(store).or_default() += size;
            *self.store_leader_keys.entry(store).or_default() += keys;
        }
        for peer in info.region.get_peers() {
            let store = peer.get_store_id();
            *self.store_peer_count.entry(store).or_default() += 1;
            *self.store_peer_size.entry(store).or_default() += size;
            *self.store_peer_keys.entry(store).or_default() += keys;
        }
    }
}

pub(super) async fn stats(
    State(http): State<Http>,
    RawQuery(query): RawQuery,
) -> Answered<Json<RegionStats>> {
    let arguments = Arguments::parse(query.as_deref());
    let (start, end) = (arguments.key("start_key")?, arguments.key("end_key")?);
    let look = |state: &PdState| {
        let mut stats = RegionStats::default();
        state
            .regions()
            .scan(&start, &end)
            .for_each(|info| stats.add(info));
        Ok(stats)
    };
    Ok(Json(http.read(look).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bytes_in_every_form() {
        let arguments = Arguments::parse(Some("key=%00%FFa+b&end_key=&limit=3"));
        assert_eq!(arguments.key("key").unwrap(), b"\x00\xffa b");
        assert_eq!(arguments.key("end_key").unwrap(), b"");
        assert_eq!(arguments.get("limit"), b"3");
        let arguments = Arguments::parse(Some("format=hex&key=00fF&end_key=0"));
        assert_eq!(arguments.key("key").unwrap(), b"\x00\xff");
        assert!(arguments.key("end_key").is_err());
        assert!(
            Arguments::parse(Some("key=a&format=base64"))
                .key("key")
                .is_err()
        );
        assert_eq!(Arguments::parse(None).key("key").unwrap(), b"");
    }
}
