//! What is stored about a key, as a person reads it.

use std::fmt;

use kvproto::kvrpcpb::{MvccInfo, MvccLock, MvccValue, MvccWrite, Op};
use serde::Serialize;

use crate::escape::escape;
use crate::key;
use crate::tidb_key::TidbKey;
use crate::timestamp;

/// The versions of a key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct VersionsReport {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tidb: Option<TidbKey>,
    lock: Option<LockReport>,
    /// Newest first.
    writes: Vec<WriteReport>,
    /// Values too long for their records, newest first.
    values: Vec<ValueReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct LockReport {
    kind: &'static str,
    start_ts: u64,
    primary: String,
    ttl_ms: u64,
    for_update_ts: u64,
    txn_size: u64,
    async_commit: bool,
    secondaries: Vec<String>,
    value: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct WriteReport {
    kind: &'static str,
    start_ts: u64,
    commit_ts: u64,
    value: Option<String>,
    overlapped_rollback: bool,
    gc_fence: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ValueReport {
    start_ts: u64,
    value: String,
}

fn kind(op: Op) -> &'static str {
    match op {
        Op::Put => "put",
        Op::Del => "delete",
        Op::Lock => "lock",
        Op::Rollback => "rollback",
        Op::PessimisticLock => "pessimistic",
        Op::SharedLock => "shared",
        Op::SharedPessimisticLock => "shared-pessimistic",
        Op::Insert => "insert",
        Op::CheckNotExists => "check-not-exists",
    }
}

fn short(value: &[u8]) -> Option<String> {
    (!value.is_empty()).then(|| escape(value))
}

impl LockReport {
    fn new(lock: &MvccLock) -> LockReport {
        LockReport {
            kind: kind(lock.get_field_type()),
            start_ts: lock.get_start_ts(),
            primary: escape(lock.get_primary()),
            ttl_ms: lock.get_ttl(),
            for_update_ts: lock.get_for_update_ts(),
            txn_size: lock.get_txn_size(),
            async_commit: lock.get_use_async_commit(),
            secondaries: lock
                .get_secondaries()
                .iter()
                .map(|key| escape(key))
                .collect(),
            value: short(lock.get_short_value()),
        }
    }
}

impl WriteReport {
    fn new(write: &MvccWrite) -> WriteReport {
        WriteReport {
            kind: kind(write.get_field_type()),
            start_ts: write.get_start_ts(),
            commit_ts: write.get_commit_ts(),
            value: short(write.get_short_value()),
            overlapped_rollback: write.get_has_overlapped_rollback(),
            gc_fence: write.get_has_gc_fence().then(|| write.get_gc_fence()),
        }
    }
}

impl VersionsReport {
    pub(crate) fn new(key: &[u8], info: &MvccInfo) -> VersionsReport {
        let value = |value: &MvccValue| ValueReport {
            start_ts: value.get_start_ts(),
            value: escape(value.get_value()),
        };
        VersionsReport {
            key: escape(key),
            tidb: key::meaning(key),
            lock: info.has_lock().then(|| LockReport::new(info.get_lock())),
            writes: info.get_writes().iter().map(WriteReport::new).collect(),
            values: info.get_values().iter().map(value).collect(),
        }
    }
}

impl fmt::Display for VersionsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key    {}", self.key)?;
        if let Some(tidb) = &self.tidb {
            write!(f, "  ({tidb})")?;
        }
        if self.lock.is_none() && self.writes.is_empty() && self.values.is_empty() {
            return write!(f, "\nnothing is stored");
        }
        if let Some(lock) = &self.lock {
            write!(
                f,
                "\nlock   {}, start {}, primary \"{}\", ttl {} ms",
                lock.kind,
                timestamp::show(lock.start_ts),
                lock.primary,
                lock.ttl_ms
            )?;
            if lock.for_update_ts > 0 {
                write!(f, ", for update {}", timestamp::show(lock.for_update_ts))?;
            }
            if lock.async_commit {
                write!(
                    f,
                    ", async commit with {} secondaries",
                    lock.secondaries.len()
                )?;
            }
            value(f, lock.value.as_deref())?;
        }
        for write in &self.writes {
            write!(
                f,
                "\nwrite  {}, commit {}, start {}",
                write.kind,
                timestamp::show(write.commit_ts),
                timestamp::show(write.start_ts)
            )?;
            if write.overlapped_rollback {
                write!(f, ", overlapped rollback")?;
            }
            if let Some(fence) = write.gc_fence {
                write!(f, ", fenced at {}", timestamp::show(fence))?;
            }
            value(f, write.value.as_deref())?;
        }
        for long in &self.values {
            write!(f, "\nvalue  start {}", timestamp::show(long.start_ts))?;
            value(f, Some(&long.value))?;
        }
        Ok(())
    }
}

fn value(f: &mut fmt::Formatter<'_>, value: Option<&str>) -> fmt::Result {
    match value {
        Some(value) => write!(f, ", value \"{value}\""),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> MvccInfo {
        let mut lock = MvccLock::default();
        lock.set_field_type(Op::Put);
        lock.set_start_ts(30);
        lock.set_primary(b"p\x00".to_vec());
        lock.set_ttl(3000);
        let mut write = MvccWrite::default();
        write.set_field_type(Op::Put);
        write.set_start_ts(5);
        write.set_commit_ts(10);
        write.set_short_value(b"v".to_vec());
        let mut rollback = MvccWrite::default();
        rollback.set_field_type(Op::Rollback);
        rollback.set_start_ts(20);
        rollback.set_commit_ts(20);
        let mut value = MvccValue::default();
        value.set_start_ts(30);
        value.set_value(b"long".to_vec());
        let mut info = MvccInfo::default();
        info.set_lock(lock);
        info.mut_writes().push(rollback);
        info.mut_writes().push(write);
        info.mut_values().push(value);
        info
    }

    #[test]
    fn everything_is_shown() {
        let text = VersionsReport::new(b"k", &info()).to_string();
        let expected = "key    k\n\
                        lock   put, start 30, primary \"p\\000\", ttl 3000 ms\n\
                        write  rollback, commit 20, start 20\n\
                        write  put, commit 10, start 5, value \"v\"\n\
                        value  start 30, value \"long\"";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_key_without_anything_says_so() {
        let text = VersionsReport::new(b"k", &MvccInfo::default()).to_string();
        assert_eq!(text, "key    k\nnothing is stored");
    }
}
