//! Encoded keys and timestamps, as in sections 1.4, 2.1 and 2.5 of the formats facts.

use test_case::test_case;
use txn_types::{Key, TimeStamp};

#[test_case("", "0000000000000000f7"; "empty")]
#[test_case("61", "6100000000000000f8"; "one byte")]
#[test_case("616263", "6162630000000000fa"; "three bytes")]
#[test_case("61626364656667", "6162636465666700fe"; "seven bytes")]
#[test_case("6162636465666768", "6162636465666768ff0000000000000000f7"; "a whole group")]
#[test_case("616263646566676869", "6162636465666768ff6900000000000000f8"; "nine bytes")]
#[test_case("00", "0000000000000000f8"; "zero byte")]
#[test_case("ff", "ff00000000000000f8"; "highest byte")]
#[test_case("0000000000000000", "0000000000000000ff0000000000000000f7"; "a group of zeros")]
#[test_case("74800000000000002d5f728000000000000001",
    "7480000000000000ff2d5f728000000000ff0000010000000000fa"; "table row")]
#[test_case("74800000000000002d", "7480000000000000ff2d00000000000000f8"; "table prefix")]
fn encoded_key(raw: &str, encoded: &str) {
    let raw = hex::decode(raw).unwrap();
    let key = Key::from_raw(&raw);
    assert_eq!(hex::encode(key.as_encoded()), encoded);
    assert_eq!(key.to_raw().unwrap(), raw);
    assert!(key.is_encoded_from(&raw));
}

#[test_case(0, "ffffffffffffffff"; "zero")]
#[test_case(1, "fffffffffffffffe"; "one")]
#[test_case(100, "ffffffffffffff9b"; "hundred")]
#[test_case(411225436913926252, "fa4b08a4d623ff93"; "an oracle timestamp")]
#[test_case(u64::MAX, "0000000000000000"; "max")]
fn timestamp_suffix(ts: u64, suffix: &str) {
    let key = Key::from_raw(b"a").append_ts(TimeStamp::new(ts));
    assert_eq!(
        hex::encode(key.as_encoded()),
        format!("6100000000000000f8{suffix}")
    );
    assert_eq!(key.decode_ts().unwrap(), TimeStamp::new(ts));
}

#[test_case("6100000000000000"; "group cut off")]
#[test_case("6100000000000001f8"; "padding is not zero")]
#[test_case("6100000000000000f6"; "marker below the lowest")]
#[test_case("6162636465666768ff"; "no last group")]
#[test_case(""; "nothing")]
fn refuses_a_broken_key(encoded: &str) {
    assert!(
        Key::from_encoded(hex::decode(encoded).unwrap())
            .to_raw()
            .is_err()
    );
}
