//! One lock as a person reads it: whose it is, how old, how long it still counts.

use std::fmt;
use std::time::Duration;

use kvproto::kvrpcpb::{LockInfo, Op};
use serde::Serialize;
use txn_types::TimeStamp;

use crate::escape::escape;
use crate::key;
use crate::tidb_key::TidbKey;
use crate::timestamp;

/// A lock at one moment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LockView {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tidb: Option<TidbKey>,
    pub(crate) kind: &'static str,
    /// The transaction.
    pub(crate) start_ts: u64,
    pub(crate) age_ms: u64,
    primary: String,
    pub(crate) is_primary: bool,
    pub(crate) ttl_ms: u64,
    /// What is left of it, by the clock of the placement driver; 0 when it is over.
    pub(crate) ttl_left_ms: u64,
    pub(crate) expired: bool,
    for_update_ts: u64,
    pub(crate) min_commit_ts: u64,
    txn_size: u64,
    pub(crate) async_commit: bool,
    pub(crate) secondaries: Vec<String>,
    /// The locks of a key that is locked by several transactions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shared: Vec<LockView>,
}

/// What a lock, or a record, is for.
pub(crate) fn kind(op: Op) -> &'static str {
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

impl LockView {
    /// `lock` as it is at `now`.
    pub(crate) fn new(lock: &LockInfo, now: TimeStamp) -> LockView {
        let start = TimeStamp::from(lock.get_lock_version());
        let ends = start.physical().saturating_add(lock.get_lock_ttl());
        LockView {
            key: escape(lock.get_key()),
            tidb: key::meaning(lock.get_key()),
            kind: kind(lock.get_lock_type()),
            start_ts: start.into_inner(),
            age_ms: now.physical().saturating_sub(start.physical()),
            primary: escape(lock.get_primary_lock()),
            is_primary: lock.get_primary_lock() == lock.get_key(),
            ttl_ms: lock.get_lock_ttl(),
            ttl_left_ms: ends.saturating_sub(now.physical()),
            // At the very end it still counts, as the server has it.
            expired: ends < now.physical(),
            for_update_ts: lock.get_lock_for_update_ts(),
            min_commit_ts: lock.get_min_commit_ts(),
            txn_size: lock.get_txn_size(),
            async_commit: lock.get_use_async_commit(),
            secondaries: lock
                .get_secondaries()
                .iter()
                .map(|key| escape(key))
                .collect(),
            shared: lock
                .get_shared_lock_infos()
                .iter()
                .map(|lock| LockView::new(lock, now))
                .collect(),
        }
    }
}

/// A time in the largest units that tell it to a tenth.
pub(crate) fn millis(ms: u64) -> String {
    let rounded = match ms {
        0..1_000 => ms,
        1_000..60_000 => ms / 100 * 100,
        _ => ms / 1_000 * 1_000,
    };
    humantime::format_duration(Duration::from_millis(rounded)).to_string()
}

impl fmt::Display for LockView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if !self.shared.is_empty() {
            write!(f, " by {} transactions", self.shared.len())?;
            for lock in &self.shared {
                write!(f, "\n       {lock}")?;
            }
            return Ok(());
        }
        write!(
            f,
            ", transaction {}, {} old",
            timestamp::show(self.start_ts),
            millis(self.age_ms)
        )?;
        if self.is_primary {
            write!(f, ", is the primary")?;
        } else {
            write!(f, ", primary \"{}\"", self.primary)?;
        }
        if self.expired {
            write!(f, ", ttl {} is over", millis(self.ttl_ms))?;
        } else {
            let (ttl, left) = (millis(self.ttl_ms), millis(self.ttl_left_ms));
            write!(f, ", ttl {ttl}, {left} left")?;
        }
        for (name, ts) in [
            ("for update", self.for_update_ts),
            ("min commit", self.min_commit_ts),
        ] {
            if ts > 0 {
                write!(f, ", {name} {}", timestamp::show(ts))?;
            }
        }
        if self.async_commit {
            let count = self.secondaries.len();
            write!(f, ", async commit with {count} secondaries")?;
        }
        Ok(())
    }
}

/// The locks of a range.
#[derive(Debug, Serialize)]
pub(crate) struct LocksReport(pub(crate) Vec<LockView>);

impl fmt::Display for LocksReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for lock in &self.0 {
            write!(f, "{}", lock.key)?;
            if let Some(tidb) = &lock.tidb {
                write!(f, "  ({tidb})")?;
            }
            writeln!(f, "\n       {lock}")?;
        }
        write!(f, "({} found)", self.0.len())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The physical part of the timestamps of tests.
    pub(crate) const START_MS: u64 = 1_763_830_800_000;

    pub(crate) fn at(ms: u64) -> TimeStamp {
        TimeStamp::compose(START_MS + ms, 0)
    }

    /// A lock of the transaction that began at 0 ms, with a TTL of three seconds.
    pub(crate) fn lock(key: &[u8], primary: &[u8], op: Op) -> LockInfo {
        let mut lock = LockInfo::default();
        lock.set_key(key.to_vec());
        lock.set_primary_lock(primary.to_vec());
        lock.set_lock_version(at(0).into_inner());
        lock.set_lock_ttl(3000);
        lock.set_lock_type(op);
        lock
    }

    #[test]
    fn times_are_told_to_a_tenth() {
        let told = [0, 999, 1234, 61_234, 3_600_000].map(millis);
        assert_eq!(told, ["0s", "999ms", "1s 200ms", "1m 1s", "1h"]);
    }

    #[test]
    fn the_ttl_counts_from_the_start_and_its_last_moment_too() {
        let lock = lock(b"k", b"k", Op::Put);
        let seen = |ms| {
            let view = LockView::new(&lock, at(ms));
            (view.age_ms, view.ttl_left_ms, view.expired)
        };
        assert_eq!(seen(0), (0, 3000, false));
        assert_eq!(seen(2999), (2999, 1, false));
        assert_eq!(seen(3000), (3000, 0, false));
        assert_eq!(seen(3001), (3001, 0, true));
        // The clock of the placement driver may be a little behind.
        let before = LockView::new(&lock, TimeStamp::compose(START_MS - 5, 0));
        assert_eq!((before.age_ms, before.expired), (0, false));
        let mut endless = lock.clone();
        endless.set_lock_ttl(u64::MAX);
        assert!(!LockView::new(&endless, at(5000)).expired);
    }

    #[test]
    fn everything_is_shown() {
        let mut waits = lock(b"k\x00", b"p", Op::PessimisticLock);
        waits.set_lock_for_update_ts(10);
        let mut commits = lock(b"p", b"p", Op::Put);
        commits.set_min_commit_ts(20);
        commits.set_use_async_commit(true);
        commits.mut_secondaries().push(b"k".to_vec());
        let locks = [waits, commits].map(|lock| LockView::new(&lock, at(3500)));
        let ts = at(0).into_inner();
        assert_eq!(
            LocksReport(locks.into()).to_string(),
            format!(
                "k\\000\n       pessimistic, transaction {ts} (2025-11-22T17:00:00.000Z), 3s 500ms old, primary \"p\", \
                 ttl 3s is over, for update 10\n\
                 p\n       put, transaction {ts} (2025-11-22T17:00:00.000Z), 3s 500ms old, is the primary, \
                 ttl 3s is over, min commit 20, async commit with 1 secondaries\n\
                 (2 found)"
            )
        );
        assert_eq!(LocksReport(Vec::new()).to_string(), "(0 found)");
    }

    #[test]
    fn shared_locks_are_shown_one_by_one() {
        let mut shared = lock(b"k", b"", Op::SharedLock);
        let member = lock(b"k", b"p", Op::SharedPessimisticLock);
        shared.set_shared_lock_infos(vec![member.clone(), member].into());
        let text = LockView::new(&shared, at(1)).to_string();
        assert!(text.starts_with("shared by 2 transactions\n"), "{text}");
        assert_eq!(text.matches("shared-pessimistic").count(), 2, "{text}");
    }
}
