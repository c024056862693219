//! Golden vectors of formats.md 1.2 to 1.4, and properties: round trip, order, refusal of torn
//! input.

use std::cmp::Reverse;

use proptest::prelude::*;
use test_case::test_case;

use super::*;

type Encode<T> = fn(&mut Vec<u8>, T);
type Decode<T> = fn(&mut &[u8]) -> Result<T>;

fn encoded<T>(encode: Encode<T>, value: T) -> Vec<u8> {
    let mut out = vec![];
    encode(&mut out, value);
    out
}

/// Encodes to the expected bytes, and decodes from them with more bytes behind.
fn check_golden<T: Copy + PartialEq + std::fmt::Debug>(
    encode: Encode<T>,
    decode: Decode<T>,
    value: T,
    expected: &str,
) {
    let mut bytes = encoded(encode, value);
    assert_eq!(hex::encode(&bytes), expected);
    bytes.extend_from_slice(b"tail");
    let mut input = bytes.as_slice();
    assert_eq!(decode(&mut input), Ok(value));
    assert_eq!(input, b"tail");
}

/// Every proper prefix is refused and left where it was.
fn check_torn<T: PartialEq + std::fmt::Debug>(encode: Encode<T>, decode: Decode<T>, value: T) {
    let bytes = encoded(encode, value);
    for len in 0..bytes.len() {
        let mut input = &bytes[..len];
        assert!(matches!(
            decode(&mut input),
            Err(Error::UnexpectedEof { .. })
        ));
        assert_eq!(input.len(), len);
    }
}

#[test_case(0, "0000000000000000")]
#[test_case(1, "0000000000000001")]
#[test_case(u64::MAX, "ffffffffffffffff")]
fn u64_golden(value: u64, expected: &str) {
    check_golden(encode_u64, decode_u64, value, expected);
}

#[test_case(0, "ffffffffffffffff")]
#[test_case(1, "fffffffffffffffe")]
#[test_case(100, "ffffffffffffff9b")]
#[test_case(u64::MAX, "0000000000000000")]
#[test_case(411_225_436_913_926_252, "fa4b08a4d623ff93"; "timestamp suffix")]
fn u64_desc_golden(value: u64, expected: &str) {
    check_golden(encode_u64_desc, decode_u64_desc, value, expected);
}

#[test]
fn timestamp_of_the_golden_suffix_is_physical_and_logical() {
    assert_eq!((1_568_700_549_751_u64 << 18) | 108, 411_225_436_913_926_252);
}

#[test_case(-1, "7fffffffffffffff")]
#[test_case(0, "8000000000000000")]
#[test_case(1, "8000000000000001")]
#[test_case(i64::MIN, "0000000000000000")]
#[test_case(i64::MAX, "ffffffffffffffff")]
fn i64_golden(value: i64, expected: &str) {
    check_golden(encode_i64, decode_i64, value, expected);
}

#[test_case(-1, "8000000000000000")]
#[test_case(0, "7fffffffffffffff")]
#[test_case(1, "7ffffffffffffffe")]
#[test_case(i64::MIN, "ffffffffffffffff")]
fn i64_desc_golden(value: i64, expected: &str) {
    check_golden(encode_i64_desc, decode_i64_desc, value, expected);
}

#[test_case(1.0, "bff0000000000000")]
#[test_case(-1.0, "400fffffffffffff")]
#[test_case(0.0, "8000000000000000")]
#[test_case(-0.0, "7fffffffffffffff")]
fn f64_golden(value: f64, expected: &str) {
    check_golden(encode_f64, decode_f64, value, expected);
}

#[test_case(0, "00")]
#[test_case(127, "7f")]
#[test_case(128, "8001")]
#[test_case(300, "ac02")]
#[test_case(3000, "b817")]
#[test_case(u64::MAX, "ffffffffffffffffff01")]
fn var_u64_golden(value: u64, expected: &str) {
    check_golden(encode_var_u64, decode_var_u64, value, expected);
}

#[test_case(0, "00")]
#[test_case(1, "02")]
#[test_case(-1, "01")]
#[test_case(63, "7e")]
#[test_case(64, "8001")]
#[test_case(255, "fe03")]
#[test_case(i64::MAX, "feffffffffffffffff01")]
#[test_case(i64::MIN, "ffffffffffffffffff01")]
fn var_i64_golden(value: i64, expected: &str) {
    check_golden(encode_var_i64, decode_var_i64, value, expected);
}

#[test_case("ffffffffffffffffff02"; "tenth byte has a second bit")]
#[test_case("ffffffffffffffffff81"; "tenth byte continues")]
#[test_case("8080808080808080808001"; "eleven bytes")]
fn var_u64_overflow(input: &str) {
    let bytes = hex::decode(input).unwrap();
    assert_eq!(
        decode_var_u64(&mut bytes.as_slice()),
        Err(Error::VarintOverflow)
    );
}

#[test_case("8000", 0; "zero in two bytes")]
#[test_case("ff00", 127; "127 in two bytes")]
fn var_u64_overlong_is_accepted(input: &str, expected: u64) {
    let bytes = hex::decode(input).unwrap();
    assert_eq!(decode_var_u64(&mut bytes.as_slice()), Ok(expected));
}

proptest! {
    #[test]
    fn integers(a: u64, b: u64) {
        let (x, y) = (a.cast_signed(), b.cast_signed());
        prop_assert_eq!(encoded(encode_u64, a).cmp(&encoded(encode_u64, b)), a.cmp(&b));
        prop_assert_eq!(
            encoded(encode_u64_desc, a).cmp(&encoded(encode_u64_desc, b)),
            Reverse(a).cmp(&Reverse(b))
        );
        prop_assert_eq!(encoded(encode_i64, x).cmp(&encoded(encode_i64, y)), x.cmp(&y));
        prop_assert_eq!(
            encoded(encode_i64_desc, x).cmp(&encoded(encode_i64_desc, y)),
            Reverse(x).cmp(&Reverse(y))
        );
        check_torn(encode_u64, decode_u64, a);
        prop_assert_eq!(decode_u64_desc(&mut encoded(encode_u64_desc, a).as_slice()), Ok(a));
        prop_assert_eq!(decode_i64(&mut encoded(encode_i64, x).as_slice()), Ok(x));
        prop_assert_eq!(decode_i64_desc(&mut encoded(encode_i64_desc, x).as_slice()), Ok(x));
    }

    #[test]
    fn floats(a in proptest::num::f64::ANY, b in proptest::num::f64::ANY) {
        let (x, y) = (encoded(encode_f64, a), encoded(encode_f64, b));
        prop_assert_eq!(x.cmp(&y), a.total_cmp(&b));
        let back = decode_f64(&mut x.as_slice()).unwrap();
        prop_assert_eq!(back.to_bits(), a.to_bits());
    }

    #[test]
    fn variable_width(value: u64, shift in 0_u32..64) {
        let value = value >> shift;
        let signed = value.cast_signed();
        let bytes = encoded(encode_var_u64, value);
        prop_assert!(bytes.len() <= MAX_VAR_LEN);
        prop_assert_eq!(decode_var_u64(&mut bytes.as_slice()), Ok(value));
        check_torn(encode_var_u64, decode_var_u64, value);
        prop_assert_eq!(decode_var_i64(&mut encoded(encode_var_i64, signed).as_slice()), Ok(signed));
        check_torn(encode_var_i64, decode_var_i64, signed);
    }

    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
        let _ = decode_u64(&mut bytes.as_slice());
        let _ = decode_f64(&mut bytes.as_slice());
        let _ = decode_var_u64(&mut bytes.as_slice());
        let _ = decode_var_i64(&mut bytes.as_slice());
    }
}
