//! Changes on a configuration with sections, optional values and lists.

use serde::Deserialize;

use super::*;
use crate::{ReadableDuration, ReadableSize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Cache {
    capacity: ReadableSize,
    shards: u32,
    ratio: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Config {
    enabled: bool,
    log_file: Option<String>,
    labels: Vec<String>,
    timeout: ReadableDuration,
    cache: Cache,
}

impl OnlineConfig for Config {
    const ONLINE_KEYS: &'static [&'static str] = &[
        "enabled",
        "log-file",
        "labels",
        "timeout",
        "cache.capacity",
        "cache.ratio",
    ];
}

fn text(s: &str) -> ConfigValue {
    ConfigValue::String(s.to_owned())
}

fn change<const N: usize>(values: [(&str, ConfigValue); N]) -> ConfigChange {
    values
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

#[test]
fn a_difference_applied_gives_the_new_configuration() {
    let old = Config {
        log_file: Some("a".to_owned()),
        ..Config::default()
    };
    let new = Config {
        enabled: true,
        log_file: None,
        labels: vec!["x".to_owned()],
        timeout: ReadableDuration::secs(90),
        cache: Cache {
            capacity: ReadableSize::mb(3),
            shards: 0,
            ratio: 0.5,
        },
    };
    let difference = old.diff(&new).unwrap();
    let expected = change([
        ("enabled", ConfigValue::Bool(true)),
        ("log-file", ConfigValue::Unset),
        ("labels", ConfigValue::List(vec![text("x")])),
        ("timeout", text("1m30s")),
        ("cache.capacity", text("3MiB")),
        ("cache.ratio", ConfigValue::Float(0.5)),
    ]);
    assert_eq!(difference, expected);
    let mut config = old.clone();
    config.update(&difference).unwrap();
    assert_eq!(config, new);
    assert_eq!(config.diff(&new).unwrap(), ConfigChange::new());
    config.update(&new.diff(&old).unwrap()).unwrap();
    assert_eq!(config, old);
}

#[test]
fn a_difference_tells_of_keys_that_may_not_change() {
    let mut new = Config::default();
    new.cache.shards = 4;
    let difference = Config::default().diff(&new).unwrap();
    assert_eq!(
        difference,
        change([("cache.shards", ConfigValue::Integer(4))])
    );
    let refused = Config::default().update(&difference);
    assert_eq!(refused, Err(Error::NotOnline("cache.shards".to_owned())));
}

#[test]
fn a_refused_change_changes_nothing() {
    let mut config = Config::default();
    let unknown = change([
        ("enabled", ConfigValue::Bool(true)),
        ("nope", ConfigValue::Bool(true)),
    ]);
    assert_eq!(
        config.update(&unknown),
        Err(Error::UnknownKey("nope".to_owned()))
    );
    let section = change([("cache", ConfigValue::Bool(true))]);
    assert_eq!(
        config.update(&section),
        Err(Error::UnknownKey("cache".to_owned()))
    );
    let wrong = change([
        ("cache.capacity", text("big")),
        ("enabled", ConfigValue::Bool(true)),
    ]);
    let Err(Error::InvalidValue { key, reason }) = config.update(&wrong) else {
        panic!("accepted a wrong value");
    };
    assert_eq!(key, "cache.capacity");
    assert!(reason.contains("invalid size \"big\""), "{reason}");
    assert_eq!(config, Config::default());
}

#[test]
fn values_are_flat() {
    let values = Config::default().to_value().unwrap();
    let keys: Vec<_> = values.keys().map(String::as_str).collect();
    let expected = [
        "cache.capacity",
        "cache.ratio",
        "cache.shards",
        "enabled",
        "labels",
        "timeout",
    ];
    assert_eq!(keys, expected);
    assert_eq!(values["timeout"], text("0s"));
}
