//! The formats of keys and values.

use codec::number::{decode_u64, encode_u64};
use txn_types::{Key, TimeStamp};

use crate::{ApiVersion, Error, RawValue, Result};

/// What kind of data a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMode {
    /// Raw data.
    Raw,
    /// Transactional data.
    Txn,
    /// Transactional data of TiDB, without a keyspace.
    TiDb,
    /// The key does not tell.
    Unknown,
}

/// A format of the keys and values that clients store.
pub trait KvFormat: Clone + Copy + Send + Sync + 'static {
    /// Its name.
    const TAG: ApiVersion;
    /// Whether raw values can expire.
    const IS_TTL_ENABLED: bool;
    /// Whether raw keys have versions, of which the newest counts.
    const HAS_VERSIONS: bool;

    /// What kind of data a user key belongs to.
    fn key_mode(user_key: &[u8]) -> KeyMode;

    /// The stored form of a raw user key. Formats without versions take no notice of `ts`; with
    /// `None` the key is a bound below all its versions.
    fn encode_raw_key(user_key: &[u8], ts: Option<TimeStamp>) -> Key;

    /// The raw user key and, where there are versions, the version of a stored key.
    fn decode_raw_key(stored: &[u8]) -> Result<(Vec<u8>, Option<TimeStamp>)>;

    /// The stored form of a raw value. What the format cannot express must not be asked for: the
    /// request is refused before.
    fn encode_raw_value(value: RawValue<&[u8]>) -> Vec<u8>;

    /// The raw value of a stored one.
    fn decode_raw_value(stored: &[u8]) -> Result<RawValue<&[u8]>>;
}

/// Keys and raw values as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApiV1;

impl KvFormat for ApiV1 {
    const TAG: ApiVersion = ApiVersion::V1;
    const IS_TTL_ENABLED: bool = false;
    const HAS_VERSIONS: bool = false;

    fn key_mode(_user_key: &[u8]) -> KeyMode {
        KeyMode::Unknown
    }

    fn encode_raw_key(user_key: &[u8], _ts: Option<TimeStamp>) -> Key {
        Key::from_encoded(user_key.to_vec())
    }

    fn decode_raw_key(stored: &[u8]) -> Result<(Vec<u8>, Option<TimeStamp>)> {
        Ok((stored.to_vec(), None))
    }

    fn encode_raw_value(value: RawValue<&[u8]>) -> Vec<u8> {
        assert!(value.expire_ts.is_none(), "values of V1 do not expire");
        assert!(!value.is_delete, "V1 deletes keys, it does not mark them");
        value.user_value.to_vec()
    }

    fn decode_raw_value(stored: &[u8]) -> Result<RawValue<&[u8]>> {
        Ok(RawValue::new(stored))
    }
}

/// Length of the expiry behind a raw value.
const EXPIRE_LEN: usize = size_of::<u64>();

/// Expiry that stands for "never" where the field is always there.
const NEVER: u64 = 0;

/// As V1, with the second of expiry behind every raw value.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApiV1Ttl;

impl KvFormat for ApiV1Ttl {
    const TAG: ApiVersion = ApiVersion::V1ttl;
    const IS_TTL_ENABLED: bool = true;
    const HAS_VERSIONS: bool = false;

    fn key_mode(_user_key: &[u8]) -> KeyMode {
        KeyMode::Unknown
    }

    fn encode_raw_key(user_key: &[u8], ts: Option<TimeStamp>) -> Key {
        ApiV1::encode_raw_key(user_key, ts)
    }

    fn decode_raw_key(stored: &[u8]) -> Result<(Vec<u8>, Option<TimeStamp>)> {
        ApiV1::decode_raw_key(stored)
    }

    fn encode_raw_value(value: RawValue<&[u8]>) -> Vec<u8> {
        assert!(!value.is_delete, "V1 deletes keys, it does not mark them");
        let mut stored = Vec::with_capacity(value.user_value.len() + EXPIRE_LEN);
        stored.extend_from_slice(value.user_value);
        encode_u64(&mut stored, value.expire_ts.unwrap_or(NEVER));
        stored
    }

    fn decode_raw_value(stored: &[u8]) -> Result<RawValue<&[u8]>> {
        let (user_value, expire) = split_expire(stored)?;
        Ok(RawValue {
            user_value,
            expire_ts: Some(expire).filter(|expire| *expire != NEVER),
            is_delete: false,
        })
    }
}

fn split_expire(bytes: &[u8]) -> Result<(&[u8], u64)> {
    let at = bytes.len().checked_sub(EXPIRE_LEN);
    let too_short = Error::InvalidRawValue("too short for an expiry");
    let (value, mut expire) = at.map(|at| bytes.split_at(at)).ok_or(too_short.clone())?;
    let expire = decode_u64(&mut expire).map_err(|_| too_short)?;
    Ok((value, expire))
}

/// The value has an expiry in front of its flags.
const FLAG_EXPIRE: u8 = 1;
/// The key was deleted.
const FLAG_DELETE: u8 = 2;

const PREFIX_RAW: u8 = b'r';
const PREFIX_TXN: u8 = b'x';
const PREFIX_TIDB_META: u8 = b'm';
const PREFIX_TIDB_TABLE: u8 = b't';

/// Keys name their kind and keyspace; raw data has versions, raw values end with flags.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApiV2;

impl ApiV2 {
    /// The stored value of a version that says: the key was deleted.
    pub const DELETED: &'static [u8] = &[FLAG_DELETE];
}

impl KvFormat for ApiV2 {
    const TAG: ApiVersion = ApiVersion::V2;
    const IS_TTL_ENABLED: bool = true;
    const HAS_VERSIONS: bool = true;

    fn key_mode(user_key: &[u8]) -> KeyMode {
        match user_key.first() {
            Some(&PREFIX_RAW) => KeyMode::Raw,
            Some(&PREFIX_TXN) => KeyMode::Txn,
            Some(&PREFIX_TIDB_META | &PREFIX_TIDB_TABLE) => KeyMode::TiDb,
            Some(_) | None => KeyMode::Unknown,
        }
    }

    fn encode_raw_key(user_key: &[u8], ts: Option<TimeStamp>) -> Key {
        let key = Key::from_raw(user_key);
        match ts {
            Some(ts) => key.append_ts(ts),
            None => key,
        }
    }

    fn decode_raw_key(stored: &[u8]) -> Result<(Vec<u8>, Option<TimeStamp>)> {
        let (user, ts) = Key::split_on_ts_for(stored)?;
        Ok((Key::raw_from_encoded(user)?, Some(ts)))
    }

    fn encode_raw_value(value: RawValue<&[u8]>) -> Vec<u8> {
        let mut stored = Vec::with_capacity(value.user_value.len() + EXPIRE_LEN + 1);
        stored.extend_from_slice(value.user_value);
        let mut flags = 0;
        if let Some(expire) = value.expire_ts {
            flags |= FLAG_EXPIRE;
            encode_u64(&mut stored, expire);
        }
        if value.is_delete {
            flags |= FLAG_DELETE;
        }
        stored.push(flags);
        stored
    }

    fn decode_raw_value(stored: &[u8]) -> Result<RawValue<&[u8]>> {
        let (flags, rest) = stored
            .split_last()
            .ok_or(Error::InvalidRawValue("no flags"))?;
        if flags & !(FLAG_EXPIRE | FLAG_DELETE) != 0 {
            return Err(Error::InvalidRawValue("unknown flags"));
        }
        let (user_value, expire_ts) = if flags & FLAG_EXPIRE != 0 {
            let (value, expire) = split_expire(rest)?;
            (value, Some(expire))
        } else {
            (rest, None)
        };
        Ok(RawValue {
            user_value,
            expire_ts,
            is_delete: flags & FLAG_DELETE != 0,
        })
    }
}
