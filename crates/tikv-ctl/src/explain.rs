//! Why a key is blocked: by whom, what became of them, who waits, and what to do.
//!
//! The answer is derived from what is stored, and nothing is changed: no lock is resolved, no transaction pushed. So it
//! says what the next reader or writer *will* do, and leaves it to them. Everything here is pure; [`crate::cluster`]
//! fetches.

use std::fmt;

use kvproto::deadlock::WaitForEntry;
use kvproto::kvrpcpb::{LockInfo, MvccInfo, MvccWrite, Op};
use serde::Serialize;
use txn_types::TimeStamp;

use crate::escape::escape;
use crate::key;
use crate::lock_view::{LockView, millis};
use crate::tidb_key::TidbKey;
use crate::timestamp;

/// What was found out about a key.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) key: Vec<u8>,
    /// The moment, by the placement driver.
    pub(crate) now: TimeStamp,
    /// The lock on the key.
    pub(crate) lock: Option<LockInfo>,
    /// What is stored about it.
    pub(crate) info: MvccInfo,
    /// The lock on the primary of that lock, and what is stored about the primary; if there is a lock.
    pub(crate) primary: Option<(Option<LockInfo>, MvccInfo)>,
    /// Everybody who waits for a lock on the key's store; nothing when the store cannot tell.
    pub(crate) waits: Option<Vec<WaitForEntry>>,
}

/// Why a key is blocked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Explanation {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tidb: Option<TidbKey>,
    now: u64,
    lock: Option<LockView>,
    transaction: Option<Fate>,
    /// Nothing when the store cannot tell.
    waiters: Option<Vec<Waiter>>,
    reader: Reader,
    next: String,
}

/// What became of the transaction that holds the lock, by its primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum Fate {
    /// Its primary has a commit record.
    #[serde(rename_all = "kebab-case")]
    Committed { commit_ts: u64 },
    /// Its primary has a rollback record.
    RolledBack,
    /// Its primary is locked, and this much of its TTL is left.
    #[serde(rename_all = "kebab-case")]
    Alive { ttl_left_ms: u64 },
    /// Its primary is locked, and its TTL is over.
    #[serde(rename_all = "kebab-case")]
    Expired { async_commit: bool },
    /// Its primary names another key as the primary.
    #[serde(rename_all = "kebab-case")]
    OtherPrimary { primary: String },
    /// Neither lock nor record: the primary was not locked yet, or its records are collected.
    Unknown,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Waiter {
    start_ts: u64,
    waited_ms: u64,
}

/// What a reader meets now.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "sees", rename_all = "kebab-case")]
enum Reader {
    #[serde(rename_all = "kebab-case")]
    Value {
        value: String,
        commit_ts: u64,
    },
    Nothing,
    /// It must look after the lock first. Without the lock it would see this.
    #[serde(rename_all = "kebab-case")]
    Lock {
        below: Option<String>,
    },
}

impl Explanation {
    pub(crate) fn new(found: &Findings) -> Explanation {
        let fate = found
            .lock
            .as_ref()
            .zip(found.primary.as_ref())
            .map(|(lock, (primary_lock, info))| fate(lock, primary_lock.as_ref(), info, found.now));
        let waiters = found.waits.as_ref().map(|waits| waiters(&found.key, waits));
        Explanation {
            key: escape(&found.key),
            tidb: key::meaning(&found.key),
            now: found.now.into_inner(),
            lock: found
                .lock
                .as_ref()
                .map(|lock| LockView::new(lock, found.now)),
            next: next(&escape(&found.key), found.lock.as_ref(), fate.as_ref()),
            transaction: fate,
            waiters,
            reader: reader(found.lock.as_ref(), &found.info, found.now),
        }
    }
}

/// What the primary says of the transaction of `lock`.
fn fate(
    lock: &LockInfo,
    primary_lock: Option<&LockInfo>,
    primary: &MvccInfo,
    now: TimeStamp,
) -> Fate {
    let start_ts = lock.get_lock_version();
    let own = primary_lock.and_then(|found| member(found, start_ts));
    if let Some(own) = own {
        if own.get_primary_lock() != lock.get_primary_lock() {
            return Fate::OtherPrimary {
                primary: escape(own.get_primary_lock()),
            };
        }
        let view = LockView::new(own, now);
        return if view.expired {
            Fate::Expired {
                async_commit: view.async_commit,
            }
        } else {
            Fate::Alive {
                ttl_left_ms: view.ttl_left_ms,
            }
        };
    }
    for write in primary.get_writes() {
        if write.get_start_ts() == start_ts {
            return match write.get_field_type() {
                Op::Rollback => Fate::RolledBack,
                _ => Fate::Committed {
                    commit_ts: write.get_commit_ts(),
                },
            };
        }
        // The record of another transaction that was committed at this one's start says so beside its own.
        if write.get_commit_ts() == start_ts && write.get_has_overlapped_rollback() {
            return Fate::RolledBack;
        }
    }
    Fate::Unknown
}

/// The lock of one transaction, which may be one of several on a key.
fn member(lock: &LockInfo, start_ts: u64) -> Option<&LockInfo> {
    let shared = lock.get_shared_lock_infos().iter();
    std::iter::once(lock)
        .chain(shared)
        .find(|lock| lock.get_lock_version() == start_ts)
}

fn waiters(key: &[u8], waits: &[WaitForEntry]) -> Vec<Waiter> {
    let mut waiters: Vec<_> = waits
        .iter()
        .filter(|wait| wait.get_key() == key)
        .map(|wait| Waiter {
            start_ts: wait.get_txn(),
            waited_ms: wait.get_wait_time(),
        })
        .collect();
    waiters.sort_by_key(|waiter| std::cmp::Reverse(waiter.waited_ms));
    waiters
}

fn reader(lock: Option<&LockInfo>, info: &MvccInfo, now: TimeStamp) -> Reader {
    let version = visible(info, now);
    let value = version.map(|write| escape(value_of(write, info)));
    let blocks = lock.is_some_and(|lock| {
        matches!(lock.get_lock_type(), Op::Put | Op::Del)
            && lock.get_lock_version() <= now.into_inner()
            && lock.get_min_commit_ts() <= now.into_inner()
    });
    match (value, version) {
        (below, _) if blocks => Reader::Lock { below },
        (Some(value), Some(write)) => Reader::Value {
            value,
            commit_ts: write.get_commit_ts(),
        },
        _ => Reader::Nothing,
    }
}

/// The record of the value that is visible at `now`.
fn visible(info: &MvccInfo, now: TimeStamp) -> Option<&MvccWrite> {
    let now = now.into_inner();
    let newest = info.get_writes().iter().find(|write| {
        write.get_commit_ts() <= now && matches!(write.get_field_type(), Op::Put | Op::Del)
    })?;
    let fenced = newest.get_has_gc_fence() && (1..=now).contains(&newest.get_gc_fence());
    (newest.get_field_type() == Op::Put && !fenced).then_some(newest)
}

fn value_of<'a>(write: &'a MvccWrite, info: &'a MvccInfo) -> &'a [u8] {
    let long = info
        .get_values()
        .iter()
        .find(|value| value.get_start_ts() == write.get_start_ts());
    match long {
        Some(long) if write.get_short_value().is_empty() => long.get_value(),
        _ => write.get_short_value(),
    }
}

/// What to do, in one sentence.
fn next(key: &str, lock: Option<&LockInfo>, fate: Option<&Fate>) -> String {
    let Some(lock) = lock else {
        return "nothing: no lock is on this key".to_owned();
    };
    if !lock.get_shared_lock_infos().is_empty() {
        return "wait for its transactions: several share this lock, which blocks writers and no readers".to_owned();
    }
    let pessimistic = matches!(
        lock.get_lock_type(),
        Op::PessimisticLock | Op::SharedPessimisticLock
    );
    // Readers pass locks that hold no value, so only a writer looks after them.
    let (who, how) = if pessimistic || lock.get_lock_type() == Op::Lock {
        (
            "the next writer of this key",
            format!("`tikv-ctl shell` with begin --pessimistic, lock '{key}', rollback"),
        )
    } else {
        (
            "the next reader of this key",
            format!("`tikv-ctl txn get '{key}'`"),
        )
    };
    let start_ts = lock.get_lock_version();
    match fate {
        Some(Fate::Committed { .. }) if pessimistic => format!(
            "nothing is lost: the transaction is committed without this key, {who} removes the lock, {how} does it now"
        ),
        Some(Fate::Committed { commit_ts }) => format!(
            "nothing is lost: the transaction is committed at {commit_ts}, {who} commits this key too, {how} does it now"
        ),
        Some(Fate::RolledBack) => format!(
            "nothing is lost: the transaction was rolled back, {who} removes the lock, {how} does it now"
        ),
        Some(Fate::Alive { ttl_left_ms }) => format!(
            "wait, or end the client whose transaction started at {start_ts}: without a heart-beat of it the lock counts \
             for another {}",
            millis(*ttl_left_ms)
        ),
        Some(Fate::Expired { async_commit: true }) => format!(
            "nothing is lost: the transaction's client is gone, {who} asks all of its keys whether it is committed, \
             {how} does it now"
        ),
        Some(Fate::Expired {
            async_commit: false,
        }) => format!(
            "nothing is lost: the transaction's client is gone, {who} rolls it back, {how} does it now"
        ),
        Some(Fate::OtherPrimary { primary }) => format!(
            "look at \"{primary}\", which is the primary of the transaction now: this lock was left behind, {who} removes \
             it when its TTL is over"
        ),
        Some(Fate::Unknown) | None => format!(
            "wait: the primary has neither lock nor record, {who} rolls the transaction back once the TTL of this lock is \
             over"
        ),
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Committed { commit_ts } => {
                write!(f, "committed at {}", timestamp::show(*commit_ts))
            }
            Fate::RolledBack => write!(f, "rolled back"),
            Fate::Alive { ttl_left_ms } => write!(
                f,
                "alive, its primary is locked for another {}",
                millis(*ttl_left_ms)
            ),
            Fate::Expired { async_commit: true } => {
                write!(
                    f,
                    "its time is over; committed if all of its keys are locked"
                )
            }
            Fate::Expired {
                async_commit: false,
            } => write!(f, "not committed, and its time is over"),
            Fate::OtherPrimary { primary } => {
                write!(f, "its primary is \"{primary}\" by now")
            }
            Fate::Unknown => write!(f, "unknown, its primary has neither lock nor record"),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key     {}", self.key)?;
        if let Some(tidb) = &self.tidb {
            write!(f, "  ({tidb})")?;
        }
        match &self.lock {
            Some(lock) => write!(f, "\nlock    {lock}")?,
            None => write!(f, "\nlock    none")?,
        }
        if let Some(fate) = &self.transaction {
            write!(f, "\nstate   {fate}")?;
        }
        for waiter in self.waiters.iter().flatten() {
            let Waiter {
                start_ts,
                waited_ms,
            } = waiter;
            let (ts, waited) = (timestamp::show(*start_ts), millis(*waited_ms));
            write!(f, "\nwaits   transaction {ts}, for {waited}")?;
        }
        match &self.reader {
            Reader::Value { value, commit_ts } => {
                let ts = timestamp::show(*commit_ts);
                write!(f, "\nreader  sees \"{value}\", committed at {ts}")?;
            }
            Reader::Nothing => write!(f, "\nreader  sees nothing")?,
            Reader::Lock { below: Some(value) } => write!(
                f,
                "\nreader  is blocked by the lock; if it goes without a commit, sees \"{value}\""
            )?,
            Reader::Lock { below: None } => write!(
                f,
                "\nreader  is blocked by the lock; if it goes without a commit, sees nothing"
            )?,
        }
        write!(f, "\nnext    {}", self.next)
    }
}

#[cfg(test)]
mod tests;
