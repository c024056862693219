//! Which records of one user key no read at or above the safe point needs.
//!
//! A read sees the newest Put or Delete at or below its timestamp. So at or below the safe point only the newest of
//! these counts, and records of the other kinds do not count at all. A Delete that is the newest reads as nothing at
//! all, so it may go too, but only when nothing older is left that it hides. A Put whose fence lies at or below the
//! safe point is not believed by any read from there on: it is like a Delete.
//!
//! Records can be removed in any order and at any time, and each state in between reads the same: those that are
//! dropped are hidden by one that is kept, and the tombstone goes last.
//!
//! Must never: look at anything but the records of its key.

use txn_types::{TimeStamp, WriteRef, WriteType};

/// What becomes of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It may go at any time.
    Drop,
    /// It may go when nothing older of its key is left.
    Tombstone,
}

/// The decision about one user key.
#[derive(Clone, Debug)]
pub struct Decision {
    safe_point: TimeStamp,
    /// The record that reads at the safe point see has been met.
    visible_met: bool,
}

impl Decision {
    /// A decision for reads at `safe_point` or later.
    pub fn new(safe_point: TimeStamp) -> Self {
        Decision {
            safe_point,
            visible_met: false,
        }
    }

    /// The fate of the next record, which was committed at `commit_ts`. They are given from the newest to the oldest;
    /// it does no harm when some are left out.
    pub fn next(&mut self, commit_ts: TimeStamp, write: &WriteRef<'_>) -> Fate {
        if commit_ts > self.safe_point {
            return Fate::Keep;
        }
        if self.visible_met {
            return Fate::Drop;
        }
        match write.write_type {
            WriteType::Lock | WriteType::Rollback => return Fate::Drop,
            WriteType::Put | WriteType::Delete => self.visible_met = true,
        }
        if write.write_type == WriteType::Put && write.is_valid_at(self.safe_point) {
            Fate::Keep
        } else {
            Fate::Tombstone
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug)]
    struct Record {
        commit: u64,
        kind: WriteType,
        fence: u64,
    }

    fn fate(decision: &mut Decision, record: &Record) -> Fate {
        let write = WriteRef {
            write_type: record.kind,
            start_ts: TimeStamp::new(record.commit - 1),
            short_value: None,
            has_overlapped_rollback: record.fence != 0,
            gc_fence: (record.fence != 0).then(|| TimeStamp::new(record.fence)),
            last_change: txn_types::LastChange::Unknown,
            txn_source: 0,
        };
        decision.next(TimeStamp::new(record.commit), &write)
    }

    /// What a read at `ts` finds: where its value was committed.
    fn read<'a>(records: impl IntoIterator<Item = &'a Record>, ts: u64) -> Option<u64> {
        let newest = records
            .into_iter()
            .find(|record| record.commit <= ts && record.kind.is_data())?;
        let believed = newest.fence == 0 || newest.fence > ts;
        (newest.kind == WriteType::Put && believed).then_some(newest.commit)
    }

    /// All records of up to five timestamps, newest first.
    fn histories() -> impl Iterator<Item = Vec<Record>> {
        (0..7u32.pow(5)).map(|mut code| {
            let mut records = Vec::new();
            for commit in (1..=5).rev() {
                let choice = code % 7;
                code /= 7;
                let (kind, fence) = match choice {
                    0 => continue,
                    1 => (WriteType::Put, 0),
                    2 => (WriteType::Delete, 0),
                    3 => (WriteType::Lock, 0),
                    4 => (WriteType::Rollback, 0),
                    later => (WriteType::Put, commit + u64::from(later) - 4),
                };
                records.push(Record {
                    commit,
                    kind,
                    fence,
                });
            }
            records
        })
    }

    #[test]
    fn every_read_from_the_safe_point_on_stays_the_same_whatever_has_gone() {
        for records in histories() {
            for safe_point in 0..=6 {
                let mut decision = Decision::new(TimeStamp::new(safe_point));
                let fates: Vec<_> = records.iter().map(|r| fate(&mut decision, r)).collect();
                let droppable: Vec<_> = (0..records.len())
                    .filter(|at| fates[*at] == Fate::Drop)
                    .collect();
                // Any part of those that may go at any time, and all of them with the tombstone.
                for gone in 0..1u32 << droppable.len() {
                    let is_gone = |at: usize| {
                        let place = droppable.iter().position(|candidate| *candidate == at);
                        place.is_some_and(|place| gone >> place & 1 == 1)
                    };
                    let kept: Vec<_> = (0..records.len())
                        .filter(|at| !is_gone(*at))
                        .map(|at| &records[at])
                        .collect();
                    for ts in safe_point..=8 {
                        let (before, after) = (read(&records, ts), read(kept.iter().copied(), ts));
                        assert_eq!(before, after, "{records:?} {safe_point} {ts}");
                    }
                }
                // And when all that may go has gone, the tombstone.
                let kept: Vec<_> = (0..records.len())
                    .filter(|at| fates[*at] == Fate::Keep)
                    .map(|at| &records[at])
                    .collect();
                for ts in safe_point..=8 {
                    let (before, after) = (read(&records, ts), read(kept.iter().copied(), ts));
                    assert_eq!(before, after, "{records:?} {safe_point} {ts}");
                }
            }
        }
    }

    /// The least that must be left, record by record: what no read from the safe point on could tell from its absence
    /// is never kept for good.
    #[test]
    fn what_is_kept_is_needed() {
        for records in histories() {
            for safe_point in 0..=6 {
                let mut decision = Decision::new(TimeStamp::new(safe_point));
                for (at, record) in records.iter().enumerate() {
                    if fate(&mut decision, record) != Fate::Keep || record.commit > safe_point {
                        continue;
                    }
                    let without = records.iter().enumerate().filter(|(n, _)| *n != at);
                    let without: Vec<_> = without.map(|(_, record)| record).collect();
                    let needed = (safe_point..=8)
                        .any(|ts| read(&records, ts) != read(without.iter().copied(), ts));
                    assert!(needed, "{record:?} of {records:?} at {safe_point}");
                }
            }
        }
    }
}
