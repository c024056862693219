//! Values in the form that clients of the original parse: keys in hexadecimal, sizes, durations,
//! points in time.

use std::time::Duration;

/// Upper-case hexadecimal.
pub(super) fn hex_key(key: &[u8]) -> String {
    hex::encode_upper(key)
}

/// A size with up to four digits and a binary unit: `99.5GiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    // Four significant digits.
    let decimals = match value {
        value if value >= 1000.0 => 0,
        value if value >= 100.0 => 1,
        value if value >= 10.0 => 2,
        _ => 3,
    };
    let mut text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + UNITS[unit]
}

/// A duration in the form `1h2m3.5s`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut text = String::new();
    if hours > 0 {
        text += &format!("{hours}h");
    }
    if hours > 0 || minutes > 0 {
        text += &format!("{minutes}m");
    }
    let mut rest = format!("{}.{:09}", seconds % 60, duration.subsec_nanos());
    rest.truncate(rest.trim_end_matches('0').trim_end_matches('.').len());
    text + &rest + "s"
}

/// A point in time as RFC 3339 in UTC.
#[expect(
    clippy::disallowed_types,
    reason = "a number of seconds in the form that the library takes, not the machine's clock"
)]
pub(super) fn time(unix_seconds: i64) -> String {
    // The year 9999 ends what the form can say.
    let seconds = u64::try_from(unix_seconds)
        .unwrap_or(0)
        .min(253_402_300_799);
    let at = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_form_that_clients_parse() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1536 << 20, "1.5GiB"),
            (106_837_606_400, "99.5GiB"),
            (u64::MAX, "16EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (millis, text) in [
            (0, "0s"),
            (1_500, "1.5s"),
            (60_000, "1m0s"),
            (7_384_010, "2h3m4.01s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(time(1_704_067_200), "2024-01-01T00:00:00Z");
        assert_eq!(time(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(hex_key(b"\x00zK"), "007A4B");
    }
}
