//! What a message will take in memory once it is decoded, found out before it is.
//!
//! On the wire an empty element of a list takes two bytes; decoded it takes a hundred. So a message within the limit
//! of its length can claim a hundred times its length of memory, and a decoder notices nothing. Large messages are
//! therefore walked first: each part (a text, some bytes, a message) costs [`PART`] and its length. The walk needs
//! to know only which fields are messages, which the descriptors tell; what is malformed is left to the decoder.
//!
//! Must never: allocate for what it walks, or look at small messages, whose worst is bounded by their length.

use std::collections::HashMap;
use std::sync::LazyLock;

use protobuf::Message as _;
use protobuf::descriptor::{DescriptorProto, FieldDescriptorProto_Type, FileDescriptorSet};

/// What a part takes besides its bytes.
const PART: u64 = 96;
/// What a number of a list, or one that nobody knows, takes.
const NUMBER: u64 = 8;
/// The decoder refuses more levels.
const LEVELS_MAX: usize = 100;

/// Which fields of which messages are messages.
struct Schema {
    by_name: HashMap<String, usize>,
    /// By type: the type of each field that is a message, by its number.
    messages: Vec<HashMap<u32, usize>>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    // Our own bytes, which the build wrote; if they were unreadable every message would count as flat.
    let set = FileDescriptorSet::parse_from_bytes(kvproto::FILE_DESCRIPTOR_SET).unwrap_or_default();
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
        let by_name: HashMap<String, usize> = found
            .iter()
            .enumerate()
            .map(|(at, (name, _))| (name.clone(), at))
            .collect();
        let messages = found
            .iter()
            .map(|(_, message)| {
                let fields = message.get_field().iter();
                let inner = fields.filter(|field| {
                    field.get_field_type() == FieldDescriptorProto_Type::TYPE_MESSAGE
                });
                inner
                    .filter_map(|field| {
                        let name = field.get_type_name().trim_start_matches('.');
                        let number = u32::try_from(field.get_number()).ok()?;
                        Some((number, *by_name.get(name)?))
                    })
                    .collect()
            })
            .collect();
        Schema { by_name, messages }
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

/// Whether a message of the type called `name` takes at most `limit` bytes of memory when it is decoded.
pub(crate) fn fits(name: &str, bytes: &[u8], limit: u64) -> bool {
    let mut walk = Walk {
        schema: &SCHEMA,
        left: limit,
    };
    let of_type = SCHEMA.by_name.get(name).copied();
    walk.message(bytes, of_type, 0) != Some(Verdict::TooMuch)
}

#[derive(PartialEq, Eq)]
enum Verdict {
    Fine,
    TooMuch,
}

struct Walk<'a> {
    schema: &'a Schema,
    left: u64,
}

impl Walk<'_> {
    /// `None`: malformed from here on, which the decoder will find as well.
    fn message(
        &mut self,
        mut bytes: &[u8],
        of_type: Option<usize>,
        level: usize,
    ) -> Option<Verdict> {
        if level > LEVELS_MAX {
            return None;
        }
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            let cost = match tag & 7 {
                0 => {
                    varint(&mut bytes)?;
                    NUMBER
                }
                1 => {
                    bytes = bytes.get(8..)?;
                    NUMBER
                }
                5 => {
                    bytes = bytes.get(4..)?;
                    NUMBER
                }
                2 => {
                    let len = usize::try_from(varint(&mut bytes)?).ok()?;
                    let part = bytes.get(..len)?;
                    bytes = &bytes[len..];
                    let inner = u32::try_from(tag >> 3)
                        .ok()
                        .and_then(|number| self.schema.messages[of_type?].get(&number).copied());
                    match inner {
                        None => PART + len as u64,
                        Some(inner) => {
                            if !self.pay(PART) {
                                return Some(Verdict::TooMuch);
                            }
                            if self.message(part, Some(inner), level + 1)? == Verdict::TooMuch {
                                return Some(Verdict::TooMuch);
                            }
                            0
                        }
                    }
                }
                // Groups are skipped and kept nowhere: their insides cost nothing, and cost too much here.
                3 | 4 => 0,
                _ => return None,
            };
            if !self.pay(cost) {
                return Some(Verdict::TooMuch);
            }
        }
        Some(Verdict::Fine)
    }

    fn pay(&mut self, cost: u64) -> bool {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use kvproto::kvrpcpb::{BatchGetRequest, Mutation, PrewriteRequest};
    use kvproto::tikvpb::BatchCommandsRequest;

    use super::*;

    const PREWRITE: &str = "kvrpcpb.PrewriteRequest";

    fn cost(name: &str, bytes: &[u8]) -> u64 {
        // The smallest limit that it fits into.
        let (mut low, mut high) = (0, 1u64 << 40);
        while low < high {
            let middle = (low + high) / 2;
            if fits(name, bytes, middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    #[test]
    fn parts_are_counted_at_every_level() {
        let mut get = BatchGetRequest::default();
        for _ in 0..10 {
            get.mut_keys().push(vec![b'k'; 7]);
        }
        let bytes = get.write_to_bytes().unwrap();
        assert_eq!(cost("kvrpcpb.BatchGetRequest", &bytes), 10 * (PART + 7));

        let mut prewrite = PrewriteRequest::default();
        for _ in 0..10 {
            let mut mutation = Mutation::default();
            mutation.set_key(vec![b'k'; 7]);
            prewrite.mut_mutations().push(mutation);
        }
        let bytes = prewrite.write_to_bytes().unwrap();
        assert_eq!(cost(PREWRITE, &bytes), 10 * (2 * PART + 7));

        let mut batch = BatchCommandsRequest::default();
        let mut request = kvproto::tikvpb::BatchCommandsRequest_Request::default();
        request.set_Prewrite(prewrite);
        batch.mut_requests().push(request);
        let bytes = batch.write_to_bytes().unwrap();
        let whole = 2 * PART + 10 * (2 * PART + 7);
        assert_eq!(cost("tikvpb.BatchCommandsRequest", &bytes), whole);
    }

    #[test]
    fn a_bomb_does_not_fit() {
        // A million empty mutations in two megabytes.
        let bytes = [0x12, 0x00].repeat(1 << 20);
        assert_eq!(cost(PREWRITE, &[0x12, 0x00]), PART);
        assert!(!fits(PREWRITE, &bytes, 32 << 20));
        // The same as text of an unknown field.
        let bytes = [0xfa, 0x0f, 0x00].repeat(1 << 20);
        assert!(!fits(PREWRITE, &bytes, 32 << 20));
        let bytes = [0xf8, 0x0f, 0x00].repeat(8 << 20);
        assert!(!fits(PREWRITE, &bytes, 32 << 20));
    }

    #[test]
    fn what_is_malformed_is_left_to_the_decoder() {
        for bytes in [
            &[0xff; 20][..],
            &[0x12, 0x05, 0x00],
            &[0x12],
            &[0x0b],
            &[0x0f],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert!(fits(PREWRITE, bytes, 1 << 20), "{bytes:02x?}");
        }
        assert!(fits("no.such.Message", &[0x12, 0x00], PART));
    }
}
