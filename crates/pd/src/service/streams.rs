//! The streams of `pdpb.PD`: timestamps, region heartbeats, buckets.
//!
//! Each lives as long as its client likes. All end when the server stops, with a status that makes
//! clients look for a leader again.

use std::time::Duration;

use futures::future::{Either, select};
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{
    ClientStreamingSink, DuplexSink, RequestStream, RpcStatus, RpcStatusCode, WriteFlags,
};
use kvproto::pdpb::{
    ErrorType, QueryRegionRequest, QueryRegionResponse, RegionHeartbeatRequest,
    RegionHeartbeatResponse, ReportBucketsRequest, ReportBucketsResponse, TsoRequest, TsoResponse,
};
use protobuf::Message as _;

use super::Service;
use super::reply::{Refusal, Reply as _, header_error};
use crate::Error;
use crate::metrics::REGION_HEARTBEATS;
use crate::stores::is_removed;
use crate::tso::Timestamp;

/// Timestamp requests that are answered in one write.
const TSO_CHUNK: usize = 256;
/// A silent heartbeat stream gets an empty answer this often, so that both sides notice a dead
/// connection.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Refuses a stream that is not served. The generated default drops the requests before the status has
/// left, which cancels the call, and the client may read that instead; here they are kept until then.
pub(super) async fn unserved<Req, Resp>(requests: RequestStream<Req>, sink: DuplexSink<Resp>) {
    let status = RpcStatus::new(RpcStatusCode::UNIMPLEMENTED);
    // The client may have gone.
    let _ = sink.fail(status).await;
    drop(requests);
}

/// Why a stream ends early.
enum End {
    /// With this status.
    Refused(RpcStatus),
    /// The client or its connection is gone: there is nobody to tell.
    Gone,
}

impl From<grpcio::Error> for End {
    fn from(error: grpcio::Error) -> End {
        malformed(&error).map_or(End::Gone, End::Refused)
    }
}

/// What a client is told whose message could not be decoded; `None` when that is not what failed.
pub(super) fn malformed(error: &grpcio::Error) -> Option<RpcStatus> {
    let grpcio::Error::Codec(error) = error else {
        return None;
    };
    let text = format!("malformed message: {error}");
    Some(RpcStatus::with_message(RpcStatusCode::INTERNAL, text))
}

impl From<Error> for End {
    fn from(error: Error) -> End {
        let text = error.to_string();
        match Refusal::from(error) {
            Refusal::Status(status) => End::Refused(status),
            // A stream has no header to put this into.
            Refusal::Header(..) => End::Refused(RpcStatus::with_message(
                grpcio::RpcStatusCode::UNKNOWN,
                text,
            )),
        }
    }
}

/// How a stream ends when the server does: clients look for a leader again.
pub(super) fn stopped() -> RpcStatus {
    let text = Error::Stopped.to_string();
    RpcStatus::with_message(grpcio::RpcStatusCode::UNAVAILABLE, text)
}

/// Answers timestamp requests strictly in their order. What has arrived together is granted under
/// one lock and answered in one write; nothing here waits for a disk.
pub(super) async fn tso(
    service: Service,
    stream: RequestStream<TsoRequest>,
    mut sink: DuplexSink<TsoResponse>,
) {
    sink.enhance_batch(true);
    let mut chunks = stream.ready_chunks(TSO_CHUNK);
    let mut counts = Vec::new();
    let mut granted = Vec::new();
    let serving = async {
        loop {
            let next = select(chunks.next(), service.shared.stop.wait()).await;
            let Either::Left((chunk, _)) = next else {
                return Err(Error::Stopped.into());
            };
            let Some(chunk) = chunk else {
                return Ok(());
            };
            counts.clear();
            granted.clear();
            let mut end = Ok(());
            for request in chunk {
                match timestamps_asked(&service, request) {
                    Ok(count) => counts.push(count),
                    Err(error) => {
                        end = Err(error);
                        break;
                    }
                }
            }
            let oracle = &service.shared.oracle;
            // What was asked before an error is still answered.
            let outcome = oracle.timestamps_each(&counts, &mut granted).await;
            for (count, last) in counts.iter().zip(&granted) {
                let response = tso_response(&service, *count, *last);
                sink.feed((response, WriteFlags::default())).await?;
            }
            sink.flush().await?;
            outcome?;
            end?;
        }
    };
    let outcome = serving.await;
    finish(outcome, sink).await;
}

fn timestamps_asked(
    service: &Service,
    request: grpcio::Result<TsoRequest>,
) -> std::result::Result<u32, End> {
    let request = request?;
    service.shared.check_header(request.get_header())?;
    Ok(request.get_count())
}

fn tso_response(service: &Service, count: u32, last: Timestamp) -> TsoResponse {
    let mut response = TsoResponse::default();
    response.set_header(service.shared.header());
    response.set_count(count);
    response.set_timestamp(last.to_message());
    response
}

/// Answers requests for many regions at once, in their order.
pub(super) async fn query_region(
    service: Service,
    mut stream: RequestStream<QueryRegionRequest>,
    mut sink: DuplexSink<QueryRegionResponse>,
) {
    let serving = async {
        loop {
            let next = select(stream.next(), service.shared.stop.wait()).await;
            let Either::Left((request, _)) = next else {
                return Err(Error::Stopped.into());
            };
            let Some(request) = request else {
                return Ok(());
            };
            let found = service.query_regions(&request?);
            match service.complete(found) {
                Ok(response) => sink.send((response, WriteFlags::default())).await?,
                Err(status) => return Err(End::Refused(status)),
            }
        }
    };
    let outcome = serving.await;
    finish(outcome, sink).await;
}

/// Records heartbeats. Answers only what must not go unsaid: refusals, and now and then a sign
/// of life.
pub(super) async fn region_heartbeat(
    service: Service,
    mut stream: RequestStream<RegionHeartbeatRequest>,
    mut sink: DuplexSink<RegionHeartbeatResponse>,
) {
    let serving = async {
        loop {
            let pause = service.shared.runtime.timer.sleep(KEEP_ALIVE);
            let idle = select(Box::pin(pause), service.shared.stop.wait());
            let answer = match select(stream.next(), idle).await {
                Either::Left((None, _)) => return Ok(()),
                Either::Left((Some(request), _)) => record(&service, request?).await?,
                Either::Right((Either::Left(_), _)) => {
                    let mut alive = RegionHeartbeatResponse::default();
                    alive.put_header(service.shared.header());
                    Some(alive)
                }
                Either::Right((Either::Right(_), _)) => return Err(Error::Stopped.into()),
            };
            if let Some(answer) = answer {
                sink.send((answer, WriteFlags::default())).await?;
            }
        }
    };
    let outcome = serving.await;
    finish(outcome, sink).await;
}

/// Takes one heartbeat; the answer is a refusal, if there is one that leaves the stream alive.
async fn record(
    service: &Service,
    request: RegionHeartbeatRequest,
) -> std::result::Result<Option<RegionHeartbeatResponse>, End> {
    let shared = &service.shared;
    shared.check_header(request.get_header())?;
    let mut answer = RegionHeartbeatResponse::default();
    answer.set_region_id(request.get_region().get_id());
    answer.set_region_epoch(request.get_region().get_region_epoch().clone());
    answer.set_target_peer(request.get_leader().clone());
    let store_id = request.get_leader().get_store_id();
    if store_id != 0 {
        // A store that nobody registered, or that was removed, has no business on this stream.
        let known = shared.cluster.read(|state| {
            let info = state.stores().get(store_id);
            info.map(|info| is_removed(&info.store))
        });
        match known {
            Some(true) => return Ok(None),
            Some(false) => {}
            None if shared.cluster.read(|state| state.is_bootstrapped()) => {
                return Err(Error::Refused(format!("store {store_id} not found")).into());
            }
            None => {}
        }
    }
    let bytes = usize::try_from(request.compute_size()).unwrap_or(usize::MAX);
    let plan = move |state: &crate::state::PdState| Ok((state.plan_region_heartbeat(request)?, ()));
    let count = |status: &str| REGION_HEARTBEATS.with_label_values(&[status]).inc();
    match shared
        .cluster
        .mutate_sized(bytes, plan)
        .await
        .map_err(Refusal::from)
    {
        Ok(()) => {
            count("ok");
            Ok(None)
        }
        Err(Refusal::Status(status)) => Err(End::Refused(status)),
        Err(Refusal::Header(kind, message)) => {
            count("refused");
            tracing::debug!(
                region_id = answer.get_region_id(),
                reason = %message,
                "region heartbeat refused"
            );
            let mut header = shared.header();
            header.set_error(header_error(kind, message));
            answer.put_header(header);
            Ok(Some(answer))
        }
    }
}

/// Accepts buckets. Nothing asks for them yet, so they are not kept.
pub(super) async fn report_buckets(
    service: Service,
    mut stream: RequestStream<ReportBucketsRequest>,
    sink: ClientStreamingSink<ReportBucketsResponse>,
) {
    let shared = &service.shared;
    let outcome: std::result::Result<Option<Error>, End> = async {
        loop {
            let Either::Left((next, _)) = select(stream.next(), shared.stop.wait()).await else {
                return Err(Error::Stopped.into());
            };
            let Some(request) = next else {
                return Ok(None);
            };
            shared.check_header(request?.get_header())?;
            if let Err(error) = shared.cluster.read_bootstrapped(|_| Ok(())) {
                return Ok(Some(error));
            }
        }
    }
    .await;
    let sent = match outcome {
        Ok(error) => {
            let mut response = ReportBucketsResponse::default();
            let mut header = shared.header();
            if let Some(error) = error {
                let text = error.to_string();
                header.set_error(header_error(ErrorType::NOT_BOOTSTRAPPED, text));
            }
            response.put_header(header);
            sink.success(response).await
        }
        Err(End::Refused(status)) => sink.fail(status).await,
        Err(End::Gone) => return,
    };
    drop(sent);
}

/// Ends a stream as its outcome demands. Whether that still reaches the client is its concern.
async fn finish<T>(outcome: std::result::Result<(), End>, mut sink: DuplexSink<T>) {
    let sent = match outcome {
        Ok(()) => sink.close().await,
        Err(End::Refused(status)) => sink.fail(status).await,
        Err(End::Gone) => return,
    };
    if let Err(error) = sent {
        tracing::debug!(error = %error, "stream ended without its client");
    }
}
