//! The `Tikv` service: what the handlers share, and the handlers.
//!
//! The unary ones are written by a macro from the list of [`crate::rpcs`], and all go through
//! [`Service::serve`]; what it has in common with BatchCommands stands in [`crate::call`]. The futures
//! stand in [`crate::txn`] and [`crate::raw`]. Nothing here decides anything about data.

use std::future::Future;

use api_version::KvFormat;
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
use tracker::TrackerHandle;

use crate::feedback::HealthFeedback;
use crate::in_flight::InFlight;
use crate::message::{Request, Response};
use crate::rpc_table::{self, RpcId};
use crate::rpcs::live_rpcs;
use crate::slow_log::SlowLog;
use crate::{batch, feedback, flashback, metrics, pessimistic, pipelined, raw, txn};

/// The longest message to send, unless the owner says otherwise: what the configuration allows at
/// first.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

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
    pub(crate) storage: Storage<E, L, F>,
    pub(crate) identity: ServiceIdentity,
    pub(crate) clock: Clock,
    pub(crate) in_flight: InFlight,
    pub(crate) slow_log: SlowLog,
    pub(crate) feedback: HealthFeedback,
    pub(crate) message_bytes_max: usize,
}

impl<E: Engine, L: LockManager, F: KvFormat> Clone for Service<E, L, F> {
    fn clone(&self) -> Self {
        Service {
            storage: self.storage.clone(),
            identity: self.identity,
            clock: self.clock.clone(),
            in_flight: self.in_flight.clone(),
            slow_log: self.slow_log.clone(),
            feedback: self.feedback.clone(),
            message_bytes_max: self.message_bytes_max,
        }
    }
}

impl<E: Engine, L: LockManager, F: KvFormat> Service<E, L, F> {
    /// A service that answers for `identity` from `storage`.
    pub fn new(storage: Storage<E, L, F>, identity: ServiceIdentity, clock: Clock) -> Self {
        metrics::register();
        Service {
            storage,
            feedback: HealthFeedback::new(identity.store_id, clock.clone()),
            identity,
            clock,
            in_flight: InFlight::default(),
            slow_log: SlowLog::default(),
            message_bytes_max: MESSAGE_BYTES_MAX,
        }
    }

    /// Tells slow requests to `slow_log`, by its threshold.
    #[must_use]
    pub fn with_slow_log(mut self, slow_log: SlowLog) -> Self {
        self.slow_log = slow_log;
        self
    }

    /// The requests that this service and its clones have in progress.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.clone()
    }

    /// A message longer than `bytes` is not sent: gRPC would end the stream of whoever waits for it.
    #[must_use]
    pub fn with_message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// Answers a unary request.
    fn serve<Req, Resp, Part, Fut>(
        &self,
        rpc: RpcId,
        ctx: RpcContext<'_>,
        request: Req,
        sink: UnarySink<Resp>,
        future: impl FnOnce(&Part, Req, TrackerHandle) -> Fut,
    ) where
        Req: Request,
        Resp: Response,
        Fut: Future<Output = Resp> + Send + 'static,
        Self: AsRef<Part>,
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
        let call = self.begin(rpc, &request, arrived, ctx.peer());
        let answer = self.start(&call, request, future);
        ctx.spawn(async move {
            let mut response = answer.await;
            let elapsed = call.finish(&mut response);
            match sink.success(response).await {
                Ok(()) => call.answered(elapsed),
                Err(error) => call.failed(&error),
            }
        });
    }
}

/// What the futures of transactional and raw RPCs need.
impl<E: Engine, L: LockManager, F: KvFormat> AsRef<Storage<E, L, F>> for Service<E, L, F> {
    fn as_ref(&self) -> &Storage<E, L, F> {
        &self.storage
    }
}

/// What the future of `GetHealthFeedback` needs.
impl<E: Engine, L: LockManager, F: KvFormat> AsRef<HealthFeedback> for Service<E, L, F> {
    fn as_ref(&self) -> &HealthFeedback {
        &self.feedback
    }
}

/// The handlers of the `Tikv` trait, each by its name, the function that makes its future, and its
/// messages.
macro_rules! handle_requests {
    ($(
        $handler:ident = $future:path: $request:ident => $response:ident $(, batch $case:ident)?;
    )*) => {$(
        fn $handler(
            &mut self,
            ctx: RpcContext<'_>,
            request: kvrpcpb::$request,
            sink: UnarySink<kvrpcpb::$response>,
        ) {
            const RPC: RpcId = rpc_table::live(stringify!($handler));
            self.serve(RPC, ctx, request, sink, $future);
        }
    )*};
}

/// What is not named here answers `UNIMPLEMENTED`, by the default of the generated trait. That default
/// does not do for streams of requests; these stand at the end.
impl<E: Engine, L: LockManager, F: KvFormat> Tikv for Service<E, L, F> {
    live_rpcs!(handle_requests);

    fn batch_commands(
        &mut self,
        ctx: RpcContext<'_>,
        requests: RequestStream<BatchCommandsRequest>,
        sink: DuplexSink<BatchCommandsResponse>,
    ) {
        ctx.spawn(batch::serve(self.clone(), ctx.peer(), requests, sink));
    }

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
