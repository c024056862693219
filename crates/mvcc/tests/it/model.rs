//! The naive model: a key is a list of records and perhaps a lock; a read looks at all of them.
//!
//! It shares no code with the readers, knows no cursors, seeks or jumps, and follows the tables of
//! the facts line by line.

use txn_types::{Lock, TimeStamp, Write, WriteType};

/// A record and the value it stands for.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) commit_ts: u64,
    /// As stored: without the value where that is long.
    pub(crate) write: Write,
    pub(crate) value: Vec<u8>,
}

/// One line, so that a failing history can be read.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let write = &self.write;
        write!(
            f,
            "{:?}@{} start={}",
            write.write_type, self.commit_ts, write.start_ts
        )?;
        if let Some(fence) = write.gc_fence {
            write!(f, " fence={fence}")?;
        }
        write!(f, " {:?}", write.last_change)
    }
}

/// What is on the lock of a key.
#[derive(Clone, Debug)]
pub(crate) enum Locked {
    No,
    /// A lock and the value it stands for.
    By(Lock, Vec<u8>),
    Shared(Vec<u64>),
}

/// Everything about a key, records in the order of their commits.
#[derive(Clone, Debug)]
pub(crate) struct KeyHistory {
    pub(crate) raw: Vec<u8>,
    pub(crate) records: Vec<Record>,
    pub(crate) lock: Locked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Si,
    Rc,
    RcCheckTs,
}

/// The parameters of a read.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) ts: u64,
    pub(crate) level: Level,
    pub(crate) bypass: Vec<u64>,
    pub(crate) access: Vec<u64>,
    pub(crate) replica: bool,
    pub(crate) need_commit_ts: bool,
    pub(crate) key_only: bool,
}

/// What a read of a key answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    NotFound,
    /// The value and where it was committed, unless it was read through a lock.
    Found(Vec<u8>, Option<u64>),
    /// By the transaction that started there.
    Locked(u64),
    /// With the lock of that transaction, or with a record committed there.
    ConflictWithLock(u64),
    ConflictWithRecord(u64),
}

impl Outcome {
    /// Whether it ends a scan.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::ConflictWithLock(_) | Self::ConflictWithRecord(_)
        )
    }
}

enum LockVerdict {
    Ignore,
    Stop(Outcome),
}

impl KeyHistory {
    pub(crate) fn read(&self, read: &Read) -> Outcome {
        if let LockVerdict::Stop(outcome) = self.judge_lock(read) {
            return outcome;
        }
        if read.level == Level::RcCheckTs
            && let Some(newest) = self.records.last()
            && newest.commit_ts > read.ts
        {
            return Outcome::ConflictWithRecord(newest.commit_ts);
        }
        match self.newest_data(read.ts, read.ts) {
            Some(record) if record.write.write_type == WriteType::Put => {
                let value = if read.key_only {
                    Vec::new()
                } else {
                    record.value.clone()
                };
                Outcome::Found(value, Some(record.commit_ts))
            }
            _ => Outcome::NotFound,
        }
    }

    fn judge_lock(&self, read: &Read) -> LockVerdict {
        let Locked::By(lock, value) = &self.lock else {
            return LockVerdict::Ignore;
        };
        let ts = lock.ts.into_inner();
        let changes_data = !matches!(
            lock.lock_type,
            txn_types::LockType::Lock | txn_types::LockType::Pessimistic
        );
        match read.level {
            Level::Rc => LockVerdict::Ignore,
            Level::RcCheckTs if !changes_data || read.bypass.contains(&ts) => LockVerdict::Ignore,
            Level::RcCheckTs => LockVerdict::Stop(Outcome::ConflictWithLock(ts)),
            Level::Si => {
                let latest_on_primary = read.ts == u64::MAX
                    && !read.replica
                    && lock.primary == self.raw
                    && !lock.use_async_commit;
                if ts > read.ts
                    || !changes_data
                    || lock.min_commit_ts.into_inner() > read.ts
                    || read.bypass.contains(&ts)
                    || latest_on_primary
                {
                    return LockVerdict::Ignore;
                }
                if read.need_commit_ts || !read.access.contains(&ts) {
                    return LockVerdict::Stop(Outcome::Locked(ts));
                }
                LockVerdict::Stop(match lock.lock_type {
                    txn_types::LockType::Put if read.key_only => Outcome::Found(Vec::new(), None),
                    txn_types::LockType::Put => Outcome::Found(value.clone(), None),
                    _ => Outcome::NotFound,
                })
            }
        }
    }

    /// The newest commit that a fence names and that is not there any more.
    pub(crate) fn last_collected(&self) -> Option<u64> {
        let fences = self
            .records
            .iter()
            .filter_map(|record| record.write.gc_fence);
        fences
            .map(TimeStamp::into_inner)
            .filter(|fence| *fence != 0 && self.record_at(*fence).is_none())
            .max()
    }

    /// The newest Put or Delete at or below `ts`, unless a fence at or below `fence_ts` is met.
    pub(crate) fn newest_data(&self, ts: u64, fence_ts: u64) -> Option<&Record> {
        let below = self
            .records
            .iter()
            .rev()
            .filter(|record| record.commit_ts <= ts);
        for record in below {
            let fence = record.write.gc_fence.map_or(0, TimeStamp::into_inner);
            if fence != 0 && fence <= fence_ts {
                return None;
            }
            if matches!(record.write.write_type, WriteType::Put | WriteType::Delete) {
                return Some(record);
            }
        }
        None
    }

    /// Where the transaction's own record is, with its kind.
    pub(crate) fn own_record(&self, start_ts: u64) -> Option<(u64, WriteType)> {
        self.records
            .iter()
            .find(|record| record.write.start_ts.into_inner() == start_ts)
            .map(|record| (record.commit_ts, record.write.write_type))
    }

    /// A record at `ts`, and the commit of the next data version above it.
    pub(crate) fn record_at(&self, ts: u64) -> Option<(&Record, u64)> {
        let at = self
            .records
            .iter()
            .position(|record| record.commit_ts == ts)?;
        let fence = self.records[at + 1..]
            .iter()
            .find(|record| matches!(record.write.write_type, WriteType::Put | WriteType::Delete))
            .map_or(0, |record| record.commit_ts);
        Some((&self.records[at], fence))
    }
}
