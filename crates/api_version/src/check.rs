//! Which requests a store accepts.
//!
//! A store of V1 takes V1 requests as they are. A store of V1 with time to live takes raw V1 requests
//! only: its raw values would be mistaken for transactional ones. A store of V2 looks at the first
//! byte of the keys, so that every kind of data is reached through commands of its own kind;
//! transactional V1 requests may still reach the keys of TiDB.

use crate::{ApiV2, ApiVersion, CommandKind, Error, KeyMode, KvFormat, Result};

/// Which kind of data the keys of an accepted request must belong to; `None` is any.
fn required_mode(
    storage: ApiVersion,
    request: ApiVersion,
    cmd: CommandKind,
) -> Result<Option<KeyMode>> {
    match (storage, request, cmd.is_raw()) {
        (ApiVersion::V1, ApiVersion::V1, _) | (ApiVersion::V1ttl, ApiVersion::V1, true) => Ok(None),
        (ApiVersion::V2, ApiVersion::V1, false) => Ok(Some(KeyMode::TiDb)),
        (ApiVersion::V2, ApiVersion::V2, true) => Ok(Some(KeyMode::Raw)),
        (ApiVersion::V2, ApiVersion::V2, false) => Ok(Some(KeyMode::Txn)),
        _ => Err(Error::ApiVersionNotMatched {
            cmd,
            storage,
            request,
        }),
    }
}

/// Whether a store of one format accepts a request of another, given its raw user keys.
pub fn check_api_version<'a>(
    storage: ApiVersion,
    request: ApiVersion,
    cmd: CommandKind,
    keys: impl IntoIterator<Item = &'a [u8]>,
) -> Result<()> {
    if cmd == CommandKind::ScanLock {
        return Ok(());
    }
    let Some(mode) = required_mode(storage, request, cmd)? else {
        return Ok(());
    };
    match keys.into_iter().find(|key| ApiV2::key_mode(key) != mode) {
        None => Ok(()),
        Some(key) => Err(Error::InvalidKeyMode {
            cmd,
            storage,
            key: hex_upper(key),
        }),
    }
}

/// Whether a store of one format accepts a request of another, given its raw user key ranges. An
/// empty bound is open.
pub fn check_api_version_ranges<'a>(
    storage: ApiVersion,
    request: ApiVersion,
    cmd: CommandKind,
    ranges: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<()> {
    if cmd == CommandKind::ScanLock {
        return Ok(());
    }
    let Some(mode) = required_mode(storage, request, cmd)? else {
        return Ok(());
    };
    match ranges
        .into_iter()
        .find(|(start, end)| range_mode(start, end) != mode)
    {
        None => Ok(()),
        Some((start, end)) => {
            let bound = |key: &[u8]| (!key.is_empty()).then(|| hex_upper(key));
            Err(Error::InvalidKeyRangeMode {
                cmd,
                storage,
                range: (bound(start), bound(end)),
            })
        }
    }
}

/// The kind of data that a range lies in; unknown when it reaches over several.
fn range_mode(start: &[u8], end: &[u8]) -> KeyMode {
    let mode = ApiV2::key_mode(start);
    let Some(first) = start.first() else {
        return KeyMode::Unknown;
    };
    let ends_with_the_mode = first.checked_add(1).is_some_and(|next| end == [next]);
    if ends_with_the_mode || ApiV2::key_mode(end) == mode {
        mode
    } else {
        KeyMode::Unknown
    }
}

fn hex_upper(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            // Writing to a string cannot fail.
            let _ = write!(out, "{byte:02X}");
            out
        })
}
