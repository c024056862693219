//! Random optimistic transactions against a naive model.
//!
//! Clients run concurrently under one seed. Each reads some keys at its start, writes some, and commits, gives up, or
//! dies at some point and leaves its locks to those who meet them. Afterwards the fate of every transaction is known,
//! and a map from keys to committed versions must explain everything that was observed:
//! 1. every read returned the newest version committed at or below its start;
//! 2. no two committed transactions that wrote a key overlap in time;
//! 3. a transaction is committed on all of its keys or on none;
//! 4. an acknowledged commit is there, an acknowledged failure is not.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use engine_mem::MemEngine;
use engine_traits::KvEngine;
use futures::future::join_all;
use kvproto::kvrpcpb;
use mvcc::Error as MvccError;
use runtime::Rng;
use storage::{
    BatchRollback, CheckTxnStatus, Commit, Config, Error, Prewrite, ResolveLock, ScanOptions,
    TxnStatus,
};
use txn_types::{Key, TimeStamp};

use crate::driver::{World, tracker};

const CLIENTS: usize = 6;
const TXNS: usize = 12;
const KEYS: u64 = 6;

type RawKey = Vec<u8>;
type RawValue = Vec<u8>;

/// What the client of a transaction was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Told {
    Committed(u64),
    Failed,
    /// It died before it heard.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Txn {
    start: u64,
    reads: Vec<(RawKey, Option<RawValue>)>,
    writes: BTreeMap<RawKey, Option<RawValue>>,
    told: Told,
}

struct History<'w, K: KvEngine> {
    world: &'w World<K>,
    rng: Rng,
    next_ts: Cell<u64>,
    txns: RefCell<Vec<Txn>>,
}

impl<K: KvEngine> History<'_, K> {
    fn ts(&self) -> u64 {
        self.next_ts.set(self.next_ts.get() + 1);
        self.next_ts.get()
    }

    fn key(&self) -> RawKey {
        format!("k{}", self.rng.below(KEYS)).into_bytes()
    }

    async fn client(&self) {
        for _ in 0..TXNS {
            let txn = self.transaction().await;
            self.txns.borrow_mut().push(txn);
        }
    }

    async fn transaction(&self) -> Txn {
        let mut txn = Txn {
            start: self.ts(),
            reads: Vec::new(),
            writes: BTreeMap::new(),
            told: Told::Failed,
        };
        for _ in 0..self.rng.below(4) {
            let key = self.key();
            let value = self.read(&key, txn.start).await;
            txn.reads.push((key, value));
        }
        for _ in 0..=self.rng.below(3) {
            // Short, long, or none: the three ways a version is stored.
            let value = match self.rng.below(4) {
                0 => None,
                1 => Some(format!("{}-{:0300}", txn.start, 0).into_bytes()),
                _ => Some(format!("{}", txn.start).into_bytes()),
            };
            txn.writes.insert(self.key(), value);
        }
        txn.told = self.finish(&txn).await;
        txn
    }

    async fn read(&self, key: &[u8], ts: u64) -> Option<RawValue> {
        loop {
            let get = self.world.storage.get(
                self.world.context(),
                Key::from_raw(key),
                TimeStamp::new(ts),
                false,
                tracker(),
            );
            match get.await {
                Ok(found) => return found.map(|entry| entry.value),
                Err(Error::Mvcc(MvccError::KeyIsLocked(lock))) => self.resolve(&lock, ts).await,
                Err(error) => panic!("get: {error}"),
            }
        }
    }

    /// Prewrite and commit, with deaths and retries in between.
    async fn finish(&self, txn: &Txn) -> Told {
        let primary = txn.writes.keys().next().unwrap().clone();
        loop {
            let prewritten = self.prewrite(txn, &primary).await;
            if self.rng.chance(1, 12) {
                return Told::Nothing;
            }
            match prewritten {
                Ok(locks) if locks.is_empty() => break,
                Ok(locks) => {
                    if self.rng.chance(1, 3) {
                        return self.give_up(txn).await;
                    }
                    for lock in &locks {
                        self.resolve(lock, 0).await;
                    }
                }
                Err(Error::Mvcc(MvccError::WriteConflict { .. })) => {
                    return self.give_up(txn).await;
                }
                Err(error) => panic!("prewrite: {error}"),
            }
        }
        if self.rng.chance(1, 12) {
            return Told::Nothing;
        }
        let commit_ts = self.ts();
        match self
            .commit(txn.start, commit_ts, vec![primary.clone()])
            .await
        {
            Ok(_) => {}
            // Somebody took it for dead.
            Err(Error::Mvcc(MvccError::TxnLockNotFound { .. })) => return Told::Failed,
            Err(error) => panic!("commit: {error}"),
        }
        let rest: Vec<_> = txn
            .writes
            .keys()
            .filter(|key| **key != primary)
            .cloned()
            .collect();
        if !rest.is_empty() && !self.rng.chance(1, 6) {
            self.commit(txn.start, commit_ts, rest).await.unwrap();
        }
        Told::Committed(commit_ts)
    }

    async fn prewrite(&self, txn: &Txn, primary: &[u8]) -> Result<Vec<kvrpcpb::LockInfo>, Error> {
        let mut req = kvrpcpb::PrewriteRequest::default();
        req.set_context(self.world.context());
        req.set_start_version(txn.start);
        req.set_primary_lock(primary.to_vec());
        for (key, value) in &txn.writes {
            let mut mutation = kvrpcpb::Mutation::default();
            mutation.set_key(key.clone());
            match value {
                Some(value) => mutation.set_value(value.clone()),
                None => mutation.set_op(kvrpcpb::Op::Del),
            }
            req.mut_mutations().push(mutation);
        }
        let command = Prewrite::try_from(req)?;
        let result = self
            .world
            .storage
            .sched_txn_command(command, tracker())
            .await?;
        Ok(result.locks)
    }

    async fn commit(&self, start: u64, commit: u64, keys: Vec<RawKey>) -> Result<TimeStamp, Error> {
        let mut req = kvrpcpb::CommitRequest::default();
        req.set_context(self.world.context());
        req.set_start_version(start);
        req.set_commit_version(commit);
        req.set_keys(keys.into());
        let command = Commit::try_from(req)?;
        self.world
            .storage
            .sched_txn_command(command, tracker())
            .await
    }

    async fn give_up(&self, txn: &Txn) -> Told {
        let mut req = kvrpcpb::BatchRollbackRequest::default();
        req.set_context(self.world.context());
        req.set_start_version(txn.start);
        req.set_keys(txn.writes.keys().cloned().collect());
        let command = BatchRollback::try_from(req).unwrap();
        self.world
            .storage
            .sched_txn_command(command, tracker())
            .await
            .unwrap();
        Told::Failed
    }

    /// Asks the primary, takes the owner for dead if need be, and finishes its locks.
    async fn resolve(&self, lock: &kvrpcpb::LockInfo, caller: u64) {
        let mut req = kvrpcpb::CheckTxnStatusRequest::default();
        req.set_context(self.world.context());
        req.set_primary_key(lock.get_primary_lock().to_vec());
        req.set_lock_ts(lock.get_lock_version());
        req.set_caller_start_ts(caller);
        req.set_current_ts(u64::MAX);
        req.set_rollback_if_not_exist(true);
        let command = CheckTxnStatus::try_from(req).unwrap();
        let status = self
            .world
            .storage
            .sched_txn_command(command, tracker())
            .await
            .unwrap();
        let commit = match status {
            TxnStatus::Committed { commit_ts } => commit_ts.into_inner(),
            TxnStatus::RolledBack | TxnStatus::TtlExpire | TxnStatus::LockNotExist => 0,
            other => panic!("an expired lock is never {other:?}"),
        };
        let mut req = kvrpcpb::ResolveLockRequest::default();
        req.set_context(self.world.context());
        req.set_start_version(lock.get_lock_version());
        req.set_commit_version(commit);
        if self.rng.chance(1, 2) {
            req.mut_keys().push(lock.get_key().to_vec());
        }
        let command = ResolveLock::try_from(req).unwrap();
        self.world
            .storage
            .sched_txn_command(command, tracker())
            .await
            .unwrap();
    }

    async fn resolve_all(&self) {
        loop {
            let (world, max) = (self.world, TimeStamp::max());
            let scan = world
                .storage
                .scan_lock(world.context(), max, None, None, 10, tracker());
            let locks = scan.await.unwrap();
            if locks.is_empty() {
                return;
            }
            for lock in &locks {
                self.resolve(lock, 0).await;
            }
        }
    }

    /// Where a transaction committed, by what its keys tell.
    async fn fate(&self, txn: &Txn) -> Option<u64> {
        let mut commits = Vec::new();
        for key in txn.writes.keys() {
            let (ctx, encoded) = (self.world.context(), Key::from_raw(key));
            let info = self
                .world
                .storage
                .mvcc_by_key(ctx, encoded, tracker())
                .await
                .unwrap();
            let own = info.get_writes().iter().find(|write| {
                write.get_start_ts() == txn.start && write.get_field_type() != kvrpcpb::Op::Rollback
            });
            commits.push(own.map(kvrpcpb::MvccWrite::get_commit_ts));
        }
        assert!(
            commits.iter().all(|at| *at == commits[0]),
            "half there: {txn:?} {commits:?}"
        );
        commits[0]
    }

    async fn state_at(&self, ts: u64, reverse: bool) -> Vec<(RawKey, RawValue)> {
        let options = ScanOptions {
            limit: 1000,
            reverse,
            ..ScanOptions::default()
        };
        let (start, ts) = (Key::from_raw(b""), TimeStamp::new(ts));
        let ctx = self.world.context();
        let scan = self
            .world
            .storage
            .scan(ctx, start, None, options, ts, tracker());
        let pairs = scan.await.unwrap().into_iter().map(Result::unwrap);
        pairs.map(|(key, entry)| (key, entry.value)).collect()
    }
}

/// Committed versions of each key: commit and start timestamps, and the value.
type Model = BTreeMap<RawKey, BTreeMap<u64, (u64, Option<RawValue>)>>;

fn visible(model: &Model, key: &[u8], ts: u64) -> Option<RawValue> {
    let (_, (_, value)) = model.get(key)?.range(..=ts).next_back()?;
    value.clone()
}

fn run<K: KvEngine>(engine: K, seed: u64) -> (Vec<Txn>, u64) {
    let world = World::over(engine, seed, &Config::default());
    let rng = Rng::from_seed(seed ^ 0x5eed);
    let history = History {
        world: &world,
        rng,
        next_ts: Cell::new(0),
        txns: RefCell::default(),
    };
    world.run(join_all((0..CLIENTS).map(|_| history.client())));
    world.run(history.resolve_all());

    let txns = history.txns.borrow().clone();
    let mut model = Model::new();
    let mut committed = 0;
    for txn in &txns {
        let fate = world.run(history.fate(txn));
        match txn.told {
            Told::Committed(at) => assert_eq!(fate, Some(at), "seed {seed}: {txn:?}"),
            Told::Failed => assert_eq!(fate, None, "seed {seed}: {txn:?}"),
            Told::Nothing => {}
        }
        let Some(commit) = fate else { continue };
        committed += 1;
        for (key, value) in &txn.writes {
            let versions = model.entry(key.clone()).or_default();
            versions.insert(commit, (txn.start, value.clone()));
        }
    }
    for (key, versions) in &model {
        let mut below = 0;
        for (commit, (start, _)) in versions {
            assert!(
                *start > below,
                "seed {seed}: overlapping writes of {key:?} at {commit}"
            );
            below = *commit;
        }
    }
    for txn in &txns {
        for (key, value) in &txn.reads {
            let expected = visible(&model, key, txn.start);
            assert_eq!(
                *value, expected,
                "seed {seed}: read of {key:?} at {}",
                txn.start
            );
        }
    }
    for ts in [
        1,
        history.next_ts.get() / 3,
        history.next_ts.get() / 2,
        history.next_ts.get(),
    ] {
        let expected: Vec<_> = model
            .keys()
            .filter_map(|key| Some((key.clone(), visible(&model, key, ts)?)))
            .collect();
        assert_eq!(
            world.run(history.state_at(ts, false)),
            expected,
            "seed {seed} at {ts}"
        );
        let mut backward = world.run(history.state_at(ts, true));
        backward.reverse();
        assert_eq!(backward, expected, "seed {seed} at {ts}");
    }
    assert_eq!(world.storage.scheduler().latches_in_use(), 0);
    assert!(committed > 0, "seed {seed}: nothing committed");
    (txns, world.stepper.trace_hash())
}

#[test]
fn transactions_agree_with_the_model() {
    for seed in 0..30 {
        run(MemEngine::new(), seed);
    }
}

#[test]
fn one_seed_gives_one_history() {
    assert_eq!(run(MemEngine::new(), 7), run(MemEngine::new(), 7));
}

#[test]
fn both_engines_have_the_same_history() {
    for seed in [3, 11] {
        let dir = tempfile::tempdir().unwrap();
        let config = engine_rocks::Config::default();
        let rocks = engine_rocks::RocksEngine::open(dir.path(), &config).unwrap();
        assert_eq!(run(rocks, seed), run(MemEngine::new(), seed), "seed {seed}");
    }
}
