//! The service over a real gRPC server and client, on an engine in memory.

mod bad_input;
mod coverage;
mod fixture;
mod health;
mod raw;
mod txn;
