//! The pages of the status server.

use crate::fixture::{MemEngines, get, http_get, start, stop};

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
