//! Locks of clients that died. The dead client is made of single requests over the wire, so that it
//! can die at any point of its transaction; those who find its locks are the published client.

use std::time::Duration;

use integration_tests::TikvServer;
use kvproto::kvrpcpb::{
    BatchRollbackRequest, CheckTxnStatusRequest, CommitRequest, CommitResponse, PrewriteRequest,
    TxnHeartBeatRequest,
};
use tikv_client::{KvPair, Timestamp, TimestampExt, TransactionClient};
use tokio::time::Instant;

use crate::clients::{self, begin, optimistic, read, timestamp, write};
use crate::wire::{Wire, put};

/// Long enough that a test which has to wait for it fails by its own deadline.
const LONG_TTL_MS: u64 = 600_000;

struct Scene {
    server: TikvServer,
    client: TransactionClient,
    wire: Wire,
}

impl Scene {
    async fn new() -> Scene {
        let server = TikvServer::start().await.unwrap();
        let client = clients::transactional(&server).await;
        let wire = Wire::connect(&server).await;
        write(&client, &[("primary", "old"), ("secondary", "old")]).await;
        Scene {
            server,
            client,
            wire,
        }
    }

    /// A client prewrites both keys and dies. Returns its start timestamp.
    async fn prewritten(&self, ttl_ms: u64) -> u64 {
        let start_ts = timestamp(&self.client).await;
        self.wire
            .prewrite(b"primary", &[b"primary", b"secondary"], start_ts, ttl_ms)
            .await;
        start_ts
    }

    async fn commit(&self, keys: &[&[u8]], start_ts: u64) -> CommitResponse {
        let mut request = CommitRequest::default();
        request.set_keys(keys.iter().map(|key| key.to_vec()).collect());
        request.set_start_version(start_ts);
        request.set_commit_version(timestamp(&self.client).await);
        self.wire.call(request).await
    }

    async fn locks(&self) -> Vec<Vec<u8>> {
        let now = self.client.current_timestamp().await.unwrap();
        let locks = self.client.scan_locks(&now, .., 1_000).await.unwrap();
        locks.into_iter().map(|lock| lock.key).collect()
    }

    async fn read_both(&self) -> [Option<String>; 2] {
        [
            read(&self.client, "primary").await,
            read(&self.client, "secondary").await,
        ]
    }

    async fn end(mut self) {
        self.server.stop().await.unwrap();
    }
}

fn both(value: &str) -> [Option<String>; 2] {
    [Some(value.to_owned()), Some(value.to_owned())]
}

#[tokio::test]
async fn an_expired_transaction_is_rolled_back_by_a_reader() {
    let scene = Scene::new().await;
    let start_ts = scene.prewritten(1).await;
    assert_eq!(
        scene.locks().await,
        [b"primary".to_vec(), b"secondary".to_vec()]
    );
    assert_eq!(scene.read_both().await, both("old"));
    assert!(scene.locks().await.is_empty());

    // The client was only slow: it can neither commit nor begin again.
    let late = scene.commit(&[b"primary"], start_ts).await;
    assert!(late.get_error().has_txn_lock_not_found(), "{late:?}");
    let mut again = PrewriteRequest::default();
    again.mut_mutations().push(put(b"primary", b"too late"));
    again.set_primary_lock(b"primary".to_vec());
    again.set_start_version(start_ts);
    again.set_lock_ttl(LONG_TTL_MS);
    let refused = scene.wire.call(again).await;
    assert!(refused.get_errors()[0].has_conflict(), "{refused:?}");
    assert_eq!(scene.read_both().await, both("old"));
    scene.end().await;
}

#[tokio::test]
async fn a_reader_waits_for_a_transaction_that_may_live() {
    const TTL: Duration = Duration::from_millis(600);
    let scene = Scene::new().await;
    let asked = Instant::now();
    let start_ts = scene
        .prewritten(u64::try_from(TTL.as_millis()).unwrap())
        .await;
    assert_eq!(scene.read_both().await, both("old"));
    // Its time is counted in timestamps, whose clock advances in steps.
    const STEP: Duration = Duration::from_millis(100);
    let lived = asked.elapsed();
    assert!(
        lived + STEP >= TTL,
        "transaction {start_ts} was rolled back after {lived:?}"
    );
    scene.end().await;
}

#[tokio::test]
async fn a_commit_that_was_not_finished_is_finished_by_a_reader() {
    let scene = Scene::new().await;
    let start_ts = scene.prewritten(LONG_TTL_MS).await;
    let committed = scene.commit(&[b"primary"], start_ts).await;
    assert!(!committed.has_error(), "{committed:?}");
    assert_eq!(scene.locks().await, [b"secondary".to_vec()]);
    assert_eq!(scene.read_both().await, both("of a dead client"));
    assert!(scene.locks().await.is_empty());
    // The late second commit of the client finds its work done.
    let late = scene.commit(&[b"secondary"], start_ts).await;
    assert!(!late.has_error(), "{late:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_rollback_that_was_not_finished_is_finished_by_a_reader() {
    let scene = Scene::new().await;
    let start_ts = scene.prewritten(LONG_TTL_MS).await;
    let mut rollback = BatchRollbackRequest::default();
    rollback.mut_keys().push(b"primary".to_vec());
    rollback.set_start_version(start_ts);
    let rolled_back = scene.wire.call(rollback).await;
    assert!(!rolled_back.has_error(), "{rolled_back:?}");
    assert_eq!(scene.read_both().await, both("old"));
    assert!(scene.locks().await.is_empty());
    scene.end().await;
}

/// The published client gives up here instead of waiting for the lock to expire; its garbage
/// collection does better.
#[tokio::test]
async fn a_transaction_whose_primary_was_never_written_is_rolled_back() {
    let scene = Scene::new().await;
    let start_ts = timestamp(&scene.client).await;
    scene
        .wire
        .prewrite(b"never written", &[b"secondary"], start_ts, 1)
        .await;
    let mut reader = begin(&scene.client).await;
    let error = reader.get("secondary".to_owned()).await.unwrap_err();
    assert!(format!("{error:?}").contains("TxnNotFound"), "{error:?}");
    reader.rollback().await.unwrap();
    let now = scene.client.current_timestamp().await.unwrap();
    assert!(scene.client.gc(now).await.unwrap());
    assert!(scene.locks().await.is_empty());
    assert_eq!(scene.read_both().await, both("old"));
    // Its primary cannot come late.
    let mut late = PrewriteRequest::default();
    late.mut_mutations()
        .push(put(b"never written", b"too late"));
    late.set_primary_lock(b"never written".to_vec());
    late.set_start_version(start_ts);
    late.set_lock_ttl(1);
    let refused = scene.wire.call(late).await;
    assert!(refused.get_errors()[0].has_conflict(), "{refused:?}");
    scene.end().await;
}

#[tokio::test]
async fn scans_and_batches_resolve_what_they_meet() {
    let scene = Scene::new().await;
    for n in 0..40 {
        let (committed, dead) = (format!("k{n:02}-committed"), format!("k{n:02}-dead"));
        write(&scene.client, &[(&committed, "x")]).await;
        let start_ts = timestamp(&scene.client).await;
        scene
            .wire
            .prewrite(dead.as_bytes(), &[dead.as_bytes()], start_ts, 1)
            .await;
    }
    let mut reader = begin(&scene.client).await;
    let range = || "k".to_owned().."l".to_owned();
    let up: Vec<KvPair> = reader.scan(range(), 1_000).await.unwrap().collect();
    assert_eq!(up.len(), 40);
    reader.rollback().await.unwrap();
    assert!(scene.locks().await.is_empty());

    let start_ts = scene.prewritten(1).await;
    let mut reader = begin(&scene.client).await;
    let asked = ["primary", "secondary", "missing"].map(str::to_owned);
    assert_eq!(
        reader.batch_get(asked).await.unwrap().count(),
        2,
        "{start_ts}"
    );
    let start_ts = scene.prewritten(1).await;
    let mut down = begin(&scene.client).await;
    assert_eq!(
        down.scan_reverse(.., 100).await.unwrap().count(),
        42,
        "{start_ts}"
    );
    for mut transaction in [reader, down] {
        transaction.rollback().await.unwrap();
    }
    scene.end().await;
}

#[tokio::test]
async fn a_writer_resolves_what_it_meets() {
    let scene = Scene::new().await;
    scene.prewritten(1).await;
    write(&scene.client, &[("primary", "new"), ("secondary", "new")]).await;
    assert_eq!(scene.read_both().await, both("new"));
    let start_ts = scene.prewritten(LONG_TTL_MS).await;
    scene.commit(&[b"primary"], start_ts).await;
    write(&scene.client, &[("secondary", "newer")]).await;
    assert_eq!(
        scene.read_both().await,
        [Some("of a dead client".into()), Some("newer".into())]
    );
    scene.end().await;
}

#[tokio::test]
async fn a_lock_from_the_future_does_not_stop_a_snapshot() {
    let scene = Scene::new().await;
    let before = timestamp(&scene.client).await;
    scene.prewritten(LONG_TTL_MS).await;
    let options = optimistic().no_resolve_locks();
    let mut snapshot = scene
        .client
        .snapshot(Timestamp::from_version(before), options.clone());
    assert_eq!(
        snapshot.get("primary".to_owned()).await.unwrap(),
        Some(b"old".to_vec())
    );
    assert_eq!(snapshot.scan(.., 10).await.unwrap().count(), 2);
    // The lock is there: a later reader that may not resolve it is stopped.
    let after = scene.client.current_timestamp().await.unwrap();
    let mut stopped = scene.client.snapshot(after, options);
    assert!(stopped.get("primary".to_owned()).await.is_err());
    scene.end().await;
}

#[tokio::test]
async fn a_heartbeat_keeps_a_transaction_alive() {
    let scene = Scene::new().await;
    let start_ts = scene.prewritten(1).await;
    let mut heartbeat = TxnHeartBeatRequest::default();
    heartbeat.set_primary_lock(b"primary".to_vec());
    heartbeat.set_start_version(start_ts);
    heartbeat.set_advise_lock_ttl(LONG_TTL_MS);
    let answer = scene.wire.call(heartbeat.clone()).await;
    assert_eq!(
        (answer.has_error(), answer.get_lock_ttl()),
        (false, LONG_TTL_MS),
        "{answer:?}"
    );
    // A smaller advice does not shorten its life.
    heartbeat.set_advise_lock_ttl(1);
    assert_eq!(scene.wire.call(heartbeat).await.get_lock_ttl(), LONG_TTL_MS);

    let mut check = CheckTxnStatusRequest::default();
    check.set_primary_key(b"primary".to_vec());
    check.set_lock_ts(start_ts);
    check.set_current_ts(timestamp(&scene.client).await);
    check.set_rollback_if_not_exist(true);
    let alive = scene.wire.call(check).await;
    assert_eq!(
        (alive.get_lock_ttl(), alive.get_commit_version()),
        (LONG_TTL_MS, 0),
        "{alive:?}"
    );
    assert_eq!(alive.get_lock_info().get_primary_lock(), b"primary");
    let committed = scene.commit(&[b"primary", b"secondary"], start_ts).await;
    assert!(!committed.has_error(), "{committed:?}");
    assert_eq!(scene.read_both().await, both("of a dead client"));
    scene.end().await;
}

#[tokio::test]
async fn gc_resolves_every_lock_below_the_safe_point() {
    let scene = Scene::new().await;
    let finished = scene.prewritten(LONG_TTL_MS).await;
    scene.commit(&[b"primary"], finished).await;
    for n in 0..30 {
        let key = format!("k{n}");
        let start_ts = timestamp(&scene.client).await;
        scene
            .wire
            .prewrite(key.as_bytes(), &[key.as_bytes()], start_ts, LONG_TTL_MS)
            .await;
    }
    let safe_point = scene.client.current_timestamp().await.unwrap();
    let young = timestamp(&scene.client).await;
    scene
        .wire
        .prewrite(b"young", &[b"young"], young, LONG_TTL_MS)
        .await;
    assert_eq!(scene.locks().await.len(), 32);
    assert!(scene.client.gc(safe_point).await.unwrap());
    assert_eq!(scene.locks().await, [b"young".to_vec()]);
    assert_eq!(scene.read_both().await, both("of a dead client"));
    scene.end().await;
}

#[tokio::test]
async fn locks_and_half_finished_commits_survive_a_kill() {
    let mut scene = Scene::new().await;
    let start_ts = scene.prewritten(LONG_TTL_MS).await;
    let committed = scene.commit(&[b"primary"], start_ts).await;
    assert!(!committed.has_error(), "{committed:?}");
    let open = timestamp(&scene.client).await;
    scene
        .wire
        .prewrite(b"open", &[b"open"], open, LONG_TTL_MS)
        .await;
    scene.server.kill().unwrap();
    scene.server.restart().await.unwrap();
    scene.client = clients::transactional(&scene.server).await;
    scene.wire = Wire::connect(&scene.server).await;

    assert_eq!(
        scene.locks().await,
        [b"open".to_vec(), b"secondary".to_vec()]
    );
    assert_eq!(scene.read_both().await, both("of a dead client"));
    let committed = scene.commit(&[b"open"], open).await;
    assert!(!committed.has_error(), "{committed:?}");
    assert_eq!(
        read(&scene.client, "open").await.as_deref(),
        Some("of a dead client")
    );
    scene.end().await;
}
