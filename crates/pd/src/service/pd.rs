//! The calls of `pdpb.PD`. What is not here answers `UNIMPLEMENTED`.

use grpcio::{ClientStreamingSink, DuplexSink, RequestStream, RpcContext, UnarySink};
use kvproto::pdpb::{
    AllocIDRequest, AllocIDResponse, AskBatchSplitRequest, AskBatchSplitResponse, BootstrapRequest,
    BootstrapResponse, GetAllStoresRequest, GetAllStoresResponse, GetClusterInfoRequest,
    GetClusterInfoResponse, GetGCSafePointRequest, GetGCSafePointResponse, GetMembersRequest,
    GetMembersResponse, GetRegionByIDRequest, GetRegionRequest, GetRegionResponse, GetStoreRequest,
    GetStoreResponse, IsBootstrappedRequest, IsBootstrappedResponse, IsSnapshotRecoveringRequest,
    IsSnapshotRecoveringResponse, Pd, PutStoreRequest, PutStoreResponse, RegionHeartbeatRequest,
    RegionHeartbeatResponse, ReportBatchSplitRequest, ReportBatchSplitResponse,
    ReportBucketsRequest, ReportBucketsResponse, ReportMinResolvedTsRequest,
    ReportMinResolvedTsResponse, ScanRegionsRequest, ScanRegionsResponse, ServiceMode,
    StoreHeartbeatRequest, StoreHeartbeatResponse, TsoRequest, TsoResponse,
    UpdateGCSafePointRequest, UpdateGCSafePointResponse, UpdateServiceGCSafePointRequest,
    UpdateServiceGCSafePointResponse,
};
use kvproto::replication_modepb::ReplicationStatus;
use kvproto::{metapb, pdpb};

use super::{Service, streams};
use crate::regions::RegionInfo;
use crate::state::{PdState, check_split_regions};
use crate::stores::is_removed;
use crate::{Error, Result};

/// `unary!(fn name(Request) -> Response, method)`: the call is answered by `Service::method`,
/// which takes the request and returns a future of the response.
macro_rules! unary {
    ($(fn $name:ident($request:ty) -> $response:ty, $method:ident;)*) => {
        $(fn $name(&mut self, ctx: RpcContext<'_>, req: $request, sink: UnarySink<$response>) {
            let service = self.clone();
            self.answer(&ctx, sink, async move { service.$method(req).await });
        })*
    };
}

impl Pd for Service {
    unary! {
        fn get_members(GetMembersRequest) -> GetMembersResponse, members;
        fn get_cluster_info(GetClusterInfoRequest) -> GetClusterInfoResponse, cluster_info;
        fn bootstrap(BootstrapRequest) -> BootstrapResponse, bootstrap_cluster;
        fn is_bootstrapped(IsBootstrappedRequest) -> IsBootstrappedResponse, bootstrapped;
        fn alloc_id(AllocIDRequest) -> AllocIDResponse, allocate_ids;
        fn is_snapshot_recovering(IsSnapshotRecoveringRequest) -> IsSnapshotRecoveringResponse, snapshot_recovering;
        fn get_store(GetStoreRequest) -> GetStoreResponse, store;
        fn put_store(PutStoreRequest) -> PutStoreResponse, register_store;
        fn get_all_stores(GetAllStoresRequest) -> GetAllStoresResponse, all_stores;
        fn store_heartbeat(StoreHeartbeatRequest) -> StoreHeartbeatResponse, store_report;
        fn get_region(GetRegionRequest) -> GetRegionResponse, region;
        fn get_prev_region(GetRegionRequest) -> GetRegionResponse, previous_region;
        fn get_region_by_id(GetRegionByIDRequest) -> GetRegionResponse, region_by_id;
        fn scan_regions(ScanRegionsRequest) -> ScanRegionsResponse, regions;
        fn ask_batch_split(AskBatchSplitRequest) -> AskBatchSplitResponse, split_ids;
        fn report_batch_split(ReportBatchSplitRequest) -> ReportBatchSplitResponse, split_done;
        fn get_gc_safe_point(GetGCSafePointRequest) -> GetGCSafePointResponse, gc_safe_point;
        fn update_gc_safe_point(UpdateGCSafePointRequest) -> UpdateGCSafePointResponse, move_gc_safe_point;
        fn update_service_gc_safe_point(UpdateServiceGCSafePointRequest) -> UpdateServiceGCSafePointResponse, move_service_safe_point;
        fn report_min_resolved_ts(ReportMinResolvedTsRequest) -> ReportMinResolvedTsResponse, min_resolved_ts;
    }

    fn tso(
        &mut self,
        ctx: RpcContext<'_>,
        stream: RequestStream<TsoRequest>,
        sink: DuplexSink<TsoResponse>,
    ) {
        ctx.spawn(streams::tso(self.clone(), stream, sink));
    }

    fn region_heartbeat(
        &mut self,
        ctx: RpcContext<'_>,
        stream: RequestStream<RegionHeartbeatRequest>,
        sink: DuplexSink<RegionHeartbeatResponse>,
    ) {
        ctx.spawn(streams::region_heartbeat(self.clone(), stream, sink));
    }

    fn report_buckets(
        &mut self,
        ctx: RpcContext<'_>,
        stream: RequestStream<ReportBucketsRequest>,
        sink: ClientStreamingSink<ReportBucketsResponse>,
    ) {
        ctx.spawn(streams::report_buckets(self.clone(), stream, sink));
    }
}

/// Members, ids, bootstrap.
impl Service {
    /// Answered whatever cluster the client believes in: it is the first question of everybody.
    async fn members(&self, _: GetMembersRequest) -> Result<GetMembersResponse> {
        let mut response = GetMembersResponse::default();
        let member = self.shared.member.get().ok_or(Error::Stopped)?;
        response.mut_members().push(member.clone());
        response.set_leader(member.clone());
        response.set_etcd_leader(member.clone());
        Ok(response)
    }

    /// Answered whatever cluster the client believes in.
    async fn cluster_info(&self, _: GetClusterInfoRequest) -> Result<GetClusterInfoResponse> {
        let mut response = GetClusterInfoResponse::default();
        response.mut_serviceModes().push(ServiceMode::PD_SVC_MODE);
        Ok(response)
    }

    async fn bootstrap_cluster(&self, mut req: BootstrapRequest) -> Result<BootstrapResponse> {
        self.shared.check_header(req.get_header())?;
        let required = req.has_store() && req.has_region();
        let (store, region) = (req.take_store(), req.take_region());
        let cluster_id = self.shared.cluster_id;
        let unix_seconds = self.unix_nanos() / 1_000_000_000;
        let cluster = &self.shared.cluster;
        let plan = move |state: &PdState| {
            if !required && !state.is_bootstrapped() {
                let text = "bootstrap: store and region are needed";
                return Err(Error::Refused(text.to_owned()));
            }
            let changes = state.plan_bootstrap(cluster_id, store, region, unix_seconds)?;
            Ok((changes, ()))
        };
        cluster.mutate(plan).await?;
        tracing::info!(cluster_id, "cluster bootstrapped");
        let mut response = BootstrapResponse::default();
        response.set_replication_status(ReplicationStatus::default());
        Ok(response)
    }

    async fn bootstrapped(&self, req: IsBootstrappedRequest) -> Result<IsBootstrappedResponse> {
        self.shared.check_header(req.get_header())?;
        let mut response = IsBootstrappedResponse::default();
        response.set_bootstrapped(self.shared.cluster.read(PdState::is_bootstrapped));
        Ok(response)
    }

    async fn allocate_ids(&self, req: AllocIDRequest) -> Result<AllocIDResponse> {
        self.shared.check_header(req.get_header())?;
        let count = req.get_count();
        let plan = move |state: &PdState| state.plan_ids(count);
        let last = self.shared.cluster.mutate(plan).await?;
        let mut response = AllocIDResponse::default();
        response.set_id(last);
        response.set_count(count.max(1));
        Ok(response)
    }

    async fn snapshot_recovering(
        &self,
        req: IsSnapshotRecoveringRequest,
    ) -> Result<IsSnapshotRecoveringResponse> {
        self.shared.check_header(req.get_header())?;
        // Restoring from volume snapshots does not exist here, so it never goes on.
        Ok(IsSnapshotRecoveringResponse::default())
    }

    fn unix_nanos(&self) -> i64 {
        i64::try_from(self.shared.runtime.clock.unix_nanos()).unwrap_or(i64::MAX)
    }
}

/// Stores.
impl Service {
    async fn store(&self, req: GetStoreRequest) -> Result<GetStoreResponse> {
        self.shared.check_header(req.get_header())?;
        self.shared.cluster.read_bootstrapped(|state| {
            let store_id = req.get_store_id();
            let info = state
                .stores()
                .get(store_id)
                .ok_or_else(|| Error::Refused(format!("invalid store ID {store_id}, not found")))?;
            let mut response = GetStoreResponse::default();
            response.set_store(info.store.clone());
            response.set_stats(info.stats.clone());
            Ok(response)
        })
    }

    async fn register_store(&self, mut req: PutStoreRequest) -> Result<PutStoreResponse> {
        self.shared.check_header(req.get_header())?;
        let store = req.take_store();
        let store_id = store.get_id();
        let plan = move |state: &PdState| Ok((state.plan_put_store(store)?, ()));
        self.shared.cluster.mutate(plan).await?;
        tracing::info!(store_id, "store registered");
        let mut response = PutStoreResponse::default();
        response.set_replication_status(ReplicationStatus::default());
        Ok(response)
    }

    async fn all_stores(&self, req: GetAllStoresRequest) -> Result<GetAllStoresResponse> {
        self.shared.check_header(req.get_header())?;
        self.shared.cluster.read_bootstrapped(|state| {
            let stores = state.stores().iter().map(|info| &info.store);
            let asked =
                stores.filter(|store| !(req.get_exclude_tombstone_stores() && is_removed(store)));
            let mut response = GetAllStoresResponse::default();
            response.set_stores(asked.cloned().collect());
            Ok(response)
        })
    }

    async fn store_report(&self, mut req: StoreHeartbeatRequest) -> Result<StoreHeartbeatResponse> {
        self.shared.check_header(req.get_header())?;
        if !req.has_stats() {
            let text = "invalid store heartbeat: stats are missing";
            return Err(Error::InvalidArgument(text.to_owned()));
        }
        let stats = req.take_stats();
        let store_id = stats.get_store_id();
        let unix_nanos = self.unix_nanos();
        let plan = move |state: &PdState| Ok((state.plan_store_heartbeat(stats, unix_nanos)?, ()));
        self.shared.cluster.mutate(plan).await?;
        let (version, node_state) = self.shared.cluster.read(|state| {
            let store = state.stores().get(store_id);
            let node_state = store.map(|info| info.store.get_node_state());
            (state.stores().cluster_version(), node_state)
        });
        let mut response = StoreHeartbeatResponse::default();
        response.set_replication_status(ReplicationStatus::default());
        response.set_cluster_version(version);
        response.set_state(node_state.unwrap_or_default());
        Ok(response)
    }

    /// Nothing reads these yet, so they are only acknowledged.
    async fn min_resolved_ts(
        &self,
        req: ReportMinResolvedTsRequest,
    ) -> Result<ReportMinResolvedTsResponse> {
        self.shared.check_header(req.get_header())?;
        let cluster = &self.shared.cluster;
        cluster.read_bootstrapped(|_| Ok(ReportMinResolvedTsResponse::default()))
    }
}

/// Regions.
impl Service {
    async fn region(&self, req: GetRegionRequest) -> Result<GetRegionResponse> {
        self.shared.check_header(req.get_header())?;
        self.shared.cluster.read_bootstrapped(|state| {
            Ok(region_response(state.regions().find(req.get_region_key())))
        })
    }

    async fn previous_region(&self, req: GetRegionRequest) -> Result<GetRegionResponse> {
        self.shared.check_header(req.get_header())?;
        self.shared.cluster.read_bootstrapped(|state| {
            let previous = state.regions().find_previous(req.get_region_key());
            Ok(region_response(previous))
        })
    }

    async fn region_by_id(&self, req: GetRegionByIDRequest) -> Result<GetRegionResponse> {
        self.shared.check_header(req.get_header())?;
        self.shared.cluster.read_bootstrapped(|state| {
            Ok(region_response(state.regions().get(req.get_region_id())))
        })
    }

    async fn regions(&self, req: ScanRegionsRequest) -> Result<ScanRegionsResponse> {
        self.shared.check_header(req.get_header())?;
        let limit = match usize::try_from(req.get_limit()) {
            Ok(limit) if limit > 0 => limit,
            _ => usize::MAX,
        };
        self.shared.cluster.read_bootstrapped(|state| {
            let mut response = ScanRegionsResponse::default();
            let found = state.regions().scan(req.get_start_key(), req.get_end_key());
            for info in found.take(limit) {
                // An unknown leader takes its place as an empty peer: the lists are parallel.
                let leader = info.known_leader().cloned().unwrap_or_default();
                response.mut_region_metas().push(info.region.clone());
                response.mut_leaders().push(leader.clone());
                let mut region = pdpb::Region::default();
                region.set_region(info.region.clone());
                region.set_leader(leader);
                region.set_down_peers(info.down_peers.clone().into());
                region.set_pending_peers(info.pending_peers.clone().into());
                response.mut_regions().push(region);
            }
            Ok(response)
        })
    }

    async fn split_ids(&self, mut req: AskBatchSplitRequest) -> Result<AskBatchSplitResponse> {
        self.shared.check_header(req.get_header())?;
        let count = req.get_split_count();
        let region = req.has_region().then(|| req.take_region());
        let plan = move |state: &PdState| {
            state.check_bootstrapped()?;
            let missing = || Error::RegionNotFound("missing region for split".to_owned());
            let region: metapb::Region = region.ok_or_else(missing)?;
            state.plan_split(&region, count)
        };
        let ids = self.shared.cluster.mutate(plan).await?;
        let mut response = AskBatchSplitResponse::default();
        response.set_ids(ids.into());
        Ok(response)
    }

    /// Only checked: the leaders' heartbeats bring the regions in.
    async fn split_done(&self, req: ReportBatchSplitRequest) -> Result<ReportBatchSplitResponse> {
        self.shared.check_header(req.get_header())?;
        self.shared.cluster.read_bootstrapped(|_| {
            check_split_regions(req.get_regions())?;
            tracing::info!(regions = req.get_regions().len(), "region split reported");
            Ok(ReportBatchSplitResponse::default())
        })
    }
}

/// Garbage collection.
impl Service {
    async fn gc_safe_point(&self, req: GetGCSafePointRequest) -> Result<GetGCSafePointResponse> {
        self.shared.check_header(req.get_header())?;
        self.shared.cluster.read_bootstrapped(|state| {
            let mut response = GetGCSafePointResponse::default();
            response.set_safe_point(state.gc().gc_safe_point());
            Ok(response)
        })
    }

    async fn move_gc_safe_point(
        &self,
        req: UpdateGCSafePointRequest,
    ) -> Result<UpdateGCSafePointResponse> {
        self.shared.check_header(req.get_header())?;
        let moment = self.shared.oracle.moment();
        let target = req.get_safe_point();
        let plan = move |state: &PdState| {
            state.check_bootstrapped()?;
            state.gc().plan_update(target, moment)
        };
        let reached = self.shared.cluster.mutate(plan).await?;
        let mut response = UpdateGCSafePointResponse::default();
        response.set_new_safe_point(reached);
        Ok(response)
    }

    async fn move_service_safe_point(
        &self,
        mut req: UpdateServiceGCSafePointRequest,
    ) -> Result<UpdateServiceGCSafePointResponse> {
        self.shared.check_header(req.get_header())?;
        let moment = self.shared.oracle.moment();
        let (ttl, safe_point) = (req.get_TTL(), req.get_safe_point());
        let service_id = req.take_service_id();
        let plan = move |state: &PdState| {
            state.check_bootstrapped()?;
            let service_id = std::str::from_utf8(&service_id)
                .map_err(|_| Error::Refused("service id is not UTF-8".to_owned()))?;
            state
                .gc()
                .plan_service_update(service_id, ttl, safe_point, moment)
        };
        let reply = self.shared.cluster.mutate(plan).await?;
        let mut response = UpdateServiceGCSafePointResponse::default();
        response.set_service_id(reply.service_id.into_bytes());
        response.set_TTL(reply.ttl);
        response.set_min_safe_point(reply.safe_point);
        Ok(response)
    }
}

/// No region is no error: clients try again.
fn region_response(info: Option<&RegionInfo>) -> GetRegionResponse {
    let mut response = GetRegionResponse::default();
    if let Some(info) = info {
        response.set_region(info.region.clone());
        if let Some(leader) = info.known_leader() {
            response.set_leader(leader.clone());
        }
        response.set_down_peers(info.down_peers.clone().into());
        response.set_pending_peers(info.pending_peers.clone().into());
    }
    response
}
