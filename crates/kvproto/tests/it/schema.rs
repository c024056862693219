//! A schema as plain data, from descriptors or from facts: what the wire and the users of the
//! generated code depend on, and nothing of file names, comments, imports or code generators.
//!
//! A line of facts begins with its kind, and its columns are separated by tabs; names of messages,
//! enums and services are relative to the package of the last `F`.
//!
//! | line | columns |
//! |---|---|
//! | `F` | file, syntax, package |
//! | `M` | message |
//! | `f` | number, name, label, type, attributes |
//! | `E` | enum |
//! | `v` | number, name |
//! | `S` | service |
//! | `c` | rpc, `unary` or `stream`, request, `unary` or `stream`, response |
//! | `I`, `r`, `x` | imports, reserved and extension ranges: not on the wire |

use std::collections::{BTreeMap, BTreeSet};

use protobuf::descriptor::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto,
    FieldDescriptorProto_Label as Label, FieldDescriptorProto_Type as Type, FileDescriptorProto,
    ServiceDescriptorProto,
};

/// Everything by full name.
#[derive(Default)]
pub(crate) struct Schema {
    pub(crate) packages: BTreeSet<String>,
    pub(crate) messages: BTreeMap<String, BTreeMap<i32, Field>>,
    pub(crate) enums: BTreeMap<String, Enum>,
    pub(crate) services: BTreeMap<String, BTreeMap<String, Rpc>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// `single` (no presence), `optional`, `required`, `repeated` or `map`.
    pub(crate) label: String,
    /// A scalar, a message, `enum <name>`, or `map<key,value>` of such.
    pub(crate) kind: String,
    /// `oneof=…`, `presence`, `packed`, `unpacked`, `default=…`.
    pub(crate) attributes: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Enum {
    pub(crate) open: bool,
    /// In order: the first is the default.
    pub(crate) values: Vec<(i32, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rpc {
    pub(crate) request: String,
    pub(crate) request_stream: bool,
    pub(crate) response: String,
    pub(crate) response_stream: bool,
}

impl Schema {
    /// The schema of descriptors, without the packages of protobuf itself.
    pub(crate) fn of<'a>(files: impl IntoIterator<Item = &'a FileDescriptorProto>) -> Schema {
        let mut schema = Schema::default();
        for file in files {
            let package = file.get_package();
            if package.starts_with("google.") {
                continue;
            }
            let proto3 = file.get_syntax() == "proto3";
            schema.packages.insert(package.to_owned());
            for message in file.get_message_type() {
                schema.add_message(message, package, proto3);
            }
            for found in file.get_enum_type() {
                schema.add_enum(found, package, proto3);
            }
            for service in file.get_service() {
                schema.add_service(service, package);
            }
        }
        schema
    }

    fn add_message(&mut self, message: &DescriptorProto, scope: &str, proto3: bool) {
        let name = format!("{scope}.{}", message.get_name());
        let fields = message
            .get_field()
            .iter()
            .map(|field| (field.get_number(), Field::of(field, message, &name, proto3)))
            .collect();
        for found in message.get_enum_type() {
            self.add_enum(found, &name, proto3);
        }
        for nested in message.get_nested_type() {
            if !nested.get_options().get_map_entry() {
                self.add_message(nested, &name, proto3);
            }
        }
        self.messages.insert(name, fields);
    }

    fn add_enum(&mut self, found: &EnumDescriptorProto, scope: &str, proto3: bool) {
        let values = found
            .get_value()
            .iter()
            .map(|value| (value.get_number(), value.get_name().to_owned()))
            .collect();
        self.enums.insert(
            format!("{scope}.{}", found.get_name()),
            Enum {
                open: proto3,
                values,
            },
        );
    }

    fn add_service(&mut self, service: &ServiceDescriptorProto, scope: &str) {
        let rpcs = service.get_method().iter().map(|method| {
            let rpc = Rpc {
                request: full_name(method.get_input_type()),
                request_stream: method.get_client_streaming(),
                response: full_name(method.get_output_type()),
                response_stream: method.get_server_streaming(),
            };
            (method.get_name().to_owned(), rpc)
        });
        self.services
            .insert(format!("{scope}.{}", service.get_name()), rpcs.collect());
    }

    /// Reads the facts in `text` into this schema.
    pub(crate) fn read_facts(&mut self, text: &str) {
        let (mut package, mut proto3) = (String::new(), true);
        let mut last = String::new();
        for line in text.lines() {
            let columns: Vec<&str> = line.split('\t').collect();
            match columns[..] {
                ["F", _, syntax, name] => {
                    (package, proto3) = (name.to_owned(), syntax == "proto3");
                    self.packages.insert(package.clone());
                }
                ["M", name, ..] => {
                    last = format!("{package}.{name}");
                    self.messages.insert(last.clone(), BTreeMap::new());
                }
                ["f", number, name, label, kind, ref rest @ ..] => {
                    let attributes = rest.first().into_iter().flat_map(|rest| rest.split(','));
                    let field = Field {
                        name: name.to_owned(),
                        label: label.to_owned(),
                        kind: kind.to_owned(),
                        attributes: attributes
                            .filter(|name| !name.starts_with("json=") && *name != "deprecated")
                            .map(str::to_owned)
                            .collect(),
                    };
                    self.messages
                        .get_mut(&last)
                        .unwrap()
                        .insert(number.parse().unwrap(), field);
                }
                ["E", name, ..] => {
                    last = format!("{package}.{name}");
                    self.enums.insert(
                        last.clone(),
                        Enum {
                            open: proto3,
                            values: vec![],
                        },
                    );
                }
                ["v", number, name, ..] => {
                    let value = (number.parse().unwrap(), name.to_owned());
                    self.enums.get_mut(&last).unwrap().values.push(value);
                }
                ["S", name, ..] => {
                    last = format!("{package}.{name}");
                    self.services.insert(last.clone(), BTreeMap::new());
                }
                ["c", name, from, request, to, response, ..] => {
                    let rpc = Rpc {
                        request: request.to_owned(),
                        request_stream: from == "stream",
                        response: response.to_owned(),
                        response_stream: to == "stream",
                    };
                    self.services
                        .get_mut(&last)
                        .unwrap()
                        .insert(name.to_owned(), rpc);
                }
                ["I" | "r" | "x", ..] => {}
                _ => panic!("no fact: {line}"),
            }
        }
    }
}

impl Field {
    fn of(
        field: &FieldDescriptorProto,
        message: &DescriptorProto,
        message_name: &str,
        proto3: bool,
    ) -> Field {
        let mut attributes = BTreeSet::new();
        let mut kind = kind_of(field);
        let mut label = match field.get_label() {
            Label::LABEL_OPTIONAL => "optional",
            Label::LABEL_REQUIRED => "required",
            Label::LABEL_REPEATED => "repeated",
        };
        let entry = message.get_nested_type().iter().find(|nested| {
            nested.get_options().get_map_entry()
                && field.get_field_type() == Type::TYPE_MESSAGE
                && full_name(field.get_type_name())
                    == format!("{message_name}.{}", nested.get_name())
        });
        if let Some(entry) = entry {
            label = "map";
            let [key, value] = entry.get_field() else {
                panic!("a map entry has two fields")
            };
            kind = format!("map<{},{}>", kind_of(key), kind_of(value));
        } else if label == "repeated" && can_be_packed(field.get_field_type()) {
            let options = field.get_options();
            let packed = if options.has_packed() {
                options.get_packed()
            } else {
                proto3
            };
            attributes.insert(if packed { "packed" } else { "unpacked" }.to_owned());
        }
        if field.get_proto3_optional() {
            attributes.insert("presence".to_owned());
        } else if field.has_oneof_index() {
            let index = usize::try_from(field.get_oneof_index()).unwrap();
            attributes.insert(format!(
                "oneof={}",
                message.get_oneof_decl()[index].get_name()
            ));
        }
        let has_presence =
            field.get_field_type() == Type::TYPE_MESSAGE || field.get_proto3_optional();
        if label == "optional" && proto3 && !has_presence {
            label = "single";
        }
        if field.has_default_value() {
            attributes.insert(format!("default={}", field.get_default_value()));
        }
        Field {
            name: field.get_name().to_owned(),
            label: label.to_owned(),
            kind,
            attributes,
        }
    }
}

fn full_name(type_name: &str) -> String {
    type_name.trim_start_matches('.').to_owned()
}

fn can_be_packed(kind: Type) -> bool {
    !matches!(
        kind,
        Type::TYPE_STRING | Type::TYPE_BYTES | Type::TYPE_MESSAGE | Type::TYPE_GROUP
    )
}

fn kind_of(field: &FieldDescriptorProto) -> String {
    let scalar = match field.get_field_type() {
        Type::TYPE_DOUBLE => "double",
        Type::TYPE_FLOAT => "float",
        Type::TYPE_INT64 => "int64",
        Type::TYPE_UINT64 => "uint64",
        Type::TYPE_INT32 => "int32",
        Type::TYPE_FIXED64 => "fixed64",
        Type::TYPE_FIXED32 => "fixed32",
        Type::TYPE_BOOL => "bool",
        Type::TYPE_STRING => "string",
        Type::TYPE_BYTES => "bytes",
        Type::TYPE_UINT32 => "uint32",
        Type::TYPE_SFIXED32 => "sfixed32",
        Type::TYPE_SFIXED64 => "sfixed64",
        Type::TYPE_SINT32 => "sint32",
        Type::TYPE_SINT64 => "sint64",
        Type::TYPE_MESSAGE => return full_name(field.get_type_name()),
        Type::TYPE_ENUM => return format!("enum {}", full_name(field.get_type_name())),
        Type::TYPE_GROUP => return format!("group {}", full_name(field.get_type_name())),
    };
    scalar.to_owned()
}
