//! The `Tikv` service: each RPC is one line that names its handler, its future and its messages.
//!
//! [`Service::serve`] does for all RPCs what they have in common: it refuses a request for another
//! cluster, opens the tracker, awaits the future, fills in what the request cost, answers, and
//! records metrics. The futures stand in [`crate::txn`] and [`crate::raw`]. Nothing here decides
//! anything about data.

use std::future::Future;
use std::time::Duration;

use api_version::KvFormat;
use futures::future::{Either, ready};
use grpcio::{
    ClientStreamingSink, DuplexSink, RequestStream, RpcContext, RpcStatus, RpcStatusCode, UnarySink,
};
use kv::Engine;
use kvproto::kvrpcpb;
use kvproto::raft_serverpb::{
    Done, RaftMessage, SnapshotChunk, TabletSnapshotRequest, TabletSnapshotResponse,
};
use kvproto::tikvpb::{BatchCommandsRequest, BatchCommandsResponse, BatchRaftMessage, Tikv};
use lock_manager::LockManager;
use runtime::Clock;
use storage::Storage;
use tracker::{RequestInfo, TrackerHandle};

use crate::in_flight::InFlight;
use crate::message::{Request, Response, respond};
use crate::rpc_table::{self, RpcId};
use crate::{details, metrics, raw, txn};

/// Whom a service speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceIdentity {
    /// The cluster. A request that names another one is refused.
    pub cluster_id: u64,
    /// The store.
    pub store_id: u64,
}

/// The `Tikv` service over a storage.
pub struct Service<E: Engine, L: LockManager, F: KvFormat> {
    storage: Storage<E, L, F>,
    identity: ServiceIdentity,
    clock: Clock,
    in_flight: InFlight,
}

impl<E: Engine, L: LockManager, F: KvFormat> Clone for Service<E, L, F> {
    fn clone(&self) -> Self {
        Service {
            storage: self.storage.clone(),
            identity: self.identity,
            clock: self.clock.clone(),
            in_flight: self.in_flight.clone(),
        }
    }
}

impl<E: Engine, L: LockManager, F: KvFormat> Service<E, L, F> {
    /// A service that answers for `identity` from `storage`.
    pub fn new(storage: Storage<E, L, F>, identity: ServiceIdentity, clock: Clock) -> Self {
        metrics::register();
        Service {
            storage,
            identity,
            clock,
            in_flight: InFlight::default(),
        }
    }

    /// The requests that this service and its clones have in progress.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.clone()
    }

    /// What all RPCs have in common.
    fn serve<Req, Resp, Fut>(
        &self,
        rpc: RpcId,
        ctx: RpcContext<'_>,
        request: Req,
        sink: UnarySink<Resp>,
        future: impl FnOnce(&Storage<E, L, F>, Req, TrackerHandle) -> Fut,
    ) where
        Req: Request,
        Resp: Response,
        Fut: Future<Output = Resp> + Send + 'static,
    {
        let arrived = self.clock.now();
        if let Some(status) = self.wrong_cluster(request.context()) {
            metrics::failed(rpc);
            ctx.spawn(async move {
                // The client may have gone.
                let _ = sink.fail(status).await;
            });
            return;
        }
        let source = request.context().get_request_source().to_owned();
        let info = RequestInfo {
            kind: rpc.rpc().handler,
            region_id: request.context().get_region_id(),
            start_ts: request.start_ts(),
            request_source: source.clone(),
        };
        let tracker = TrackerHandle::begin(info, arrived.as_nanos());
        let answer = match request.check() {
            Ok(()) => Either::Left(future(&self.storage, request, tracker.clone())),
            Err(error) => {
                let region_id = request.context().get_region_id();
                Either::Right(ready(respond(region_id, Err::<(), _>(error), |_, ()| {})))
            }
        };
        let clock = self.clock.clone();
        let counted = self.in_flight.begin();
        ctx.spawn(async move {
            let mut response = answer.await;
            let elapsed: Duration = clock.now().saturating_duration_since(arrived);
            if let Some(exec_details) = response.exec_details() {
                tracker.with(|tracker| details::fill(exec_details, tracker, elapsed));
            }
            match sink.success(response).await {
                Ok(()) => metrics::answered(rpc, &source, elapsed),
                Err(error) => {
                    metrics::failed(rpc);
                    tracing::debug!(rpc = rpc.rpc().handler, %error, "response not delivered");
                }
            }
            drop(counted);
        });
    }

    /// The status for a request that names another cluster than ours.
    fn wrong_cluster(&self, context: &kvrpcpb::Context) -> Option<RpcStatus> {
        let (named, ours) = (context.get_cluster_id(), self.identity.cluster_id);
        (named != 0 && named != ours).then(|| {
            RpcStatus::with_message(
                RpcStatusCode::INVALID_ARGUMENT,
                format!("mismatch cluster id, need {ours} but got {named}"),
            )
        })
    }
}

/// A handler of the `Tikv` trait: its name, the function that makes its future, its messages.
macro_rules! handle_request {
    ($handler:ident, $future:path, $request:ty, $response:ty) => {
        fn $handler(&mut self, ctx: RpcContext<'_>, request: $request, sink: UnarySink<$response>) {
            const RPC: RpcId = rpc_table::live(stringify!($handler));
            self.serve(RPC, ctx, request, sink, $future);
        }
    };
}

/// What is not named here answers `UNIMPLEMENTED`, by the default of the generated trait. That default
/// does not do for streams of requests; these stand at the end.
impl<E: Engine, L: LockManager, F: KvFormat> Tikv for Service<E, L, F> {
    handle_request!(
        kv_get,
        txn::future_get,
        kvrpcpb::GetRequest,
        kvrpcpb::GetResponse
    );
    handle_request!(
        kv_batch_get,
        txn::future_batch_get,
        kvrpcpb::BatchGetRequest,
        kvrpcpb::BatchGetResponse
    );
    handle_request!(
        kv_scan,
        txn::future_scan,
        kvrpcpb::ScanRequest,
        kvrpcpb::ScanResponse
    );
    handle_request!(
        kv_prewrite,
        txn::future_prewrite,
        kvrpcpb::PrewriteRequest,
        kvrpcpb::PrewriteResponse
    );
    handle_request!(
        kv_commit,
        txn::future_commit,
        kvrpcpb::CommitRequest,
        kvrpcpb::CommitResponse
    );
    handle_request!(
        kv_cleanup,
        txn::future_cleanup,
        kvrpcpb::CleanupRequest,
        kvrpcpb::CleanupResponse
    );
    handle_request!(
        kv_batch_rollback,
        txn::future_batch_rollback,
        kvrpcpb::BatchRollbackRequest,
        kvrpcpb::BatchRollbackResponse
    );
    handle_request!(
        kv_txn_heart_beat,
        txn::future_txn_heart_beat,
        kvrpcpb::TxnHeartBeatRequest,
        kvrpcpb::TxnHeartBeatResponse
    );
    handle_request!(
        kv_check_txn_status,
        txn::future_check_txn_status,
        kvrpcpb::CheckTxnStatusRequest,
        kvrpcpb::CheckTxnStatusResponse
    );
    handle_request!(
        kv_scan_lock,
        txn::future_scan_lock,
        kvrpcpb::ScanLockRequest,
        kvrpcpb::ScanLockResponse
    );
    handle_request!(
        kv_resolve_lock,
        txn::future_resolve_lock,
        kvrpcpb::ResolveLockRequest,
        kvrpcpb::ResolveLockResponse
    );
    handle_request!(
        kv_delete_range,
        txn::future_delete_range,
        kvrpcpb::DeleteRangeRequest,
        kvrpcpb::DeleteRangeResponse
    );
    handle_request!(
        mvcc_get_by_key,
        txn::future_mvcc_get_by_key,
        kvrpcpb::MvccGetByKeyRequest,
        kvrpcpb::MvccGetByKeyResponse
    );
    handle_request!(
        mvcc_get_by_start_ts,
        txn::future_mvcc_get_by_start_ts,
        kvrpcpb::MvccGetByStartTsRequest,
        kvrpcpb::MvccGetByStartTsResponse
    );
    handle_request!(
        raw_get,
        raw::future_get,
        kvrpcpb::RawGetRequest,
        kvrpcpb::RawGetResponse
    );
    handle_request!(
        raw_batch_get,
        raw::future_batch_get,
        kvrpcpb::RawBatchGetRequest,
        kvrpcpb::RawBatchGetResponse
    );
    handle_request!(
        raw_put,
        raw::future_put,
        kvrpcpb::RawPutRequest,
        kvrpcpb::RawPutResponse
    );
    handle_request!(
        raw_batch_put,
        raw::future_batch_put,
        kvrpcpb::RawBatchPutRequest,
        kvrpcpb::RawBatchPutResponse
    );
    handle_request!(
        raw_delete,
        raw::future_delete,
        kvrpcpb::RawDeleteRequest,
        kvrpcpb::RawDeleteResponse
    );
    handle_request!(
        raw_batch_delete,
        raw::future_batch_delete,
        kvrpcpb::RawBatchDeleteRequest,
        kvrpcpb::RawBatchDeleteResponse
    );
    handle_request!(
        raw_delete_range,
        raw::future_delete_range,
        kvrpcpb::RawDeleteRangeRequest,
        kvrpcpb::RawDeleteRangeResponse
    );
    handle_request!(
        raw_scan,
        raw::future_scan,
        kvrpcpb::RawScanRequest,
        kvrpcpb::RawScanResponse
    );
    handle_request!(
        raw_batch_scan,
        raw::future_batch_scan,
        kvrpcpb::RawBatchScanRequest,
        kvrpcpb::RawBatchScanResponse
    );
    handle_request!(
        raw_checksum,
        raw::future_checksum,
        kvrpcpb::RawChecksumRequest,
        kvrpcpb::RawChecksumResponse
    );
    handle_request!(
        raw_compare_and_swap,
        raw::future_compare_and_swap,
        kvrpcpb::RawCASRequest,
        kvrpcpb::RawCASResponse
    );

    fn raft(
        &mut self,
        ctx: RpcContext<'_>,
        stream: RequestStream<RaftMessage>,
        sink: ClientStreamingSink<Done>,
    ) {
        unserved(&ctx, stream, sink.fail(unimplemented()));
    }

    fn batch_raft(
        &mut self,
        ctx: RpcContext<'_>,
        stream: RequestStream<BatchRaftMessage>,
        sink: ClientStreamingSink<Done>,
    ) {
        unserved(&ctx, stream, sink.fail(unimplemented()));
    }

    fn snapshot(
        &mut self,
        ctx: RpcContext<'_>,
        stream: RequestStream<SnapshotChunk>,
        sink: ClientStreamingSink<Done>,
    ) {
        unserved(&ctx, stream, sink.fail(unimplemented()));
    }

    fn tablet_snapshot(
        &mut self,
        ctx: RpcContext<'_>,
        stream: RequestStream<TabletSnapshotRequest>,
        sink: DuplexSink<TabletSnapshotResponse>,
    ) {
        unserved(&ctx, stream, sink.fail(unimplemented()));
    }

    fn batch_commands(
        &mut self,
        ctx: RpcContext<'_>,
        stream: RequestStream<BatchCommandsRequest>,
        sink: DuplexSink<BatchCommandsResponse>,
    ) {
        unserved(&ctx, stream, sink.fail(unimplemented()));
    }
}

fn unimplemented() -> RpcStatus {
    RpcStatus::new(RpcStatusCode::UNIMPLEMENTED)
}

/// Refuses an RPC with a stream of requests. A stream that is dropped before the status has left
/// cancels the call, and the client reads that instead of the status, so it is kept until then.
fn unserved<T: Send + 'static>(
    ctx: &RpcContext<'_>,
    stream: RequestStream<T>,
    refusal: impl Future<Output = grpcio::Result<()>> + Send + 'static,
) {
    ctx.spawn(async move {
        // The client may have gone.
        let _ = refusal.await;
        drop(stream);
    });
}
