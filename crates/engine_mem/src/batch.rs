//! The write batch of this engine: a list of operations with save points.

use std::sync::Arc;

use engine_traits::{Cf, Error, Result, WriteBatch};

use crate::versions::Bytes;

/// What an operation costs besides its keys and values, as a log would store it.
const OP_OVERHEAD: usize = 8;

/// One operation of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Put(Cf, Bytes, Bytes),
    Delete(Cf, Bytes),
    DeleteRange(Cf, Bytes, Bytes),
}

impl Op {
    pub(crate) fn cf(&self) -> Cf {
        match self {
            Op::Put(cf, ..) | Op::Delete(cf, _) | Op::DeleteRange(cf, ..) => *cf,
        }
    }

    pub(crate) fn byte_size(&self) -> usize {
        OP_OVERHEAD
            + match self {
                Op::Put(_, first, second) | Op::DeleteRange(_, first, second) => {
                    first.len() + second.len()
                }
                Op::Delete(_, key) => key.len(),
            }
    }
}

/// A batch for a [`MemEngine`](crate::MemEngine).
#[derive(Clone, Debug, Default)]
pub struct MemWriteBatch {
    pub(crate) ops: Vec<Op>,
    bytes: usize,
    /// Length and bytes at each save point.
    save_points: Vec<(usize, usize)>,
}

impl MemWriteBatch {
    fn push(&mut self, op: Op) {
        self.bytes += op.byte_size();
        self.ops.push(op);
    }

    fn take_save_point(&mut self) -> Result<(usize, usize)> {
        self.save_points
            .pop()
            .ok_or_else(|| Error::InvalidArgument("the batch has no save point".into()))
    }
}

impl WriteBatch for MemWriteBatch {
    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        self.push(Op::Put(cf, Arc::from(key), Arc::from(value)));
    }

    fn delete(&mut self, cf: Cf, key: &[u8]) {
        self.push(Op::Delete(cf, Arc::from(key)));
    }

    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]) {
        if start < end {
            self.push(Op::DeleteRange(cf, Arc::from(start), Arc::from(end)));
        }
    }

    fn len(&self) -> usize {
        self.ops.len()
    }

    fn byte_size(&self) -> usize {
        self.bytes
    }

    fn clear(&mut self) {
        self.ops.clear();
        self.save_points.clear();
        self.bytes = 0;
    }

    fn append(&mut self, mut other: Self) {
        self.ops.append(&mut other.ops);
        self.bytes += other.bytes;
    }

    fn set_save_point(&mut self) {
        self.save_points.push((self.ops.len(), self.bytes));
    }

    fn rollback_to_save_point(&mut self) -> Result<()> {
        let (len, bytes) = self.take_save_point()?;
        self.ops.truncate(len);
        self.bytes = bytes;
        Ok(())
    }

    fn pop_save_point(&mut self) -> Result<()> {
        self.take_save_point().map(drop)
    }
}
