//! What the records of a key say about the fate of a transaction.

use kv::Snapshot;
use txn_types::{Key, TimeStamp, Write, WriteType};

use super::SnapshotReader;
use crate::Result;

/// A commit record of another transaction at the timestamp at which this transaction started: a
/// rollback record of this transaction would overwrite it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlappedWrite {
    /// The record.
    pub write: Write,
    /// Commit timestamp of the next newer data version, zero when there is none. The fence of the
    /// record when it is rewritten to fold the rollback in.
    pub gc_fence: TimeStamp,
}

/// What the records of a key say about the fate of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnCommitRecord {
    /// Nothing.
    None {
        /// Where a rollback record would have to go, there is this.
        overlapped: Option<OverlappedWrite>,
    },
    /// It committed or was rolled back: its own record.
    SingleRecord {
        /// Where the record is; for a rollback the start timestamp.
        commit_ts: TimeStamp,
        /// The record.
        write: Write,
    },
    /// It was rolled back, which is noted on the record of another transaction.
    OverlappedRollback {
        /// Where that record is: the start timestamp of this transaction.
        commit_ts: TimeStamp,
    },
}

impl TxnCommitRecord {
    /// Kind and place of the record, if there is one.
    #[must_use]
    pub fn status(&self) -> Option<(TimeStamp, WriteType)> {
        match self {
            Self::None { .. } => None,
            Self::SingleRecord { commit_ts, write } => Some((*commit_ts, write.write_type)),
            Self::OverlappedRollback { commit_ts } => Some((*commit_ts, WriteType::Rollback)),
        }
    }

    /// Where the transaction committed, if it did.
    #[must_use]
    pub fn committed_at(&self) -> Option<TimeStamp> {
        match self.status() {
            Some((_, WriteType::Rollback)) | None => None,
            Some((commit_ts, _)) => Some(commit_ts),
        }
    }
}

impl<S: Snapshot> SnapshotReader<S> {
    /// Walks the records of `key` from the newest down to the start of this transaction, looking
    /// for its own.
    pub fn get_txn_commit_record(&mut self, key: &Key) -> Result<TxnCommitRecord> {
        let start_ts = self.start_ts;
        let mut gc_fence = TimeStamp::zero();
        let mut seek_ts = TimeStamp::max();
        while let Some((commit_ts, write)) = self.seek_write(key, seek_ts)? {
            if write.start_ts == start_ts {
                return Ok(TxnCommitRecord::SingleRecord { commit_ts, write });
            }
            if commit_ts == start_ts {
                return Ok(if write.has_overlapped_rollback {
                    TxnCommitRecord::OverlappedRollback { commit_ts }
                } else {
                    TxnCommitRecord::None {
                        overlapped: Some(OverlappedWrite { write, gc_fence }),
                    }
                });
            }
            if commit_ts < start_ts {
                break;
            }
            if write.write_type.is_data() {
                gc_fence = commit_ts;
            }
            seek_ts = commit_ts.prev();
        }
        Ok(TxnCommitRecord::None { overlapped: None })
    }
}
