//! The pages of the status server.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use server::NodeBuilder;

use crate::fixture::{MemEngines, config, get, http_get, start, stop};

/// Head and body of an answer.
fn http(addr: SocketAddr, request: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = answer.split_off(end.unwrap() + 4);
    (String::from_utf8(answer).unwrap(), body)
}

fn post(addr: SocketAddr, path: &str, body: &str) -> (String, String) {
    let length = body.len();
    let (head, body) = http(
        addr,
        &format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: \
             {length}\r\n\r\n{body}"
        ),
    );
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn pages() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &MemEngines::new());
    get(&node, b"k");
    let addr = node.addrs().status.unwrap();

    let (line, body) = http_get(addr, "/status");
    assert!(line.contains("200"), "{line}");
    let status: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status["cluster_id"], node.identity().cluster_id);
    assert_eq!(status["store_id"], node.identity().store_id);

    let (_, body) = http_get(addr, "/config");
    let config: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(config["storage"]["api-version"], 1);
    assert_eq!(config["storage"]["enable-ttl"], false);
    assert_eq!(config["storage"]["scheduler-concurrency"], 524_288);
    assert_eq!(config["server"]["addr"], "127.0.0.1:0");

    let (_, body) = http_get(addr, "/metrics");
    assert!(
        body.contains("tikv_grpc_msg_duration_seconds_bucket{type=\"raw_get\""),
        "{body}"
    );
    assert!(
        body.contains("tikv_grpc_request_source_counter_vec{source=\"unknown\"}"),
        "{body}"
    );

    assert!(
        body.contains("tikv_store_size_bytes{type=\"capacity\"}"),
        "{body}"
    );

    let (line, body) = http_get(addr, "/ready?verbose=1");
    assert!(line.contains("200"), "{line}");
    let ready: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(ready["serving"], true);
    assert_eq!(ready["placement_driver"], true);

    let (line, _) = http_get(addr, "/nothing");
    assert!(line.contains("404"), "{line}");
    stop(node);
}

#[test]
fn idle_connections_are_bounded_and_give_way() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &MemEngines::new());
    let addr = node.addrs().status.unwrap();
    let idle: Vec<_> = (0..80)
        .map(|_| std::net::TcpStream::connect(addr).unwrap())
        .collect();
    drop(idle);
    let (line, _) = http_get(addr, "/ready");
    assert!(line.contains("200"), "{line}");
    stop(node);
}

#[test]
fn the_region_and_the_command_line_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &MemEngines::new());
    let addr = node.addrs().status.unwrap();
    let region = &node.identity().region;
    let (line, body) = http_get(addr, &format!("/region/{}", region.get_id()));
    assert!(line.contains("200"), "{line}");
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["region_state"]["id"], region.get_id());
    let store_id = node.identity().store_id;
    assert_eq!(told["region_state"]["peers"][0]["store_id"], store_id);
    assert_eq!(told["region_state"]["peers"][0]["role"], "Voter");
    let (_, body) = http_get(addr, "/debug/pprof/cmdline");
    let program = std::env::args().next().unwrap();
    assert!(body.starts_with(&program), "{body:?}");
    stop(node);
}

#[test]
fn metrics_are_packed_for_who_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &MemEngines::new());
    let addr = node.addrs().status.unwrap();
    let (head, body) = http(
        addr,
        "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n",
    );
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let mut text = String::new();
    flate2::read::GzDecoder::new(body.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.contains("tikv_grpc_msg_duration_seconds"), "{text}");
    stop(node);
}

/// What a node does not own it cannot change: the log and the allocator belong to the program.
#[test]
fn a_node_without_a_log_and_an_allocator_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &MemEngines::new());
    let addr = node.addrs().status.unwrap();
    let (head, body) = post(addr, "/config", "{\"log.level\": \"debug\"}");
    assert!(head.contains("400"), "{head}");
    assert!(body.contains("cannot be changed"), "{body}");
    let (line, body) = http_get(addr, "/debug/pprof/heap");
    assert!(line.contains("501"), "{line}");
    assert!(body.contains("no heap profiler"), "{body}");
    stop(node);
}

/// Two nodes of one process have one log and two configurations.
#[test]
fn a_change_reaches_one_node() {
    let output: Box<dyn std::io::Write + Send> = Box::new(std::io::sink());
    let log = logger::Config::default();
    let (_, guard) = logger::scoped(&log, output, Arc::new(|| 0));
    let guard = Arc::new(guard);
    let (dir_a, dir_b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = |dir: &std::path::Path| {
        NodeBuilder::new(config(dir))
            .log(guard.clone())
            .start_on(MemEngines::new())
            .unwrap()
    };
    let (a, b) = (start(dir_a.path()), start(dir_b.path()));
    let change = "{\"raftstore.pd-heartbeat-tick-interval\": \"7s\"}";
    let (head, body) = post(a.addrs().status.unwrap(), "/config", change);
    assert!(head.contains("200"), "{head} {body}");
    let interval = |node: &server::Node| {
        let (_, body) = http_get(node.addrs().status.unwrap(), "/config");
        let config: serde_json::Value = serde_json::from_str(&body).unwrap();
        config["raftstore"]["pd-heartbeat-tick-interval"].clone()
    };
    assert_eq!(interval(&a), "7s");
    assert_eq!(interval(&b), "1m");
    stop(a);
    stop(b);
}
