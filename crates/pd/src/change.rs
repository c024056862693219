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

use crate::gc::Barrier;
use crate::meta_store::{MetaBatch, damaged, number_value, parse_number};
use crate::regions::RegionInfo;
use crate::{Error, Result};

const CLUSTER: &[u8] = b"cluster";
const CLUSTER_VERSION: &[u8] = b"cluster_version";
const ID_WINDOW: &[u8] = b"id_window";
const GC_POINTS: &[u8] = b"gc_points";
const BARRIER: &[u8] = b"barrier/";
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
    /// The safe points. Durable.
    GcPoints {
        /// Below it no transaction begins.
        txn_safe_point: u64,
        /// Below it old versions may be gone.
        gc_safe_point: u64,
    },
    /// A service's barrier. Durable.
    BarrierPut(String, Barrier),
    /// A service's barrier is gone. Durable.
    BarrierDelete(String),
    /// A keyspace. Durable.
    KeyspacePut(Box<KeyspaceMeta>),
}

impl Change {
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
            Change::GcPoints {
                txn_safe_point,
                gc_safe_point,
            } => {
                let value = pair_value(*txn_safe_point, *gc_safe_point);
                batch.put(GC_POINTS.to_vec(), value);
            }
            Change::BarrierPut(service_id, barrier) => {
                let value = pair_value(barrier.ts, barrier.expires_at.cast_unsigned());
                batch.put([BARRIER, service_id.as_bytes()].concat(), value);
            }
            Change::BarrierDelete(service_id) => {
                batch.delete([BARRIER, service_id.as_bytes()].concat());
            }
            Change::KeyspacePut(meta) => {
                let key = numbered(KEYSPACE, u64::from(meta.get_id()));
                batch.put(key, message_value(&**meta)?);
            }
            Change::IdsUsed(_) | Change::StoreSeen { .. } | Change::RegionSeen(_) => {}
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
            let (txn_safe_point, gc_safe_point) = parse_pair(key, value)?;
            Change::GcPoints {
                txn_safe_point,
                gc_safe_point,
            }
        } else if key.starts_with(STORE) {
            Change::StorePut(Box::new(parse_message::<Store>(key, value)?))
        } else if key.starts_with(REGION) {
            let region = parse_message::<Region>(key, value)?;
            Change::RegionPut(Box::new(RegionInfo::new(region)))
        } else if key.starts_with(KEYSPACE) {
            Change::KeyspacePut(Box::new(parse_message::<KeyspaceMeta>(key, value)?))
        } else if let Some(service_id) = key.strip_prefix(BARRIER) {
            let service_id = String::from_utf8(service_id.to_vec())
                .map_err(|_| damaged(key, "not a service id".to_owned()))?;
            let (ts, expires_at) = parse_pair(key, value)?;
            let expires_at = expires_at.cast_signed();
            Change::BarrierPut(service_id, Barrier { ts, expires_at })
        } else {
            return Ok(None);
        };
        Ok(Some(change))
    }
}

fn numbered(topic: &[u8], id: u64) -> Vec<u8> {
    [topic, &id.to_be_bytes()].concat()
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
            Change::GcPoints {
                txn_safe_point: 9,
                gc_safe_point: 8,
            },
            Change::BarrierPut(
                "br/1".to_owned(),
                Barrier {
                    ts: 3,
                    expires_at: i64::MAX,
                },
            ),
            Change::BarrierPut(
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
            (b"barrier/\xff", b"0123456789abcdef"),
        ] {
            assert!(
                Change::decode(key, value).is_err(),
                "{}",
                key.escape_ascii()
            );
        }
    }
}
