//! The changes of the metadata: what a request does, as data.
//!
//! Planning turns a request into changes without touching anything; the driver makes the durable
//! ones durable, all in one batch, and only then applies them. A start applies what it finds on
//! disk through the same changes. When metadata is replicated, these are what is replicated.

use kvproto::keyspacepb::KeyspaceMeta;
use kvproto::metapb::{Cluster, Region, Store};
use kvproto::pdpb::StoreStats;
use protobuf::Message;
use semver::Version;

use crate::etcd::EtcdChange;
use crate::gc::{Barrier, NULL_KEYSPACE, Place, Points};
use crate::meta_store::{MetaBatch, damaged, number_value, parse_number};
use crate::regions::RegionInfo;
use crate::{Error, Result};

const CLUSTER: &[u8] = b"cluster";
const CLUSTER_VERSION: &[u8] = b"cluster_version";
const ID_WINDOW: &[u8] = b"id_window";
const GC_POINTS: &[u8] = b"gc_points";
const GC_POINTS_OF: &[u8] = b"gc_points/";
const GC_CLAIMED: &[u8] = b"gc_claimed";
const BARRIER: &[u8] = b"barrier/";
const BARRIER_OF: &[u8] = b"barrier_of/";
const BARRIER_GLOBAL: &[u8] = b"barrier_global/";
const EXTERNAL_TS: &[u8] = b"external_ts";
const KEYSPACE: &[u8] = b"keyspace/";
const REGION: &[u8] = b"region/";
const STORE: &[u8] = b"store/";

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// There is a cluster from now on. Durable.
    ClusterPut(Cluster),
    /// The cluster's version. Durable.
    ClusterVersion(Version),
    /// The end of the window of ids. Durable.
    IdWindow(u64),
    /// Ids were handed out. In memory: a restart skips to the window's end.
    IdsUsed(u64),
    /// What is known of a store. Durable.
    StorePut(Box<Store>),
    /// A store's figures. In memory: the next heartbeat brings them again.
    StoreSeen {
        /// The report.
        stats: Box<StoreStats>,
        /// When it came, in nanoseconds since the epoch.
        unix_nanos: i64,
    },
    /// A region of a new shape. Durable, though only its shape.
    RegionPut(Box<RegionInfo>),
    /// A region of a known shape. In memory.
    RegionSeen(Box<RegionInfo>),
    /// A region that others replaced. Durable.
    RegionDelete(u64),
    /// The safe points of a scope. Durable.
    GcPoints(u32, Points),
    /// Whether somebody else collects garbage. Durable.
    GcClaimed(bool),
    /// A service's barrier. Durable.
    BarrierPut(Place, String, Barrier),
    /// A service's barrier is gone. Durable.
    BarrierDelete(Place, String),
    /// A keyspace. Durable.
    KeyspacePut(Box<KeyspaceMeta>),
    /// The timestamp that another cluster goes by. Durable.
    ExternalTs(u64),
    /// What a store has resolved. In memory: it is told every second.
    MinResolvedSeen {
        /// The store.
        store_id: u64,
        /// No lock of an older transaction is left on it.
        ts: u64,
    },
    /// The revisioned store.
    Etcd(EtcdChange),
}

/// How long a change has to outlive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Not at all.
    Memory,
    /// It is on disk, but a crash may lose it: whoever caused it will repeat it.
    Repeated,
    /// It is synced before anybody is told of it.
    Promised,
}

impl Change {
    /// What a crash may do to it.
    pub fn durability(&self) -> Durability {
        match self {
            Change::IdsUsed(_)
            | Change::StoreSeen { .. }
            | Change::RegionSeen(_)
            | Change::MinResolvedSeen { .. }
            | Change::Etcd(EtcdChange::LeaseRenew { .. }) => Durability::Memory,
            // Their leaders report them again.
            Change::RegionPut(_) | Change::RegionDelete(_) => Durability::Repeated,
            Change::ClusterPut(_)
            | Change::ClusterVersion(_)
            | Change::IdWindow(_)
            | Change::StorePut(_)
            | Change::GcPoints(..)
            | Change::GcClaimed(_)
            | Change::BarrierPut(..)
            | Change::BarrierDelete(..)
            | Change::KeyspacePut(_)
            | Change::ExternalTs(_)
            | Change::Etcd(_) => Durability::Promised,
        }
    }

    /// Adds what has to be on disk, if anything.
    pub fn encode(&self, batch: &mut MetaBatch) -> Result<()> {
        match self {
            Change::ClusterPut(cluster) => batch.put(CLUSTER.to_vec(), message_value(cluster)?),
            Change::ClusterVersion(version) => {
                batch.put(CLUSTER_VERSION.to_vec(), version.to_string().into_bytes())
            }
            Change::IdWindow(end) => batch.put(ID_WINDOW.to_vec(), number_value(*end)),
            Change::StorePut(store) => {
                batch.put(numbered(STORE, store.get_id()), message_value(&**store)?);
            }
            Change::RegionPut(info) => {
                let key = numbered(REGION, info.region.get_id());
                batch.put(key, message_value(&info.region)?);
            }
            Change::RegionDelete(region_id) => batch.delete(numbered(REGION, *region_id)),
            Change::GcPoints(scope, points) => {
                batch.put(points_key(*scope), pair_value(points.txn, points.gc));
            }
            Change::GcClaimed(true) => batch.put(GC_CLAIMED.to_vec(), Vec::new()),
            Change::GcClaimed(false) => batch.delete(GC_CLAIMED.to_vec()),
            Change::BarrierPut(place, id, barrier) => {
                let value = pair_value(barrier.ts, barrier.expires_at.cast_unsigned());
                batch.put(barrier_key(*place, id), value);
            }
            Change::BarrierDelete(place, id) => batch.delete(barrier_key(*place, id)),
            Change::ExternalTs(ts) => batch.put(EXTERNAL_TS.to_vec(), number_value(*ts)),
            Change::Etcd(change) => change.encode(batch)?,
            Change::KeyspacePut(meta) => {
                let key = numbered(KEYSPACE, u64::from(meta.get_id()));
                batch.put(key, message_value(&**meta)?);
            }
            Change::IdsUsed(_)
            | Change::StoreSeen { .. }
            | Change::RegionSeen(_)
            | Change::MinResolvedSeen { .. } => {}
        }
        Ok(())
    }

    /// The change that put this entry on disk. `None` for entries that are no part of the state,
    /// like the timestamps' bound.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Option<Change>> {
        let change = if key == CLUSTER {
            Change::ClusterPut(parse_message::<Cluster>(key, value)?)
        } else if key == CLUSTER_VERSION {
            let text = std::str::from_utf8(value).ok();
            let version = text.and_then(|text| Version::parse(text).ok());
            Change::ClusterVersion(version.ok_or_else(|| damaged(key, "not a version".to_owned()))?)
        } else if key == ID_WINDOW {
            Change::IdWindow(parse_number(key, value)?)
        } else if key == GC_POINTS {
            Change::GcPoints(NULL_KEYSPACE, parse_points(key, value)?)
        } else if let Some(scope) = key.strip_prefix(GC_POINTS_OF) {
            Change::GcPoints(parse_scope(key, scope)?, parse_points(key, value)?)
        } else if key == GC_CLAIMED {
            Change::GcClaimed(true)
        } else if key == EXTERNAL_TS {
            Change::ExternalTs(parse_number(key, value)?)
        } else if key.starts_with(STORE) {
            Change::StorePut(Box::new(parse_message::<Store>(key, value)?))
        } else if key.starts_with(REGION) {
            let region = parse_message::<Region>(key, value)?;
            Change::RegionPut(Box::new(RegionInfo::new(region)))
        } else if key.starts_with(KEYSPACE) {
            Change::KeyspacePut(Box::new(parse_message::<KeyspaceMeta>(key, value)?))
        } else if let Some(id) = key.strip_prefix(BARRIER) {
            parse_barrier(key, Place::Scope(NULL_KEYSPACE), id, value)?
        } else if let Some(id) = key.strip_prefix(BARRIER_GLOBAL) {
            parse_barrier(key, Place::Global, id, value)?
        } else if let Some(rest) = key.strip_prefix(BARRIER_OF) {
            let (scope, id) = rest
                .split_at_checked(4)
                .ok_or_else(|| damaged(key, "no keyspace".to_owned()))?;
            let place = Place::Scope(parse_scope(key, scope)?);
            parse_barrier(key, place, id, value)?
        } else if let Some(change) = EtcdChange::decode(key, value)? {
            Change::Etcd(change)
        } else {
            return Ok(None);
        };
        Ok(Some(change))
    }
}

fn numbered(topic: &[u8], id: u64) -> Vec<u8> {
    [topic, &id.to_be_bytes()].concat()
}

fn points_key(scope: u32) -> Vec<u8> {
    match scope {
        NULL_KEYSPACE => GC_POINTS.to_vec(),
        _ => [GC_POINTS_OF, &scope.to_be_bytes()].concat(),
    }
}

fn barrier_key(place: Place, id: &str) -> Vec<u8> {
    match place {
        Place::Global => [BARRIER_GLOBAL, id.as_bytes()].concat(),
        Place::Scope(NULL_KEYSPACE) => [BARRIER, id.as_bytes()].concat(),
        Place::Scope(scope) => [BARRIER_OF, &scope.to_be_bytes(), id.as_bytes()].concat(),
    }
}

fn parse_scope(key: &[u8], scope: &[u8]) -> Result<u32> {
    let scope = scope.try_into().map(u32::from_be_bytes);
    scope.map_err(|_| damaged(key, "not a keyspace id".to_owned()))
}

fn parse_points(key: &[u8], value: &[u8]) -> Result<Points> {
    let (txn, gc) = parse_pair(key, value)?;
    if gc > txn {
        return Err(damaged(key, "gc is beyond txn".to_owned()));
    }
    Ok(Points { txn, gc })
}

fn parse_barrier(key: &[u8], place: Place, id: &[u8], value: &[u8]) -> Result<Change> {
    let id = String::from_utf8(id.to_vec());
    let id = id.map_err(|_| damaged(key, "not a barrier id".to_owned()))?;
    let (ts, expires_at) = parse_pair(key, value)?;
    let expires_at = expires_at.cast_signed();
    Ok(Change::BarrierPut(place, id, Barrier { ts, expires_at }))
}

fn message_value(message: &impl Message) -> Result<Vec<u8>> {
    message
        .write_to_bytes()
        .map_err(|error| Error::Refused(format!("message cannot be stored: {error}")))
}

fn parse_message<M: Message>(key: &[u8], value: &[u8]) -> Result<M> {
    M::parse_from_bytes(value).map_err(|error| damaged(key, error.to_string()))
}

fn pair_value(first: u64, second: u64) -> Vec<u8> {
    [number_value(first), number_value(second)].concat()
}

fn parse_pair(key: &[u8], value: &[u8]) -> Result<(u64, u64)> {
    let (first, second) = value
        .split_at_checked(8)
        .ok_or_else(|| damaged(key, "too short".to_owned()))?;
    Ok((parse_number(key, first)?, parse_number(key, second)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspaces::default_keyspace;

    fn samples() -> Vec<Change> {
        let mut store = Store::default();
        store.set_id(u64::MAX);
        store.set_address("a:1".to_owned());
        let mut region = Region::default();
        region.set_id(7);
        region.set_start_key(b"k".to_vec());
        let mut cluster = Cluster::default();
        cluster.set_id(1);
        vec![
            Change::ClusterPut(cluster),
            Change::ClusterVersion(Version::new(8, 5, 5)),
            Change::IdWindow(1000),
            Change::StorePut(Box::new(store)),
            Change::RegionPut(Box::new(RegionInfo::new(region))),
            Change::GcPoints(NULL_KEYSPACE, Points { txn: 9, gc: 8 }),
            Change::GcPoints(7, Points { txn: 4, gc: 4 }),
            Change::GcClaimed(true),
            Change::ExternalTs(u64::MAX),
            Change::BarrierPut(
                Place::Scope(7),
                "br/1".to_owned(),
                Barrier {
                    ts: 3,
                    expires_at: 5,
                },
            ),
            Change::BarrierPut(
                Place::Global,
                "br/1".to_owned(),
                Barrier {
                    ts: 4,
                    expires_at: 5,
                },
            ),
            Change::BarrierPut(
                Place::Scope(NULL_KEYSPACE),
                "br/1".to_owned(),
                Barrier {
                    ts: 3,
                    expires_at: i64::MAX,
                },
            ),
            Change::BarrierPut(
                Place::Scope(NULL_KEYSPACE),
                "x".to_owned(),
                Barrier {
                    ts: 3,
                    expires_at: -1,
                },
            ),
            Change::KeyspacePut(Box::new(default_keyspace(5))),
        ]
    }

    #[test]
    fn durable_changes_come_back_from_disk() {
        use crate::meta_store::{EngineMetaStore, MetaStore as _};
        let engine = engine_mem::MemEngine::new();
        let store = EngineMetaStore::new(engine.clone());
        for change in samples() {
            let mut batch = MetaBatch::default();
            change.encode(&mut batch).unwrap();
            store.write(batch).unwrap();
        }
        let mut found: Vec<String> = EngineMetaStore::new(engine.crash())
            .scan(b"")
            .unwrap()
            .iter()
            .map(|(key, value)| format!("{:?}", Change::decode(key, value).unwrap().unwrap()))
            .collect();
        let mut expected: Vec<String> = samples().iter().map(|c| format!("{c:?}")).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn changes_in_memory_write_nothing_and_nonsense_is_refused() {
        let mut batch = MetaBatch::default();
        Change::IdsUsed(4).encode(&mut batch).unwrap();
        Change::RegionSeen(Box::default())
            .encode(&mut batch)
            .unwrap();
        assert!(batch.is_empty());
        assert_eq!(Change::decode(b"tso_bound", b"whatever"), Ok(None));
        for (key, value) in [
            (CLUSTER_VERSION, b"x".as_slice()),
            (ID_WINDOW, b"123"),
            (GC_POINTS, b"123"),
            (b"store/12345678", b"\xff\xff"),
            (GC_POINTS, b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02"),
            (b"gc_points/123", b"0123456789abcdef"),
            (b"barrier/\xff", b"0123456789abcdef"),
            (b"barrier_of/123", b"0123456789abcdef"),
        ] {
            assert!(
                Change::decode(key, value).is_err(),
                "{}",
                key.escape_ascii()
            );
        }
    }
}
