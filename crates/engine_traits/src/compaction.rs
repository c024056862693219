//! What compactions may do to the entries that they rewrite.
//!
//! A filter is how data leaves an engine without anybody deleting it: what has expired, what nobody
//! can read any more. It acts below snapshots: a reader that began before may lose sight of what a
//! filter removes, so a filter may only touch what that reader would not show either.

use std::sync::Arc;

/// What becomes of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It stays as it is.
    Keep,
    /// It goes.
    Remove,
    /// Its value is replaced.
    Replace(&'static [u8]),
}

/// Judges the entries of one compaction, given in key order: only the newest value of a key, and not
/// necessarily all keys of the range that is compacted. It runs on a thread of the engine and must not
/// panic.
pub type CompactionFilter = Box<dyn FnMut(&[u8], &[u8]) -> Verdict + Send>;

/// Makes a filter for each compaction.
pub type CompactionFilterFactory = Arc<dyn Fn() -> CompactionFilter + Send + Sync>;
