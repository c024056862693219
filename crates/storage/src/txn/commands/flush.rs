//! KvFlush: a part of a transaction that is too large to be kept by its client until the commit (pipelined DML).
//!
//! The transaction is optimistic and commits in two phases. It comes in generations, each a flush of what was written
//! since the one before. A key that is written again is locked again by the newer generation, with the newer value;
//! an older generation that arrives late is ignored, key by key.
//!
//! Unlike a prewrite, a flush locks what it can: the client tries the keys that others have locked again, and there may
//! be very many keys besides. Any other error writes nothing.
//!
//! Must never: lower what readers were promised of a lock, or write anything with an error but a lock in the way.

use api_version::{ApiVersion, CommandKind};
use kv::Snapshot;
use kvproto::kvrpcpb::{self, Context, LockInfo};
use mvcc::{MvccTxn, SnapshotReader};
use txn_types::{Key, MutationOp, TimeStamp};

use super::prewrite::{may_be_late_copy, range_is_untouched};
use super::prewrite_request::{invalid, mutation};
use super::take_context;
use crate::api::check_txn_keys;
use crate::limits::{Limits, check_ts};
use crate::txn::actions::assertion::AssertionLevel;
use crate::txn::actions::commit_mode::{CommitKind, CommitMode};
use crate::txn::actions::prewrite::{KeyPrewrite, PessimisticAction, PrewriteProps, prewrite_key};
use crate::txn::command::{WriteCommand, WriteContext, WriteResult, decide};
use crate::{Error, Result};

/// So many keys that nobody who finds one of its locks looks for the others one by one.
const ANY_NUMBER_OF_KEYS: u64 = u64::MAX;

/// A flush request.
#[derive(Clone, Debug)]
pub struct Flush {
    ctx: Context,
    keys: Vec<KeyPrewrite>,
    primary: Vec<u8>,
    start_ts: TimeStamp,
    generation: u64,
    lock_ttl: u64,
    assertion_level: AssertionLevel,
}

impl TryFrom<kvrpcpb::FlushRequest> for Flush {
    type Error = Error;

    fn try_from(mut req: kvrpcpb::FlushRequest) -> Result<Self> {
        let start_ts = TimeStamp::from(req.get_start_ts());
        check_ts("start_ts", start_ts)?;
        if req.get_generation() == 0 {
            return invalid("generation: 0; the first flush is 1");
        }
        if req.get_mutations().is_empty() {
            return invalid("no mutations");
        }
        let keys: Result<Vec<_>> = req
            .take_mutations()
            .into_iter()
            .map(|wire| {
                let mutation = mutation(wire, false)?;
                if mutation.op == MutationOp::SharedLock {
                    return invalid("flush with mutation type SharedLock");
                }
                Ok(KeyPrewrite {
                    mutation,
                    action: PessimisticAction::Skip,
                    expected_for_update_ts: None,
                })
            })
            .collect();
        Ok(Self {
            ctx: take_context(req.context.take()),
            keys: keys?,
            primary: req.take_primary_key(),
            start_ts,
            generation: req.get_generation(),
            lock_ttl: req.get_lock_ttl(),
            assertion_level: req.get_assertion_level().into(),
        })
    }
}

impl WriteCommand for Flush {
    /// Locks in the way. The keys that they are not on were written.
    type Output = Vec<LockInfo>;

    const KIND: &'static str = "flush";

    fn context(&self) -> &Context {
        &self.ctx
    }

    fn keys(&self) -> Vec<&[u8]> {
        let keys = self.keys.iter();
        keys.map(|key| key.mutation.key.as_encoded()).collect()
    }

    fn write_bytes(&self) -> usize {
        let mutations = self.keys.iter().map(|key| &key.mutation);
        mutations
            .map(|m| m.key.as_encoded().len() + m.value.len())
            .sum()
    }

    fn task_id(&self) -> u64 {
        self.start_ts.into_inner()
    }

    fn begins(&self) -> Option<TimeStamp> {
        Some(self.start_ts)
    }

    fn validate(&self, limits: &Limits) -> Result<()> {
        limits.check_key(&Key::from_raw(&self.primary))?;
        for KeyPrewrite { mutation, .. } in &self.keys {
            limits.check_key(&mutation.key)?;
            limits.check_value(&mutation.value)?;
        }
        Ok(())
    }

    fn check_api(&self, storage: ApiVersion) -> Result<()> {
        let keys = self.keys.iter().map(|key| &key.mutation.key);
        check_txn_keys(storage, &self.ctx, CommandKind::Flush, keys)
    }

    fn process_write<S: Snapshot>(
        self,
        snapshot: S,
        ctx: &mut WriteContext<'_>,
    ) -> Result<WriteResult<Vec<LockInfo>>> {
        let should_not_exist = |key: &KeyPrewrite| key.mutation.op.should_not_exist();
        if self.keys.iter().any(should_not_exist) {
            // Whether the key exists is an answer about the state at `start_ts`: nothing may commit below it later.
            ctx.concurrency_manager
                .update_max_ts(self.start_ts, Self::KIND)?;
        }
        let two_phases = CommitMode::new(
            CommitKind::TwoPhase,
            ctx.concurrency_manager,
            TimeStamp::zero(),
            Vec::new(),
        );
        let (start_ts, request) = (self.start_ts, self.ctx.clone());
        let decided = decide(start_ts, snapshot, &request, ctx, |txn, reader| {
            self.flush_all(txn, reader, two_phases)
        })?;
        Ok(match decided.output {
            Flushed::Locked(locks) => WriteResult {
                modifies: decided.modifies,
                ..WriteResult::unchanged(locks)
            },
            Flushed::LateCopy => WriteResult::unchanged(Vec::new()),
        })
    }
}

/// What became of a flush.
enum Flushed {
    /// It is to be written, but for the keys of these locks.
    Locked(Vec<LockInfo>),
    /// Its transaction has committed: nothing is to be written.
    LateCopy,
}

impl Flush {
    fn flush_all<S: Snapshot>(
        self,
        txn: &mut MvccTxn,
        reader: &mut SnapshotReader<S>,
        mut mode: CommitMode<'_>,
    ) -> Result<Flushed> {
        let props = PrewriteProps {
            start_ts: self.start_ts,
            primary: &self.primary,
            lock_ttl: self.lock_ttl,
            txn_size: ANY_NUMBER_OF_KEYS,
            for_update_ts: TimeStamp::zero(),
            min_commit_ts: self.start_ts.next(),
            assertion_level: self.assertion_level,
            skip_constraint_check: range_is_untouched(reader, &self.keys)?,
            is_retry: self.ctx.get_is_retry_request(),
            txn_source: self.ctx.get_txn_source(),
            generation: self.generation,
        };
        let mut locks = Vec::new();
        let mut failed_assertion = None;
        for request in self.keys {
            let key = request.mutation.key.clone();
            let Err(error) = prewrite_key(txn, reader, &props, request, &mut mode) else {
                continue;
            };
            if may_be_late_copy(&error, props.start_ts)
                && reader.get_txn_commit_record(&key)?.committed_at().is_some()
            {
                return Ok(Flushed::LateCopy);
            }
            match error {
                mvcc::Error::KeyIsLocked(lock) => locks.push(*lock),
                error @ mvcc::Error::AssertionFailed { .. } => {
                    failed_assertion.get_or_insert(error);
                }
                error => return Err(error.into()),
            }
        }
        match failed_assertion {
            Some(error) => Err(error.into()),
            None => Ok(Flushed::Locked(locks)),
        }
    }
}
