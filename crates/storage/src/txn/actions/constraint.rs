//! Whether a newer version, or a version at all, forbids a prewrite.
//! Must never: look at locks.

use kv::Snapshot;
use mvcc::{Error, PessimisticLockLoss, Result, SnapshotReader, WriteConflictReason};
use txn_types::{Key, TimeStamp, Write, WriteType};

use super::raw_key;

/// The newest write record of a key, and where it is.
pub type NewestWrite = Option<(TimeStamp, Write)>;

/// Which records are in the way of a prewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictRule {
    /// Everything that was committed after the start.
    Optimistic,
    /// What was committed after the last statement of a pessimistic transaction. The key was not locked by it, because
    /// its other locks keep the transaction safe.
    NotLocked {
        /// The last statement.
        for_update_ts: TimeStamp,
    },
    /// Everything after the start, in a pessimistic transaction that did not lock the key for its check.
    Deferred,
}

/// Refuses the prewrite of `key` when a record is in the way, or when the transaction itself was rolled back there.
/// Otherwise returns the newest record that counts, whatever its type.
pub fn check_newer_version<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    key: &Key,
    primary: &[u8],
    rule: ConflictRule,
) -> Result<NewestWrite> {
    let start_ts = reader.start_ts();
    let mut seek_ts = TimeStamp::max();
    while let Some((commit_ts, write)) = reader.seek_write(key, seek_ts)? {
        let is_rollback = write.write_type == WriteType::Rollback;
        let reason = match rule {
            _ if commit_ts == start_ts && (is_rollback || write.has_overlapped_rollback) => {
                WriteConflictReason::SelfRolledBack
            }
            ConflictRule::Optimistic if commit_ts > start_ts => WriteConflictReason::Optimistic,
            ConflictRule::Deferred if commit_ts > start_ts => {
                WriteConflictReason::LazyUniquenessCheck
            }
            ConflictRule::NotLocked { for_update_ts } if commit_ts > for_update_ts => {
                if is_rollback {
                    // Nobody wrote anything here.
                    seek_ts = commit_ts.prev();
                    continue;
                }
                return Err(Error::PessimisticLockNotFound {
                    start_ts,
                    key: raw_key(key)?,
                    reason: PessimisticLockLoss::NonLockKeyConflict,
                });
            }
            _ => return Ok(Some((commit_ts, write))),
        };
        return Err(Error::WriteConflict {
            start_ts,
            conflict_start_ts: write.start_ts,
            conflict_commit_ts: commit_ts,
            key: raw_key(key)?,
            primary: primary.to_vec(),
            reason,
        });
    }
    Ok(None)
}

/// Refuses `key` when it exists at `start_ts`, given its newest record.
pub fn check_not_exists<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    key: &Key,
    start_ts: TimeStamp,
    newest: &NewestWrite,
) -> Result<()> {
    let Some((commit_ts, write)) = newest else {
        return Ok(());
    };
    let exists = match write.write_type {
        WriteType::Put => write.is_valid_at(start_ts),
        WriteType::Delete => false,
        // A fenced record stands for a key whose history was collected: nothing below it counts either.
        WriteType::Lock | WriteType::Rollback => {
            write.is_valid_at(start_ts)
                && reader
                    .get_write(key, commit_ts.prev())?
                    .is_some_and(|(_, below)| below.write_type == WriteType::Put)
        }
    };
    if exists {
        Err(Error::AlreadyExist { key: raw_key(key)? })
    } else {
        Ok(())
    }
}
