//! The node: configuration, start-up, gRPC and status server, shutdown.
