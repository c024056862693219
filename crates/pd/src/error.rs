//! What can go wrong in the placement driver, by how it is answered; `service::reply` maps each
//! variant to a gRPC status or a header error.

/// The result of the placement driver's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, at start or of one request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The settings cannot work.
    #[error("placement driver settings: {0}")]
    Config(String),
    /// The address to listen on cannot be had.
    #[error("cannot listen on {address}: {detail}")]
    Listen {
        /// The address of the settings.
        address: String,
        /// What the transport said.
        detail: String,
    },
    /// The metadata store failed.
    #[error("metadata store: {0}")]
    Store(#[from] engine_traits::Error),
    /// Metadata was read that this program did not write so.
    #[error("metadata under {key:?} is damaged: {detail}")]
    Damaged {
        /// The key, readable.
        key: String,
        /// What is wrong with its value.
        detail: String,
    },
    /// The request was meant for another cluster.
    #[error("mismatch cluster id, need {expected} but got {got}")]
    ClusterIdMismatch {
        /// This cluster.
        expected: u64,
        /// The one of the request.
        got: u64,
    },
    /// There is no first region yet.
    #[error("cluster is not bootstrapped")]
    NotBootstrapped,
    /// There is a first region already.
    #[error("cluster is already bootstrapped")]
    AlreadyBootstrapped,
    /// The store was removed for good.
    #[error("store {0} is tombstone")]
    StoreTombstone(u64),
    /// A region that the request is about is not known.
    #[error("{0}")]
    RegionNotFound(String),
    /// A named thing does not exist.
    #[error("{0}")]
    EntryNotFound(String),
    /// A named thing exists already.
    #[error("{0}")]
    Duplicated(String),
    /// A value is outside of what may be stored.
    #[error("{0}")]
    InvalidValue(String),
    /// Regions do not cover the keys that were asked for.
    #[error("{0}")]
    RangeNotCovered(String),
    /// The request is well-formed, but cannot be granted.
    #[error("{0}")]
    Refused(String),
    /// The request makes no sense on its own.
    #[error("{0}")]
    InvalidArgument(String),
    /// A call of the etcd subset is refused, in its own words.
    #[error(transparent)]
    Etcd(#[from] crate::etcd::EtcdError),
    /// Too many changes wait already.
    #[error("too many metadata changes are waiting")]
    Busy,
    /// Not started yet, or stopping.
    #[error("server not started")]
    Stopped,
}
