//! Keeping users' data out of the log. The mode is one per process, for it is an operator's
//! decision about the whole log; it may change at any time. Every key and value that is logged goes
//! through these wrappers, and nothing else.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
    sync::atomic::{AtomicU8, Ordering},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What becomes of keys and values in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RedactMode {
    /// They are written.
    #[default]
    Off,
    /// A `?` is written instead.
    On,
    /// They are written between `‹` and `›`, so that they can be removed later.
    Marker,
}

static MODE: AtomicU8 = AtomicU8::new(0);

/// The mode of this process.
#[must_use]
pub fn redact_mode() -> RedactMode {
    match MODE.load(Ordering::Relaxed) {
        0 => RedactMode::Off,
        2 => RedactMode::Marker,
        // Whatever else it were: rather hide than show.
        _ => RedactMode::On,
    }
}

/// Changes the mode of this process.
pub fn set_redact_mode(mode: RedactMode) {
    let code = match mode {
        RedactMode::Off => 0,
        RedactMode::On => 1,
        RedactMode::Marker => 2,
    };
    MODE.store(code, Ordering::Relaxed);
}

/// A key (or any bytes), written in upper-case hexadecimal as the mode allows.
#[derive(Clone, Copy)]
pub struct RedactedKey<'a>(pub &'a [u8]);

impl fmt::Display for RedactedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_redacted(f, redact_mode(), &Hex(self.0))
    }
}

impl fmt::Debug for RedactedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Anything with a text that may hold users' data, written as the mode allows.
#[derive(Clone, Copy)]
pub struct Redacted<T>(pub T);

impl<T: fmt::Display> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_redacted(f, redact_mode(), &self.0)
    }
}

impl<T: fmt::Display> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

fn write_redacted(
    f: &mut fmt::Formatter<'_>,
    mode: RedactMode,
    text: &dyn fmt::Display,
) -> fmt::Result {
    match mode {
        RedactMode::Off => write!(f, "{text}"),
        RedactMode::On => f.write_char('?'),
        RedactMode::Marker => {
            f.write_char('‹')?;
            write!(Doubling(f), "{text}")?;
            f.write_char('›')
        }
    }
}

/// Doubles marks inside a marked text, so that the end of the mark stays clear.
struct Doubling<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Doubling<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if matches!(c, '‹' | '›') {
                self.0.write_char(c)?;
            }
            self.0.write_char(c)?;
        }
        Ok(())
    }
}

/// A text names no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid redaction mode {0:?}: expected off, on or marker (or false, true)")]
pub struct InvalidRedactMode(pub String);

impl FromStr for RedactMode {
    type Err = InvalidRedactMode;

    fn from_str(text: &str) -> Result<Self, InvalidRedactMode> {
        match text.to_ascii_lowercase().as_str() {
            "off" | "false" => Ok(Self::Off),
            "on" | "true" => Ok(Self::On),
            "marker" => Ok(Self::Marker),
            _ => Err(InvalidRedactMode(text.to_owned())),
        }
    }
}

/// `false`, `true` or `"marker"`: the form of the configuration key `security.redact-info-log`.
impl Serialize for RedactMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::On => serializer.serialize_bool(true),
            Self::Marker => serializer.serialize_str("marker"),
        }
    }
}

impl<'de> Deserialize<'de> for RedactMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = RedactMode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("false, true or \"marker\"")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<RedactMode, E> {
                Ok(if on { RedactMode::On } else { RedactMode::Off })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RedactMode, E> {
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

    struct With<T>(RedactMode, T);

    impl<T: fmt::Display> fmt::Display for With<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_redacted(f, self.0, &self.1)
        }
    }

    #[test_case(RedactMode::Off, "00AF7A", "a‹b›"; "off")]
    #[test_case(RedactMode::On, "?", "?"; "on")]
    #[test_case(RedactMode::Marker, "‹00AF7A›", "‹a‹‹b›››"; "marker")]
    fn modes(mode: RedactMode, key: &str, text: &str) {
        assert_eq!(With(mode, Hex(&[0, 0xaf, 0x7a])).to_string(), key);
        assert_eq!(With(mode, "a‹b›").to_string(), text);
    }

    #[test_case("false", RedactMode::Off)]
    #[test_case("true", RedactMode::On)]
    #[test_case("\"marker\"", RedactMode::Marker)]
    fn serde_form(text: &str, mode: RedactMode) {
        assert_eq!(serde_json::from_str::<RedactMode>(text).unwrap(), mode);
        assert_eq!(serde_json::to_string(&mode).unwrap(), text);
    }

    #[test]
    fn names() {
        assert_eq!("ON".parse(), Ok(RedactMode::On));
        assert_eq!("off".parse(), Ok(RedactMode::Off));
        assert_eq!(
            "maybe".parse::<RedactMode>(),
            Err(InvalidRedactMode("maybe".to_owned()))
        );
        assert!(serde_json::from_str::<RedactMode>("1").is_err());
    }
}
