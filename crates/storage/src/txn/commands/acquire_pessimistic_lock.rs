//! KvPessimisticLock: locks the keys of a statement, all or none, and tells what is on them.
//!
//! The keys are looked at in order. The first that another transaction holds ends the look: everything that was to
//! be locked before it is dropped, and the request waits for that key alone, or fails on it. How it waits and is
//! resumed stands in [`crate::txn::acquire`].
//!
//! Must never: keep a lock on one key while it waits for another.

use std::future::Future;

use api_version::{ApiVersion, CommandKind};
use kv::{Engine, Modify, Snapshot};
use kvproto::kvrpcpb::{self, Assertion, Context, Op, PessimisticLockWakeUpMode};
use lock_manager::{LockManager, WakeUpMode};
use mvcc::{MvccTxn, SnapshotReader};
use tracker::TrackerHandle;
use txn_types::{Key, Lock, LockValue, SharedLocks, TimeStamp};

use super::take_context;
use crate::api::check_txn_keys;
use crate::limits::{Limits, check_ts};
use crate::txn::actions::acquire_pessimistic_lock::{
    Acquired, KeyLocked, LockProps, acquire_exclusive, acquire_shared,
};
use crate::txn::command::{TxnCommand, WriteContext};
use crate::txn::scheduler::Scheduler;
use crate::{Error, Result};

/// The label in metrics and logs.
pub(crate) const KIND: &str = CommandKind::AcquirePessimisticLock.name();

/// One key of a request.
#[derive(Clone, Debug)]
pub(crate) struct LockedKey {
    pub(crate) key: Key,
    /// It must not exist.
    pub(crate) should_not_exist: bool,
}

/// A lock request.
#[derive(Clone, Debug)]
pub struct AcquirePessimisticLock {
    pub(crate) ctx: Context,
    pub(crate) keys: Vec<LockedKey>,
    pub(crate) shared: bool,
    pub(crate) primary: Vec<u8>,
    pub(crate) start_ts: TimeStamp,
    pub(crate) ttl: u64,
    pub(crate) for_update_ts: TimeStamp,
    pub(crate) min_commit_ts: TimeStamp,
    pub(crate) is_first_lock: bool,
    /// Milliseconds; zero is the server's choice, below zero does not wait.
    pub(crate) wait_timeout: i64,
    pub(crate) return_values: bool,
    pub(crate) check_existence: bool,
    pub(crate) lock_only_if_exists: bool,
    pub(crate) mode: WakeUpMode,
}

/// What became of a lock request.
#[derive(Debug, PartialEq)]
pub struct PessimisticLocked {
    /// In which mode it was asked for, which decides the form of the answer.
    pub mode: WakeUpMode,
    /// The keys, in the order of the request.
    pub keys: Vec<KeyLocked>,
}

impl TryFrom<kvrpcpb::PessimisticLockRequest> for AcquirePessimisticLock {
    type Error = Error;

    fn try_from(mut req: kvrpcpb::PessimisticLockRequest) -> Result<Self> {
        let start_ts = TimeStamp::from(req.get_start_version());
        let for_update_ts = TimeStamp::from(req.get_for_update_ts());
        check_ts("start_version", start_ts)?;
        check_ts("for_update_ts", for_update_ts)?;
        let mutations = req.take_mutations();
        let shared = mutations
            .first()
            .is_some_and(|first| first.get_op() == Op::SharedPessimisticLock);
        let mut keys = Vec::with_capacity(mutations.len());
        for mutation in mutations {
            match (mutation.get_op(), shared) {
                (Op::PessimisticLock, false) | (Op::SharedPessimisticLock, true) => {}
                (Op::PessimisticLock, true) | (Op::SharedPessimisticLock, false) => {
                    return refuse("shared and exclusive locks in one request");
                }
                (op, _) => return refuse(&format!("a lock request with mutation type {op:?}")),
            }
            keys.push(LockedKey {
                key: Key::from_raw(mutation.get_key()),
                should_not_exist: mutation.get_assertion() == Assertion::NotExist,
            });
        }
        if keys.is_empty() {
            return refuse("no mutations");
        }
        let mode = match req.get_wake_up_mode() {
            PessimisticLockWakeUpMode::WakeUpModeNormal => WakeUpMode::Retry,
            PessimisticLockWakeUpMode::WakeUpModeForceLock if keys.len() > 1 => {
                return refuse("force-lock mode with more than one key");
            }
            PessimisticLockWakeUpMode::WakeUpModeForceLock if shared => {
                return refuse("force-lock mode with a shared lock");
            }
            PessimisticLockWakeUpMode::WakeUpModeForceLock => WakeUpMode::Resume,
        };
        if req.get_lock_only_if_exists() && !req.get_return_values() {
            let key = keys[0].key.to_raw().map_err(mvcc::Error::InvalidKey)?;
            return Err(mvcc::Error::LockIfExistsFailed { start_ts, key }.into());
        }
        Ok(Self {
            ctx: take_context(req.context.take()),
            keys,
            shared,
            primary: req.take_primary_lock(),
            start_ts,
            ttl: req.get_lock_ttl(),
            for_update_ts,
            min_commit_ts: req.get_min_commit_ts().into(),
            is_first_lock: req.get_is_first_lock(),
            wait_timeout: req.get_wait_timeout(),
            return_values: req.get_return_values(),
            check_existence: req.get_check_existence(),
            lock_only_if_exists: req.get_lock_only_if_exists(),
            mode,
        })
    }
}

fn refuse<T>(why: &str) -> Result<T> {
    Err(Error::InvalidRequest(why.to_owned()))
}

/// What a look at the keys led to.
#[derive(Debug)]
pub(crate) enum LockDecision {
    /// All of them can be locked, or are not to be.
    Granted(Granted),
    /// This key is locked by others: the request waits or fails.
    Blocked(Key, LockValue),
    /// Shared locks are in the way on this key: they are to be written so that nobody joins them, and the request
    /// fails.
    Shrink(Key, SharedLocks),
}

/// The locks of a granted request.
#[derive(Debug)]
pub(crate) struct Granted {
    /// Exclusive locks, to be put in memory or written.
    pub(crate) locks: Vec<(Key, Lock)>,
    /// Shared locks, to be written.
    pub(crate) modifies: Vec<Modify>,
    /// What the client is told.
    pub(crate) output: PessimisticLocked,
}

impl AcquirePessimisticLock {
    /// The request as it arrived, for the one key of a request that can be resumed.
    pub(crate) fn to_wire(&self) -> kvrpcpb::PessimisticLockRequest {
        let mut req = kvrpcpb::PessimisticLockRequest::default();
        req.set_context(self.ctx.clone());
        for locked in &self.keys {
            let mut mutation = kvrpcpb::Mutation::default();
            mutation.set_op(if self.shared {
                Op::SharedPessimisticLock
            } else {
                Op::PessimisticLock
            });
            mutation.set_key(locked.key.to_raw().unwrap_or_default());
            if locked.should_not_exist {
                mutation.set_assertion(Assertion::NotExist);
            }
            req.mut_mutations().push(mutation);
        }
        req.set_primary_lock(self.primary.clone());
        req.set_start_version(self.start_ts.into_inner());
        req.set_lock_ttl(self.ttl);
        req.set_for_update_ts(self.for_update_ts.into_inner());
        req.set_min_commit_ts(self.min_commit_ts.into_inner());
        req.set_is_first_lock(self.is_first_lock);
        req.set_wait_timeout(self.wait_timeout);
        req.set_return_values(self.return_values);
        req.set_check_existence(self.check_existence);
        req.set_lock_only_if_exists(self.lock_only_if_exists);
        req.set_wake_up_mode(match self.mode {
            WakeUpMode::Retry => PessimisticLockWakeUpMode::WakeUpModeNormal,
            WakeUpMode::Resume => PessimisticLockWakeUpMode::WakeUpModeForceLock,
        });
        req
    }

    /// Refuses what the configuration forbids.
    pub(crate) fn validate(&self, limits: &Limits) -> Result<()> {
        limits.check_key(&Key::from_raw(&self.primary))?;
        self.keys
            .iter()
            .try_for_each(|locked| limits.check_key(&locked.key))
    }

    /// Bytes that it counts while it is under way.
    pub(crate) fn bytes(&self) -> usize {
        let keys: usize = self.keys.iter().map(|locked| locked.key.len()).sum();
        keys + self.primary.len() * self.keys.len()
    }

    /// Looks at the keys. Pure but for raising `max_ts`.
    pub(crate) fn decide<S: Snapshot>(
        &self,
        snapshot: S,
        ctx: &mut WriteContext<'_>,
    ) -> Result<LockDecision> {
        let must_not = self.keys.iter().any(|locked| locked.should_not_exist);
        if must_not || self.return_values || self.check_existence {
            // The client is told about the state at this timestamp: nothing may commit below it later.
            ctx.concurrency_manager
                .update_max_ts(self.for_update_ts, KIND)?;
        }
        let fill_cache = !self.ctx.get_not_fill_cache();
        let mut reader = SnapshotReader::new(self.start_ts, snapshot, fill_cache);
        let decided = self.decide_all(&mut reader);
        ctx.statistics.add(&reader.take_statistics());
        decided
    }

    fn decide_all<S: Snapshot>(&self, reader: &mut SnapshotReader<S>) -> Result<LockDecision> {
        let mut txn = MvccTxn::new(self.start_ts);
        let props = LockProps {
            start_ts: self.start_ts,
            primary: &self.primary,
            ttl: self.ttl,
            for_update_ts: self.for_update_ts,
            min_commit_ts: self.min_commit_ts,
            need_value: self.return_values,
            need_existence: self.check_existence,
            lock_only_if_exists: self.lock_only_if_exists,
            allow_conflict: self.mode == WakeUpMode::Resume,
        };
        let mut locks = Vec::with_capacity(self.keys.len());
        let mut told = Vec::with_capacity(self.keys.len());
        for locked in &self.keys {
            let (key, should_not_exist) = (&locked.key, locked.should_not_exist);
            let acquired = if self.shared {
                acquire_shared(&mut txn, reader, &props, key, should_not_exist)?
            } else {
                acquire_exclusive(&txn, reader, &props, key, should_not_exist)?
            };
            match acquired {
                Acquired::Lock(lock, answer) => {
                    locks.push((key.clone(), lock));
                    told.push(answer);
                }
                Acquired::Shared(answer) | Acquired::AsItIs(answer) => told.push(answer),
                Acquired::Locked(lock) => return Ok(LockDecision::Blocked(key.clone(), lock)),
                Acquired::ShrinkOnly(locks) => {
                    return Ok(LockDecision::Shrink(key.clone(), locks));
                }
            }
        }
        Ok(LockDecision::Granted(Granted {
            locks,
            modifies: txn.into_modifies(),
            output: PessimisticLocked {
                mode: self.mode,
                keys: told,
            },
        }))
    }
}

impl TxnCommand for AcquirePessimisticLock {
    type Output = PessimisticLocked;

    fn check_api(&self, storage: ApiVersion) -> Result<()> {
        let keys = self.keys.iter().map(|locked| &locked.key);
        let kind = CommandKind::AcquirePessimisticLock;
        check_txn_keys(storage, &self.ctx, kind, keys)
    }

    fn run<E: Engine, L: LockManager>(
        self,
        scheduler: &Scheduler<E, L>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<PessimisticLocked>> + Send + 'static + use<E, L> {
        scheduler.acquire(self, tracker)
    }
}
