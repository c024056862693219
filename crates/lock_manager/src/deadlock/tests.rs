//! Circles of two and of thousands, edges that grow old, floods; and two detectors that speak to each other.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use kvproto::deadlock::DeadlockRequest;
use parking_lot::Mutex;
use runtime::{Instant, Stepper, VirtualClock};

use super::*;
use crate::{DeadlockListener, LockManager, WaitFor, key_hash};

const TTL: Duration = Duration::from_secs(1);

fn now() -> Instant {
    VirtualClock::new().now()
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

fn graph() -> WaitForGraph {
    WaitForGraph::new(TTL, usize::MAX)
}

fn steps(chain: &[WaitFor]) -> Vec<(u64, u64)> {
    let step = |wait: &WaitFor| (wait.txn.into_inner(), wait.holder.into_inner());
    chain.iter().map(step).collect()
}

#[test]
fn a_circle_is_told_by_the_wait_that_closes_it() {
    let mut graph = graph();
    assert_eq!(graph.detect(now(), &wait(1, 2, "b")), Found::Nothing);
    assert_eq!(graph.detect(now(), &wait(2, 3, "c")), Found::Nothing);
    let Found::Deadlock(found) = graph.detect(now(), &wait(3, 1, "a")) else {
        panic!("1 waits for 2, 2 for 3, 3 for 1");
    };
    assert_eq!(found.wait, wait(3, 1, "a"));
    // 3 holds the key that 2 waits for.
    assert_eq!(found.deadlock_key_hash, key_hash(b"c"));
    assert_eq!(steps(&found.wait_chain), [(1, 2), (2, 3)]);
    assert_eq!(&*found.wait_chain[0].tag, b"tag");
    // It was not stored: 3 gives up, so nobody waits in a circle.
    assert_eq!(graph.waits().len(), 2);
}

#[test]
fn one_edge_has_several_keys_and_each_end_takes_one() {
    let mut graph = graph();
    for key in ["x", "y"] {
        assert_eq!(graph.detect(now(), &wait(1, 2, key)), Found::Nothing);
    }
    graph.clean_up_wait_for(1.into(), 2.into(), key_hash(b"x"));
    let Found::Deadlock(found) = graph.detect(now(), &wait(2, 1, "z")) else {
        panic!("1 still waits for y");
    };
    assert_eq!(found.deadlock_key_hash, key_hash(b"y"));
    graph.clean_up_wait_for(1.into(), 2.into(), key_hash(b"y"));
    graph.clean_up_wait_for(1.into(), 2.into(), key_hash(b"y"));
    assert_eq!(graph.bytes(), 0);
    assert_eq!(graph.detect(now(), &wait(2, 1, "z")), Found::Nothing);
    graph.clean_up(2.into());
    assert_eq!((graph.bytes(), graph.waits()), (0, Vec::new()));
}

#[test]
fn an_edge_ends_when_nobody_renews_it() {
    let mut graph = graph();
    let start = now();
    assert_eq!(graph.detect(start, &wait(1, 2, "a")), Found::Nothing);
    assert_eq!(
        graph.detect(start + TTL / 2, &wait(1, 2, "b")),
        Found::Nothing
    );
    let later = start + TTL;
    assert!(matches!(
        graph.detect(later, &wait(2, 1, "c")),
        Found::Deadlock(_)
    ));
    let last = start + TTL * 3 / 2;
    assert_eq!(graph.detect(last, &wait(2, 1, "c")), Found::Nothing);
    assert_eq!(steps(&graph.waits()), [(2, 1)]);
}

#[test]
fn a_deadlock_of_a_thousand_transactions_is_found_and_of_a_hundred_thousand_too() {
    for length in [1000, 100_000] {
        let mut graph = graph();
        for txn in 1..length {
            let found = graph.detect(now(), &wait(txn, txn + 1, "k"));
            // A search from the end of the chain would be quadratic: from its start there is nothing behind.
            assert_eq!(found, Found::Nothing);
        }
        let Found::Deadlock(found) = graph.detect(now(), &wait(length, 1, "k")) else {
            panic!("a circle of {length}");
        };
        assert_eq!(found.wait_chain.len(), length as usize - 1);
        assert!(graph.bytes() / (length as usize) < 400);
    }
}

#[test]
fn a_flood_is_bounded_and_old_edges_make_room() {
    let mut graph = WaitForGraph::new(TTL, 100_000);
    let start = now();
    let flood = |graph: &mut WaitForGraph, at, from: u64| {
        (from..from + 1000)
            .filter(|txn| graph.detect(at, &wait(*txn, 1_000_000, "k")) == Found::Nothing)
            .count()
    };
    let fits = flood(&mut graph, start, 0);
    assert!((100..1000).contains(&fits), "{fits}");
    assert!(graph.bytes() <= 100_000);
    assert_eq!(flood(&mut graph, start, 10_000), 0);
    assert_eq!(flood(&mut graph, start + TTL, 20_000), fits);
    graph.clear();
    assert_eq!(graph.bytes(), 0);
}

#[derive(Default)]
struct Heard(Mutex<Vec<Deadlock>>);

impl DeadlockListener for Heard {
    fn on_deadlock(&self, found: Deadlock) {
        self.0.lock().push(found);
    }
}

impl Heard {
    fn steps(&self) -> Vec<(u64, u64)> {
        self.0
            .lock()
            .iter()
            .flat_map(|found| steps(std::slice::from_ref(&found.wait)))
            .collect()
    }
}

/// The way to whoever is believed to lead, without a network: a stream ends as the real one does.
#[derive(Default)]
struct Network {
    leader: Mutex<Option<Detector>>,
    connects: Mutex<u32>,
}

impl DetectorPeers for Network {
    fn connect(&self) -> BoxFuture<'static, Result<DetectStream, StreamEnd>> {
        *self.connects.lock() += 1;
        let leader = self.leader.lock().clone();
        async move {
            let leader = leader.ok_or_else(|| StreamEnd("nobody leads".to_owned()))?;
            let (requests, arrived) = mpsc::channel::<DeadlockRequest>(16);
            let deadlocks = arrived.filter_map(move |request| {
                let answer = match leader.serve(request) {
                    Ok(answer) => answer.map(Ok),
                    Err(NotLeader) => Some(Err(StreamEnd("not the leader".to_owned()))),
                };
                async { answer }
            });
            Ok(DetectStream {
                requests,
                deadlocks: deadlocks.boxed(),
            })
        }
        .boxed()
    }
}

struct Stores {
    stepper: Stepper,
    network: Arc<Network>,
    heard: Arc<Heard>,
}

impl Stores {
    fn new() -> Self {
        Stores {
            stepper: Stepper::new(1),
            network: Arc::default(),
            heard: Arc::default(),
        }
    }

    fn detector(&self, role: Role) -> Detector {
        let limits = DetectorLimits {
            wait_ttl: TTL,
            max_graph_bytes: 1 << 20,
            max_queued: 64,
        };
        let peers = self.network.clone();
        let detector = Detector::new(role, limits, peers, &self.stepper.runtime());
        let heard: Weak<Heard> = Arc::downgrade(&self.heard);
        detector.listen(heard);
        detector
    }
}

#[test]
fn a_follower_hears_of_circles_from_the_leader() {
    let stores = Stores::new();
    let leader = stores.detector(Role::Leader);
    let follower = stores.detector(Role::Follower);
    *stores.network.leader.lock() = Some(leader.clone());
    leader.detect(vec![wait(1, 2, "b")]);
    follower.detect(vec![wait(2, 1, "a")]);
    stores.stepper.run_until_stalled();
    assert_eq!(stores.heard.steps(), [(2, 1)]);
    leader.forget(vec![wait(1, 2, "b")]);
    follower.detect(vec![wait(2, 1, "a")]);
    stores.stepper.run_until_stalled();
    assert_eq!(stores.heard.steps().len(), 1);
    assert_eq!(leader.wait_for_entries().len(), 1);
    follower.forget(vec![wait(2, 1, "a")]);
    stores.stepper.run_until_stalled();
    assert_eq!(leader.graph_bytes(), 0);
    assert_eq!(*stores.network.connects.lock(), 1, "one stream for all");
}

#[test]
fn a_leader_that_leads_no_more_is_asked_for_twice_and_its_table_is_gone() {
    let stores = Stores::new();
    let old = stores.detector(Role::Leader);
    let follower = stores.detector(Role::Follower);
    *stores.network.leader.lock() = Some(old.clone());
    follower.detect(vec![wait(1, 2, "b")]);
    stores.stepper.run_until_stalled();
    assert!(old.graph_bytes() > 0);
    old.set_role(Role::Follower);
    assert_eq!(old.graph_bytes(), 0, "the table ends with the role");
    assert_eq!(
        old.serve(request(DeadlockRequestType::Detect, &wait(1, 2, "b"))),
        Err(NotLeader)
    );

    let new = stores.detector(Role::Leader);
    new.detect(vec![wait(3, 4, "d")]);
    *stores.network.leader.lock() = Some(new.clone());
    // The old stream is refused; what was on it goes to the new leader, and finds the circle there.
    follower.detect(vec![wait(4, 3, "c")]);
    stores.stepper.run_until_stalled();
    assert_eq!(stores.heard.steps(), [(4, 3)]);

    // Nobody leads: two attempts, then the wait goes on without detection.
    new.set_role(Role::Follower);
    *stores.network.leader.lock() = None;
    let before = *stores.network.connects.lock();
    follower.detect(vec![wait(5, 6, "e")]);
    stores.stepper.run_until_stalled();
    assert!(*stores.network.connects.lock() - before >= 1);
    assert_eq!(stores.heard.steps().len(), 1);
    // It recovers with the next wait after somebody leads.
    new.set_role(Role::Leader);
    new.detect(vec![wait(7, 8, "g")]);
    *stores.network.leader.lock() = Some(new);
    follower.detect(vec![wait(8, 7, "f")]);
    stores.stepper.run_until_stalled();
    assert_eq!(stores.heard.steps(), [(4, 3), (8, 7)]);
}

#[test]
fn what_travels_comes_back_as_it_was() {
    let found = Deadlock {
        wait: wait(3, 1, "a"),
        deadlock_key_hash: 7,
        wait_chain: vec![wait(1, 2, "b"), wait(2, 3, "c")],
    };
    assert_eq!(from_response(response(&found)), found);
}
