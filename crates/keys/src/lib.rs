//! Crate root: the modules and what they export. It owns no state and must never read an engine: a layout
//! is a function of numbers and bytes.
#![doc = include_str!("../README.md")]

mod data;
mod local;

pub use data::{
    DATA_MAX_KEY, DATA_MIN_KEY, DATA_PREFIX, DATA_PREFIX_KEY, data_end_key, data_key,
    origin_end_key, origin_key,
};
pub use local::{
    LOCAL_MAX_KEY, LOCAL_MIN_KEY, LOCAL_PREFIX, PREPARE_BOOTSTRAP_KEY, RECOVER_STATE_KEY,
    REGION_META_MAX_KEY, REGION_META_MIN_KEY, REGION_RAFT_MAX_KEY, REGION_RAFT_MIN_KEY,
    STORE_IDENT_KEY, apply_state_key, decode_raft_log_key, decode_region_meta_key,
    decode_region_raft_key, raft_log_key, raft_log_prefix, raft_state_key, region_meta_prefix,
    region_raft_prefix, region_state_key, snapshot_raft_state_key,
};

const _: () = assert!(
    LOCAL_MAX_KEY[0] <= DATA_MIN_KEY[0],
    "a local key inside the data range would be shipped with snapshots"
);

/// Why a key could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A data key was expected and the prefix is missing.
    #[error("key of {len} bytes is not a data key")]
    NotDataKey {
        /// Length of the key.
        len: usize,
    },
    /// A local key of another shape was expected.
    #[error("local key of {len} bytes is not a {expected} key")]
    NotLocalKey {
        /// What was expected.
        expected: &'static str,
        /// Length of the key.
        len: usize,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
