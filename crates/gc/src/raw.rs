//! Which versions of one raw key of API V2 nobody needs any more.
//!
//! A read sees the newest version, and nothing when that is a deletion marker or has expired. Versions that are as new
//! as the safe point or newer stay; of the older ones the newest stays for those who read the past (backup, change
//! feeds at the safe point), unless it reads as nothing. See `formats.md`, raw GC of API V2.
//!
//! Must never: let an older version show that a newer one hides.

use api_version::RawValue;
use txn_types::TimeStamp;

use crate::decision::Fate;

/// The decision about one raw key.
#[derive(Clone, Debug)]
pub struct RawDecision {
    safe_point: TimeStamp,
    now_secs: u64,
    newest_below_met: bool,
}

impl RawDecision {
    /// A decision at this safe point, and at this second of the clock for what expires.
    pub fn new(safe_point: TimeStamp, now_secs: u64) -> Self {
        RawDecision {
            safe_point,
            now_secs,
            newest_below_met: false,
        }
    }

    /// The fate of the next version, from the newest to the oldest.
    pub fn next(&mut self, ts: TimeStamp, value: &RawValue<&[u8]>) -> Fate {
        if ts >= self.safe_point {
            return Fate::Keep;
        }
        if self.newest_below_met {
            return Fate::Drop;
        }
        self.newest_below_met = true;
        if value.is_visible(self.now_secs) {
            Fate::Keep
        } else {
            Fate::Tombstone
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Fate::{Drop, Keep, Tombstone};
    use test_case::test_case;

    const LIVE: RawValue<&[u8]> = RawValue::new(b"v");
    const DELETED: RawValue<&[u8]> = RawValue {
        user_value: b"",
        expire_ts: None,
        is_delete: true,
    };
    const UNTIL_50: RawValue<&[u8]> = RawValue {
        user_value: b"v",
        expire_ts: Some(50),
        is_delete: false,
    };

    #[test_case(&[(9, LIVE), (8, LIVE), (7, LIVE)], &[Keep, Keep, Drop]; "the newest below stays")]
    #[test_case(&[(8, DELETED), (7, LIVE)], &[Tombstone, Drop]; "a deletion goes after what it hides")]
    #[test_case(&[(9, DELETED), (8, LIVE)], &[Keep, Keep]; "what is as new as the safe point stays")]
    #[test_case(&[(8, UNTIL_50), (7, LIVE)], &[Tombstone, Drop]; "what has expired is like a deletion")]
    fn versions(given: &[(u64, RawValue<&[u8]>)], fates: &[Fate]) {
        let mut decision = RawDecision::new(TimeStamp::new(9), 50);
        let decided: Vec<_> = given
            .iter()
            .map(|(ts, value)| decision.next(TimeStamp::new(*ts), value))
            .collect();
        assert_eq!(decided, fates);
    }

    #[test]
    fn what_expires_later_stays() {
        let mut decision = RawDecision::new(TimeStamp::new(9), 49);
        assert_eq!(decision.next(TimeStamp::new(8), &UNTIL_50), Keep);
    }
}
