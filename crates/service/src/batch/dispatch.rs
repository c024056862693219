//! From a sub-request to the future of its answer, by the list of [`crate::rpcs`].
//!
//! What happens to a request between arrival and answer is that of [`crate::call`], as for a unary
//! RPC; here it only gets its case of the oneof and the number that the client knows it by.

use std::future::Future;

use api_version::KvFormat;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kv::Engine;
use kvproto::kvrpcpb::{self, Context};
use kvproto::tikvpb::{
    BatchCommandsEmptyRequest, BatchCommandsEmptyResponse,
    BatchCommandsRequest_Request_oneof_cmd as Request,
    BatchCommandsResponse_Response_oneof_cmd as Response,
};
use lock_manager::LockManager;
use protobuf::Message;
use runtime::Instant;
use tracker::TrackerHandle;

use super::Event;
use super::answers::Answer;
use crate::call::Call;
use crate::rpc_table::{self, RpcId};
use crate::rpcs::live_rpcs;
use crate::service::Service;
use crate::{feedback, flashback, message, pessimistic, pipelined, raw, txn};

/// Upper bound of what the number, tags and lengths of an answer take in its message.
const FRAME_BYTES: usize = 32;

/// How much an answer can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As many pairs as the client asked for: few of these are under way at a time.
    Bulk,
    /// A value at most.
    Ordinary,
}

impl Kind {
    pub(super) fn of(cmd: &Request) -> Kind {
        match cmd {
            Request::Scan(_)
            | Request::BatchGet(_)
            | Request::ScanLock(_)
            | Request::RawScan(_)
            | Request::RawBatchGet(_)
            | Request::RawBatchScan(_) => Kind::Bulk,
            _ => Kind::Ordinary,
        }
    }
}

/// A sub-request as its stream knows it.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) request_bytes: usize,
    pub(super) arrived: Instant,
    /// The largest answer that can be sent.
    pub(super) answer_bytes_max: usize,
}

impl Slot {
    /// The answer of a request that was served.
    pub(super) fn answer<Resp: message::Response + Message>(
        self,
        call: Call,
        mut response: Resp,
        case: fn(Resp) -> Response,
    ) -> Answer {
        let elapsed = call.finish(&mut response);
        let mut bytes = size(&response);
        if bytes > self.answer_bytes_max {
            // gRPC would end the stream, and with it what others wait for.
            let limit = self.answer_bytes_max;
            response = call.refuse(storage::Error::ReadTooLarge { limit });
            bytes = size(&response);
        }
        call.answered(elapsed);
        Answer {
            call: Some(call),
            bytes: bytes + FRAME_BYTES,
            ..self.bare(Some(case(response)))
        }
    }

    /// The answer to what says nothing.
    pub(super) fn answer_empty(self, request: &BatchCommandsEmptyRequest) -> Answer {
        let mut response = BatchCommandsEmptyResponse::default();
        response.set_test_id(request.get_test_id());
        self.bare(Some(Response::Empty(response)))
    }

    /// The answer to a command that is not served: the client fails this request only.
    pub(super) fn answer_unserved(self) -> Answer {
        self.bare(None)
    }

    fn bare(self, response: Option<Response>) -> Answer {
        Answer {
            id: self.id,
            kind: self.kind,
            request_bytes: self.request_bytes,
            response,
            bytes: FRAME_BYTES,
            call: None,
        }
    }
}

fn size(message: &impl Message) -> usize {
    usize::try_from(message.compute_size()).unwrap_or(usize::MAX)
}

impl<E: Engine, L: LockManager, F: KvFormat> Service<E, L, F> {
    fn serve_batched<Req, Resp, Part, Fut>(
        &self,
        (rpc, slot, peer): (RpcId, Slot, &str),
        request: Req,
        future: impl FnOnce(&Part, Req, TrackerHandle) -> Fut,
        case: fn(Resp) -> Response,
    ) -> BoxFuture<'static, Event>
    where
        Req: message::Request,
        Resp: message::Response + Message,
        Fut: Future<Output = Resp> + Send + 'static,
        Self: AsRef<Part>,
    {
        let call = self.begin(rpc, &request, slot.arrived, peer.to_owned());
        let answer = self.start(&call, request, future);
        async move { Event::Answer(slot.answer(call, answer.await, case)) }.boxed()
    }
}

/// Writes what is to be known of each case of the oneof.
macro_rules! dispatch {
    ($(
        $handler:ident = $future:path: $request:ident => $response:ident $(, batch $case:ident)?;
    )*) => {
        /// What BatchCommands carries: the handler of each RPC, and its case.
        pub(crate) const CARRIED: &[(&str, &str)] =
            &[$($((stringify!($handler), stringify!($case)),)?)*];

        /// The envelope of a command that is served.
        pub(super) fn envelope(cmd: &Request) -> Option<&Context> {
            match cmd {
                $($(Request::$case(request) => Some(request.get_context()),)?)*
                _ => None,
            }
        }

        impl<E: Engine, L: LockManager, F: KvFormat> Service<E, L, F> {
            /// Begins a command; `None` when it is not served.
            pub(super) fn start_batched(
                &self,
                slot: Slot,
                cmd: Request,
                peer: &str,
            ) -> Option<BoxFuture<'static, Event>> {
                match cmd {
                    $($(Request::$case(request) => {
                        const RPC: RpcId = rpc_table::live(stringify!($handler));
                        let case: fn(kvrpcpb::$response) -> Response = Response::$case;
                        Some(self.serve_batched((RPC, slot, peer), request, $future, case))
                    })?)*
                    _ => None,
                }
            }
        }
    };
}

live_rpcs!(dispatch);
