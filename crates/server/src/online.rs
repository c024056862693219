//! Changing the configuration of a running node: checks, the configuration file, the parts that
//! take the new values.
//!
//! 1. A change is a set of keys with new values. It is tried on a copy of the configuration in
//!    force, key by key, so that every key that is unknown, cannot change or has no such value is
//!    told; then the copy as a whole is validated as at the start.
//! 2. If anything is wrong nothing has happened. If not, the change is written to the configuration
//!    file (when the node has one, and the caller wants it): a file that cannot be written refuses
//!    the change too.
//! 3. Only then the parts hear of the new configuration. Taking it cannot fail: whatever could is a
//!    matter of validation. So a change is applied whole or not at all.
//!
//! One change at a time: the lock is held throughout. A part registers with the keys that it takes;
//! a key that no part has registered cannot change. It knows no part by name.

use std::path::PathBuf;

use online_config::{ConfigChange, ConfigValue, OnlineConfig as _};
use parking_lot::Mutex;
use serde_json::Value as Json;

use crate::config::{Config, Problem, nearest_key, write_keys};
use crate::{Error, Result};

/// Whether a change outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persist {
    /// It is written to the configuration file, if there is one.
    ToFile,
    /// Only this process has it.
    No,
}

/// Takes the new configuration.
type Take = Box<dyn Fn(&Config) + Send + Sync>;

struct Part {
    keys: Vec<&'static str>,
    take: Take,
}

struct State {
    config: Config,
    parts: Vec<Part>,
}

/// The configuration in force and those who take changes of it.
pub(crate) struct ConfigController {
    state: Mutex<State>,
    file: Option<PathBuf>,
}

impl ConfigController {
    /// For a node that starts with `config`, read from `file` if it was.
    pub(crate) fn new(config: Config, file: Option<PathBuf>) -> Self {
        ConfigController {
            state: Mutex::new(State {
                config,
                parts: Vec::new(),
            }),
            file,
        }
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Config {
        self.state.lock().config.clone()
    }

    /// `take` hears of every change of `keys`, and must not come back to the controller.
    pub(crate) fn register(
        &self,
        keys: &[&'static str],
        take: impl Fn(&Config) + Send + Sync + 'static,
    ) {
        debug_assert!(
            keys.iter().all(|key| Config::ONLINE_KEYS.contains(key)),
            "{keys:?}"
        );
        self.state.lock().parts.push(Part {
            keys: keys.to_vec(),
            take: Box::new(take),
        });
    }

    /// `take` hears of every change of the keys that begin with `prefix`: as many as there are.
    pub(crate) fn register_below(
        &self,
        prefix: &str,
        take: impl Fn(&Config) + Send + Sync + 'static,
    ) {
        let keys = Config::ONLINE_KEYS.iter().copied();
        let keys: Vec<_> = keys.filter(|key| key.starts_with(prefix)).collect();
        assert!(!keys.is_empty(), "no key below {prefix} can change");
        self.register(&keys, take);
    }

    /// Forgets the parts: from here on nothing can change.
    pub(crate) fn close(&self) {
        let parts = std::mem::take(&mut self.state.lock().parts);
        // Outside the lock: with the last of them an engine may close.
        drop(parts);
    }

    /// Applies all of `change`, or nothing.
    pub(crate) fn change(
        &self,
        change: &serde_json::Map<String, Json>,
        persist: Persist,
    ) -> Result<()> {
        let mut state = self.state.lock();
        let (candidate, values) = attempt(&state, change)?;
        if let (Persist::ToFile, Some(file)) = (persist, &self.file) {
            write_keys(file, &values).map_err(|error| Error::WriteConfig {
                path: file.clone(),
                error,
            })?;
        }
        state.config = candidate;
        let touched = |part: &&Part| part.keys.iter().any(|key| values.contains_key(*key));
        for part in state.parts.iter().filter(touched) {
            (part.take)(&state.config);
        }
        for key in values.keys() {
            let value = change.get(key).unwrap_or(&Json::Null);
            tracing::info!(key, %value, "configuration changed");
        }
        Ok(())
    }
}

/// The configuration with `change`, and the change in the types of the configuration.
fn attempt(
    state: &State,
    change: &serde_json::Map<String, Json>,
) -> Result<(Config, ConfigChange)> {
    let mut candidate = state.config.clone();
    let known = candidate.to_value().unwrap_or_default();
    let mut problems = Vec::new();
    let mut values = ConfigChange::new();
    for (key, value) in change {
        match typed(state, &known, key, value) {
            Err(allowed) => problems.push(Problem::new(key, &shown(value), allowed)),
            Ok(value) => {
                values.insert(key.clone(), value);
            }
        }
    }
    for (key, typed) in &values {
        let one = ConfigChange::from([(key.clone(), typed.clone())]);
        if let Err(error) = candidate.update(&one) {
            let allowed = match error {
                online_config::Error::InvalidValue { reason, .. } => reason,
                other => other.to_string(),
            };
            let value = change.get(key).map(shown).unwrap_or_default();
            problems.push(Problem::new(key, &value, allowed.trim_end()));
        }
    }
    if problems.is_empty() {
        problems = candidate.validate();
    }
    if problems.is_empty() {
        Ok((candidate, values))
    } else {
        Err(Error::Config(problems))
    }
}

/// The value of `key` in the type that the configuration has there, or what is allowed.
fn typed(
    state: &State,
    known: &ConfigChange,
    key: &str,
    value: &Json,
) -> std::result::Result<ConfigValue, String> {
    let Some(now) = known.get(key) else {
        let names = known.keys().map(String::as_str);
        return Err(match nearest_key(key, names) {
            Some(near) => format!("no such key, did you mean {near}?"),
            None => "no such key".to_owned(),
        });
    };
    if !state.parts.iter().any(|part| part.keys.contains(&key)) {
        return Err("cannot be changed while the server runs".to_owned());
    }
    let typed = match value {
        Json::Bool(value) => ConfigValue::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => ConfigValue::Integer(whole),
            (None, Some(value)) => ConfigValue::Float(value),
            (None, None) => return Err("must be a number of 64 bits".to_owned()),
        },
        // Tools of TiKV send every value as text.
        Json::String(text) => match now {
            ConfigValue::Bool(_) => text.parse().map(ConfigValue::Bool).ok(),
            ConfigValue::Integer(_) => text.parse().map(ConfigValue::Integer).ok(),
            ConfigValue::Float(_) => text.parse().map(ConfigValue::Float).ok(),
            _ => None,
        }
        .unwrap_or_else(|| ConfigValue::String(text.clone())),
        Json::Null | Json::Array(_) | Json::Object(_) => {
            return Err("must be a text, a number, true or false".to_owned());
        }
    };
    Ok(match (typed, now) {
        // A whole number where the configuration has a fraction.
        (ConfigValue::Integer(whole), ConfigValue::Float(_)) => ConfigValue::Float(whole as f64),
        (typed, _) => typed,
    })
}

/// A value as an error tells it.
fn shown(value: &Json) -> String {
    const LONGEST: usize = 200;
    let mut text = match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    if let Some((cut, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
