//! Changing a configuration while it is in use. Works on any configuration that serde can write and
//! read, through flat keys with points: `server.grpc-concurrency`. Must never apply half a change,
//! and never decides whether values make sense together: that is the configuration's own
//! `validate`.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

/// One value of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// A text; also sizes, durations and names of choices.
    String(String),
    /// Values in order.
    List(Vec<ConfigValue>),
    /// Not set, of an optional value.
    Unset,
}

/// New values by key.
pub type ConfigChange = BTreeMap<String, ConfigValue>;

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such key.
    #[error("unknown configuration key {0}")]
    UnknownKey(String),
    /// The key exists, but its value is only read at the start.
    #[error("configuration key {0} cannot be changed while the server runs")]
    NotOnline(String),
    /// The value does not fit the key.
    #[error("invalid value for {key}: {reason}")]
    InvalidValue {
        /// The key.
        key: String,
        /// What was expected instead.
        reason: String,
    },
    /// The configuration itself cannot be written as a table; a fault of its type.
    #[error("configuration cannot be written: {0}")]
    NotRepresentable(String),
}

/// Result of a change.
pub type Result<T> = std::result::Result<T, Error>;

/// A configuration of which some keys may change while it is in use.
///
/// An implementation names these keys; everything else is provided:
///
/// ```
/// use online_config::{ConfigChange, ConfigValue, OnlineConfig, ReadableSize};
///
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// #[serde(default, rename_all = "kebab-case")]
/// struct CacheConfig {
///     capacity: ReadableSize,
///     shards: u32,
/// }
///
/// impl OnlineConfig for CacheConfig {
///     const ONLINE_KEYS: &'static [&'static str] = &["capacity"];
/// }
///
/// let mut config = CacheConfig::default();
/// let value = ConfigValue::String("1GiB".to_owned());
/// config.update(&ConfigChange::from([("capacity".to_owned(), value)]))?;
/// assert_eq!(config.capacity, ReadableSize::gb(1));
/// # Ok::<(), online_config::Error>(())
/// ```
pub trait OnlineConfig: Serialize + DeserializeOwned {
    /// The keys that may change.
    const ONLINE_KEYS: &'static [&'static str];

    /// All values by key.
    fn to_value(&self) -> Result<ConfigChange> {
        let mut values = ConfigChange::new();
        flatten("", &to_table(self)?, &mut values);
        Ok(values)
    }

    /// What must change to turn `self` into `new`, also keys that may not change: the caller tells
    /// of them.
    fn diff(&self, new: &Self) -> Result<ConfigChange> {
        let (old, new) = (self.to_value()?, new.to_value()?);
        let removed = old.keys().filter(|key| !new.contains_key(*key));
        let mut change: ConfigChange = removed
            .map(|key| (key.clone(), ConfigValue::Unset))
            .collect();
        change.extend(
            new.into_iter()
                .filter(|(key, value)| old.get(key) != Some(value)),
        );
        Ok(change)
    }

    /// Applies all of `change`, or, when a key or value is refused, nothing.
    fn update(&mut self, change: &ConfigChange) -> Result<()> {
        let known = self.to_value()?;
        let mut table = to_table(self)?;
        let mut updated = None;
        for (key, value) in change {
            if !Self::ONLINE_KEYS.contains(&key.as_str()) {
                let error = if known.contains_key(key) {
                    Error::NotOnline
                } else {
                    Error::UnknownKey
                };
                return Err(error(key.clone()));
            }
            set(&mut table, key, value);
            // Read back after each value, so that an error can name its key.
            let config = Value::Table(table.clone())
                .try_into()
                .map_err(|e: toml::de::Error| Error::InvalidValue {
                    key: key.clone(),
                    reason: e.message().to_owned(),
                })?;
            updated = Some(config);
        }
        if let Some(config) = updated {
            *self = config;
        }
        Ok(())
    }
}

fn to_table(config: &impl Serialize) -> Result<Table> {
    Table::try_from(config).map_err(|e| Error::NotRepresentable(e.to_string()))
}

fn flatten(prefix: &str, table: &Table, out: &mut ConfigChange) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Table(inner) => flatten(&key, inner, out),
            scalar => {
                out.insert(key, from_toml(scalar));
            }
        }
    }
}

/// Sets the value at a key with points, making the tables on the way.
fn set(table: &mut Table, key: &str, value: &ConfigValue) {
    match key.split_once('.') {
        Some((section, rest)) => {
            let inner = table
                .entry(section.to_owned())
                .or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
        None => match to_toml(value) {
            Some(value) => {
                table.insert(key.to_owned(), value);
            }
            None => {
                table.remove(key);
            }
        },
    }
}

fn from_toml(value: &Value) -> ConfigValue {
    match value {
        Value::Boolean(b) => ConfigValue::Bool(*b),
        Value::Integer(i) => ConfigValue::Integer(*i),
        Value::Float(f) => ConfigValue::Float(*f),
        Value::String(s) => ConfigValue::String(s.clone()),
        Value::Array(values) => ConfigValue::List(values.iter().map(from_toml).collect()),
        // Tables in lists and dates are no values of ours; their text is still worth comparing.
        other => ConfigValue::String(other.to_string()),
    }
}

fn to_toml(value: &ConfigValue) -> Option<Value> {
    match value {
        ConfigValue::Bool(b) => Some(Value::Boolean(*b)),
        ConfigValue::Integer(i) => Some(Value::Integer(*i)),
        ConfigValue::Float(f) => Some(Value::Float(*f)),
        ConfigValue::String(s) => Some(Value::String(s.clone())),
        ConfigValue::List(values) => {
            Some(Value::Array(values.iter().filter_map(to_toml).collect()))
        }
        ConfigValue::Unset => None,
    }
}

#[cfg(test)]
mod tests;
