//! The detector of one store: the leader's graph, or the way to the leader.
//!
//! 1. As the leader it looks at its own graph at once, in the caller's thread, for its own waits and for those that
//!    other stores send. As a follower it queues its waits for the leader ([`super::follower`]).
//! 2. At each change of the role the graph is empty: who leads anew knows nothing of what was reported before, and a
//!    graph that was left and found again would hold waits that have ended. Circles that were closed before the
//!    change end with the time of their waits.
//! 3. A request of another store that reaches a follower is refused, so that the other one asks who leads.
//!
//! Must never: call the listener under a lock, or wait.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use kvproto::deadlock::{DeadlockRequest, DeadlockRequestType, DeadlockResponse, WaitForEntry};
use parking_lot::Mutex;
use runtime::{Clock, Runtime};

use super::follower::{DetectStream, DetectorPeers, Follower, StreamEnd};
use super::graph::{Found, WaitForGraph};
use super::{Deadlock, from_response, from_wire, request, response, wire_entry};
use crate::{DeadlockListener, LockManager, WaitFor};

/// Whether this store finds the deadlocks of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It does.
    Leader,
    /// Another one does.
    Follower,
}

/// This store does not find the deadlocks of the cluster: ask again who does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLeader;

/// What a detector may take.
#[derive(Clone, Copy, Debug)]
pub struct DetectorLimits {
    /// How long a wait counts: as long as a request may wait for a lock.
    pub wait_ttl: Duration,
    /// Bytes of the graph.
    pub max_graph_bytes: usize,
    /// Waits that may stand in the queue to the leader; further ones are dropped.
    pub max_queued: usize,
}

struct State {
    role: Role,
    graph: WaitForGraph,
}

struct Inner {
    state: Mutex<State>,
    listener: OnceLock<Weak<dyn DeadlockListener>>,
    to_leader: Mutex<mpsc::Sender<DeadlockRequest>>,
    clock: Clock,
}

/// The detector of a store; clones share it.
#[derive(Clone)]
pub struct Detector {
    inner: Arc<Inner>,
}

impl Detector {
    /// A detector in `role` that finds the leader through `peers`.
    pub fn new(
        role: Role,
        limits: DetectorLimits,
        peers: Arc<dyn DetectorPeers>,
        runtime: &Runtime,
    ) -> Self {
        let (to_leader, queued) = mpsc::channel(limits.max_queued);
        let detector = Detector {
            inner: Arc::new(Inner {
                state: Mutex::new(State {
                    role,
                    graph: WaitForGraph::new(limits.wait_ttl, limits.max_graph_bytes),
                }),
                listener: OnceLock::new(),
                to_leader: Mutex::new(to_leader),
                clock: runtime.clock.clone(),
            }),
        };
        let inner = Arc::downgrade(&detector.inner);
        let tell = move |found: DeadlockResponse| {
            if let Some(inner) = inner.upgrade() {
                inner.tell(from_response(found));
            }
        };
        let follower = Follower::new(queued.fuse(), peers, Box::new(tell));
        // Ends with the detector, whose end of the queue it waits for.
        drop(runtime.spawner.spawn(follower.run()));
        detector
    }

    /// The detector of a store that is alone: it leads, and there is nobody else to ask.
    pub fn alone(limits: DetectorLimits, runtime: &Runtime) -> Self {
        Detector::new(Role::Leader, limits, Arc::new(Nobody), runtime)
    }

    /// Takes over how long a wait counts.
    pub fn set_wait_ttl(&self, ttl: Duration) {
        self.inner.state.lock().graph.set_ttl(ttl);
    }

    /// This store has become, or is no more, the one that finds the deadlocks of the cluster.
    pub fn set_role(&self, role: Role) {
        let mut state = self.inner.state.lock();
        state.role = role;
        state.graph.clear();
        drop(state);
        tracing::info!(?role, "deadlock detector changed its role");
    }

    /// The present role.
    pub fn role(&self) -> Role {
        self.inner.state.lock().role
    }

    /// Bytes of the graph.
    pub fn graph_bytes(&self) -> usize {
        self.inner.state.lock().graph.bytes()
    }

    /// Answers a request of another store. Only a circle has an answer.
    pub fn serve(
        &self,
        mut request: DeadlockRequest,
    ) -> Result<Option<DeadlockResponse>, NotLeader> {
        let wait = from_wire(request.take_entry());
        let mut state = self.inner.state.lock();
        if state.role != Role::Leader {
            return Err(NotLeader);
        }
        let graph = &mut state.graph;
        match request.get_tp() {
            DeadlockRequestType::Detect => {
                let found = graph.detect(self.inner.clock.now(), &wait);
                drop(state);
                if let Found::Deadlock(found) = found {
                    return Ok(Some(response(&found)));
                }
            }
            DeadlockRequestType::CleanUpWaitFor => {
                graph.clean_up_wait_for(wait.txn, wait.holder, wait.key_hash);
            }
            DeadlockRequestType::CleanUp => graph.clean_up(wait.txn),
        }
        Ok(None)
    }

    /// Every wait that this store knows as the leader.
    pub fn wait_for_entries(&self) -> Vec<WaitForEntry> {
        let waits = self.inner.state.lock().graph.waits();
        waits.iter().map(wire_entry).collect()
    }
}

/// The other stores of one that is alone.
struct Nobody;

impl DetectorPeers for Nobody {
    fn connect(&self) -> BoxFuture<'static, Result<DetectStream, StreamEnd>> {
        let alone = StreamEnd("there is no other store".to_owned());
        futures::future::ready(Err(alone)).boxed()
    }
}

impl Inner {
    fn tell(&self, found: Deadlock) {
        if let Some(listener) = self.listener.get().and_then(Weak::upgrade) {
            listener.on_deadlock(found);
        }
    }

    /// Queues a message for the leader; without room it is dropped, and time will end the wait.
    fn queue(&self, kind: DeadlockRequestType, wait: &WaitFor) {
        let _ = self.to_leader.lock().try_send(request(kind, wait));
    }
}

impl LockManager for Detector {
    fn listen(&self, listener: Weak<dyn DeadlockListener>) {
        // A second listener would own waits of which it knows nothing.
        let _ = self.inner.listener.set(listener);
    }

    fn detect(&self, waits: Vec<WaitFor>) {
        for wait in waits {
            let mut state = self.inner.state.lock();
            if state.role == Role::Follower {
                drop(state);
                self.inner.queue(DeadlockRequestType::Detect, &wait);
                continue;
            }
            let found = state.graph.detect(self.inner.clock.now(), &wait);
            drop(state);
            if let Found::Deadlock(found) = found {
                self.inner.tell(*found);
            }
        }
    }

    fn forget(&self, waits: Vec<WaitFor>) {
        for wait in waits {
            let mut state = self.inner.state.lock();
            if state.role == Role::Follower {
                drop(state);
                self.inner.queue(DeadlockRequestType::CleanUpWaitFor, &wait);
                continue;
            }
            let (txn, holder) = (wait.txn, wait.holder);
            state.graph.clean_up_wait_for(txn, holder, wait.key_hash);
        }
    }
}
