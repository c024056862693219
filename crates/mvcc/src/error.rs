//! What can go wrong with a read or a change, by what a caller or a client does about it.
//!
//! The text of a variant reaches clients (`abort` and `retryable` of a key error are built from
//! it), so it names timestamps and keys but never values.

use engine_traits::Cf;
use kvproto::kvrpcpb;
use txn_types::{Assertion, TimeStamp};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a write conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteConflictReason {
    /// An optimistic prewrite met a newer commit.
    Optimistic,
    /// A pessimistic lock met a newer commit; the statement is to be retried.
    PessimisticRetry,
    /// The transaction was rolled back by somebody else.
    SelfRolledBack,
    /// A read-committed read with timestamp check met something newer.
    RcCheckTs,
    /// A deferred uniqueness check met a newer commit.
    LazyUniquenessCheck,
}

impl From<WriteConflictReason> for kvrpcpb::WriteConflict_Reason {
    fn from(reason: WriteConflictReason) -> Self {
        match reason {
            WriteConflictReason::Optimistic => Self::Optimistic,
            WriteConflictReason::PessimisticRetry => Self::PessimisticRetry,
            WriteConflictReason::SelfRolledBack => Self::SelfRolledBack,
            WriteConflictReason::RcCheckTs => Self::RcCheckTs,
            WriteConflictReason::LazyUniquenessCheck => Self::LazyUniquenessCheck,
        }
    }
}

/// How a prewrite found out that its pessimistic lock is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PessimisticLockLoss {
    /// Another transaction holds the key.
    LockTsMismatch,
    /// The lock is not the one that the statement acquired.
    LockForUpdateTsMismatch,
    /// There is no lock and it cannot be restored.
    LockMissingAmendFail,
    /// A key that was never locked was written meanwhile.
    NonLockKeyConflict,
}

/// A failed read or change. Keys are raw user keys unless a field says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A lock of another transaction is in the way.
    #[error("key is locked (will clean up), lock version: {}", .0.get_lock_version())]
    KeyIsLocked(Box<kvrpcpb::LockInfo>),
    /// Something newer than the transaction, or its own rollback, is in the way.
    #[error(
        "write conflict, start_ts: {start_ts}, conflict_start_ts: {conflict_start_ts}, \
         conflict_commit_ts: {conflict_commit_ts}, key: {}, primary: {}, reason: {reason:?}",
        hex(key),
        hex(primary)
    )]
    WriteConflict {
        /// The transaction that fails.
        start_ts: TimeStamp,
        /// The transaction that it conflicts with; zero when not known.
        conflict_start_ts: TimeStamp,
        /// Where that one committed; zero when it holds a lock.
        conflict_commit_ts: TimeStamp,
        /// The key. A read that met a newer version reports the encoded, versioned key.
        key: Vec<u8>,
        /// Primary key of the transaction that fails; empty when not known.
        primary: Vec<u8>,
        /// Why.
        reason: WriteConflictReason,
    },
    /// A key that must not exist does.
    #[error("key {} already exists", hex(key))]
    AlreadyExist {
        /// The key.
        key: Vec<u8>,
    },
    /// A commit found neither the lock nor a commit record.
    #[error("txn lock not found {start_ts}-{commit_ts} key:{}", hex(key))]
    TxnLockNotFound {
        /// The transaction.
        start_ts: TimeStamp,
        /// Where it wanted to commit.
        commit_ts: TimeStamp,
        /// The key.
        key: Vec<u8>,
        /// What is on the key, where the caller asked for it.
        mvcc_info: Option<Box<kvrpcpb::MvccInfo>>,
    },
    /// There is no trace of the transaction on its primary key.
    #[error("txn not found {start_ts} key: {}", hex(key))]
    TxnNotFound {
        /// The transaction.
        start_ts: TimeStamp,
        /// Its primary key.
        key: Vec<u8>,
    },
    /// A commit timestamp that a reader pushed past.
    #[error(
        "try to commit key {} with commit_ts {commit_ts} but min_commit_ts is {min_commit_ts}",
        hex(key)
    )]
    CommitTsExpired {
        /// The transaction.
        start_ts: TimeStamp,
        /// Where it wanted to commit.
        commit_ts: TimeStamp,
        /// The key.
        key: Vec<u8>,
        /// Where it may commit at the earliest.
        min_commit_ts: TimeStamp,
        /// What is on the key, where the caller asked for it.
        mvcc_info: Option<Box<kvrpcpb::MvccInfo>>,
    },
    /// The earliest possible commit is later than the transaction allows.
    #[error(
        "min_commit_ts {min_commit_ts} is larger than max_commit_ts {max_commit_ts}, start_ts: \
         {start_ts}"
    )]
    CommitTsTooLarge {
        /// The transaction.
        start_ts: TimeStamp,
        /// Where it could commit at the earliest.
        min_commit_ts: TimeStamp,
        /// Where it wants to have committed.
        max_commit_ts: TimeStamp,
    },
    /// What the client believes about a key is not so.
    #[error(
        "assertion on data failed, start_ts: {start_ts}, key: {}, assertion: {assertion:?}, \
         existing_start_ts: {existing_start_ts}, existing_commit_ts: {existing_commit_ts}",
        hex(key)
    )]
    AssertionFailed {
        /// The transaction.
        start_ts: TimeStamp,
        /// The key.
        key: Vec<u8>,
        /// What the client believes.
        assertion: Assertion,
        /// Who wrote the latest data version; zero when there is none.
        existing_start_ts: TimeStamp,
        /// Where that committed; zero when there is none.
        existing_commit_ts: TimeStamp,
    },
    /// The key is not the primary of the transaction that holds it.
    #[error("primary mismatch, lock version: {}", .0.get_lock_version())]
    PrimaryMismatch(Box<kvrpcpb::LockInfo>),
    /// An optimistic request met the pessimistic lock of its transaction, or the other way round.
    #[error(
        "lock type not match, start_ts: {start_ts}, key: {}, pessimistic: {pessimistic}",
        hex(key)
    )]
    LockTypeNotMatch {
        /// The transaction.
        start_ts: TimeStamp,
        /// The key.
        key: Vec<u8>,
        /// Whether the lock that was met is pessimistic.
        pessimistic: bool,
    },
    /// The pessimistic lock that a prewrite relies on is gone.
    #[error(
        "pessimistic lock not found, start_ts: {start_ts}, key: {}, reason: {reason:?}",
        hex(key)
    )]
    PessimisticLockNotFound {
        /// The transaction.
        start_ts: TimeStamp,
        /// The key.
        key: Vec<u8>,
        /// How that was found out.
        reason: PessimisticLockLoss,
    },
    /// A lock request found that its transaction was rolled back.
    #[error(
        "pessimistic lock already rollbacked, start_ts: {start_ts}, key: {}",
        hex(key)
    )]
    PessimisticLockRolledBack {
        /// The transaction.
        start_ts: TimeStamp,
        /// The key.
        key: Vec<u8>,
    },
    /// A request to lock a key only if it exists does not ask for its value, so that its client could not tell
    /// whether it was locked.
    #[error(
        "lock_only_if_exists of the request is true, but return_values is false, start_ts: {start_ts}, key: {}",
        hex(key)
    )]
    LockIfExistsFailed {
        /// The transaction.
        start_ts: TimeStamp,
        /// The key.
        key: Vec<u8>,
    },
    /// The lock that the transaction would wait for belongs to one that waits for it.
    #[error(
        "deadlock occurs between txn: {start_ts} and {lock_ts}, key: {}",
        hex(lock_key)
    )]
    Deadlock {
        /// The transaction.
        start_ts: TimeStamp,
        /// The one that it would have waited for.
        lock_ts: TimeStamp,
        /// The key that it wanted.
        lock_key: Vec<u8>,
        /// The hash of a key that it holds and another one of the circle waits for.
        deadlock_key_hash: u64,
        /// The waits of the circle, the refused one last.
        wait_chain: Vec<kvproto::deadlock::WaitForEntry>,
    },
    /// A rollback found the transaction committed.
    #[error(
        "txn already committed, start_ts: {start_ts}, commit_ts: {commit_ts}, key: {}",
        hex(key)
    )]
    Committed {
        /// The transaction.
        start_ts: TimeStamp,
        /// Where it committed.
        commit_ts: TimeStamp,
        /// The key.
        key: Vec<u8>,
    },
    /// A commit timestamp that is not above the start timestamp.
    #[error("invalid transaction tso with start_ts: {start_ts}, commit_ts: {commit_ts}")]
    InvalidTxnTso {
        /// The transaction.
        start_ts: TimeStamp,
        /// Where it wanted to commit.
        commit_ts: TimeStamp,
    },
    /// A request whose own parts contradict each other or the state of the transaction.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// A record refers to a value that is not there: data is damaged.
    #[error(
        "default not found: key: {}, maybe read truncated/dropped table data?",
        hex(key)
    )]
    DefaultNotFound {
        /// The encoded key with the start timestamp.
        key: Vec<u8>,
    },
    /// A stored key, lock or record cannot be understood: data is damaged.
    #[error("corrupted entry in cf {cf}, key: {}: {source}", hex(key))]
    Corruption {
        /// Where it is stored.
        cf: Cf,
        /// The encoded key as stored.
        key: Vec<u8>,
        /// What is wrong with it.
        source: txn_types::Error,
    },
    /// A key given by the caller is not a valid encoded key.
    #[error("invalid key: {0}")]
    InvalidKey(txn_types::Error),
    /// The state contradicts the protocol, so that going on would destroy a committed transaction.
    #[error("inconsistent state of txn {start_ts} on key {}: {detail}", hex(key))]
    Inconsistent {
        /// The transaction.
        start_ts: TimeStamp,
        /// The key.
        key: Vec<u8>,
        /// What contradicts what.
        detail: &'static str,
    },
    /// The snapshot could not be taken or read.
    #[error(transparent)]
    Kv(#[from] kv::Error),
}

impl From<engine_traits::Error> for Error {
    fn from(error: engine_traits::Error) -> Self {
        Self::Kv(kv::Error::Engine(error))
    }
}

impl Error {
    /// Damage found under `key` of `cf`.
    pub(crate) fn corruption(cf: Cf, key: &[u8], source: txn_types::Error) -> Self {
        Self::Corruption {
            cf,
            key: key.to_vec(),
            source,
        }
    }

    /// Whether a scan reports this error for one key and goes on.
    #[must_use]
    pub fn is_key_locked(&self) -> bool {
        matches!(self, Self::KeyIsLocked(_))
    }

    /// Whether a read was to look at memory alone, and that does not do.
    #[must_use]
    pub fn is_not_in_memory(&self) -> bool {
        matches!(
            self,
            Self::Kv(kv::Error::Engine(engine_traits::Error::NotCached))
        )
    }
}

/// Upper-case hexadecimal, the form in which keys appear in messages.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            // Writing to a string cannot fail.
            let _ = write!(out, "{byte:02X}");
            out
        })
}
