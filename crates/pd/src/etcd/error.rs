//! Why a call of the etcd subset is refused. The words are those that clients compare.

/// The result of an operation of the etcd subset.
pub type EtcdResult<T> = std::result::Result<T, EtcdError>;

/// See the module. Each variant has its own status code in `service::etcd`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// A key is empty.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// A put keeps the value or lease of a key that does not exist.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// A put keeps the value and names one.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// A put keeps the lease and names one.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// More operations than a transaction may have.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOperations,
    /// A transaction writes a key twice.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// History before this revision is gone.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted {
        /// The earliest revision that can be read.
        compact_revision: i64,
    },
    /// The revision does not exist yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// What is stored would exceed its bound.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// The answer would exceed what a message may carry.
    #[error("etcdserver: response is too large")]
    ResponseTooLarge,
    /// No lease has this id.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// A lease has this id already.
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    /// The lease would outlive every clock.
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    /// Too much is under way, or too many leases exist.
    #[error("etcdserver: too many requests")]
    TooManyRequests,
}
