//! Why an encoding was refused. Owns the crate's one error type; carries no input bytes, which may
//! be a user's keys.

/// What is wrong with the bytes that were to be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input ends inside the encoding.
    #[error("unexpected end of input: need {need} bytes, have {have}")]
    UnexpectedEof {
        /// Bytes that the next step needs.
        need: usize,
        /// Bytes that are left.
        have: usize,
    },
    /// The marker of a group states more padding than a group has bytes.
    #[error("invalid group marker {0:#04x}")]
    InvalidMarker(u8),
    /// A padding byte of the last group differs from the pad byte.
    #[error("invalid padding in the last group")]
    InvalidPadding,
    /// A variable-length number does not fit 64 bits.
    #[error("variable-length number exceeds 64 bits")]
    VarintOverflow,
    /// The length in front of compact bytes is negative or exceeds the address space.
    #[error("invalid length {0}")]
    InvalidLength(i64),
}

/// Result of decoding.
pub type Result<T> = std::result::Result<T, Error>;
