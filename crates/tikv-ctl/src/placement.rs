//! Stores and regions as a person reads them.

use std::fmt;

use kvproto::metapb;
use kvproto::pdpb::StoreStats;
use online_config::ReadableSize;
use pd_client::RegionWithLeader;
use serde::Serialize;

use crate::escape::escape;

/// A store.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StoreReport {
    id: u64,
    address: String,
    status_address: String,
    state: String,
    version: String,
    labels: Vec<String>,
    capacity: u64,
    available: u64,
    used: u64,
    regions: u32,
}

impl StoreReport {
    pub(crate) fn new(store: &metapb::Store, stats: &StoreStats) -> StoreReport {
        let label =
            |label: &metapb::StoreLabel| format!("{}={}", label.get_key(), label.get_value());
        StoreReport {
            id: store.get_id(),
            address: store.get_address().to_owned(),
            status_address: store.get_status_address().to_owned(),
            state: format!("{:?}", store.get_state()),
            version: store.get_version().to_owned(),
            labels: store.get_labels().iter().map(label).collect(),
            capacity: stats.get_capacity(),
            available: stats.get_available(),
            used: stats.get_used_size(),
            regions: stats.get_region_count(),
        }
    }
}

/// The stores of a cluster.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct StoresReport(pub(crate) Vec<StoreReport>);

impl fmt::Display for StoresReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, store) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(
                f,
                "store {}  {}  {}  version {}  status {}  regions {}  used {} of {}, {} free",
                store.id,
                store.address,
                store.state,
                store.version,
                store.status_address,
                store.regions,
                ReadableSize(store.used),
                ReadableSize(store.capacity),
                ReadableSize(store.available),
            )?;
            if !store.labels.is_empty() {
                write!(f, "  {}", store.labels.join(","))?;
            }
        }
        Ok(())
    }
}

/// A region.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RegionReport {
    id: u64,
    /// In the form of region boundaries.
    start_hex: String,
    end_hex: String,
    /// As clients see the boundaries, where they are encoded keys.
    start: String,
    end: String,
    conf_ver: u64,
    version: u64,
    /// The leader's store, where it is known.
    leader_store: Option<u64>,
    stores: Vec<u64>,
}

impl RegionReport {
    pub(crate) fn new(found: &RegionWithLeader) -> RegionReport {
        let region = &found.region;
        let seen = |boundary: &[u8]| {
            let raw = txn_types::Key::from_encoded_slice(boundary).to_raw();
            escape(raw.as_deref().unwrap_or(boundary))
        };
        RegionReport {
            id: region.get_id(),
            start_hex: hex::encode(region.get_start_key()),
            end_hex: hex::encode(region.get_end_key()),
            start: seen(region.get_start_key()),
            end: seen(region.get_end_key()),
            conf_ver: region.get_region_epoch().get_conf_ver(),
            version: region.get_region_epoch().get_version(),
            leader_store: found.leader.as_ref().map(metapb::Peer::get_store_id),
            stores: region
                .get_peers()
                .iter()
                .map(metapb::Peer::get_store_id)
                .collect(),
        }
    }
}

impl fmt::Display for RegionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leader = match self.leader_store {
            Some(store) => store.to_string(),
            None => "unknown".to_owned(),
        };
        writeln!(f, "region {}", self.id)?;
        writeln!(f, "start   \"{}\" (hex {})", self.start, self.start_hex)?;
        writeln!(f, "end     \"{}\" (hex {})", self.end, self.end_hex)?;
        writeln!(
            f,
            "epoch   conf_ver {}, version {}",
            self.conf_ver, self.version
        )?;
        write!(f, "leader  store {leader}, of stores {:?}", self.stores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_shows_its_boundaries_as_stored_and_as_seen() {
        let mut region = metapb::Region::default();
        region.set_id(7);
        region.set_end_key(txn_types::Key::from_raw(b"k").into_encoded());
        let report = RegionReport::new(&RegionWithLeader {
            region,
            leader: None,
        });
        let text = report.to_string();
        assert!(
            text.contains("end     \"k\" (hex 6b00000000000000f8)"),
            "{text}"
        );
        assert!(text.contains("start   \"\" (hex )"), "{text}");
    }

    #[test]
    fn a_store_is_one_line() {
        let mut store = metapb::Store::default();
        store.set_id(1);
        store.set_address("127.0.0.1:20160".into());
        let mut stats = StoreStats::default();
        stats.set_capacity(1 << 30);
        let text = StoresReport(vec![StoreReport::new(&store, &stats)]).to_string();
        assert!(text.starts_with("store 1  127.0.0.1:20160  Up"), "{text}");
        assert!(text.contains("of 1GiB"), "{text}");
    }
}
