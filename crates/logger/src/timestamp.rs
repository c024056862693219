//! Wall time as the unified format writes it: `2024/01/02 03:04:05.678 +00:00`, and as the names of
//! files put aside have it. Always in UTC: a fleet's logs are read side by side, and the zone of the
//! machine is no business of the log.

use std::fmt;

const MILLIS_PER_DAY: u64 = 86_400_000;

/// Milliseconds since the Unix epoch, for display.
pub(crate) struct Timestamp(pub(crate) u64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_date(self.0 / MILLIS_PER_DAY);
        let (hour, minute, second, milli) = time_of_day(self.0);
        write!(
            f,
            "{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03} +00:00"
        )
    }
}

/// Milliseconds since the Unix epoch as part of a file's name: `2024-01-02T03-04-05.678`. The order
/// of such texts is the order of the times.
pub(crate) struct FileStamp(pub(crate) u64);

/// The length of every [`FileStamp`] until the year 9999.
pub(crate) const FILE_STAMP_LEN: usize = 23;

impl fmt::Display for FileStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_date(self.0 / MILLIS_PER_DAY);
        let (hour, minute, second, milli) = time_of_day(self.0);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{milli:03}"
        )
    }
}

/// Hour, minute, second and millisecond of the day.
fn time_of_day(millis: u64) -> (u64, u64, u64, u64) {
    let of_day = millis % MILLIS_PER_DAY;
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    (hour, minute, of_day / 1_000 % 60, of_day % 1_000)
}

/// Year, month and day of the Gregorian calendar, of a number of days since 1970-01-01.
///
/// Counted in cycles of 400 years (146,097 days) from 0000-03-01: with March as the first month the
/// leap day is the last of its year, and months follow a fixed pattern of 153 days for each five.
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const CYCLE: u64 = 146_097;
    let days = days + DAYS_TO_1970;
    let (cycle, day_of_cycle) = (days / CYCLE, days % CYCLE);
    // Without the leap days of 4-year, and with those that 100 years leave out, a year is 365 days.
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
        - day_of_cycle / 146_096)
        / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = cycle * 400 + year_of_cycle + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case(0, "1970/01/01 00:00:00.000 +00:00")]
    #[test_case(951_782_400_000, "2000/02/29 00:00:00.000 +00:00")]
    #[test_case(951_868_799_999, "2000/02/29 23:59:59.999 +00:00")]
    #[test_case(951_868_800_000, "2000/03/01 00:00:00.000 +00:00")]
    #[test_case(1_704_164_645_678, "2024/01/02 03:04:05.678 +00:00")]
    #[test_case(1_735_689_599_999, "2024/12/31 23:59:59.999 +00:00")]
    #[test_case(4_107_542_400_000, "2100/03/01 00:00:00.000 +00:00")]
    fn writes(millis: u64, text: &str) {
        assert_eq!(Timestamp(millis).to_string(), text);
    }

    #[test]
    fn a_file_stamp_has_its_length() {
        let stamp = FileStamp(1_704_164_645_678).to_string();
        assert_eq!(stamp, "2024-01-02T03-04-05.678");
        assert_eq!(stamp.len(), FILE_STAMP_LEN);
    }

    #[test]
    fn every_day_of_400_years_follows_the_one_before() {
        let is_leap =
            |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
        let length = |y: u64, m: u64| match m {
            2 => 28 + u64::from(is_leap(y)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut expected = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(civil_date(days), expected);
            let (y, m, d) = expected;
            expected = match (m, d) {
                (12, 31) => (y + 1, 1, 1),
                _ if d == length(y, m) => (y, m + 1, 1),
                _ => (y, m, d + 1),
            };
        }
        assert_eq!(expected, (2370, 1, 1));
    }
}
