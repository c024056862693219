//! Why a snapshot or a write was refused or failed.

use kvproto::errorpb;

/// The result of a snapshot or a write.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed snapshot or write.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The region cannot serve this request here and now; the client gets this message as it is.
    #[error("region error: {}", .0.get_message())]
    Region(Box<errorpb::Error>),
    /// The engine below failed.
    #[error(transparent)]
    Engine(#[from] engine_traits::Error),
    /// The node is stopping. Nothing was written.
    #[error("the engine is closed")]
    Closed,
    /// The deadline passed before the write began. Nothing was written.
    #[error("deadline is exceeded")]
    DeadlineExceeded,
}

impl From<errorpb::Error> for Error {
    fn from(error: errorpb::Error) -> Self {
        Error::Region(Box::new(error))
    }
}
