//! What the log is like. Plain data.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tracing::level_filters::LevelFilter;

use crate::{redact::RedactMode, rotate::Rotation};

/// The log of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Events less severe than this are not written, but for those of
    /// [`SLOW_LOG`](crate::SLOW_LOG), which have a threshold of their own.
    pub level: Level,
    /// How a line looks.
    pub format: Format,
    /// File that lines are appended to; standard error when there is none. It is made with mode
    /// 0600, and an existing file is set to it: a log may hold keys.
    pub file: Option<PathBuf>,
    /// File of the events of [`SLOW_LOG`](crate::SLOW_LOG), with the same mode; they go to the log
    /// when there is none.
    pub slow_file: Option<PathBuf>,
    /// When the files are put aside. Not for standard error.
    pub rotation: Rotation,
    /// What becomes of keys and values.
    pub redact: RedactMode,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The unified format: `[time] [LEVEL] [file:line] [message] [key=value]`.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

/// Severity, rising.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Each step.
    Trace,
    /// For who looks for a fault.
    Debug,
    /// What an operator wants to read.
    #[default]
    Info,
    /// Unexpected, but handled.
    Warn,
    /// Needs a person.
    Error,
}

impl Level {
    /// Its name in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    pub(crate) const fn filter(self) -> LevelFilter {
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }
}

/// A text names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid log level {0:?}: expected trace, debug, info, warn or error")]
pub struct InvalidLevel(pub String);

impl FromStr for Level {
    type Err = InvalidLevel;

    /// Takes `warning` as well, as TiKV does.
    fn from_str(text: &str) -> Result<Self, InvalidLevel> {
        match text.to_ascii_lowercase().as_str() {
            "trace" => Ok(Self::Trace),
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "error" => Ok(Self::Error),
            _ => Err(InvalidLevel(text.to_owned())),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}
