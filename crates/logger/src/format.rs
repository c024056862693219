//! One line of the log. Pure: a record in, text out. A line never holds a line break of its own, in
//! either format, and ends with one.

use std::fmt::Write as _;

use crate::{
    config::Format,
    fields::{FieldValue, Fields},
    timestamp::Timestamp,
};

/// What a line tells.
pub(crate) struct Record<'a> {
    pub(crate) unix_millis: u64,
    pub(crate) level: &'static str,
    /// Source file, with or without its path, and line.
    pub(crate) source: Option<(&'a str, u32)>,
    pub(crate) fields: &'a Fields,
}

impl Record<'_> {
    fn caller(&self) -> String {
        match self.source {
            Some((path, line)) => {
                let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
                format!("{file}:{line}")
            }
            None => "<unknown>".to_owned(),
        }
    }
}

/// Writes the line of `record`.
pub(crate) fn line(format: Format, record: &Record<'_>) -> String {
    match format {
        Format::Text => text_line(record),
        Format::Json => json_line(record),
    }
}

fn text_line(record: &Record<'_>) -> String {
    // Writing to a string cannot fail.
    let mut out = String::with_capacity(128);
    let _ = write!(
        out,
        "[{}] [{}] [{}] [",
        Timestamp(record.unix_millis),
        record.level,
        record.caller()
    );
    push_quoted(&mut out, &record.fields.message);
    out.push(']');
    for (name, value) in &record.fields.pairs {
        out.push_str(" [");
        push_quoted(&mut out, name);
        out.push('=');
        push_quoted(&mut out, value.as_str());
        out.push(']');
    }
    out.push('\n');
    out
}

/// Names and values that hold a character of the line's own grammar, or a control character, become
/// JSON strings.
fn push_quoted(out: &mut String, text: &str) {
    let is_special = |c: char| c <= ' ' || matches!(c, '"' | '=' | '[' | ']');
    if text.contains(is_special) {
        push_json_string(out, text);
    } else {
        out.push_str(text);
    }
}

fn json_line(record: &Record<'_>) -> String {
    let mut out = String::with_capacity(160);
    out.push_str("{\"time\":");
    push_json_string(&mut out, &Timestamp(record.unix_millis).to_string());
    out.push_str(",\"level\":");
    push_json_string(&mut out, record.level);
    out.push_str(",\"caller\":");
    push_json_string(&mut out, &record.caller());
    out.push_str(",\"message\":");
    push_json_string(&mut out, &record.fields.message);
    for (name, value) in &record.fields.pairs {
        out.push(',');
        match *name {
            // An object has each name once.
            "time" | "level" | "caller" => push_json_string(&mut out, &format!("field_{name}")),
            name => push_json_string(&mut out, name),
        }
        out.push(':');
        match value {
            FieldValue::Plain(text) => out.push_str(text),
            FieldValue::Text(text) => push_json_string(&mut out, text),
        }
    }
    out.push_str("}\n");
    out
}

fn push_json_string(out: &mut String, text: &str) {
    // A string always has a JSON form.
    out.push_str(&serde_json::Value::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    fn text(s: &str) -> FieldValue {
        FieldValue::Text(s.to_owned())
    }

    fn with_record<R>(message: &str, run: impl FnOnce(&Record<'_>) -> R) -> R {
        let fields = Fields {
            message: message.to_owned(),
            pairs: vec![
                ("region_id", FieldValue::Plain("2".to_owned())),
                ("level", text("a b")),
                ("error", text("x=\"1\"\n")),
            ],
        };
        run(&Record {
            unix_millis: 1_704_164_645_678,
            level: "INFO",
            source: Some(("crates/x/src/file.rs", 12)),
            fields: &fields,
        })
    }

    #[test]
    fn text_form() {
        let expected = "[2024/01/02 03:04:05.678 +00:00] [INFO] [file.rs:12] [\"a message\"] \
                        [region_id=2] [level=\"a b\"] [error=\"x=\\\"1\\\"\\n\"]\n";
        assert_eq!(
            with_record("a message", |r| line(Format::Text, r)),
            expected
        );
    }

    #[test]
    fn json_form() {
        let expected = "{\"time\":\"2024/01/02 03:04:05.678 +00:00\",\"level\":\"INFO\",\
                        \"caller\":\"file.rs:12\",\"message\":\"a \\\"message\\\"\",\
                        \"region_id\":2,\"field_level\":\"a b\",\"error\":\"x=\\\"1\\\"\\n\"}\n";
        let line = with_record("a \"message\"", |r| line(Format::Json, r));
        assert_eq!(line, expected);
        assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
    }

    #[test_case("", ""; "empty")]
    #[test_case("plain-text_1/2:3,{}'\\", "plain-text_1/2:3,{}'\\"; "no grammar")]
    #[test_case("größe›", "größe›"; "not ascii")]
    #[test_case("a b", "\"a b\""; "space")]
    #[test_case("a=b", "\"a=b\""; "equals")]
    #[test_case("[a", "\"[a\""; "opening bracket")]
    #[test_case("a]", "\"a]\""; "closing bracket")]
    #[test_case("a\"b\\", "\"a\\\"b\\\\\""; "quote")]
    #[test_case("a\tb", "\"a\\tb\""; "tab")]
    #[test_case("a\u{0}b", "\"a\\u0000b\""; "control")]
    fn quoting(raw: &str, expected: &str) {
        let mut out = String::new();
        push_quoted(&mut out, raw);
        assert_eq!(out, expected);
    }

    #[test]
    fn an_event_without_a_source_says_so() {
        let fields = Fields {
            message: "m".to_owned(),
            pairs: vec![],
        };
        let record = Record {
            unix_millis: 0,
            level: "WARN",
            source: None,
            fields: &fields,
        };
        let expected = "[1970/01/01 00:00:00.000 +00:00] [WARN] [<unknown>] [m]\n";
        assert_eq!(line(Format::Text, &record), expected);
    }
}
