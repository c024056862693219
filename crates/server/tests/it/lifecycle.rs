//! Start, stop, restart; two nodes at once; starts that must fail, and why.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::executor::block_on;
use grpcio::{ChannelBuilder, Environment};
use kvproto::healthpb::{
    HealthCheckRequest, HealthCheckResponse_ServingStatus as Status, HealthClient,
};
use online_config::ReadableDuration;
use server::{Error, Node, NodeBuilder};

use crate::fixture::{MemEngines, client, config, context, get, http_get, put, start, stop};

#[test]
fn a_restart_keeps_data_and_ids() {
    let dir = tempfile::tempdir().unwrap();
    let engines = MemEngines::new();
    let node = start(dir.path(), &engines);
    let identity = node.identity().clone();
    put(&node, b"k", b"v");
    stop(node);

    let node = start(dir.path(), &engines);
    assert_eq!(*node.identity(), identity);
    assert_eq!(get(&node, b"k"), Some(b"v".to_vec()));
    stop(node);
}

#[test]
fn a_restart_on_rocksdb_keeps_data_and_ids() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path())).unwrap();
    let identity = node.identity().clone();
    put(&node, b"k", b"v");
    stop(node);

    let node = Node::start(config(dir.path())).unwrap();
    assert_eq!(*node.identity(), identity);
    assert_eq!(get(&node, b"k"), Some(b"v".to_vec()));
    // Dropping it is a shutdown as well.
    drop(node);
    drop(Node::start(config(dir.path())).unwrap());
}

#[test]
fn two_nodes_in_one_process_know_nothing_of_each_other() {
    let (dir_a, dir_b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (
        start(dir_a.path(), &MemEngines::new()),
        start(dir_b.path(), &MemEngines::new()),
    );
    assert_ne!(a.identity().cluster_id, b.identity().cluster_id);
    put(&a, b"k", b"v");
    assert_eq!(get(&b, b"k"), None);
    stop(a);
    assert_eq!(get(&b, b"k"), None);
    stop(b);
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &MemEngines::new());
    let error = NodeBuilder::new(config(dir.path()))
        .start_on(MemEngines::new())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("in use by another server"), "{error}");
    put(&node, b"k", b"v");
    stop(node);
}

#[test]
fn an_address_in_use_is_refused_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for key in ["server.addr", "server.status-addr", "pd.embedded.addr"] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        match key {
            "server.addr" => config.server.addr.clone_from(&addr),
            "server.status-addr" => config.server.status_addr.clone_from(&addr),
            _ => config.pd.embedded.addr.clone_from(&addr),
        }
        let error = NodeBuilder::new(config)
            .start_on(MemEngines::new())
            .err()
            .unwrap();
        let text = error.to_string();
        let last = key.rsplit('.').next().unwrap();
        assert!(
            text.contains(last) && text.contains("in use") && text.contains(&addr),
            "{text}"
        );
    }
}

#[test]
fn a_configuration_that_is_wrong_is_refused_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("never");
    let mut config = config(&path);
    config.storage.api_version = 2;
    let error = NodeBuilder::new(config)
        .start_on(MemEngines::new())
        .err()
        .unwrap();
    assert!(matches!(error, Error::Config(_)), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_node_joins_a_placement_driver_of_another() {
    let (dir_a, dir_b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = start(dir_a.path(), &MemEngines::new());
    // The cluster has its only region on the first node.
    let mut config = config(dir_b.path());
    config.pd.endpoints.clone_from(&first.addrs().pd);
    let error = NodeBuilder::new(config)
        .start_on(MemEngines::new())
        .err()
        .unwrap();
    assert!(matches!(error, Error::NoRegion { .. }), "{error}");
    stop(first);
}

#[test]
fn data_of_one_cluster_is_not_served_in_another() {
    let (dir_a, dir_b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let engines = MemEngines::new();
    stop(start(dir_a.path(), &engines));
    let other = start(dir_b.path(), &MemEngines::new());
    let mut config = config(dir_a.path());
    config.pd.endpoints.clone_from(&other.addrs().pd);
    let error = NodeBuilder::new(config).start_on(engines).err().unwrap();
    assert!(matches!(error, Error::ClusterIdMismatch { .. }), "{error}");
    stop(other);
}

#[test]
fn health_and_readiness_follow_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &MemEngines::new());
    let env = Arc::new(Environment::new(1));
    let channel = ChannelBuilder::new(env).connect(&node.addrs().advertised);
    let health = HealthClient::new(channel);
    let response = health.check(&HealthCheckRequest::default()).unwrap();
    assert_eq!(response.get_status(), Status::SERVING);
    let (line, _) = http_get(node.addrs().status.unwrap(), "/ready");
    assert!(line.contains("200"), "{line}");
    stop(node);
    assert!(health.check(&HealthCheckRequest::default()).is_err());
}

#[test]
fn a_request_for_another_cluster_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), &MemEngines::new());
    let mut request = kvproto::kvrpcpb::RawGetRequest::default();
    let mut context = context(&node);
    context.set_cluster_id(context.get_cluster_id() + 1);
    request.set_context(context);
    request.set_key(b"k".to_vec());
    match client(&node).raw_get(&request) {
        Err(grpcio::Error::RpcFailure(status)) => {
            assert_eq!(status.code(), grpcio::RpcStatusCode::INVALID_ARGUMENT);
        }
        other => panic!("{other:?}"),
    }
    stop(node);
}

#[test]
fn a_stop_ends_watchers_and_does_not_wait_for_silent_connections() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.server.graceful_shutdown_timeout = ReadableDuration::secs(60);
    let node = NodeBuilder::new(config)
        .start_on(MemEngines::new())
        .unwrap();
    let silent = TcpStream::connect(node.addrs().listen.unwrap()).unwrap();
    let env = Arc::new(Environment::new(1));
    let channel = ChannelBuilder::new(env).connect(&node.addrs().advertised);
    let health = HealthClient::new(channel);
    let mut watched = health.watch(&HealthCheckRequest::default()).unwrap();
    let mut next = || block_on(watched.next()).map(|message| message.map(|it| it.get_status()));
    assert_eq!(next().unwrap().unwrap(), Status::SERVING);

    let clock = runtime::Clock::system();
    let began = clock.now();
    stop(node);
    assert!(clock.now().saturating_duration_since(began) < Duration::from_secs(30));
    assert_eq!(next().unwrap().unwrap(), Status::NOT_SERVING);
    assert!(next().is_none_or(|message| message.is_err()));
    drop(silent);
}
