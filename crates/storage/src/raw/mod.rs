//! Raw access: keys and values without transactions, in the format of the store.
//!
//! Without versions (V1) a key has one entry, perhaps with the second at which it expires. With versions (V2) every
//! write adds an entry with a timestamp of the placement driver, and the newest one counts ([`view`], [`causal_ts`]).
//!
//! Every write goes through the latches of its keys, whatever flags the request sets. That is what makes a
//! compare-and-swap atomic against all of them. A range deletion cannot latch its keys; see [`stripe`].
//! Must never: interpret a value beyond what the store's format adds to it.

mod cas;
mod causal_ts;
mod checksum;
mod expiry;
mod format;
mod reads;
mod view;
mod writes;

use api_version::KvFormat;
pub use cas::{CasRequest, CasResult};
pub use causal_ts::{CausalTs, TsoSource};
pub use checksum::Checksum;
use engine_traits::Cf;
pub use expiry::expiry_filter;
pub use reads::RawScanRequest;

use crate::{Error, Result};

/// A key and its value, as the client knows them.
pub type RawKvPair = (Vec<u8>, Vec<u8>);

/// The column family of a raw request; the empty name stands for `default`, and with versions there is no other.
fn raw_cf<F: KvFormat>(name: &str) -> Result<Cf> {
    if name.is_empty() {
        return Ok(Cf::Default);
    }
    if F::HAS_VERSIONS {
        return Err(Error::CfDeprecated(name.to_owned()));
    }
    Cf::DATA
        .into_iter()
        .find(|cf| cf.name() == name)
        .ok_or_else(|| Error::InvalidCf(name.to_owned()))
}

/// Latches that a compare-and-swap shares with range deletions.
///
/// A deletion that fell between the comparison and the write would be undone by the write, although both reported
/// success. It cannot latch every key of its range, so it takes one latch for each stripe, and a compare-and-swap
/// takes the one of its key: they exclude each other, while swaps of different stripes run side by side and plain
/// writes, which do not depend on what they overwrite, take no stripe at all.
pub(crate) mod stripe {
    use std::hash::{DefaultHasher, Hash, Hasher};

    const STRIPES: u64 = 1024;

    /// The latch key of the stripe of `key`.
    pub(crate) fn of(key: &[u8]) -> Vec<u8> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        name(hasher.finish() % STRIPES)
    }

    /// The latch keys of all stripes.
    pub(crate) fn all() -> Vec<Vec<u8>> {
        (0..STRIPES).map(name).collect()
    }

    fn name(stripe: u64) -> Vec<u8> {
        let mut name = b"raw range stripe ".to_vec();
        name.extend_from_slice(&stripe.to_be_bytes());
        name
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn every_key_has_a_stripe_that_range_deletions_take() {
            let all = super::all();
            for n in 0..5000u32 {
                assert!(all.contains(&super::of(&n.to_be_bytes())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use api_version::{ApiV1Ttl, ApiV2};

    use super::*;

    #[test]
    fn column_families_by_name() {
        assert_eq!(raw_cf::<ApiV1Ttl>("").unwrap(), Cf::Default);
        assert_eq!(raw_cf::<ApiV1Ttl>("default").unwrap(), Cf::Default);
        assert_eq!(raw_cf::<ApiV1Ttl>("lock").unwrap(), Cf::Lock);
        assert_eq!(raw_cf::<ApiV1Ttl>("write").unwrap(), Cf::Write);
        for foreign in ["raft", "Default", "nope"] {
            let text = raw_cf::<ApiV1Ttl>(foreign).unwrap_err().to_string();
            assert_eq!(text, format!("invalid cf name: {foreign}"));
        }
        assert_eq!(raw_cf::<ApiV2>("").unwrap(), Cf::Default);
        for named in ["default", "write", "nope"] {
            let text = raw_cf::<ApiV2>(named).unwrap_err().to_string();
            assert_eq!(
                text,
                format!("cf is deprecated in API V2, cf name: {named}")
            );
        }
    }
}
