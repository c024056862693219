//! Who finds a lock in the way, or left behind, finishes it if its owner is done with it or dead.
//! Must never: end a transaction that is alive.

use engine_traits::KvEngine;
use kvproto::kvrpcpb::{self, LockInfo};
use mvcc::Error as MvccError;
use storage::{
    CheckSecondaryLocks, CheckTxnStatus, Error, PessimisticRollback, ResolveLock,
    SecondaryLocksStatus, TxnStatus,
};
use txn_types::TimeStamp;

use super::client::Clients;
use crate::driver::tracker;

/// What became of a lock that was in the way.
pub(super) enum Resolved {
    Gone,
    /// Its transaction cannot be committed where the reader would see it.
    CommitsLater,
    Alive,
}

impl<K: KvEngine> Clients<'_, K> {
    /// Finds out what became of the owner of a lock, and finishes the lock if that is decided.
    pub(super) async fn resolve(&self, lock: &LockInfo, caller: u64) -> Resolved {
        let start = lock.get_lock_version();
        let pessimistic = lock.get_lock_type() == kvrpcpb::Op::PessimisticLock;
        let mut force_sync = false;
        loop {
            let status = match self
                .check_status(lock, caller, pessimistic, force_sync)
                .await
            {
                Ok(status) => status,
                // Its primary is not there yet, and its time is not over.
                Err(Error::Mvcc(MvccError::TxnNotFound { .. })) => return Resolved::Alive,
                // Somebody else's lock on the primary that the owner would have had.
                Err(error) => panic!("check of {lock:?}: {error}"),
            };
            let commit = match status {
                TxnStatus::Committed { commit_ts } => commit_ts.into_inner(),
                TxnStatus::RolledBack | TxnStatus::TtlExpire | TxnStatus::LockNotExist => 0,
                TxnStatus::PessimisticRollBack | TxnStatus::LockNotExistDoNothing => {
                    self.drop_pessimistic(lock).await;
                    return Resolved::Gone;
                }
                TxnStatus::Uncommitted { lock: primary, .. }
                    if primary.use_async_commit && self.is_expired(start, primary.ttl) =>
                {
                    match self.by_secondaries(&primary).await {
                        Some(commit) => commit,
                        None => {
                            force_sync = true;
                            continue;
                        }
                    }
                }
                TxnStatus::Uncommitted {
                    min_commit_ts_pushed: true,
                    ..
                } if caller > 0 => return Resolved::CommitsLater,
                TxnStatus::Uncommitted { .. } => return Resolved::Alive,
            };
            if pessimistic {
                self.drop_pessimistic(lock).await;
            } else {
                self.resolve_key(lock, commit).await;
            }
            return Resolved::Gone;
        }
    }

    async fn check_status(
        &self,
        lock: &LockInfo,
        caller: u64,
        pessimistic: bool,
        force_sync: bool,
    ) -> Result<TxnStatus, Error> {
        let mut req = kvrpcpb::CheckTxnStatusRequest::default();
        req.set_context(self.world.context());
        req.set_primary_key(lock.get_primary_lock().to_vec());
        req.set_lock_ts(lock.get_lock_version());
        req.set_caller_start_ts(caller);
        req.set_current_ts(self.ts());
        let expired = self.is_expired(lock.get_lock_version(), lock.get_lock_ttl());
        req.set_rollback_if_not_exist(expired);
        req.set_force_sync_commit(force_sync);
        req.set_resolving_pessimistic_lock(pessimistic);
        req.set_verify_is_primary(true);
        let command = CheckTxnStatus::try_from(req).unwrap();
        self.world
            .storage
            .sched_txn_command(command, tracker())
            .await
    }

    /// Where an async commit is, by its secondary locks; `None` when it has become one of two phases.
    async fn by_secondaries(&self, primary: &txn_types::Lock) -> Option<u64> {
        let mut commit = primary.min_commit_ts.into_inner();
        if primary.secondaries.is_empty() {
            return Some(commit);
        }
        let mut req = kvrpcpb::CheckSecondaryLocksRequest::default();
        req.set_context(self.world.context());
        req.set_start_version(primary.ts.into_inner());
        req.set_keys(primary.secondaries.clone().into());
        let command = CheckSecondaryLocks::try_from(req).unwrap();
        let status = self
            .world
            .storage
            .sched_txn_command(command, tracker())
            .await;
        match status.unwrap() {
            SecondaryLocksStatus::Committed(at) => Some(at.into_inner()),
            SecondaryLocksStatus::RolledBack => Some(0),
            SecondaryLocksStatus::Locked(locks) => {
                for lock in locks {
                    if !lock.get_use_async_commit() {
                        return None;
                    }
                    commit = commit.max(lock.get_min_commit_ts());
                }
                Some(commit)
            }
        }
    }

    async fn drop_pessimistic(&self, lock: &LockInfo) {
        let mut req = kvrpcpb::PessimisticRollbackRequest::default();
        req.set_context(self.world.context());
        req.set_start_version(lock.get_lock_version());
        req.set_for_update_ts(lock.get_lock_for_update_ts());
        req.mut_keys().push(lock.get_key().to_vec());
        let command = PessimisticRollback::try_from(req).unwrap();
        let dropped = self.world.storage.sched_txn_command(command, tracker());
        dropped.await.unwrap();
    }

    async fn resolve_key(&self, lock: &LockInfo, commit: u64) {
        let mut req = kvrpcpb::ResolveLockRequest::default();
        req.set_context(self.world.context());
        req.set_start_version(lock.get_lock_version());
        req.set_commit_version(commit);
        if self.rng.chance(1, 2) {
            req.mut_keys().push(lock.get_key().to_vec());
        }
        let command = ResolveLock::try_from(req).unwrap();
        let resolved = self.world.storage.sched_txn_command(command, tracker());
        resolved.await.unwrap();
    }

    fn is_expired(&self, start: u64, ttl: u64) -> bool {
        let (start, now) = (TimeStamp::new(start), TimeStamp::new(self.ts()));
        start.physical() + ttl < now.physical()
    }

    /// All locks that can be seen.
    pub(super) async fn scan_locks(&self) -> Vec<LockInfo> {
        loop {
            let (world, max) = (self.world, TimeStamp::new(self.ts()));
            let scan = world
                .storage
                .scan_lock(world.context(), max, None, None, 0, tracker());
            match scan.await {
                Ok(locks) => return locks,
                // One that is on its way into the engine.
                Err(Error::Mvcc(MvccError::KeyIsLocked(_))) => self.pause(1).await,
                Err(error) => panic!("scan of locks: {error}"),
            }
        }
    }

    /// Finishes the locks whose owners' time is over.
    pub(super) async fn sweep(&self) {
        for lock in self.scan_locks().await {
            if self.is_expired(lock.get_lock_version(), lock.get_lock_ttl()) {
                self.resolve(&lock, 0).await;
            }
        }
    }
}
