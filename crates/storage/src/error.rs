//! Why a request to the storage layer was refused or failed.
//!
//! One variant for each thing a caller reacts to; the translation to the wire is the service's.
//! Must never: wrap an error of this kind inside another, or carry what cannot be shown to a client.

use std::time::Duration;

use concurrency_manager::{BelowSafePoint, InvalidMaxTsUpdate};
use txn_types::TimeStamp;

/// The result of a storage operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A refused or failed storage operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule of the transaction model was violated, or its data could not be read.
    #[error(transparent)]
    Mvcc(mvcc::Error),
    /// The region or the engine refused or failed.
    #[error(transparent)]
    Kv(kv::Error),
    /// Too many bytes of writes are under way.
    #[error("scheduler is busy")]
    SchedTooBusy,
    /// Reads wait longer than this one may.
    #[error("read pool is busy: estimated wait of {} ms", estimated_wait.as_millis())]
    ReadPoolBusy {
        /// How long it would have waited.
        estimated_wait: Duration,
    },
    /// The engine is too far behind with what follows a write; nothing was written.
    #[error("scheduler is busy: {reason}")]
    FlowControl {
        /// With what it is behind.
        reason: &'static str,
        /// When a repetition may succeed.
        backoff: Duration,
    },
    /// The requests in progress take all the memory that they may.
    #[error("memory quota exceeded, capacity: {capacity}")]
    MemoryQuotaExceeded {
        /// The configured quota in bytes.
        capacity: usize,
    },
    /// The store is stopping; nothing was written.
    #[error("TiKV is Closing")]
    Closed,
    /// The request's deadline passed before the work was done; nothing was written.
    #[error("Deadline is exceeded")]
    DeadlineExceeded,
    /// A timestamp beyond what the placement driver can have handed out.
    #[error(transparent)]
    InvalidMaxTsUpdate(#[from] InvalidMaxTsUpdate),
    /// Versions that the request needs may have been collected; nothing was written.
    #[error(transparent)]
    BelowSafePoint(#[from] BelowSafePoint),
    /// The request's API version or key mode does not fit the store's.
    #[error(transparent)]
    ApiVersion(#[from] api_version::Error),
    /// A key of length zero where a key is required.
    #[error("key must not be empty")]
    EmptyKey,
    /// A key over the limit.
    #[error("max key size exceeded, size: {size}, limit: {limit}")]
    KeyTooLarge {
        /// Bytes of the key, encoded for transactions.
        size: usize,
        /// The configured limit.
        limit: usize,
    },
    /// A value that alone is over what one request may write.
    #[error("max value size exceeded, size: {size}, limit: {limit}")]
    ValueTooLarge {
        /// Bytes of the value.
        size: usize,
        /// The configured limit.
        limit: usize,
    },
    /// A request whose writes together are over the limit; nothing was written.
    #[error("max write size exceeded, size: {size}, limit: {limit}")]
    WriteTooLarge {
        /// Bytes of all keys and values.
        size: usize,
        /// The configured limit.
        limit: usize,
    },
    /// A read that found more than it may return.
    #[error("max read size exceeded, limit: {limit}: ask for fewer keys")]
    ReadTooLarge {
        /// The configured limit.
        limit: usize,
    },
    /// A timestamp that no transaction can have.
    #[error("invalid timestamp, {field}: {ts}")]
    InvalidTimestamp {
        /// The field of the request.
        field: &'static str,
        /// Its value.
        ts: TimeStamp,
    },
    /// A range whose start lies after its end, or that needs a bound and has none.
    #[error("invalid range, start: {start}, end: {end}: {reason}")]
    InvalidRange {
        /// Start key in hexadecimal.
        start: String,
        /// End key in hexadecimal.
        end: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A raw request for a column family that does not exist.
    #[error("invalid cf name: {0}")]
    InvalidCf(String),
    /// A raw request that names a column family where there is only one.
    #[error("cf is deprecated in API V2, cf name: {0}")]
    CfDeprecated(String),
    /// A write that needs a timestamp of the placement driver, while there is none to be had.
    #[error("no timestamp for the write: {reason}")]
    MaxTimestampNotSynced {
        /// Why there is none.
        reason: String,
    },
    /// A raw write with a time to live on a store without them.
    #[error("ttl is not enabled, but get put request with ttl")]
    TtlNotEnabled,
    /// A batch put whose times to live match neither none, one nor all of the pairs.
    #[error("The length of ttls does not equal to the length of pairs")]
    TtlCountMismatch,
    /// The request contradicts itself.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// The request asks for something that this server does not do.
    #[error("not supported: {0}")]
    Unsupported(String),
}

impl Error {
    /// Whether a read was to look at memory alone, and that does not do.
    pub(crate) fn is_not_in_memory(&self) -> bool {
        matches!(
            self,
            Error::Kv(kv::Error::Engine(engine_traits::Error::NotCached))
        )
    }

    /// Logs damage of the stored data: somebody must look at it, whatever the client does with its answer. Keys stay
    /// out of the log.
    pub(crate) fn log_damage(&self, command: &'static str) {
        let damage = match self {
            Error::Mvcc(mvcc::Error::DefaultNotFound { .. }) => "long value missing",
            Error::Mvcc(mvcc::Error::Corruption { .. }) => "entry unreadable",
            Error::Mvcc(mvcc::Error::Inconsistent { .. }) => "records contradict each other",
            Error::Kv(kv::Error::Engine(engine_traits::Error::Corruption(_))) => "engine corrupted",
            Error::ApiVersion(
                api_version::Error::InvalidRawKey(_) | api_version::Error::InvalidRawValue(_),
            ) => "raw entry unreadable",
            _ => return,
        };
        tracing::error!(command, damage, "stored data is damaged");
    }
}

impl From<mvcc::Error> for Error {
    fn from(error: mvcc::Error) -> Self {
        match error {
            mvcc::Error::Kv(error) => error.into(),
            error => Error::Mvcc(error),
        }
    }
}

impl From<kv::Error> for Error {
    fn from(error: kv::Error) -> Self {
        match error {
            kv::Error::Closed => Error::Closed,
            kv::Error::DeadlineExceeded => Error::DeadlineExceeded,
            error => Error::Kv(error),
        }
    }
}
