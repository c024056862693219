//! The regions as their leaders last reported them, as a tree without overlaps. No IO.
//!
//! Reports arrive late, twice and out of order. What a region *is* (range, peers) is ordered by
//! its epoch: `version` grows with splits and merges, `conf_ver` with changes of peers. A report is
//! accepted when nothing that overlaps it has a larger version and, for the same region, neither
//! term nor epoch is behind. An accepted report removes every other region that it overlaps: those
//! are older versions of the same keys. The tree may have holes meanwhile; later reports fill them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use kvproto::metapb::{Peer, PeerRole, Region};
use kvproto::pdpb::{PeerStats, RegionHeartbeatRequest};

use crate::{Error, Result};

/// Bytes of a key in an error.
const SHOWN_BYTES: usize = 64;

/// A region and what its leader last said about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegionInfo {
    /// Id, range, epoch, peers: what is kept on disk.
    pub region: Region,
    /// The reported leader; none after a restart until the first report.
    pub leader: Option<Peer>,
    /// The term of that leader; 0 when it was not told.
    pub term: u64,
    /// Peers that the leader cannot reach.
    pub down_peers: Vec<PeerStats>,
    /// Peers that are catching up.
    pub pending_peers: Vec<Peer>,
    /// Bytes, roughly; 0 before it was ever told.
    pub approximate_size: u64,
    /// Keys, roughly.
    pub approximate_keys: u64,
    /// Bytes and keys of the last interval: written, read.
    pub flow: Flow,
}

/// The traffic of one reporting interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Keys written.
    pub keys_written: u64,
    /// Keys read.
    pub keys_read: u64,
}

impl RegionInfo {
    /// A region of which nothing but its shape is known.
    pub fn new(region: Region) -> RegionInfo {
        RegionInfo {
            region,
            ..RegionInfo::default()
        }
    }

    /// The contents of a report.
    pub fn from_heartbeat(mut heartbeat: RegionHeartbeatRequest) -> RegionInfo {
        RegionInfo {
            leader: heartbeat.has_leader().then(|| heartbeat.take_leader()),
            term: heartbeat.get_term(),
            down_peers: heartbeat.take_down_peers().into_vec(),
            pending_peers: heartbeat.take_pending_peers().into_vec(),
            approximate_size: heartbeat.get_approximate_size(),
            approximate_keys: heartbeat.get_approximate_keys(),
            flow: Flow {
                bytes_written: heartbeat.get_bytes_written(),
                bytes_read: heartbeat.get_bytes_read(),
                keys_written: heartbeat.get_keys_written(),
                keys_read: heartbeat.get_keys_read(),
            },
            region: heartbeat.take_region(),
        }
    }

    /// The leader to tell clients. Before the first report it is known for a region with a single
    /// voter: nobody else can lead it.
    pub fn known_leader(&self) -> Option<&Peer> {
        self.leader
            .as_ref()
            .or_else(|| match self.region.get_peers() {
                [only] if only.get_role() == PeerRole::Voter => Some(only),
                _ => None,
            })
    }

    fn version(&self) -> u64 {
        self.region.get_region_epoch().get_version()
    }

    fn conf_ver(&self) -> u64 {
        self.region.get_region_epoch().get_conf_ver()
    }
}

/// What accepting a report means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acceptance {
    /// The shape is new: it has to go to disk.
    pub persist: bool,
    /// Other regions that it replaces.
    pub replaced: Vec<u64>,
}

/// What a reader of ranges relies on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coverage {
    /// Nothing: what is not known is left out.
    Any,
    /// Every key of the ranges is in a region of the answer, unless the limit cut it short.
    Whole,
}

/// Why a report is refused, in words for the one who sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stale(pub String);

/// See the module.
#[derive(Debug, Default)]
pub struct RegionTree {
    by_id: HashMap<u64, RegionInfo>,
    by_start: BTreeMap<Vec<u8>, u64>,
}

impl RegionTree {
    /// How many regions there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The region of this id.
    pub fn get(&self, region_id: u64) -> Option<&RegionInfo> {
        self.by_id.get(&region_id)
    }

    /// The region that holds this key.
    pub fn find(&self, key: &[u8]) -> Option<&RegionInfo> {
        let (_, id) = self.up_to(Bound::Included(key)).next_back()?;
        let info = self.by_id.get(id)?;
        before_end(key, info.region.get_end_key()).then_some(info)
    }

    /// The region that ends where the one that holds this key begins.
    pub fn find_previous(&self, key: &[u8]) -> Option<&RegionInfo> {
        let start = self.find(key)?.region.get_start_key();
        let (_, id) = self.up_to(Bound::Excluded(start)).next_back()?;
        let info = self.by_id.get(id)?;
        (info.region.get_end_key() == start).then_some(info)
    }

    /// The regions that overlap `[start, end)` in key order; an empty `end` is unbounded.
    pub fn scan<'a>(
        &'a self,
        start: &'a [u8],
        end: &'a [u8],
    ) -> impl Iterator<Item = &'a RegionInfo> + 'a {
        let is_empty = !before_end(start, end);
        let first = self.find(start);
        // A region that begins at `start` exactly is `first` already.
        let rest = self
            .by_start
            .range::<[u8], _>((Bound::Excluded(start), Bound::Unbounded))
            .filter_map(|(_, id)| self.by_id.get(id));
        first
            .into_iter()
            .chain(rest)
            .take_while(move |info| !is_empty && before_end(info.region.get_start_key(), end))
    }

    /// The regions that overlap any of these ranges, each once, at most `limit` of them. The ranges
    /// are in key order and apart from each other; an empty end is unbounded.
    pub fn scan_ranges<'a>(
        &'a self,
        ranges: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        limit: usize,
        coverage: Coverage,
    ) -> Result<Vec<&'a RegionInfo>> {
        let ranges: Vec<(&[u8], &[u8])> = ranges.collect();
        check_ranges(&ranges)?;
        let mut found: Vec<&RegionInfo> = Vec::new();
        for (start, end) in ranges {
            // Up to here the range is covered; none is to the end of all keys.
            let mut covered = Some(start);
            for info in self.scan(start, end) {
                let region = &info.region;
                if coverage == Coverage::Whole && Some(region.get_start_key()) > covered {
                    return Err(hole(covered.unwrap_or_default(), region.get_start_key()));
                }
                covered = Some(region.get_end_key()).filter(|end| !end.is_empty());
                if found.last().map(|last| last.region.get_id()) != Some(region.get_id()) {
                    found.push(info);
                }
                if found.len() == limit {
                    return Ok(found);
                }
            }
            if let (Coverage::Whole, Some(covered)) = (coverage, covered)
                && before_end(covered, end)
            {
                return Err(hole(covered, end));
            }
        }
        Ok(found)
    }

    /// Judges a report of a region whose range is not empty.
    pub fn judge(&self, new: &RegionInfo) -> std::result::Result<Acceptance, Stale> {
        let region = &new.region;
        let mut replaced = Vec::new();
        for other in self.scan(region.get_start_key(), region.get_end_key()) {
            if other.version() > new.version() {
                return Err(Stale(format!(
                    "region is stale: region {} with epoch {:?} is behind region {} with epoch {:?}",
                    region.get_id(),
                    region.get_region_epoch(),
                    other.region.get_id(),
                    other.region.get_region_epoch()
                )));
            }
            if other.region.get_id() != region.get_id() {
                replaced.push(other.region.get_id());
            }
        }
        let Some(known) = self.get(region.get_id()) else {
            return Ok(Acceptance {
                persist: true,
                replaced,
            });
        };
        let behind_in_term = new.term > 0 && new.term < known.term;
        if behind_in_term || new.version() < known.version() || new.conf_ver() < known.conf_ver() {
            return Err(Stale(format!(
                "region is stale: region {} with term {} and epoch {:?} is behind term {} and epoch {:?}",
                region.get_id(),
                new.term,
                region.get_region_epoch(),
                known.term,
                known.region.get_region_epoch()
            )));
        }
        Ok(Acceptance {
            persist: new.version() > known.version()
                || new.conf_ver() > known.conf_ver()
                || region.get_peers().len() != known.region.get_peers().len()
                || !replaced.is_empty(),
            replaced,
        })
    }

    /// Takes an accepted region in. Those that it replaces were removed before.
    pub(crate) fn put(&mut self, mut info: RegionInfo) {
        let region_id = info.region.get_id();
        if let Some(known) = self.by_id.get(&region_id) {
            // 0 means that the leader has not counted yet.
            if info.approximate_size == 0 {
                info.approximate_size = known.approximate_size;
                info.approximate_keys = known.approximate_keys;
            }
            self.by_start.remove(known.region.get_start_key());
        }
        self.by_start
            .insert(info.region.get_start_key().to_vec(), region_id);
        self.by_id.insert(region_id, info);
    }

    /// Removes a region.
    pub(crate) fn remove(&mut self, region_id: u64) {
        if let Some(info) = self.by_id.remove(&region_id) {
            self.by_start.remove(info.region.get_start_key());
        }
    }

    /// Both indexes agree and no two regions overlap.
    pub fn check_invariants(&self) -> std::result::Result<(), String> {
        if self.by_id.len() != self.by_start.len() {
            return Err(format!(
                "{} ids, but {} start keys",
                self.by_id.len(),
                self.by_start.len()
            ));
        }
        let mut previous: Option<&Region> = None;
        for (start, id) in &self.by_start {
            let info = self.get(*id).ok_or_else(|| format!("no region {id}"))?;
            if info.region.get_start_key() != start.as_slice() {
                return Err(format!("region {id} is filed under another start"));
            }
            if let Some(previous) = previous {
                let end = previous.get_end_key();
                if end.is_empty() || end > start.as_slice() {
                    return Err(format!("region {} overlaps region {id}", previous.get_id()));
                }
            }
            previous = Some(&info.region);
        }
        Ok(())
    }

    fn up_to<'a>(
        &'a self,
        last: Bound<&'a [u8]>,
    ) -> impl DoubleEndedIterator<Item = (&'a Vec<u8>, &'a u64)> {
        self.by_start.range::<[u8], _>((Bound::Unbounded, last))
    }
}

fn check_ranges(ranges: &[(&[u8], &[u8])]) -> Result<()> {
    for (start, end) in ranges {
        if !before_end(start, end) {
            return Err(Error::Refused(format!(
                "invalid key range: it ends at \"{}\", not after its start",
                shown(end)
            )));
        }
    }
    for pair in ranges.windows(2) {
        let ((_, end), (start, _)) = (pair[0], pair[1]);
        if end.is_empty() || start < end {
            return Err(Error::Refused(
                "invalid key ranges: they overlap or are not in order".to_owned(),
            ));
        }
    }
    Ok(())
}

fn hole(from: &[u8], to: &[u8]) -> Error {
    Error::RangeNotCovered(format!(
        "no region is known between \"{}\" and \"{}\"",
        shown(from),
        shown(to)
    ))
}

/// The beginning of a key, for people.
fn shown(key: &[u8]) -> impl std::fmt::Display {
    key[..key.len().min(SHOWN_BYTES)].escape_ascii()
}

/// Whether a key lies before a region's end, where empty is unbounded.
pub fn before_end(key: &[u8], end: &[u8]) -> bool {
    end.is_empty() || key < end
}

#[cfg(test)]
mod tests;
