//! The prefix that separates replicated data from what belongs to the store alone.

use crate::{Error, Result};

/// First byte of every data key.
pub const DATA_PREFIX: u8 = b'z';
/// [`DATA_PREFIX`] as a key.
pub const DATA_PREFIX_KEY: &[u8] = &[DATA_PREFIX];
/// Smallest data key.
pub const DATA_MIN_KEY: &[u8] = &[DATA_PREFIX];
/// Above every data key.
pub const DATA_MAX_KEY: &[u8] = &[DATA_PREFIX + 1];

/// The engine key of a logical key.
#[must_use]
pub fn data_key(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(DATA_PREFIX);
    out.extend_from_slice(key);
    out
}

/// The engine key of an exclusive upper bound; the empty bound is above everything.
#[must_use]
pub fn data_end_key(end: &[u8]) -> Vec<u8> {
    if end.is_empty() {
        DATA_MAX_KEY.to_vec()
    } else {
        data_key(end)
    }
}

/// The logical key of an engine key.
pub fn origin_key(data_key: &[u8]) -> Result<&[u8]> {
    data_key
        .strip_prefix(DATA_PREFIX_KEY)
        .ok_or(Error::NotDataKey {
            len: data_key.len(),
        })
}

/// The logical upper bound of an engine key; the end of all data is the empty bound.
pub fn origin_end_key(data_end_key: &[u8]) -> Result<&[u8]> {
    if data_end_key == DATA_MAX_KEY {
        Ok(b"")
    } else {
        origin_key(data_end_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_strips() {
        assert_eq!(data_key(b"a"), b"za");
        assert_eq!(data_key(b""), b"z");
        assert_eq!(data_end_key(b"a"), b"za");
        assert_eq!(data_end_key(b""), b"{");
        assert_eq!(hex::encode(data_end_key(b"")), "7b");
        assert_eq!(origin_key(b"za"), Ok(&b"a"[..]));
        assert_eq!(origin_key(b"z"), Ok(&b""[..]));
        assert_eq!(origin_end_key(b"{"), Ok(&b""[..]));
        assert_eq!(origin_end_key(b"zb"), Ok(&b"b"[..]));
    }

    #[test]
    fn refuses_what_is_not_data() {
        for key in [&b""[..], b"a", b"{a", b"\x01\x01"] {
            assert_eq!(origin_key(key), Err(Error::NotDataKey { len: key.len() }));
        }
        assert!(origin_end_key(b"").is_err());
    }

    #[test]
    fn a_versioned_key_of_the_facts() {
        let encoded = hex::decode("6100000000000000f8ffffffffffffff9b").unwrap();
        assert_eq!(
            hex::encode(data_key(&encoded)),
            "7a6100000000000000f8ffffffffffffff9b"
        );
    }
}
