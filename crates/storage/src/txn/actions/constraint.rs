//! Whether a newer version, or a version at all, forbids an optimistic prewrite.
//! Must never: look at locks.

use kv::Snapshot;
use mvcc::{Error, Result, SnapshotReader, WriteConflictReason};
use txn_types::{Key, TimeStamp, Write, WriteType};

use super::raw_key;

/// The newest write record of a key, and where it is.
pub type NewestWrite = Option<(TimeStamp, Write)>;

/// Refuses the prewrite of `key` when something was committed after `start_ts`, or when the transaction itself was
/// rolled back there. Otherwise returns the newest record, whatever its type.
pub fn check_newer_version<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    key: &Key,
    start_ts: TimeStamp,
    primary: &[u8],
) -> Result<NewestWrite> {
    // The records are ordered from the newest down, so the first decides both questions.
    let Some((commit_ts, write)) = reader.seek_write(key, TimeStamp::max())? else {
        return Ok(None);
    };
    let rolled_back = write.write_type == WriteType::Rollback || write.has_overlapped_rollback;
    let reason = if commit_ts == start_ts && rolled_back {
        WriteConflictReason::SelfRolledBack
    } else if commit_ts > start_ts {
        WriteConflictReason::Optimistic
    } else {
        return Ok(Some((commit_ts, write)));
    };
    Err(Error::WriteConflict {
        start_ts,
        conflict_start_ts: write.start_ts,
        conflict_commit_ts: commit_ts,
        key: raw_key(key)?,
        primary: primary.to_vec(),
        reason,
    })
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
