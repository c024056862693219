//! Finding the locks of a range: those that are written, and where it matters those in memory as well.

use engine_traits::{Cf, IterOptions};
use kv::Snapshot;
use txn_types::{Key, Lock, LockValue};

use super::SnapshotReader;
use crate::cursor::Cursor;
use crate::{Error, Result};

/// Locks of a range, in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScannedLocks {
    /// Keys with their locks. A container of shared locks holds only the members that were asked
    /// for.
    pub locks: Vec<(Key, LockValue)>,
    /// Whether the limit ended the scan, so that there may be more: at the last key, when members
    /// of its container were left out, or behind it.
    pub has_remain: bool,
}

impl<S: Snapshot> SnapshotReader<S> {
    /// The locks of `[start, end)` for which `filter` holds, in memory or written; otherwise like
    /// [`scan_locks`](Self::scan_locks). Of two on one key the written one counts.
    pub fn scan_all_locks(
        &mut self,
        start: Option<&Key>,
        end: Option<&Key>,
        filter: impl Fn(&Key, &Lock) -> bool,
        limit: usize,
    ) -> Result<ScannedLocks> {
        let written = self.scan_locks(start, end, &filter, limit)?;
        let Some(locks) = self.snapshot.memory_locks() else {
            return Ok(written);
        };
        let last = written.locks.last().map(|(key, _)| key.as_encoded());
        // Behind the last key of a scan that was cut short nothing is known of what is written.
        let stopped = last.filter(|_| written.has_remain).map(|last| {
            let mut behind = last.to_vec();
            behind.push(0);
            Key::from_encoded(behind)
        });
        let limit = if limit == 0 { usize::MAX } else { limit };
        let in_memory = locks.scan(start, stopped.as_ref().or(end), filter, limit)?;
        Ok(merge(written, in_memory, limit))
    }

    /// The locks of `[start, end)` of the lock column family for which `filter` holds; an absent
    /// bound is open. Members of a container count one by one towards `limit`, zero being no limit.
    pub fn scan_locks(
        &mut self,
        start: Option<&Key>,
        end: Option<&Key>,
        filter: impl Fn(&Key, &Lock) -> bool,
        limit: usize,
    ) -> Result<ScannedLocks> {
        let options = IterOptions {
            lower: start.map(|key| key.as_encoded().to_vec()),
            upper: end.map(|key| key.as_encoded().to_vec()),
            fill_cache: self.fill_cache,
            ..IterOptions::default()
        };
        let mut cursor = Cursor::new(self.snapshot.iter(Cf::Lock, options)?);
        let scanned = collect(&mut cursor, filter, limit);
        self.statistics.lock.add(&cursor.take_statistics());
        scanned
    }
}

fn collect<I: engine_traits::EngineIterator>(
    cursor: &mut Cursor<I>,
    filter: impl Fn(&Key, &Lock) -> bool,
    limit: usize,
) -> Result<ScannedLocks> {
    let mut room = if limit == 0 { usize::MAX } else { limit };
    let mut scanned = ScannedLocks::default();
    let mut valid = cursor.seek_to_first()?;
    while valid {
        let value = LockValue::parse(cursor.value())
            .map_err(|error| Error::corruption(Cf::Lock, cursor.key(), error))?;
        let key = Key::from_encoded_slice(cursor.key());
        match value {
            LockValue::Exclusive(lock) if filter(&key, &lock) => {
                room -= 1;
                cursor.count_processed();
                scanned.locks.push((key, LockValue::Exclusive(lock)));
            }
            LockValue::Exclusive(_) => {}
            LockValue::Shared(mut members) => {
                members.retain(|lock| {
                    let wanted = room > 0 && filter(&key, lock);
                    room -= usize::from(wanted);
                    wanted
                });
                if !members.is_empty() {
                    cursor.count_processed();
                    scanned.locks.push((key, LockValue::Shared(members)));
                }
            }
        }
        if room == 0 {
            scanned.has_remain = true;
            break;
        }
        valid = cursor.next()?;
    }
    Ok(scanned)
}

/// Both in key order, up to `limit` locks.
fn merge(written: ScannedLocks, in_memory: Vec<(Key, Lock)>, limit: usize) -> ScannedLocks {
    if in_memory.is_empty() {
        return written;
    }
    let ScannedLocks {
        mut locks,
        mut has_remain,
    } = written;
    // A stable sort puts the written one of a key first, and the other goes.
    locks.extend(
        in_memory
            .into_iter()
            .map(|(key, lock)| (key, LockValue::Exclusive(lock))),
    );
    locks.sort_by(|(a, _), (b, _)| a.cmp(b));
    locks.dedup_by(|(later, _), (first, _)| later == first);
    let mut room = limit;
    let fits = locks.iter().take_while(|(_, lock)| {
        let count = match lock {
            LockValue::Exclusive(_) => 1,
            LockValue::Shared(members) => members.len(),
        };
        let fits = room >= count || room == limit;
        room = room.saturating_sub(count);
        fits
    });
    let kept = fits.count();
    if kept < locks.len() || room == 0 {
        has_remain = true;
        locks.truncate(kept);
    }
    ScannedLocks { locks, has_remain }
}
