//! Locks that are on their way to the engine, as reads see them.
//!
//! The order in every read is: raise `max_ts`, look here, take the snapshot. A transaction that chooses its commit
//! timestamp after the first step chooses above the read; one that chose before is found here, or, when it has left,
//! in the snapshot.
//! Must never: be asked before `max_ts` is raised, or after the snapshot is taken.

use api_version::KvFormat;
use concurrency_manager::MemoryLock;
use kv::Engine;
use kvproto::kvrpcpb::Context;
use lock_manager::LockManager;
use mvcc::{IsolationLevel, ReplicaRead, check_lock_conflict};
use txn_types::{Key, TimeStamp, TsSet};

use crate::{Result, Storage};

/// What of a read decides whether a lock is in its way.
struct Judge {
    ts: TimeStamp,
    isolation: IsolationLevel,
    bypass: TsSet,
    replica_read: ReplicaRead,
}

impl Judge {
    /// Nothing when the read looks at no locks.
    fn new(ctx: &Context, ts: TimeStamp) -> Option<Self> {
        let isolation = IsolationLevel::from(ctx.get_isolation_level());
        (isolation != IsolationLevel::Rc).then(|| Self {
            ts,
            isolation,
            bypass: TsSet::from_u64s(ctx.get_resolved_locks()),
            replica_read: if ctx.get_replica_read() {
                ReplicaRead::Yes
            } else {
                ReplicaRead::No
            },
        })
    }

    fn check(&self, key: &Key, found: &MemoryLock) -> mvcc::Result<()> {
        // A one-phase commit is done with its write, so a read of the latest version cannot look past it even on the
        // primary key; nor can a read of a replica past any lock.
        let replica_read = if found.one_pc {
            ReplicaRead::Yes
        } else {
            self.replica_read
        };
        check_lock_conflict(
            &found.lock,
            key,
            self.ts,
            self.isolation,
            &self.bypass,
            replica_read,
        )
    }
}

impl<E: Engine, L: LockManager, F: KvFormat> Storage<E, L, F> {
    /// Fails when a lock on its way to the engine is in the way of a read of `keys`.
    pub(crate) fn check_memory_locks(
        &self,
        ctx: &Context,
        ts: TimeStamp,
        keys: &[Key],
    ) -> Result<()> {
        if self.concurrency_manager.locks_under_way() == 0 {
            return Ok(());
        }
        let Some(judge) = Judge::new(ctx, ts) else {
            return Ok(());
        };
        for key in keys {
            self.concurrency_manager
                .check_key(key, |found| judge.check(key, found))?;
        }
        Ok(())
    }

    /// Fails when a lock on its way to the engine is in the way of a read of a range.
    pub(crate) fn check_memory_lock_range(
        &self,
        ctx: &Context,
        ts: TimeStamp,
        (lower, upper): (Option<&Key>, Option<&Key>),
    ) -> Result<()> {
        let Some(judge) = Judge::new(ctx, ts) else {
            return Ok(());
        };
        let check = |key: &Key, found: &MemoryLock| judge.check(key, found);
        Ok(self.concurrency_manager.check_range(lower, upper, check)?)
    }

    /// Fails when a lock on its way to the engine, of whatever type, belongs to a transaction that started at or before
    /// `max_version`: whoever collects locks must not miss it.
    pub(crate) fn check_no_memory_locks(
        &self,
        max_version: TimeStamp,
        (lower, upper): (Option<&Key>, Option<&Key>),
    ) -> Result<()> {
        let check = |key: &Key, found: &MemoryLock| {
            if found.lock.ts > max_version {
                return Ok(());
            }
            let lock = found.lock.clone();
            Err(crate::txn::actions::key_is_locked(lock, key))
        };
        Ok(self.concurrency_manager.check_range(lower, upper, check)?)
    }
}
