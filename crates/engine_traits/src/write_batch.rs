//! A batch of writes that is applied as one.

use crate::{Cf, Result};

/// Writes collected in order; a later one wins over an earlier one of the same key.
///
/// A batch belongs to nobody until [`KvEngine::write`](crate::KvEngine::write) takes it.
pub trait WriteBatch: Send + Sized + 'static {
    /// Sets `key` to `value`.
    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]);

    /// Removes `key`, which need not exist.
    fn delete(&mut self, cf: Cf, key: &[u8]);

    /// Removes every key of `[start, end)` that exists when the batch is applied or was put
    /// earlier in it. Nothing when `end` is not above `start`.
    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]);

    /// Whether there is nothing to apply.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of operations.
    fn len(&self) -> usize;

    /// Bytes that the batch takes, roughly what it adds to the write-ahead log.
    fn byte_size(&self) -> usize;

    /// Forgets all operations and save points.
    fn clear(&mut self);

    /// Adds the operations of `other` after those that are here. Save points of `other` are
    /// dropped, those here stay.
    fn append(&mut self, other: Self);

    /// Remembers the present contents, on top of earlier save points.
    fn set_save_point(&mut self);

    /// Forgets what came after the last save point, and the save point with it. Fails when there
    /// is none.
    fn rollback_to_save_point(&mut self) -> Result<()>;

    /// Forgets the last save point and keeps what came after it. Fails when there is none.
    fn pop_save_point(&mut self) -> Result<()>;
}
