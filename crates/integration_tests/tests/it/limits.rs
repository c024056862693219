//! What a server takes from the machine: when it is idle, and when somebody wants much of it. As a debug build too.

use std::time::Duration;

use futures::{SinkExt as _, TryStreamExt as _};
use grpcio::{ChannelBuilder, EnvBuilder, RpcStatusCode};
use integration_tests::{TikvServer, allocated_bytes};
use kvproto::kvrpcpb::{BatchGetRequest, RawBatchGetRequest, RawGetRequest};
use kvproto::tikvpb::TikvClient;
use protobuf::Message;

use crate::clients;
use crate::wire::{Outcome, Wire};

const RESIDENT: u64 = 80 << 20;
const DISK: u64 = 20 << 20;
const READY: Duration = Duration::from_millis(700);
/// Other tests run on the same processors. One start that took no longer than promised shows what the
/// server needs; the slow ones show what the machine was doing.
const STARTS: usize = 10;

#[tokio::test]
async fn an_idle_server_is_small() {
    let mut server = TikvServer::start().await.unwrap();
    // The least that a client does.
    clients::raw(&server)
        .await
        .put("k".to_owned(), "v".to_owned())
        .await
        .unwrap();
    let resident = server.resident_bytes().unwrap();
    let disk = allocated_bytes(&server.data_dir()).unwrap();
    assert!(resident < RESIDENT, "{} MiB are resident", resident >> 20);
    assert!(disk < DISK, "{} MiB are on disk", disk >> 20);
    println!(
        "{} MiB resident, {} KiB on disk",
        resident >> 20,
        disk >> 10
    );
    server.stop().await.unwrap();

    // Neither grows with restarts.
    for _ in 0..3 {
        server.restart().await.unwrap();
        server.kill().unwrap();
    }
    server.restart().await.unwrap();
    let disk = allocated_bytes(&server.data_dir()).unwrap();
    assert!(disk < DISK, "{} MiB are on disk after restarts", disk >> 20);
    assert!(server.resident_bytes().unwrap() < RESIDENT);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_is_ready_in_time() {
    let mut best = Duration::MAX;
    for _ in 0..STARTS {
        let mut server = TikvServer::start().await.unwrap();
        best = best.min(server.ready_after());
        server.stop().await.unwrap();
        if best < READY {
            break;
        }
    }
    println!("ready after {best:?}");
    assert!(best < READY, "the fastest of {STARTS} starts took {best:?}");
}

/// Whatever one connection asks for.
const GROWTH: u64 = 64 << 20;
pub(crate) const MILLION: usize = 1_000_000;

/// A server, and how much it had taken before it was asked for much.
pub(crate) struct Measured {
    pub(crate) server: TikvServer,
    pub(crate) wire: Wire,
    before: u64,
}

impl Measured {
    pub(crate) async fn start() -> Measured {
        Measured::start_with("").await
    }

    pub(crate) async fn start_with(config: &str) -> Measured {
        let server = TikvServer::builder().config(config).start().await.unwrap();
        let wire = Wire::connect(&server).await;
        // The first request of all builds what the others use.
        let warm = wire.try_with::<RawGetRequest>(|_| {}).await;
        assert!(matches!(warm, Outcome::Done(_)), "{warm:?}");
        let before = server.resident_bytes().unwrap();
        Measured {
            server,
            wire,
            before,
        }
    }

    pub(crate) fn check(&self, what: &str) {
        let peak = self.server.peak_resident_bytes().unwrap();
        let growth = peak.saturating_sub(self.before);
        println!("{what}: {} MiB of growth", growth >> 20);
        assert!(growth <= GROWTH, "{what}: {} MiB of growth", growth >> 20);
    }

    pub(crate) async fn end(mut self) {
        let served = self.wire.try_with::<RawGetRequest>(|_| {}).await;
        assert!(matches!(served, Outcome::Done(_)), "{served:?}");
        self.server.stop().await.unwrap();
    }
}

pub(crate) fn keys(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| format!("{n:07}").into_bytes()).collect()
}

#[tokio::test]
async fn a_million_keys_take_bounded_memory() {
    let measured = Measured::start().await;
    let mut transactional = BatchGetRequest::default();
    transactional.set_context(measured.wire.envelope());
    transactional.set_keys(keys(MILLION).into());
    transactional.set_version(1);
    let mut raw = RawBatchGetRequest::default();
    raw.set_context(measured.wire.envelope());
    raw.set_keys(keys(MILLION).into());
    for (path, bytes) in [
        ("/tikvpb.Tikv/KvBatchGet", transactional.write_to_bytes()),
        ("/tikvpb.Tikv/RawBatchGet", raw.write_to_bytes()),
    ] {
        // Answered or refused.
        let _ = measured.wire.send_bytes(path, bytes.unwrap()).await;
        measured.check(path);
    }
    // A tenth of it is served.
    let outcome = measured
        .wire
        .try_with::<RawBatchGetRequest>(|request| request.set_keys(keys(MILLION / 10).into()))
        .await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    measured.check("a hundred thousand keys");
    measured.end().await;
}

#[tokio::test]
async fn messages_of_many_parts_take_bounded_memory() {
    for (path, part) in [
        // Empty mutations, keys, pairs, requests of a batch; fields that nobody knows.
        ("/tikvpb.Tikv/KvPrewrite", &[0x12, 0x00][..]),
        ("/tikvpb.Tikv/KvCommit", &[0x1a, 0x00]),
        ("/tikvpb.Tikv/RawBatchPut", &[0x12, 0x00]),
        ("/tikvpb.Tikv/RawBatchPut", &[0xfa, 0x3f, 0x00]),
        ("/tikvpb.Tikv/RawGet", &[0xf8, 0x3f, 0x00]),
        ("/tikvpb.Tikv/RawGet", &[0xf3, 0x3f]),
    ] {
        // A server of its own for each: what another has left would be counted.
        let measured = Measured::start().await;
        let bomb = part.repeat((15 << 20) / part.len());
        let refused = measured.wire.send_bytes(path, bomb).await;
        assert!(refused.is_err(), "{path} took {part:02x?}");
        measured.check(path);
        measured.end().await;
    }
}

#[tokio::test]
async fn ten_thousand_streams_take_bounded_memory() {
    const STREAMS: usize = 10_000;
    let measured = Measured::start().await;
    let environment = std::sync::Arc::new(EnvBuilder::new().cq_count(1).build());
    let channel =
        ChannelBuilder::new(environment).connect(&measured.server.client_address().to_string());
    let client = TikvClient::new(channel);
    // All are opened before the first is closed; the server lets some of them in at a time.
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(client.batch_commands().unwrap());
    }
    let ended = streams
        .into_iter()
        .map(|(mut requests, responses)| async move {
            // Half of the stream is closed; the server closes the other half.
            requests.close().await.unwrap();
            responses.try_collect::<Vec<_>>().await
        });
    for responses in futures::future::join_all(ended).await {
        assert!(responses.unwrap().is_empty());
    }
    measured.check("ten thousand streams");
    measured.end().await;
}

#[tokio::test]
async fn what_a_message_beyond_the_limit_took_is_given_back() {
    const MESSAGE: usize = 200 << 20;
    const LEFT: u64 = 32 << 20;
    let measured = Measured::start().await;
    let sent = measured
        .wire
        .send_bytes("/tikvpb.Tikv/RawPut", vec![0; MESSAGE]);
    let served = async {
        let neighbour = Wire::connect(&measured.server).await;
        neighbour.try_with::<RawGetRequest>(|_| {}).await
    };
    let (refused, served) = tokio::join!(sent, served);
    let code = refused.unwrap_err().code();
    assert_eq!(code, RpcStatusCode::RESOURCE_EXHAUSTED);
    assert!(matches!(served, Outcome::Done(_)), "{served:?}");
    let allowed = measured.before + LEFT;
    measured.server.until_resident_below(allowed).await.unwrap();
    measured.end().await;
}
