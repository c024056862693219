//! Finding the keys of a range that have changed after a moment.

use engine_traits::{Cf, EngineIterator, IterOptions};
use kv::Snapshot;
use txn_types::{Key, TimeStamp};

use super::SnapshotReader;
use crate::Result;
use crate::cursor::{Cursor, append_after_versions};

/// Keys that have changed, in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedKeys {
    /// Encoded user keys, each with the commit timestamp of its newest Put or Delete.
    pub keys: Vec<(Key, TimeStamp)>,
    /// Where the scan goes on; nothing at the end of the range.
    pub next: Option<Key>,
}

impl<S: Snapshot> SnapshotReader<S> {
    /// The keys of `[start, end)` whose newest Put or Delete was committed above `ts`; an absent bound is open. At
    /// most `limit` of them, and no more than `passed` keys are looked at, none of which may be zero.
    pub fn scan_changed_keys(
        &mut self,
        (start, end): (Option<&Key>, Option<&Key>),
        ts: TimeStamp,
        (limit, passed): (usize, usize),
    ) -> Result<ChangedKeys> {
        let options = IterOptions {
            lower: start.map(|key| key.as_encoded().to_vec()),
            upper: end.map(|key| key.as_encoded().to_vec()),
            fill_cache: self.fill_cache,
            ..IterOptions::default()
        };
        let mut cursor = Cursor::new(self.snapshot.iter(Cf::Write, options)?);
        let found = collect(&mut cursor, ts, (limit, passed));
        self.statistics.write.add(&cursor.take_statistics());
        found
    }
}

fn collect<I: EngineIterator>(
    cursor: &mut Cursor<I>,
    ts: TimeStamp,
    (limit, mut passed): (usize, usize),
) -> Result<ChangedKeys> {
    let mut changed = ChangedKeys::default();
    let mut behind = Vec::new();
    let mut valid = cursor.seek_to_first()?;
    while valid {
        behind.clear();
        behind.extend_from_slice(cursor.version()?.0);
        if passed == 0 || changed.keys.len() == limit {
            changed.next = Some(Key::from_encoded(behind));
            break;
        }
        passed -= 1;
        if let Some(newest) = newest_data_above(cursor, &behind, ts)? {
            cursor.count_processed();
            let key = Key::from_encoded_slice(&behind);
            changed.keys.push((key, newest));
        }
        append_after_versions(&mut behind);
        valid = cursor.near_seek(&behind)?;
    }
    Ok(changed)
}

/// Where the newest Put or Delete of `user_key`, whose newest record `cursor` stands on, was committed, if above `ts`.
fn newest_data_above<I: EngineIterator>(
    cursor: &mut Cursor<I>,
    user_key: &[u8],
    ts: TimeStamp,
) -> Result<Option<TimeStamp>> {
    while let Some(commit_ts) = cursor.commit_ts_of(user_key)?
        && commit_ts > ts
    {
        if cursor.write()?.write_type.is_data() {
            return Ok(Some(commit_ts));
        }
        cursor.next()?;
    }
    Ok(None)
}
