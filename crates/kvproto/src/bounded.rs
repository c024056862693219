//! Decoding that looks before it allocates: every handler of every service takes its requests through [`decode`].
//!
//! On the wire an empty element of a list takes two bytes; decoded it takes hundreds. So a message within the limit
//! of its length can claim hundreds of times its length of memory, and a decoder notices nothing. Large messages are
//! therefore walked first: each part (a text, some bytes, a message) costs what it will take in memory. The walk
//! needs to know only which fields are messages and how large those are, which the descriptors tell; what is
//! malformed is left to the decoder.
//!
//! The build script puts [`decode`] into the generated services in place of gRPC's own decoder, so no service can be
//! registered without it. Must never: allocate for what it walks, or know what a request means.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::LazyLock;

use grpcio::MessageReader;
use protobuf::descriptor::{
    DescriptorProto, FieldDescriptorProto, FieldDescriptorProto_Label, FieldDescriptorProto_Type,
    FileDescriptorSet,
};
use protobuf::{CodedInputStream, Message};

/// Messages up to this length are decoded at once: the worst of them takes some megabytes.
const SMALL: usize = 16 << 10;
/// The most memory that a decoded message may take.
pub const DECODED_MAX: u64 = 32 << 20;
/// What a part takes besides its bytes, at least.
pub const PART: u64 = 96;
/// What a number takes in a list, which grows by doubling.
const NUMBER: u64 = 16;
/// What a field that nobody knows takes besides its bytes: a place in a table of lists.
const UNKNOWN: u64 = 320;
/// More levels than the decoder takes, which counts to a hundred and leaves out the cases of a oneof.
const LEVELS_MAX: usize = 400;

/// What a handler's request goes through.
pub(crate) fn decode<M: Message>(mut reader: MessageReader) -> grpcio::Result<M> {
    let len = reader.len();
    if len <= SMALL {
        return merge(CodedInputStream::from_buffered_reader(&mut reader), len);
    }
    // gRPC holds these bytes already, so the length is no mere claim.
    let mut bytes = Vec::with_capacity(len);
    reader.read_to_end(&mut bytes).map_err(codec)?;
    drop(reader);
    parse(&bytes)
}

/// Decodes a whole message as a handler does.
pub fn parse<M: Message>(bytes: &[u8]) -> grpcio::Result<M> {
    if bytes.len() > SMALL && !fits(M::descriptor_static().full_name(), bytes, DECODED_MAX) {
        // gRPC shows the debug form to the client: a text is the readable one.
        return Err(codec(format!(
            "the message has too many parts: it would take more than {DECODED_MAX} bytes of memory"
        )));
    }
    merge(CodedInputStream::from_bytes(bytes), bytes.len())
}

/// Decodes with the length known: left to itself the decoder believes any claim that stands outside of a message
/// with a length, reserves megabytes for it, and takes the end of the input for the end of what was claimed.
fn merge<M: Message>(mut input: CodedInputStream<'_>, len: usize) -> grpcio::Result<M> {
    input.push_limit(len as u64).map_err(codec)?;
    let mut message = M::new();
    message.merge_from(&mut input).map_err(codec)?;
    Ok(message)
}

fn codec(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> grpcio::Error {
    grpcio::Error::Codec(error.into())
}

/// What a field holds.
#[derive(Clone, Copy)]
enum Field {
    /// A number, or a list of them.
    Number,
    /// A text or bytes.
    Text,
    /// A message of this type.
    Message(usize),
}

/// A type of messages.
#[derive(Default)]
struct Type {
    /// What one takes beside its parts, at most.
    cost: u64,
    /// The fields, by their numbers.
    fields: HashMap<u32, Field>,
}

struct Schema {
    by_name: HashMap<String, usize>,
    types: Vec<Type>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    // Our own bytes, which the build wrote; if they were unreadable every message would count as flat.
    let set = FileDescriptorSet::parse_from_bytes(crate::FILE_DESCRIPTOR_SET).unwrap_or_default();
    Schema::of(&set)
});

impl Schema {
    fn of(set: &FileDescriptorSet) -> Schema {
        let mut found = Vec::new();
        for file in set.get_file() {
            for message in file.get_message_type() {
                collect(file.get_package(), message, &mut found);
            }
        }
        let names = found.iter().enumerate();
        let by_name: HashMap<String, usize> =
            names.map(|(at, (name, _))| (name.clone(), at)).collect();
        let inner = |field: &FieldDescriptorProto| {
            let is_message = field.get_field_type() == FieldDescriptorProto_Type::TYPE_MESSAGE;
            let name = field.get_type_name().trim_start_matches('.');
            is_message.then(|| by_name.get(name).copied())?
        };
        let types = found
            .iter()
            .map(|(_, message)| {
                let fields = message.get_field().iter();
                let fields = fields.filter_map(|field| {
                    let held = match field.get_field_type() {
                        FieldDescriptorProto_Type::TYPE_MESSAGE => Field::Message(inner(field)?),
                        FieldDescriptorProto_Type::TYPE_STRING
                        | FieldDescriptorProto_Type::TYPE_BYTES => Field::Text,
                        _ => Field::Number,
                    };
                    Some((u32::try_from(field.get_number()).ok()?, held))
                });
                Type {
                    // Lists grow by doubling, so half of their places may be empty.
                    cost: PART.max(2 * size(message, &inner, &found, 0)),
                    fields: fields.collect(),
                }
            })
            .collect();
        Schema { by_name, types }
    }
}

fn collect<'a>(
    prefix: &str,
    message: &'a DescriptorProto,
    found: &mut Vec<(String, &'a DescriptorProto)>,
) {
    let name = format!("{prefix}.{}", message.get_name());
    for nested in message.get_nested_type() {
        collect(&name, nested, found);
    }
    found.push((name, message));
}

/// No less than what the generated struct of `message` takes: a list or text is three or four words, an optional
/// message two, and of a oneof, which holds its messages itself, the largest case counts.
fn size(
    message: &DescriptorProto,
    inner: &impl Fn(&FieldDescriptorProto) -> Option<usize>,
    all: &[(String, &DescriptorProto)],
    level: usize,
) -> u64 {
    // Unknown fields and the cached size.
    let mut total = 24;
    let mut cases = vec![0; message.get_oneof_decl().len()];
    for field in message.get_field() {
        let is_list = field.get_label() == FieldDescriptorProto_Label::LABEL_REPEATED;
        let of_case = usize::try_from(field.get_oneof_index()).unwrap_or(0);
        match cases.get_mut(of_case) {
            Some(largest) if field.has_oneof_index() && !is_list => {
                let case = match inner(field) {
                    // The schema has no cycle of oneofs; the bound is for a broken one.
                    Some(at) if level < LEVELS_MAX => size(all[at].1, inner, all, level + 1),
                    _ => 24,
                };
                *largest = case.max(*largest);
            }
            _ => {
                total += match field.get_field_type() {
                    _ if is_list => 48,
                    FieldDescriptorProto_Type::TYPE_STRING
                    | FieldDescriptorProto_Type::TYPE_BYTES => 24,
                    FieldDescriptorProto_Type::TYPE_MESSAGE
                    | FieldDescriptorProto_Type::TYPE_GROUP => 16,
                    _ => 8,
                };
            }
        }
    }
    total + cases.iter().map(|largest| largest + 8).sum::<u64>()
}

/// What one message of the type called `name` takes beside its parts; `None` if there is no such type.
pub fn cost_of(name: &str) -> Option<u64> {
    let at = *SCHEMA.by_name.get(name)?;
    Some(SCHEMA.types[at].cost)
}

/// Whether a message of the type called `name` takes at most `limit` bytes of memory when it is decoded.
pub fn fits(name: &str, bytes: &[u8], limit: u64) -> bool {
    let mut walk = Walk {
        schema: &SCHEMA,
        left: limit,
    };
    let of_type = SCHEMA.by_name.get(name).copied();
    walk.message(bytes, of_type, 0) != Err(Stop::TooMuch)
}

/// How much memory a message of the type called `name` takes when it is decoded, at most; up to where it is
/// malformed, if it is.
pub fn cost(name: &str, bytes: &[u8]) -> u64 {
    let mut walk = Walk {
        schema: &SCHEMA,
        left: u64::MAX,
    };
    let of_type = SCHEMA.by_name.get(name).copied();
    // How it ended is of no interest here.
    let _ = walk.message(bytes, of_type, 0);
    u64::MAX - walk.left
}

#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// The decoder stops here, too.
    Malformed,
    TooMuch,
}

struct Walk<'a> {
    schema: &'a Schema,
    left: u64,
}

impl Walk<'_> {
    /// Goes where the decoder goes: a step aside and a bomb hides behind what only one of the two takes for an error.
    fn message(
        &mut self,
        mut bytes: &[u8],
        of_type: Option<usize>,
        level: usize,
    ) -> Result<(), Stop> {
        if level > LEVELS_MAX {
            return Err(Stop::TooMuch);
        }
        while !bytes.is_empty() {
            let (number, wire_type) = tag(&mut bytes)?;
            let fields = of_type.map(|of_type| &self.schema.types[of_type].fields);
            let field = fields.and_then(|fields| fields.get(&number)).copied();
            match (wire_type, field) {
                (2, Some(Field::Message(inner))) => {
                    let part = long_part(&mut bytes)?;
                    self.pay(self.schema.types[inner].cost)?;
                    self.message(part, Some(inner), level + 1)?;
                }
                (2, Some(Field::Number)) => {
                    // Packed: each byte may be a number.
                    let part = long_part(&mut bytes)?;
                    self.pay(PART + NUMBER * part.len() as u64)?;
                }
                (2, Some(Field::Text)) => {
                    let part = short_part(&mut bytes)?;
                    self.pay(PART + part.len() as u64)?;
                }
                // A group that nobody knows is skipped and kept nowhere.
                (3, None) => skip_group(&mut bytes)?,
                (_, None) => {
                    let len = skip(wire_type, &mut bytes)?;
                    self.pay(UNKNOWN + len as u64)?;
                }
                (_, Some(Field::Number)) => {
                    skip(wire_type, &mut bytes)?;
                    self.pay(NUMBER)?;
                }
                // A group or number where a message or text belongs.
                (_, Some(_)) => return Err(Stop::Malformed),
            }
        }
        Ok(())
    }

    fn pay(&mut self, cost: u64) -> Result<(), Stop> {
        self.left = self.left.checked_sub(cost).ok_or(Stop::TooMuch)?;
        Ok(())
    }
}

/// A field's number and wire type.
fn tag(bytes: &mut &[u8]) -> Result<(u32, u32), Stop> {
    // The decoder drops what is above 32 bits.
    let tag = varint(bytes)? as u32;
    Ok((tag >> 3, tag & 7))
}

/// A part whose length is as it stands there.
fn long_part<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Stop> {
    let len = varint(bytes)?;
    take(bytes, len)
}

/// A part of whose length the decoder drops what is above 32 bits.
fn short_part<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Stop> {
    let len = varint(bytes)? as u32;
    take(bytes, len.into())
}

fn take<'a>(bytes: &mut &'a [u8], len: u64) -> Result<&'a [u8], Stop> {
    let len = usize::try_from(len).map_err(|_| Stop::Malformed)?;
    let (part, rest) = bytes.split_at_checked(len).ok_or(Stop::Malformed)?;
    *bytes = rest;
    Ok(part)
}

/// Steps over a value; the answer is what it holds besides a number.
fn skip(wire_type: u32, bytes: &mut &[u8]) -> Result<usize, Stop> {
    match wire_type {
        0 => varint(bytes).map(|_| 0),
        1 => take(bytes, 8).map(|_| 0),
        2 => short_part(bytes).map(<[u8]>::len),
        5 => take(bytes, 4).map(|_| 0),
        _ => Err(Stop::Malformed),
    }
}

/// Steps over the rest of a group; none can be in another.
fn skip_group(bytes: &mut &[u8]) -> Result<(), Stop> {
    loop {
        let (_, wire_type) = tag(bytes)?;
        if wire_type == 4 {
            return Ok(());
        }
        skip(wire_type, bytes)?;
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Stop> {
    let mut number = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Stop::Malformed)?;
        *bytes = rest;
        // The tenth byte has room for one bit only; the others fall off, as they do in the decoder.
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Stop::Malformed)
}
