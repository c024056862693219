//! Circles of transactions that wait for each other, over all stores.
//!
//! One store finds them for the cluster: the one that leads the region with the empty key. It keeps who waits for
//! whom ([`WaitForGraph`]); the others send it their waits ([`follower`]). [`Detector`] is both sides of one store.
//! Must never: make a request wait for the detector, or fail because of it. Without one, time runs out.

mod detector;
mod follower;
mod graph;

#[cfg(test)]
mod tests;

pub use detector::{Detector, DetectorLimits, NotLeader, Role};
pub use follower::{DetectStream, DetectorPeers, StreamEnd};
pub use graph::{Found, WaitForGraph};

use kvproto::deadlock::{
    DeadlockRequest, DeadlockRequestType, DeadlockResponse, WaitForEntry as WireEntry,
};
use txn_types::TimeStamp;

use crate::WaitFor;

/// A circle that a wait has closed.
#[derive(Clone, Debug, PartialEq)]
pub struct Deadlock {
    /// The wait that closed it.
    pub wait: WaitFor,
    /// The hash of a key that the waiting transaction holds and another one of the circle waits for.
    pub deadlock_key_hash: u64,
    /// The other waits of the circle, from the one of the holder of the key on.
    pub wait_chain: Vec<WaitFor>,
}

/// A wait as it travels.
#[must_use]
pub fn wire_entry(wait: &WaitFor) -> WireEntry {
    let mut entry = WireEntry::default();
    entry.set_txn(wait.txn.into_inner());
    entry.set_wait_for_txn(wait.holder.into_inner());
    entry.set_key_hash(wait.key_hash);
    entry.set_key(wait.key.to_vec());
    entry.set_resource_group_tag(wait.tag.to_vec());
    entry
}

fn from_wire(mut entry: WireEntry) -> WaitFor {
    WaitFor {
        txn: TimeStamp::from(entry.get_txn()),
        holder: TimeStamp::from(entry.get_wait_for_txn()),
        key_hash: entry.get_key_hash(),
        key: entry.take_key().into(),
        tag: entry.take_resource_group_tag().into(),
    }
}

fn request(kind: DeadlockRequestType, wait: &WaitFor) -> DeadlockRequest {
    let mut request = DeadlockRequest::default();
    request.set_tp(kind);
    request.set_entry(wire_entry(wait));
    request
}

fn response(found: &Deadlock) -> DeadlockResponse {
    let mut response = DeadlockResponse::default();
    response.set_entry(wire_entry(&found.wait));
    response.set_deadlock_key_hash(found.deadlock_key_hash);
    response.set_wait_chain(found.wait_chain.iter().map(wire_entry).collect());
    response
}

fn from_response(mut response: DeadlockResponse) -> Deadlock {
    Deadlock {
        wait: from_wire(response.take_entry()),
        deadlock_key_hash: response.get_deadlock_key_hash(),
        wait_chain: response
            .take_wait_chain()
            .into_iter()
            .map(from_wire)
            .collect(),
    }
}
