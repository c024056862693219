//! The etcd services over real gRPC: elections, leases, watches, restarts, nonsense.

use futures::executor::block_on;
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{ChannelBuilder, ClientDuplexReceiver, RpcStatusCode, StreamingCallSink, WriteFlags};
use kvproto::etcdserverpb::{
    ClusterClient, CompactionRequest, Compare, Compare_CompareTarget, KvClient, LeaseGrantRequest,
    LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
    MaintenanceClient, MemberListRequest, PutRequest, RangeRequest, RequestOp, StatusRequest,
    TxnRequest, WatchClient, WatchRequest, WatchResponse,
};
use kvproto::mvccpb::Event_EventType;
use kvproto::pdpb;
use pd::etcd::EtcdLimits;

use crate::world::World;

type LeaseClient = kvproto::etcdserverpb::LeaseClient;

struct Etcd {
    kv: KvClient,
    lease: LeaseClient,
    watch: WatchClient,
    channel: grpcio::Channel,
}

impl Etcd {
    fn of(world: &World) -> Etcd {
        let channel = ChannelBuilder::new(world.env.clone())
            .use_local_subchannel_pool(true)
            .connect(&world.address);
        Etcd {
            kv: KvClient::new(channel.clone()),
            lease: LeaseClient::new(channel.clone()),
            watch: WatchClient::new(channel.clone()),
            channel,
        }
    }

    fn put(&self, key: &str, value: &str, lease: i64) -> i64 {
        let response = self.kv.put(&put(key, value, lease)).unwrap();
        response.get_header().get_revision()
    }

    fn get(&self, key: &str) -> Option<String> {
        let mut request = RangeRequest::default();
        request.set_key(key.as_bytes().to_vec());
        let response = self.kv.range(&request).unwrap();
        let first = response.get_kvs().first()?;
        Some(String::from_utf8(first.get_value().to_vec()).unwrap())
    }

    fn grant(&self, id: i64, ttl: i64) -> i64 {
        let mut request = LeaseGrantRequest::default();
        request.set_ID(id);
        request.set_TTL(ttl);
        self.lease.lease_grant(&request).unwrap().get_ID()
    }
}

fn put(key: &str, value: &str, lease: i64) -> PutRequest {
    let mut request = PutRequest::default();
    request.set_key(key.as_bytes().to_vec());
    request.set_value(value.as_bytes().to_vec());
    request.set_lease(lease);
    request
}

fn code<T: std::fmt::Debug>(outcome: grpcio::Result<T>) -> (RpcStatusCode, String) {
    match outcome {
        Err(grpcio::Error::RpcFailure(status)) => (status.code(), status.message().to_owned()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_change_while_it_runs() {
    let world = World::new();
    let etcd = Etcd::of(&world);
    let online = world.server.as_ref().unwrap().online_settings();
    let held: Vec<i64> = (0..3).map(|_| etcd.grant(0, 600)).collect();
    etcd.put("k", "v", 0);
    online.set_etcd_limits(EtcdLimits {
        leases_max: 3,
        live_bytes_max: 10,
        ..EtcdLimits::default()
    });
    let mut another = LeaseGrantRequest::default();
    another.set_TTL(600);
    let (refusal, _) = code(etcd.lease.lease_grant(&another));
    assert_ne!(refusal, RpcStatusCode::OK);
    let (refusal, text) = code(etcd.kv.put(&put("more", "data", 0)));
    assert_eq!(refusal, RpcStatusCode::RESOURCE_EXHAUSTED, "{text}");
    // What exceeds them already stays.
    assert_eq!(etcd.get("k").as_deref(), Some("v"));
    online.set_etcd_limits(EtcdLimits::default());
    etcd.put("more", "data", held[0]);
    etcd.lease.lease_grant(&another).unwrap();
}

/// A watch stream and the words to speak on it.
struct Watching {
    sink: StreamingCallSink<WatchRequest>,
    stream: ClientDuplexReceiver<WatchResponse>,
}

impl Watching {
    fn open(etcd: &Etcd) -> Watching {
        let (sink, stream) = etcd.watch.watch().unwrap();
        Watching { sink, stream }
    }

    fn send(&mut self, change: impl FnOnce(&mut WatchRequest)) {
        let mut request = WatchRequest::default();
        change(&mut request);
        block_on(self.sink.send((request, WriteFlags::default()))).unwrap();
    }

    fn next(&mut self) -> WatchResponse {
        block_on(self.stream.next()).unwrap().unwrap()
    }

    fn create(&mut self, key: &str, end: &str, from: i64, id: i64) -> WatchResponse {
        self.send(|request| {
            let create = request.mut_create_request();
            create.set_key(key.as_bytes().to_vec());
            create.set_range_end(end.as_bytes().to_vec());
            create.set_start_revision(from);
            create.set_watch_id(id);
            create.set_prev_kv(true);
        });
        self.next()
    }
}

#[test]
fn one_of_many_wins_an_election() {
    let world = World::bootstrapped();
    let winners: Vec<bool> = std::thread::scope(|scope| {
        let candidates: Vec<_> = (0..8)
            .map(|number| {
                let etcd = Etcd::of(&world);
                scope.spawn(move || {
                    let lease = etcd.grant(0, 60);
                    let mut request = TxnRequest::default();
                    let mut compare = Compare::default();
                    compare.set_key(b"leader".to_vec());
                    compare.set_target(Compare_CompareTarget::CREATE);
                    compare.set_create_revision(0);
                    request.mut_compare().push(compare);
                    let mut op = RequestOp::default();
                    op.set_request_put(put("leader", &number.to_string(), lease));
                    request.mut_success().push(op);
                    etcd.kv.txn(&request).unwrap().get_succeeded()
                })
            })
            .collect();
        candidates.into_iter().map(|c| c.join().unwrap()).collect()
    });
    assert_eq!(winners.iter().filter(|won| **won).count(), 1);
    let winner = winners.iter().position(|won| *won).unwrap();
    assert_eq!(Etcd::of(&world).get("leader"), Some(winner.to_string()));
}

#[test]
fn a_watch_sees_every_write_in_order_and_the_end_of_a_lease() {
    let world = World::bootstrapped();
    let etcd = Etcd::of(&world);
    let mut watching = Watching::open(&etcd);
    let created = watching.create("k/", "k0", 0, 0);
    assert!(created.get_created() && !created.get_canceled());
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let etcd = Etcd::of(&world);
            scope.spawn(move || {
                for number in 0..50 {
                    etcd.put(&format!("k/{writer}"), &number.to_string(), 0);
                }
            });
        }
    });
    let mut revisions = Vec::new();
    let mut seen = [0; 2];
    while revisions.len() < 100 {
        for event in watching.next().get_events() {
            let kv = event.get_kv();
            let writer = usize::from(kv.get_key()[2] - b'0');
            assert_eq!(kv.get_value(), seen[writer].to_string().as_bytes());
            assert_eq!(event.get_prev_kv().get_version(), seen[writer]);
            seen[writer] += 1;
            revisions.push(kv.get_mod_revision());
        }
    }
    assert!(revisions.is_sorted());
    // A lease of a second, and nobody gives a sign of life.
    let lease = etcd.grant(0, 1);
    etcd.put("k/session", "here", lease);
    let put = watching.next();
    assert_eq!(put.get_events()[0].get_kv().get_lease(), lease);
    let gone = watching.next();
    assert_eq!(
        gone.get_events()[0].get_field_type(),
        Event_EventType::DELETE
    );
    assert_eq!(gone.get_events()[0].get_prev_kv().get_value(), b"here");
    assert_eq!(etcd.get("k/session"), None);
}

#[test]
fn watchers_share_a_stream_and_the_past_ends_at_the_compaction() {
    let world = World::bootstrapped();
    let etcd = Etcd::of(&world);
    let first = etcd.put("a", "1", 0);
    for number in 2..6 {
        etcd.put("a", &number.to_string(), 0);
    }
    let mut watching = Watching::open(&etcd);
    assert_eq!(watching.create("a", "", first, 7).get_watch_id(), 7);
    let past = watching.next();
    assert_eq!((past.get_watch_id(), past.get_events().len()), (7, 5));
    // The id is taken, the range empty.
    for (key, end, id) in [("a", "", 7), ("b", "a", 0), ("a", "", -5)] {
        let refused = watching.create(key, end, 0, id);
        assert!(refused.get_created() && refused.get_canceled());
        assert_eq!(refused.get_watch_id(), -1);
        assert!(!refused.get_cancel_reason().is_empty());
    }
    let second = watching.create("b", "", 0, 0).get_watch_id();
    watching.send(|request| {
        request.mut_progress_request();
    });
    let progress = watching.next();
    assert_eq!(progress.get_watch_id(), -1);
    assert_eq!(progress.get_header().get_revision(), first + 4);
    watching.send(|request| request.mut_cancel_request().set_watch_id(7));
    assert!(watching.next().get_canceled());
    etcd.put("a", "unheard", 0);
    etcd.put("b", "heard", 0);
    let heard = watching.next();
    assert_eq!(
        (heard.get_watch_id(), heard.get_events().len()),
        (second, 1)
    );
    let mut compact = CompactionRequest::default();
    compact.set_revision(first + 2);
    etcd.kv.compact(&compact).unwrap();
    let (status, text) = code(etcd.kv.compact(&compact));
    assert_eq!(status, RpcStatusCode::OUT_OF_RANGE);
    assert_eq!(
        text,
        "etcdserver: mvcc: required revision has been compacted"
    );
    assert!(watching.create("a", "", first, 9).get_created());
    let compacted = watching.next();
    assert!(compacted.get_canceled());
    assert_eq!(compacted.get_compact_revision(), first + 2);
    block_on(watching.sink.close()).unwrap();
    assert!(block_on(watching.stream.next()).is_none());
}

#[test]
fn keys_and_leases_survive_a_crash() {
    let mut world = World::bootstrapped();
    let (revision, lease) = {
        let etcd = Etcd::of(&world);
        let lease = etcd.grant(1234, 100);
        (etcd.put("session", "here", lease), lease)
    };
    world.restart();
    let etcd = Etcd::of(&world);
    assert_eq!(etcd.get("session"), Some("here".to_owned()));
    let mut ask = LeaseTimeToLiveRequest::default();
    ask.set_ID(lease);
    ask.set_keys(true);
    let answer = etcd.lease.lease_time_to_live(&ask).unwrap();
    assert_eq!(
        (answer.get_grantedTTL(), answer.get_keys()),
        (100, &[b"session".to_vec()][..])
    );
    assert!((1..=100).contains(&answer.get_TTL()));
    assert_eq!(etcd.put("other", "", 0), revision + 1);
    let (mut sink, mut stream) = etcd.lease.lease_keep_alive().unwrap();
    for (id, ttl) in [(lease, 100), (99, 0), (lease, 100)] {
        let mut request = LeaseKeepAliveRequest::default();
        request.set_ID(id);
        block_on(sink.send((request, WriteFlags::default()))).unwrap();
        let answer = block_on(stream.next()).unwrap().unwrap();
        assert_eq!((answer.get_ID(), answer.get_TTL()), (id, ttl));
    }
    let leases = etcd
        .lease
        .lease_leases(&LeaseLeasesRequest::default())
        .unwrap();
    assert_eq!(leases.get_leases().len(), 1);
    let mut revoke = LeaseRevokeRequest::default();
    revoke.set_ID(lease);
    etcd.lease.lease_revoke(&revoke).unwrap();
    assert_eq!(etcd.get("session"), None);
    assert_eq!(
        code(etcd.lease.lease_revoke(&revoke)).0,
        RpcStatusCode::NOT_FOUND
    );
    ask.set_ID(99);
    assert_eq!(etcd.lease.lease_time_to_live(&ask).unwrap().get_TTL(), -1);
}

#[test]
fn members_and_safe_points_are_where_clients_look() {
    let world = World::bootstrapped();
    let etcd = Etcd::of(&world);
    let cluster = ClusterClient::new(etcd.channel.clone());
    let members = cluster.member_list(&MemberListRequest::default()).unwrap();
    let member = &members.get_members()[0];
    assert_eq!(
        member.get_clientURLs(),
        [format!("http://{}", world.address)]
    );
    assert_eq!(members.get_header().get_cluster_id(), world.cluster_id);
    assert_ne!(member.get_ID(), 0);
    let maintenance = MaintenanceClient::new(etcd.channel.clone());
    let status = maintenance.status(&StatusRequest::default()).unwrap();
    assert_eq!(status.get_leader(), member.get_ID());

    let now = crate::streams::timestamp(&world);
    let mut update = pdpb::UpdateGCSafePointRequest::default();
    update.set_header(world.header());
    update.set_safe_point(now);
    world.pd.update_gc_safe_point(&update).unwrap();
    let saved = etcd.get("/tidb/store/gcworker/saved_safe_point");
    assert_eq!(saved, Some(now.to_string()));
}

#[test]
fn nonsense_is_refused_in_the_words_of_etcd() {
    let world = World::bootstrapped();
    let etcd = Etcd::of(&world);
    let invalid = RpcStatusCode::INVALID_ARGUMENT;
    let (status, text) = code(etcd.kv.put(&PutRequest::default()));
    assert_eq!(
        (status, text.as_str()),
        (invalid, "etcdserver: key is not provided")
    );
    assert_eq!(code(etcd.kv.range(&RangeRequest::default())).0, invalid);
    assert_eq!(
        code(etcd.kv.put(&put("k", "v", 5))).0,
        RpcStatusCode::NOT_FOUND
    );
    let mut request = TxnRequest::default();
    for _ in 0..2 {
        let mut op = RequestOp::default();
        op.set_request_put(put("k", "v", 0));
        request.mut_success().push(op);
    }
    let (status, text) = code(etcd.kv.txn(&request));
    assert_eq!(status, invalid);
    assert_eq!(text, "etcdserver: duplicate key given in txn request");
    // An operation without a kind, and one level in another.
    let mut request = TxnRequest::default();
    request.mut_success().push(RequestOp::default());
    assert_eq!(code(etcd.kv.txn(&request)).0, invalid);
    let mut nested = TxnRequest::default();
    for _ in 0..40 {
        let mut outer = TxnRequest::default();
        let mut op = RequestOp::default();
        op.set_request_txn(nested);
        outer.mut_success().push(op);
        nested = outer;
    }
    assert!(etcd.kv.txn(&nested).unwrap().get_succeeded());
    let mut wide = TxnRequest::default();
    for _ in 0..129 {
        let mut op = RequestOp::default();
        op.mut_request_range().set_key(b"k".to_vec());
        wide.mut_success().push(op);
    }
    assert_eq!(
        code(etcd.kv.txn(&wide)).1,
        "etcdserver: too many operations in txn request"
    );
    let mut future = RangeRequest::default();
    future.set_key(b"k".to_vec());
    future.set_revision(i64::MAX);
    assert_eq!(code(etcd.kv.range(&future)).0, RpcStatusCode::OUT_OF_RANGE);
    future.set_revision(i64::MIN);
    future.set_limit(i64::MIN);
    assert_eq!(etcd.kv.range(&future).unwrap().get_count(), 0);
    let mut lease = LeaseGrantRequest::default();
    lease.set_TTL(i64::MAX);
    assert_eq!(
        code(etcd.lease.lease_grant(&lease)).0,
        RpcStatusCode::OUT_OF_RANGE
    );
    lease.set_TTL(i64::MIN);
    assert_eq!(etcd.lease.lease_grant(&lease).unwrap().get_TTL(), 1);
    // It still serves.
    assert!(etcd.put("k", "v", 0) > 0);
}
