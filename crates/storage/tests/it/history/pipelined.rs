//! A client of pipelined DML: it flushes its writes while it goes on, often a draft of a value before the value, and
//! sends flushes that are long outdated once more.
//! Must never let a draft be its last word on a key.

use std::collections::{BTreeMap, BTreeSet};

use engine_traits::KvEngine;
use kvproto::kvrpcpb;
use mvcc::Error as MvccError;
use storage::{Error, Flush};
use txn_types::{Key, TimeStamp};

use super::client::{Clients, Died, Open, Stop, TTL_MS};
use super::record::{CommitMode, RawKey, RawValue, Told};
use super::resolve::Resolved;
use crate::driver::tracker;

/// What a transaction has flushed.
#[derive(Default)]
pub(super) struct Flushes {
    pub(super) generation: u64,
    /// The last word on each key; `None` where it is deleted.
    keys: BTreeMap<RawKey, Option<RawValue>>,
    last: Option<kvrpcpb::FlushRequest>,
    /// Some of its locks were gone: it was taken for dead.
    lost: bool,
}

impl<K: KvEngine> Clients<'_, K> {
    /// Flushes now and then, if that is the way of the transaction.
    pub(super) async fn flush_some(&self, open: &mut Open) -> Result<(), Stop> {
        if open.txn.commit != CommitMode::Pipelined || self.rng.chance(1, 3) {
            return Ok(());
        }
        self.flush(open).await
    }

    /// Flushes what was written since the last time.
    async fn flush(&self, open: &mut Open) -> Result<(), Stop> {
        let mut fresh = BTreeMap::new();
        for (key, value) in &open.txn.writes {
            let value = Some(value.clone());
            if open.flushes.keys.get(key) != Some(&value) {
                fresh.insert(key.clone(), value);
            }
        }
        if fresh.is_empty() {
            return Ok(());
        }
        if self.rng.chance(1, 2) {
            let keys = fresh.keys().cloned();
            let drafts = keys.map(|key| (key, self.draft())).collect();
            self.flush_generation(open, drafts).await?;
        }
        self.flush_generation(open, fresh).await?;
        self.read_flushed(open).await;
        Ok(())
    }

    /// What cannot be taken for a value.
    fn draft(&self) -> Option<RawValue> {
        match self.rng.below(3) {
            0 => None,
            1 => Some(b"draft".to_vec()),
            _ => Some(b"draft".repeat(100)),
        }
    }

    async fn flush_generation(
        &self,
        open: &mut Open,
        changes: BTreeMap<RawKey, Option<RawValue>>,
    ) -> Result<(), Stop> {
        open.flushes.generation += 1;
        let request = self.flush_request(open, &changes);
        loop {
            let again = self.rng.chance(1, 8);
            match self.call(Flush::try_from(request.clone()).unwrap()).await? {
                // The answer was lost.
                Ok(_) if again => {}
                Ok(locks) if locks.is_empty() => break,
                Ok(locks) => {
                    // Some lose their patience, where not all live to the end anyway.
                    if self.deaths.get() > 0 && self.rng.chance(1, 4) {
                        return self.give_up_flushes(open).await;
                    }
                    for lock in &locks {
                        if let Resolved::Alive = self.resolve(lock, 0).await {
                            self.pause(50).await;
                        }
                    }
                }
                Err(Error::Mvcc(MvccError::WriteConflict { .. })) => {
                    return self.give_up_flushes(open).await;
                }
                Err(error) => panic!("flush of {:?}: {error}", open.txn),
            }
        }
        open.flushes.keys.extend(changes);
        let outdated = open.flushes.last.replace(request);
        if let Some(outdated) = outdated.filter(|_| self.rng.chance(1, 3)) {
            self.send_again(outdated).await?;
        }
        Ok(())
    }

    fn flush_request(
        &self,
        open: &mut Open,
        changes: &BTreeMap<RawKey, Option<RawValue>>,
    ) -> kvrpcpb::FlushRequest {
        let first = changes.keys().next().unwrap();
        let primary = open.primary.get_or_insert_with(|| first.clone()).clone();
        let mut req = kvrpcpb::FlushRequest::default();
        req.set_context(self.world.context());
        req.set_start_ts(open.txn.start);
        req.set_primary_key(primary);
        req.set_generation(open.flushes.generation);
        req.set_lock_ttl(TTL_MS);
        for (key, value) in changes {
            let mut mutation = kvrpcpb::Mutation::default();
            mutation.set_key(key.clone());
            match value {
                Some(value) => mutation.set_value(value.clone()),
                None => mutation.set_op(kvrpcpb::Op::Del),
            }
            req.mut_mutations().push(mutation);
        }
        req
    }

    /// A copy of a request that was on its way for long.
    async fn send_again(&self, request: kvrpcpb::FlushRequest) -> Result<(), Died> {
        match self.call(Flush::try_from(request).unwrap()).await? {
            Ok(_) | Err(Error::Mvcc(MvccError::WriteConflict { .. })) => Ok(()),
            Err(error) => panic!("a late flush: {error}"),
        }
    }

    async fn give_up_flushes(&self, open: &Open) -> Result<(), Stop> {
        let keys: BTreeSet<RawKey> = open.txn.writes.keys().cloned().collect();
        self.roll_back(open, &keys).await?;
        Err(Stop::GivenUp)
    }

    /// What it has flushed is what it finds, unless somebody has ended it.
    async fn read_flushed(&self, open: &mut Open) {
        let flushed = &open.flushes.keys;
        let keys = flushed.keys().map(|key| Key::from_raw(key)).collect();
        let start = TimeStamp::new(open.txn.start);
        let read =
            self.world
                .storage
                .buffer_batch_get(self.world.context(), keys, start, tracker());
        let found = read.await.unwrap();
        open.flushes.lost |= found.len() < flushed.len();
        for (key, entry) in found {
            let expected = flushed[&key].clone().unwrap_or_default();
            assert_eq!(entry.value, expected, "{:?} of {:?}", key, open.txn);
        }
    }

    /// Flushes the rest and commits, in two phases.
    pub(super) async fn finish_pipelined(&self, open: &mut Open) -> Told {
        match self.flush(open).await {
            Ok(()) => {}
            Err(Stop::GivenUp) => return Told::Failed,
            Err(Stop::Died) => return Told::Nothing,
        }
        let Some(primary) = open.primary.clone() else {
            return Told::Committed(open.txn.start);
        };
        let keys: BTreeSet<RawKey> = open.txn.writes.keys().cloned().collect();
        let told = self.commit(open, &primary, &keys).await;
        let told = told.unwrap_or(Told::Nothing);
        let committed = matches!(told, Told::Committed(_));
        assert!(!committed || !open.flushes.lost, "{:?}", open.txn);
        if let Some(last) = open.flushes.last.take().filter(|_| self.rng.chance(1, 3)) {
            // Whatever became of the transaction; and whoever sends it may die of that.
            let _ = self.send_again(last).await;
        }
        told
    }
}
