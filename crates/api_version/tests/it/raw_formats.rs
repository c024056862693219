//! Section 5 of the formats facts, and round trips.

use api_version::{ApiV1, ApiV1Ttl, ApiV2, ApiVersion, Error, KeyMode, KvFormat, RawValue};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use test_case::test_case;
use txn_types::{Key, TimeStamp};

const A: RawValue<&[u8]> = RawValue {
    user_value: b"a",
    expire_ts: None,
    is_delete: false,
};
const A_EXPIRES: RawValue<&[u8]> = RawValue {
    user_value: b"a",
    expire_ts: Some(2),
    is_delete: false,
};
const DELETED: RawValue<&[u8]> = RawValue {
    user_value: b"",
    expire_ts: None,
    is_delete: true,
};

fn check_value<F: KvFormat>(value: RawValue<&[u8]>, stored: &str) {
    assert_eq!(hex::encode(F::encode_raw_value(value)), stored);
    assert_eq!(
        F::decode_raw_value(&hex::decode(stored).unwrap()),
        Ok(value)
    );
}

#[test]
fn values() {
    check_value::<ApiV1>(A, "61");
    check_value::<ApiV1Ttl>(A_EXPIRES, "610000000000000002");
    check_value::<ApiV1Ttl>(A, "610000000000000000");
    check_value::<ApiV2>(A, "6100");
    check_value::<ApiV2>(A_EXPIRES, "61000000000000000201");
    check_value::<ApiV2>(DELETED, "02");
    assert_eq!(ApiV2::DELETED, ApiV2::encode_raw_value(DELETED));
}

#[test_case(b"r\0\0\0k", 100, "720000006b000000fcffffffffffffff9b"; "default keyspace")]
#[test_case(b"r\0\0\x01k", 100, "720000016b000000fcffffffffffffff9b"; "keyspace 1")]
#[test_case(b"r", 2, "7200000000000000f8fffffffffffffffd"; "prefix alone")]
fn keys_of_v2(user_key: &[u8], ts: u64, stored: &str) {
    let key = ApiV2::encode_raw_key(user_key, Some(TimeStamp::new(ts)));
    assert_eq!(hex::encode(key.as_encoded()), stored);
    let decoded = ApiV2::decode_raw_key(key.as_encoded());
    assert_eq!(decoded, Ok((user_key.to_vec(), Some(TimeStamp::new(ts)))));
    assert_eq!(
        ApiV2::encode_raw_key(user_key, None),
        Key::from_raw(user_key)
    );
}

#[test_case(b"x\0\x01\x02k", "780001026b000000fc"; "a key of keyspace 258")]
#[test_case(b"x\0\x01\x03", "7800010300000000fb"; "the end of keyspace 258")]
fn region_keys_of_v2(user_key: &[u8], encoded: &str) {
    assert_eq!(hex::encode(Key::from_raw(user_key).as_encoded()), encoded);
}

#[test]
fn keys_of_v1_are_verbatim() {
    for stored in [&b""[..], b"k", b"k\0\xff"] {
        assert_eq!(ApiV1::encode_raw_key(stored, None).as_encoded(), stored);
        assert_eq!(
            ApiV1Ttl::encode_raw_key(stored, Some(1.into())).as_encoded(),
            stored
        );
        assert_eq!(ApiV1::decode_raw_key(stored), Ok((stored.to_vec(), None)));
        assert_eq!(
            ApiV1Ttl::decode_raw_key(stored),
            Ok((stored.to_vec(), None))
        );
    }
}

#[test]
fn refuses_broken_values() {
    let short = Err(Error::InvalidRawValue("too short for an expiry"));
    assert_eq!(ApiV1Ttl::decode_raw_value(b"1234567"), short);
    assert_eq!(ApiV2::decode_raw_value(b"1234567\x01"), short);
    assert_eq!(
        ApiV2::decode_raw_value(b""),
        Err(Error::InvalidRawValue("no flags"))
    );
    for flags in [4, 8, 16, 32, 64, 128] {
        let stored = [b'a', flags];
        assert_eq!(
            ApiV2::decode_raw_value(&stored),
            Err(Error::InvalidRawValue("unknown flags"))
        );
    }
    assert!(ApiV2::decode_raw_key(b"short").is_err());
    assert!(ApiV2::decode_raw_key(b"no group 12345678").is_err());
}

#[test]
fn visible_until_it_expires() {
    assert!(A.is_visible(u64::MAX));
    assert!(A_EXPIRES.is_visible(1));
    assert!(!A_EXPIRES.is_visible(2) && !A_EXPIRES.is_visible(3));
    assert!(!DELETED.is_visible(0));
}

#[test]
fn modes_of_keys() {
    let modes = [
        (&b"r\0\0\0k"[..], KeyMode::Raw),
        (b"x", KeyMode::Txn),
        (b"m", KeyMode::TiDb),
        (b"t123", KeyMode::TiDb),
        (b"a", KeyMode::Unknown),
        (b"", KeyMode::Unknown),
    ];
    for (key, mode) in modes {
        assert_eq!(ApiV2::key_mode(key), mode);
        assert_eq!(ApiV1::key_mode(key), KeyMode::Unknown);
        assert_eq!(ApiV1Ttl::key_mode(key), KeyMode::Unknown);
    }
}

#[test]
fn tags() {
    assert_eq!((ApiV1::TAG, ApiV1::IS_TTL_ENABLED), (ApiVersion::V1, false));
    assert_eq!(
        (ApiV1Ttl::TAG, ApiV1Ttl::IS_TTL_ENABLED),
        (ApiVersion::V1ttl, true)
    );
    assert_eq!((ApiV2::TAG, ApiV2::IS_TTL_ENABLED), (ApiVersion::V2, true));
}

proptest! {
    #[test]
    fn values_round_trip(
        user_value in vec(any::<u8>(), 0..40),
        expire_ts in option::of(1..=u64::MAX),
        is_delete in any::<bool>(),
    ) {
        let value = RawValue { user_value: &user_value[..], expire_ts, is_delete };
        let stored = ApiV2::encode_raw_value(value);
        prop_assert_eq!(ApiV2::decode_raw_value(&stored), Ok(value));
        let value = RawValue { is_delete: false, ..value };
        let stored = ApiV1Ttl::encode_raw_value(value);
        prop_assert_eq!(ApiV1Ttl::decode_raw_value(&stored), Ok(value));
        let value = RawValue { expire_ts: None, ..value };
        let stored = ApiV1::encode_raw_value(value);
        prop_assert_eq!(ApiV1::decode_raw_value(&stored), Ok(value));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..40)) {
        let _ = (ApiV1Ttl::decode_raw_value(&bytes), ApiV2::decode_raw_value(&bytes));
        let _ = ApiV2::decode_raw_key(&bytes);
    }
}
