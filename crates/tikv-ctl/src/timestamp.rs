//! Timestamps of the oracle as a person reads them.

use std::time::{Duration, UNIX_EPOCH};

use txn_types::TimeStamp;

/// The number, and the time that it stands for.
pub(crate) fn show(ts: u64) -> String {
    let stamp = TimeStamp::from(ts);
    if stamp.is_max() {
        return "max".to_owned();
    }
    // The lowest numbers are no times: tests and the markers of the format use them.
    match UNIX_EPOCH.checked_add(Duration::from_millis(stamp.physical())) {
        Some(time) if stamp.physical() > 0 => {
            format!("{ts} ({})", humantime::format_rfc3339_millis(time))
        }
        _ => ts.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc() {
        let ts = TimeStamp::compose(1_763_830_800_123, 7).into_inner();
        assert_eq!(show(ts), format!("{ts} (2025-11-22T17:00:00.123Z)"));
        assert_eq!(show(10), "10");
        assert_eq!(show(u64::MAX), "max");
    }
}
