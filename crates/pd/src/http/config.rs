//! `/config`: reading all settings, setting some, for good or for a while.

use axum::extract::{Query, State};
use kvproto::etcdserverpb::{DeleteRangeRequest, PutRequest, RequestOp, TxnRequest};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::settings::{self, Overrides};
use super::{Answered, Body, Http, Json, bad_request, number};
use crate::change::Change;
use crate::etcd::{EtcdChange, EtcdResult, EtcdState};
use crate::state::PdState;

async fn sections(http: &Http) -> Answered<Map<String, Value>> {
    let cluster_id = http.shared().cluster_id;
    let look = |state: &PdState| Ok(settings::in_force(state.etcd(), cluster_id));
    let overrides = http.shared().cluster.read_durable(look).await?;
    Ok(settings::effective(&overrides))
}

async fn section(http: &Http, name: &str) -> Answered<Json<Value>> {
    let mut sections = sections(http).await?;
    Ok(Json(sections.remove(name).unwrap_or_default()))
}

pub(super) async fn all(State(http): State<Http>) -> Answered<Json<Value>> {
    let mut config = sections(&http).await?;
    let urls = |urls: &[String]| Value::from(urls.join(","));
    config.insert("name".to_owned(), http.config.name.clone().into());
    config.insert("client-urls".to_owned(), urls(&http.config.client_urls));
    let advertised = http.service.client_urls();
    config.insert("advertise-client-urls".to_owned(), urls(&advertised));
    let version = http
        .shared()
        .cluster
        .read(|state| state.stores().cluster_version());
    config.insert("cluster-version".to_owned(), version.into());
    config.insert(
        "replication-mode".to_owned(),
        json!({ "replication-mode": "majority" }),
    );
    Ok(Json(config.into()))
}

pub(super) async fn cluster_version(State(http): State<Http>) -> Json<String> {
    Json(
        http.shared()
            .cluster
            .read(|state| state.stores().cluster_version()),
    )
}

pub(super) async fn schedule(State(http): State<Http>) -> Answered<Json<Value>> {
    section(&http, "schedule").await
}

pub(super) async fn replication(State(http): State<Http>) -> Answered<Json<Value>> {
    section(&http, "replication").await
}

#[derive(Deserialize)]
pub(super) struct Ttl {
    #[serde(rename = "ttlSecond")]
    seconds: Option<String>,
}

pub(super) async fn set(
    State(http): State<Http>,
    Query(ttl): Query<Ttl>,
    Body(wanted): Body<Map<String, Value>>,
) -> Answered<Json<&'static str>> {
    let wanted = settings::check(wanted, None).map_err(bad_request)?;
    let Some(seconds) = ttl.seconds else {
        store(&http, wanted).await?;
        return Ok(Json("The config is updated."));
    };
    let seconds: i64 = number("ttlSecond", &seconds)?;
    settings::check_ttl(&wanted).map_err(bad_request)?;
    if seconds > 0 {
        store_for(&http, wanted, seconds).await?;
        return Ok(Json("The ttl config is updated."));
    }
    let cluster_id = http.shared().cluster_id;
    change(&http, move |etcd| {
        let ops = wanted.keys().map(|name| {
            let mut delete = DeleteRangeRequest::default();
            delete.set_key(settings::ttl_key(cluster_id, name));
            let mut op = RequestOp::default();
            op.set_request_delete_range(delete);
            op
        });
        transaction(etcd, ops.collect())
    })
    .await?;
    Ok(Json("The ttl config is deleted."))
}

pub(super) async fn set_schedule(
    State(http): State<Http>,
    Body(wanted): Body<Map<String, Value>>,
) -> Answered<Json<&'static str>> {
    let wanted = settings::check(wanted, Some("schedule")).map_err(bad_request)?;
    store(&http, wanted).await?;
    Ok(Json("The scheduling configs are updated."))
}

pub(super) async fn set_replication(
    State(http): State<Http>,
    Body(wanted): Body<Map<String, Value>>,
) -> Answered<Json<&'static str>> {
    let wanted = settings::check(wanted, Some("replication")).map_err(bad_request)?;
    store(&http, wanted).await?;
    Ok(Json("The replication config is updated."))
}

/// For good: into the one document.
async fn store(http: &Http, wanted: Overrides) -> Answered<()> {
    let cluster_id = http.shared().cluster_id;
    change(http, move |etcd| {
        let mut overrides = settings::stored(etcd, cluster_id);
        overrides.extend(wanted);
        etcd.plan_put(&settings::document(cluster_id, &overrides))
            .map(|(changes, _)| changes)
    })
    .await
}

/// For a while: keys with a lease. A crash between lease and keys leaves a lease that ends alone.
async fn store_for(http: &Http, wanted: Overrides, seconds: i64) -> Answered<()> {
    let shared = http.shared();
    let cluster_id = shared.cluster_id;
    let now = shared.runtime.clock.now();
    let lease = (shared.runtime.rng.u64() >> 1).max(1).cast_signed();
    change(http, move |etcd| {
        etcd.plan_lease_grant(lease, seconds, now)
            .map(|(changes, _)| changes)
    })
    .await?;
    change(http, move |etcd| {
        let ops = wanted.iter().map(|(name, value)| {
            let mut put = PutRequest::default();
            put.set_key(settings::ttl_key(cluster_id, name));
            put.set_value(value.to_string().into_bytes());
            put.set_lease(lease);
            let mut op = RequestOp::default();
            op.set_request_put(put);
            op
        });
        transaction(etcd, ops.collect())
    })
    .await
}

fn transaction(etcd: &EtcdState, ops: Vec<RequestOp>) -> EtcdResult<Vec<EtcdChange>> {
    let mut request = TxnRequest::default();
    request.set_success(ops.into());
    etcd.plan_txn(&request).map(|(changes, _)| changes)
}

async fn change(
    http: &Http,
    plan: impl FnOnce(&EtcdState) -> EtcdResult<Vec<EtcdChange>> + Send + 'static,
) -> Answered<()> {
    let plan = move |state: &PdState| {
        let changes = plan(state.etcd())?;
        Ok((changes.into_iter().map(Change::Etcd).collect(), ()))
    };
    Ok(http.shared().cluster.mutate(plan).await?)
}
