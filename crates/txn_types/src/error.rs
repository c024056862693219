//! What can be wrong with bytes that claim to be a key, a lock or a write record.

/// Why bytes could not be read as a word of the transaction model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end early, or an encoding inside them is broken.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// A key is too short to end with a timestamp.
    #[error("key of {len} bytes carries no timestamp")]
    KeyWithoutTs {
        /// Length of the key.
        len: usize,
    },
    /// A lock value starts with a byte that names no kind of lock.
    #[error("bad lock format: unknown lock type {0:#04x}")]
    LockType(u8),
    /// A lock value is malformed.
    #[error("bad lock format: {0}")]
    Lock(&'static str),
    /// A write record starts with a byte that names no kind of record.
    #[error("bad write format: unknown write type {0:#04x}")]
    WriteType(u8),
    /// A write record is malformed.
    #[error("bad write format: {0}")]
    Write(&'static str),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
