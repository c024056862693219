//! The state of the revisioned store: keys with their versions, the log, and how changes apply.
//!
//! Nothing here refuses anything: what is applied was planned, or comes from disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use kvproto::mvccpb::KeyValue;
use runtime::Instant;

use super::change::{EtcdChange, KeyWrite, Position};
use super::error::{EtcdError, EtcdResult};
use super::lease::Leases;

/// What a version costs beside its key and value.
const VERSION_OVERHEAD: usize = 96;

/// How much the store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtcdLimits {
    /// Bytes of keys and values that exist. Beyond it puts are refused. Default 64 MiB.
    pub live_bytes_max: usize,
    /// Bytes of history. Beyond it the oldest revisions are compacted. Default 32 MiB.
    pub history_bytes_max: usize,
    /// Revisions of history. Beyond it the oldest are compacted. Default 100,000.
    pub history_revisions_max: usize,
    /// Leases. Beyond it grants are refused. Default 100,000.
    pub leases_max: usize,
    /// Operations of one transaction, as of compares and of either branch. Default 128.
    pub txn_operations_max: usize,
    /// Bytes of one answer. Default 64 MiB.
    pub response_bytes_max: usize,
}

impl Default for EtcdLimits {
    fn default() -> Self {
        EtcdLimits {
            live_bytes_max: 64 << 20,
            history_bytes_max: 32 << 20,
            history_revisions_max: 100_000,
            leases_max: 100_000,
            txn_operations_max: 128,
            response_bytes_max: 64 << 20,
        }
    }
}

impl EtcdLimits {
    /// Every limit that cannot be served: its field, its value, the least and the most allowed. Below
    /// the least an election with its sessions would not fit; above the most an old disk or a small
    /// machine would be filled by one client, since all of it is in memory.
    pub fn problems(&self) -> Vec<(&'static str, usize, usize, usize)> {
        const MIB: usize = 1 << 20;
        [
            ("live_bytes_max", self.live_bytes_max, MIB, 8192 * MIB),
            ("history_bytes_max", self.history_bytes_max, MIB, 8192 * MIB),
            (
                "history_revisions_max",
                self.history_revisions_max,
                1000,
                10_000_000,
            ),
            ("leases_max", self.leases_max, 16, 10_000_000),
            ("txn_operations_max", self.txn_operations_max, 8, 10_000),
            (
                "response_bytes_max",
                self.response_bytes_max,
                MIB,
                1024 * MIB,
            ),
        ]
        .into_iter()
        .filter(|(_, value, least, most)| !(least..=most).contains(&value))
        .collect()
    }
}

/// A key's state from one revision on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Version {
    pub(super) position: Position,
    pub(super) create_revision: i64,
    /// Writes since the key was created.
    pub(super) count: i64,
    pub(super) lease: i64,
    /// None when the key was deleted.
    pub(super) value: Option<Vec<u8>>,
}

/// A key and its value at some revision, borrowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) key: &'a [u8],
    pub(super) create_revision: i64,
    pub(super) mod_revision: i64,
    pub(super) count: i64,
    pub(super) lease: i64,
    pub(super) value: &'a [u8],
}

impl<'a> Found<'a> {
    pub(super) fn of_version(key: &'a [u8], version: &'a Version) -> Option<Found<'a>> {
        Some(Found {
            key,
            create_revision: version.create_revision,
            mod_revision: version.position.revision,
            count: version.count,
            lease: version.lease,
            value: version.value.as_deref()?,
        })
    }

    pub(super) fn of_message(kv: &'a KeyValue) -> Found<'a> {
        Found {
            key: kv.get_key(),
            create_revision: kv.get_create_revision(),
            mod_revision: kv.get_mod_revision(),
            count: kv.get_version(),
            lease: kv.get_lease(),
            value: kv.get_value(),
        }
    }

    pub(super) fn to_message(self) -> KeyValue {
        let mut kv = KeyValue::default();
        kv.set_key(self.key.to_vec());
        kv.set_create_revision(self.create_revision);
        kv.set_mod_revision(self.mod_revision);
        kv.set_version(self.count);
        kv.set_lease(self.lease);
        kv.set_value(self.value.to_vec());
        kv
    }
}

/// See the module.
#[derive(Debug)]
pub struct EtcdState {
    pub(super) limits: EtcdLimits,
    /// Versions by revision. Never an empty list.
    pub(super) keys: BTreeMap<Arc<[u8]>, Vec<Version>>,
    /// Who wrote what, from the compacted revision on, without gaps in what happened.
    pub(super) log: VecDeque<LogEntry>,
    pub(super) revision: i64,
    pub(super) compacted: i64,
    pub(super) leases: Leases,
    /// Bytes of the versions that are the present.
    live_bytes: usize,
    /// Bytes of all versions.
    total_bytes: usize,
}

/// The keys that one revision wrote, in their order.
#[derive(Debug)]
pub(super) struct LogEntry {
    pub(super) revision: i64,
    pub(super) keys: Vec<Arc<[u8]>>,
}

impl Default for EtcdState {
    fn default() -> Self {
        EtcdState::new(EtcdLimits::default())
    }
}

impl EtcdState {
    /// An empty store.
    pub fn new(limits: EtcdLimits) -> EtcdState {
        EtcdState {
            limits,
            keys: BTreeMap::new(),
            log: VecDeque::new(),
            revision: 1,
            compacted: 0,
            leases: Leases::default(),
            live_bytes: 0,
            total_bytes: 0,
        }
    }

    /// Sets other limits; what exceeds them already stays until it is compacted or deleted.
    pub fn set_limits(&mut self, limits: EtcdLimits) {
        self.limits = limits;
    }

    /// The limits in force.
    pub fn limits(&self) -> &EtcdLimits {
        &self.limits
    }

    /// The newest revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The earliest revision that can be read; 0 before the first compaction.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// The leases.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Bytes of keys and values that exist.
    pub fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// Bytes of everything that is kept, history included.
    pub fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// The present value of a key.
    pub fn get(&self, key: &[u8]) -> Option<KeyValue> {
        self.found(key).map(Found::to_message)
    }

    pub(super) fn found(&self, key: &[u8]) -> Option<Found<'_>> {
        let (key, versions) = self.keys.get_key_value(key)?;
        Found::of_version(key, versions.last()?)
    }

    /// Tells the leases that came from disk when they end.
    pub fn begin(&mut self, now: Instant) {
        self.leases.begin(now);
    }

    /// History before `revision` goes.
    pub fn plan_compact(&self, revision: i64) -> EtcdResult<Vec<EtcdChange>> {
        if revision <= self.compacted {
            return Err(EtcdError::Compacted {
                compact_revision: self.compacted,
            });
        }
        if revision > self.revision {
            return Err(EtcdError::FutureRevision);
        }
        let mut dropped = Vec::new();
        for key in self.written_up_to(revision) {
            let versions = self.keys.get(&key).map_or(&[][..], Vec::as_slice);
            let unreadable = &versions[..unreadable_before(versions, revision)];
            dropped.extend(unreadable.iter().map(|version| version.position));
        }
        Ok(vec![EtcdChange::Compact {
            revision,
            current: self.revision,
            dropped,
        }])
    }

    /// The revision to compact at, when history has outgrown its limits. It frees an eighth at
    /// once, so that the work is spread over many writes.
    pub fn compaction_due(&self) -> Option<i64> {
        let limits = &self.limits;
        let history_bytes = self.total_bytes.saturating_sub(self.live_bytes);
        let over_bytes = history_bytes > limits.history_bytes_max;
        if !over_bytes && self.log.len() <= limits.history_revisions_max {
            return None;
        }
        let entry = self.log.get((self.log.len() / 8).max(1))?;
        (entry.revision > self.compacted).then_some(entry.revision)
    }

    fn written_up_to(&self, revision: i64) -> BTreeSet<Arc<[u8]>> {
        let entries = self.log.iter();
        let written = entries.take_while(|entry| entry.revision <= revision);
        written
            .flat_map(|entry| entry.keys.iter().cloned())
            .collect()
    }

    /// A change is durable, as far as it has to be.
    pub fn apply(&mut self, change: EtcdChange) {
        match change {
            EtcdChange::Write(position, write) => self.apply_write(position, write),
            EtcdChange::Compact {
                revision, current, ..
            } => self.apply_compact(revision, current),
            EtcdChange::LeaseGrant {
                id,
                ttl,
                expires_at,
            } => self.leases.grant(id, ttl, expires_at),
            EtcdChange::LeaseRevoke(id) => self.leases.revoke(id),
            EtcdChange::LeaseRenew { id, expires_at } => self.leases.renew(id, expires_at),
        }
    }

    fn apply_write(&mut self, position: Position, write: KeyWrite) {
        let (key, version) = match write {
            KeyWrite::Put(mut kv) => {
                let version = Version {
                    position,
                    create_revision: kv.get_create_revision(),
                    count: kv.get_version(),
                    lease: kv.get_lease(),
                    value: Some(kv.take_value()),
                };
                (kv.take_key(), version)
            }
            KeyWrite::Delete(key) => {
                let version = Version {
                    position,
                    create_revision: 0,
                    count: 0,
                    lease: 0,
                    value: None,
                };
                (key, version)
            }
        };
        let key: Arc<[u8]> = match self.keys.get_key_value(key.as_slice()) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(key),
        };
        let bytes = version_bytes(&key, &version);
        let versions = self.keys.entry(Arc::clone(&key)).or_default();
        if let Some(last) = versions.last() {
            assert!(
                last.position.revision < position.revision,
                "a key is written once a revision"
            );
            if last.value.is_some() {
                self.live_bytes -= version_bytes(&key, last);
            }
        }
        self.total_bytes += bytes;
        if version.value.is_some() {
            self.live_bytes += bytes;
        }
        self.leases.attach(&key, version.lease);
        versions.push(version);
        self.revision = self.revision.max(position.revision);
        // What lies before the compaction is there to be read, but has no history.
        if position.revision >= self.compacted {
            match self.log.back_mut() {
                Some(entry) if entry.revision == position.revision => entry.keys.push(key),
                _ => self.log.push_back(LogEntry {
                    revision: position.revision,
                    keys: vec![key],
                }),
            }
        }
    }

    fn apply_compact(&mut self, revision: i64, current: i64) {
        for key in self.written_up_to(revision) {
            let Some(versions) = self.keys.get_mut(&key) else {
                continue;
            };
            let count = unreadable_before(versions, revision);
            for version in versions.drain(..count) {
                self.total_bytes -= version_bytes(&key, &version);
            }
            if versions.is_empty() {
                self.keys.remove(&key);
            }
        }
        while self
            .log
            .front()
            .is_some_and(|entry| entry.revision < revision)
        {
            self.log.pop_front();
        }
        self.compacted = revision;
        self.revision = self.revision.max(current);
    }
}

/// How many of a key's versions nobody can read from `revision` on: those that others replaced
/// until then, and a deletion before it.
fn unreadable_before(versions: &[Version], revision: i64) -> usize {
    let until = versions.partition_point(|version| version.position.revision <= revision);
    match until.checked_sub(1).and_then(|last| versions.get(last)) {
        None => 0,
        Some(last) if last.value.is_none() && last.position.revision < revision => until,
        Some(_) => until - 1,
    }
}

pub(super) fn version_bytes(key: &[u8], version: &Version) -> usize {
    let value = version.value.as_ref().map_or(0, Vec::len);
    write_bytes(key.len(), value)
}

/// What a value costs under its key.
pub(super) fn write_bytes(key: usize, value: usize) -> usize {
    key + value + VERSION_OVERHEAD
}
