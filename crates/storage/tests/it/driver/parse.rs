//! The language of the scripts: a line is a name and `field=value` words; indented lines belong to the line above.
//!
//! Timestamps are plain numbers, `max`, or `p1000` for the first timestamp of millisecond 1000. Values may be `*300`:
//! 300 bytes. `""` is the empty key or value.

use std::collections::BTreeMap;

use txn_types::TimeStamp;

/// One call of a script.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) name: String,
    words: Vec<String>,
    fields: BTreeMap<String, String>,
    /// The indented lines below.
    pub(crate) lines: Vec<String>,
}

impl Call {
    /// Reads the lines of one call.
    pub(crate) fn parse(line: &str, lines: Vec<String>) -> Self {
        let mut call = Self {
            lines,
            ..Self::default()
        };
        for (at, word) in line.split_whitespace().enumerate() {
            match word.split_once('=') {
                _ if at == 0 => call.name = word.to_owned(),
                Some((field, value)) => {
                    call.fields.insert(field.to_owned(), value.to_owned());
                }
                None => call.words.push(word.to_owned()),
            }
        }
        call
    }

    /// A word without value, by position.
    pub(crate) fn word(&self, at: usize) -> Option<&str> {
        self.words.get(at).map(String::as_str)
    }

    /// Whether the flag is there.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.words.iter().any(|word| word == name)
    }

    /// The text of a field.
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str)
    }

    /// A number, zero when absent.
    pub(crate) fn number(&self, field: &str) -> u64 {
        self.ts(field).into_inner()
    }

    /// A timestamp, zero when absent.
    pub(crate) fn ts(&self, field: &str) -> TimeStamp {
        self.text(field).map_or(TimeStamp::zero(), parse_ts)
    }

    /// A raw key or value, empty when absent.
    pub(crate) fn bytes(&self, field: &str) -> Vec<u8> {
        self.text(field).map(parse_key).unwrap_or_default()
    }

    /// A comma-separated list of keys.
    pub(crate) fn keys(&self, field: &str) -> Vec<Vec<u8>> {
        self.text(field)
            .map(|text| text.split(',').map(parse_key).collect())
            .unwrap_or_default()
    }

    /// A comma-separated list of timestamps.
    pub(crate) fn numbers(&self, field: &str) -> Vec<u64> {
        let list = self.text(field).map(|text| text.split(',').map(parse_ts));
        list.map(|list| list.map(TimeStamp::into_inner).collect())
            .unwrap_or_default()
    }
}

/// A timestamp as scripts write it.
pub(crate) fn parse_ts(text: &str) -> TimeStamp {
    if text == "max" {
        return TimeStamp::max();
    }
    let bad = || panic!("not a timestamp: {text}");
    match text.strip_prefix('p') {
        None => TimeStamp::new(text.parse().unwrap_or_else(|_| bad())),
        Some(physical) => {
            let (physical, logical) = physical.split_once('.').unwrap_or((physical, "0"));
            TimeStamp::compose(
                physical.parse().unwrap_or_else(|_| bad()),
                logical.parse().unwrap_or_else(|_| bad()),
            )
        }
    }
}

/// A key or value as scripts write it.
pub(crate) fn parse_key(text: &str) -> Vec<u8> {
    match text {
        "\"\"" => Vec::new(),
        _ => match text.strip_prefix('*') {
            Some(length) => vec![b'x'; length.parse().unwrap()],
            None => text.as_bytes().to_vec(),
        },
    }
}
