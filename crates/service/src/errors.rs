//! From `storage::Error` to what clients read: the one place where errors become protobuf.
//!
//! Clients act on these messages, some by searching their text, so each mapping is a fact of the
//! protocol (txn.md 1, client.md 3 and 4) and a golden test writes out every variant. A key error
//! fills one field, except where old clients look for a second one. Region errors and key errors
//! never come together.

use std::time::Duration;

use kvproto::errorpb;
use kvproto::kvrpcpb::{self, KeyError, MvccInfo};
use storage::Error;

use crate::message::Failure;

/// When to come again if nobody knows how long it takes: requests in progress end within about that time.
const BUSY_BACKOFF_MS: u64 = 100;

/// At least one, which is a hint where zero is none.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// What a request for `region_id` that failed with `error` answers.
pub fn failure(error: &Error, region_id: u64) -> Failure {
    match region_error(error, region_id) {
        Some(region_error) => Failure::Region(Box::new(region_error)),
        None => Failure::Key {
            error: Box::new(key_error(error)),
            text: error.to_string(),
        },
    }
}

/// The failure as the error of a single pair, where a region error has no place of its own.
pub fn pair_error(error: &Error, region_id: u64) -> KeyError {
    match region_error(error, region_id) {
        Some(region_error) => abort(region_error.get_message().to_owned()),
        None => key_error(error),
    }
}

/// The region error of `error`, if it is one: the client is to look elsewhere, or later, or to send
/// less.
fn region_error(error: &Error, region_id: u64) -> Option<errorpb::Error> {
    let mut region_error = errorpb::Error::default();
    match error {
        Error::Kv(kv::Error::Region(region_error))
        | Error::Mvcc(mvcc::Error::Kv(kv::Error::Region(region_error))) => {
            return Some((**region_error).clone());
        }
        Error::SchedTooBusy => {
            let busy = region_error.mut_server_is_busy();
            busy.set_reason("scheduler is busy".to_owned());
            busy.set_backoff_ms(BUSY_BACKOFF_MS);
        }
        Error::ReadPoolBusy { estimated_wait } => {
            let busy = region_error.mut_server_is_busy();
            busy.set_reason("estimated wait of the read pool is too long".to_owned());
            // A client that chooses among replicas compares these.
            let millis = millis(*estimated_wait);
            busy.set_estimated_wait_ms(u32::try_from(millis).unwrap_or(u32::MAX));
            busy.set_backoff_ms(millis);
        }
        Error::FlowControl { reason, backoff } => {
            let busy = region_error.mut_server_is_busy();
            busy.set_reason(format!("scheduler is busy: {reason}"));
            busy.set_backoff_ms(millis(*backoff));
        }
        Error::MemoryQuotaExceeded { .. } => {
            let busy = region_error.mut_server_is_busy();
            busy.set_reason("memory quota exceeded".to_owned());
            busy.set_backoff_ms(BUSY_BACKOFF_MS);
        }
        // Clients search the message of the first and the reason of the second.
        Error::Closed | Error::Kv(kv::Error::Closed) => {
            region_error.set_message("TiKV is Closing".to_owned());
        }
        Error::DeadlineExceeded | Error::Kv(kv::Error::DeadlineExceeded) => {
            region_error.set_message("Deadline is exceeded".to_owned());
            region_error
                .mut_server_is_busy()
                .set_reason("deadline is exceeded".to_owned());
        }
        Error::InvalidMaxTsUpdate(_) => {}
        Error::MaxTimestampNotSynced { .. } => {
            region_error.mut_max_timestamp_not_synced();
        }
        Error::ValueTooLarge { size, limit } | Error::WriteTooLarge { size, limit } => {
            region_error.set_message(format!(
                "raft entry is too large, region {region_id}, entry size {size}, limit {limit}"
            ));
            let too_large = region_error.mut_raft_entry_too_large();
            too_large.set_region_id(region_id);
            too_large.set_entry_size(*size as u64);
        }
        _ => return None,
    }
    if region_error.get_message().is_empty() {
        region_error.set_message(error.to_string());
    }
    Some(region_error)
}

fn key_error(error: &Error) -> KeyError {
    match error {
        Error::Mvcc(error) => mvcc_error(error),
        // TiKV shows these as they are written in its code; the rest are for people.
        Error::KeyTooLarge { .. } => abort(format!("{error:?}")),
        error => abort(error.to_string()),
    }
}

fn mvcc_error(error: &mvcc::Error) -> KeyError {
    let mut key_error = KeyError::default();
    match error {
        mvcc::Error::KeyIsLocked(lock) => key_error.set_locked((**lock).clone()),
        mvcc::Error::WriteConflict {
            start_ts,
            conflict_start_ts,
            conflict_commit_ts,
            key,
            primary,
            reason,
        } => {
            let conflict = key_error.mut_conflict();
            conflict.set_start_ts(start_ts.into_inner());
            conflict.set_conflict_ts(conflict_start_ts.into_inner());
            conflict.set_conflict_commit_ts(conflict_commit_ts.into_inner());
            conflict.set_key(key.clone());
            conflict.set_primary(primary.clone());
            conflict.set_reason((*reason).into());
            key_error.set_retryable(format!("{error:?}"));
        }
        mvcc::Error::AlreadyExist { key } => {
            key_error.mut_already_exist().set_key(key.clone());
        }
        mvcc::Error::TxnLockNotFound {
            start_ts,
            commit_ts,
            key,
            mvcc_info,
        } => {
            key_error.mut_txn_lock_not_found().set_key(key.clone());
            // The records of the key can be long, and have a field of their own.
            let without_info = mvcc::Error::TxnLockNotFound {
                start_ts: *start_ts,
                commit_ts: *commit_ts,
                key: key.clone(),
                mvcc_info: None,
            };
            key_error.set_retryable(format!("{without_info:?}"));
            set_debug_info(&mut key_error, key, mvcc_info.as_deref());
        }
        mvcc::Error::TxnNotFound { start_ts, key } => {
            let not_found = key_error.mut_txn_not_found();
            not_found.set_start_ts(start_ts.into_inner());
            not_found.set_primary_key(key.clone());
        }
        mvcc::Error::CommitTsExpired {
            start_ts,
            commit_ts,
            key,
            min_commit_ts,
            mvcc_info,
        } => {
            let expired = key_error.mut_commit_ts_expired();
            expired.set_start_ts(start_ts.into_inner());
            expired.set_attempted_commit_ts(commit_ts.into_inner());
            expired.set_key(key.clone());
            expired.set_min_commit_ts(min_commit_ts.into_inner());
            set_debug_info(&mut key_error, key, mvcc_info.as_deref());
        }
        mvcc::Error::CommitTsTooLarge { min_commit_ts, .. } => {
            key_error
                .mut_commit_ts_too_large()
                .set_commit_ts(min_commit_ts.into_inner());
        }
        mvcc::Error::AssertionFailed {
            start_ts,
            key,
            assertion,
            existing_start_ts,
            existing_commit_ts,
        } => {
            let failed = key_error.mut_assertion_failed();
            failed.set_start_ts(start_ts.into_inner());
            failed.set_key(key.clone());
            failed.set_assertion((*assertion).into());
            failed.set_existing_start_ts(existing_start_ts.into_inner());
            failed.set_existing_commit_ts(existing_commit_ts.into_inner());
        }
        mvcc::Error::PrimaryMismatch(lock) => {
            key_error
                .mut_primary_mismatch()
                .set_lock_info((**lock).clone());
        }
        mvcc::Error::Deadlock {
            lock_ts,
            lock_key,
            deadlock_key_hash,
            wait_chain,
            ..
        } => {
            let deadlock = key_error.mut_deadlock();
            deadlock.set_lock_ts(lock_ts.into_inner());
            deadlock.set_lock_key(lock_key.clone());
            deadlock.set_deadlock_key_hash(*deadlock_key_hash);
            deadlock.set_wait_chain(wait_chain.clone().into());
        }
        mvcc::Error::LockTypeNotMatch { .. }
        | mvcc::Error::PessimisticLockRolledBack { .. }
        | mvcc::Error::LockIfExistsFailed { .. }
        | mvcc::Error::PessimisticLockNotFound { .. }
        | mvcc::Error::Committed { .. }
        | mvcc::Error::InvalidTxnTso { .. }
        | mvcc::Error::InvalidRequest(_)
        | mvcc::Error::DefaultNotFound { .. }
        | mvcc::Error::Corruption { .. }
        | mvcc::Error::InvalidKey(_)
        | mvcc::Error::Inconsistent { .. }
        | mvcc::Error::Kv(_) => return abort(format!("{error:?}")),
    }
    key_error
}

fn abort(text: String) -> KeyError {
    let mut key_error = KeyError::default();
    key_error.set_abort(text);
    key_error
}

fn set_debug_info(key_error: &mut KeyError, key: &[u8], info: Option<&MvccInfo>) {
    let Some(info) = info else { return };
    let mut entry = kvrpcpb::MvccDebugInfo::default();
    entry.set_key(key.to_vec());
    entry.set_mvcc(info.clone());
    key_error.mut_debug_info().mut_mvcc_info().push(entry);
}

#[cfg(test)]
mod tests;
