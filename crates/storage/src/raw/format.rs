//! How the store's API version keeps raw keys and values: what a write puts, and when it expires.
//!
//! Where raw keys have versions, a modification is made without one; the scheduler adds it when the
//! write's turn has come (see [`Stamp`]).
//! Must never: let stored bytes reach a client undecoded.

use api_version::{KvFormat, RawValue};
use engine_traits::Cf;
use kv::Modify;
use runtime::Clock;
use txn_types::Key;

use crate::txn::command::Stamp;
use crate::{Error, Result};

/// The stored form of a raw key; where there are versions, a bound below all of them.
pub(super) fn encode_key<F: KvFormat>(key: &[u8]) -> Key {
    F::encode_raw_key(key, None)
}

/// The second by which values are judged. Without expiry it is not looked at.
pub(super) fn now_secs<F: KvFormat>(clock: &Clock) -> u64 {
    if F::IS_TTL_ENABLED {
        clock.unix_millis() / 1000
    } else {
        0
    }
}

/// The second at which what is written now expires, `ttl` seconds from now; zero is never.
pub(super) fn expire_ts<F: KvFormat>(ttl: u64, now_secs: u64) -> Result<Option<u64>> {
    match ttl {
        0 => Ok(None),
        _ if !F::IS_TTL_ENABLED => Err(Error::TtlNotEnabled),
        // Beyond the end of time is for ever.
        ttl => Ok(Some(now_secs.saturating_add(ttl))),
    }
}

/// Sets a key.
pub(super) fn put<F: KvFormat>(cf: Cf, key: &[u8], value: &[u8], expire_ts: Option<u64>) -> Modify {
    let value = RawValue {
        user_value: value,
        expire_ts,
        is_delete: false,
    };
    Modify::Put(cf, encode_key::<F>(key), F::encode_raw_value(value))
}

/// Removes a key; where there are versions, by a newer one that says so.
pub(super) fn delete<F: KvFormat>(cf: Cf, key: &[u8]) -> Modify {
    let key = encode_key::<F>(key);
    if F::HAS_VERSIONS {
        let marker = RawValue {
            user_value: &[][..],
            expire_ts: None,
            is_delete: true,
        };
        Modify::Put(cf, key, F::encode_raw_value(marker))
    } else {
        Modify::Delete(cf, key)
    }
}

/// Whether writes need a version.
pub(super) fn stamp<F: KvFormat>() -> Stamp {
    if F::HAS_VERSIONS {
        Stamp::Causal
    } else {
        Stamp::None
    }
}

#[cfg(test)]
mod tests {
    use api_version::{ApiV1, ApiV1Ttl, ApiV2};

    use super::*;

    #[test]
    fn expiry_counts_from_now_and_saturates() {
        assert_eq!(expire_ts::<ApiV1Ttl>(0, 100).unwrap(), None);
        assert_eq!(expire_ts::<ApiV1Ttl>(5, 100).unwrap(), Some(105));
        assert_eq!(expire_ts::<ApiV2>(u64::MAX, 100).unwrap(), Some(u64::MAX));
        assert_eq!(expire_ts::<ApiV1>(0, 0).unwrap(), None);
        let refused = expire_ts::<ApiV1>(1, 0).unwrap_err().to_string();
        assert_eq!(refused, "ttl is not enabled, but get put request with ttl");
    }

    #[test]
    fn a_deletion_is_a_version_where_there_are_versions() {
        let key = Key::from_encoded_slice(b"k");
        assert_eq!(
            delete::<ApiV1Ttl>(Cf::Write, b"k"),
            Modify::Delete(Cf::Write, key)
        );
        assert_eq!(
            delete::<ApiV2>(Cf::Default, b"k"),
            Modify::Put(Cf::Default, Key::from_raw(b"k"), vec![2])
        );
    }
}
