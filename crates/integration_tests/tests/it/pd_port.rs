//! The placement driver's port from outside: HTTP, gRPC and etcd at once, embedded and alone.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::executor::block_on;
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{Channel, ChannelBuilder, EnvBuilder, WriteFlags};
use integration_tests::{PdServer, TikvServer, exchange, get};
use kvproto::etcdserverpb::{
    ClusterClient, Compare, Compare_CompareTarget, KvClient, LeaseClient, LeaseGrantRequest,
    MemberListRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchClient, WatchRequest,
};
use kvproto::mvccpb::Event_EventType;
use kvproto::pdpb::{GetMembersRequest, PdClient};
use serde_json::Value;
use tokio::task::JoinSet;

fn connect(address: SocketAddr) -> Channel {
    let env = EnvBuilder::new().cq_count(1).build();
    ChannelBuilder::new(Arc::new(env)).connect(&address.to_string())
}

fn pd_address(server: &TikvServer) -> SocketAddr {
    server.pd_endpoints()[0].parse().unwrap()
}

async fn json(address: SocketAddr, path: &str) -> Value {
    let response = get(address, path).await.unwrap();
    assert_eq!(response.status, 200, "{path}: {}", response.body);
    serde_json::from_str(&response.body).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[tokio::test]
async fn http_and_grpc_share_the_port_of_the_embedded_driver() {
    let mut server = TikvServer::start().await.unwrap();
    let address = pd_address(&server);
    let pd = PdClient::new(connect(address));
    let mut calls = JoinSet::new();
    for _ in 0..32 {
        calls.spawn(async move { json(address, "/pd/api/v1/regions").await["count"].clone() });
        let call = pd.get_members_async(&GetMembersRequest::default()).unwrap();
        calls.spawn(async move { call.await.unwrap().get_members().len().into() });
    }
    for count in calls.join_all().await {
        assert_eq!(count, Value::from(1));
    }

    let region = &json(address, "/pd/api/v1/regions").await["regions"][0];
    assert_eq!(
        (&region["start_key"], &region["end_key"]),
        (&"".into(), &"".into())
    );
    let id = region["id"].as_u64().unwrap();
    let same = json(address, &format!("/pd/api/v1/region/id/{id}")).await;
    assert_eq!(same["peers"], region["peers"]);
    let stores = json(address, "/pd/api/v1/stores").await;
    let store = &stores["stores"][0]["store"];
    assert_eq!(store["address"], server.client_address().to_string());
    assert_eq!(store["status_address"], server.status_address().to_string());
    assert_eq!(store["state_name"], "Up");
    let members = json(address, "/pd/api/v1/members").await;
    assert_eq!(members["leader"], members["members"][0]);
    let version = json(address, "/pd/api/v1/config/cluster-version").await;
    assert_eq!(version, store["version"]);
    for path in [
        "version",
        "status",
        "health",
        "cluster",
        "config",
        "gc/safepoint",
        "schedulers",
    ] {
        json(address, &format!("/pd/api/v1/{path}")).await;
    }
    let metrics = get(address, "/metrics").await.unwrap();
    assert!(metrics.body.contains("pd_tso_timestamps_total"));
    assert_eq!(
        get(address, "/pd/api/v1/nothing").await.unwrap().status,
        404
    );
    // Neither HTTP nor gRPC.
    let answer = exchange(address, b"\x16\x03\x01\r\n\r\n").await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"));
    server.stop().await.unwrap();
}

fn put(key: &[u8], value: &[u8], lease: i64) -> PutRequest {
    let mut request = PutRequest::default();
    request.set_key(key.to_vec());
    request.set_value(value.to_vec());
    request.set_lease(lease);
    request
}

/// Puts `leader` if nobody has; the answer is whether that went through.
fn campaign(kv: &KvClient, name: &[u8], lease: i64) -> bool {
    let mut compare = Compare::default();
    compare.set_key(b"leader".to_vec());
    compare.set_target(Compare_CompareTarget::CREATE);
    compare.set_create_revision(0);
    let mut op = RequestOp::default();
    op.set_request_put(put(b"leader", name, lease));
    let mut request = TxnRequest::default();
    request.mut_compare().push(compare);
    request.mut_success().push(op);
    kv.txn(&request).unwrap().get_succeeded()
}

#[tokio::test]
async fn an_election_goes_to_the_next_when_the_leaders_lease_ends() {
    let mut server = TikvServer::start().await.unwrap();
    let channel = connect(pd_address(&server));
    let kv = KvClient::new(channel.clone());
    let members = ClusterClient::new(channel.clone());
    let members = members.member_list(&MemberListRequest::default()).unwrap();
    assert_eq!(members.get_members()[0].get_clientURLs().len(), 1);

    let (mut sink, mut events) = WatchClient::new(channel.clone()).watch().unwrap();
    let mut watch = WatchRequest::default();
    watch.mut_create_request().set_key(b"leader".to_vec());
    block_on(sink.send((watch, WriteFlags::default()))).unwrap();
    let mut next = || block_on(events.next()).unwrap().unwrap();
    assert!(next().get_created());

    let mut grant = LeaseGrantRequest::default();
    grant.set_TTL(1);
    let lease = LeaseClient::new(channel).lease_grant(&grant).unwrap();
    assert!(campaign(&kv, b"one", lease.get_ID()));
    assert!(!campaign(&kv, b"two", 0));
    assert_eq!(next().get_events()[0].get_kv().get_value(), b"one");
    // Nobody renews it.
    assert_eq!(
        next().get_events()[0].get_field_type(),
        Event_EventType::DELETE
    );
    assert!(campaign(&kv, b"two", 0));
    assert_eq!(next().get_events()[0].get_kv().get_value(), b"two");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_etcd_clients_were_promised_survives_a_kill() {
    let mut server = PdServer::start().await.unwrap();
    assert_eq!(
        get(server.address(), "/pd/api/v1/ping")
            .await
            .unwrap()
            .status,
        200
    );
    let kv = KvClient::new(connect(server.address()));
    let mut revision = 0;
    for number in 0..20 {
        let response = kv
            .put(&put(b"key", number.to_string().as_bytes(), 0))
            .unwrap();
        revision = response.get_header().get_revision();
    }
    server.kill().unwrap();
    server.restart().await.unwrap();
    let kv = KvClient::new(connect(server.address()));
    let mut range = RangeRequest::default();
    range.set_key(b"key".to_vec());
    let response = kv.range(&range).unwrap();
    assert_eq!(response.get_header().get_revision(), revision);
    assert_eq!(response.get_kvs()[0].get_value(), b"19");
    assert_eq!(response.get_kvs()[0].get_version(), 20);
    server.stop().await.unwrap();
}
