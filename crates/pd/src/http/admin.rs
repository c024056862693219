//! What a restore of a cluster needs: timestamps and ids beyond those that its data holds.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{Answered, Body, Http, Json, bad_request, refuse};
use crate::Error;
use crate::oracle::Reset;
use crate::state::PdState;

#[derive(Deserialize)]
pub(super) struct ResetTs {
    #[serde(default)]
    tso: Value,
    #[serde(default, rename = "force-use-larger")]
    force_use_larger: Value,
}

pub(super) async fn reset_ts(
    State(http): State<Http>,
    Body(body): Body<ResetTs>,
) -> Answered<Json<&'static str>> {
    let target = body.tso.as_str().and_then(|text| text.parse::<u64>().ok());
    let target = target.ok_or_else(|| bad_request("invalid tso value"))?;
    let reset = match body.force_use_larger {
        Value::Null | Value::Bool(false) => Reset::Near,
        Value::Bool(true) => Reset::Larger,
        _ => return Err(bad_request("invalid force-use-larger value")),
    };
    match http.shared().oracle.reset(target, reset).await {
        Ok(()) => Ok(Json("Reset ts successfully.")),
        Err(Error::Refused(reason)) => Err(refuse(StatusCode::FORBIDDEN, reason)),
        Err(error) => Err(error.into()),
    }
}

#[derive(Deserialize)]
pub(super) struct BaseId {
    #[serde(default)]
    id: Value,
}

pub(super) async fn raise_ids(
    State(http): State<Http>,
    Body(body): Body<BaseId>,
) -> Answered<Json<&'static str>> {
    let base = body.id.as_str().and_then(|text| text.parse::<u64>().ok());
    let base = base.ok_or_else(|| bad_request("invalid id value"))?;
    let plan = move |state: &PdState| Ok((state.plan_raise_ids(base)?, ()));
    http.shared().cluster.mutate(plan).await?;
    Ok(Json(""))
}
