//! What compactions do to raw values that have expired.
//!
//! Readers hide them already, so this only gives their space back. Nothing else may be touched: not what
//! cannot be understood, and where transactional data lives in the same column family, not that either.
//!
//! Where keys have versions, an expired value cannot simply go: the version below it would be the newest
//! then, and come back to life. So:
//!
//! 1. The newest version of a key that the compaction meets becomes a deletion marker, which readers take
//!    for the same as an expired value. Its value's space is free.
//! 2. A version that comes after a newer one of its key in the same compaction is covered by that one, which
//!    stays in some form by rule 1, and goes.
//! 3. The markers themselves go with the versions below them, when the garbage collection's safe point has
//!    passed.
//!
//! Must never: change what any reader sees at this second or later.

use api_version::{ApiV2, KeyMode, KvFormat};
use engine_traits::{CompactionFilter, CompactionFilterFactory, Verdict};
use runtime::Clock;
use std::sync::Arc;
use txn_types::Key;

use super::format;

/// The filter for the encoded keys of the default column family; `None` where values do not expire.
pub fn expiry_filter<F: KvFormat>(clock: &Clock) -> Option<CompactionFilterFactory> {
    let clock = clock.clone();
    match (F::IS_TTL_ENABLED, F::HAS_VERSIONS) {
        (false, _) => None,
        (true, false) => Some(Arc::new(move || plain::<F>(format::now_secs::<F>(&clock)))),
        (true, true) => Some(Arc::new(move || {
            versioned::<F>(format::now_secs::<F>(&clock))
        })),
    }
}

/// A store without versions holds nothing but raw data: it serves no transactions.
fn plain<F: KvFormat>(now_secs: u64) -> CompactionFilter {
    Box::new(move |_, stored| {
        if has_expired::<F>(stored, now_secs) {
            Verdict::Remove
        } else {
            Verdict::Keep
        }
    })
}

fn versioned<F: KvFormat>(now_secs: u64) -> CompactionFilter {
    let mut newest_of = Vec::new();
    Box::new(move |key, stored| {
        let Ok(user) = Key::truncate_ts_for(key) else {
            return Verdict::Keep;
        };
        // The first byte of a key is the same encoded.
        if F::key_mode(user) != KeyMode::Raw {
            return Verdict::Keep;
        }
        let covered = newest_of == user;
        if !covered {
            newest_of.clear();
            newest_of.extend_from_slice(user);
        }
        match (has_expired::<F>(stored, now_secs), covered) {
            (false, _) => Verdict::Keep,
            (true, true) => Verdict::Remove,
            (true, false) => Verdict::Replace(ApiV2::DELETED),
        }
    })
}

/// Whether a stored value has expired. A deletion marker is none.
fn has_expired<F: KvFormat>(stored: &[u8], now_secs: u64) -> bool {
    F::decode_raw_value(stored).is_ok_and(|value| !value.is_delete && !value.is_visible(now_secs))
}

#[cfg(test)]
mod tests {
    use api_version::{ApiV1, ApiV1Ttl, RawValue};
    use runtime::VirtualClock;
    use txn_types::TimeStamp;

    use super::*;

    const NOW: u64 = 100;

    fn value<F: KvFormat>(expire_ts: Option<u64>) -> Vec<u8> {
        F::encode_raw_value(RawValue {
            user_value: b"value",
            expire_ts,
            is_delete: false,
        })
    }

    #[test]
    fn without_versions_the_expired_go() {
        assert!(expiry_filter::<ApiV1>(&VirtualClock::new().clock()).is_none());
        let mut filter = plain::<ApiV1Ttl>(NOW);
        for (expire_ts, verdict) in [
            (None, Verdict::Keep),
            (Some(NOW + 1), Verdict::Keep),
            (Some(NOW), Verdict::Remove),
            (Some(1), Verdict::Remove),
        ] {
            assert_eq!(filter(b"k", &value::<ApiV1Ttl>(expire_ts)), verdict);
        }
        assert_eq!(filter(b"k", b"short"), Verdict::Keep);
    }

    fn version(user: &[u8], ts: u64) -> Vec<u8> {
        let key = ApiV2::encode_raw_key(user, Some(TimeStamp::new(ts)));
        key.into_encoded()
    }

    #[test]
    fn with_versions_nothing_comes_back_to_life() {
        let (lives, expired) = (value::<ApiV2>(None), value::<ApiV2>(Some(NOW)));
        let mut filter = versioned::<ApiV2>(NOW);
        let marker = Verdict::Replace(&[2]);
        for (user, ts, stored, verdict) in [
            // An older value stands below the expired one.
            (&b"r\0\0\0a"[..], 9, &expired, marker),
            (b"r\0\0\0a", 8, &lives, Verdict::Keep),
            (b"r\0\0\0a", 7, &expired, Verdict::Remove),
            // A key that begins like the one before is another key.
            (b"r\0\0\0aa", 5, &expired, marker),
            (b"r\0\0\0b", 9, &lives, Verdict::Keep),
            (b"r\0\0\0b", 8, &expired, Verdict::Remove),
            // A marker stays as it is and covers what is below.
            (b"r\0\0\0c", 9, &vec![2], Verdict::Keep),
            (b"r\0\0\0c", 8, &expired, Verdict::Remove),
            // Not understood, not raw.
            (b"r\0\0\0d", 8, &vec![0xff], Verdict::Keep),
            (b"x\0\0\0a", 9, &expired, Verdict::Keep),
            (b"t\0\0\0a", 9, &expired, Verdict::Keep),
            (b"", 9, &expired, Verdict::Keep),
        ] {
            let key = version(user, ts);
            assert_eq!(filter(&key, stored), verdict, "{user:?} at {ts}");
        }
        assert_eq!(filter(b"r", &expired), Verdict::Keep);
    }
}
