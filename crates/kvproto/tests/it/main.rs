//! The wire, from outside: the schema is that of the facts, and no message overflows the stack.
//!
//! `tests/facts/*.tsv` is the schema of the cluster that we must be exchangeable with, one file per
//! protobuf package; `schema` explains the format.

#![allow(
    clippy::unwrap_used,
    reason = "tests may unwrap, also outside their own functions"
)]

mod agreement;
mod bounded;
mod difference;
mod recursion;
mod schema;

use protobuf::Message as _;
use protobuf::descriptor::{DescriptorProto, FileDescriptorSet};

/// Our descriptors, as the build script made them.
fn ours() -> FileDescriptorSet {
    FileDescriptorSet::parse_from_bytes(kvproto::FILE_DESCRIPTOR_SET).unwrap()
}

/// The message `name` (`package.Outer.Inner`) of `set`, to be damaged.
fn message<'a>(set: &'a mut FileDescriptorSet, name: &str) -> &'a mut DescriptorProto {
    let file = set
        .file
        .iter_mut()
        .find(|file| {
            let package = file.get_package();
            name.strip_prefix(package)
                .is_some_and(|rest| rest.starts_with('.'))
        })
        .unwrap_or_else(|| panic!("no package of {name}"));
    let mut parts = name[file.get_package().len() + 1..].split('.');
    let outer = parts.next().unwrap();
    let mut found = file
        .message_type
        .iter_mut()
        .find(|m| m.get_name() == outer)
        .unwrap();
    for inner in parts {
        found = found
            .nested_type
            .iter_mut()
            .find(|m| m.get_name() == inner)
            .unwrap();
    }
    found
}
