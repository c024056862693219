//! Numbers: fixed width (order-preserving, ascending or descending) and variable width (compact,
//! not ordered). Decoders advance the input past what they read, and leave it untouched when they
//! fail.

use crate::error::{Error, Result};

/// Bytes of a fixed-width number.
pub const U64_LEN: usize = 8;
/// Most bytes that a variable-length 64-bit number takes: ceil(64 / 7).
pub const MAX_VAR_LEN: usize = 10;
const _: () = assert!(MAX_VAR_LEN == 64_usize.div_ceil(7));

const SIGN_BIT: u64 = 1 << 63;

/// Appends `value` so that byte order is numeric order.
pub fn encode_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Reads what [`encode_u64`] wrote.
pub fn decode_u64(input: &mut &[u8]) -> Result<u64> {
    let (head, rest) = input
        .split_first_chunk::<U64_LEN>()
        .ok_or(Error::UnexpectedEof {
            need: U64_LEN,
            have: input.len(),
        })?;
    *input = rest;
    Ok(u64::from_be_bytes(*head))
}

/// Appends `value` so that byte order is the reverse of numeric order.
pub fn encode_u64_desc(out: &mut Vec<u8>, value: u64) {
    encode_u64(out, !value);
}

/// Reads what [`encode_u64_desc`] wrote.
pub fn decode_u64_desc(input: &mut &[u8]) -> Result<u64> {
    decode_u64(input).map(|v| !v)
}

/// Appends `value` so that byte order is numeric order.
pub fn encode_i64(out: &mut Vec<u8>, value: i64) {
    encode_u64(out, value.cast_unsigned() ^ SIGN_BIT);
}

/// Reads what [`encode_i64`] wrote.
pub fn decode_i64(input: &mut &[u8]) -> Result<i64> {
    decode_u64(input).map(|v| (v ^ SIGN_BIT).cast_signed())
}

/// Appends `value` so that byte order is the reverse of numeric order.
pub fn encode_i64_desc(out: &mut Vec<u8>, value: i64) {
    encode_i64(out, !value);
}

/// Reads what [`encode_i64_desc`] wrote.
pub fn decode_i64_desc(input: &mut &[u8]) -> Result<i64> {
    decode_i64(input).map(|v| !v)
}

/// Appends `value` so that byte order is the order of `f64::total_cmp`.
pub fn encode_f64(out: &mut Vec<u8>, value: f64) {
    let bits = value.to_bits();
    // Negative numbers grow in magnitude with their bits: all of them are flipped.
    let ordered = if bits & SIGN_BIT == 0 {
        bits | SIGN_BIT
    } else {
        !bits
    };
    encode_u64(out, ordered);
}

/// Reads what [`encode_f64`] wrote, bit for bit.
pub fn decode_f64(input: &mut &[u8]) -> Result<f64> {
    decode_u64(input).map(|ordered| {
        let bits = if ordered & SIGN_BIT == 0 {
            !ordered
        } else {
            ordered ^ SIGN_BIT
        };
        f64::from_bits(bits)
    })
}

/// Appends `value` as LEB128: seven bits a byte, least significant first.
pub fn encode_var_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        // Truncation is the point: the low seven bits, plus the flag that more follow.
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads what [`encode_var_u64`] wrote. Overlong forms that fit 64 bits are accepted.
pub fn decode_var_u64(input: &mut &[u8]) -> Result<u64> {
    let mut value = 0_u64;
    for (i, &byte) in input.iter().take(MAX_VAR_LEN).enumerate() {
        // Nine bytes carry 63 bits: the tenth has room for one.
        if i == MAX_VAR_LEN - 1 && byte > 1 {
            return Err(Error::VarintOverflow);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *input = &input[i + 1..];
            return Ok(value);
        }
    }
    // The tenth byte always decides: the loop can only fall through on a short input.
    Err(Error::UnexpectedEof {
        need: input.len() + 1,
        have: input.len(),
    })
}

/// Appends `value` zigzag-folded (0, -1, 1, -2, …) as LEB128.
pub fn encode_var_i64(out: &mut Vec<u8>, value: i64) {
    encode_var_u64(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Reads what [`encode_var_i64`] wrote.
pub fn decode_var_i64(input: &mut &[u8]) -> Result<i64> {
    decode_var_u64(input).map(|folded| {
        let magnitude = (folded >> 1).cast_signed();
        if folded & 1 == 0 {
            magnitude
        } else {
            !magnitude
        }
    })
}

#[cfg(test)]
mod tests;
