//! What a command answers: text for a person, JSON for a program.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::escape::escape;

/// An answer in both forms.
#[derive(Debug)]
pub(crate) struct Answer {
    text: String,
    json: Value,
}

impl Answer {
    /// Of something that shows itself.
    pub(crate) fn of(report: &(impl Serialize + fmt::Display)) -> serde_json::Result<Answer> {
        Ok(Answer {
            text: report.to_string(),
            json: serde_json::to_value(report)?,
        })
    }

    /// That something was done.
    pub(crate) fn done(what: &str) -> Answer {
        Answer {
            text: what.to_owned(),
            json: json!({ "result": what }),
        }
    }

    /// A value, or that there is none.
    pub(crate) fn value(value: Option<&[u8]>) -> Answer {
        match value {
            Some(value) => Answer {
                text: escape(value),
                json: json!({ "found": true, "value": escape(value) }),
            },
            None => Answer {
                text: "(not found)".to_owned(),
                json: json!({ "found": false }),
            },
        }
    }

    /// Keys, with values where they were asked for.
    pub(crate) fn pairs(pairs: &[(Vec<u8>, Option<Vec<u8>>)]) -> Answer {
        let line = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| match value {
            Some(value) => format!("{}\t{}", escape(key), escape(value)),
            None => escape(key),
        };
        let mut lines: Vec<_> = pairs.iter().map(line).collect();
        lines.push(format!("({} found)", pairs.len()));
        let entry = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| match value {
            Some(value) => json!({ "key": escape(key), "value": escape(value) }),
            None => json!({ "key": escape(key) }),
        };
        Answer {
            text: lines.join("\n"),
            json: pairs.iter().map(entry).collect(),
        }
    }

    /// Text and its counterpart.
    pub(crate) fn both(text: String, json: Value) -> Answer {
        Answer { text, json }
    }

    /// The form that is asked for.
    pub(crate) fn show(&self, as_json: bool) -> String {
        if as_json {
            self.json.to_string()
        } else {
            self.text.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let answer = Answer::value(Some(b"a\x00"));
        assert_eq!(answer.show(false), "a\\000");
        assert_eq!(answer.show(true), r#"{"found":true,"value":"a\\000"}"#);
        assert_eq!(Answer::value(None).show(true), r#"{"found":false}"#);
        let pairs = [(b"k".to_vec(), Some(b"v".to_vec())), (b"l".to_vec(), None)];
        let answer = Answer::pairs(&pairs);
        assert_eq!(answer.show(false), "k\tv\nl\n(2 found)");
        assert_eq!(
            answer.show(true),
            r#"[{"key":"k","value":"v"},{"key":"l"}]"#
        );
    }
}
