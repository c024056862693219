//! The fields of an event or span, collected from `tracing`. Keeps the kind of a value, which JSON
//! needs.

use std::fmt;

use tracing::field::{Field, Visit};

/// A value as it will be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FieldValue {
    /// A number or truth value in its own spelling, which is the same in both formats.
    Plain(String),
    /// Text.
    Text(String),
}

impl FieldValue {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Text(text) => text,
        }
    }
}

/// Message and fields, in the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Fields {
    pub(crate) message: String,
    pub(crate) pairs: Vec<(&'static str, FieldValue)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: FieldValue) {
        if field.name() == "message" {
            self.message = value.as_str().to_owned();
            return;
        }
        // A raw identifier is only Rust's spelling of the name.
        let name = field.name().trim_start_matches("r#");
        // A span may record a field again: the last value holds.
        match self.pairs.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.pairs.push((name, value)),
        }
    }

    /// Adds the fields of a span around: what the inside said holds.
    pub(crate) fn inherit(&mut self, around: &Self) {
        for (name, value) in &around.pairs {
            if self.pairs.iter().all(|(known, _)| known != name) {
                self.pairs.push((name, value.clone()));
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, FieldValue::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, FieldValue::Text(value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, FieldValue::Text(value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, FieldValue::Plain(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, FieldValue::Plain(value.to_string()));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field, FieldValue::Plain(value.to_string()));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field, FieldValue::Plain(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, FieldValue::Plain(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let text = value.to_string();
        // JSON has no spelling for these.
        let value = if value.is_finite() {
            FieldValue::Plain(text)
        } else {
            FieldValue::Text(text)
        };
        self.put(field, value);
    }
}
