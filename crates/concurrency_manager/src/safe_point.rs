//! Below which timestamp versions may be gone.
//! Must never: go back, or be raised after something was removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use txn_types::TimeStamp;

/// The safe point of the store's garbage collection, shared by clones. Every reader at or above it sees what it always
/// saw; of what lies below, anything that such a reader does not need may be missing.
///
/// The collector raises it before it removes the first version. Whoever has read looks at it *afterwards*: if it is not
/// above what was read at, nothing that mattered was gone by then.
#[derive(Clone, Debug, Default)]
pub struct SafePoint(Arc<AtomicU64>);

impl SafePoint {
    /// Where it is; zero when nothing was ever removed by this process.
    pub fn get(&self) -> TimeStamp {
        TimeStamp::from(self.0.load(Ordering::SeqCst))
    }

    /// Raises it to `ts`. Returns whether it was below.
    pub fn advance(&self, ts: TimeStamp) -> bool {
        self.0.fetch_max(ts.into_inner(), Ordering::SeqCst) < ts.into_inner()
    }

    /// Fails when versions that `ts` needs may be gone. The latest version, `u64::MAX`, never is.
    pub fn check(&self, ts: TimeStamp) -> Result<(), BelowSafePoint> {
        let safe_point = self.get();
        if ts < safe_point {
            return Err(BelowSafePoint { ts, safe_point });
        }
        Ok(())
    }
}

/// The state at a timestamp is not known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "timestamp {ts} is below the safe point {safe_point} of garbage collection: versions that it needs may be gone"
)]
pub struct BelowSafePoint {
    /// What was asked for.
    pub ts: TimeStamp,
    /// The least that can be.
    pub safe_point: TimeStamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_only_grows_and_clones_share_it() {
        let safe_point = SafePoint::default();
        assert_eq!(safe_point.check(TimeStamp::zero()), Ok(()));
        assert!(safe_point.advance(TimeStamp::new(10)));
        assert!(!safe_point.clone().advance(TimeStamp::new(9)));
        assert!(!safe_point.advance(TimeStamp::new(10)));
        assert_eq!(safe_point.clone().get(), TimeStamp::new(10));
        assert_eq!(safe_point.check(TimeStamp::new(10)), Ok(()));
        assert_eq!(safe_point.check(TimeStamp::max()), Ok(()));
        let below = safe_point.check(TimeStamp::new(9)).unwrap_err();
        assert_eq!(
            below.to_string(),
            "timestamp 9 is below the safe point 10 of garbage collection: versions that it needs may be gone"
        );
    }
}
