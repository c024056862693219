//! Crate root: the modules and what they export. It owns no state and must never reach an engine or a
//! socket: a format is a function of bytes.
#![doc = include_str!("../README.md")]

mod check;
mod command_kind;
mod format;
mod raw_value;
mod version;

pub use check::{check_api_version, check_api_version_ranges};
pub use command_kind::CommandKind;
pub use format::{ApiV1, ApiV1Ttl, ApiV2, KeyMode, KvFormat};
pub use raw_value::RawValue;
pub use version::ApiVersion;

/// Why a request or a stored value does not fit the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store does not serve requests of this version, or not this command of it.
    #[error(
        "Api version in request does not match with TiKV storage, cmd: {cmd:?}, storage: \
         {storage:?}, request: {request:?}"
    )]
    ApiVersionNotMatched {
        /// The command.
        cmd: CommandKind,
        /// Version of the store.
        storage: ApiVersion,
        /// Version that the request names.
        request: ApiVersion,
    },
    /// The key belongs to another kind of data than the command.
    #[error(
        "Key mode mismatched with the request mode, cmd: {cmd:?}, storage: {storage:?}, key: {key}"
    )]
    InvalidKeyMode {
        /// The command.
        cmd: CommandKind,
        /// Version of the store.
        storage: ApiVersion,
        /// The key in upper-case hexadecimal.
        key: String,
    },
    /// The range is open, reaches over several kinds of data, or belongs to another kind of data
    /// than the command.
    #[error(
        "Key mode mismatched with the request mode, cmd: {cmd:?}, storage: {storage:?}, range: \
         {range:?}"
    )]
    InvalidKeyRangeMode {
        /// The command.
        cmd: CommandKind,
        /// Version of the store.
        storage: ApiVersion,
        /// The bounds in upper-case hexadecimal; absent where open.
        range: (Option<String>, Option<String>),
    },
    /// A stored value does not have the shape of its format.
    #[error("invalid raw value: {0}")]
    InvalidRawValue(&'static str),
    /// A stored key does not have the shape of its format.
    #[error("invalid raw key: {0}")]
    InvalidRawKey(#[from] txn_types::Error),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
