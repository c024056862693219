//! Safe points as JSON, and letting one go.

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::{Answered, Http, Json};
use crate::gc::{FOREVER, GC_WORKER, NULL_KEYSPACE, Place};
use crate::state::PdState;

pub(super) async fn all(State(http): State<Http>) -> Answered<Json<Value>> {
    let now = http.shared().oracle.moment();
    let look = |state: &PdState| -> crate::Result<Value> {
        let points = state.gc().points(NULL_KEYSPACE);
        let places = [Place::Scope(NULL_KEYSPACE), Place::Global];
        let barriers = places
            .into_iter()
            .flat_map(|place| state.gc().live_barriers(place, now))
            .map(|(id, barrier)| (id, barrier.expires_at, barrier.ts));
        // The collector shows itself as one of the services, as it once was.
        let mut services = vec![(GC_WORKER, FOREVER, points.txn)];
        services.extend(barriers);
        let lowest = services.iter().map(|(_, _, ts)| *ts).min().unwrap_or(0);
        let services: Vec<Value> = services
            .into_iter()
            .map(|(id, expires_at, ts)| {
                json!({ "service_id": id, "expired_at": expires_at, "safe_point": ts })
            })
            .collect();
        Ok(json!({
            "service_gc_safe_points": services,
            "min_service_gc_safe_point": lowest,
            "gc_safe_point": points.gc,
        }))
    };
    let mut answer = http.read(look).await?;
    // Beside what the original tells: why the points are where they are.
    if let Some(last_run) = http.shared().gc_reports.last() {
        answer["last_run"] = last_run;
    }
    Ok(Json(answer))
}

pub(super) async fn release(
    State(http): State<Http>,
    Path(service_id): Path<String>,
) -> Answered<Json<&'static str>> {
    let plan = move |state: &PdState| {
        state.check_bootstrapped()?;
        state.plan_gc_delete_service(&service_id)
    };
    http.shared().cluster.mutate(plan).await?;
    Ok(Json("Delete service GC safepoint successfully."))
}
