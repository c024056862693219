//! Versions that go while the engine compacts for its own reasons.
//!
//! A compaction rewrites some files, so it need not meet all records of a key. What it meets it meets from the newest
//! to the oldest, and the decision bears gaps: it can only keep more than it had to. It must not drop what needs a
//! second step: the tombstone, whose older records may be in other files, and a Put whose value is in the default
//! column family, which would stay there for ever if the process died in between. Both are left to [`crate::Pass`].
//!
//! Must never: remove what the pass would not.

use std::sync::Arc;

use concurrency_manager::SafePoint;
use engine_traits::{CompactionFilter, CompactionFilterFactory, Verdict};
use txn_types::{Key, WriteRef, WriteType};

use crate::decision::{Decision, Fate};

/// The filter for encoded keys of the write column family. A compaction goes by the safe point at its begin.
pub fn write_filter(safe_point: SafePoint) -> CompactionFilterFactory {
    Arc::new(move || filter(&safe_point))
}

fn filter(safe_point: &SafePoint) -> CompactionFilter {
    let safe_point = safe_point.get();
    if safe_point.is_zero() {
        return Box::new(|_, _| Verdict::Keep);
    }
    let mut user_key = Vec::new();
    let mut decision = Decision::new(safe_point);
    let mut unreadable = false;
    Box::new(move |key, value| {
        let Ok((user, commit_ts)) = Key::split_on_ts_for(key) else {
            return Verdict::Keep;
        };
        if user_key != user {
            user_key.clear();
            user_key.extend_from_slice(user);
            decision = Decision::new(safe_point);
            unreadable = false;
        }
        let Ok(write) = WriteRef::parse(value) else {
            unreadable = true;
            return Verdict::Keep;
        };
        let has_own_value = write.write_type == WriteType::Put && write.short_value.is_none();
        match decision.next(commit_ts, &write) {
            Fate::Drop if !has_own_value && !unreadable => Verdict::Remove,
            Fate::Drop | Fate::Keep | Fate::Tombstone => Verdict::Keep,
        }
    })
}

#[cfg(test)]
mod tests {
    use txn_types::{TimeStamp, Write};

    use super::*;

    fn run(safe_point: u64, records: &[(&str, u64, WriteType, bool)]) -> Vec<Verdict> {
        let shared = SafePoint::default();
        shared.advance(TimeStamp::new(safe_point));
        let mut filter = write_filter(shared)();
        let judge = |(key, ts, write_type, short): &(&str, u64, WriteType, bool)| {
            let value = short.then(|| b"v".to_vec());
            let write = Write::new(*write_type, TimeStamp::new(ts - 1), value);
            let key = Key::from_raw(key.as_bytes()).append_ts(TimeStamp::new(*ts));
            filter(key.as_encoded(), &write.to_bytes())
        };
        records.iter().map(judge).collect()
    }

    #[test]
    fn it_drops_what_needs_no_second_step() {
        use Verdict::{Keep, Remove};
        use WriteType::{Delete, Lock, Put, Rollback};
        let records = [
            ("a", 30, Put, true),
            ("a", 20, Rollback, false),
            ("a", 15, Put, true),
            ("a", 14, Put, true),
            ("a", 13, Put, false),
            ("a", 12, Lock, false),
            // The next key begins anew.
            ("b", 12, Delete, false),
            ("b", 11, Put, true),
        ];
        let verdicts = [Keep, Remove, Keep, Remove, Keep, Remove, Keep, Remove];
        assert_eq!(run(20, &records), verdicts);
        assert_eq!(run(0, &records), [Keep; 8], "before a safe point is known");
    }

    #[test]
    fn below_what_it_cannot_read_it_keeps_everything() {
        let shared = SafePoint::default();
        shared.advance(TimeStamp::new(50));
        let mut filter = write_filter(shared)();
        let key = |ts| Key::from_raw(b"k").append_ts(TimeStamp::new(ts));
        let rollback = Write::new(WriteType::Rollback, TimeStamp::new(1), None).to_bytes();
        assert_eq!(filter(key(9).as_encoded(), b"?"), Verdict::Keep);
        assert_eq!(filter(key(8).as_encoded(), &rollback), Verdict::Keep);
        assert_eq!(filter(b"short", &rollback), Verdict::Keep);
    }
}
