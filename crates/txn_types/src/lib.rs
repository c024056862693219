//! Crate root: the modules and what they export. It owns no state and must never decide whether a lock
//! blocks anybody: that is `mvcc`.
#![doc = include_str!("../README.md")]

mod error;
mod key;
mod last_change;
mod lock;
mod lock_value;
mod mutation;
mod timestamp;
mod write;

pub use error::{Error, Result};
pub use key::{Key, TS_LEN};
pub use last_change::LastChange;
pub use lock::{Lock, LockType};
pub use lock_value::{LockValue, SharedLocks};
pub use mutation::{Assertion, Mutation, MutationOp};
pub use timestamp::{TimeStamp, TsSet};
pub use write::{Protected, Write, WriteRef, WriteType};

/// Bytes of one value.
pub type Value = Vec<u8>;

/// Longest value that is kept inside a lock or write record; longer ones go to the default column
/// family. Both formats store the length in one byte.
pub const SHORT_VALUE_MAX_LEN: usize = 255;
const _: () = assert!(SHORT_VALUE_MAX_LEN == u8::MAX as usize);

/// Whether `value` is stored inside the lock and write records.
#[must_use]
pub fn is_short_value(value: &[u8]) -> bool {
    value.len() <= SHORT_VALUE_MAX_LEN
}
