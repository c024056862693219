//! Byte strings: memcomparable (byte order of the encodings is the order of the raw strings, and no
//! encoding is a prefix of another) and compact (a length and the bytes, not ordered).
//!
//! Memcomparable form: groups of eight raw bytes, each followed by a marker. A full group has
//! marker `0xff`; the last group is padded with zeros and its marker is `0xff - padding`, padding
//! in 1..=8. Why this keeps order: two strings differ first either inside a group (the bytes
//! decide) or where one ends (its padding is zero, and if the other has zeros there too, the
//! smaller marker decides). The descending form inverts every byte.
//!
//! Decoders advance the input past what they read, and leave it untouched when they fail. Nothing
//! is allocated in proportion to a length that the input merely claims.

use crate::{
    error::{Error, Result},
    number::{decode_var_i64, encode_var_i64},
};

/// Raw bytes in a group.
const GROUP: usize = 8;
/// A group and its marker.
const ENCODED_GROUP: usize = GROUP + 1;
/// Marker of a group without padding.
const FULL: u8 = 0xff;

/// Length of the memcomparable encoding of `raw_len` bytes.
#[must_use]
pub const fn encoded_len(raw_len: usize) -> usize {
    (raw_len / GROUP + 1) * ENCODED_GROUP
}

/// Appends `raw` in ascending memcomparable form.
pub fn encode_bytes(out: &mut Vec<u8>, raw: &[u8]) {
    out.reserve(encoded_len(raw.len()));
    let (groups, tail) = raw.as_chunks::<GROUP>();
    for group in groups {
        out.extend_from_slice(group);
        out.push(FULL);
    }
    let mut last = [0; GROUP];
    last[..tail.len()].copy_from_slice(tail);
    out.extend_from_slice(&last);
    // `tail` is shorter than a group: padding is 1..=8 and the cast cannot truncate.
    out.push(FULL - (GROUP - tail.len()) as u8);
}

/// Appends `raw` in descending memcomparable form.
pub fn encode_bytes_desc(out: &mut Vec<u8>, raw: &[u8]) {
    let start = out.len();
    encode_bytes(out, raw);
    invert(&mut out[start..]);
}

/// Reads what [`encode_bytes`] wrote.
pub fn decode_bytes(input: &mut &[u8]) -> Result<Vec<u8>> {
    decode_groups(input, 0)
}

/// Reads what [`encode_bytes_desc`] wrote.
pub fn decode_bytes_desc(input: &mut &[u8]) -> Result<Vec<u8>> {
    decode_groups(input, 0xff)
}

/// Replaces an encoding by the raw bytes, without a second allocation. The encoding must be the
/// whole of `data` or its beginning; what follows it is dropped. `data` is untouched when decoding
/// fails.
pub fn decode_bytes_in_place(data: &mut Vec<u8>) -> Result<()> {
    let extent = measure(data, 0)?;
    for i in 1..extent.encoded_len / ENCODED_GROUP {
        let from = i * ENCODED_GROUP;
        data.copy_within(from..from + GROUP, i * GROUP);
    }
    data.truncate(extent.raw_len);
    Ok(())
}

/// Length of the ascending memcomparable encoding that `input` begins with.
pub fn encoded_prefix_len(input: &[u8]) -> Result<usize> {
    measure(input, 0).map(|extent| extent.encoded_len)
}

/// Appends `raw` behind its length.
pub fn encode_compact_bytes(out: &mut Vec<u8>, raw: &[u8]) {
    // A slice is at most isize::MAX long.
    encode_var_i64(out, raw.len() as i64);
    out.extend_from_slice(raw);
}

/// Reads what [`encode_compact_bytes`] wrote, borrowing from the input.
pub fn decode_compact_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8]> {
    let mut rest = *input;
    let claimed = decode_var_i64(&mut rest)?;
    let len = usize::try_from(claimed).map_err(|_| Error::InvalidLength(claimed))?;
    let (raw, rest) = rest.split_at_checked(len).ok_or(Error::UnexpectedEof {
        need: len,
        have: rest.len(),
    })?;
    *input = rest;
    Ok(raw)
}

/// How far an encoding reaches, and how many raw bytes it holds.
struct Extent {
    encoded_len: usize,
    raw_len: usize,
}

/// Walks and checks the groups at the beginning of `input`. `mask` is 0 for ascending, 0xff for
/// descending.
fn measure(input: &[u8], mask: u8) -> Result<Extent> {
    let (groups, tail) = input.as_chunks::<ENCODED_GROUP>();
    for (i, group) in groups.iter().enumerate() {
        let marker = group[GROUP] ^ mask;
        if marker == FULL {
            continue;
        }
        let padding = usize::from(FULL - marker);
        let Some(used) = GROUP.checked_sub(padding) else {
            return Err(Error::InvalidMarker(group[GROUP]));
        };
        if group[used..GROUP].iter().any(|&byte| byte != mask) {
            return Err(Error::InvalidPadding);
        }
        return Ok(Extent {
            encoded_len: (i + 1) * ENCODED_GROUP,
            raw_len: i * GROUP + used,
        });
    }
    Err(Error::UnexpectedEof {
        need: ENCODED_GROUP,
        have: tail.len(),
    })
}

fn decode_groups(input: &mut &[u8], mask: u8) -> Result<Vec<u8>> {
    let extent = measure(input, mask)?;
    let (encoded, rest) = input.split_at(extent.encoded_len);
    let mut raw = Vec::with_capacity(extent.encoded_len / ENCODED_GROUP * GROUP);
    for group in encoded.as_chunks::<ENCODED_GROUP>().0 {
        raw.extend_from_slice(&group[..GROUP]);
    }
    raw.truncate(extent.raw_len);
    if mask != 0 {
        invert(&mut raw);
    }
    *input = rest;
    Ok(raw)
}

fn invert(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = !*byte;
    }
}

#[cfg(test)]
mod tests;
