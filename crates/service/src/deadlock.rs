//! The `deadlock.Deadlock` service, and the way of a detector to that of another store.
//!
//! One request is one word to [`lock_manager::Detector`]; nothing is decided here. A store that does not find the
//! deadlocks of the cluster answers FAILED_PRECONDITION, whereupon the other one asks who does.

use std::sync::Arc;

use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use grpcio::{
    Channel, DuplexSink, RequestStream, RpcContext, RpcStatus, RpcStatusCode, UnarySink, WriteFlags,
};
use kvproto::deadlock::{
    Deadlock, DeadlockClient, DeadlockRequest, DeadlockResponse, WaitForEntriesRequest,
    WaitForEntriesResponse,
};
use lock_manager::{DetectStream, Detector, DetectorPeers, NotLeader, Role, StreamEnd};

/// Messages that may wait to be sent to the leader; it takes them faster than stores make them.
const UNSENT_MAX: usize = 1024;

/// Serves a detector to other stores.
#[derive(Clone)]
pub struct DeadlockService {
    detector: Detector,
}

impl DeadlockService {
    /// Serves `detector`.
    pub fn new(detector: Detector) -> Self {
        DeadlockService { detector }
    }
}

fn not_leader() -> RpcStatus {
    let reason = "this store does not lead the region with the empty key".to_owned();
    RpcStatus::with_message(RpcStatusCode::FAILED_PRECONDITION, reason)
}

impl Deadlock for DeadlockService {
    fn get_wait_for_entries(
        &mut self,
        ctx: RpcContext<'_>,
        _: WaitForEntriesRequest,
        sink: UnarySink<WaitForEntriesResponse>,
    ) {
        let mut response = WaitForEntriesResponse::default();
        response.set_entries(self.detector.wait_for_entries().into());
        // The caller may have gone.
        ctx.spawn(sink.success(response).map(drop));
    }

    fn detect(
        &mut self,
        ctx: RpcContext<'_>,
        mut requests: RequestStream<DeadlockRequest>,
        mut sink: DuplexSink<DeadlockResponse>,
    ) {
        let detector = self.detector.clone();
        ctx.spawn(async move {
            if detector.role() != Role::Leader {
                let _ = sink.fail(not_leader()).await;
                return;
            }
            let end = loop {
                match requests.next().await {
                    None => break None,
                    Some(Err(error)) => {
                        let reason = error.to_string();
                        break Some(RpcStatus::with_message(RpcStatusCode::INTERNAL, reason));
                    }
                    Some(Ok(request)) => match detector.serve(request) {
                        Ok(None) => {}
                        Ok(Some(found)) => {
                            if sink.send((found, WriteFlags::default())).await.is_err() {
                                return;
                            }
                        }
                        Err(NotLeader) => break Some(not_leader()),
                    },
                }
            };
            // The caller may have gone. Its requests are held until it was told: dropped earlier they cancel.
            let _ = match end {
                Some(status) => sink.fail(status).await,
                None => sink.close().await,
            };
            drop(requests);
        });
    }
}

/// Finds the address of the store that leads the region with the empty key.
pub type FindLeader = Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// Opens a channel to an address.
pub type OpenChannel = Arc<dyn Fn(&str) -> Channel + Send + Sync>;

/// The other stores, by gRPC.
pub struct DeadlockPeers {
    find_leader: FindLeader,
    open_channel: OpenChannel,
}

impl DeadlockPeers {
    /// Finds and reaches the leader with these.
    pub fn new(find_leader: FindLeader, open_channel: OpenChannel) -> Self {
        DeadlockPeers {
            find_leader,
            open_channel,
        }
    }
}

impl DetectorPeers for DeadlockPeers {
    fn connect(&self) -> BoxFuture<'static, Result<DetectStream, StreamEnd>> {
        let leader = (self.find_leader)();
        let open_channel = self.open_channel.clone();
        async move {
            let address = leader.await.map_err(StreamEnd)?;
            let client = DeadlockClient::new(open_channel(&address));
            open(client).map_err(|error| StreamEnd(error.to_string()))
        }
        .boxed()
    }
}

/// Opens a stream. Its requests are moved on by whoever reads the answers: there is no task of its own.
fn open(client: DeadlockClient) -> grpcio::Result<DetectStream> {
    let (to_leader, from_leader) = client.detect()?;
    let (requests, queued) = mpsc::channel(UNSENT_MAX);
    let sending = queued
        .map(|request| Ok((request, WriteFlags::default())))
        .forward(to_leader)
        .map(|sent| Err(end(sent.err())))
        .into_stream();
    // The end of the requests alone is no news: the answers tell why.
    let sending = sending.filter(|sent| {
        let told = matches!(sent, Err(StreamEnd(reason)) if !reason.is_empty());
        async move { told }
    });
    let receiving = from_leader.map_err(move |error| {
        // A channel that is dropped ends its calls: it lives as long as the stream.
        let _ = &client;
        end(Some(error))
    });
    Ok(DetectStream {
        requests,
        deadlocks: stream::select(receiving, sending).boxed(),
    })
}

fn end(error: Option<grpcio::Error>) -> StreamEnd {
    StreamEnd(error.map(|error| error.to_string()).unwrap_or_default())
}
