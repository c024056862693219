//! The status server of a real process: changes that take effect, profiles that can be read, junk and
//! slow clients that harm nobody.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use grpcio::{ChannelBuilder, EnvBuilder};
use integration_tests::{Response, TikvServer, exchange, get, request};
use kvproto::etcdserverpb::{LeaseClient, LeaseGrantRequest};
use protobuf::CodedInputStream;
use protobuf::wire_format::WireType;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::clients;

/// A head must arrive within five seconds.
const CUT_OFF: Duration = Duration::from_secs(20);

async fn post(address: SocketAddr, path: &str, body: &str) -> Response {
    request(address, "POST", path, &[], body.as_bytes())
        .await
        .unwrap()
}

async fn config(address: SocketAddr, path: &str) -> Value {
    let answer = get(address, path).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// The value under a key with points.
fn value<'a>(config: &'a Value, key: &str) -> &'a Value {
    key.split('.').fold(config, |at, name| &at[name])
}

#[tokio::test]
async fn sizes_and_limits_change_for_the_requests_that_follow() {
    let mut server = TikvServer::builder()
        .config("[storage]\nmax-write-size = \"1MiB\"\n")
        .start()
        .await
        .unwrap();
    let address = server.status_address();
    let raw = clients::raw(&server).await;
    let change = async |body: Value| {
        let answer = post(address, "/config", &body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    // The client gives an error that stands in a pair as a pair without a value.
    let scanned = async || raw.scan("k".to_owned().., 1).await.unwrap()[0].1.len();
    let put = |bytes: usize| raw.put("k".to_owned(), vec![b'v'; bytes]);

    let refused = put(2 << 20).await.unwrap_err().to_string();
    assert!(refused.contains("1048576"), "{refused}");
    // More than the node was started with: every part has to have heard of it.
    change(json!({"storage.max-write-size": "4MiB"})).await;
    put(2 << 20).await.unwrap();
    change(json!({"storage.max-write-size": "1MiB", "storage.max-read-size": "1MiB"})).await;
    assert_ne!(scanned().await, 2 << 20);
    change(json!({"storage.max-read-size": "4MiB"})).await;
    assert_eq!(scanned().await, 2 << 20);
    raw.get("k".repeat(17)).await.unwrap();
    change(json!({"storage.max-key-size": "16B"})).await;
    raw.get("k".repeat(17)).await.unwrap_err();

    let env = Arc::new(EnvBuilder::new().cq_count(1).build());
    let pd = ChannelBuilder::new(env).connect(&server.pd_endpoints()[0]);
    let leases = LeaseClient::new(pd);
    let mut grant = LeaseGrantRequest::default();
    grant.set_TTL(600);
    change(json!({"pd.embedded.etcd.max-leases": 16})).await;
    let granted = (0..17).filter(|_| leases.lease_grant(&grant).is_ok());
    assert_eq!(granted.count(), 16);
    change(json!({"pd.embedded.etcd.max-leases": 17})).await;
    leases.lease_grant(&grant).unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn changes_take_effect_and_outlive_the_process() {
    let mut server = TikvServer::builder()
        .config("# by hand\n[log]\nlevel = \"info\" # usual\n")
        .start()
        .await
        .unwrap();
    let address = server.status_address();

    // What is told to be changeable is.
    for (key, new) in [
        ("log.level", "debug"),
        ("slow-log-threshold", "5s"),
        ("storage.block-cache.capacity", "64MiB"),
        ("raftstore.pd-heartbeat-tick-interval", "30s"),
        ("raftstore.pd-store-heartbeat-tick-interval", "5s"),
        ("security.redact-info-log", "marker"),
        ("pd.embedded.gc-life-time", "1h"),
        ("pd.embedded.gc-run-interval", "5m"),
        ("pd.embedded.etcd.history-bytes", "16MiB"),
        ("pd.embedded.etcd.history-revisions", "5000"),
        ("pd.embedded.etcd.max-leases", "16"),
        ("pd.embedded.etcd.max-response-bytes", "8MiB"),
        ("pd.embedded.etcd.max-txn-ops", "64"),
        ("pd.embedded.etcd.quota-backend-bytes", "32MiB"),
        ("storage.max-key-size", "4KiB"),
        ("storage.max-read-size", "16MiB"),
        ("storage.max-write-size", "1MiB"),
        ("storage.max-read-tasks-per-worker", "1000"),
        ("storage.memory-quota", "64MiB"),
        ("storage.scheduler-pending-write-threshold", "16MiB"),
    ] {
        let answer = post(address, "/config", &json!({ key: new }).to_string()).await;
        assert_eq!(answer.status, 200, "{key}: {}", answer.body);
        let config = config(address, "/config").await;
        // A number may be given as text; it is one all the same.
        let seen = match value(&config, key) {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(seen, new, "{config}");
    }
    clients::raw(&server)
        .await
        .get("k".to_owned())
        .await
        .unwrap();
    let metrics = get(address, "/metrics").await.unwrap().body;
    assert!(metrics.contains("tikv_grpc_msg_duration_seconds"));

    // The level of the log is the same thing under another name, until the process ends.
    let answer = request(
        address,
        "PUT",
        "/log-level",
        &[],
        b"{\"log_level\": \"warn\"}",
    )
    .await
    .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let seen = config(address, "/config").await;
    assert_eq!(value(&seen, "log.level"), "warn");
    let answer = post(
        address,
        "/config?persist=false",
        "{\"slow-log-threshold\": \"7s\"}",
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);

    let file = std::fs::read_to_string(server.config_file()).unwrap();
    assert!(
        file.contains("# by hand\n[log]\nlevel = \"debug\" # usual\n"),
        "{file}"
    );
    assert!(file.contains("slow-log-threshold = \"5s\""), "{file}");
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    let again = config(server.status_address(), "/config").await;
    assert_eq!(value(&again, "storage.block-cache.capacity"), "64MiB");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_change_is_told_in_full_and_changes_nothing() {
    let mut server = TikvServer::start().await.unwrap();
    let address = server.status_address();
    let before = config(address, "/config").await;
    let wrong = json!({
        "log.level": "debug",
        "log.levle": "debug",
        "server.addr": "127.0.0.1:1",
        "slow-log-threshold": "soon",
        "storage.block-cache.capacity": [1],
    });
    let answer = post(address, "/config", &wrong.to_string()).await;
    assert_eq!(answer.status, 400);
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    let problems = told["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 4, "{told}");
    for (key, allowed) in [
        ("log.levle", "did you mean log.level?"),
        ("server.addr", "cannot be changed"),
        ("slow-log-threshold", "invalid duration"),
        ("storage.block-cache.capacity", "must be"),
    ] {
        assert!(
            problems.iter().any(|problem| problem["key"] == key
                && problem["allowed"].as_str().unwrap().contains(allowed)),
            "{key} in {told}"
        );
    }
    assert_eq!(config(address, "/config").await, before);
    // What is derived can be asked for.
    let full = config(address, "/config?full=true").await;
    assert_eq!(value(&before, "server.grpc-concurrency"), 0);
    assert_ne!(value(&full, "server.grpc-concurrency"), 0);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn junk_is_answered_and_harms_nobody() {
    let mut server = TikvServer::start().await.unwrap();
    let address = server.status_address();
    let deep = "[".repeat(60_000);
    for (path, body, expected) in [
        ("/config", "", 400),
        ("/config", "{", 400),
        ("/config", "[]", 400),
        ("/config", "null", 400),
        ("/config", "{\"log.level\": {\"a\": 1}}", 400),
        ("/config", "\u{0}\u{1}\u{2}", 400),
        ("/config", deep.as_str(), 400),
        ("/config?persist=maybe", "{}", 400),
        ("/log-level", "{}", 400),
        ("/log-level", "{\"log_level\": 5}", 400),
        ("/log-level", "{\"log_level\": \"loud\"}", 400),
        ("/debug/pprof/symbol", "0xzz", 400),
        ("/status", "x", 405),
        ("/nothing", "x", 404),
    ] {
        let answer = post(address, path, body).await;
        assert_eq!(answer.status, expected, "{path} {:.40}", body);
    }
    let long = format!("{{\"log.level\": \"{}\"}}", "x".repeat(200 << 10));
    assert_eq!(post(address, "/config", &long).await.status, 413);
    for path in [
        "/debug/pprof/profile?seconds=0",
        "/debug/pprof/profile?seconds=100000",
        "/debug/pprof/profile?seconds=-1",
        "/debug/pprof/profile?frequency=1000000",
        "/debug/pprof/profile?type=pdf",
        "/debug/pprof/heap?seconds=1e9",
        "/ready?verbose=1&verbose=2",
        "/config?full=7",
        "/region/x",
    ] {
        assert_eq!(get(address, path).await.unwrap().status, 400, "{path}");
    }
    assert_eq!(get(address, "/region/77").await.unwrap().status, 404);
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"GET /status HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\0\0\0\0",
    ] {
        // An error or the end of the connection; it must come by itself.
        let answer = exchange(address, bytes).await.unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || text.starts_with("HTTP/1.1 4"),
            "{text}"
        );
    }
    let head = format!("GET /status HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(1 << 20));
    let answer = exchange(address, head.as_bytes()).await.unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || text.starts_with("HTTP/1.1 4"),
        "{text}"
    );
    assert_eq!(get(address, "/ready").await.unwrap().status, 200);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn slow_clients_are_cut_off_and_give_way() {
    let mut server = TikvServer::start().await.unwrap();
    let address = server.status_address();
    // All the places there are, each with half a head.
    let mut slow = Vec::new();
    for _ in 0..64 {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.writable().await.unwrap();
        stream
            .try_write(b"GET /status HTTP/1.1\r\nX-Slow: ")
            .unwrap();
        slow.push(stream);
    }
    let began = Instant::now();
    assert_eq!(get(address, "/ready").await.unwrap().status, 200);
    assert!(began.elapsed() < CUT_OFF);
    for mut stream in slow {
        let mut rest = Vec::new();
        let ended = timeout(CUT_OFF, stream.read_to_end(&mut rest)).await;
        // An end or a reset; not silence.
        ended.expect("a slow client keeps its connection").ok();
        let text = String::from_utf8_lossy(&rest).into_owned();
        assert!(!text.starts_with("HTTP/1.1 200"), "{text}");
    }
    server.stop().await.unwrap();
}

/// Texts and the number of samples of a profile in the format of pprof.
fn decoded(profile: &[u8]) -> (Vec<String>, usize) {
    let (mut texts, mut samples) = (Vec::new(), 0);
    let mut input = CodedInputStream::from_bytes(profile);
    while !input.eof().unwrap() {
        let (field, kind) = input.read_tag_unpack().unwrap();
        match (field, kind) {
            (6, WireType::WireTypeLengthDelimited) => texts.push(input.read_string().unwrap()),
            (2, WireType::WireTypeLengthDelimited) => {
                samples += 1;
                input.read_bytes().unwrap();
            }
            (_, kind) => input.skip_field(kind).unwrap(),
        }
    }
    (texts, samples)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_can_be_taken_under_load_one_at_a_time() {
    let mut server = TikvServer::start().await.unwrap();
    let address = server.status_address();
    let raw = clients::raw(&server).await;
    let load = tokio::spawn(async move {
        loop {
            raw.put("k".to_owned(), "v".to_owned()).await.unwrap();
        }
    });
    // Whichever comes first is served, and while it is, nobody else.
    let ask = || get(address, "/debug/pprof/profile?seconds=2&frequency=500");
    let (one, other) = tokio::join!(ask(), ask());
    let (one, other) = (one.unwrap(), other.unwrap());
    let (profile, refused) = match one.status {
        200 => (one, other),
        _ => (other, one),
    };
    assert_eq!((profile.status, refused.status), (200, 429));
    let picture = request(
        address,
        "GET",
        "/debug/pprof/profile?seconds=1",
        &[("Accept", "text/html")],
        b"",
    )
    .await
    .unwrap();
    load.abort();
    let mut unpacked = Vec::new();
    GzDecoder::new(profile.bytes.as_slice())
        .read_to_end(&mut unpacked)
        .unwrap();
    let (texts, samples) = decoded(&unpacked);
    assert_eq!(texts[0], "");
    assert!(samples > 0, "no samples of a busy server");
    assert!(texts.iter().any(|text| text == "nanoseconds"));
    assert!(
        texts.iter().any(|text| text.contains("service::")),
        "{texts:?}"
    );
    assert_eq!(picture.header("content-type"), "image/svg+xml");
    assert!(picture.body.contains("<svg"), "{}", picture.body);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_heap_can_be_looked_at() {
    let mut server = TikvServer::start().await.unwrap();
    let address = server.status_address();
    let heap = || get(address, "/debug/pprof/heap");
    let off = heap().await.unwrap();
    assert_eq!(off.status, 409, "{}", off.body);
    assert!(off.body.contains("heap_activate"), "{}", off.body);
    for (path, expected) in [
        ("/debug/pprof/heap_activate", 200),
        ("/debug/pprof/heap_deactivate", 409),
    ] {
        assert_eq!(post(address, path, "").await.status, 200, "{path}");
        let answer = heap().await.unwrap();
        assert_eq!(answer.status, expected, "{path}");
        if expected == 200 {
            assert!(answer.body.starts_with("heap_v2/"), "{:.100}", answer.body);
            assert!(answer.body.contains("MAPPED_LIBRARIES"));
        }
    }
    let watched = get(address, "/debug/pprof/heap?seconds=1").await.unwrap();
    assert!(
        watched.body.starts_with("heap_v2/"),
        "{:.100}",
        watched.body
    );
    assert_eq!(heap().await.unwrap().status, 409, "off again");

    // Addresses of the dump have names.
    let symbol = post(address, "/debug/pprof/symbol", "0x10+0x20").await;
    assert_eq!(symbol.status, 200, "{}", symbol.body);
    assert_eq!(symbol.body, "0x10\t??\n0x20\t??\n");
    server.stop().await.unwrap();
}
