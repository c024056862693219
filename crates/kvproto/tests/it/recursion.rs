//! No message can overflow the stack of who decodes it (RUSTSEC-2024-0437).
//!
//! protobuf 2.28 counts how deep messages nest and gives up at 100, but only where it decodes a
//! singular or repeated message field. Messages in a `oneof` and values of a `map` are decoded
//! without counting. So depth has a bound unless some cycle of message types consists of such fields
//! alone: any other cycle passes a counted field in each round.
//!
//! `google.protobuf.Struct` and `Value` form such a cycle, so no RPC may carry them.

use std::collections::{BTreeMap, BTreeSet};

use protobuf::descriptor::{
    DescriptorProto, FieldDescriptorProto, FieldDescriptorProto_Type as Type, FileDescriptorSet,
    OneofDescriptorProto,
};

use crate::{message, ours};

/// Message types and, for each, the message types of its fields.
#[derive(Default)]
struct Nesting {
    /// Only through `oneof` and `map`.
    uncounted: BTreeMap<String, BTreeSet<String>>,
    /// Through any field.
    all: BTreeMap<String, BTreeSet<String>>,
}

impl Nesting {
    fn of(set: &FileDescriptorSet) -> Nesting {
        let mut nesting = Nesting::default();
        for file in &set.file {
            for message in &file.message_type {
                nesting.add(message, file.get_package());
            }
        }
        nesting
    }

    fn add(&mut self, message: &DescriptorProto, scope: &str) {
        let name = format!("{scope}.{}", message.get_name());
        for field in message
            .field
            .iter()
            .filter(|f| f.get_field_type() == Type::TYPE_MESSAGE)
        {
            let target = field.get_type_name().trim_start_matches('.').to_owned();
            let entry = message.nested_type.iter().find(|nested| {
                nested.get_options().get_map_entry()
                    && target == format!("{name}.{}", nested.get_name())
            });
            let (target, counted) = match entry {
                None => (Some(target), !field.has_oneof_index()),
                Some(entry) => (map_value(entry), false),
            };
            let Some(target) = target else { continue };
            if !counted {
                self.uncounted
                    .entry(name.clone())
                    .or_default()
                    .insert(target.clone());
            }
            self.all.entry(name.clone()).or_default().insert(target);
        }
        for nested in message
            .nested_type
            .iter()
            .filter(|n| !n.get_options().get_map_entry())
        {
            self.add(nested, &name);
        }
    }

    /// A type that comes back to itself through fields that are not counted.
    fn unbounded(&self) -> Option<&str> {
        let comes_back = |name: &&String| {
            let inside = self.uncounted[*name].iter();
            inside
                .into_iter()
                .any(|next| reach(&self.uncounted, next).contains(name.as_str()))
        };
        self.uncounted.keys().find(comes_back).map(String::as_str)
    }
}

/// The message type of a map's values, if they are messages.
fn map_value(entry: &DescriptorProto) -> Option<String> {
    let value = entry.field.iter().find(|field| field.get_number() == 2)?;
    (value.get_field_type() == Type::TYPE_MESSAGE)
        .then(|| value.get_type_name().trim_start_matches('.').to_owned())
}

/// Everything that can stand inside `from`, itself included.
fn reach<'a>(edges: &'a BTreeMap<String, BTreeSet<String>>, from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(here) = open.pop() {
        for next in edges.get(here).into_iter().flatten() {
            if reached.insert(next) {
                open.push(next);
            }
        }
    }
    reached
}

/// An RPC that carries one of protobuf's own recursive types.
fn rpc_with_value(set: &FileDescriptorSet) -> Option<String> {
    let nesting = Nesting::of(set);
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                for end in [method.get_input_type(), method.get_output_type()] {
                    let inside = reach(&nesting.all, end.trim_start_matches('.'));
                    let carried = inside.iter().find(|name| {
                        ["Struct", "Value", "ListValue", "Any"]
                            .iter()
                            .any(|own| **name == format!("google.protobuf.{own}"))
                    });
                    if let Some(carried) = carried {
                        return Some(format!("{} carries {carried}", method.get_name()));
                    }
                }
            }
        }
    }
    None
}

#[test]
fn no_cycle_escapes_the_limit() {
    let nesting = Nesting::of(&ours());
    // What is walked is there: BatchCommands alone has dozens of such fields, and some types of the
    // schema do contain themselves, by counted fields.
    assert!(nesting.uncounted["tikvpb.BatchCommandsRequest.Request"].len() > 30);
    let recursive = nesting.all.keys().any(|name| {
        let mut inside = nesting.all[name].iter();
        inside.any(|next| reach(&nesting.all, next).contains(name.as_str()))
    });
    assert!(recursive);
    assert_eq!(nesting.unbounded(), None);
}

#[test]
fn no_rpc_carries_protobufs_recursive_values() {
    let set = ours();
    assert!(
        set.file
            .iter()
            .map(|file| file.service.len())
            .sum::<usize>()
            > 30
    );
    assert_eq!(rpc_with_value(&set), None);
}

fn message_field(name: &str, type_name: &str) -> FieldDescriptorProto {
    let mut field = FieldDescriptorProto::new();
    field.set_name(name.to_owned());
    field.set_number(1000);
    field.set_field_type(Type::TYPE_MESSAGE);
    field.set_type_name(type_name.to_owned());
    field
}

#[test]
fn a_cycle_through_oneofs_is_found() {
    let mut set = ours();
    let mut back = message_field("again", ".tikvpb.BatchCommandsRequest.Request");
    message(&mut set, "kvrpcpb.GetRequest")
        .field
        .push(back.clone());
    assert_eq!(
        Nesting::of(&set).unbounded(),
        None,
        "a counted field bounds the depth"
    );

    let inside = message(&mut set, "kvrpcpb.GetRequest");
    inside.field.pop();
    inside.oneof_decl.push(OneofDescriptorProto::new());
    back.set_oneof_index(0);
    inside.field.push(back);
    assert_eq!(Nesting::of(&set).unbounded(), Some("kvrpcpb.GetRequest"));
}

#[test]
fn a_cycle_through_a_map_is_found() {
    let mut set = ours();
    let region = message(&mut set, "metapb.Region");
    let mut entry = DescriptorProto::new();
    entry.set_name("InsideEntry".to_owned());
    entry.mut_options().set_map_entry(true);
    let mut value = message_field("value", ".metapb.Region");
    value.set_number(2);
    entry.field.push(value);
    region.nested_type.push(entry);
    region
        .field
        .push(message_field("inside", ".metapb.Region.InsideEntry"));
    assert_eq!(Nesting::of(&set).unbounded(), Some("metapb.Region"));
}

#[test]
fn a_value_in_an_rpc_is_found() {
    let mut set = ours();
    let field = message_field("anything", ".google.protobuf.Struct");
    message(&mut set, "metapb.Region").field.push(field);
    assert!(rpc_with_value(&set).is_some());
}
