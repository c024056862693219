//! The calls about garbage collection, of both generations, over the same points and barriers.
//!
//! Whoever calls one of those that move the points of the null keyspace has taken garbage
//! collection over: that is made durable before the call itself is tried, even if it is refused
//! then. See `gc_worker`.

use kvproto::pdpb::{
    AdvanceGCSafePointRequest, AdvanceGCSafePointResponse, AdvanceTxnSafePointRequest,
    AdvanceTxnSafePointResponse, DeleteGCBarrierRequest, DeleteGCBarrierResponse,
    DeleteGlobalGCBarrierRequest, DeleteGlobalGCBarrierResponse, GCBarrierInfo, GCSafePointV2,
    GCState as GcStateMessage, GetAllGCSafePointV2Request, GetAllGCSafePointV2Response,
    GetAllKeyspacesGCStatesRequest, GetAllKeyspacesGCStatesResponse, GetGCSafePointRequest,
    GetGCSafePointResponse, GetGCSafePointV2Request, GetGCSafePointV2Response, GetGCStateRequest,
    GetGCStateResponse, GlobalGCBarrierInfo, KeyspaceScope, RequestHeader, SetGCBarrierRequest,
    SetGCBarrierResponse, SetGlobalGCBarrierRequest, SetGlobalGCBarrierResponse,
    UpdateGCSafePointRequest, UpdateGCSafePointResponse, UpdateGCSafePointV2Request,
    UpdateGCSafePointV2Response, UpdateServiceGCSafePointRequest, UpdateServiceGCSafePointResponse,
    UpdateServiceSafePointV2Request, UpdateServiceSafePointV2Response,
};

use super::Service;
use crate::change::Change;
use crate::gc::{
    Barrier, GC_WORKER, Moment, NULL_KEYSPACE, Place, Points, ServiceReply, ServiceUpdate,
};
use crate::keyspaces::has_own_gc;
use crate::state::{Caller, PdState};
use crate::{Error, Result};

/// The keyspace that a message names in its oneof, if any.
macro_rules! keyspace_of {
    ($message:expr) => {
        if $message.has_keyspace_identity() {
            Err(Error::Refused(
                "keyspace identities are not supported: name the keyspace by its id".to_owned(),
            ))
        } else if $message.has_keyspace_id() {
            Ok(Some($message.get_keyspace_id()))
        } else {
            Ok(None)
        }
    };
}

/// Moving the points.
impl Service {
    pub(super) async fn move_gc_safe_point(
        &self,
        req: UpdateGCSafePointRequest,
    ) -> Result<UpdateGCSafePointResponse> {
        self.shared.check_header(req.get_header())?;
        let reached = self.update(None, req.get_safe_point()).await?;
        let mut response = UpdateGCSafePointResponse::default();
        response.set_new_safe_point(reached);
        Ok(response)
    }

    pub(super) async fn move_keyspace_gc_safe_point(
        &self,
        req: UpdateGCSafePointV2Request,
    ) -> Result<UpdateGCSafePointV2Response> {
        self.shared.check_header(req.get_header())?;
        let keyspace_id = keyspace_of!(req)?;
        let reached = self.update(keyspace_id, req.get_safe_point()).await?;
        let mut response = UpdateGCSafePointV2Response::default();
        response.set_new_safe_point(reached);
        Ok(response)
    }

    async fn update(&self, keyspace_id: Option<u32>, target: u64) -> Result<u64> {
        // 0 is how clients read the point.
        if target > 0 {
            self.claim_gc(keyspace_id).await?;
        }
        let now = self.shared.oracle.moment();
        let plan = move |state: &PdState| {
            state.check_bootstrapped()?;
            let scope = state.gc_scope(keyspace_id, Caller::Collector)?;
            state.plan_gc_update(scope, target, now)
        };
        self.shared.cluster.mutate(plan).await
    }

    pub(super) async fn advance_txn(
        &self,
        req: AdvanceTxnSafePointRequest,
    ) -> Result<AdvanceTxnSafePointResponse> {
        self.shared.check_header(req.get_header())?;
        let keyspace_id = keyspace_of!(req.get_keyspace_scope())?;
        self.claim_gc(keyspace_id).await?;
        let (target, now) = (req.get_target(), self.shared.oracle.moment());
        let plan = move |state: &PdState| {
            state.check_bootstrapped()?;
            let scope = state.gc_scope(keyspace_id, Caller::Collector)?;
            state.plan_gc_advance_txn(scope, target, now)
        };
        let advanced = self.shared.cluster.mutate(plan).await?;
        let mut response = AdvanceTxnSafePointResponse::default();
        response.set_old_txn_safe_point(advanced.old);
        response.set_new_txn_safe_point(advanced.new);
        response.set_blocker_description(advanced.blocker);
        Ok(response)
    }

    pub(super) async fn advance_gc(
        &self,
        req: AdvanceGCSafePointRequest,
    ) -> Result<AdvanceGCSafePointResponse> {
        self.shared.check_header(req.get_header())?;
        let keyspace_id = keyspace_of!(req.get_keyspace_scope())?;
        self.claim_gc(keyspace_id).await?;
        let target = req.get_target();
        let plan = move |state: &PdState| {
            state.check_bootstrapped()?;
            let scope = state.gc_scope(keyspace_id, Caller::Collector)?;
            state.gc().plan_advance_gc(scope, target)
        };
        let advanced = self.shared.cluster.mutate(plan).await?;
        let mut response = AdvanceGCSafePointResponse::default();
        response.set_old_gc_safe_point(advanced.old);
        response.set_new_gc_safe_point(advanced.new);
        Ok(response)
    }

    /// From now on the placement driver leaves the points of the null keyspace alone.
    async fn claim_gc(&self, keyspace_id: Option<u32>) -> Result<()> {
        let claims = move |state: &PdState| {
            let scope = state.gc_scope(keyspace_id, Caller::Collector);
            state.is_bootstrapped() && scope == Ok(NULL_KEYSPACE) && !state.gc().is_claimed()
        };
        if !self.shared.cluster.read(claims) {
            return Ok(());
        }
        let plan = move |state: &PdState| {
            let change = claims(state).then_some(Change::GcClaimed(true));
            Ok((change.into_iter().collect(), ()))
        };
        self.shared.cluster.mutate(plan).await?;
        tracing::info!("a client collects garbage from now on, the placement driver no longer");
        Ok(())
    }
}

/// Services that hold the points back.
impl Service {
    pub(super) async fn move_service_safe_point(
        &self,
        mut req: UpdateServiceGCSafePointRequest,
    ) -> Result<UpdateServiceGCSafePointResponse> {
        self.shared.check_header(req.get_header())?;
        let (ttl, safe_point) = (req.get_TTL(), req.get_safe_point());
        let service_id = req.take_service_id();
        let reply = self
            .service_update(None, service_id, ttl, safe_point)
            .await?;
        let mut response = UpdateServiceGCSafePointResponse::default();
        response.set_service_id(reply.service_id.into_bytes());
        response.set_TTL(reply.ttl);
        response.set_min_safe_point(reply.safe_point);
        Ok(response)
    }

    pub(super) async fn move_keyspace_service_safe_point(
        &self,
        mut req: UpdateServiceSafePointV2Request,
    ) -> Result<UpdateServiceSafePointV2Response> {
        self.shared.check_header(req.get_header())?;
        let keyspace_id = keyspace_of!(req)?;
        let (ttl, safe_point) = (req.get_ttl(), req.get_safe_point());
        let service_id = req.take_service_id();
        let reply = self
            .service_update(keyspace_id, service_id, ttl, safe_point)
            .await?;
        let mut response = UpdateServiceSafePointV2Response::default();
        response.set_service_id(reply.service_id.into_bytes());
        response.set_ttl(reply.ttl);
        response.set_min_safe_point(reply.safe_point);
        Ok(response)
    }

    async fn service_update(
        &self,
        keyspace_id: Option<u32>,
        service_id: Vec<u8>,
        ttl: i64,
        safe_point: u64,
    ) -> Result<ServiceReply> {
        let caller = if service_id == GC_WORKER.as_bytes() {
            self.claim_gc(keyspace_id).await?;
            Caller::Collector
        } else {
            Caller::User
        };
        let now = self.shared.oracle.moment();
        let plan = move |state: &PdState| {
            state.check_bootstrapped()?;
            let service_id = std::str::from_utf8(&service_id)
                .map_err(|_| Error::Refused("service id is not UTF-8".to_owned()))?;
            let scope = state.gc_scope(keyspace_id, caller)?;
            let update = ServiceUpdate {
                service_id,
                ttl,
                safe_point,
            };
            state.plan_gc_service(scope, update, now)
        };
        self.shared.cluster.mutate(plan).await
    }

    pub(super) async fn set_barrier(
        &self,
        mut req: SetGCBarrierRequest,
    ) -> Result<SetGCBarrierResponse> {
        self.shared.check_header(req.get_header())?;
        let keyspace_id = keyspace_of!(req.get_keyspace_scope())?;
        let id = req.take_barrier_id();
        let (ts, ttl) = (req.get_barrier_ts(), req.get_ttl_seconds());
        let place = move |state: &PdState| scope_of_user(state, keyspace_id);
        let (barrier, now) = self.put_barrier(place, id.clone(), ts, ttl).await?;
        let mut response = SetGCBarrierResponse::default();
        response.set_new_barrier_info(barrier_message(&id, &barrier, now));
        Ok(response)
    }

    pub(super) async fn delete_barrier(
        &self,
        mut req: DeleteGCBarrierRequest,
    ) -> Result<DeleteGCBarrierResponse> {
        self.shared.check_header(req.get_header())?;
        let keyspace_id = keyspace_of!(req.get_keyspace_scope())?;
        let id = req.take_barrier_id();
        let place = move |state: &PdState| scope_of_user(state, keyspace_id);
        let (deleted, now) = self.take_barrier(place, id.clone()).await?;
        let mut response = DeleteGCBarrierResponse::default();
        if let Some(barrier) = deleted {
            response.set_deleted_barrier_info(barrier_message(&id, &barrier, now));
        }
        Ok(response)
    }

    pub(super) async fn set_global_barrier(
        &self,
        mut req: SetGlobalGCBarrierRequest,
    ) -> Result<SetGlobalGCBarrierResponse> {
        self.shared.check_header(req.get_header())?;
        let id = req.take_barrier_id();
        let (ts, ttl) = (req.get_barrier_ts(), req.get_ttl_seconds());
        let place = |_: &PdState| Ok(Place::Global);
        let (barrier, now) = self.put_barrier(place, id.clone(), ts, ttl).await?;
        let mut response = SetGlobalGCBarrierResponse::default();
        response.set_new_barrier_info(global_message(&id, &barrier, now));
        Ok(response)
    }

    pub(super) async fn delete_global_barrier(
        &self,
        mut req: DeleteGlobalGCBarrierRequest,
    ) -> Result<DeleteGlobalGCBarrierResponse> {
        self.shared.check_header(req.get_header())?;
        let id = req.take_barrier_id();
        let place = |_: &PdState| Ok(Place::Global);
        let (deleted, now) = self.take_barrier(place, id.clone()).await?;
        let mut response = DeleteGlobalGCBarrierResponse::default();
        if let Some(barrier) = deleted {
            response.set_deleted_barrier_info(global_message(&id, &barrier, now));
        }
        Ok(response)
    }

    /// Sets a barrier where `place` says. Gives it with the moment of the change.
    async fn put_barrier(
        &self,
        place: impl Fn(&PdState) -> Result<Place> + Send + 'static,
        id: String,
        ts: u64,
        ttl: i64,
    ) -> Result<(Barrier, Moment)> {
        let now = self.shared.oracle.moment();
        let plan = move |state: &PdState| {
            state.check_bootstrapped()?;
            let place = place(state)?;
            state.gc().plan_set_barrier(place, &id, ts, ttl, now)
        };
        Ok((self.shared.cluster.mutate(plan).await?, now))
    }

    /// Deletes a barrier where `place` says. Gives what was there with the moment of the change.
    async fn take_barrier(
        &self,
        place: impl Fn(&PdState) -> Result<Place> + Send + 'static,
        id: String,
    ) -> Result<(Option<Barrier>, Moment)> {
        let now = self.shared.oracle.moment();
        let plan = move |state: &PdState| {
            state.check_bootstrapped()?;
            let place = place(state)?;
            state.gc().plan_delete_barrier(place, &id)
        };
        Ok((self.shared.cluster.mutate(plan).await?, now))
    }
}

/// Reading.
impl Service {
    pub(super) async fn gc_safe_point(
        &self,
        req: GetGCSafePointRequest,
    ) -> Result<GetGCSafePointResponse> {
        let points = self.points(req.get_header(), None).await?;
        let mut response = GetGCSafePointResponse::default();
        response.set_safe_point(points.gc);
        Ok(response)
    }

    pub(super) async fn keyspace_gc_safe_point(
        &self,
        req: GetGCSafePointV2Request,
    ) -> Result<GetGCSafePointV2Response> {
        self.shared.check_header(req.get_header())?;
        let points = self.points(req.get_header(), keyspace_of!(req)?).await?;
        let mut response = GetGCSafePointV2Response::default();
        response.set_safe_point(points.gc);
        Ok(response)
    }

    async fn points(&self, header: &RequestHeader, keyspace_id: Option<u32>) -> Result<Points> {
        self.shared.check_header(header)?;
        let look = |state: &PdState| {
            state.check_bootstrapped()?;
            let scope = state.gc_scope(keyspace_id, Caller::User)?;
            Ok(state.gc().points(scope))
        };
        self.shared.cluster.read_durable(look).await
    }

    pub(super) async fn all_gc_safe_points(
        &self,
        req: GetAllGCSafePointV2Request,
    ) -> Result<GetAllGCSafePointV2Response> {
        self.shared.check_header(req.get_header())?;
        let look = |state: &PdState| {
            state.check_bootstrapped()?;
            let mut response = GetAllGCSafePointV2Response::default();
            let own = state.keyspaces().iter().filter(|meta| has_own_gc(meta));
            for id in own.map(|meta| meta.get_id()).chain([NULL_KEYSPACE]) {
                let mut point = GCSafePointV2::default();
                point.set_keyspace_id(id);
                point.set_gc_safe_point(state.gc().points(id).gc);
                response.mut_gc_safe_points().push(point);
            }
            response.set_revision(state.etcd().revision());
            Ok(response)
        };
        self.shared.cluster.read_durable(look).await
    }

    pub(super) async fn gc_state(&self, req: GetGCStateRequest) -> Result<GetGCStateResponse> {
        self.shared.check_header(req.get_header())?;
        let keyspace_id = keyspace_of!(req.get_keyspace_scope())?;
        let now = self.shared.oracle.moment();
        let barriers = Listed::unless(req.get_exclude_gc_barriers());
        let look = |state: &PdState| {
            state.check_bootstrapped()?;
            let scope = state.gc_scope(keyspace_id, Caller::User)?;
            let mut response = GetGCStateResponse::default();
            response.set_gc_state(state_message(state, scope, scope, barriers, now));
            if req.get_include_global_gc_barriers() {
                let global = global_messages(state, now);
                let message = response.mut_global_gc_barriers();
                message.set_barriers(global.into());
            }
            Ok(response)
        };
        self.shared.cluster.read_durable(look).await
    }

    pub(super) async fn all_gc_states(
        &self,
        req: GetAllKeyspacesGCStatesRequest,
    ) -> Result<GetAllKeyspacesGCStatesResponse> {
        self.shared.check_header(req.get_header())?;
        let now = self.shared.oracle.moment();
        let barriers = Listed::unless(req.get_exclude_gc_barriers());
        let look = |state: &PdState| {
            state.check_bootstrapped()?;
            let mut response = GetAllKeyspacesGCStatesResponse::default();
            let states = response.mut_gc_states();
            for meta in state.keyspaces().iter() {
                let id = meta.get_id();
                // The barriers of the null keyspace stand in its own entry.
                let (scope, barriers) = if has_own_gc(meta) {
                    (id, barriers)
                } else {
                    (NULL_KEYSPACE, Listed::No)
                };
                states.push(state_message(state, id, scope, barriers, now));
            }
            let null = state_message(state, NULL_KEYSPACE, NULL_KEYSPACE, barriers, now);
            states.push(null);
            if !req.get_exclude_global_gc_barriers() {
                response.set_global_gc_barriers(global_messages(state, now).into());
            }
            Ok(response)
        };
        self.shared.cluster.read_durable(look).await
    }
}

/// Whether barriers are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Yes,
    No,
}

impl Listed {
    fn unless(excluded: bool) -> Listed {
        if excluded { Listed::No } else { Listed::Yes }
    }
}

/// What is told of a keyspace whose points are those of `scope`.
fn state_message(
    state: &PdState,
    keyspace_id: u32,
    scope: u32,
    barriers: Listed,
    now: Moment,
) -> GcStateMessage {
    let points = state.gc().points(scope);
    let mut message = GcStateMessage::default();
    let mut keyspace = KeyspaceScope::default();
    keyspace.set_keyspace_id(keyspace_id);
    message.set_keyspace_scope(keyspace);
    message.set_is_keyspace_level_gc(scope != NULL_KEYSPACE);
    message.set_txn_safe_point(points.txn);
    message.set_gc_safe_point(points.gc);
    if barriers == Listed::Yes {
        let live = state.gc().live_barriers(Place::Scope(scope), now);
        let live = live.map(|(id, barrier)| barrier_message(id, barrier, now));
        message.set_gc_barriers(live.collect());
    }
    message
}

/// Where a user's barrier of a keyspace stands.
fn scope_of_user(state: &PdState, keyspace_id: Option<u32>) -> Result<Place> {
    Ok(Place::Scope(state.gc_scope(keyspace_id, Caller::User)?))
}

fn barrier_message(id: &str, barrier: &Barrier, now: Moment) -> GCBarrierInfo {
    let mut message = GCBarrierInfo::default();
    message.set_barrier_id(id.to_owned());
    message.set_barrier_ts(barrier.ts);
    message.set_ttl_seconds(barrier.remaining(now.seconds));
    message
}

fn global_message(id: &str, barrier: &Barrier, now: Moment) -> GlobalGCBarrierInfo {
    let mut message = GlobalGCBarrierInfo::default();
    message.set_barrier_id(id.to_owned());
    message.set_barrier_ts(barrier.ts);
    message.set_ttl_seconds(barrier.remaining(now.seconds));
    message
}

fn global_messages(state: &PdState, now: Moment) -> Vec<GlobalGCBarrierInfo> {
    let live = state.gc().live_barriers(Place::Global, now);
    live.map(|(id, barrier)| global_message(id, barrier, now))
        .collect()
}
