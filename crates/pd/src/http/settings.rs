//! The settings that other programs read and set through `/config`: which there are, what they are
//! when nobody has set them, and which values they take. No IO.
//!
//! Nothing is scheduled yet, so they steer nothing: they are kept and reported, because tools set
//! some before their work and put them back afterwards. What was set is one document in the
//! revisioned store, where the original keeps it too; what was set for a while is one key each,
//! with a lease.

use std::collections::BTreeMap;

use kvproto::etcdserverpb::{PutRequest, RangeRequest};
use serde_json::{Map, Value, json};

use crate::etcd::EtcdState;

/// One setting.
struct Setting {
    section: &'static str,
    name: &'static str,
    /// Its value when nobody has set it; another must be of the same JSON type.
    default: Value,
    /// Whether it may be set for a while.
    ttl: bool,
}

/// What was set, by `section.name`.
pub(super) type Overrides = BTreeMap<String, Value>;

fn settings() -> Vec<Setting> {
    let section = |section: &'static str, settings: Vec<(&'static str, Value, bool)>| {
        settings
            .into_iter()
            .map(move |(name, default, ttl)| Setting {
                section,
                name,
                default,
                ttl,
            })
    };
    let schedule = vec![
        ("max-snapshot-count", json!(64), true),
        ("max-pending-peer-count", json!(64), true),
        ("max-merge-region-size", json!(54), true),
        ("max-merge-region-keys", json!(540_000), true),
        ("split-merge-interval", json!("1h0m0s"), false),
        ("patrol-region-interval", json!("10ms"), false),
        ("max-store-down-time", json!("30m0s"), false),
        ("leader-schedule-limit", json!(4), true),
        ("leader-schedule-policy", json!("count"), false),
        ("region-schedule-limit", json!(2048), true),
        ("replica-schedule-limit", json!(64), true),
        ("merge-schedule-limit", json!(8), true),
        ("hot-region-schedule-limit", json!(4), true),
        ("hot-region-cache-hits-threshold", json!(3), false),
        ("tolerant-size-ratio", json!(0.0), false),
        ("low-space-ratio", json!(0.8), false),
        ("high-space-ratio", json!(0.7), false),
        ("region-score-formula-version", json!("v2"), false),
        ("enable-one-way-merge", json!(false), false),
        ("enable-cross-table-merge", json!(true), false),
        ("enable-joint-consensus", json!(true), false),
        ("enable-tikv-split-region", json!(true), false),
        ("enable-location-replacement", json!(true), true),
        ("halt-scheduling", json!(false), false),
    ];
    let replication = vec![
        ("max-replicas", json!(3), false),
        ("location-labels", json!(""), false),
        ("strictly-match-label", json!(false), false),
        ("enable-placement-rules", json!(false), false),
        ("isolation-level", json!(""), false),
    ];
    let pd_server = vec![
        ("metric-storage", json!(""), false),
        ("key-type", json!("table"), false),
        ("max-gap-reset-ts", json!("24h0m0s"), false),
        ("flow-round-by-digit", json!(3), false),
        ("min-resolved-ts-persistence-interval", json!("1s"), false),
    ];
    section("schedule", schedule)
        .chain(section("replication", replication))
        .chain(section("pd-server", pd_server))
        .collect()
}

/// Checks what a request wants to set. Names may go without their section. The words are those of
/// the original.
pub(super) fn check(
    wanted: Map<String, Value>,
    section: Option<&str>,
) -> Result<Overrides, String> {
    let known = settings();
    let mut overrides = Overrides::new();
    for (name, value) in wanted {
        let setting = known
            .iter()
            .filter(|setting| section.is_none_or(|section| setting.section == section))
            .find(|setting| name == setting.name || name == setting.full_name())
            .ok_or_else(|| format!("config item {name} not found"))?;
        overrides.insert(setting.full_name(), setting.accept(value)?);
    }
    Ok(overrides)
}

/// Refuses what cannot be set for a while.
pub(super) fn check_ttl(overrides: &Overrides) -> Result<(), String> {
    let known = settings();
    let lasting = known.iter().filter(|setting| !setting.ttl);
    match lasting
        .map(Setting::full_name)
        .find(|name| overrides.contains_key(name))
    {
        Some(name) => Err(format!("unsupported ttl config {name}")),
        None => Ok(()),
    }
}

impl Setting {
    fn full_name(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The value in the type of the default; numbers also come as text.
    fn accept(&self, value: Value) -> Result<Value, String> {
        let refuse = |why: &str| Err(format!("config item {}: {value} {why}", self.full_name()));
        if self.name == "enable-placement-rules" && value != json!(false) {
            return refuse("is not supported: there are no placement rules");
        }
        let number = value.as_str().and_then(|text| text.parse::<f64>().ok());
        match (&self.default, &value) {
            (Value::Bool(_), Value::Bool(_)) => Ok(value),
            (Value::Bool(_), Value::String(text)) if text == "true" => Ok(json!(true)),
            (Value::Bool(_), Value::String(text)) if text == "false" => Ok(json!(false)),
            (Value::Number(default), given) => {
                let given = number.or(given.as_f64());
                match given {
                    Some(given)
                        if default.is_u64()
                            && given >= 0.0
                            && given.fract() == 0.0
                            && given <= 1e15 =>
                    {
                        Ok(json!(given as u64))
                    }
                    Some(given) if default.is_f64() && (0.0..=1e15).contains(&given) => {
                        Ok(json!(given))
                    }
                    _ => refuse("is no number that it can be"),
                }
            }
            // Labels also come as a list.
            (Value::String(_), Value::Array(parts)) if self.name == "location-labels" => {
                let parts: Option<Vec<&str>> = parts.iter().map(Value::as_str).collect();
                parts.map_or_else(
                    || refuse("is no list of labels"),
                    |parts| Ok(parts.join(",").into()),
                )
            }
            (Value::String(default), Value::String(text)) => {
                let is_duration =
                    default.ends_with('s') && default.starts_with(|c: char| c.is_ascii_digit());
                if is_duration && !is_go_duration(text) {
                    return refuse("is no duration");
                }
                if text.len() > 4096 {
                    return refuse("is too long");
                }
                Ok(value)
            }
            _ => refuse("has the wrong type"),
        }
    }
}

/// `1h30m`, `10ms`, `1.5s`.
fn is_go_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - digits.len()];
        let unit_end = digits
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(digits.len());
        let (unit, next) = digits.split_at(unit_end);
        let known = ["ns", "us", "ms", "s", "m", "h"].contains(&unit);
        if number.parse::<f64>().is_err() || !known {
            return false;
        }
        rest = next;
    }
    !text.is_empty()
}

/// All settings by section, with what was set.
pub(super) fn effective(overrides: &Overrides) -> Map<String, Value> {
    let mut sections = Map::new();
    for setting in settings() {
        let section = sections
            .entry(setting.section)
            .or_insert_with(|| Map::new().into());
        let value = overrides.get(&setting.full_name()).cloned();
        section[setting.name] = value.unwrap_or(setting.default);
    }
    sections
}

/// Where what was set stands in the revisioned store.
pub(super) fn document_key(cluster_id: u64) -> Vec<u8> {
    format!("/pd/{cluster_id}/config").into_bytes()
}

fn ttl_prefix(cluster_id: u64) -> String {
    format!("/pd/{cluster_id}/config/ttl/")
}

/// Where a setting stands that was set for a while.
pub(super) fn ttl_key(cluster_id: u64, name: &str) -> Vec<u8> {
    (ttl_prefix(cluster_id) + name).into_bytes()
}

/// What was set for good. Whatever else somebody wrote there counts as nothing.
pub(super) fn stored(etcd: &EtcdState, cluster_id: u64) -> Overrides {
    let document = etcd.get(&document_key(cluster_id));
    let parsed = document.and_then(|kv| serde_json::from_slice(kv.get_value()).ok());
    match parsed {
        Some(Value::Object(document)) => keep_valid(document),
        _ => Overrides::new(),
    }
}

/// What is in force: what was set for a while goes before what was set for good.
pub(super) fn in_force(etcd: &EtcdState, cluster_id: u64) -> Overrides {
    let mut overrides = stored(etcd, cluster_id);
    let prefix = ttl_prefix(cluster_id);
    let mut request = RangeRequest::default();
    request.set_key(prefix.clone().into_bytes());
    // The byte after the slash that ends the prefix.
    request.set_range_end(format!("/pd/{cluster_id}/config/ttl0").into_bytes());
    let found = etcd.range(&request).map(|mut found| found.take_kvs());
    for kv in found.unwrap_or_default() {
        let name = String::from_utf8_lossy(kv.get_key()).into_owned();
        let value = serde_json::from_slice(kv.get_value()).unwrap_or(Value::Null);
        let entry = (name.trim_start_matches(&prefix).to_owned(), value);
        overrides.append(&mut keep_valid([entry].into_iter().collect()));
    }
    overrides
}

fn keep_valid(entries: Map<String, Value>) -> Overrides {
    let one = |entry| check([entry].into_iter().collect(), None).ok();
    entries.into_iter().filter_map(one).flatten().collect()
}

/// The write that stores these overrides in place of those before.
pub(super) fn document(cluster_id: u64, overrides: &Overrides) -> PutRequest {
    let mut request = PutRequest::default();
    request.set_key(document_key(cluster_id));
    request.set_value(json!(overrides).to_string().into_bytes());
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn names_and_types_are_checked() {
        let set = check(
            object(json!({
                "merge-schedule-limit": 0,
                "schedule.leader-schedule-limit": "16",
                "location-labels": ["zone", "host"],
                "low-space-ratio": 0.9,
                "max-store-down-time": "1h30m",
                "pd-server.metric-storage": "http://p:9090",
                "halt-scheduling": "true",
            })),
            None,
        )
        .unwrap();
        assert_eq!(set["schedule.merge-schedule-limit"], json!(0));
        assert_eq!(set["schedule.leader-schedule-limit"], json!(16));
        assert_eq!(set["replication.location-labels"], json!("zone,host"));
        assert_eq!(set["schedule.halt-scheduling"], json!(true));
        for bad in [
            json!({"schedule.unknown": 1}),
            json!({"merge-schedule-limit": -1}),
            json!({"merge-schedule-limit": 1.5}),
            json!({"merge-schedule-limit": 1e300}),
            json!({"merge-schedule-limit": {}}),
            json!({"enable-one-way-merge": 1}),
            json!({"max-store-down-time": "soon"}),
            json!({"max-store-down-time": ""}),
            json!({"enable-placement-rules": true}),
            json!({"location-labels": [1]}),
            json!({"metric-storage": "x".repeat(5000)}),
        ] {
            assert!(check(object(bad.clone()), None).is_err(), "{bad}");
        }
        let elsewhere = check(object(json!({"max-replicas": 1})), Some("schedule"));
        assert_eq!(
            elsewhere,
            Err("config item max-replicas not found".to_owned())
        );
        let lasting = check(object(json!({"max-replicas": 1})), None).unwrap();
        assert!(check_ttl(&lasting).is_err());
    }

    #[test]
    fn every_default_is_a_value_that_may_be_set() {
        for setting in settings() {
            let default = setting.default.clone();
            assert_eq!(setting.accept(default.clone()), Ok(default));
        }
    }
}
