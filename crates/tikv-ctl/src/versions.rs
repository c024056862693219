//! What is stored about a key, as a person reads it.

use std::fmt;

use kvproto::kvrpcpb::{MvccInfo, MvccLock, MvccValue, MvccWrite};
use serde::Serialize;

use crate::escape::escape;
use crate::key;
use crate::lock_view::{LockView, kind};
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
    #[serde(flatten)]
    view: LockView,
    value: Option<String>,
    last_change: Option<LastChange>,
}

/// Where the newest data below a record is, for readers that want to jump there.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum LastChange {
    /// There is none.
    None,
    /// At this timestamp.
    At(u64),
}

impl LastChange {
    /// As records have it: both zero when nobody knows.
    fn of(ts: u64, versions: u64) -> Option<LastChange> {
        match (ts, versions) {
            (0, 0) => None,
            (0, _) => Some(LastChange::None),
            (ts, _) => Some(LastChange::At(ts)),
        }
    }
}

impl fmt::Display for LastChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LastChange::None => write!(f, ", no data below"),
            LastChange::At(ts) => write!(f, ", data below at {}", timestamp::show(*ts)),
        }
    }
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
    last_change: Option<LastChange>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ValueReport {
    start_ts: u64,
    value: String,
}

fn short(value: &[u8]) -> Option<String> {
    (!value.is_empty()).then(|| escape(value))
}

impl LockReport {
    /// What is stored of a lock, and all that the store tells of the same.
    fn new(view: LockView, stored: Option<&MvccLock>) -> LockReport {
        let stored = stored.filter(|stored| stored.get_start_ts() == view.start_ts);
        LockReport {
            view,
            value: stored.and_then(|lock| short(lock.get_short_value())),
            last_change: stored.and_then(|lock| {
                LastChange::of(
                    lock.get_last_change_ts(),
                    lock.get_versions_to_last_change(),
                )
            }),
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
            last_change: LastChange::of(
                write.get_last_change_ts(),
                write.get_versions_to_last_change(),
            ),
        }
    }
}

impl VersionsReport {
    /// `lock` is the lock on the key, which can be one that is not stored.
    pub(crate) fn new(key: &[u8], info: &MvccInfo, lock: Option<LockView>) -> VersionsReport {
        let value = |value: &MvccValue| ValueReport {
            start_ts: value.get_start_ts(),
            value: escape(value.get_value()),
        };
        VersionsReport {
            key: escape(key),
            tidb: key::meaning(key),
            lock: lock.map(|view| LockReport::new(view, info.lock.as_ref())),
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
            write!(f, "\nlock   {}", lock.view)?;
            if let Some(change) = &lock.last_change {
                write!(f, "{change}")?;
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
            if let Some(change) = &write.last_change {
                write!(f, "{change}")?;
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
    use kvproto::kvrpcpb::Op;

    use super::*;
    use crate::lock_view::tests::{at, lock};

    fn view(key: &[u8], primary: &[u8]) -> LockView {
        LockView::new(&lock(key, primary, Op::Put), at(1000))
    }

    fn info() -> MvccInfo {
        let mut lock = MvccLock::default();
        lock.set_field_type(Op::Put);
        lock.set_start_ts(at(0).into_inner());
        lock.set_short_value(b"new".to_vec());
        lock.set_last_change_ts(10);
        lock.set_versions_to_last_change(2);
        let mut rollback = MvccWrite::default();
        rollback.set_field_type(Op::Rollback);
        rollback.set_start_ts(20);
        rollback.set_commit_ts(20);
        let mut locked = MvccWrite::default();
        locked.set_field_type(Op::Lock);
        locked.set_start_ts(11);
        locked.set_commit_ts(12);
        locked.set_versions_to_last_change(1);
        let mut write = MvccWrite::default();
        write.set_field_type(Op::Put);
        write.set_start_ts(5);
        write.set_commit_ts(10);
        write.set_short_value(b"v".to_vec());
        write.set_has_overlapped_rollback(true);
        write.set_has_gc_fence(true);
        write.set_gc_fence(15);
        let mut value = MvccValue::default();
        value.set_start_ts(30);
        value.set_value(b"long".to_vec());
        let mut info = MvccInfo::default();
        info.set_lock(lock);
        info.set_writes(vec![rollback, locked, write].into());
        info.mut_values().push(value);
        info
    }

    #[test]
    fn everything_is_shown() {
        let text = VersionsReport::new(b"k", &info(), Some(view(b"k", b"p\0"))).to_string();
        let start = at(0).into_inner();
        let expected = format!(
            "key    k\n\
             lock   put, transaction {start} (2025-11-22T17:00:00.000Z), 1s old, primary \"p\\000\", \
             ttl 3s, 2s left, data below at 10, value \"new\"\n\
             write  rollback, commit 20, start 20\n\
             write  lock, commit 12, start 11, no data below\n\
             write  put, commit 10, start 5, overlapped rollback, fenced at 15, value \"v\"\n\
             value  start 30, value \"long\""
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_lock_that_is_not_stored_is_shown_without_a_value() {
        let mut other = info();
        other.mut_lock().set_start_ts(7);
        let report = VersionsReport::new(b"k", &other, Some(view(b"k", b"k")));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["lock"]["value"], serde_json::Value::Null);
        assert_eq!(json["lock"]["ttl-left-ms"], 2000);
        assert_eq!(json["writes"][1]["last-change"], "none");
        assert_eq!(json["writes"][2]["gc-fence"], 15);
    }

    #[test]
    fn a_key_without_anything_says_so() {
        let text = VersionsReport::new(b"k", &MvccInfo::default(), None).to_string();
        assert_eq!(text, "key    k\nnothing is stored");
    }
}
