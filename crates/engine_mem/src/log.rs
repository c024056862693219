//! The write-ahead log as far as a crash can tell: which batches would survive.
//!
//! The log keeps every batch since `base_seq`, the sequence up to which the contents are durable
//! as a whole. A crash yields the contents at `base_seq` plus, in order, what is durable of the
//! kept batches:
//!
//! 1. A batch that used the log is durable once the log was synced after it. Syncs cover prefixes,
//!    so durable logged batches come before all others.
//! 2. A batch that skipped the log is durable per column family, once that family was flushed.
//! 3. What is not durable may all the same have reached the disk: a torn tail keeps some first
//!    part of the logged batches that were not synced, always whole batches.
//!
//! When the oldest kept batch is wholly durable, `base_seq` moves past it.

use std::collections::VecDeque;
use std::sync::Arc;

use engine_traits::Cf;

use crate::batch::Op;

enum Durability {
    /// Logged; durable when the log is synced.
    Logged { synced: bool },
    /// Not logged; durable in the marked column families.
    Unlogged { flushed: [bool; Cf::ALL.len()] },
}

struct Record {
    seq: u64,
    ops: Arc<[Op]>,
    bytes: usize,
    durability: Durability,
}

impl Record {
    fn is_durable(&self, op: &Op) -> bool {
        match &self.durability {
            Durability::Logged { synced } => *synced,
            Durability::Unlogged { flushed } => flushed[op.cf().index()],
        }
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Log {
    base_seq: u64,
    records: VecDeque<Record>,
    bytes: usize,
    syncs: u64,
    logged_bytes: u64,
}

impl Log {
    pub(crate) fn base_seq(&self) -> u64 {
        self.base_seq
    }

    /// Bytes of the kept batches.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.syncs
    }

    pub(crate) fn logged_bytes(&self) -> u64 {
        self.logged_bytes
    }

    /// Logged batches that a crash may lose.
    pub(crate) fn unsynced(&self) -> usize {
        let lost =
            |record: &&Record| matches!(record.durability, Durability::Logged { synced: false });
        self.records.iter().filter(lost).count()
    }

    pub(crate) fn append(&mut self, seq: u64, ops: Arc<[Op]>, logged: bool) {
        let bytes = ops.iter().map(Op::byte_size).sum();
        let durability = if logged {
            self.logged_bytes += bytes as u64;
            Durability::Logged { synced: false }
        } else {
            Durability::Unlogged {
                flushed: [false; Cf::ALL.len()],
            }
        };
        self.bytes += bytes;
        self.records.push_back(Record {
            seq,
            ops,
            bytes,
            durability,
        });
    }

    pub(crate) fn sync(&mut self) {
        self.syncs += 1;
        for record in &mut self.records {
            if let Durability::Logged { synced } = &mut record.durability {
                *synced = true;
            }
        }
        self.advance();
    }

    /// A flush syncs the log first, or a batch could survive in one column family alone.
    pub(crate) fn flush(&mut self, cfs: &[Cf]) {
        for record in &mut self.records {
            match &mut record.durability {
                Durability::Logged { synced } => *synced = true,
                Durability::Unlogged { flushed } => {
                    for cf in cfs {
                        flushed[cf.index()] = true;
                    }
                }
            }
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(record) = self.records.front()
            && record.ops.iter().all(|op| record.is_durable(op))
        {
            self.base_seq = record.seq;
            self.bytes -= record.bytes;
            self.records.pop_front();
        }
    }

    /// The operations on top of `base_seq` that survive, when the first `tail` logged batches
    /// that were not synced happen to have reached the disk.
    pub(crate) fn surviving(&self, mut tail: usize) -> Vec<Vec<Op>> {
        let mut batches = Vec::new();
        for record in &self.records {
            let lucky = match record.durability {
                Durability::Logged { synced: false } if tail > 0 => {
                    tail -= 1;
                    true
                }
                _ => false,
            };
            let survives = |op: &&Op| lucky || record.is_durable(op);
            batches.push(record.ops.iter().filter(survives).cloned().collect());
        }
        batches
    }
}
