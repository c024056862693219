//! What can go wrong in an engine, by what a caller can do about it.

use std::path::PathBuf;

/// The result of an engine operation.
pub type Result<T> = std::result::Result<T, Error>;

/// An engine's failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another process, or another engine of this process, has the directory open.
    #[error("{path:?} is in use by another process: {detail}")]
    Locked {
        /// The engine's directory.
        path: PathBuf,
        /// What the operating system or the engine said.
        detail: String,
    },
    /// The directory holds something that this engine did not write.
    #[error("{path:?} does not belong to this engine: {detail}")]
    ForeignDirectory {
        /// The engine's directory.
        path: PathBuf,
        /// What was found there.
        detail: String,
    },
    /// Stored bytes fail their checksum or cannot be understood.
    #[error("corruption: {0}")]
    Corruption(String),
    /// The disk or the operating system refused. After a failed write or sync nothing may be
    /// assumed about what reached the disk.
    #[error("io error: {0}")]
    Io(String),
    /// The disk is full. The engine refuses writes until there is room, then goes on by itself; until
    /// then it is open whether a crash would bring the refused write back.
    #[error("no space left on the disk: {0}")]
    NoSpace(String),
    /// The caller asked for what cannot be done: a settings value out of range, a missing save
    /// point.
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    /// An iterator passed more dead entries than [`IterOptions::max_skipped_internal`] allows.
    ///
    /// [`IterOptions::max_skipped_internal`]: crate::IterOptions::max_skipped_internal
    #[error("more internal keys skipped than the limit allows")]
    TooManySkipped,
    /// A read that may only look at memory needs a file.
    #[error("not in memory")]
    NotCached,
    /// Any other refusal of the engine, in its own words.
    #[error("engine: {0}")]
    Engine(String),
}
