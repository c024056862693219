//! Whether what the client believes about a key is so.
//!
//! A failed assertion means a bug in the client or lost data, so it must not be reported to a transaction that has
//! simply lost a race: where the conflict check was skipped, it is made up for before the failure is reported.
//! Must never: write, or fail a key whose mutation carries no assertion.

use kv::Snapshot;
use mvcc::{Error, Result, SnapshotReader};
use txn_types::{Assertion, Key, TimeStamp, Write, WriteType};

use super::constraint::{ConflictRule, NewestWrite, check_newer_version};
use super::raw_key;

/// How much work assertions are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AssertionLevel {
    /// None: they are not checked.
    #[default]
    Off,
    /// They are checked against records that were read anyway.
    Fast,
    /// Records are read for them.
    Strict,
}

impl From<kvproto::kvrpcpb::AssertionLevel> for AssertionLevel {
    fn from(level: kvproto::kvrpcpb::AssertionLevel) -> Self {
        use kvproto::kvrpcpb::AssertionLevel as Wire;
        match level {
            Wire::Off => Self::Off,
            Wire::Fast => Self::Fast,
            Wire::Strict => Self::Strict,
        }
    }
}

/// What the conflict check found out about a key.
#[derive(Debug)]
pub enum Known {
    /// It was made, and this is the newest record.
    Newest(NewestWrite),
    /// It was skipped.
    Nothing,
}

/// Checks the assertion of one mutation. `conflicts` is the check that is made up for where it was skipped: its rule,
/// and the primary key for its error.
pub fn check_assertion<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    key: &Key,
    (assertion, level): (Assertion, AssertionLevel),
    known: &Known,
    conflicts: (ConflictRule, &[u8]),
) -> Result<()> {
    let start_ts = reader.start_ts();
    if assertion == Assertion::None || level == AssertionLevel::Off {
        return Ok(());
    }
    let latest = match known {
        Known::Nothing if level == AssertionLevel::Fast => return Ok(()),
        Known::Nothing => reader.get_write(key, TimeStamp::max())?,
        Known::Newest(newest) => latest_data(reader, key, newest)?,
    };
    // A fenced version may be a leftover of a collected history: it counts as none.
    let latest = latest.filter(|(_, write)| write.gc_fence.is_none_or(|fence| fence.is_zero()));
    let exists = latest
        .as_ref()
        .is_some_and(|(_, write)| write.write_type == WriteType::Put);
    if exists == (assertion == Assertion::Exist) {
        return Ok(());
    }
    if matches!(known, Known::Nothing) {
        let (rule, primary) = conflicts;
        check_newer_version(reader, key, primary, rule)?;
    }
    let (existing_commit_ts, existing_start_ts) = latest
        .map_or((TimeStamp::zero(), TimeStamp::zero()), |(ts, write)| {
            (ts, write.start_ts)
        });
    Err(Error::AssertionFailed {
        start_ts,
        key: raw_key(key)?,
        assertion,
        existing_start_ts,
        existing_commit_ts,
    })
}

/// The newest data version at or below the newest record.
fn latest_data<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    key: &Key,
    newest: &NewestWrite,
) -> Result<Option<(TimeStamp, Write)>> {
    match newest {
        Some((commit_ts, write)) if !write.write_type.is_data() => {
            reader.get_write(key, commit_ts.prev())
        }
        known => Ok(known.clone()),
    }
}
