//! A client as the protocol wants it: it begins, reads, locks, prewrites, commits, resolves what others left behind,
//! and may die at any of these points. Each request is the one that clients send, built from its message.
//! Must never know more of the store than its answers.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine_traits::KvEngine;
use kvproto::kvrpcpb::{self, PrewriteRequest_PessimisticAction as Action};
use mvcc::{Error as MvccError, WriteConflictReason};
use runtime::{Rng, Runtime};
use storage::{
    AcquirePessimisticLock, BatchRollback, Commit, Error, KeyLocked, PessimisticRollback, Prewrite,
    TxnCommand, TxnHeartBeat,
};
use txn_types::{Key, TimeStamp};

use super::pipelined::Flushes;
use super::record::{CommitMode, LockMode, RawKey, RawValue, Read, Told, Txn};
use super::resolve::Resolved;
use crate::driver::{World, tracker};

/// How long a lock is respected.
pub(super) const TTL_MS: u64 = 3_000;
/// Longer than any wait that ends by a wake-up: who waits so long was forgotten.
pub(super) const WAIT_MS: i64 = 3_600_000;

/// The client does nothing any more.
#[derive(Debug)]
pub(super) struct Died;

/// Why a transaction ends before its commit.
#[derive(Debug)]
pub(super) enum Stop {
    Died,
    /// It cannot go on, and has cleaned up behind itself.
    GivenUp,
}

impl From<Died> for Stop {
    fn from(_: Died) -> Self {
        Stop::Died
    }
}

/// What all clients of a history share.
pub(super) struct Clients<'w, K: KvEngine> {
    pub(super) world: &'w World<K>,
    pub(super) runtime: Runtime,
    pub(super) rng: Rng,
    /// One request in so many is its client's last; zero: none is.
    pub(super) deaths: Cell<u64>,
    pub(super) last_ts: Cell<u64>,
}

/// A transaction under way.
pub(super) struct Open {
    pub(super) txn: Txn,
    pub(super) primary: Option<RawKey>,
    /// Locked keys, and the timestamp with which each is locked.
    locked: BTreeMap<RawKey, u64>,
    for_update_ts: u64,
    pub(super) flushes: Flushes,
}

impl<K: KvEngine> Clients<'_, K> {
    /// A timestamp of the oracle, whose physical part is the time.
    pub(super) fn ts(&self) -> u64 {
        let millis = self.runtime.clock.now().as_nanos() / 1_000_000 + 1_000;
        let now = TimeStamp::compose(millis, 0).into_inner();
        self.last_ts.set(now.max(self.last_ts.get() + 1));
        self.last_ts.get()
    }

    /// Lets time pass, or not: requests that meet at one moment are those that can go wrong.
    pub(super) async fn pause(&self, most_ms: u64) {
        if self.rng.chance(2, 3) {
            return;
        }
        let pause = Duration::from_millis(self.rng.below(most_ms + 1));
        self.runtime.timer.sleep(pause).await;
    }

    /// Sends a command. A client that dies goes before, while or after it is carried out.
    pub(super) async fn call<C: TxnCommand>(
        &self,
        command: C,
    ) -> Result<Result<C::Output, Error>, Died> {
        self.pause(3).await;
        let deaths = self.deaths.get();
        let dies = deaths > 0 && self.rng.chance(1, deaths);
        if dies && self.rng.chance(1, 4) {
            return Err(Died);
        }
        let answer = self.world.storage.sched_txn_command(command, tracker());
        if !dies {
            return Ok(answer.await);
        }
        let while_it_runs = Duration::from_micros(self.rng.below(3));
        let _ = self.runtime.timer.timeout(while_it_runs, answer).await;
        Err(Died)
    }

    pub(super) fn begin(&self, locking: LockMode, commit: CommitMode) -> Open {
        let start = self.ts();
        let commit = match (locking, commit) {
            (LockMode::Pessimistic | LockMode::ForceLock, CommitMode::Pipelined) => {
                CommitMode::TwoPhases
            }
            (_, commit) => commit,
        };
        Open {
            txn: Txn::new(start, locking, commit),
            primary: None,
            locked: BTreeMap::new(),
            for_update_ts: start,
            flushes: Flushes::default(),
        }
    }

    /// Reads a key at a timestamp, through whatever locks are in the way.
    pub(super) async fn get(&self, key: &[u8], ts: u64) -> Option<RawValue> {
        let mut passed = Vec::new();
        loop {
            let mut ctx = self.world.context();
            ctx.set_resolved_locks(passed.clone());
            let key = Key::from_raw(key);
            let get = self
                .world
                .storage
                .get(ctx, key, TimeStamp::new(ts), false, tracker());
            match get.await {
                Ok(found) => return found.map(|entry| entry.value),
                Err(Error::Mvcc(MvccError::KeyIsLocked(lock))) => {
                    match self.resolve(&lock, ts).await {
                        Resolved::Gone => {}
                        Resolved::CommitsLater => passed.push(lock.get_lock_version()),
                        Resolved::Alive => self.pause(50).await,
                    }
                }
                Err(error) => panic!("get at {ts}: {error}"),
            }
        }
    }

    /// Reads a key for a transaction: what it locks, it locks first.
    pub(super) async fn read(&self, open: &mut Open, key: &[u8]) -> Result<Option<RawValue>, Stop> {
        if open.txn.locking != LockMode::Optimistic {
            return self.lock(open, key).await;
        }
        let (at, key) = (open.txn.start, key.to_vec());
        let value = self.get(&key, at).await;
        open.txn.reads.push(Read {
            key,
            value: value.clone(),
            at,
            locked: false,
        });
        Ok(value)
    }

    async fn lock(&self, open: &mut Open, key: &[u8]) -> Result<Option<RawValue>, Stop> {
        let primary = open.primary.get_or_insert_with(|| key.to_vec()).clone();
        loop {
            let request = self.lock_request(open, key, &primary);
            let answer = self
                .call(AcquirePessimisticLock::try_from(request).unwrap())
                .await?;
            match answer {
                Ok(locked) => {
                    let [told] = <[KeyLocked; 1]>::try_from(locked.keys).unwrap();
                    let (value, at) = match told {
                        KeyLocked::Value(value) => (value, open.for_update_ts),
                        KeyLocked::WithConflict { value, commit_ts } => {
                            (value, commit_ts.into_inner())
                        }
                        other => panic!("asked for a value: {other:?}"),
                    };
                    open.for_update_ts = open.for_update_ts.max(at);
                    open.locked.insert(key.to_vec(), at);
                    open.txn.reads.push(Read {
                        key: key.to_vec(),
                        value: value.clone(),
                        at,
                        locked: true,
                    });
                    return Ok(value);
                }
                Err(Error::Mvcc(MvccError::WriteConflict {
                    reason: WriteConflictReason::PessimisticRetry,
                    ..
                })) => open.for_update_ts = self.ts(),
                // An own lock that was resolved, and perhaps a rollback; or the victim of a circle.
                Err(Error::Mvcc(
                    MvccError::Deadlock { .. } | MvccError::PessimisticLockRolledBack { .. },
                )) => {
                    self.give_up(open).await?;
                    return Err(Stop::GivenUp);
                }
                Err(error) => panic!("a lock request that is forgotten, or worse: {error}"),
            }
        }
    }

    fn lock_request(
        &self,
        open: &Open,
        key: &[u8],
        primary: &[u8],
    ) -> kvrpcpb::PessimisticLockRequest {
        let mut req = kvrpcpb::PessimisticLockRequest::default();
        req.set_context(self.world.context());
        req.set_primary_lock(primary.to_vec());
        req.set_start_version(open.txn.start);
        req.set_for_update_ts(open.for_update_ts);
        req.set_lock_ttl(TTL_MS);
        req.set_wait_timeout(WAIT_MS);
        req.set_is_first_lock(open.locked.is_empty());
        req.set_return_values(true);
        if open.txn.locking == LockMode::ForceLock {
            req.set_wake_up_mode(kvrpcpb::PessimisticLockWakeUpMode::WakeUpModeForceLock);
        }
        let mut mutation = kvrpcpb::Mutation::default();
        mutation.set_op(kvrpcpb::Op::PessimisticLock);
        mutation.set_key(key.to_vec());
        req.mut_mutations().push(mutation);
        req
    }

    /// Prolongs the life of a transaction that has locks.
    pub(super) async fn heart_beat(&self, open: &Open) -> Result<(), Died> {
        let generation = open.flushes.generation;
        let has_locks = !open.locked.is_empty() || generation > 0;
        let Some(primary) = open.primary.clone().filter(|_| has_locks) else {
            return Ok(());
        };
        let mut req = kvrpcpb::TxnHeartBeatRequest::default();
        req.set_context(self.world.context());
        req.set_primary_lock(primary);
        req.set_start_version(open.txn.start);
        req.set_advise_lock_ttl(2 * TTL_MS);
        if generation > 0 {
            req.set_min_commit_ts(self.ts());
        }
        match self.call(TxnHeartBeat::try_from(req).unwrap()).await? {
            // It was taken for dead, which its next step will show.
            Ok(_) | Err(Error::Mvcc(MvccError::TxnNotFound { .. })) => Ok(()),
            Err(error) => panic!("heart-beat: {error}"),
        }
    }

    /// Undoes what a transaction has done.
    async fn give_up(&self, open: &Open) -> Result<(), Died> {
        if !open.locked.is_empty() {
            let mut req = kvrpcpb::PessimisticRollbackRequest::default();
            req.set_context(self.world.context());
            req.set_start_version(open.txn.start);
            req.set_for_update_ts(u64::MAX - 1);
            if self.rng.chance(1, 2) {
                req.set_keys(open.locked.keys().cloned().collect());
            }
            self.call(PessimisticRollback::try_from(req).unwrap())
                .await?
                .unwrap();
        }
        Ok(())
    }

    pub(super) async fn roll_back(
        &self,
        open: &Open,
        keys: &BTreeSet<RawKey>,
    ) -> Result<Told, Died> {
        self.give_up(open).await?;
        let mut req = kvrpcpb::BatchRollbackRequest::default();
        req.set_context(self.world.context());
        req.set_start_version(open.txn.start);
        req.set_keys(keys.iter().cloned().collect());
        match self.call(BatchRollback::try_from(req).unwrap()).await? {
            Ok(()) => Ok(Told::Failed),
            Err(error) => panic!("rollback of {:?}: {error}", open.txn),
        }
    }

    /// Prewrites once, whatever comes of it, and rolls everything back.
    pub(super) async fn take_back(&self, open: &Open) -> Result<Told, Died> {
        let keys: BTreeSet<RawKey> = open.txn.writes.keys().cloned().collect();
        let part: Vec<RawKey> = keys.iter().cloned().collect();
        let request = self.prewrite_request(open, &part[0], &part);
        match self.call(Prewrite::try_from(request).unwrap()).await? {
            Ok(_) | Err(Error::Mvcc(MvccError::WriteConflict { .. })) => {}
            Err(error) => panic!("prewrite of {:?}: {error}", open.txn),
        }
        self.pause(10).await;
        self.roll_back(open, &keys).await
    }

    /// Commits, or finds that it cannot be.
    pub(super) async fn finish(&self, open: &mut Open) -> Told {
        if open.txn.commit == CommitMode::Pipelined {
            return self.finish_pipelined(open).await;
        }
        self.try_finish(open).await.unwrap_or(Told::Nothing)
    }

    async fn try_finish(&self, open: &Open) -> Result<Told, Died> {
        let mut keys: BTreeSet<RawKey> = open.txn.writes.keys().cloned().collect();
        keys.extend(open.locked.keys().cloned());
        let Some(primary) = open.primary.clone().or_else(|| keys.first().cloned()) else {
            return Ok(Told::Committed(open.txn.start));
        };
        let mut parts: Vec<Vec<RawKey>> = vec![keys.iter().cloned().collect()];
        if open.txn.commit != CommitMode::OnePhase && keys.len() > 1 && self.rng.chance(1, 2) {
            // As if in two regions; the primary goes first.
            let rest: Vec<_> = keys
                .iter()
                .filter(|key| **key != primary)
                .cloned()
                .collect();
            parts = vec![vec![primary.clone()], rest];
        }
        let mut commit_ts = 0;
        let mut asynchronous = open.txn.commit == CommitMode::Async;
        for part in &parts {
            match self
                .prewrite(open, &primary, part, &keys, asynchronous)
                .await?
            {
                Prewritten::Conflict => return self.roll_back(open, &keys).await,
                Prewritten::Done(one_phase) if one_phase > 0 => {
                    return Ok(Told::Committed(one_phase));
                }
                Prewritten::Done(_) => asynchronous = false,
                Prewritten::Async(at) => commit_ts = commit_ts.max(at),
            }
        }
        if asynchronous {
            // It is committed; the rest is only tidying up.
            let _ = self
                .commit_keys(open.txn.start, commit_ts, keys.iter().cloned().collect())
                .await;
            return Ok(Told::Committed(commit_ts));
        }
        self.commit(open, &primary, &keys).await
    }

    pub(super) async fn commit(
        &self,
        open: &Open,
        primary: &RawKey,
        keys: &BTreeSet<RawKey>,
    ) -> Result<Told, Died> {
        let start = open.txn.start;
        let commit_ts = loop {
            let commit_ts = self.ts();
            match self
                .commit_keys(start, commit_ts, vec![primary.clone()])
                .await?
            {
                Ok(at) => break at.into_inner(),
                // Readers have pushed it.
                Err(Error::Mvcc(MvccError::CommitTsExpired { .. })) => {}
                // Somebody took it for dead.
                Err(Error::Mvcc(MvccError::TxnLockNotFound { .. })) => {
                    return self.roll_back(open, keys).await;
                }
                Err(error) => panic!("commit of {:?}: {error}", open.txn),
            }
        };
        let rest: Vec<_> = keys.iter().filter(|key| *key != primary).cloned().collect();
        let forgets = self.deaths.get() > 0 && self.rng.chance(1, 6);
        if !rest.is_empty() && !forgets {
            // A client that dies here is committed all the same.
            if let Ok(Err(error)) = self.commit_keys(start, commit_ts, rest).await {
                panic!("commit of secondaries of {:?}: {error}", open.txn);
            }
        }
        Ok(Told::Committed(commit_ts))
    }

    async fn commit_keys(
        &self,
        start: u64,
        commit: u64,
        keys: Vec<RawKey>,
    ) -> Result<Result<TimeStamp, Error>, Died> {
        let mut req = kvrpcpb::CommitRequest::default();
        req.set_context(self.world.context());
        req.set_start_version(start);
        req.set_commit_version(commit);
        req.set_keys(keys.into());
        self.call(Commit::try_from(req).unwrap()).await
    }

    async fn prewrite(
        &self,
        open: &Open,
        primary: &RawKey,
        part: &[RawKey],
        keys: &BTreeSet<RawKey>,
        asynchronous: bool,
    ) -> Result<Prewritten, Died> {
        let mut req = self.prewrite_request(open, primary, part);
        if asynchronous {
            req.set_use_async_commit(true);
            if part.contains(primary) {
                let secondaries = keys.iter().filter(|key| *key != primary).cloned();
                req.set_secondaries(secondaries.collect());
            }
        }
        req.set_try_one_pc(open.txn.commit == CommitMode::OnePhase);
        // Now and then it asks for the impossible, and has to do with two phases.
        let room = if self.rng.chance(1, 8) { 1 } else { 10 << 18 };
        req.set_max_commit_ts(self.ts() + room);
        loop {
            let sent = Prewrite::try_from(req.clone()).unwrap();
            let again = self.rng.chance(1, 8);
            match self.call(sent).await? {
                Ok(_) if again && !req.get_context().get_is_retry_request() => {
                    // The answer was lost.
                    req.mut_context().set_is_retry_request(true);
                }
                Ok(done) if done.locks.is_empty() => {
                    let one_phase = done.one_pc_commit_ts.into_inner();
                    let commit_ts = done.min_commit_ts.into_inner();
                    return Ok(if asynchronous && commit_ts > 0 {
                        Prewritten::Async(commit_ts)
                    } else {
                        Prewritten::Done(one_phase)
                    });
                }
                Ok(refused) => {
                    // Some lose their patience, where not all live to the end anyway.
                    if self.deaths.get() > 0 && self.rng.chance(1, 4) {
                        return Ok(Prewritten::Conflict);
                    }
                    for lock in &refused.locks {
                        if let Resolved::Alive = self.resolve(lock, 0).await {
                            self.pause(50).await;
                        }
                    }
                }
                Err(Error::Mvcc(
                    MvccError::WriteConflict { .. } | MvccError::PessimisticLockNotFound { .. },
                )) => return Ok(Prewritten::Conflict),
                Err(error) => panic!("prewrite of {:?}: {error}", open.txn),
            }
        }
    }

    fn prewrite_request(
        &self,
        open: &Open,
        primary: &RawKey,
        part: &[RawKey],
    ) -> kvrpcpb::PrewriteRequest {
        let mut req = kvrpcpb::PrewriteRequest::default();
        req.set_context(self.world.context());
        req.set_start_version(open.txn.start);
        req.set_primary_lock(primary.clone());
        req.set_lock_ttl(TTL_MS);
        req.set_txn_size(part.len() as u64);
        let pessimistic = open.txn.locking != LockMode::Optimistic;
        if pessimistic {
            req.set_for_update_ts(open.for_update_ts);
        }
        req.set_min_commit_ts(open.for_update_ts.max(open.txn.start) + 1);
        for (index, key) in part.iter().enumerate() {
            let mut mutation = kvrpcpb::Mutation::default();
            mutation.set_key(key.clone());
            match open.txn.writes.get(key) {
                Some(value) => mutation.set_value(value.clone()),
                None => mutation.set_op(kvrpcpb::Op::Lock),
            }
            req.mut_mutations().push(mutation);
            if pessimistic {
                req.mut_pessimistic_actions()
                    .push(Action::DO_PESSIMISTIC_CHECK);
            }
            if open.txn.locking == LockMode::ForceLock {
                let mut constraint = kvrpcpb::PrewriteRequest_ForUpdateTSConstraint::default();
                constraint.set_index(u32::try_from(index).unwrap());
                constraint.set_expected_for_update_ts(open.locked[key]);
                req.mut_for_update_ts_constraints().push(constraint);
            }
        }
        req
    }
}

/// What became of a prewrite.
enum Prewritten {
    /// Somebody else was first.
    Conflict,
    /// Its keys are locked; or it is committed here, in one phase.
    Done(u64),
    /// Its keys are locked; together with the others it is committed, not below this.
    Async(u64),
}
