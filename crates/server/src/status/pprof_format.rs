//! A profile in the format of pprof, `profile.proto`: the few messages that stacks with symbols need.
//!
//! Written field by field: the generated code for this one schema would be a second version of the
//! protobuf library. Field numbers stand beside the fields.

use std::collections::HashMap;
use std::time::Duration;

use protobuf::{CodedOutputStream, ProtobufResult};

/// Samples and how they were taken.
pub(super) struct Profile {
    pub(super) stacks: Vec<Stack>,
    /// When it began.
    pub(super) unix_nanos: u64,
    pub(super) duration: Duration,
    /// Samples in a second of processor time.
    pub(super) frequency: i32,
}

/// A stack that was met.
pub(super) struct Stack {
    pub(super) thread: String,
    /// The innermost first; a function that was inlined stands before the one it is in.
    pub(super) frames: Vec<Frame>,
    /// How often it was met.
    pub(super) count: u64,
}

/// One function of a stack.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Frame {
    pub(super) name: String,
    pub(super) system_name: String,
    pub(super) file: String,
    pub(super) line: u32,
}

/// The texts of a profile; the first is empty.
#[derive(Default)]
struct Texts {
    numbers: HashMap<String, i64>,
    texts: Vec<String>,
}

impl Texts {
    fn number(&mut self, text: &str) -> i64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as i64;
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());
        number
    }
}

/// The bytes of `profile`, not packed.
pub(super) fn encode(profile: &Profile) -> Vec<u8> {
    // Writing to memory does not fail.
    message(|out| write_profile(profile, out)).unwrap_or_default()
}

type Out<'a> = CodedOutputStream<'a>;

fn message(write: impl FnOnce(&mut Out<'_>) -> ProtobufResult<()>) -> ProtobufResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut out = CodedOutputStream::vec(&mut bytes);
    write(&mut out)?;
    out.flush()?;
    drop(out);
    Ok(bytes)
}

fn write_profile(profile: &Profile, out: &mut Out<'_>) -> ProtobufResult<()> {
    let mut texts = Texts::default();
    texts.number("");
    let period = 1_000_000_000 / i64::from(profile.frequency.max(1));
    // Message Profile: sample_type 1, sample 2, location 4, function 5, string_table 6,
    // time_nanos 9, duration_nanos 10, period_type 11, period 12.
    for (kind, unit) in [("samples", "count"), ("cpu", "nanoseconds")] {
        out.write_bytes(1, &value_type(&mut texts, kind, unit)?)?;
    }
    let mut frames: HashMap<&Frame, u64> = HashMap::new();
    for stack in &profile.stacks {
        let mut locations = Vec::with_capacity(stack.frames.len());
        for frame in &stack.frames {
            let next = frames.len() as u64 + 1;
            let id = *frames.entry(frame).or_insert(next);
            if id == next {
                out.write_bytes(5, &function(&mut texts, id, frame)?)?;
                out.write_bytes(4, &location(id, frame)?)?;
            }
            locations.push(id);
        }
        let count = i64::try_from(stack.count).unwrap_or(i64::MAX);
        let values = [count, count.saturating_mul(period)];
        let thread = (texts.number("thread"), texts.number(&stack.thread));
        out.write_bytes(2, &sample(&locations, values, thread)?)?;
    }
    let period_type = value_type(&mut texts, "cpu", "nanoseconds")?;
    for text in &texts.texts {
        out.write_string(6, text)?;
    }
    out.write_int64(9, i64::try_from(profile.unix_nanos).unwrap_or(i64::MAX))?;
    let duration = i64::try_from(profile.duration.as_nanos()).unwrap_or(i64::MAX);
    out.write_int64(10, duration)?;
    out.write_bytes(11, &period_type)?;
    out.write_int64(12, period)
}

/// Message ValueType: type 1, unit 2.
fn value_type(texts: &mut Texts, kind: &str, unit: &str) -> ProtobufResult<Vec<u8>> {
    let (kind, unit) = (texts.number(kind), texts.number(unit));
    message(|out| {
        out.write_int64(1, kind)?;
        out.write_int64(2, unit)
    })
}

/// Message Function: id 1, name 2, system_name 3, filename 4.
fn function(texts: &mut Texts, id: u64, frame: &Frame) -> ProtobufResult<Vec<u8>> {
    let name = texts.number(&frame.name);
    let system_name = texts.number(&frame.system_name);
    let file = texts.number(&frame.file);
    message(|out| {
        out.write_uint64(1, id)?;
        out.write_int64(2, name)?;
        out.write_int64(3, system_name)?;
        out.write_int64(4, file)
    })
}

/// Message Location: id 1, line 4 (Line: function_id 1, line 2). A location has its function's id.
fn location(id: u64, frame: &Frame) -> ProtobufResult<Vec<u8>> {
    let line = message(|out| {
        out.write_uint64(1, id)?;
        out.write_int64(2, i64::from(frame.line))
    })?;
    message(|out| {
        out.write_uint64(1, id)?;
        out.write_bytes(4, &line)
    })
}

/// Message Sample: location_id 1, value 2, label 3 (Label: key 1, str 2).
fn sample(locations: &[u64], values: [i64; 2], (key, text): (i64, i64)) -> ProtobufResult<Vec<u8>> {
    let label = message(|out| {
        out.write_int64(1, key)?;
        out.write_int64(2, text)
    })?;
    message(|out| {
        for location in locations {
            out.write_uint64(1, *location)?;
        }
        for value in values {
            out.write_int64(2, value)?;
        }
        out.write_bytes(3, &label)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use protobuf::CodedInputStream;
    use protobuf::wire_format::WireType;

    use super::*;

    pub(crate) fn stack(thread: &str, names: &[&str], count: u64) -> Stack {
        let frame = |name: &&str| Frame {
            name: (*name).to_owned(),
            system_name: format!("_{name}"),
            file: "a.rs".to_owned(),
            line: 3,
        };
        Stack {
            thread: thread.to_owned(),
            frames: names.iter().map(frame).collect(),
            count,
        }
    }

    pub(crate) fn profile(stacks: Vec<Stack>) -> Profile {
        Profile {
            stacks,
            unix_nanos: 7,
            duration: Duration::from_secs(2),
            frequency: 100,
        }
    }

    /// Fields in order: the number with a whole number or with bytes.
    fn fields(bytes: &[u8]) -> Vec<(u32, Result<u64, Vec<u8>>)> {
        let mut input = CodedInputStream::from_bytes(bytes);
        let mut fields = Vec::new();
        while !input.eof().unwrap() {
            let (number, kind) = input.read_tag_unpack().unwrap();
            let value = match kind {
                WireType::WireTypeVarint => Ok(input.read_uint64().unwrap()),
                WireType::WireTypeLengthDelimited => Err(input.read_bytes().unwrap()),
                other => panic!("{other:?}"),
            };
            fields.push((number, value));
        }
        fields
    }

    fn all(bytes: &[u8], number: u32) -> Vec<Vec<u8>> {
        let of_number = |(field, value): (u32, Result<u64, Vec<u8>>)| {
            (field == number).then(|| value.unwrap_err())
        };
        fields(bytes).into_iter().filter_map(of_number).collect()
    }

    fn numbers(bytes: &[u8], number: u32) -> Vec<u64> {
        let of_number =
            |(field, value): (u32, Result<u64, Vec<u8>>)| (field == number).then(|| value.unwrap());
        fields(bytes).into_iter().filter_map(of_number).collect()
    }

    #[test]
    fn stacks_become_samples_over_shared_locations() {
        let bytes = encode(&profile(vec![
            stack("reader", &["leaf", "main"], 3),
            stack("writer", &["other", "main"], 1),
        ]));
        let texts: Vec<String> = all(&bytes, 6)
            .into_iter()
            .map(|text| String::from_utf8(text).unwrap())
            .collect();
        assert_eq!(texts[0], "", "the first text is empty");
        let text = |number: u64| texts[number as usize].as_str();

        let functions: HashMap<u64, String> = all(&bytes, 5)
            .iter()
            .map(|function| {
                let name = text(numbers(function, 2)[0]).to_owned();
                assert_eq!(text(numbers(function, 3)[0]), format!("_{name}"));
                assert_eq!(text(numbers(function, 4)[0]), "a.rs");
                (numbers(function, 1)[0], name)
            })
            .collect();
        let locations: HashMap<u64, String> = all(&bytes, 4)
            .iter()
            .map(|location| {
                let line = &all(location, 4)[0];
                assert_eq!(numbers(line, 2), [3]);
                (
                    numbers(location, 1)[0],
                    functions[&numbers(line, 1)[0]].clone(),
                )
            })
            .collect();
        assert_eq!(locations.len(), 3, "main is one location");
        let samples: Vec<_> = all(&bytes, 2)
            .iter()
            .map(|sample| {
                let names: Vec<_> = numbers(sample, 1)
                    .iter()
                    .map(|id| locations[id].clone())
                    .collect();
                let label = &all(sample, 3)[0];
                assert_eq!(text(numbers(label, 1)[0]), "thread");
                (
                    text(numbers(label, 2)[0]).to_owned(),
                    names.join("<"),
                    numbers(sample, 2),
                )
            })
            .collect();
        let expected = [
            ("reader", "leaf<main", vec![3, 30_000_000]),
            ("writer", "other<main", vec![1, 10_000_000]),
        ]
        .map(|(thread, names, values)| (thread.to_owned(), names.to_owned(), values));
        assert_eq!(samples, expected);

        let types: Vec<_> = all(&bytes, 1)
            .iter()
            .map(|kind| {
                format!(
                    "{}/{}",
                    text(numbers(kind, 1)[0]),
                    text(numbers(kind, 2)[0])
                )
            })
            .collect();
        assert_eq!(types, ["samples/count", "cpu/nanoseconds"]);
        assert_eq!(numbers(&bytes, 9), [7]);
        assert_eq!(numbers(&bytes, 10), [2_000_000_000]);
        assert_eq!(numbers(&bytes, 12), [10_000_000]);
    }

    #[test]
    fn a_profile_without_samples_is_one() {
        let bytes = encode(&profile(Vec::new()));
        assert_eq!(all(&bytes, 2), Vec::<Vec<u8>>::new());
        assert_eq!(all(&bytes, 1).len(), 2);
    }
}
