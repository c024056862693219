//! The placement driver as a process sees it: real gRPC on loopback, metadata on a crashable engine.

mod client;
mod rpc;
mod streams;
mod world;
