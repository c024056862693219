//! Scans of raw keys, region by region.
//!
//! The published client asks on behind the end of its range when that holds less than the limit, and
//! stops at the end of the first region when the range has no end. An operator's tool must do
//! neither, so it asks itself. Boundaries of regions hold raw keys as they are in API V1, and encoded
//! in API V2; a keyspace says which it is.

use anyhow::{anyhow, bail};
use kvproto::kvrpcpb::{APIVersion, RawScanRequest};
use pd_client::RegionWithLeader;
use txn_types::Key;

use crate::cluster::{ATTEMPTS, Cluster};

/// Keys, and values where they are wanted.
pub(crate) type Pairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A key that lies in the last region, or in the last of API V1: longer than any real boundary of
/// this value.
const BEHIND_ALL: [u8; 64] = [0xff; 64];

/// Which key comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The smallest.
    Ascending,
    /// The largest.
    Descending,
}

/// What to read.
#[derive(Debug)]
pub(crate) struct RawScan {
    /// The first key.
    pub(crate) start: Vec<u8>,
    /// The key behind the last; nothing is no bound.
    pub(crate) end: Option<Vec<u8>>,
    pub(crate) limit: u32,
    pub(crate) order: Order,
    pub(crate) keys_only: bool,
}

/// How keys of one keyspace, or of none, stand in requests and in boundaries.
struct Keys {
    /// What stands in front of the user's key.
    prefix: Vec<u8>,
}

impl Keys {
    fn api_version(&self) -> APIVersion {
        if self.prefix.is_empty() {
            APIVersion::V1
        } else {
            APIVersion::V2
        }
    }

    /// The key of a request in the form of region boundaries.
    fn place(&self, key: &[u8]) -> Vec<u8> {
        match self.api_version() {
            APIVersion::V2 => Key::from_raw(key).into_encoded(),
            _ => key.to_vec(),
        }
    }

    /// A boundary of a region as a key of a request; nothing for the ends of the key space.
    fn boundary(&self, place: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        if place.is_empty() {
            return Ok(None);
        }
        match self.api_version() {
            APIVersion::V2 => Ok(Some(Key::from_encoded_slice(place).to_raw()?)),
            _ => Ok(Some(place.to_vec())),
        }
    }

    /// The range of a request: bounded by the keyspace where the user's has no bound.
    fn range(&self, scan: &RawScan) -> (Vec<u8>, Option<Vec<u8>>) {
        let prefixed = |key: &[u8]| [self.prefix.as_slice(), key].concat();
        let end = match &scan.end {
            Some(end) => Some(prefixed(end)),
            None => behind(&self.prefix),
        };
        (prefixed(&scan.start), end)
    }
}

/// The first key behind all that begin with `prefix`; nothing when there is none.
fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

impl RawScan {
    /// Reads until the limit or the end of the range.
    pub(crate) async fn run(
        &self,
        cluster: &Cluster,
        keyspace: Option<&str>,
    ) -> anyhow::Result<Pairs> {
        let prefix = match keyspace {
            Some(name) => {
                let [_, high, middle, low] = cluster.keyspace_id(name).await?.to_be_bytes();
                vec![b'r', high, middle, low]
            }
            None => Vec::new(),
        };
        let keys = Keys { prefix };
        let (mut lower, mut upper) = keys.range(self);
        let mut found = Pairs::new();
        let mut refused = 0;
        while found.len() < self.limit as usize && upper.as_ref().is_none_or(|end| lower < *end) {
            let region = self
                .next_region(cluster, &keys, &lower, upper.as_deref())
                .await?;
            let first = keys.boundary(region.region.get_start_key())?;
            let last = keys.boundary(region.region.get_end_key())?;
            let part = (
                first.clone().unwrap_or_default().max(lower.clone()),
                least(upper.clone(), last.clone()),
            );
            let missing = self.limit - found.len() as u32;
            let Some(pairs) = self.ask(cluster, &keys, &region, part, missing).await? else {
                refused += 1;
                if refused == ATTEMPTS {
                    bail!("region {} keeps moving", region.region.get_id());
                }
                continue;
            };
            refused = 0;
            found.extend(pairs);
            let next = match self.order {
                Order::Ascending => last.map(|last| lower = last),
                Order::Descending => first.map(|first| upper = Some(first)),
            };
            if next.is_none() {
                break;
            }
        }
        for (key, _) in &mut found {
            key.drain(..keys.prefix.len().min(key.len()));
        }
        Ok(found)
    }

    /// The region that holds the next keys of `[lower, upper)`.
    async fn next_region(
        &self,
        cluster: &Cluster,
        keys: &Keys,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> anyhow::Result<RegionWithLeader> {
        if self.order == Order::Ascending {
            return cluster.region_of(&keys.place(lower)).await;
        }
        let place = upper.map_or(BEHIND_ALL.to_vec(), |upper| keys.place(upper));
        let region = cluster.region_of(&place).await?;
        // The upper bound is not part of the range: at a boundary the region in front is meant.
        if upper.is_some() && region.region.get_start_key() == place {
            return cluster.region_before(&place).await;
        }
        Ok(region)
    }

    /// What one region holds of `[lower, upper)`; nothing when it has moved.
    async fn ask(
        &self,
        cluster: &Cluster,
        keys: &Keys,
        region: &RegionWithLeader,
        (lower, upper): (Vec<u8>, Option<Vec<u8>>),
        limit: u32,
    ) -> anyhow::Result<Option<Pairs>> {
        let (client, mut context) = cluster.leader(region).await?;
        context.set_api_version(keys.api_version());
        let upper = upper.unwrap_or_default();
        let (start, end) = match self.order {
            Order::Ascending => (lower, upper),
            Order::Descending => (upper, lower),
        };
        let mut request = RawScanRequest::default();
        request.set_context(context);
        request.set_start_key(start);
        request.set_end_key(end);
        request.set_limit(limit);
        request.set_key_only(self.keys_only);
        request.set_reverse(self.order == Order::Descending);
        let options = cluster.call_options();
        let mut answer = client.raw_scan_async_opt(&request, options)?.await?;
        if answer.has_region_error() {
            return Ok(None);
        }
        let mut pairs = Pairs::new();
        for mut pair in answer.take_kvs() {
            if pair.has_error() {
                return Err(anyhow!("{:?}", pair.get_error()));
            }
            let value = (!self.keys_only).then(|| pair.take_value());
            pairs.push((pair.take_key(), value));
        }
        Ok(Some(pairs))
    }
}

/// The smaller of two upper bounds, where nothing is no bound.
fn least(one: Option<Vec<u8>>, other: Option<Vec<u8>>) -> Option<Vec<u8>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(end: Option<&[u8]>) -> RawScan {
        RawScan {
            start: b"a".to_vec(),
            end: end.map(<[u8]>::to_vec),
            limit: 1,
            order: Order::Ascending,
            keys_only: false,
        }
    }

    #[test]
    fn a_keyspace_bounds_a_range_without_end() {
        let none = Keys { prefix: Vec::new() };
        assert_eq!(none.range(&scan(None)), (b"a".to_vec(), None));
        let some = Keys {
            prefix: b"r\x00\x00\xff".to_vec(),
        };
        let (start, end) = some.range(&scan(None));
        assert_eq!(start, b"r\x00\x00\xffa");
        assert_eq!(end.unwrap(), b"r\x00\x01");
        let (_, end) = some.range(&scan(Some(b"b")));
        assert_eq!(end.unwrap(), b"r\x00\x00\xffb");
    }

    #[test]
    fn boundaries_are_encoded_under_a_keyspace_only() {
        let none = Keys { prefix: Vec::new() };
        assert_eq!(none.place(b"k"), b"k");
        assert_eq!(none.boundary(b"").unwrap(), None);
        let some = Keys {
            prefix: b"r\x00\x00\x00".to_vec(),
        };
        let place = some.place(b"r\x00\x00\x00k");
        assert_eq!(place, Key::from_raw(b"r\x00\x00\x00k").into_encoded());
        assert_eq!(some.boundary(&place).unwrap().unwrap(), b"r\x00\x00\x00k");
        assert!(some.boundary(b"short").is_err());
    }

    #[test]
    fn bounds_meet_at_the_smaller() {
        let (a, b) = (Some(b"a".to_vec()), Some(b"b".to_vec()));
        assert_eq!(least(a.clone(), b.clone()), a);
        assert_eq!(least(None, b.clone()), b);
        assert_eq!(least(None, None), None);
        assert_eq!(behind(b"\xff"), None);
    }
}
