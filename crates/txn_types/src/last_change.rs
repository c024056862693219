//! Where the newest data version below a lock-only record is.

use crate::TimeStamp;

/// What a Lock or Rollback record knows about the newest Put or Delete below it, so that a reader
/// can jump over a long run of records without data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastChange {
    /// Nothing is known: the reader walks.
    #[default]
    Unknown,
    /// There is no Put or Delete below.
    NotExist,
    /// There is one, at commit timestamp `ts`, `versions` records down.
    Exist {
        /// Commit timestamp of the Put or Delete.
        ts: TimeStamp,
        /// How many records down it is; at least one.
        versions: u64,
    },
}

impl LastChange {
    /// What a record written directly above this one knows: the same version, one further down.
    #[must_use]
    pub fn seen_from_above(self) -> Self {
        match self {
            Self::Exist { ts, versions } => Self::Exist {
                ts,
                versions: versions.saturating_add(1),
            },
            known_or_not => known_or_not,
        }
    }

    /// Bytes of `NotExist`: no timestamp, and one version so that it differs from unknown.
    const NOT_EXIST: (TimeStamp, u64) = (TimeStamp::zero(), 1);

    /// The pair that is stored; `None` when nothing is.
    pub(crate) fn to_parts(self) -> Option<(TimeStamp, u64)> {
        match self {
            Self::Unknown => None,
            Self::NotExist => Some(Self::NOT_EXIST),
            Self::Exist { ts, versions } => {
                assert!(
                    !ts.is_zero() && versions > 0,
                    "a data version has a timestamp and lies at least one record down"
                );
                Some((ts, versions))
            }
        }
    }

    /// Reads the stored pair; `None` when it makes no sense.
    pub(crate) fn from_parts(ts: TimeStamp, versions: u64) -> Option<Self> {
        match (ts.is_zero(), versions) {
            (true, 0) => Some(Self::Unknown),
            (true, _) => Some(Self::NotExist),
            (false, 0) => None,
            (false, versions) => Some(Self::Exist { ts, versions }),
        }
    }
}
