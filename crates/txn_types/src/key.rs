//! A user key in memcomparable form, with or without a timestamp behind it.
//!
//! The encoding keeps the order of raw keys and is self-terminating, so a timestamp can be appended
//! without one key's versions mixing with those of a key that it is a prefix of. The timestamp is
//! stored descending: the newest version of a key comes first.

use std::fmt;

use crate::{Error, Result, TimeStamp};

/// Length of the timestamp behind a versioned key.
pub const TS_LEN: usize = 8;

/// An encoded user key, optionally followed by an encoded timestamp.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(Vec<u8>);

impl Key {
    /// Encodes a raw user key; leaves room for a timestamp.
    #[must_use]
    pub fn from_raw(raw: &[u8]) -> Self {
        let mut encoded = Vec::with_capacity(codec::bytes::encoded_len(raw.len()) + TS_LEN);
        codec::bytes::encode_bytes(&mut encoded, raw);
        Self(encoded)
    }

    /// Takes bytes that are encoded already.
    #[must_use]
    pub fn from_encoded(encoded: Vec<u8>) -> Self {
        Self(encoded)
    }

    /// Copies bytes that are encoded already; leaves room for a timestamp.
    #[must_use]
    pub fn from_encoded_slice(encoded: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(encoded.len() + TS_LEN);
        bytes.extend_from_slice(encoded);
        Self(bytes)
    }

    /// The encoded bytes.
    #[must_use]
    pub fn as_encoded(&self) -> &[u8] {
        &self.0
    }

    /// The encoded bytes, without a copy.
    #[must_use]
    pub fn into_encoded(self) -> Vec<u8> {
        self.0
    }

    /// Number of encoded bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes at all, which stands for an open bound.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The raw user key. The key must carry no timestamp.
    pub fn to_raw(&self) -> Result<Vec<u8>> {
        Self::raw_from_encoded(&self.0)
    }

    /// The raw user key of encoded bytes without a timestamp.
    pub fn raw_from_encoded(encoded: &[u8]) -> Result<Vec<u8>> {
        let mut rest = encoded;
        let raw = codec::bytes::decode_bytes(&mut rest)?;
        Ok(raw)
    }

    /// Appends a timestamp.
    #[must_use]
    pub fn append_ts(mut self, ts: TimeStamp) -> Self {
        codec::number::encode_u64_desc(&mut self.0, ts.into_inner());
        self
    }

    /// The timestamp at the end.
    pub fn decode_ts(&self) -> Result<TimeStamp> {
        Self::decode_ts_from(&self.0)
    }

    /// The timestamp at the end of encoded bytes.
    pub fn decode_ts_from(ts_key: &[u8]) -> Result<TimeStamp> {
        Ok(Self::split_on_ts_for(ts_key)?.1)
    }

    /// Drops the timestamp at the end.
    pub fn truncate_ts(mut self) -> Result<Self> {
        let user_len = Self::truncate_ts_for(&self.0)?.len();
        self.0.truncate(user_len);
        Ok(self)
    }

    /// The bytes before the timestamp.
    pub fn truncate_ts_for(ts_key: &[u8]) -> Result<&[u8]> {
        Ok(Self::split_on_ts_for(ts_key)?.0)
    }

    /// Splits encoded bytes into the user key and its timestamp.
    pub fn split_on_ts_for(ts_key: &[u8]) -> Result<(&[u8], TimeStamp)> {
        match ts_key.split_last_chunk::<TS_LEN>() {
            Some((user, ts)) => Ok((user, TimeStamp::new(!u64::from_be_bytes(*ts)))),
            None => Err(Error::KeyWithoutTs { len: ts_key.len() }),
        }
    }

    /// Whether `ts_key` is a version of the encoded user key `user`.
    #[must_use]
    pub fn is_user_key_eq(ts_key: &[u8], user: &[u8]) -> bool {
        ts_key.len() == user.len() + TS_LEN && ts_key.starts_with(user)
    }

    /// Whether this key, without a timestamp, is the encoding of `raw`. Allocates nothing.
    #[must_use]
    pub fn is_encoded_from(&self, raw: &[u8]) -> bool {
        is_encoding_of(&self.0, raw)
    }
}

/// Length of the groups of the memcomparable encoding.
const GROUP: usize = 8;

fn is_encoding_of(encoded: &[u8], raw: &[u8]) -> bool {
    if encoded.len() != codec::bytes::encoded_len(raw.len()) {
        return false;
    }
    let mut groups = raw.chunks(GROUP);
    encoded.chunks(GROUP + 1).all(|chunk| {
        let group = groups.next().unwrap_or(&[]);
        let pad = GROUP - group.len();
        chunk.starts_with(group)
            && chunk[group.len()..GROUP].iter().all(|b| *b == 0)
            && usize::from(chunk[GROUP]) == usize::from(u8::MAX) - pad
    })
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_and_drops_a_timestamp() {
        let key = Key::from_raw(b"a");
        assert_eq!(hex::encode(key.as_encoded()), "6100000000000000f8");
        let versioned = key.clone().append_ts(TimeStamp::new(100));
        assert_eq!(
            hex::encode(versioned.as_encoded()),
            "6100000000000000f8ffffffffffffff9b"
        );
        assert_eq!(versioned.decode_ts(), Ok(TimeStamp::new(100)));
        assert!(Key::is_user_key_eq(
            versioned.as_encoded(),
            key.as_encoded()
        ));
        assert_eq!(versioned.truncate_ts(), Ok(key.clone()));
        assert_eq!(key.to_raw().unwrap(), b"a");
    }

    #[test]
    fn refuses_a_key_too_short_for_a_timestamp() {
        assert_eq!(
            Key::decode_ts_from(b"1234567"),
            Err(Error::KeyWithoutTs { len: 7 })
        );
        assert!(Key::from_encoded(b"abc".to_vec()).truncate_ts().is_err());
        assert!(Key::from_encoded(b"abc".to_vec()).to_raw().is_err());
    }

    #[test]
    fn a_longer_key_is_not_a_version() {
        let a = Key::from_raw(b"a");
        let other = Key::from_raw(b"b").append_ts(1.into());
        assert!(!Key::is_user_key_eq(other.as_encoded(), a.as_encoded()));
        assert!(!Key::is_user_key_eq(a.as_encoded(), a.as_encoded()));
    }

    #[test]
    fn recognises_its_raw_key_without_decoding() {
        let raws: [&[u8]; 7] = [
            b"",
            b"a",
            b"a\0",
            b"abcdefgh",
            b"abcdefghi",
            b"\0\0\0\0\0\0\0\0",
            b"abcdefgh12345678",
        ];
        for x in raws {
            for y in raws {
                assert_eq!(Key::from_raw(x).is_encoded_from(y), x == y, "{x:?} {y:?}");
            }
        }
    }
}
