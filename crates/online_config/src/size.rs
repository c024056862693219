//! Sizes as people write them: `4GiB`. All units are powers of 1024, also `KB` and `MB`: that is
//! what the same configuration means to TiKV. Must never round silently: what cannot be represented
//! is refused.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::number::{Decimal, split_number};

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadableSize(pub u64);

/// Names of the units, largest first; the first of each is the one that is written.
const UNITS: [(&[&str], u64); 6] = [
    (&["PiB", "PB", "P"], 1 << 50),
    (&["TiB", "TB", "T"], 1 << 40),
    (&["GiB", "GB", "G"], 1 << 30),
    (&["MiB", "MB", "M"], 1 << 20),
    (&["KiB", "KB", "K"], 1 << 10),
    (&["B", ""], 1),
];

/// A text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid size {0:?}: expected a number and one of B, KiB, MiB, GiB, TiB, PiB, such as \"4GiB\""
)]
pub struct InvalidSize(pub String);

impl ReadableSize {
    /// `n` KiB.
    #[must_use]
    pub const fn kb(n: u64) -> Self {
        Self(n.saturating_mul(1 << 10))
    }

    /// `n` MiB.
    #[must_use]
    pub const fn mb(n: u64) -> Self {
        Self(n.saturating_mul(1 << 20))
    }

    /// `n` GiB.
    #[must_use]
    pub const fn gb(n: u64) -> Self {
        Self(n.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ReadableSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let invalid = || InvalidSize(text.to_owned());
        let (number, unit) = split_number(text.trim()).ok_or_else(invalid)?;
        let unit = unit.trim();
        let (_, scale) = UNITS
            .iter()
            .find(|(names, _)| names.contains(&unit))
            .ok_or_else(invalid)?;
        Decimal::parse(number)
            .and_then(|n| n.scaled(*scale))
            .map(Self)
            .ok_or_else(invalid)
    }
}

/// Writes the largest unit of which it is a whole number.
impl fmt::Display for ReadableSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0KiB");
        }
        let (names, scale) = UNITS
            .iter()
            .find(|(_, scale)| self.0.is_multiple_of(*scale))
            .unwrap_or(&UNITS[5]);
        write!(f, "{}{}", self.0 / scale, names[0])
    }
}

impl Serialize for ReadableSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReadableSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = ReadableSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"4GiB\", or a number of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ReadableSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ReadableSize, E> {
                Ok(ReadableSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ReadableSize, E> {
                u64::try_from(bytes)
                    .map(ReadableSize)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("0", 0)]
    #[test_case("17", 17)]
    #[test_case("17B", 17)]
    #[test_case("2K", 2 << 10)]
    #[test_case("2KB", 2 << 10)]
    #[test_case("2KiB", 2 << 10)]
    #[test_case("1.5MB", 3 << 19)]
    #[test_case(" 4 GiB ", 4 << 30)]
    #[test_case("0.5TiB", 1 << 39)]
    #[test_case("3P", 3 << 50)]
    #[test_case("18446744073709551615", u64::MAX)]
    fn reads(text: &str, bytes: u64) {
        assert_eq!(text.parse(), Ok(ReadableSize(bytes)));
    }

    #[test_case(""; "empty")]
    #[test_case("MiB"; "no number")]
    #[test_case("-1"; "negative")]
    #[test_case("1XB"; "unit")]
    #[test_case("1 2"; "two numbers")]
    #[test_case("1.2.3K"; "two points")]
    #[test_case("."; "point")]
    #[test_case("1e3"; "exponent")]
    #[test_case("16384P"; "overflow")]
    #[test_case("18446744073709551616"; "overflow by one")]
    #[test_case("1MiB5"; "tail")]
    #[test_case("４GiB"; "no ascii digit")]
    fn refuses(text: &str) {
        assert_eq!(
            text.parse::<ReadableSize>(),
            Err(InvalidSize(text.to_owned()))
        );
    }

    #[test_case(0, "0KiB")]
    #[test_case(1023, "1023B")]
    #[test_case(1536, "1536B")]
    #[test_case(3 << 19, "1536KiB")]
    #[test_case(4 << 30, "4GiB")]
    #[test_case(1 << 60, "1024PiB")]
    #[test_case(u64::MAX, "18446744073709551615B")]
    fn writes_and_reads_back(bytes: u64, text: &str) {
        assert_eq!(ReadableSize(bytes).to_string(), text);
        assert_eq!(text.parse(), Ok(ReadableSize(bytes)));
    }

    #[test]
    fn serde_takes_text_and_numbers() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Sizes {
            a: ReadableSize,
        }
        let read = |text: &str| toml::from_str::<Sizes>(text);
        assert_eq!(
            read("a = '2MiB'").unwrap(),
            Sizes {
                a: ReadableSize::mb(2)
            }
        );
        assert_eq!(
            read("a = 17").unwrap(),
            Sizes {
                a: ReadableSize(17)
            }
        );
        assert_eq!(
            toml::to_string(&Sizes {
                a: ReadableSize::gb(1)
            })
            .unwrap(),
            "a = \"1GiB\"\n"
        );
        assert!(
            read("a = -1")
                .unwrap_err()
                .to_string()
                .contains("expected a size such as")
        );
        assert!(
            read("a = 'x'")
                .unwrap_err()
                .to_string()
                .contains("invalid size \"x\"")
        );
        assert!(read("a = true").is_err());
    }
}
