//! The bytes of the formats facts, and the round trips of everything that can be written.

mod key_vectors;
mod lock_vectors;
mod properties;
mod write_vectors;
