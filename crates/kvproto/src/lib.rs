//! Crate root: the generated messages and services, by package. It must never give a word of the wire a
//! meaning; that is the part of whoever sends or serves it.
#![doc = include_str!("../README.md")]

pub mod bounded;

pub use raft::eraftpb;

/// Every schema file of `proto/`, encoded as a `google.protobuf.FileDescriptorSet`.
///
/// `eraftpb.proto` is in it too, although its Rust types are [`eraftpb`].
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));

#[allow(warnings, clippy::all, clippy::restriction, clippy::pedantic)]
mod generated {
    use raft::eraftpb;

    include!(concat!(env!("OUT_DIR"), "/modules.rs"));
}

pub use generated::*;
