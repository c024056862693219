//! Our schema is that of the facts, and the comparison notices when it is not.

use std::fs;
use std::path::Path;

use protobuf::descriptor::{
    EnumDescriptorProto, FieldDescriptorProto, FieldDescriptorProto_Label as Label,
    FieldDescriptorProto_Type as Type, FileDescriptorProto, FileDescriptorSet,
};

use crate::difference::{Class, Difference, differences};
use crate::schema::Schema;
use crate::{message, ours};

fn facts() -> Schema {
    let mut facts = Schema::default();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/facts")).unwrap() {
        facts.read_facts(&fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    facts
}

fn compared(set: &FileDescriptorSet) -> Vec<Difference> {
    differences(&facts(), &Schema::of(&set.file))
}

#[test]
fn no_difference_over_all_packages() {
    let facts = facts();
    assert_eq!(facts.packages.len(), 43);
    assert!(facts.messages.len() > 1_000 && facts.services.len() > 30);
    let rpcs: usize = facts.services.values().map(|rpcs| rpcs.len()).sum();
    assert!(rpcs > 280, "{rpcs}");

    let ours = Schema::of(&ours().file);
    assert_eq!(ours.packages, facts.packages);
    let found = differences(&facts, &ours);
    let lines: Vec<String> = found
        .iter()
        .map(|(class, line)| format!("{class:?} {line}"))
        .collect();
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        lines.join("\n")
    );
}

/// `raft`'s types are what is sent; our `eraftpb.proto` only stands for them in imports.
#[test]
fn the_raft_crates_messages_are_those_of_our_schema() {
    let mut facts_of_raft = Schema::default();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/facts/eraftpb.tsv");
    facts_of_raft.read_facts(&fs::read_to_string(path).unwrap());

    let file = kvproto::eraftpb::file_descriptor_proto();
    let found = differences(&facts_of_raft, &Schema::of([file]));
    assert!(found.is_empty(), "{found:?}");
}

fn field<'a>(set: &'a mut FileDescriptorSet, of: &str, name: &str) -> &'a mut FieldDescriptorProto {
    message(set, of)
        .field
        .iter_mut()
        .find(|field| field.get_name() == name)
        .unwrap()
}

fn file<'a>(set: &'a mut FileDescriptorSet, package: &str) -> &'a mut FileDescriptorProto {
    set.file
        .iter_mut()
        .find(|file| file.get_package() == package)
        .unwrap()
}

fn enumeration<'a>(
    set: &'a mut FileDescriptorSet,
    package: &str,
    name: &str,
) -> &'a mut EnumDescriptorProto {
    file(set, package)
        .enum_type
        .iter_mut()
        .find(|found| found.get_name() == name)
        .unwrap()
}

/// What is done to a set, and a word of the difference that must then be found.
struct Damage {
    act: fn(&mut FileDescriptorSet),
    class: Class,
    word: &'static str,
}

const fn damage(class: Class, word: &'static str, act: fn(&mut FileDescriptorSet)) -> Damage {
    Damage { act, class, word }
}

const DAMAGES: &[Damage] = &[
    damage(Class::Wire, "LockInfo.txn_size = 5 is missing", |set| {
        let fields = &mut message(set, "kvrpcpb.LockInfo").field;
        let at = fields
            .iter()
            .position(|field| field.get_name() == "txn_size")
            .unwrap();
        fields.remove(at);
    }),
    damage(Class::Wire, "GetRequest.version = 3 is missing", |set| {
        field(set, "kvrpcpb.GetRequest", "version").set_number(99);
    }),
    damage(Class::Name, "is called ver", |set| {
        field(set, "kvrpcpb.GetRequest", "version").set_name("ver".to_owned());
    }),
    damage(Class::Wire, "type of kvrpcpb.GetRequest.version", |set| {
        field(set, "kvrpcpb.GetRequest", "version").set_field_type(Type::TYPE_SINT64);
    }),
    damage(Class::Wire, "type of kvrpcpb.GetResponse.error", |set| {
        field(set, "kvrpcpb.GetResponse", "error").set_type_name(".errorpb.Error".to_owned());
    }),
    damage(
        Class::Wire,
        "label of kvrpcpb.PrewriteRequest.mutations",
        |set| {
            field(set, "kvrpcpb.PrewriteRequest", "mutations").set_label(Label::LABEL_OPTIONAL);
        },
    ),
    damage(
        Class::Wire,
        "attributes of errorpb.DiskFull.store_id",
        |set| {
            field(set, "errorpb.DiskFull", "store_id")
                .mut_options()
                .set_packed(false);
        },
    ),
    damage(
        Class::Wire,
        "attributes of tikvpb.BatchCommandsRequest.Request.Get",
        |set| {
            field(set, "tikvpb.BatchCommandsRequest.Request", "Get").clear_oneof_index();
        },
    ),
    damage(Class::Wire, "of kvrpcpb.LockInfo.txn_size", |set| {
        field(set, "kvrpcpb.LockInfo", "txn_size").set_proto3_optional(true);
    }),
    damage(
        Class::Wire,
        "type of keyspacepb.KeyspaceMeta.config",
        |set| {
            let keyspace = message(set, "keyspacepb.KeyspaceMeta");
            keyspace.nested_type[0].field[1].set_field_type(Type::TYPE_BYTES);
        },
    ),
    damage(
        Class::Wire,
        "message metapb.RegionEpoch is missing",
        |set| {
            file(set, "metapb")
                .message_type
                .retain(|m| m.get_name() != "RegionEpoch");
        },
    ),
    damage(
        Class::Wire,
        "metapb.NodeState.Removed = 3 is missing",
        |set| {
            enumeration(set, "metapb", "NodeState")
                .value
                .retain(|v| v.get_name() != "Removed");
        },
    ),
    damage(Class::Wire, "kvrpcpb.Op.Rollback = 3, ours 77", |set| {
        let values = &mut enumeration(set, "kvrpcpb", "Op").value;
        values
            .iter_mut()
            .find(|v| v.get_name() == "Rollback")
            .unwrap()
            .set_number(77);
    }),
    damage(Class::Name, "kvrpcpb.Op.Rollback is called RB", |set| {
        let values = &mut enumeration(set, "kvrpcpb", "Op").value;
        values
            .iter_mut()
            .find(|v| v.get_name() == "Rollback")
            .unwrap()
            .set_name("RB".to_owned());
    }),
    damage(Class::Wire, "the default of kvrpcpb.Op is another", |set| {
        enumeration(set, "kvrpcpb", "Op").value.swap(0, 1);
    }),
    damage(Class::Wire, "enum kvrpcpb.Op is missing", |set| {
        file(set, "kvrpcpb")
            .enum_type
            .retain(|found| found.get_name() != "Op");
    }),
    damage(
        Class::Wire,
        "is open in one and closed in the other",
        |set| {
            file(set, "kvrpcpb").set_syntax("proto2".to_owned());
        },
    ),
    damage(Class::Wire, "rpc /tikvpb.Tikv/KvGet is missing", |set| {
        file(set, "tikvpb").service[0]
            .method
            .retain(|method| method.get_name() != "KvGet");
    }),
    damage(Class::Wire, "rpc /pdpb.PD/Tso", |set| {
        let methods = &mut file(set, "pdpb").service[0].method;
        methods
            .iter_mut()
            .find(|m| m.get_name() == "Tso")
            .unwrap()
            .set_client_streaming(false);
    }),
    damage(Class::Wire, "service tsopb.TSO is missing", |set| {
        file(set, "tsopb").service.clear();
    }),
    damage(Class::Wire, "message metapb.Region is missing", |set| {
        file(set, "metapb").set_package("meta".to_owned());
    }),
    damage(Class::Extra, "invented = 1999", |set| {
        let mut invented = FieldDescriptorProto::new();
        invented.set_name("invented".to_owned());
        invented.set_number(1999);
        invented.set_field_type(Type::TYPE_BOOL);
        message(set, "metapb.Region").field.push(invented);
    }),
];

#[test]
fn every_damage_is_found() {
    for damage in DAMAGES {
        let mut set = ours();
        (damage.act)(&mut set);
        let found = compared(&set);
        let seen = found
            .iter()
            .any(|(class, line)| *class == damage.class && line.contains(damage.word));
        assert!(
            seen,
            "{:?} `{}` not in {found:#?}",
            damage.class, damage.word
        );
    }
}
