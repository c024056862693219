//! How the store's API version keeps raw keys and values.
//! Must never: let stored bytes reach a client undecoded.

use api_version::{KvFormat, RawValue};
use engine_traits::{Cf, ReadOptions};
use kv::Snapshot;
use txn_types::Key;

use crate::{Error, Result};

/// The stored form of a raw key. The formats that are served keep no versions.
pub(super) fn encode_key<F: KvFormat>(key: &[u8]) -> Key {
    F::encode_raw_key(key, None)
}

/// The raw key of a stored one.
pub(super) fn decode_key<F: KvFormat>(stored: &[u8]) -> Result<Vec<u8>> {
    Ok(F::decode_raw_key(stored)?.0)
}

/// The stored form of a raw value that lives for `ttl` seconds, zero being forever.
pub(super) fn encode_value<F: KvFormat>(value: &[u8], ttl: u64) -> Result<Vec<u8>> {
    // Formats in which values expire are refused before, see `check_raw_keys`.
    if ttl != 0 {
        return Err(Error::TtlNotEnabled);
    }
    Ok(F::encode_raw_value(RawValue::new(value)))
}

/// The raw value of a stored one; `None` when it counts as absent.
pub(super) fn decode_value<F: KvFormat>(stored: &[u8]) -> Result<Option<Vec<u8>>> {
    let value = F::decode_raw_value(stored)?;
    Ok(Some(value)
        .filter(|value| !value.is_delete)
        .map(|value| value.user_value.to_vec()))
}

/// The value of a key.
pub(super) fn load<F: KvFormat, S: Snapshot>(
    snapshot: &S,
    cf: Cf,
    key: &[u8],
    options: &ReadOptions,
) -> Result<Option<Vec<u8>>> {
    let key = encode_key::<F>(key);
    match snapshot.get_with(cf, &key, options, decode_value::<F>)? {
        None => Ok(None),
        Some(decoded) => decoded,
    }
}
