//! What all requests have in common, however they came: the account of one from its arrival to its
//! answer.
//!
//! A unary RPC and a sub-request of BatchCommands both begin with [`Service::begin`], are answered
//! by the future of [`Service::start`], and end with [`Call::finish`]. Whatever must hold for every
//! request belongs here. A call counts as in progress until it is dropped, so whoever delivers the
//! response keeps the call until the response has left.

use std::future::{Future, Ready, ready};
use std::time::Duration;

use api_version::KvFormat;
use futures::future::Either;
use grpcio::{RpcStatus, RpcStatusCode};
use kv::Engine;
use kvproto::kvrpcpb;
use lock_manager::LockManager;
use runtime::{Clock, Instant};
use tracker::{KeyPrefix, RequestInfo, TrackerHandle};

use crate::feedback::HealthFeedback;
use crate::message::{Request, Response, respond};
use crate::rpc_table::RpcId;
use crate::service::Service;
use crate::slow_log::SlowLog;
use crate::{details, in_flight, metrics};

/// A request that was accepted and is not answered yet.
pub(crate) struct Call {
    rpc: RpcId,
    region_id: u64,
    arrived: Instant,
    tracker: TrackerHandle,
    clock: Clock,
    feedback: HealthFeedback,
    slow_log: SlowLog,
    /// It is in progress as long as this lives.
    _counted: in_flight::Request,
}

impl<E: Engine, L: LockManager, F: KvFormat> Service<E, L, F> {
    /// Opens the account of a request for our cluster that arrived from `peer` at `arrived`.
    pub(crate) fn begin<Req: Request>(
        &self,
        rpc: RpcId,
        request: &Req,
        arrived: Instant,
        peer: String,
    ) -> Call {
        let context = request.context();
        let info = RequestInfo {
            kind: rpc.rpc().handler,
            region_id: context.get_region_id(),
            start_ts: request.start_ts(),
            request_source: context.get_request_source().to_owned(),
            peer,
            key: KeyPrefix::of(request.first_key()),
        };
        Call {
            rpc,
            region_id: context.get_region_id(),
            arrived,
            tracker: TrackerHandle::begin(info, arrived.as_nanos()),
            clock: self.clock.clone(),
            feedback: self.feedback.clone(),
            slow_log: self.slow_log.clone(),
            _counted: self.in_flight.begin(),
        }
    }

    /// Answers a request: with `future` of the part of the service that it needs, or at once if the
    /// request is one that nothing could make valid.
    pub(crate) fn start<Req, Resp, Part, Fut>(
        &self,
        call: &Call,
        request: Req,
        future: impl FnOnce(&Part, Req, TrackerHandle) -> Fut,
    ) -> Either<Fut, Ready<Resp>>
    where
        Req: Request,
        Resp: Response,
        Fut: Future<Output = Resp> + Send + 'static,
        Self: AsRef<Part>,
    {
        match request.check() {
            Ok(()) => Either::Left(future(self.as_ref(), request, call.tracker())),
            Err(error) => Either::Right(ready(call.refuse(error))),
        }
    }

    /// The status for a request that names another cluster than ours.
    pub(crate) fn wrong_cluster(&self, context: &kvrpcpb::Context) -> Option<RpcStatus> {
        let (named, ours) = (context.get_cluster_id(), self.identity.cluster_id);
        (named != 0 && named != ours).then(|| {
            RpcStatus::with_message(
                RpcStatusCode::INVALID_ARGUMENT,
                format!("mismatch cluster id, need {ours} but got {named}"),
            )
        })
    }
}

impl Call {
    /// The region that it is for.
    pub(crate) fn region_id(&self) -> u64 {
        self.region_id
    }

    /// Where its cost is noted.
    pub(crate) fn tracker(&self) -> TrackerHandle {
        self.tracker.clone()
    }

    /// The response to a request that failed with `error`.
    pub(crate) fn refuse<Resp: Response>(&self, error: storage::Error) -> Resp {
        respond(self.region_id, Err::<(), _>(error), |_, ()| {})
    }

    /// Completes a response with what the request cost, and tells of a slow one. Returns how long it
    /// took.
    pub(crate) fn finish<Resp: Response>(&self, response: &mut Resp) -> Duration {
        let elapsed = self.clock.now().saturating_duration_since(self.arrived);
        let written = self.tracker.with(|tracker| {
            if let Some(exec_details) = response.exec_details() {
                details::fill(exec_details, tracker, elapsed);
            }
            tracker.write.apply_log_ns
        });
        if written > 0 {
            self.feedback.observe_write(written);
        }
        if self.slow_log.is_slow(elapsed) {
            self.slow_log.tell(&self.tracker.snapshot(), elapsed);
        }
        elapsed
    }

    /// Records that the response was given to the client.
    pub(crate) fn answered(&self, elapsed: Duration) {
        self.tracker
            .with(|tracker| metrics::answered(self.rpc, &tracker.info.request_source, elapsed));
    }

    /// Records that the client did not get the response.
    pub(crate) fn failed(&self, error: &grpcio::Error) {
        metrics::failed(self.rpc);
        tracing::debug!(rpc = self.rpc.rpc().handler, %error, "response not delivered");
    }
}
