//! Keys of a store's own state: its identity, and for each region log, states and metadata.
//!
//! They lie below every data key. Region ids and log indexes are big-endian, so a region's log is
//! one contiguous, ordered range.

use crate::{Error, Result};

/// First byte of every local key.
pub const LOCAL_PREFIX: u8 = 0x01;
/// Smallest local key.
pub const LOCAL_MIN_KEY: &[u8] = &[LOCAL_PREFIX];
/// Above every local key.
pub const LOCAL_MAX_KEY: &[u8] = &[LOCAL_PREFIX + 1];

/// Identity of the store.
pub const STORE_IDENT_KEY: &[u8] = &[LOCAL_PREFIX, 0x01];
/// The first region while the cluster is being bootstrapped. In the key-value engine only: in the
/// Raft log engine the same bytes begin the keys of regions.
pub const PREPARE_BOOTSTRAP_KEY: &[u8] = &[LOCAL_PREFIX, 0x02];
/// State of a recovering store; only servers with one engine for each region write it.
pub const RECOVER_STATE_KEY: &[u8] = &[LOCAL_PREFIX, 0x03];

const REGION_RAFT_PREFIX: u8 = 0x02;
const REGION_META_PREFIX: u8 = 0x03;

/// Smallest key of a region's log and states.
pub const REGION_RAFT_MIN_KEY: &[u8] = &[LOCAL_PREFIX, REGION_RAFT_PREFIX];
/// Above every key of a region's log and states.
pub const REGION_RAFT_MAX_KEY: &[u8] = &[LOCAL_PREFIX, REGION_RAFT_PREFIX + 1];
/// Smallest key of a region's metadata.
pub const REGION_META_MIN_KEY: &[u8] = &[LOCAL_PREFIX, REGION_META_PREFIX];
/// Above every key of a region's metadata.
pub const REGION_META_MAX_KEY: &[u8] = &[LOCAL_PREFIX, REGION_META_PREFIX + 1];

const RAFT_LOG_SUFFIX: u8 = 0x01;
const RAFT_STATE_SUFFIX: u8 = 0x02;
const APPLY_STATE_SUFFIX: u8 = 0x03;
const SNAPSHOT_RAFT_STATE_SUFFIX: u8 = 0x04;
const REGION_STATE_SUFFIX: u8 = 0x01;

const NUMBER_LEN: usize = size_of::<u64>();
const PREFIX_LEN: usize = 2 + NUMBER_LEN;
const ITEM_KEY_LEN: usize = PREFIX_LEN + 1;
const LOG_KEY_LEN: usize = ITEM_KEY_LEN + NUMBER_LEN;

fn prefix(kind: u8, region_id: u64) -> [u8; PREFIX_LEN] {
    let mut key = [0; PREFIX_LEN];
    key[0] = LOCAL_PREFIX;
    key[1] = kind;
    key[2..].copy_from_slice(&region_id.to_be_bytes());
    key
}

fn item(kind: u8, region_id: u64, suffix: u8) -> [u8; ITEM_KEY_LEN] {
    let mut key = [0; ITEM_KEY_LEN];
    key[..PREFIX_LEN].copy_from_slice(&prefix(kind, region_id));
    key[PREFIX_LEN] = suffix;
    key
}

/// What the keys of a region's log and states begin with.
#[must_use]
pub fn region_raft_prefix(region_id: u64) -> [u8; PREFIX_LEN] {
    prefix(REGION_RAFT_PREFIX, region_id)
}

/// What the keys of a region's metadata begin with.
#[must_use]
pub fn region_meta_prefix(region_id: u64) -> [u8; PREFIX_LEN] {
    prefix(REGION_META_PREFIX, region_id)
}

/// What the keys of a region's log entries begin with.
#[must_use]
pub fn raft_log_prefix(region_id: u64) -> [u8; ITEM_KEY_LEN] {
    item(REGION_RAFT_PREFIX, region_id, RAFT_LOG_SUFFIX)
}

/// A log entry.
#[must_use]
pub fn raft_log_key(region_id: u64, index: u64) -> [u8; LOG_KEY_LEN] {
    let mut key = [0; LOG_KEY_LEN];
    key[..ITEM_KEY_LEN].copy_from_slice(&raft_log_prefix(region_id));
    key[ITEM_KEY_LEN..].copy_from_slice(&index.to_be_bytes());
    key
}

/// A region's `RaftLocalState`.
#[must_use]
pub fn raft_state_key(region_id: u64) -> [u8; ITEM_KEY_LEN] {
    item(REGION_RAFT_PREFIX, region_id, RAFT_STATE_SUFFIX)
}

/// A region's `RaftApplyState`.
#[must_use]
pub fn apply_state_key(region_id: u64) -> [u8; ITEM_KEY_LEN] {
    item(REGION_RAFT_PREFIX, region_id, APPLY_STATE_SUFFIX)
}

/// The `RaftLocalState` that a region gets from the snapshot being applied.
#[must_use]
pub fn snapshot_raft_state_key(region_id: u64) -> [u8; ITEM_KEY_LEN] {
    item(REGION_RAFT_PREFIX, region_id, SNAPSHOT_RAFT_STATE_SUFFIX)
}

/// A region's `RegionLocalState`.
#[must_use]
pub fn region_state_key(region_id: u64) -> [u8; ITEM_KEY_LEN] {
    item(REGION_META_PREFIX, region_id, REGION_STATE_SUFFIX)
}

fn decode_item(key: &[u8], kind: u8, expected: &'static str) -> Result<(u64, u8)> {
    let error = Error::NotLocalKey {
        expected,
        len: key.len(),
    };
    let Some(([LOCAL_PREFIX, found], rest)) = key.split_first_chunk::<2>() else {
        return Err(error);
    };
    match rest.split_first_chunk::<NUMBER_LEN>() {
        Some((id, [suffix])) if *found == kind => Ok((u64::from_be_bytes(*id), *suffix)),
        _ => Err(error),
    }
}

/// Region id and item suffix of a key of a region's states (not of its log).
pub fn decode_region_raft_key(key: &[u8]) -> Result<(u64, u8)> {
    decode_item(key, REGION_RAFT_PREFIX, "region raft")
}

/// Region id and item suffix of a key of a region's metadata.
pub fn decode_region_meta_key(key: &[u8]) -> Result<(u64, u8)> {
    decode_item(key, REGION_META_PREFIX, "region meta")
}

/// Region id and index of a log entry's key.
pub fn decode_raft_log_key(key: &[u8]) -> Result<(u64, u64)> {
    let error = Error::NotLocalKey {
        expected: "raft log",
        len: key.len(),
    };
    let Some((head, index)) = key.split_last_chunk::<NUMBER_LEN>() else {
        return Err(error);
    };
    match decode_item(head, REGION_RAFT_PREFIX, "raft log") {
        Ok((region_id, RAFT_LOG_SUFFIX)) => Ok((region_id, u64::from_be_bytes(*index))),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case(STORE_IDENT_KEY, "0101"; "store ident")]
    #[test_case(PREPARE_BOOTSTRAP_KEY, "0102"; "prepare bootstrap")]
    #[test_case(RECOVER_STATE_KEY, "0103"; "recover state")]
    #[test_case(&raft_log_key(1, 5), "01020000000000000001010000000000000005"; "log entry")]
    #[test_case(&raft_log_prefix(1), "0102000000000000000101"; "log prefix")]
    #[test_case(&raft_state_key(1), "0102000000000000000102"; "raft state")]
    #[test_case(&apply_state_key(1), "0102000000000000000103"; "apply state")]
    #[test_case(&snapshot_raft_state_key(1), "0102000000000000000104"; "snapshot raft state")]
    #[test_case(&region_state_key(1), "0103000000000000000101"; "region state")]
    #[test_case(&region_raft_prefix(1), "01020000000000000001"; "region raft prefix")]
    #[test_case(&region_meta_prefix(1), "01030000000000000001"; "region meta prefix")]
    #[test_case(REGION_RAFT_MIN_KEY, "0102"; "region raft min")]
    #[test_case(REGION_RAFT_MAX_KEY, "0103"; "region raft max")]
    #[test_case(REGION_META_MIN_KEY, "0103"; "region meta min")]
    #[test_case(REGION_META_MAX_KEY, "0104"; "region meta max")]
    #[test_case(LOCAL_MIN_KEY, "01"; "local min")]
    #[test_case(LOCAL_MAX_KEY, "02"; "local max")]
    fn bytes(key: &[u8], expected: &str) {
        assert_eq!(hex::encode(key), expected);
    }

    #[test]
    fn decodes_what_it_encodes() {
        for id in [0, 1, 258, u64::MAX] {
            assert_eq!(decode_region_meta_key(&region_state_key(id)), Ok((id, 1)));
            assert_eq!(decode_region_raft_key(&raft_state_key(id)), Ok((id, 2)));
            assert_eq!(decode_region_raft_key(&apply_state_key(id)), Ok((id, 3)));
            assert_eq!(decode_raft_log_key(&raft_log_key(id, id)), Ok((id, id)));
        }
    }

    #[test]
    fn refuses_other_shapes() {
        let log = raft_log_key(1, 5);
        for len in 0..log.len() {
            assert!(decode_raft_log_key(&log[..len]).is_err(), "{len}");
        }
        assert!(decode_region_raft_key(&log).is_err());
        assert!(decode_region_meta_key(&raft_state_key(1)).is_err());
        assert!(decode_region_raft_key(&region_state_key(1)).is_err());
        assert!(decode_raft_log_key(&[0; 19]).is_err());
        let mut state_with_tail = raft_state_key(1).to_vec();
        state_with_tail.extend_from_slice(&[0; 8]);
        assert!(decode_raft_log_key(&state_with_tail).is_err());
    }
}
