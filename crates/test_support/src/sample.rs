//! Messages made from the schema alone: every field is there. Must never need a message's type.

use protobuf::Message as _;
use protobuf::descriptor::{
    DescriptorProto, FieldDescriptorProto_Type as Type, FileDescriptorProto, FileDescriptorSet,
};

use crate::varint::varint;

/// Messages in messages, so deep.
const LEVELS: usize = 3;

fn set() -> FileDescriptorSet {
    FileDescriptorSet::parse_from_bytes(kvproto::FILE_DESCRIPTOR_SET).unwrap()
}

/// The name of the request of an RPC.
pub fn request_of(service: &str, rpc: &str) -> String {
    let set = set();
    let named = |file: &FileDescriptorProto, name: &str| format!("{}.{name}", file.get_package());
    let services = set.get_file().iter().flat_map(|file| {
        let services = file.get_service().iter();
        services.map(move |found| (named(file, found.get_name()), found))
    });
    let mut found = services.filter(|(name, _)| name == service);
    let (_, found) = found.next().unwrap();
    let mut methods = found.get_method().iter();
    let method = methods.find(|method| method.get_name() == rpc).unwrap();
    method.get_input_type().trim_start_matches('.').to_owned()
}

/// A message of the type called `name`, with this for all numbers, or with something for each.
pub fn message(name: &str, numbers: Option<u64>) -> Vec<u8> {
    filled(&set(), name, numbers, LEVELS)
}

fn find<'a>(set: &'a FileDescriptorSet, name: &str) -> &'a DescriptorProto {
    fn within<'a>(message: &'a DescriptorProto, path: &str) -> Option<&'a DescriptorProto> {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        match (message.get_name() == first, rest) {
            (false, _) => None,
            (true, "") => Some(message),
            (true, rest) => message
                .get_nested_type()
                .iter()
                .find_map(|inner| within(inner, rest)),
        }
    }
    let mut files = set.get_file().iter();
    let found = files.find_map(|file| {
        let path = name.strip_prefix(file.get_package())?.strip_prefix('.')?;
        file.get_message_type()
            .iter()
            .find_map(|message| within(message, path))
    });
    found.unwrap_or_else(|| panic!("no message {name}"))
}

fn filled(set: &FileDescriptorSet, name: &str, numbers: Option<u64>, levels: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in find(set, name).get_field() {
        let number = u64::try_from(field.get_number()).unwrap();
        let mut put = |wire_type: u64, value: &[u8]| {
            bytes.extend(varint(number << 3 | wire_type));
            bytes.extend_from_slice(value);
        };
        let part = |part: Vec<u8>| [varint(part.len() as u64), part].concat();
        match field.get_field_type() {
            Type::TYPE_MESSAGE if levels == 0 => {}
            Type::TYPE_MESSAGE => {
                let inner = field.get_type_name().trim_start_matches('.');
                put(2, &part(filled(set, inner, numbers, levels - 1)));
            }
            Type::TYPE_STRING => put(2, &part(b"text".to_vec())),
            Type::TYPE_BYTES => put(2, &part(b"\x01\xff".to_vec())),
            Type::TYPE_DOUBLE | Type::TYPE_FIXED64 | Type::TYPE_SFIXED64 => put(1, &[3; 8]),
            Type::TYPE_FLOAT | Type::TYPE_FIXED32 | Type::TYPE_SFIXED32 => put(5, &[3; 4]),
            Type::TYPE_BOOL | Type::TYPE_ENUM => put(0, &[1]),
            _ => put(0, &varint(numbers.unwrap_or(300 + number))),
        }
    }
    bytes
}
