//! The calls of `pdpb.PD`. What is not here answers `UNIMPLEMENTED`.

use grpcio::{
    ClientStreamingSink, DuplexSink, RequestStream, RpcContext, ServerStreamingSink, UnarySink,
};
use kvproto::pdpb::{
    AdvanceGCSafePointRequest, AdvanceGCSafePointResponse, AdvanceTxnSafePointRequest,
    AdvanceTxnSafePointResponse, AllocIDRequest, AllocIDResponse, AskBatchSplitRequest,
    AskBatchSplitResponse, AskSplitRequest, AskSplitResponse, BatchScanRegionsRequest,
    BatchScanRegionsResponse, BootstrapRequest, BootstrapResponse, DeleteGCBarrierRequest,
    DeleteGCBarrierResponse, DeleteGlobalGCBarrierRequest, DeleteGlobalGCBarrierResponse,
    GetAllGCSafePointV2Request, GetAllGCSafePointV2Response, GetAllKeyspacesGCStatesRequest,
    GetAllKeyspacesGCStatesResponse, GetAllStoresRequest, GetAllStoresResponse,
    GetClusterConfigRequest, GetClusterConfigResponse, GetClusterInfoRequest,
    GetClusterInfoResponse, GetDCLocationInfoRequest, GetDCLocationInfoResponse,
    GetExternalTimestampRequest, GetExternalTimestampResponse, GetGCSafePointRequest,
    GetGCSafePointResponse, GetGCSafePointV2Request, GetGCSafePointV2Response, GetGCStateRequest,
    GetGCStateResponse, GetMembersRequest, GetMembersResponse, GetMinTSRequest, GetMinTSResponse,
    GetOperatorRequest, GetOperatorResponse, GetRegionByIDRequest, GetRegionRequest,
    GetRegionResponse, GetStoreRequest, GetStoreResponse, IsBootstrappedRequest,
    IsBootstrappedResponse, IsSnapshotRecoveringRequest, IsSnapshotRecoveringResponse,
    LoadGlobalConfigRequest, LoadGlobalConfigResponse, Pd, PutClusterConfigRequest,
    PutClusterConfigResponse, PutStoreRequest, PutStoreResponse, QueryRegionRequest,
    QueryRegionResponse, RegionHeartbeatRequest, RegionHeartbeatResponse, ReportBatchSplitRequest,
    ReportBatchSplitResponse, ReportBucketsRequest, ReportBucketsResponse,
    ReportMinResolvedTsRequest, ReportMinResolvedTsResponse, ReportSplitRequest,
    ReportSplitResponse, ScanRegionsRequest, ScanRegionsResponse, ScatterRegionRequest,
    ScatterRegionResponse, ServiceMode, SetExternalTimestampRequest, SetExternalTimestampResponse,
    SetGCBarrierRequest, SetGCBarrierResponse, SetGlobalGCBarrierRequest,
    SetGlobalGCBarrierResponse, StoreGlobalConfigRequest, StoreGlobalConfigResponse,
    StoreHeartbeatRequest, StoreHeartbeatResponse, SyncMaxTSRequest, SyncMaxTSResponse,
    SyncRegionRequest, SyncRegionResponse, TsoRequest, TsoResponse, UpdateGCSafePointRequest,
    UpdateGCSafePointResponse, UpdateGCSafePointV2Request, UpdateGCSafePointV2Response,
    UpdateServiceGCSafePointRequest, UpdateServiceGCSafePointResponse,
    UpdateServiceSafePointV2Request, UpdateServiceSafePointV2Response, WatchGlobalConfigRequest,
    WatchGlobalConfigResponse,
};
use kvproto::replication_modepb::ReplicationStatus;
use protobuf::Message as _;

use super::{Service, global_config, streams};
use crate::state::PdState;
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
        fn get_cluster_config(GetClusterConfigRequest) -> GetClusterConfigResponse, cluster_config;
        fn put_cluster_config(PutClusterConfigRequest) -> PutClusterConfigResponse, set_cluster_config;
        fn report_min_resolved_ts(ReportMinResolvedTsRequest) -> ReportMinResolvedTsResponse, min_resolved_ts;
        fn set_external_timestamp(SetExternalTimestampRequest) -> SetExternalTimestampResponse, set_external_ts;
        fn get_external_timestamp(GetExternalTimestampRequest) -> GetExternalTimestampResponse, external_ts;
        fn get_min_ts(GetMinTSRequest) -> GetMinTSResponse, min_ts;
        fn sync_max_ts(SyncMaxTSRequest) -> SyncMaxTSResponse, synced_max_ts;
        fn get_dc_location_info(GetDCLocationInfoRequest) -> GetDCLocationInfoResponse, dc_location;

        fn get_region(GetRegionRequest) -> GetRegionResponse, region;
        fn get_prev_region(GetRegionRequest) -> GetRegionResponse, previous_region;
        fn get_region_by_id(GetRegionByIDRequest) -> GetRegionResponse, region_by_id;
        fn scan_regions(ScanRegionsRequest) -> ScanRegionsResponse, regions;
        fn batch_scan_regions(BatchScanRegionsRequest) -> BatchScanRegionsResponse, region_ranges;
        fn ask_split(AskSplitRequest) -> AskSplitResponse, one_split_ids;
        fn report_split(ReportSplitRequest) -> ReportSplitResponse, one_split_done;
        fn ask_batch_split(AskBatchSplitRequest) -> AskBatchSplitResponse, split_ids;
        fn report_batch_split(ReportBatchSplitRequest) -> ReportBatchSplitResponse, split_done;
        fn scatter_region(ScatterRegionRequest) -> ScatterRegionResponse, scatter;
        fn get_operator(GetOperatorRequest) -> GetOperatorResponse, operator;

        fn get_gc_safe_point(GetGCSafePointRequest) -> GetGCSafePointResponse, gc_safe_point;
        fn update_gc_safe_point(UpdateGCSafePointRequest) -> UpdateGCSafePointResponse, move_gc_safe_point;
        fn update_service_gc_safe_point(UpdateServiceGCSafePointRequest) -> UpdateServiceGCSafePointResponse, move_service_safe_point;
        fn get_gc_safe_point_v2(GetGCSafePointV2Request) -> GetGCSafePointV2Response, keyspace_gc_safe_point;
        fn update_gc_safe_point_v2(UpdateGCSafePointV2Request) -> UpdateGCSafePointV2Response, move_keyspace_gc_safe_point;
        fn update_service_safe_point_v2(UpdateServiceSafePointV2Request) -> UpdateServiceSafePointV2Response, move_keyspace_service_safe_point;
        fn get_all_gc_safe_point_v2(GetAllGCSafePointV2Request) -> GetAllGCSafePointV2Response, all_gc_safe_points;
        fn advance_gc_safe_point(AdvanceGCSafePointRequest) -> AdvanceGCSafePointResponse, advance_gc;
        fn advance_txn_safe_point(AdvanceTxnSafePointRequest) -> AdvanceTxnSafePointResponse, advance_txn;
        fn set_gc_barrier(SetGCBarrierRequest) -> SetGCBarrierResponse, set_barrier;
        fn delete_gc_barrier(DeleteGCBarrierRequest) -> DeleteGCBarrierResponse, delete_barrier;
        fn set_global_gc_barrier(SetGlobalGCBarrierRequest) -> SetGlobalGCBarrierResponse, set_global_barrier;
        fn delete_global_gc_barrier(DeleteGlobalGCBarrierRequest) -> DeleteGlobalGCBarrierResponse, delete_global_barrier;
        fn get_gc_state(GetGCStateRequest) -> GetGCStateResponse, gc_state;
        fn get_all_keyspaces_gc_states(GetAllKeyspacesGCStatesRequest) -> GetAllKeyspacesGCStatesResponse, all_gc_states;
    }

    fn store_global_config(
        &mut self,
        ctx: RpcContext<'_>,
        req: StoreGlobalConfigRequest,
        sink: UnarySink<StoreGlobalConfigResponse>,
    ) {
        global_config::store(self, &ctx, req, sink);
    }

    fn load_global_config(
        &mut self,
        ctx: RpcContext<'_>,
        req: LoadGlobalConfigRequest,
        sink: UnarySink<LoadGlobalConfigResponse>,
    ) {
        global_config::load(self, &ctx, req, sink);
    }

    fn watch_global_config(
        &mut self,
        ctx: RpcContext<'_>,
        req: WatchGlobalConfigRequest,
        sink: ServerStreamingSink<WatchGlobalConfigResponse>,
    ) {
        global_config::watch(self, &ctx, req, sink);
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

    fn query_region(
        &mut self,
        ctx: RpcContext<'_>,
        stream: RequestStream<QueryRegionRequest>,
        sink: DuplexSink<QueryRegionResponse>,
    ) {
        ctx.spawn(streams::query_region(self.clone(), stream, sink));
    }

    fn report_buckets(
        &mut self,
        ctx: RpcContext<'_>,
        stream: RequestStream<ReportBucketsRequest>,
        sink: ClientStreamingSink<ReportBucketsResponse>,
    ) {
        ctx.spawn(streams::report_buckets(self.clone(), stream, sink));
    }

    fn sync_regions(
        &mut self,
        ctx: RpcContext<'_>,
        stream: RequestStream<SyncRegionRequest>,
        sink: DuplexSink<SyncRegionResponse>,
    ) {
        ctx.spawn(streams::unserved(stream, sink));
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
        let look = |state: &PdState| Ok(state.is_bootstrapped());
        response.set_bootstrapped(self.shared.cluster.read_durable(look).await?);
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

    async fn cluster_config(
        &self,
        req: GetClusterConfigRequest,
    ) -> Result<GetClusterConfigResponse> {
        self.shared.check_header(req.get_header())?;
        let look = |state: &PdState| Ok(state.cluster()?.clone());
        let mut response = GetClusterConfigResponse::default();
        response.set_cluster(self.shared.cluster.read_durable(look).await?);
        Ok(response)
    }

    async fn set_cluster_config(
        &self,
        mut req: PutClusterConfigRequest,
    ) -> Result<PutClusterConfigResponse> {
        self.shared.check_header(req.get_header())?;
        let cluster = req.take_cluster();
        let plan = move |state: &PdState| Ok((state.plan_put_cluster(&cluster)?, ()));
        self.shared.cluster.mutate(plan).await?;
        Ok(PutClusterConfigResponse::default())
    }

    pub(crate) fn unix_nanos(&self) -> i64 {
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
        let bytes = usize::try_from(stats.compute_size()).unwrap_or(usize::MAX);
        let plan = move |state: &PdState| Ok((state.plan_store_heartbeat(stats, unix_nanos)?, ()));
        self.shared.cluster.mutate_sized(bytes, plan).await?;
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

    async fn min_resolved_ts(
        &self,
        req: ReportMinResolvedTsRequest,
    ) -> Result<ReportMinResolvedTsResponse> {
        self.shared.check_header(req.get_header())?;
        let (store_id, ts) = (req.get_store_id(), req.get_min_resolved_ts());
        let plan = move |state: &PdState| Ok((state.plan_min_resolved(store_id, ts)?, ()));
        self.shared.cluster.mutate(plan).await?;
        Ok(ReportMinResolvedTsResponse::default())
    }
}

/// Timestamps beside the stream.
impl Service {
    async fn set_external_ts(
        &self,
        req: SetExternalTimestampRequest,
    ) -> Result<SetExternalTimestampResponse> {
        self.shared.check_header(req.get_header())?;
        let (ts, now) = (req.get_timestamp(), self.shared.oracle.moment());
        let plan = move |state: &PdState| Ok((state.plan_external_ts(ts, now)?, ()));
        self.shared.cluster.mutate(plan).await?;
        Ok(SetExternalTimestampResponse::default())
    }

    async fn external_ts(
        &self,
        req: GetExternalTimestampRequest,
    ) -> Result<GetExternalTimestampResponse> {
        self.shared.check_header(req.get_header())?;
        let look = |state: &PdState| {
            state.check_bootstrapped()?;
            Ok(state.external_ts())
        };
        let mut response = GetExternalTimestampResponse::default();
        response.set_timestamp(self.shared.cluster.read_durable(look).await?);
        Ok(response)
    }

    /// The lowest of all allocators of timestamps; this is the only one.
    async fn min_ts(&self, req: GetMinTSRequest) -> Result<GetMinTSResponse> {
        self.shared.check_header(req.get_header())?;
        let newest = self.shared.oracle.timestamps(1).await?;
        let mut response = GetMinTSResponse::default();
        response.set_timestamp(newest.to_message());
        Ok(response)
    }

    /// A relic of timestamps local to a data centre: there is nothing to synchronize.
    async fn synced_max_ts(&self, req: SyncMaxTSRequest) -> Result<SyncMaxTSResponse> {
        self.shared.check_header(req.get_header())?;
        Ok(SyncMaxTSResponse::default())
    }

    /// A relic, too.
    async fn dc_location(
        &self,
        req: GetDCLocationInfoRequest,
    ) -> Result<GetDCLocationInfoResponse> {
        self.shared.check_header(req.get_header())?;
        Ok(GetDCLocationInfoResponse::default())
    }
}
