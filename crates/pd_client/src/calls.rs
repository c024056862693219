//! The calls of [`PdClient`], one by one, over [`RpcClient`]: fill in the request, send it, take
//! the answer apart.

use std::sync::Arc;

use kvproto::{keyspacepb, metapb, pdpb, replication_modepb};
use txn_types::TimeStamp;

use crate::client::{BoxFuture, PdClient, RegionWithLeader};
use crate::{Error, ReconnectHandler, RegionHeartbeatHandler, Result, RpcClient, tso_stream};

/// A unary call: `unary!(self, request, "Name", service.method)`.
macro_rules! unary {
    ($self:ident, $request:ident, $name:literal, $client:ident.$method:ident) => {{
        $request.set_header($self.inner.header());
        let inner = Arc::clone(&$self.inner);
        async move {
            inner
                .call(
                    $name,
                    |connection, options| connection.$client.$method(&$request, options),
                    |response| response.get_header(),
                )
                .await
        }
    }};
}

impl PdClient for RpcClient {
    fn cluster_id(&self) -> u64 {
        self.inner.cluster_id
    }

    fn is_bootstrapped(&self) -> BoxFuture<Result<bool>> {
        let mut request = pdpb::IsBootstrappedRequest::default();
        let call = unary!(
            self,
            request,
            "IsBootstrapped",
            pd.is_bootstrapped_async_opt
        );
        Box::pin(async move { Ok(call.await?.get_bootstrapped()) })
    }

    fn bootstrap_cluster(
        &self,
        store: metapb::Store,
        region: metapb::Region,
    ) -> BoxFuture<Result<replication_modepb::ReplicationStatus>> {
        let mut request = pdpb::BootstrapRequest::default();
        request.set_store(store);
        request.set_region(region);
        let call = unary!(self, request, "Bootstrap", pd.bootstrap_async_opt);
        Box::pin(async move { Ok(call.await?.take_replication_status()) })
    }

    fn alloc_id(&self, count: u32) -> BoxFuture<Result<u64>> {
        let mut request = pdpb::AllocIDRequest::default();
        request.set_count(count);
        let call = unary!(self, request, "AllocID", pd.alloc_id_async_opt);
        Box::pin(async move {
            let id = call.await?.get_id();
            if id < u64::from(count.max(1)) {
                return Err(Error::BadResponse {
                    method: "AllocID",
                    detail: format!("{id} cannot be the last of {count} ids"),
                });
            }
            Ok(id)
        })
    }

    fn is_snapshot_recovering(&self) -> BoxFuture<Result<bool>> {
        let mut request = pdpb::IsSnapshotRecoveringRequest::default();
        let call = unary!(
            self,
            request,
            "IsSnapshotRecovering",
            pd.is_snapshot_recovering_async_opt
        );
        Box::pin(async move { Ok(call.await?.get_marked()) })
    }

    fn put_store(
        &self,
        store: metapb::Store,
    ) -> BoxFuture<Result<replication_modepb::ReplicationStatus>> {
        let mut request = pdpb::PutStoreRequest::default();
        request.set_store(store);
        let call = unary!(self, request, "PutStore", pd.put_store_async_opt);
        Box::pin(async move { Ok(call.await?.take_replication_status()) })
    }

    fn get_store(&self, store_id: u64) -> BoxFuture<Result<(metapb::Store, pdpb::StoreStats)>> {
        let mut request = pdpb::GetStoreRequest::default();
        request.set_store_id(store_id);
        let call = unary!(self, request, "GetStore", pd.get_store_async_opt);
        Box::pin(async move {
            let mut response = call.await?;
            Ok((response.take_store(), response.take_stats()))
        })
    }

    fn get_all_stores(&self, exclude_tombstone: bool) -> BoxFuture<Result<Vec<metapb::Store>>> {
        let mut request = pdpb::GetAllStoresRequest::default();
        request.set_exclude_tombstone_stores(exclude_tombstone);
        let call = unary!(self, request, "GetAllStores", pd.get_all_stores_async_opt);
        Box::pin(async move { Ok(call.await?.take_stores().into_vec()) })
    }

    fn store_heartbeat(
        &self,
        stats: pdpb::StoreStats,
    ) -> BoxFuture<Result<pdpb::StoreHeartbeatResponse>> {
        let mut request = pdpb::StoreHeartbeatRequest::default();
        request.set_stats(stats);
        let call = unary!(
            self,
            request,
            "StoreHeartbeat",
            pd.store_heartbeat_async_opt
        );
        Box::pin(call)
    }

    fn region_heartbeat(&self, mut heartbeat: pdpb::RegionHeartbeatRequest) -> Result<()> {
        if self.inner.closed.is_triggered() {
            return Err(Error::Closed);
        }
        heartbeat.set_header(self.inner.header());
        self.inner.outbox.lock().put(heartbeat);
        self.inner.outbox_bell.ring();
        Ok(())
    }

    fn forget_region(&self, region_id: u64) {
        self.inner.outbox.lock().forget(region_id);
    }

    fn handle_region_heartbeat_response(&self, handler: RegionHeartbeatHandler) {
        *self.inner.region_handler.lock() = Some(handler);
    }

    fn handle_reconnect(&self, handler: ReconnectHandler) {
        *self.inner.reconnect_handler.lock() = Some(handler);
    }

    fn report_buckets(&self, epoch: metapb::RegionEpoch, buckets: metapb::Buckets) -> Result<()> {
        self.queue_buckets(epoch, buckets)
    }

    fn get_tso(&self, count: u32) -> BoxFuture<Result<TimeStamp>> {
        Box::pin(tso_stream::get_tso(Arc::clone(&self.inner), count))
    }

    fn get_region(&self, key: Vec<u8>) -> BoxFuture<Result<Option<RegionWithLeader>>> {
        let mut request = pdpb::GetRegionRequest::default();
        request.set_region_key(key);
        let call = unary!(self, request, "GetRegion", pd.get_region_async_opt);
        Box::pin(async move { Ok(region_of(call.await?)) })
    }

    fn get_prev_region(&self, key: Vec<u8>) -> BoxFuture<Result<Option<RegionWithLeader>>> {
        let mut request = pdpb::GetRegionRequest::default();
        request.set_region_key(key);
        let call = unary!(self, request, "GetPrevRegion", pd.get_prev_region_async_opt);
        Box::pin(async move { Ok(region_of(call.await?)) })
    }

    fn get_region_by_id(&self, region_id: u64) -> BoxFuture<Result<Option<RegionWithLeader>>> {
        let mut request = pdpb::GetRegionByIDRequest::default();
        request.set_region_id(region_id);
        let call = unary!(
            self,
            request,
            "GetRegionByID",
            pd.get_region_by_id_async_opt
        );
        Box::pin(async move { Ok(region_of(call.await?)) })
    }

    fn scan_regions(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: i32,
    ) -> BoxFuture<Result<Vec<RegionWithLeader>>> {
        let mut request = pdpb::ScanRegionsRequest::default();
        request.set_start_key(start);
        request.set_end_key(end);
        request.set_limit(limit);
        let call = unary!(self, request, "ScanRegions", pd.scan_regions_async_opt);
        Box::pin(async move {
            let regions = call.await?.take_regions().into_iter();
            Ok(regions
                .map(|mut entry| RegionWithLeader {
                    region: entry.take_region(),
                    leader: known_peer(entry.take_leader()),
                })
                .collect())
        })
    }

    fn ask_batch_split(
        &self,
        region: metapb::Region,
        split_count: u32,
        reason: pdpb::SplitReason,
    ) -> BoxFuture<Result<Vec<pdpb::SplitID>>> {
        let mut request = pdpb::AskBatchSplitRequest::default();
        request.set_region(region);
        request.set_split_count(split_count);
        request.set_reason(reason);
        let call = unary!(self, request, "AskBatchSplit", pd.ask_batch_split_async_opt);
        Box::pin(async move { Ok(call.await?.take_ids().into_vec()) })
    }

    fn report_batch_split(&self, regions: Vec<metapb::Region>) -> BoxFuture<Result<()>> {
        let mut request = pdpb::ReportBatchSplitRequest::default();
        request.set_regions(regions.into());
        let call = unary!(
            self,
            request,
            "ReportBatchSplit",
            pd.report_batch_split_async_opt
        );
        Box::pin(async move { call.await.map(drop) })
    }

    fn get_gc_safe_point(&self) -> BoxFuture<Result<TimeStamp>> {
        let mut request = pdpb::GetGCSafePointRequest::default();
        let call = unary!(
            self,
            request,
            "GetGCSafePoint",
            pd.get_gc_safe_point_async_opt
        );
        Box::pin(async move { Ok(TimeStamp::from(call.await?.get_safe_point())) })
    }

    fn update_gc_safe_point(&self, safe_point: TimeStamp) -> BoxFuture<Result<TimeStamp>> {
        let mut request = pdpb::UpdateGCSafePointRequest::default();
        request.set_safe_point(safe_point.into_inner());
        let call = unary!(
            self,
            request,
            "UpdateGCSafePoint",
            pd.update_gc_safe_point_async_opt
        );
        Box::pin(async move { Ok(TimeStamp::from(call.await?.get_new_safe_point())) })
    }

    fn report_min_resolved_ts(
        &self,
        store_id: u64,
        min_resolved_ts: TimeStamp,
    ) -> BoxFuture<Result<()>> {
        let mut request = pdpb::ReportMinResolvedTsRequest::default();
        request.set_store_id(store_id);
        request.set_min_resolved_ts(min_resolved_ts.into_inner());
        let call = unary!(
            self,
            request,
            "ReportMinResolvedTS",
            pd.report_min_resolved_ts_async_opt
        );
        Box::pin(async move { call.await.map(drop) })
    }

    fn load_keyspace(&self, name: &str) -> BoxFuture<Result<keyspacepb::KeyspaceMeta>> {
        let mut request = keyspacepb::LoadKeyspaceRequest::default();
        request.set_name(name.to_owned());
        let call = unary!(
            self,
            request,
            "LoadKeyspace",
            keyspace.load_keyspace_async_opt
        );
        Box::pin(async move { Ok(call.await?.take_keyspace()) })
    }
}

fn region_of(mut response: pdpb::GetRegionResponse) -> Option<RegionWithLeader> {
    response.has_region().then(|| RegionWithLeader {
        region: response.take_region(),
        leader: known_peer(response.take_leader()),
    })
}

/// An unknown leader comes as no peer or as an empty one.
fn known_peer(peer: metapb::Peer) -> Option<metapb::Peer> {
    (peer.get_id() != 0).then_some(peer)
}
