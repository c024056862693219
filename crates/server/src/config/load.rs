//! From TOML text to a configuration, one key at a time.
//!
//! Each key of the file is tried alone against the defaults. So every wrong value is found, not only
//! the first, and each is reported with its full key, its value and what was expected. Unknown keys
//! are warnings with the nearest known key, because a file written for TiKV should start this server;
//! keys that would silently lose a promise (encryption at rest, another engine) are
//! refused instead of ignored.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::Problem;

/// Keys of TiKV that ask for something that this server does not do and that nobody may believe in.
/// A key ending in `.` stands for all below it. The value after it is harmless.
const REFUSED: &[(&str, Option<&str>, &str)] = &[
    (
        "security.encryption.",
        None,
        "encryption at rest is not supported; remove the section",
    ),
    ("storage.engine", Some("raft-kv"), "only \"raft-kv\""),
    (
        "rocksdb.block-cache-size",
        None,
        "set storage.block-cache.capacity",
    ),
    (
        "rocksdb.titan.enabled",
        Some("false"),
        "only false: Titan is not supported",
    ),
];

/// Tables whose keys the user chooses.
const FREE_TABLES: &[&str] = &["server.labels"];

/// A configuration from a file, and what is odd about the file.
#[derive(Debug)]
pub struct Loaded<C> {
    /// The defaults with the file's values.
    pub config: C,
    /// One line for each key that nobody knows.
    pub warnings: Vec<String>,
}

/// Reads `text` over the defaults of `C`.
pub(super) fn load<C>(text: &str) -> Result<Loaded<C>, Vec<Problem>>
where
    C: Serialize + DeserializeOwned + Default,
{
    let file: Table = toml::from_str(text).map_err(|error| {
        vec![Problem::new(
            "(file)",
            "(text)",
            format!("TOML: {}", error.to_string().trim_end()),
        )]
    })?;
    let defaults = Table::try_from(C::default())
        .map_err(|error| vec![Problem::new("(defaults)", "(built in)", error.to_string())])?;
    let known = leaves(&defaults);

    let mut accepted = defaults.clone();
    let mut warnings = Vec::new();
    let mut problems = Vec::new();
    for (key, value) in leaves(&file) {
        if let Some(reason) = refused(&key, &value) {
            problems.push(Problem::new(&key, &shown(&value), reason));
        } else if is_known(&key, &value, &known) {
            let mut alone = defaults.clone();
            put(&mut alone, &key, value.clone());
            match alone.try_into::<C>() {
                Ok(_) => put(&mut accepted, &key, value),
                Err(error) => problems.push(Problem::new(&key, &shown(&value), cause(&error))),
            }
        } else if !is_refusable(&key) {
            warnings.push(unknown(&key, &known));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let config = accepted
        .try_into()
        .map_err(|error: toml::de::Error| vec![Problem::new("(file)", "(all)", cause(&error))])?;
    Ok(Loaded { config, warnings })
}

/// Every `section.key` of a table, with its value; arrays and free tables are values.
pub(super) fn leaves(table: &Table) -> Vec<(String, Value)> {
    fn walk(prefix: &str, table: &Table, found: &mut Vec<(String, Value)>) {
        for (name, value) in table {
            let key = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            match value {
                Value::Table(inner) if !FREE_TABLES.contains(&key.as_str()) => {
                    walk(&key, inner, found);
                }
                _ => found.push((key, value.clone())),
            }
        }
    }
    let mut found = Vec::new();
    walk("", table, &mut found);
    found
}

fn put(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table
                .entry(section.to_owned())
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// A key is known when the defaults have it, or when it takes the place of a section (which is then
/// a value of the wrong type, not an unknown key).
fn is_known(key: &str, value: &Value, known: &[(String, Value)]) -> bool {
    let section = format!("{key}.");
    known.iter().any(|(name, _)| {
        name == key || (!matches!(value, Value::Table(_)) && name.starts_with(&section))
    })
}

fn refused(key: &str, value: &Value) -> Option<String> {
    REFUSED.iter().find_map(|(name, harmless, reason)| {
        let asked = *harmless != Some(shown(value).trim_matches('"'));
        (matches(name, key) && asked).then(|| (*reason).to_owned())
    })
}

fn is_refusable(key: &str) -> bool {
    REFUSED.iter().any(|(name, _, _)| matches(name, key))
}

fn matches(name: &str, key: &str) -> bool {
    if name.ends_with('.') {
        key.starts_with(name)
    } else {
        key == name
    }
}

fn unknown(key: &str, known: &[(String, Value)]) -> String {
    match nearest_key(key, known.iter().map(|(name, _)| name.as_str())) {
        Some(name) => format!("unknown configuration key {key}, did you mean {name}?"),
        None => format!("unknown configuration key {key}"),
    }
}

/// The name that `key` may have been meant to be.
pub(crate) fn nearest_key<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(name, key), name))
        .min()
        .filter(|(distance, name)| *distance <= name.len().max(key.len()) / 3)
        .map(|(_, name)| name)
}

fn shown(value: &Value) -> String {
    const LONGEST: usize = 200;
    let mut text = value.to_string();
    if let Some((cut, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

/// The reason without the place: the place is a line of a table that the user never wrote.
fn cause(error: &toml::de::Error) -> String {
    error.message().trim_end().to_owned()
}
