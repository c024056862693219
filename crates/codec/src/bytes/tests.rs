//! Golden vectors of formats.md 1.1 and 1.3, and properties: round trip, order, no prefix, refusal
//! of bad input.

use proptest::{collection::vec, prelude::*};
use test_case::test_case;

use super::*;

fn ascending(raw: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    encode_bytes(&mut out, raw);
    out
}

fn descending(raw: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    encode_bytes_desc(&mut out, raw);
    out
}

/// Bytes near the special ones, so that groups of zeros and full groups are common.
fn raw_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(
        prop_oneof![Just(0), Just(1), Just(0xff), Just(0xf7), any::<u8>()],
        0..40,
    )
}

#[test_case("", "0000000000000000f7"; "empty")]
#[test_case("61", "6100000000000000f8")]
#[test_case("616263", "6162630000000000fa")]
#[test_case("61626364656667", "6162636465666700fe")]
#[test_case("6162636465666768", "6162636465666768ff0000000000000000f7")]
#[test_case("616263646566676869", "6162636465666768ff6900000000000000f8")]
#[test_case("00", "0000000000000000f8")]
#[test_case("ff", "ff00000000000000f8")]
#[test_case("0000000000000000", "0000000000000000ff0000000000000000f7")]
#[test_case(
    "74800000000000002d5f728000000000000001",
    "7480000000000000ff2d5f728000000000ff0000010000000000fa"
)]
fn ascending_golden(raw: &str, expected: &str) {
    let raw = hex::decode(raw).unwrap();
    let mut bytes = ascending(&raw);
    assert_eq!(hex::encode(&bytes), expected);
    assert_eq!(encoded_len(raw.len()), bytes.len());
    bytes.extend_from_slice(b"tail");
    let mut input = bytes.as_slice();
    assert_eq!(encoded_prefix_len(input), Ok(encoded_len(raw.len())));
    assert_eq!(decode_bytes(&mut input), Ok(raw.clone()));
    assert_eq!(input, b"tail");
    decode_bytes_in_place(&mut bytes).unwrap();
    assert_eq!(bytes, raw);
}

#[test_case("61", "9effffffffffffff07")]
#[test_case("", "ffffffffffffffff08"; "empty")]
fn descending_golden(raw: &str, expected: &str) {
    let raw = hex::decode(raw).unwrap();
    let mut bytes = descending(&raw);
    assert_eq!(hex::encode(&bytes), expected);
    bytes.extend_from_slice(b"tail");
    let mut input = bytes.as_slice();
    assert_eq!(decode_bytes_desc(&mut input), Ok(raw));
    assert_eq!(input, b"tail");
}

#[test_case("", Error::UnexpectedEof { need: 9, have: 0 }; "nothing")]
#[test_case("6100000000000000", Error::UnexpectedEof { need: 9, have: 8 }; "no marker")]
#[test_case("6162636465666768ff", Error::UnexpectedEof { need: 9, have: 0 }; "no last group")]
#[test_case("6162636465666768ff00", Error::UnexpectedEof { need: 9, have: 1 }; "torn last group")]
#[test_case("6100000000000000f6", Error::InvalidMarker(0xf6); "padding of nine")]
#[test_case("610000000000000000", Error::InvalidMarker(0); "marker zero")]
#[test_case("6100000000000001f8", Error::InvalidPadding; "padding at the end")]
#[test_case("6101000000000000f8", Error::InvalidPadding; "padding at its begin")]
#[test_case("6162636465666768ff0100000000000000f7", Error::InvalidPadding; "empty last group")]
fn ascending_refused(input: &str, expected: Error) {
    let mut bytes = hex::decode(input).unwrap();
    let mut rest = bytes.as_slice();
    assert_eq!(decode_bytes(&mut rest), Err(expected));
    assert_eq!(rest.len(), bytes.len(), "a failed decode leaves the input");
    assert_eq!(encoded_prefix_len(&bytes), Err(expected));
    let before = bytes.clone();
    assert_eq!(decode_bytes_in_place(&mut bytes), Err(expected));
    assert_eq!(bytes, before);
}

#[test_case("9effffffffffffff09", Error::InvalidMarker(9); "padding of nine")]
#[test_case("9efffffffffffffe07", Error::InvalidPadding; "padding at the end")]
fn descending_refused(input: &str, expected: Error) {
    let bytes = hex::decode(input).unwrap();
    assert_eq!(decode_bytes_desc(&mut bytes.as_slice()), Err(expected));
}

#[test_case("", "00"; "empty")]
#[test_case("706b", "04706b"; "a length of two is the byte four")]
fn compact_golden(raw: &str, expected: &str) {
    let raw = hex::decode(raw).unwrap();
    let mut bytes = vec![];
    encode_compact_bytes(&mut bytes, &raw);
    assert_eq!(hex::encode(&bytes), expected);
    bytes.extend_from_slice(b"tail");
    let mut input = bytes.as_slice();
    assert_eq!(decode_compact_bytes(&mut input), Ok(raw.as_slice()));
    assert_eq!(input, b"tail");
}

#[test_case("", Error::UnexpectedEof { need: 1, have: 0 }; "nothing")]
#[test_case("0470", Error::UnexpectedEof { need: 2, have: 1 }; "one of two bytes")]
#[test_case("01", Error::InvalidLength(-1); "negative")]
#[test_case("feffffffffffffffff01", Error::UnexpectedEof { need: i64::MAX as usize, have: 0 }; "absurd")]
#[test_case("ffffffffffffffffff02", Error::VarintOverflow; "overflow")]
fn compact_refused(input: &str, expected: Error) {
    let bytes = hex::decode(input).unwrap();
    let mut rest = bytes.as_slice();
    assert_eq!(decode_compact_bytes(&mut rest), Err(expected));
    assert_eq!(rest.len(), bytes.len());
}

proptest! {
    #[test]
    fn round_trip(raw in raw_bytes(), tail in raw_bytes()) {
        let mut bytes = ascending(&raw);
        prop_assert_eq!(bytes.len(), encoded_len(raw.len()));
        for len in 0..bytes.len() {
            prop_assert!(decode_bytes(&mut &bytes[..len]).is_err());
        }
        bytes.extend_from_slice(&tail);
        let mut input = bytes.as_slice();
        prop_assert_eq!(decode_bytes(&mut input), Ok(raw.clone()));
        prop_assert_eq!(input, tail.as_slice());
        prop_assert_eq!(encoded_prefix_len(&bytes), Ok(encoded_len(raw.len())));
        decode_bytes_in_place(&mut bytes).unwrap();
        prop_assert_eq!(&bytes, &raw);

        let mut bytes = descending(&raw);
        bytes.extend_from_slice(&tail);
        let mut input = bytes.as_slice();
        prop_assert_eq!(decode_bytes_desc(&mut input), Ok(raw.clone()));
        prop_assert_eq!(input, tail.as_slice());

        let mut bytes = vec![];
        encode_compact_bytes(&mut bytes, &raw);
        bytes.extend_from_slice(&tail);
        let mut input = bytes.as_slice();
        prop_assert_eq!(decode_compact_bytes(&mut input), Ok(raw.as_slice()));
        prop_assert_eq!(input, tail.as_slice());
    }

    /// Order holds even with anything behind the encodings, which is what makes key prefixes safe.
    #[test]
    fn order(a in raw_bytes(), b in raw_bytes(), tail_a in raw_bytes(), tail_b in raw_bytes()) {
        let with = |mut bytes: Vec<u8>, tail: &[u8]| { bytes.extend_from_slice(tail); bytes };
        if a != b {
            let (x, y) = (with(ascending(&a), &tail_a), with(ascending(&b), &tail_b));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            let (x, y) = (with(descending(&a), &tail_a), with(descending(&b), &tail_b));
            prop_assert_eq!(x.cmp(&y), b.cmp(&a));
        } else {
            prop_assert_eq!(ascending(&a), ascending(&b));
        }
    }

    /// Whatever decodes, encodes to the same bytes: there is one encoding of a string.
    #[test]
    fn no_input_panics(bytes in vec(prop_oneof![Just(0), 0xf0_u8..=0xff], 0..30)) {
        let mut input = bytes.as_slice();
        if let Ok(raw) = decode_bytes(&mut input) {
            let used = bytes.len() - input.len();
            prop_assert_eq!(ascending(&raw), bytes[..used].to_vec());
        }
        let _ = decode_bytes_desc(&mut bytes.as_slice());
        let _ = decode_compact_bytes(&mut bytes.as_slice());
    }
}
