//! Requests that no sound client sends, to every live RPC: each gets an answer that says what is
//! wrong with it, changes nothing, and the server goes on serving everybody else.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use grpcio::RpcStatusCode;
use integration_tests::TikvServer;
use kvproto::errorpb;
use kvproto::kvrpcpb::{
    BatchGetRequest, BatchRollbackRequest, BufferBatchGetRequest, CheckTxnStatusRequest,
    CleanupRequest, CommitRequest, DeleteRangeRequest, FlashbackToVersionRequest, FlushRequest,
    GetRequest, MvccGetByKeyRequest, MvccGetByStartTsRequest, PrepareFlashbackToVersionRequest,
    PrewriteRequest, RawBatchDeleteRequest, RawBatchGetRequest, RawBatchPutRequest,
    RawBatchScanRequest, RawCASRequest, RawChecksumRequest, RawDeleteRangeRequest,
    RawDeleteRequest, RawGetRequest, RawPutRequest, RawScanRequest, ResolveLockRequest,
    ScanLockRequest, ScanRequest, TxnHeartBeatRequest,
};
use tokio::net::TcpStream;

use crate::clients::{self, read, write};
use crate::wire::{LIVE, Outcome, Rpc, Wire, pair, put, range};

/// RPCs that are not for a region.
const OF_THE_STORE: [&str; 4] = [
    "UnsafeDestroyRange",
    "GetHealthFeedback",
    "GetLockWaitInfo",
    "BroadcastTxnStatus",
];

/// A server that other clients use, before and after.
struct Scene {
    server: TikvServer,
    wire: Wire,
}

impl Scene {
    async fn new() -> Scene {
        let server = TikvServer::start().await.unwrap();
        let wire = Wire::connect(&server).await;
        let raw = clients::raw(&server).await;
        raw.put("raw-untouched".to_owned(), "1".to_owned())
            .await
            .unwrap();
        write(
            &clients::transactional(&server).await,
            &[("txn-untouched", "1")],
        )
        .await;
        Scene { server, wire }
    }

    /// Others are served, have lost nothing, and meet no locks.
    async fn end(mut self) {
        let raw = clients::raw(&self.server).await;
        let value = raw.get("raw-untouched".to_owned()).await.unwrap();
        assert_eq!(value, Some(b"1".to_vec()));
        raw.put("after".to_owned(), "2".to_owned()).await.unwrap();
        let client = clients::transactional(&self.server).await;
        assert_eq!(read(&client, "txn-untouched").await.as_deref(), Some("1"));
        write(&client, &[("after", "2")]).await;
        let now = client.current_timestamp().await.unwrap();
        assert!(client.scan_locks(&now, .., 10).await.unwrap().is_empty());
        self.server.stop().await.unwrap();
    }

    /// Sends a sample that `change` has spoilt; the refusal must contain `word`.
    async fn refuse<R: Rpc>(&self, word: &str, change: impl FnOnce(&mut R)) {
        let outcome = self.wire.try_with::<R>(change).await;
        let said = match &outcome {
            Outcome::Refused(errors) => errors.join("; "),
            Outcome::Region(error) => format!("{error:?}"),
            Outcome::Status(status) if status.code() == RpcStatusCode::INVALID_ARGUMENT => {
                status.message().to_owned()
            }
            Outcome::Done(_) | Outcome::Status(_) => {
                panic!(
                    "{} should be refused because of {word:?}: {outcome:?}",
                    R::PATH
                )
            }
        };
        let told = said.to_lowercase().contains(&word.to_lowercase());
        assert!(told, "{} should tell of {word:?}, said {said}", R::PATH);
    }
}

#[tokio::test]
async fn another_cluster() {
    let scene = Scene::new().await;
    for rpc in LIVE {
        let mut envelope = scene.wire.envelope();
        envelope.set_cluster_id(envelope.get_cluster_id() ^ 1);
        let outcome = rpc.send(&scene.wire, envelope).await;
        let Outcome::Status(status) = &outcome else {
            panic!("{}: {outcome:?}", rpc.name)
        };
        assert_eq!(
            status.code(),
            RpcStatusCode::INVALID_ARGUMENT,
            "{}: {status}",
            rpc.name
        );
    }
    scene.end().await;
}

#[tokio::test]
async fn another_place() {
    let scene = Scene::new().await;
    let right = scene.wire.envelope();
    for rpc in LIVE.iter().filter(|rpc| !OF_THE_STORE.contains(&rpc.name)) {
        let region_error = async |spoil: fn(&mut kvproto::kvrpcpb::Context)| -> errorpb::Error {
            let mut envelope = right.clone();
            spoil(&mut envelope);
            match rpc.send(&scene.wire, envelope).await {
                Outcome::Region(error) => *error,
                other => panic!("{}: {other:?}", rpc.name),
            }
        };
        let error = region_error(|envelope| envelope.mut_peer().set_store_id(77)).await;
        let stores = error.get_store_not_match();
        assert_eq!(stores.get_request_store_id(), 77, "{}: {error:?}", rpc.name);
        assert_eq!(
            stores.get_actual_store_id(),
            right.get_peer().get_store_id()
        );

        let error = region_error(|envelope| envelope.mut_peer().set_id(77)).await;
        assert_eq!(
            error.get_mismatch_peer_id().get_request_peer_id(),
            77,
            "{}",
            rpc.name
        );
        assert_eq!(
            error.get_mismatch_peer_id().get_store_peer_id(),
            right.get_peer().get_id()
        );

        let error = region_error(|envelope| envelope.set_region_id(77)).await;
        assert_eq!(
            error.get_region_not_found().get_region_id(),
            77,
            "{}",
            rpc.name
        );

        let error = region_error(|envelope| envelope.mut_region_epoch().set_version(77)).await;
        let regions = error.get_epoch_not_match().get_current_regions();
        assert_eq!(regions.len(), 1, "{}: {error:?}", rpc.name);
        assert_eq!(regions[0].get_id(), right.get_region_id());
        assert_eq!(regions[0].get_region_epoch(), right.get_region_epoch());
        assert!(!regions[0].get_peers().is_empty());

        // Nothing at all.
        let error = region_error(|envelope| *envelope = Default::default()).await;
        assert!(error.has_store_not_match(), "{}: {error:?}", rpc.name);
        assert!(!error.get_message().is_empty());
    }
    scene.end().await;
}

#[tokio::test]
async fn another_term() {
    let scene = Scene::new().await;
    let mut envelope = scene.wire.envelope();
    envelope.set_term(1);
    let mut request = GetRequest::sample();
    *request.context_mut() = envelope;
    match scene.wire.ask(&request).await {
        Outcome::Region(error) => assert!(error.has_stale_command(), "{error:?}"),
        other => panic!("{other:?}"),
    }
    scene.end().await;
}

#[tokio::test]
async fn unknown_column_families() {
    let scene = Scene::new().await;
    const CF: &str = "no-such-cf";
    scene
        .refuse::<RawGetRequest>(CF, |r| r.set_cf(CF.into()))
        .await;
    scene
        .refuse::<RawBatchGetRequest>(CF, |r| r.set_cf(CF.into()))
        .await;
    scene
        .refuse::<RawPutRequest>(CF, |r| r.set_cf(CF.into()))
        .await;
    scene
        .refuse::<RawBatchPutRequest>(CF, |r| r.set_cf(CF.into()))
        .await;
    scene
        .refuse::<RawDeleteRequest>(CF, |r| r.set_cf(CF.into()))
        .await;
    scene
        .refuse::<RawBatchDeleteRequest>(CF, |r| r.set_cf(CF.into()))
        .await;
    scene
        .refuse::<RawScanRequest>(CF, |r| r.set_cf(CF.into()))
        .await;
    scene
        .refuse::<RawDeleteRangeRequest>(CF, |r| r.set_cf(CF.into()))
        .await;
    scene
        .refuse::<RawBatchScanRequest>(CF, |r| r.set_cf(CF.into()))
        .await;
    scene
        .refuse::<RawCASRequest>(CF, |r| r.set_cf(CF.into()))
        .await;
    // The store's own column family is nobody else's.
    scene
        .refuse::<RawPutRequest>("raft", |r| r.set_cf("raft".into()))
        .await;
    scene
        .refuse::<RawDeleteRangeRequest>("raft", |r| r.set_cf("raft".into()))
        .await;
    scene.end().await;
}

#[tokio::test]
async fn empty_keys() {
    let scene = Scene::new().await;
    const EMPTY: &str = "empty";
    let none = Vec::new;
    let one = || vec![b"k".to_vec(), Vec::new()].into();
    scene
        .refuse::<GetRequest>(EMPTY, |r| r.set_key(none()))
        .await;
    scene
        .refuse::<BatchGetRequest>(EMPTY, |r| r.set_keys(one()))
        .await;
    scene
        .refuse::<PrewriteRequest>(EMPTY, |r| r.mut_mutations()[0].set_key(none()))
        .await;
    scene
        .refuse::<PrewriteRequest>(EMPTY, |r| r.set_primary_lock(none()))
        .await;
    scene
        .refuse::<FlushRequest>(EMPTY, |r| r.mut_mutations()[0].set_key(none()))
        .await;
    scene
        .refuse::<FlushRequest>(EMPTY, |r| r.set_primary_key(none()))
        .await;
    scene
        .refuse::<BufferBatchGetRequest>(EMPTY, |r| r.set_keys(one()))
        .await;
    scene
        .refuse::<CommitRequest>(EMPTY, |r| r.set_keys(one()))
        .await;
    scene
        .refuse::<CleanupRequest>(EMPTY, |r| r.set_key(none()))
        .await;
    scene
        .refuse::<BatchRollbackRequest>(EMPTY, |r| r.set_keys(one()))
        .await;
    scene
        .refuse::<CheckTxnStatusRequest>(EMPTY, |r| r.set_primary_key(none()))
        .await;
    scene
        .refuse::<TxnHeartBeatRequest>(EMPTY, |r| r.set_primary_lock(none()))
        .await;
    scene
        .refuse::<ResolveLockRequest>(EMPTY, |r| r.set_keys(one()))
        .await;
    scene
        .refuse::<MvccGetByKeyRequest>(EMPTY, |r| r.set_key(none()))
        .await;
    scene
        .refuse::<RawGetRequest>(EMPTY, |r| r.set_key(none()))
        .await;
    scene
        .refuse::<RawBatchGetRequest>(EMPTY, |r| r.set_keys(one()))
        .await;
    scene
        .refuse::<RawPutRequest>(EMPTY, |r| r.set_key(none()))
        .await;
    scene
        .refuse::<RawBatchPutRequest>(EMPTY, |r| r.mut_pairs().push(pair(b"", b"v")))
        .await;
    scene
        .refuse::<RawDeleteRequest>(EMPTY, |r| r.set_key(none()))
        .await;
    scene
        .refuse::<RawBatchDeleteRequest>(EMPTY, |r| r.set_keys(one()))
        .await;
    scene
        .refuse::<RawCASRequest>(EMPTY, |r| r.set_key(none()))
        .await;
    scene.end().await;
}

#[tokio::test]
async fn keys_that_are_too_long() {
    let scene = Scene::new().await;
    const SIZE: &str = "size";
    let long = || vec![b'k'; 1 << 20];
    let list = || vec![b"k".to_vec(), long()].into();
    scene
        .refuse::<GetRequest>(SIZE, |r| r.set_key(long()))
        .await;
    scene
        .refuse::<BatchGetRequest>(SIZE, |r| r.set_keys(list()))
        .await;
    scene
        .refuse::<ScanRequest>(SIZE, |r| r.set_start_key(long()))
        .await;
    scene
        .refuse::<ScanRequest>(SIZE, |r| r.set_end_key(long()))
        .await;
    scene
        .refuse::<PrewriteRequest>(SIZE, |r| r.mut_mutations().push(put(&long(), b"v")))
        .await;
    scene
        .refuse::<PrewriteRequest>(SIZE, |r| r.set_primary_lock(long()))
        .await;
    scene
        .refuse::<FlushRequest>(SIZE, |r| r.mut_mutations().push(put(&long(), b"v")))
        .await;
    scene
        .refuse::<FlushRequest>(SIZE, |r| r.set_primary_key(long()))
        .await;
    scene
        .refuse::<BufferBatchGetRequest>(SIZE, |r| r.set_keys(list()))
        .await;
    scene
        .refuse::<CommitRequest>(SIZE, |r| r.set_keys(list()))
        .await;
    scene
        .refuse::<CleanupRequest>(SIZE, |r| r.set_key(long()))
        .await;
    scene
        .refuse::<BatchRollbackRequest>(SIZE, |r| r.set_keys(list()))
        .await;
    scene
        .refuse::<CheckTxnStatusRequest>(SIZE, |r| r.set_primary_key(long()))
        .await;
    scene
        .refuse::<TxnHeartBeatRequest>(SIZE, |r| r.set_primary_lock(long()))
        .await;
    scene
        .refuse::<ResolveLockRequest>(SIZE, |r| r.set_keys(list()))
        .await;
    scene
        .refuse::<ScanLockRequest>(SIZE, |r| r.set_start_key(long()))
        .await;
    scene
        .refuse::<DeleteRangeRequest>(SIZE, |r| r.set_end_key([b"x", &*long()].concat()))
        .await;
    scene
        .refuse::<MvccGetByKeyRequest>(SIZE, |r| r.set_key(long()))
        .await;
    scene
        .refuse::<RawGetRequest>(SIZE, |r| r.set_key(long()))
        .await;
    scene
        .refuse::<RawBatchGetRequest>(SIZE, |r| r.set_keys(list()))
        .await;
    scene
        .refuse::<RawPutRequest>(SIZE, |r| r.set_key(long()))
        .await;
    scene
        .refuse::<RawBatchPutRequest>(SIZE, |r| r.mut_pairs().push(pair(&long(), b"v")))
        .await;
    scene
        .refuse::<RawDeleteRequest>(SIZE, |r| r.set_key(long()))
        .await;
    scene
        .refuse::<RawBatchDeleteRequest>(SIZE, |r| r.set_keys(list()))
        .await;
    scene
        .refuse::<RawScanRequest>(SIZE, |r| r.set_start_key(long()))
        .await;
    scene
        .refuse::<RawDeleteRangeRequest>(SIZE, |r| r.set_start_key(long()))
        .await;
    scene
        .refuse::<RawBatchScanRequest>(SIZE, |r| r.mut_ranges().push(range(&long(), b"l")))
        .await;
    scene
        .refuse::<RawChecksumRequest>(SIZE, |r| r.mut_ranges().push(range(&long(), b"l")))
        .await;
    scene
        .refuse::<RawCASRequest>(SIZE, |r| r.set_key(long()))
        .await;

    // The limit itself, 8 KiB: plain for raw access, encoded for transactions.
    let longest = || vec![b'k'; 8 << 10];
    let outcome = scene
        .wire
        .try_with::<RawPutRequest>(|r| r.set_key(longest()))
        .await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    scene
        .refuse::<RawPutRequest>(SIZE, |r| r.set_key([&*longest(), b"k"].concat()))
        .await;
    scene
        .refuse::<GetRequest>(SIZE, |r| r.set_key(longest()))
        .await;
    scene.end().await;
}

#[tokio::test]
async fn values_that_are_too_large() {
    let scene = Scene::new().await;
    const TOO_LARGE: &str = "raft entry is too large";
    let large = || vec![0; 9 << 20];
    scene
        .refuse::<RawPutRequest>(TOO_LARGE, |r| r.set_value(large()))
        .await;
    scene
        .refuse::<RawCASRequest>(TOO_LARGE, |r| r.set_value(large()))
        .await;
    scene
        .refuse::<RawBatchPutRequest>(TOO_LARGE, |r| r.mut_pairs().push(pair(b"k", &large())))
        .await;
    scene
        .refuse::<PrewriteRequest>(TOO_LARGE, |r| r.mut_mutations()[0].set_value(large()))
        .await;
    // Each is small enough, together they are not.
    let many = |r: &mut RawBatchPutRequest| {
        for n in 0..9 {
            r.mut_pairs()
                .push(pair(format!("k{n}").as_bytes(), &vec![0; 1 << 20]));
        }
    };
    scene.refuse::<RawBatchPutRequest>(TOO_LARGE, many).await;
    scene.end().await;
}

#[tokio::test]
async fn ranges_that_end_before_they_start() {
    let scene = Scene::new().await;
    const RANGE: &str = "range";
    let (from, to) = (|| b"z".to_vec(), || b"a".to_vec());
    macro_rules! backwards {
        ($($request:ident),*) => {$(
            scene.refuse::<$request>(RANGE, |r| {
                r.set_start_key(from());
                r.set_end_key(to());
            }).await;
        )*};
    }
    backwards!(
        ScanRequest,
        ScanLockRequest,
        DeleteRangeRequest,
        RawScanRequest
    );
    backwards!(
        RawDeleteRangeRequest,
        PrepareFlashbackToVersionRequest,
        FlashbackToVersionRequest
    );
    scene
        .refuse::<ScanRequest>(RANGE, |r| {
            r.set_reverse(true);
            r.set_start_key(to());
            r.set_end_key(from());
        })
        .await;
    scene
        .refuse::<RawScanRequest>(RANGE, |r| {
            r.set_reverse(true);
            r.set_start_key(to());
            r.set_end_key(from());
        })
        .await;
    scene
        .refuse::<RawBatchScanRequest>(RANGE, |r| r.mut_ranges().push(range(b"z", b"a")))
        .await;
    scene
        .refuse::<RawChecksumRequest>(RANGE, |r| r.mut_ranges().push(range(b"z", b"a")))
        .await;
    scene.end().await;
}

#[tokio::test]
async fn timestamps_that_nobody_gave_out() {
    let scene = Scene::new().await;
    const TS: &str = "timestamp";
    for absurd in [0, u64::MAX] {
        scene
            .refuse::<PrewriteRequest>(TS, |r| r.set_start_version(absurd))
            .await;
        scene
            .refuse::<FlushRequest>(TS, |r| r.set_start_ts(absurd))
            .await;
        scene
            .refuse::<BufferBatchGetRequest>(TS, |r| r.set_version(absurd))
            .await;
        scene
            .refuse::<CommitRequest>(TS, |r| r.set_start_version(absurd))
            .await;
        scene
            .refuse::<CommitRequest>(TS, |r| r.set_commit_version(absurd))
            .await;
        scene
            .refuse::<CleanupRequest>(TS, |r| r.set_start_version(absurd))
            .await;
        scene
            .refuse::<BatchRollbackRequest>(TS, |r| r.set_start_version(absurd))
            .await;
        scene
            .refuse::<CheckTxnStatusRequest>(TS, |r| r.set_lock_ts(absurd))
            .await;
        scene
            .refuse::<TxnHeartBeatRequest>(TS, |r| r.set_start_version(absurd))
            .await;
        scene
            .refuse::<ResolveLockRequest>(TS, |r| r.set_start_version(absurd))
            .await;
        scene
            .refuse::<MvccGetByStartTsRequest>(TS, |r| r.set_start_ts(absurd))
            .await;
        scene
            .refuse::<PrepareFlashbackToVersionRequest>(TS, |r| r.set_version(absurd))
            .await;
        scene
            .refuse::<PrepareFlashbackToVersionRequest>(TS, |r| r.set_start_ts(absurd))
            .await;
        scene
            .refuse::<FlashbackToVersionRequest>(TS, |r| r.set_start_ts(absurd))
            .await;
    }
    scene
        .refuse::<FlashbackToVersionRequest>(TS, |r| r.set_commit_ts(u64::MAX))
        .await;
    scene
        .refuse::<FlashbackToVersionRequest>("tso", |r| r.set_commit_ts(1))
        .await;
    scene
        .refuse::<ResolveLockRequest>(TS, |r| r.set_commit_version(u64::MAX))
        .await;
    scene.refuse::<GetRequest>(TS, |r| r.set_version(0)).await;
    scene
        .refuse::<BatchGetRequest>(TS, |r| r.set_version(0))
        .await;
    scene.refuse::<ScanRequest>(TS, |r| r.set_version(0)).await;

    // The greatest version of a read means the latest state, as every client knows.
    let latest = |r: &mut GetRequest| {
        r.set_key(b"txn-untouched".to_vec());
        r.set_version(u64::MAX);
    };
    let outcome = scene.wire.try_with::<GetRequest>(latest).await;
    let Outcome::Done(answer) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(!answer.contains("not_found: true"), "{answer}");
    let outcome = scene
        .wire
        .try_with::<ScanRequest>(|r| r.set_version(u64::MAX))
        .await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    scene.end().await;
}

#[tokio::test]
async fn bytes_that_are_no_protobuf() {
    let scene = Scene::new().await;
    // A group in a group in a group, none of which ends.
    let deep = [0xfb, 0x01].repeat(50_000);
    let absurd: [(&str, Vec<u8>); 5] = [
        ("no tag", vec![0xff; 64]),
        // The envelope claims two gigabytes and ends at once.
        ("claim", vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x07]),
        ("an end without a group", vec![0x0c]),
        ("cut off", vec![0x0a]),
        ("deep", deep),
    ];
    for rpc in LIVE {
        for (what, bytes) in &absurd {
            let error = match scene.wire.send_bytes(rpc.path, bytes.clone()).await {
                Err(error) => error,
                Ok(answer) => panic!("{}, {what}: answered {answer:?}", rpc.name),
            };
            let code = error.code();
            let fitting = [RpcStatusCode::INTERNAL, RpcStatusCode::INVALID_ARGUMENT];
            assert!(fitting.contains(&code), "{}, {what}: {error}", rpc.name);
        }
    }
    let resident = scene.server.resident_bytes().unwrap();
    assert!(resident < 200 << 20, "{} MiB are resident", resident >> 20);
    scene.end().await;
}

#[tokio::test]
async fn messages_beyond_every_bound() {
    let scene = Scene::new().await;
    let error = scene
        .wire
        .send_bytes("/tikvpb.Tikv/RawPut", vec![0; 300 << 20])
        .await
        .unwrap_err();
    assert_eq!(error.code(), RpcStatusCode::RESOURCE_EXHAUSTED, "{error}");
    scene.end().await;
}

#[tokio::test]
async fn bytes_that_are_no_grpc() {
    let scene = Scene::new().await;
    let addresses: BTreeSet<SocketAddr> = [
        Some(scene.server.client_address()),
        scene.server.pd_endpoints()[0].parse().ok(),
        Some(scene.server.status_address()),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert_eq!(addresses.len(), 3);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let garbage: [Vec<u8>; 4] = [
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        vec![0; 4096],
        [&preface[..], &[0xff; 4096]].concat(),
        // Settings, then headers of a length that never comes.
        [
            &preface[..],
            &[0, 0, 0, 4, 0, 0, 0, 0, 0],
            &[0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 1],
        ]
        .concat(),
    ];
    for address in addresses {
        for bytes in &garbage {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.writable().await.unwrap();
            // It may hang up at any moment.
            let _ = stream.try_write(bytes);
        }
    }
    scene.end().await;
}

#[tokio::test]
async fn requests_that_contradict_themselves() {
    let scene = Scene::new().await;
    // More times to live than pairs.
    scene
        .refuse::<RawBatchPutRequest>("ttl", |r| r.set_ttls(vec![1, 2, 3]))
        .await;
    scene.refuse::<RawPutRequest>("ttl", |r| r.set_ttl(5)).await;
    // A commit before its start.
    let backwards = |r: &mut CommitRequest| r.set_commit_version(r.get_start_version() - 1);
    scene.refuse::<CommitRequest>("", backwards).await;
    // Another way to read keys than the store's.
    let version = kvproto::kvrpcpb::APIVersion::V2;
    for_api_v2::<GetRequest>(&scene, version).await;
    for_api_v2::<PrewriteRequest>(&scene, version).await;
    for_api_v2::<RawGetRequest>(&scene, version).await;
    for_api_v2::<RawPutRequest>(&scene, version).await;
    for_api_v2::<RawScanRequest>(&scene, version).await;
    // Nothing to do is no mistake.
    for outcome in [
        scene
            .wire
            .try_with::<RawBatchGetRequest>(|r| r.clear_keys())
            .await,
        scene
            .wire
            .try_with::<RawBatchPutRequest>(|r| r.clear_pairs())
            .await,
        scene
            .wire
            .try_with::<BatchGetRequest>(|r| r.clear_keys())
            .await,
        scene
            .wire
            .try_with::<RawScanRequest>(|r| r.set_limit(0))
            .await,
        scene.wire.try_with::<ScanRequest>(|r| r.set_limit(0)).await,
    ] {
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }
    // As many as there are, and no more memory than they take.
    for outcome in [
        scene
            .wire
            .try_with::<RawScanRequest>(|r| r.set_limit(u32::MAX))
            .await,
        scene
            .wire
            .try_with::<ScanRequest>(|r| r.set_limit(u32::MAX))
            .await,
        scene
            .wire
            .try_with::<ScanLockRequest>(|r| r.set_limit(u32::MAX))
            .await,
    ] {
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }
    scene.end().await;
}

async fn for_api_v2<R: Rpc>(scene: &Scene, version: kvproto::kvrpcpb::APIVersion) {
    scene
        .refuse::<R>("api", |r| r.context_mut().set_api_version(version))
        .await;
}
