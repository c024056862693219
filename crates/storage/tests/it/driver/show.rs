//! How scripts show keys, timestamps, records, locks and errors.

use kvproto::kvrpcpb::LockInfo;
use mvcc::MvccInfo;
use storage::Error;
use txn_types::{LastChange, Lock, LockType, LockValue, TimeStamp, Write, WriteType};

/// A timestamp as scripts read it.
pub(crate) fn ts(ts: TimeStamp) -> String {
    match (ts.is_max(), ts.physical(), ts.logical()) {
        (true, ..) => "max".to_owned(),
        (_, 0, logical) => logical.to_string(),
        (_, physical, 0) => format!("p{physical}"),
        (_, physical, logical) => format!("p{physical}.{logical}"),
    }
}

/// A key or value: short text as it is, long runs by their length, an encoded key as hexadecimal.
pub(crate) fn bytes(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "\"\"".to_owned();
    }
    if bytes.len() > 32 {
        return format!("*{}", bytes.len());
    }
    if bytes.contains(&0) {
        return bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    }
    String::from_utf8_lossy(bytes).into_owned()
}

fn list(keys: &[Vec<u8>]) -> String {
    keys.iter()
        .map(|key| bytes(key))
        .collect::<Vec<_>>()
        .join(",")
}

fn last_change(known: LastChange) -> String {
    match known {
        LastChange::Unknown => String::new(),
        LastChange::NotExist => " last-change=none".to_owned(),
        LastChange::Exist { ts: at, versions } => format!(" last-change={}/{versions}", ts(at)),
    }
}

fn lock(lock: &Lock) -> String {
    let kind = match lock.lock_type {
        LockType::Put => "put",
        LockType::Delete => "del",
        LockType::Lock => "lock",
        LockType::Pessimistic => "pessimistic",
    };
    let mut out = format!("{kind} ts={} primary={}", ts(lock.ts), bytes(&lock.primary));
    let mut add = |text: String| {
        out.push(' ');
        out.push_str(&text);
    };
    add(format!("ttl={}", lock.ttl));
    if let Some(value) = &lock.short_value {
        add(format!("value={}", bytes(value)));
    }
    if !lock.for_update_ts.is_zero() {
        add(format!("for-update={}", ts(lock.for_update_ts)));
    }
    if lock.txn_size != 0 {
        add(format!("size={}", lock.txn_size));
    }
    if !lock.min_commit_ts.is_zero() {
        add(format!("min-commit={}", ts(lock.min_commit_ts)));
    }
    if lock.use_async_commit {
        add(format!("async={}", list(&lock.secondaries)));
    }
    for rollback in &lock.rollback_ts {
        add(format!("rollback-ts={}", ts(*rollback)));
    }
    if lock.txn_source != 0 {
        add(format!("source={}", lock.txn_source));
    }
    if lock.is_locked_with_conflict {
        add("with-conflict".to_owned());
    }
    if lock.generation != 0 {
        add(format!("generation={}", lock.generation));
    }
    out + &last_change(lock.last_change)
}

fn write(write: &Write) -> String {
    let mut out = match write.write_type {
        WriteType::Put => format!("put start={}", ts(write.start_ts)),
        WriteType::Delete => format!("del start={}", ts(write.start_ts)),
        WriteType::Lock => format!("lock start={}", ts(write.start_ts)),
        WriteType::Rollback => "rollback".to_owned(),
    };
    match (&write.short_value, write.write_type) {
        (Some(_), WriteType::Rollback) => out.push_str(" protected"),
        (Some(value), _) => out.push_str(&format!(" value={}", bytes(value))),
        (None, _) => {}
    }
    if write.has_overlapped_rollback {
        out.push_str(" overlapped-rollback");
    }
    if let Some(fence) = write.gc_fence {
        out.push_str(&format!(" fence={}", ts(fence)));
    }
    if write.txn_source != 0 {
        out.push_str(&format!(" source={}", write.txn_source));
    }
    out + &last_change(write.last_change)
}

/// Everything about a key, one line for each entry.
pub(crate) fn info(info: &MvccInfo) -> Vec<String> {
    let mut out = Vec::new();
    match &info.lock {
        None => {}
        Some(LockValue::Exclusive(found)) => out.push(format!("lock {}", lock(found))),
        Some(LockValue::Shared(locks)) => {
            let shrink = if locks.shrink_only {
                " shrink-only"
            } else {
                ""
            };
            out.push(format!("shared{shrink}"));
            out.extend(
                locks
                    .iter()
                    .map(|member| format!("  member {}", lock(member))),
            );
        }
    }
    out.extend(
        info.writes
            .iter()
            .map(|(at, found)| format!("{} {}", ts(*at), write(found))),
    );
    out.extend(
        info.values
            .iter()
            .map(|(at, value)| format!("{} data {}", ts(*at), bytes(value))),
    );
    out
}

/// A lock as clients see it.
pub(crate) fn lock_info(info: &LockInfo) -> String {
    let mut out = format!(
        "{} {:?} ts={} primary={} ttl={}",
        bytes(info.get_key()),
        info.get_lock_type(),
        ts(info.get_lock_version().into()),
        bytes(info.get_primary_lock()),
        info.get_lock_ttl()
    );
    if info.get_txn_size() != 0 {
        out.push_str(&format!(" size={}", info.get_txn_size()));
    }
    if info.get_lock_for_update_ts() != 0 {
        out.push_str(&format!(
            " for-update={}",
            ts(info.get_lock_for_update_ts().into())
        ));
    }
    if info.get_min_commit_ts() != 0 {
        out.push_str(&format!(
            " min-commit={}",
            ts(info.get_min_commit_ts().into())
        ));
    }
    if info.get_use_async_commit() {
        out.push_str(&format!(" async={}", list(info.get_secondaries())));
    }
    if info.get_duration_to_last_update_ms() != 0 {
        out.push_str(&format!(
            " changed={}ms",
            info.get_duration_to_last_update_ms()
        ));
    }
    for member in info.get_shared_lock_infos() {
        out.push_str(&format!(" [{}]", lock_info(member)));
    }
    out
}

/// An error with the fields that clients act upon.
pub(crate) fn error(error: &Error) -> String {
    let Error::Mvcc(error) = error else {
        return format!("error: {error}");
    };
    match error {
        mvcc::Error::KeyIsLocked(lock) => format!("KeyIsLocked {}", lock_info(lock)),
        mvcc::Error::PrimaryMismatch(lock) => format!("PrimaryMismatch {}", lock_info(lock)),
        mvcc::Error::WriteConflict {
            start_ts,
            conflict_start_ts,
            conflict_commit_ts,
            key,
            primary,
            reason,
        } => format!(
            "WriteConflict {reason:?} key={} start={} conflict={}@{} primary={}",
            bytes(key),
            ts(*start_ts),
            ts(*conflict_start_ts),
            ts(*conflict_commit_ts),
            bytes(primary)
        ),
        mvcc::Error::AlreadyExist { key } => format!("AlreadyExist key={}", bytes(key)),
        mvcc::Error::TxnLockNotFound { key, mvcc_info, .. } => {
            let debug = if mvcc_info.is_some() {
                " with debug info"
            } else {
                ""
            };
            format!("TxnLockNotFound key={}{debug}", bytes(key))
        }
        mvcc::Error::TxnNotFound { start_ts, key } => {
            format!("TxnNotFound start={} key={}", ts(*start_ts), bytes(key))
        }
        mvcc::Error::CommitTsExpired {
            key,
            commit_ts,
            min_commit_ts,
            mvcc_info,
            ..
        } => {
            let debug = if mvcc_info.is_some() {
                " with debug info"
            } else {
                ""
            };
            format!(
                "CommitTsExpired key={} commit={} min-commit={}{debug}",
                bytes(key),
                ts(*commit_ts),
                ts(*min_commit_ts)
            )
        }
        mvcc::Error::AssertionFailed {
            key,
            assertion,
            existing_start_ts,
            existing_commit_ts,
            ..
        } => format!(
            "AssertionFailed {assertion:?} key={} existing={}@{}",
            bytes(key),
            ts(*existing_start_ts),
            ts(*existing_commit_ts)
        ),
        mvcc::Error::Committed { commit_ts, key, .. } => {
            format!("Committed key={} commit={}", bytes(key), ts(*commit_ts))
        }
        mvcc::Error::PessimisticLockRolledBack { start_ts, key } => format!(
            "PessimisticLockRolledBack start={} key={}",
            ts(*start_ts),
            bytes(key)
        ),
        mvcc::Error::Deadlock {
            start_ts,
            lock_ts,
            lock_key,
            deadlock_key_hash,
            wait_chain,
        } => {
            let step = |wait: &kvproto::deadlock::WaitForEntry| {
                let by_hash = if wait.get_key_hash() == *deadlock_key_hash {
                    "!"
                } else {
                    ""
                };
                format!(
                    "{}>{} on {}{by_hash}",
                    wait.get_txn(),
                    wait.get_wait_for_txn(),
                    bytes(wait.get_key())
                )
            };
            let chain: Vec<_> = wait_chain.iter().map(step).collect();
            format!(
                "Deadlock start={} lock={} key={} chain={}",
                ts(*start_ts),
                ts(*lock_ts),
                bytes(lock_key),
                chain.join(", ")
            )
        }
        mvcc::Error::LockTypeNotMatch { key, .. } => {
            format!("LockTypeNotMatch key={}", bytes(key))
        }
        error => format!("error: {error}"),
    }
}
