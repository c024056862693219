//! The limits of gRPC: streams of a connection, connections whose peer is gone, messages.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use futures::{FutureExt as _, StreamExt as _};
use grpcio::{ChannelBuilder, Environment, RpcStatusCode};
use kvproto::healthpb::{HealthCheckRequest, HealthClient};
use kvproto::kvrpcpb::RawPutRequest;
use online_config::{ReadableDuration, ReadableSize};
use server::NodeBuilder;

use crate::fixture::{MemEngines, client, config, context, get, put, stop};

#[test]
fn a_connection_has_no_more_streams_than_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.server.grpc_concurrent_stream = 2;
    let node = NodeBuilder::new(config)
        .start_on(MemEngines::new())
        .unwrap();
    let env = Arc::new(Environment::new(1));
    // Channels to one address share a connection otherwise.
    let channel = ChannelBuilder::new(env)
        .use_local_subchannel_pool(true)
        .connect(&node.addrs().advertised);
    let health = HealthClient::new(channel);
    let request = HealthCheckRequest::default();
    let mut watches: Vec<_> = (0..2).map(|_| health.watch(&request).unwrap()).collect();
    for watch in &mut watches {
        block_on(watch.next()).unwrap().unwrap();
    }
    let mut third = health.check_async(&request).unwrap();
    // Meanwhile another connection is served, often enough for the third to have had its turn.
    for n in 0..20u8 {
        put(&node, b"k", &[n]);
        assert!((&mut third).now_or_never().is_none(), "after {n}");
    }
    for mut watch in watches {
        watch.cancel();
    }
    block_on(third).unwrap();
    stop(node);
}

#[test]
fn a_connection_whose_peer_is_silent_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.server.grpc_keepalive_time = ReadableDuration(Duration::from_secs(1));
    config.server.grpc_keepalive_timeout = ReadableDuration(Duration::from_secs(1));
    let node = NodeBuilder::new(config)
        .start_on(MemEngines::new())
        .unwrap();
    let mut silent = TcpStream::connect(node.addrs().listen.unwrap()).unwrap();
    silent
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    // A client's preface and empty settings, and then nothing, not even an answer to a ping.
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    silent
        .write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..]].concat())
        .unwrap();
    let mut said = Vec::new();
    // Closed or reset: either ends the reading before the patience does.
    if let Err(error) = silent.read_to_end(&mut said) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    assert!(!said.is_empty(), "it was never welcomed");
    put(&node, b"k", b"v");
    stop(node);
}

#[test]
fn a_message_above_the_limit_is_refused_and_the_next_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.storage.storage.max_write_size = ReadableSize::mb(1);
    config.server.max_grpc_recv_msg_len = ReadableSize::mb(2);
    let node = NodeBuilder::new(config)
        .start_on(MemEngines::new())
        .unwrap();
    let mut request = RawPutRequest::default();
    request.set_context(context(&node));
    request.set_key(b"k".to_vec());
    request.set_value(vec![0; 3 << 20]);
    let client = client(&node);
    match client.raw_put(&request) {
        Err(grpcio::Error::RpcFailure(status)) => {
            assert_eq!(status.code(), RpcStatusCode::RESOURCE_EXHAUSTED, "{status}");
        }
        other => panic!("{other:?}"),
    }
    // Within the limit of messages and above that of writes: the region error that says so.
    request.set_value(vec![0; 3 << 19]);
    let response = client.raw_put(&request).unwrap();
    let error = response.get_region_error();
    assert!(error.has_raft_entry_too_large(), "{response:?}");
    put(&node, b"k", b"v");
    assert_eq!(get(&node, b"k").unwrap(), b"v");
    stop(node);
}
