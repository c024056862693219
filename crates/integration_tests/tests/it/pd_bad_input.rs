//! Clients of the placement driver that mean no good, and what each may cost: so much memory, and nobody else's call.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{CallOption, Channel, ChannelBuilder, Client, EnvBuilder, MethodType, WriteFlags};
use integration_tests::PdServer;
use kvproto::etcdserverpb::{KvClient, PutRequest, WatchClient, WatchRequest};
use kvproto::pdpb::{GetMembersRequest, PdClient, TsoRequest};
use test_support::bytes_rpc::method;
use tokio::time::Instant;

/// Whatever one connection sends.
const GROWTH: u64 = 64 << 20;
/// What may stay of it.
const LEFT: u64 = 16 << 20;

struct Measured {
    server: PdServer,
    cluster_id: u64,
    before: u64,
}

/// A connection of its own: gRPC would share one between channels to the same place.
fn connect(address: SocketAddr) -> Channel {
    let env = EnvBuilder::new().cq_count(1).build();
    ChannelBuilder::new(Arc::new(env))
        .use_local_subchannel_pool(true)
        .max_receive_message_len(-1)
        .connect(&address.to_string())
}

fn tso_request(cluster_id: u64) -> TsoRequest {
    let mut request = TsoRequest::default();
    request.mut_header().set_cluster_id(cluster_id);
    request.set_count(1);
    request
}

impl Measured {
    async fn start() -> Measured {
        let server = PdServer::start().await.unwrap();
        let pd = PdClient::new(connect(server.address()));
        let members = pd.get_members(&GetMembersRequest::default()).unwrap();
        let mut measured = Measured {
            server,
            cluster_id: members.get_header().get_cluster_id(),
            before: 0,
        };
        measured.serves();
        measured.before = measured.server.resident_bytes().unwrap();
        measured
    }

    /// A newcomer gets a timestamp.
    fn serves(&self) {
        let pd = PdClient::new(connect(self.server.address()));
        let option = CallOption::default().timeout(Duration::from_secs(20));
        let (mut sink, mut answers) = pd.tso_opt(option).unwrap();
        block_on(async {
            let request = tso_request(self.cluster_id);
            sink.send((request, WriteFlags::default())).await.unwrap();
            let answer = answers.next().await.unwrap().unwrap();
            assert_eq!(answer.get_count(), 1);
        });
    }

    /// Answered or refused, on a connection of its own.
    fn send(&self, path: &'static str, bytes: &Vec<u8>) {
        let client = Client::new(connect(self.server.address()));
        let _ = client.unary_call(
            &method(MethodType::Unary, path),
            bytes,
            CallOption::default(),
        );
    }

    fn check(&self, what: &str) {
        self.serves();
        let peak = self.server.peak_resident_bytes().unwrap();
        let growth = peak.saturating_sub(self.before);
        println!("{what}: {} MiB of growth", growth >> 20);
        assert!(growth <= GROWTH, "{what}: {} MiB of growth", growth >> 20);
    }
}

/// Empty elements of the second field, fields that nobody knows, one long text, and too much of it.
fn bombs() -> [Vec<u8>; 4] {
    [
        [0x12, 0x00].repeat(7 << 20),
        [0xfa, 0x7f, 0x00].repeat(5 << 20),
        [vec![0xfa, 0x7f, 0x80, 0x80, 0x80, 0x07], vec![0; 14 << 20]].concat(),
        vec![0; 40 << 20],
    ]
}

#[tokio::test]
async fn messages_of_many_parts_take_bounded_memory() {
    for path in [
        "/pdpb.PD/BatchScanRegions",
        "/pdpb.PD/StoreHeartbeat",
        "/pdpb.PD/StoreGlobalConfig",
        "/keyspacepb.Keyspace/UpdateKeyspaceState",
        "/meta_storagepb.MetaStorage/Put",
        "/etcdserverpb.KV/Txn",
    ] {
        for (at, bytes) in bombs().iter().enumerate() {
            // A server of its own for each: what another has left would be counted.
            let mut measured = Measured::start().await;
            measured.send(path, bytes);
            measured.check(&format!("{path}, message {at}"));
            measured.server.stop().await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_large_messages_took_is_given_back() {
    let mut measured = Measured::start().await;
    // Far more than may stay.
    for bytes in bombs().iter().cycle().take(20) {
        measured.send("/pdpb.PD/StoreGlobalConfig", bytes);
    }
    let allowed = measured.before + LEFT;
    measured.server.until_resident_below(allowed).await.unwrap();
    measured.server.stop().await.unwrap();
}

#[tokio::test]
async fn ten_thousand_streams_on_a_connection_harm_nobody() {
    let mut measured = Measured::start().await;
    let pd = PdClient::new(connect(measured.server.address()));
    let streams: Vec<_> = (0..10_000).map(|_| pd.tso().unwrap()).collect();
    measured.check("10,000 streams");
    drop(streams);
    measured.check("10,000 streams that ended");
    measured.server.stop().await.unwrap();
}

#[tokio::test]
async fn streams_that_never_read_cost_a_bounded_amount() {
    let mut measured = Measured::start().await;
    let channel = connect(measured.server.address());
    let watch = |from_revision| {
        let (mut sink, events) = WatchClient::new(channel.clone()).watch().unwrap();
        let mut request = WatchRequest::default();
        let create = request.mut_create_request();
        create.set_key(b"k".to_vec());
        create.set_start_revision(from_revision);
        block_on(sink.send((request, WriteFlags::default()))).unwrap();
        (sink, events)
    };
    // Each is told of everything and reads nothing of it.
    const NEW_ONLY: i64 = 0;
    let present: Vec<_> = (0..20).map(|_| watch(NEW_ONLY)).collect();
    let kv = KvClient::new(connect(measured.server.address()));
    for _ in 0..80 {
        let mut put = PutRequest::default();
        put.set_key(b"k".to_vec());
        put.set_value(vec![7; 100 << 10]);
        kv.put(&put).unwrap();
    }
    measured.check("watches that never read");
    // These have much to catch up with, and stop in the middle of it.
    let mut past: Vec<_> = (0..60).map(|_| watch(1)).collect();
    for (_, events) in &mut past {
        let created = block_on(events.next()).unwrap().unwrap();
        assert!(created.get_created(), "{created:?}");
        let first = block_on(events.next()).unwrap().unwrap();
        assert!(!first.get_events().is_empty());
    }
    measured.check("watches that stopped reading");
    drop((present, past));
    measured.server.stop().await.unwrap();
}

#[tokio::test]
async fn requests_that_come_a_byte_at_a_time_are_cut_off() {
    /// The server allows ten seconds for a head.
    const PATIENCE: Duration = Duration::from_secs(20);
    let mut measured = Measured::start().await;
    let open = || {
        let mut stream = TcpStream::connect(measured.server.address()).unwrap();
        stream
            .write_all(b"GET /pd/api/v1/ping HTTP/1.1\r\nX: ")
            .unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        stream
    };
    let mut slow: Vec<TcpStream> = (0..400).map(|_| open()).collect();
    measured.check("400 heads without an end");
    let mut last = slow.pop().unwrap();
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "it may go on for ever");
        // The wait for an answer is the pause between two bytes.
        let mut answer = [0; 64];
        let is_silent = match last.read(&mut answer) {
            Ok(_) => false,
            Err(error) => matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ),
        };
        if !is_silent || last.write_all(b"x").is_err() {
            break;
        }
    }
    drop(slow);
    measured.server.stop().await.unwrap();
}
