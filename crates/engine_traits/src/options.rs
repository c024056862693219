//! What a caller may ask of a read, an iteration or a write.

use crate::{Cf, Error, Result};

/// How a point read treats caches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadOptions {
    /// Keep the blocks that were read. Off for large scans that would evict everything else.
    pub fill_cache: bool,
    /// Fail with [`Error::NotCached`] instead of reading a file: for threads that must not block.
    /// Engines without files ignore it.
    ///
    /// [`Error::NotCached`]: crate::Error::NotCached
    pub only_cached: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            fill_cache: true,
            only_cached: false,
        }
    }
}

/// Bounds and limits of an iterator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IterOptions {
    /// Inclusive; `None` is the beginning of the column family.
    pub lower: Option<Vec<u8>>,
    /// Exclusive; `None` is the end of the column family. A bound not above `lower` makes the
    /// iterator empty.
    pub upper: Option<Vec<u8>>,
    /// Keep the blocks that were read.
    pub fill_cache: bool,
    /// Fail with [`Error::NotCached`] where a movement would have to read a file. Engines without files
    /// ignore it.
    ///
    /// [`Error::NotCached`]: crate::Error::NotCached
    pub only_cached: bool,
    /// The caller will not look at values; the engine may leave them out.
    pub key_only: bool,
    /// Fail with [`Error::TooManySkipped`] when one step passes more deleted or overwritten
    /// entries than this. 0 is no limit; engines without such entries ignore it.
    ///
    /// [`Error::TooManySkipped`]: crate::Error::TooManySkipped
    pub max_skipped_internal: u64,
    /// A seek finds only entries with the [prefix](crate::Cf::prefix) of the key sought, and the iterator ends
    /// where they do. Engines with filters then need not look where no such entry is, so it is the way to
    /// read the versions of one user key after the other.
    ///
    /// Such an iterator only seeks and steps forward; other movements are
    /// [`Error::InvalidArgument`], as is making one on a column family without prefixes. Entries with one
    /// prefix must stand together, which is so where no prefix is the beginning of another; else which of
    /// them are found is not determined.
    ///
    /// [`Error::InvalidArgument`]: crate::Error::InvalidArgument
    pub within_prefix: bool,
}

impl Default for IterOptions {
    fn default() -> Self {
        IterOptions {
            lower: None,
            upper: None,
            fill_cache: true,
            only_cached: false,
            key_only: false,
            max_skipped_internal: 0,
            within_prefix: false,
        }
    }
}

impl IterOptions {
    /// The default options within `[lower, upper)`.
    pub fn between(lower: impl Into<Vec<u8>>, upper: impl Into<Vec<u8>>) -> Self {
        IterOptions {
            lower: Some(lower.into()),
            upper: Some(upper.into()),
            ..Default::default()
        }
    }

    /// Refuses options that an iterator of `cf` cannot have: engines ask before they make one.
    pub fn check(&self, cf: Cf) -> Result<()> {
        if self.within_prefix && cf.prefix(&[]).is_none() {
            return Err(Error::InvalidArgument(format!(
                "the column family {cf} has no prefixes to stay within"
            )));
        }
        Ok(())
    }

    /// Refuses a movement that these options do not allow; engines ask before all but
    /// [`seek`](crate::EngineIterator::seek) and [`next`](crate::EngineIterator::next).
    pub fn check_free(within_prefix: bool) -> Result<()> {
        if within_prefix {
            return Err(Error::InvalidArgument(
                "an iterator within a prefix only seeks and steps forward".into(),
            ));
        }
        Ok(())
    }

    /// Whether no key at all can lie within the bounds.
    pub fn is_empty_range(&self) -> bool {
        match (&self.lower, &self.upper) {
            (Some(lower), Some(upper)) => lower >= upper,
            (None, Some(upper)) => upper.is_empty(),
            _ => false,
        }
    }
}

/// How durable a write is when [`KvEngine::write`] returns.
///
/// [`KvEngine::write`]: crate::KvEngine::write
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteOptions {
    /// Return only after the write-ahead log is on stable storage up to and including this write.
    pub sync: bool,
    /// Skip the write-ahead log: the write is lost in a crash unless its column families are
    /// flushed first. Excludes `sync`.
    pub disable_wal: bool,
}

impl WriteOptions {
    /// Durable when the call returns.
    pub const SYNCED: WriteOptions = WriteOptions {
        sync: true,
        disable_wal: false,
    };
}
