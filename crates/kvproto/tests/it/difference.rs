//! What differs between the facts and our schema.

use crate::schema::{Enum, Field, Rpc, Schema};
use std::collections::BTreeMap;

/// What a difference would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Bytes or gRPC paths: peers would misunderstand each other.
    Wire,
    /// Identifiers only: programs written against the names would not compile.
    Name,
    /// Something that the facts lack: harmless on the wire, but not ours to invent.
    Extra,
}

/// One difference: its class and a line for people.
pub(crate) type Difference = (Class, String);

/// All differences, in order of the facts.
pub(crate) fn differences(facts: &Schema, ours: &Schema) -> Vec<Difference> {
    let mut found = Vec::new();
    for (name, fields) in &facts.messages {
        match ours.messages.get(name) {
            None => found.push((Class::Wire, format!("message {name} is missing"))),
            Some(own) => compare_fields(name, fields, own, &mut found),
        }
    }
    for (name, theirs) in &facts.enums {
        match ours.enums.get(name) {
            None => found.push((Class::Wire, format!("enum {name} is missing"))),
            Some(own) => compare_values(name, theirs, own, &mut found),
        }
    }
    for (name, rpcs) in &facts.services {
        match ours.services.get(name) {
            None => found.push((Class::Wire, format!("service {name} is missing"))),
            Some(own) => compare_rpcs(name, rpcs, own, &mut found),
        }
    }
    let extra = |name: &String| (Class::Extra, format!("{name} is not in the facts"));
    found.extend(
        ours.messages
            .keys()
            .filter(|n| !facts.messages.contains_key(*n))
            .map(extra),
    );
    found.extend(
        ours.enums
            .keys()
            .filter(|n| !facts.enums.contains_key(*n))
            .map(extra),
    );
    found.extend(
        ours.services
            .keys()
            .filter(|n| !facts.services.contains_key(*n))
            .map(extra),
    );
    found
}

fn compare_fields(
    message: &str,
    facts: &BTreeMap<i32, Field>,
    ours: &BTreeMap<i32, Field>,
    found: &mut Vec<Difference>,
) {
    for (number, field) in facts {
        let place = format!("{message}.{} = {number}", field.name);
        let Some(own) = ours.get(number) else {
            found.push((Class::Wire, format!("field {place} is missing")));
            continue;
        };
        if own.name != field.name {
            found.push((Class::Name, format!("field {place} is called {}", own.name)));
        }
        if own.label != field.label {
            found.push((
                Class::Wire,
                format!("label of {place}: {}, ours {}", field.label, own.label),
            ));
        }
        if own.kind != field.kind {
            found.push((
                Class::Wire,
                format!("type of {place}: {}, ours {}", field.kind, own.kind),
            ));
        }
        if own.attributes != field.attributes {
            let line = format!(
                "attributes of {place}: {:?}, ours {:?}",
                field.attributes, own.attributes
            );
            found.push((Class::Wire, line));
        }
    }
    for (number, own) in ours
        .iter()
        .filter(|(number, _)| !facts.contains_key(number))
    {
        let line = format!(
            "field {message}.{} = {number} is not in the facts",
            own.name
        );
        found.push((Class::Extra, line));
    }
}

fn compare_values(name: &str, facts: &Enum, ours: &Enum, found: &mut Vec<Difference>) {
    for (number, value) in &facts.values {
        let same_name = ours.values.iter().find(|(_, own)| own == value);
        let same_number = ours.values.iter().find(|(own, _)| own == number);
        match (same_name, same_number) {
            (Some((own, _)), _) if own == number => {}
            (Some((own, _)), _) => {
                found.push((
                    Class::Wire,
                    format!("value {name}.{value} = {number}, ours {own}"),
                ));
            }
            (None, Some((_, own))) => {
                found.push((Class::Name, format!("value {name}.{value} is called {own}")));
            }
            (None, None) => {
                found.push((
                    Class::Wire,
                    format!("value {name}.{value} = {number} is missing"),
                ));
            }
        }
    }
    let first = |found: &Enum| found.values.first().map(|(number, _)| *number);
    if first(facts) != first(ours) {
        found.push((Class::Wire, format!("the default of {name} is another")));
    }
    if facts.open != ours.open {
        found.push((
            Class::Wire,
            format!("{name} is open in one and closed in the other"),
        ));
    }
    for (number, value) in &ours.values {
        if !facts.values.iter().any(|(theirs, _)| theirs == number) {
            let line = format!("value {name}.{value} = {number} is not in the facts");
            found.push((Class::Extra, line));
        }
    }
}

fn compare_rpcs(
    service: &str,
    facts: &BTreeMap<String, Rpc>,
    ours: &BTreeMap<String, Rpc>,
    found: &mut Vec<Difference>,
) {
    for (name, rpc) in facts {
        match ours.get(name) {
            None => found.push((Class::Wire, format!("rpc /{service}/{name} is missing"))),
            Some(own) if own != rpc => {
                found.push((
                    Class::Wire,
                    format!("rpc /{service}/{name}: {rpc:?}, ours {own:?}"),
                ));
            }
            Some(_) => {}
        }
    }
    for name in ours.keys().filter(|name| !facts.contains_key(*name)) {
        found.push((
            Class::Extra,
            format!("rpc /{service}/{name} is not in the facts"),
        ));
    }
}
