//! Two detectors of two stores that speak over gRPC: a circle across them, and a leader that moves.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::channel::mpsc;
use futures::executor::block_on;
use futures::{FutureExt as _, StreamExt as _};
use grpcio::{ChannelBuilder, Environment, ServerBuilder, ServerCredentials};
use kvproto::deadlock::{DeadlockClient, WaitForEntriesRequest, create_deadlock};
use lock_manager::{
    Deadlock, DeadlockListener, Detector, DetectorLimits, LockManager, Role, WaitFor, key_hash,
};
use parking_lot::Mutex;
use runtime::Runtime;
use service::{DeadlockPeers, DeadlockService, FindLeader, OpenChannel};

const LIMIT: Duration = Duration::from_secs(30);

struct Heard(mpsc::UnboundedSender<Deadlock>);

impl DeadlockListener for Heard {
    fn on_deadlock(&self, found: Deadlock) {
        let _ = self.0.unbounded_send(found);
    }
}

struct Store {
    detector: Detector,
    address: String,
    _server: grpcio::Server,
    _listener: Arc<Heard>,
    heard: mpsc::UnboundedReceiver<Deadlock>,
}

struct Cluster {
    runtime: Runtime,
    env: Arc<Environment>,
    leader: Arc<Mutex<String>>,
}

impl Cluster {
    fn new() -> Self {
        Cluster {
            runtime: Runtime::system("deadlock-test", 2).unwrap(),
            env: Arc::new(Environment::new(2)),
            leader: Arc::default(),
        }
    }

    fn store(&self, role: Role) -> Store {
        let leader = self.leader.clone();
        let find: FindLeader = Arc::new(move || {
            let address = leader.lock().clone();
            futures::future::ready(Ok(address)).boxed()
        });
        let env = self.env.clone();
        let open: OpenChannel =
            Arc::new(move |address| ChannelBuilder::new(env.clone()).connect(address));
        let limits = DetectorLimits {
            wait_ttl: LIMIT,
            max_graph_bytes: 1 << 20,
            max_queued: 64,
        };
        let peers = Arc::new(DeadlockPeers::new(find, open));
        let detector = Detector::new(role, limits, peers, &self.runtime);
        let (sender, heard) = mpsc::unbounded();
        let listener = Arc::new(Heard(sender));
        let weak: Weak<Heard> = Arc::downgrade(&listener);
        detector.listen(weak);
        let service = create_deadlock(DeadlockService::new(detector.clone()));
        let mut server = ServerBuilder::new(self.env.clone())
            .register_service(service)
            .build()
            .unwrap();
        let port = server
            .add_listening_port("127.0.0.1:0", ServerCredentials::insecure())
            .unwrap();
        server.start();
        Store {
            detector,
            address: format!("127.0.0.1:{port}"),
            _server: server,
            _listener: listener,
            heard,
        }
    }

    /// The next circle that a store hears of.
    fn next(&self, store: &mut Store) -> Deadlock {
        let next = self.runtime.timer.timeout(LIMIT, store.heard.next());
        block_on(next).unwrap().unwrap()
    }

    fn client(&self, store: &Store) -> DeadlockClient {
        DeadlockClient::new(ChannelBuilder::new(self.env.clone()).connect(&store.address))
    }

    /// Waits until the leader knows this many waits.
    fn known(&self, store: &Store, count: usize) {
        let client = self.client(store);
        let all = async {
            loop {
                let asked = client.get_wait_for_entries_async(&WaitForEntriesRequest::default());
                let entries = asked.unwrap().await.unwrap();
                if entries.get_entries().len() == count {
                    return;
                }
                self.runtime.timer.sleep(Duration::from_millis(5)).await;
            }
        };
        block_on(self.runtime.timer.timeout(LIMIT, all)).unwrap();
    }
}

fn wait(txn: u64, holder: u64, key: &str) -> WaitFor {
    WaitFor {
        txn: txn.into(),
        holder: holder.into(),
        key: key.as_bytes().into(),
        key_hash: key_hash(key.as_bytes()),
        tag: b"tag".as_slice().into(),
    }
}

#[test]
fn a_circle_across_two_stores_is_found_by_the_one_that_leads() {
    let cluster = Cluster::new();
    let mut one = cluster.store(Role::Leader);
    let mut two = cluster.store(Role::Follower);
    *cluster.leader.lock() = one.address.clone();

    two.detector.detect(vec![wait(1, 2, "b")]);
    cluster.known(&one, 1);
    one.detector.detect(vec![wait(2, 1, "a")]);
    let found = cluster.next(&mut one);
    assert_eq!((found.wait.txn, found.wait.holder), (2.into(), 1.into()));
    assert_eq!(found.wait_chain, [wait(1, 2, "b")]);
    assert_eq!(found.deadlock_key_hash, key_hash(b"b"));

    // The other way round: the follower's wait closes it, and the follower hears.
    two.detector.forget(vec![wait(1, 2, "b")]);
    cluster.known(&one, 0);
    one.detector.detect(vec![wait(2, 1, "a")]);
    two.detector.detect(vec![wait(1, 2, "b")]);
    assert_eq!(cluster.next(&mut two).wait, wait(1, 2, "b"));
}

#[test]
fn a_store_that_leads_no_more_refuses_and_the_next_one_is_found() {
    let cluster = Cluster::new();
    let one = cluster.store(Role::Leader);
    let two = cluster.store(Role::Follower);
    let mut three = cluster.store(Role::Follower);
    *cluster.leader.lock() = one.address.clone();
    three.detector.detect(vec![wait(1, 2, "b")]);
    cluster.known(&one, 1);

    one.detector.set_role(Role::Follower);
    cluster.known(&one, 0);
    two.detector.set_role(Role::Leader);
    two.detector.detect(vec![wait(3, 4, "d")]);
    *cluster.leader.lock() = two.address.clone();
    three.detector.detect(vec![wait(4, 3, "c")]);
    assert_eq!(cluster.next(&mut three).wait, wait(4, 3, "c"));

    // A stream to a follower says why it ends.
    let client = cluster.client(&one);
    let (_requests, mut answers) = client.detect().unwrap();
    let refused = block_on(answers.next()).unwrap().unwrap_err().to_string();
    assert!(refused.contains("FAILED_PRECONDITION"), "{refused}");
}
