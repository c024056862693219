//! Timestamps of the oracle, and sets of them as requests carry them.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Bits of a timestamp that count within one millisecond.
const LOGICAL_BITS: u32 = 18;

/// A timestamp of the oracle: milliseconds of physical time, then an 18-bit counter.
///
/// Also used as the start and commit points of transactions and as versions of keys.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeStamp(u64);

impl TimeStamp {
    /// Wraps the number that travels on the wire.
    #[must_use]
    pub const fn new(ts: u64) -> Self {
        Self(ts)
    }

    /// Joins physical milliseconds and a logical counter.
    #[must_use]
    pub const fn compose(physical: u64, logical: u64) -> Self {
        Self((physical << LOGICAL_BITS).wrapping_add(logical))
    }

    /// The smallest timestamp; in requests it often means "none".
    #[must_use]
    pub const fn zero() -> Self {
        Self(0)
    }

    /// The largest timestamp; a read at it asks for the latest version.
    #[must_use]
    pub const fn max() -> Self {
        Self(u64::MAX)
    }

    /// Physical part, in milliseconds.
    #[must_use]
    pub const fn physical(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    /// Counter within the millisecond.
    #[must_use]
    pub const fn logical(self) -> u64 {
        self.0 & ((1 << LOGICAL_BITS) - 1)
    }

    /// The following timestamp; the largest one stays where it is.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The preceding timestamp; zero stays where it is.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Whether this is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether this is the largest timestamp.
    #[must_use]
    pub const fn is_max(self) -> bool {
        self.0 == u64::MAX
    }

    /// The number that travels on the wire.
    #[must_use]
    pub const fn into_inner(self) -> u64 {
        self.0
    }
}

impl From<u64> for TimeStamp {
    fn from(ts: u64) -> Self {
        Self(ts)
    }
}

impl fmt::Display for TimeStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TimeStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeStamp({})", self.0)
    }
}

/// From how many members on a set is hashed instead of searched one by one.
const TS_SET_HASH_MIN: usize = 8;

/// A set of start timestamps that a request names: locks to bypass or to read through.
///
/// Cheap to clone, because every scanner of a request keeps one.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum TsSet {
    /// No member: the common case.
    #[default]
    Empty,
    /// A few members, searched one by one.
    Vec(Arc<[TimeStamp]>),
    /// Many members.
    Set(Arc<HashSet<TimeStamp>>),
}

impl TsSet {
    /// Collects the members; the representation follows from their number.
    #[must_use]
    pub fn new(members: Vec<TimeStamp>) -> Self {
        match members.len() {
            0 => Self::Empty,
            n if n < TS_SET_HASH_MIN => Self::Vec(members.into()),
            _ => Self::Set(Arc::new(members.into_iter().collect())),
        }
    }

    /// Collects the members as they stand in a request.
    #[must_use]
    pub fn from_u64s(members: &[u64]) -> Self {
        Self::new(members.iter().map(|ts| TimeStamp::new(*ts)).collect())
    }

    /// Whether `ts` is a member.
    #[must_use]
    pub fn contains(&self, ts: TimeStamp) -> bool {
        match self {
            Self::Empty => false,
            Self::Vec(members) => members.contains(&ts),
            Self::Set(members) => members.contains(&ts),
        }
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composes_and_splits() {
        let ts = TimeStamp::compose(1568700549751, 108);
        assert_eq!(ts.into_inner(), 411225436913926252);
        assert_eq!((ts.physical(), ts.logical()), (1568700549751, 108));
    }

    #[test]
    fn neighbours_stay_in_range() {
        assert_eq!(TimeStamp::zero().prev(), TimeStamp::zero());
        assert_eq!(TimeStamp::max().next(), TimeStamp::max());
        assert_eq!(TimeStamp::new(7).next().into_inner(), 8);
        assert_eq!(TimeStamp::new(7).prev().into_inner(), 6);
        assert!(TimeStamp::zero().is_zero() && TimeStamp::max().is_max());
    }

    #[test]
    fn sets_of_every_size_answer_alike() {
        for n in 0..20u64 {
            let set = TsSet::from_u64s(&(0..n).map(|i| i * 2).collect::<Vec<_>>());
            assert_eq!(set.is_empty(), n == 0);
            for ts in 0..50 {
                assert_eq!(
                    set.contains(ts.into()),
                    ts % 2 == 0 && ts < n * 2,
                    "{n} {ts}"
                );
            }
        }
    }
}
