//! Durations as people write them: `1m30s`. Units go from large to small, each at most once. A bare
//! number is refused, for nobody can know its unit.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::number::{Decimal, split_number};

/// A duration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadableDuration(pub Duration);

/// Units in nanoseconds, largest first.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// A text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid duration {0:?}: expected numbers with the units d, h, m, s, ms, us in this order, such as \"1m30s\""
)]
pub struct InvalidDuration(pub String);

impl ReadableDuration {
    /// `n` milliseconds.
    #[must_use]
    pub const fn millis(n: u64) -> Self {
        Self(Duration::from_millis(n))
    }

    /// `n` seconds.
    #[must_use]
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// `n` minutes.
    #[must_use]
    pub const fn minutes(n: u64) -> Self {
        Self(Duration::from_secs(n.saturating_mul(60)))
    }

    /// `n` hours.
    #[must_use]
    pub const fn hours(n: u64) -> Self {
        Self(Duration::from_secs(n.saturating_mul(3_600)))
    }

    /// Whole milliseconds.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl From<ReadableDuration> for Duration {
    fn from(d: ReadableDuration) -> Self {
        d.0
    }
}

impl FromStr for ReadableDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        parse(text.trim())
            .map(|nanos| Self(Duration::from_nanos(nanos)))
            .ok_or_else(|| InvalidDuration(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total = 0_u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, tail) = split_number(rest)?;
        let unit_end = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (name, tail) = tail.split_at(unit_end);
        // The iterator goes on behind the last unit: a repeated or larger one is not found.
        let (_, scale) = units.find(|(unit, _)| *unit == name)?;
        total = total.checked_add(Decimal::parse(number)?.scaled(*scale)?)?;
        rest = tail;
    }
    Some(total)
}

impl fmt::Display for ReadableDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        for (unit, scale) in UNITS {
            let scale = u128::from(scale);
            if nanos >= scale {
                write!(f, "{}{unit}", nanos / scale)?;
                nanos %= scale;
            }
        }
        Ok(())
    }
}

impl Serialize for ReadableDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReadableDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = ReadableDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"1m30s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ReadableDuration, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("0s", 0)]
    #[test_case("1ms", 1_000_000)]
    #[test_case("0.1s", 100_000_000)]
    #[test_case("1.5h", 5_400_000_000_000)]
    #[test_case("1m30s", 90_000_000_000)]
    #[test_case("1d2h3m4s5ms6us", 93_784_005_006_000)]
    #[test_case(" 2s ", 2_000_000_000)]
    fn reads(text: &str, nanos: u64) {
        assert_eq!(
            text.parse(),
            Ok(ReadableDuration(Duration::from_nanos(nanos)))
        );
    }

    #[test_case(""; "empty")]
    #[test_case("10"; "no unit")]
    #[test_case("s"; "no number")]
    #[test_case("-1s"; "negative")]
    #[test_case("1s1m"; "order")]
    #[test_case("1s1s"; "twice")]
    #[test_case("1w"; "unit")]
    #[test_case("1s 2ms"; "space")]
    #[test_case("1..5s"; "two points")]
    #[test_case("999999999d"; "overflow")]
    #[test_case("213503d23h34m33s709ms552us"; "overflow of the sum")]
    fn refuses(text: &str) {
        assert_eq!(
            text.parse::<ReadableDuration>(),
            Err(InvalidDuration(text.to_owned()))
        );
    }

    #[test_case(0, "0s")]
    #[test_case(90_000_000_000, "1m30s")]
    #[test_case(86_400_000_000_000, "1d")]
    #[test_case(1_500_000, "1ms500us")]
    #[test_case(1, "1ns")]
    fn writes_and_reads_back(nanos: u64, text: &str) {
        let duration = ReadableDuration(Duration::from_nanos(nanos));
        assert_eq!(duration.to_string(), text);
        assert_eq!(text.parse(), Ok(duration));
    }

    #[test]
    fn serde_takes_text_only() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Durations {
            a: ReadableDuration,
        }
        let read = |text: &str| toml::from_str::<Durations>(text);
        assert_eq!(
            read("a = '2m'").unwrap(),
            Durations {
                a: ReadableDuration::minutes(2)
            }
        );
        let text = toml::to_string(&Durations {
            a: ReadableDuration::hours(25),
        })
        .unwrap();
        assert_eq!(text, "a = \"1d1h\"\n");
        assert!(
            read("a = 1")
                .unwrap_err()
                .to_string()
                .contains("expected a duration such as")
        );
        assert!(
            read("a = '1'")
                .unwrap_err()
                .to_string()
                .contains("invalid duration \"1\"")
        );
    }
}
