//! The formats of API V1, V1TTL and V2.
