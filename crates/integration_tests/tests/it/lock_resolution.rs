//! Nobody reads what dead clients have locked: the placement driver ends their transactions by
//! itself, and only then lets old versions go. Who lives holds it back.

use std::net::SocketAddr;
use std::time::Duration;

use integration_tests::{PdServer, TikvServer, get};
use kvproto::kvrpcpb::{
    APIVersion, CommitRequest, Mutation, Op, PessimisticLockRequest, PrewriteRequest,
    PrewriteResponse,
};
use serde_json::Value;
use tikv_client::{CheckLevel, TimestampExt, TransactionClient, TransactionOptions};
use tokio::time::{Instant, interval};

use crate::clients::{self, read, timestamp, write};
use crate::wire::{Outcome, Wire, put};

/// Runs as often as may be, over versions as young as may be.
const EMBEDDED: &str = "[pd.embedded]\ngc-life-time = \"10s\"\ngc-run-interval = \"10s\"";
const FLAGS: [&str; 4] = ["--gc-life-time", "10s", "--gc-run-interval", "10s"];
/// Longer than any of these tests.
const LONG_TTL_MS: u64 = 3_600_000;
/// Some runs, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(100);

/// The safe points that a placement driver tells.
#[derive(Clone, Copy, Debug)]
struct Points {
    txn: u64,
    gc: u64,
}

async fn state(pd: SocketAddr) -> Value {
    let answer = get(pd, "/pd/api/v1/gc/safepoint").await.unwrap();
    serde_json::from_str(&answer.body).unwrap()
}

async fn points(pd: SocketAddr) -> Points {
    let json = state(pd).await;
    let number = |value: &Value| value.as_u64().unwrap();
    Points {
        txn: number(&json["service_gc_safe_points"][0]["safe_point"]),
        gc: number(&json["gc_safe_point"]),
    }
}

async fn until(pd: SocketAddr, what: &str, reached: impl Fn(Points) -> bool) -> Points {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        let points = points(pd).await;
        if reached(points) {
            return points;
        }
        assert!(Instant::now() < deadline, "{what}: {points:?}");
    }
}

fn embedded_pd(server: &TikvServer) -> SocketAddr {
    server.pd_endpoints()[0].parse().unwrap()
}

async fn locked(client: &TransactionClient) -> Vec<String> {
    let now = client.current_timestamp().await.unwrap();
    let locks = client.scan_locks(&now, .., 1_000).await.unwrap();
    let text = |key: Vec<u8>| String::from_utf8(key).unwrap();
    locks.into_iter().map(|lock| text(lock.key)).collect()
}

async fn commit(wire: &Wire, key: &str, start_ts: u64, commit_ts: u64) {
    let mut request = CommitRequest::default();
    request.mut_keys().push(key.into());
    request.set_start_version(start_ts);
    request.set_commit_version(commit_ts);
    let response = wire.call(request).await;
    assert!(!response.has_error(), "{response:?}");
}

/// Prewrites some keys of an asynchronous commit of `keys`, the first of which is the primary.
async fn prewrite_async(wire: &Wire, keys: &[&str], written: &[&str], start_ts: u64) {
    for key in written {
        let mut request = PrewriteRequest::default();
        request.mut_mutations().push(put(key.as_bytes(), b"new"));
        request.set_primary_lock(keys[0].into());
        request.set_start_version(start_ts);
        request.set_lock_ttl(1);
        request.set_use_async_commit(true);
        if *key == keys[0] {
            let others = keys[1..].iter().map(|key| key.as_bytes().to_vec());
            request.set_secondaries(others.collect());
        }
        let response: PrewriteResponse = wire.call(request).await;
        assert!(response.get_errors().is_empty(), "{response:?}");
        assert!(response.get_min_commit_ts() > start_ts, "{response:?}");
    }
}

async fn lock(wire: &Wire, op: Op, primary: &str, keys: &[&str], start_ts: u64) {
    let mut request = PessimisticLockRequest::default();
    for key in keys {
        let mut mutation = Mutation::default();
        mutation.set_op(op);
        mutation.set_key((*key).into());
        request.mut_mutations().push(mutation);
    }
    request.set_primary_lock(primary.into());
    request.set_start_version(start_ts);
    request.set_for_update_ts(start_ts);
    request.set_lock_ttl(1);
    request.set_wait_timeout(-1);
    let response = wire.call(request).await;
    assert!(response.get_errors().is_empty(), "{response:?}");
}

/// Clients die at every point of their transactions. The answer is the start of the last one.
async fn clients_die(client: &TransactionClient, wire: &Wire) -> u64 {
    // Committed by its primary key alone.
    let start_ts = timestamp(client).await;
    let both: [&[u8]; 2] = [b"committed-1", b"committed-2"];
    wire.prewrite(both[0], &both, start_ts, LONG_TTL_MS).await;
    commit(wire, "committed-1", start_ts, timestamp(client).await).await;
    // Never committed; the primary of the second was never written.
    let start_ts = timestamp(client).await;
    let both: [&[u8]; 2] = [b"dead-1", b"dead-2"];
    wire.prewrite(both[0], &both, start_ts, 1).await;
    let start_ts = timestamp(client).await;
    wire.prewrite(b"never", &[b"orphan"], start_ts, 1).await;
    // Committed asynchronously, and not: one key is missing.
    let keys = ["async-1", "async-2", "async-3"];
    prewrite_async(wire, &keys, &keys, timestamp(client).await).await;
    let keys = ["torn-1", "torn-2", "torn-3"];
    prewrite_async(wire, &keys, &keys[..2], timestamp(client).await).await;
    // Between two statements.
    let (op, keys) = (Op::PessimisticLock, ["statement-1", "statement-2"]);
    lock(wire, op, keys[0], &keys, timestamp(client).await).await;
    // The same, with a lock that two of them share.
    for primary in ["sharer-1", "sharer-2"] {
        let start_ts = timestamp(client).await;
        lock(wire, op, primary, &[primary], start_ts).await;
        let shared = Op::SharedPessimisticLock;
        lock(wire, shared, primary, &["shared"], start_ts).await;
    }
    // A whole page and more.
    let many: Vec<String> = (0..600).map(|number| format!("many-{number:04}")).collect();
    let keys: Vec<&[u8]> = many.iter().map(String::as_bytes).collect();
    let start_ts = timestamp(client).await;
    wire.prewrite(keys[0], &keys, start_ts, LONG_TTL_MS).await;
    commit(wire, &many[0], start_ts, timestamp(client).await).await;
    start_ts
}

#[tokio::test]
async fn what_dead_clients_left_is_ended_while_nobody_looks() {
    let flags = FLAGS.map(str::to_owned).to_vec();
    let mut pd = PdServer::start_with(flags).await.unwrap();
    let mut server = TikvServer::builder()
        .pd_endpoints(pd.address().to_string())
        .start()
        .await
        .unwrap();
    let client = clients::transactional(&server).await;
    let wire = Wire::connect(&server).await;
    let names = ["dead-1", "orphan", "async-3", "torn-1", "statement-1"];
    let old: Vec<(&str, &str)> = names.iter().map(|name| (*name, "old")).collect();
    write(&client, &old).await;
    let last = clients_die(&client, &wire).await;
    assert!(locked(&client).await.len() > 600);

    until(pd.address(), "the safe point", |points| points.gc >= last).await;
    assert_eq!(locked(&client).await, Vec::<String>::new());
    let expected = [
        ("committed-1", Some("of a dead client")),
        ("committed-2", Some("of a dead client")),
        ("dead-1", Some("old")),
        ("dead-2", None),
        ("orphan", Some("old")),
        ("async-1", Some("new")),
        ("async-2", Some("new")),
        ("async-3", Some("new")),
        ("torn-1", Some("old")),
        ("torn-2", None),
        ("torn-3", None),
        ("statement-1", Some("old")),
        ("many-0000", Some("of a dead client")),
        ("many-0599", Some("of a dead client")),
    ];
    for (key, value) in expected {
        assert_eq!(read(&client, key).await.as_deref(), value, "{key}");
    }
    server.stop().await.unwrap();
    pd.stop().await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_lives_keeps_its_snapshot_and_its_locks() {
    let mut server = TikvServer::builder()
        .config(EMBEDDED)
        .start()
        .await
        .unwrap();
    let pd = embedded_pd(&server);
    let client = clients::transactional(&server).await;
    write(&client, &[("k", "old"), ("read", "old")]).await;
    // It sends heart-beats by itself.
    let options = TransactionOptions::new_pessimistic().drop_check(CheckLevel::None);
    let mut living = client.begin_with_options(options).await.unwrap();
    let start_ts = living.start_timestamp().version();
    living.lock_keys(["k".to_owned()]).await.unwrap();
    write(&client, &[("read", "new")]).await;

    let held = until(pd, "held back", |points| points.gc == start_ts - 1).await;
    assert!(held.txn >= start_ts);
    let later = timestamp(&client).await;
    let held = until(pd, "a later run", |points| points.txn > later).await;
    assert_eq!(held.gc, start_ts - 1);
    let last_run = state(pd).await["last_run"].take();
    assert_eq!(last_run["result"], "held", "{last_run}");
    assert_eq!(last_run["held_by"]["start_ts"], start_ts, "{last_run}");
    assert_eq!(last_run["held_by"]["primary"], "6B", "{last_run}");
    let seen = living.get("read".to_owned()).await.unwrap();
    assert_eq!(seen.as_deref(), Some(b"old".as_slice()));
    living.put("k".to_owned(), "new".to_owned()).await.unwrap();
    living.commit().await.unwrap();

    until(pd, "let go", |points| points.gc > later).await;
    assert_eq!(read(&client, "k").await.as_deref(), Some("new"));
    let log = server.log();
    let line = log
        .lines()
        .find(|line| line.contains("holds the safe point back"));
    let line = line.expect("the log says what holds it back");
    assert!(line.contains(&start_ts.to_string()), "{line}");
    let metrics = get(server.status_address(), "/metrics").await.unwrap();
    assert!(metrics.body.contains("pd_gc_runs_total{result=\"held\"}"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_store_of_raw_values_that_expire_has_no_locks() {
    let config = format!("{EMBEDDED}\n[storage]\nenable-ttl = true");
    let mut server = TikvServer::builder().config(&config).start().await.unwrap();
    let raw = clients::raw(&server).await;
    raw.put("k".to_owned(), "v".to_owned()).await.unwrap();
    until(embedded_pd(&server), "moved", |points| points.gc > 0).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn locks_of_keyspaces_are_ended_too() {
    let config = format!("{EMBEDDED}\n[storage]\napi-version = 2\nenable-ttl = true");
    let mut server = TikvServer::builder().config(&config).start().await.unwrap();
    let client = clients::transactional_in_keyspace(&server).await;
    let wire = Wire::connect(&server).await;
    let raw = clients::raw_in_keyspace(&server).await;
    raw.put("k".to_owned(), "v".to_owned()).await.unwrap();
    write(&client, &[("k", "old")]).await;
    let start_ts = timestamp(&client).await;
    let mut request = PrewriteRequest::default();
    request.mut_mutations().push(put(b"x\0\0\0k", b"new"));
    request.set_primary_lock(b"x\0\0\0k".to_vec());
    request.set_start_version(start_ts);
    request.set_lock_ttl(1);
    request.set_context(wire.envelope());
    request.mut_context().set_api_version(APIVersion::V2);
    let outcome = wire.ask(&request).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_eq!(locked(&client).await.len(), 1);
    let pd = embedded_pd(&server);
    until(pd, "the safe point", |points| points.gc >= start_ts).await;
    assert_eq!(locked(&client).await, Vec::<String>::new());
    assert_eq!(read(&client, "k").await.as_deref(), Some("old"));
    server.stop().await.unwrap();
}
