//! Real processes, real gRPC, the real client.
