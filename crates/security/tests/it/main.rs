//! Certificates from a test authority, and real handshakes over real sockets.

#![expect(
    clippy::unwrap_used,
    reason = "tests may unwrap, also in what they share"
)]

mod authority;
mod echo;
mod files;
mod grpc;
mod http;
mod rotation;
