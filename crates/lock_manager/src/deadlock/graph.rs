//! Who waits for whom: a graph whose edges grow old.
//!
//! An edge from a transaction to another carries every key on which the one waits for the other. It lives as long as
//! a request may wait, from when it was last reported: a store that dies cannot take its waits back.
//!
//! A search walks from the holder of the wanted lock along the edges, and looks for the transaction that asks. It
//! keeps its own stack, so the length of a circle costs memory, not stack frames.
//!
//! Must never: keep more bytes than its limit. A wait that does not fit is not stored; a circle through it is then
//! not found, and ends when the time of its waits is over.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use runtime::Instant;
use txn_types::TimeStamp;

use super::Deadlock;
use crate::WaitFor;

type TxnMap<V> = HashMap<TimeStamp, V, BuildHasherDefault<DefaultHasher>>;

/// What an edge and its part of the maps cost besides keys and tags.
const EDGE_BYTES: usize = 128;

/// What a key of an edge costs besides its bytes.
const KEY_BYTES: usize = 48;

/// The graph is swept when it is so many times as large as what the last sweep left, and not before it has this size.
const SWEEP_GROWTH: usize = 2;
const SWEEP_BYTES_MIN: usize = 64 * 1024;

#[derive(Debug)]
struct WaitKey {
    hash: u64,
    key: Arc<[u8]>,
    tag: Arc<[u8]>,
}

impl WaitKey {
    fn bytes(&self) -> usize {
        KEY_BYTES + self.key.len() + self.tag.len()
    }
}

#[derive(Debug)]
struct Edge {
    /// In the order of their reports; never empty.
    keys: Vec<WaitKey>,
    expires: Instant,
}

impl Edge {
    fn bytes(&self) -> usize {
        EDGE_BYTES + self.keys.iter().map(WaitKey::bytes).sum::<usize>()
    }
}

/// What a report led to.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The wait closes this circle; it was not stored.
    Deadlock(Box<Deadlock>),
    /// It was stored.
    Nothing,
    /// It was not stored, because the graph is full.
    Full,
}

/// The graph of a cluster.
#[derive(Debug)]
pub struct WaitForGraph {
    edges: TxnMap<BTreeMap<TimeStamp, Edge>>,
    ttl: Duration,
    bytes: usize,
    max_bytes: usize,
    sweep_at: usize,
}

impl WaitForGraph {
    /// An empty graph whose edges live for `ttl` and take up to `max_bytes`.
    #[must_use]
    pub fn new(ttl: Duration, max_bytes: usize) -> Self {
        WaitForGraph {
            edges: TxnMap::default(),
            ttl,
            bytes: 0,
            max_bytes,
            sweep_at: SWEEP_BYTES_MIN,
        }
    }

    /// Changes how long edges live that are reported from now on.
    pub fn set_ttl(&mut self, ttl: Duration) {
        self.ttl = ttl;
    }

    /// Bytes of all edges.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reports that `wait` begins at `now`.
    pub fn detect(&mut self, now: Instant, wait: &WaitFor) -> Found {
        if let Some((deadlock_key_hash, wait_chain)) = self.circle(now, wait) {
            return Found::Deadlock(Box::new(Deadlock {
                wait: wait.clone(),
                deadlock_key_hash,
                wait_chain,
            }));
        }
        if self.store(now, wait) {
            Found::Nothing
        } else {
            Found::Full
        }
    }

    /// The wait has ended.
    pub fn clean_up_wait_for(&mut self, txn: TimeStamp, holder: TimeStamp, key_hash: u64) {
        let Some(edges) = self.edges.get_mut(&txn) else {
            return;
        };
        let Some(edge) = edges.get_mut(&holder) else {
            return;
        };
        // The same transaction may wait twice for one key; each end takes one away.
        if let Some(at) = edge.keys.iter().position(|key| key.hash == key_hash) {
            self.bytes -= edge.keys.remove(at).bytes();
        }
        if edge.keys.is_empty() {
            edges.remove(&holder);
            self.bytes -= EDGE_BYTES;
        }
        if edges.is_empty() {
            self.edges.remove(&txn);
        }
    }

    /// The transaction waits for nothing any more.
    pub fn clean_up(&mut self, txn: TimeStamp) {
        if let Some(edges) = self.edges.remove(&txn) {
            self.bytes -= edges.values().map(Edge::bytes).sum::<usize>();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.edges = TxnMap::default();
        self.bytes = 0;
        self.sweep_at = SWEEP_BYTES_MIN;
    }

    /// Every wait that is known, by transaction.
    #[must_use]
    pub fn waits(&self) -> Vec<WaitFor> {
        let mut txns: Vec<_> = self.edges.keys().copied().collect();
        txns.sort_unstable();
        let mut waits = Vec::new();
        for txn in txns {
            for (holder, edge) in &self.edges[&txn] {
                waits.extend(edge.keys.iter().map(|key| wait_for(txn, *holder, key)));
            }
        }
        waits
    }

    /// The way from the holder back to the transaction that asks, if there is one.
    fn circle(&mut self, now: Instant, wait: &WaitFor) -> Option<(u64, Vec<WaitFor>)> {
        let mut came_from: TxnMap<TimeStamp> = TxnMap::default();
        let mut open = vec![wait.holder];
        while let Some(txn) = open.pop() {
            self.drop_expired(now, txn);
            let Some(edges) = self.edges.get(&txn) else {
                continue;
            };
            for (holder, edge) in edges {
                if *holder == wait.txn {
                    let chain = self.chain(wait.holder, txn, *holder, &came_from);
                    return Some((edge.keys[0].hash, chain));
                }
                if *holder != wait.holder && !came_from.contains_key(holder) {
                    came_from.insert(*holder, txn);
                    open.push(*holder);
                }
            }
        }
        None
    }

    /// The edges from `first` to `last` by the way they were found, and the one from `last` to `end`.
    fn chain(
        &self,
        first: TimeStamp,
        last: TimeStamp,
        end: TimeStamp,
        came_from: &TxnMap<TimeStamp>,
    ) -> Vec<WaitFor> {
        let mut chain = Vec::new();
        let (mut txn, mut holder) = (last, end);
        loop {
            let edge = &self.edges[&txn][&holder];
            chain.push(wait_for(txn, holder, &edge.keys[0]));
            if txn == first {
                break;
            }
            (txn, holder) = (came_from[&txn], txn);
        }
        chain.reverse();
        chain
    }

    fn store(&mut self, now: Instant, wait: &WaitFor) -> bool {
        let key = WaitKey {
            hash: wait.key_hash,
            key: wait.key.clone(),
            tag: wait.tag.clone(),
        };
        let bytes = EDGE_BYTES + key.bytes();
        if self.bytes + bytes > self.sweep_at.min(self.max_bytes) {
            self.sweep(now);
        }
        if self.bytes + bytes > self.max_bytes {
            return false;
        }
        let edge = self
            .edges
            .entry(wait.txn)
            .or_default()
            .entry(wait.holder)
            .or_insert_with(|| {
                self.bytes += EDGE_BYTES;
                Edge {
                    keys: Vec::with_capacity(1),
                    expires: now,
                }
            });
        edge.expires = now + self.ttl;
        self.bytes += key.bytes();
        edge.keys.push(key);
        true
    }

    fn drop_expired(&mut self, now: Instant, txn: TimeStamp) {
        let Some(edges) = self.edges.get_mut(&txn) else {
            return;
        };
        let bytes = &mut self.bytes;
        edges.retain(|_, edge| {
            let alive = edge.expires > now;
            if !alive {
                *bytes -= edge.bytes();
            }
            alive
        });
        if edges.is_empty() {
            self.edges.remove(&txn);
        }
    }

    /// Drops every edge that has expired. Its cost is paid by the growth since the last one, unless the graph is
    /// full of what is alive: then each report that does not fit costs one.
    fn sweep(&mut self, now: Instant) {
        let txns: Vec<_> = self.edges.keys().copied().collect();
        for txn in txns {
            self.drop_expired(now, txn);
        }
        self.sweep_at = (self.bytes * SWEEP_GROWTH).max(SWEEP_BYTES_MIN);
    }
}

fn wait_for(txn: TimeStamp, holder: TimeStamp, key: &WaitKey) -> WaitFor {
    WaitFor {
        txn,
        holder,
        key: key.key.clone(),
        key_hash: key.hash,
        tag: key.tag.clone(),
    }
}
