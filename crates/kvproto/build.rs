//! Compiles `proto/*.proto` into Rust messages and gRPC stubs under `OUT_DIR`.
//!
//! No `protoc` is needed: `protox` parses, `protobuf-codegen` writes the messages and
//! `grpcio-compiler` the service traits and clients. The set of descriptors is kept beside them
//! for the tests that compare the schema with the facts, and for whoever wants reflection.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use protobuf::Message as _;
use protobuf::descriptor::FileDescriptorSet;
use protobuf_codegen::Customize;

/// Parsed because others import it, but never generated: its Rust types come from the `raft` crate.
const TYPES_FROM_RAFT: &str = "eraftpb.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let proto_dir = Path::new("proto");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", proto_dir.display());
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);

    let mut files = Vec::new();
    for entry in fs::read_dir(proto_dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "proto") {
            files.push(path);
        }
    }
    files.sort();

    let mut compiler = protox::Compiler::new([proto_dir])?;
    compiler.include_imports(true).open_files(&files)?;
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(out_dir.join("descriptor_set.bin"), &encoded)?;

    let set = FileDescriptorSet::parse_from_bytes(&encoded)?;
    let names: Vec<String> = set
        .file
        .iter()
        .map(|file| file.get_name().to_owned())
        .filter(|name| name != TYPES_FROM_RAFT)
        .collect();

    let messages = protobuf_codegen::r#gen(&set.file, &names, &Customize::default());
    let services: BTreeMap<String, Vec<u8>> = grpcio_compiler::codegen::r#gen(&set.file, &names)
        .into_iter()
        .map(|file| (file.name.replace("_grpc.rs", ".rs"), file.content))
        .collect();

    let mut modules = String::new();
    for file in messages {
        let mut content = file.content;
        if let Some(service) = services.get(&file.name) {
            content.extend_from_slice(b"\n");
            let service = with_bounded_requests(&without_inner_attributes(service)?)?;
            content.extend_from_slice(service.as_bytes());
        }
        let path = out_dir.join(&file.name);
        fs::write(&path, &content)?;
        let stem = file.name.trim_end_matches(".rs");
        writeln!(modules, "#[path = {path:?}]\npub mod {stem};")?;
    }
    fs::write(out_dir.join("modules.rs"), modules)?;
    Ok(())
}

/// The generated services, ready to follow the messages in the same module: inner attributes may
/// only stand at a file's head, where those of the messages already are.
fn without_inner_attributes(generated: &[u8]) -> Result<String, std::str::Utf8Error> {
    let mut text = String::new();
    for line in std::str::from_utf8(generated)?.lines() {
        if !line.starts_with("#![") {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// The generated services with requests that are decoded by `bounded`, which looks before it allocates. What a client
/// decodes are answers of servers that it trusts.
fn with_bounded_requests(generated: &str) -> Result<String, Box<dyn Error>> {
    const REQUEST: &str =
        "req_mar: ::grpcio::Marshaller { ser: ::grpcio::pb_ser, de: ::grpcio::pb_de }";
    const BOUNDED: &str =
        "req_mar: ::grpcio::Marshaller { ser: ::grpcio::pb_ser, de: crate::bounded::decode }";
    let methods = generated.matches("req_mar:").count();
    if generated.matches(REQUEST).count() != methods {
        return Err("grpcio-compiler writes its methods in another form".into());
    }
    Ok(generated.replace(REQUEST, BOUNDED))
}
