//! KvPrewrite of an optimistic transaction: checks every key and locks them all, or none.
//!
//! Errors of single keys are collected so that the client can resolve all locks at once:
//! 1. locks of others are collected, and the loop goes on;
//! 2. a failed assertion is held back until the end: it may only be a consequence of a real conflict;
//! 3. anything else ends the request at once.
//!
//! Before 1 or a conflict is reported, the key is searched for a commit record of the transaction itself: the request
//! may be a late copy, and then it has long succeeded.
//!
//! Async commit and one-phase commit are not served yet. A request for them that allows a fall-back is carried out as
//! an ordinary prewrite and says so with zero timestamps. One that sets no `max_commit_ts` promises that no fall-back
//! is needed, and clients take the zeros for commit timestamps: it is refused.
//!
//! Must never: write anything while a key is refused.

use api_version::{ApiVersion, CommandKind};
use kv::Snapshot;
use kvproto::kvrpcpb::{self, Context, LockInfo, Op};
use mvcc::{MvccTxn, SnapshotReader, TxnCommitRecord};
use txn_types::{Key, Mutation, MutationOp, TimeStamp, WriteType};

use super::take_context;
use crate::api::check_txn_keys;
use crate::limits::{Limits, check_ts};
use crate::txn::actions::assertion::AssertionLevel;
use crate::txn::actions::prewrite::{PrewriteProps, prewrite_mutation};
use crate::txn::command::{WriteCommand, WriteContext, WriteResult, decide};
use crate::{Error, Result};

/// From more mutations than this on, one probe of the whole range pays against a check of each key.
const RANGE_PROBE_MUTATIONS_MIN: usize = 12;

/// A prewrite request.
#[derive(Debug)]
pub struct Prewrite {
    ctx: Context,
    mutations: Vec<Mutation>,
    primary: Vec<u8>,
    start_ts: TimeStamp,
    lock_ttl: u64,
    txn_size: u64,
    min_commit_ts: TimeStamp,
    assertion_level: AssertionLevel,
    skip_constraint_check: bool,
    try_one_pc: bool,
}

/// What became of a prewrite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrewriteResult {
    /// Locks in the way; when there is one, nothing was written.
    pub locks: Vec<LockInfo>,
    /// Where the transaction committed, when an earlier copy of the request had led to that; otherwise zero.
    pub min_commit_ts: TimeStamp,
    /// The same, when one-phase commit was asked for; otherwise zero.
    pub one_pc_commit_ts: TimeStamp,
}

impl TryFrom<kvrpcpb::PrewriteRequest> for Prewrite {
    type Error = Error;

    fn try_from(mut req: kvrpcpb::PrewriteRequest) -> Result<Self> {
        check_served(&req)?;
        let start_ts = TimeStamp::from(req.get_start_version());
        check_ts("start_version", start_ts)?;
        if req.get_mutations().is_empty() {
            return Err(Error::InvalidRequest("no mutations".to_owned()));
        }
        let mutations: Result<Vec<_>> = req.take_mutations().into_iter().map(mutation).collect();
        Ok(Self {
            ctx: take_context(req.context.take()),
            mutations: mutations?,
            primary: req.take_primary_lock(),
            start_ts,
            lock_ttl: req.get_lock_ttl(),
            txn_size: req.get_txn_size(),
            min_commit_ts: req.get_min_commit_ts().into(),
            assertion_level: req.get_assertion_level().into(),
            skip_constraint_check: req.get_skip_constraint_check(),
            try_one_pc: req.get_try_one_pc(),
        })
    }
}

fn check_served(req: &kvrpcpb::PrewriteRequest) -> Result<()> {
    let refuse = |what: &str| Err(Error::Unsupported(what.to_owned()));
    if req.get_for_update_ts() != 0 {
        return refuse("pessimistic transactions (for_update_ts is not 0)");
    }
    if !req.get_txn_file_chunks().is_empty() {
        return refuse("file-based transactions (txn_file_chunks)");
    }
    if req.get_max_commit_ts() == 0 {
        if req.get_use_async_commit() {
            return refuse("async commit without a fall-back (max_commit_ts is 0)");
        }
        if req.get_try_one_pc() {
            return refuse("one-phase commit without a fall-back (max_commit_ts is 0)");
        }
    }
    Ok(())
}

fn mutation(mut wire: kvrpcpb::Mutation) -> Result<Mutation> {
    let op = match wire.get_op() {
        Op::Put => MutationOp::Put,
        Op::Del => MutationOp::Delete,
        Op::Lock => MutationOp::Lock,
        Op::Insert => MutationOp::Insert,
        Op::CheckNotExists => MutationOp::CheckNotExists,
        op @ (Op::SharedLock | Op::SharedPessimisticLock | Op::PessimisticLock) => {
            return Err(Error::Unsupported(format!(
                "prewrite with mutation type {op:?}"
            )));
        }
        Op::Rollback => {
            return Err(Error::InvalidRequest(
                "prewrite with mutation type Rollback".to_owned(),
            ));
        }
    };
    let value = if op.has_value() {
        wire.take_value()
    } else {
        Vec::new()
    };
    let mut mutation = Mutation::new(op, Key::from_raw(wire.get_key()), value);
    mutation.assertion = wire.get_assertion().into();
    Ok(mutation)
}

impl WriteCommand for Prewrite {
    type Output = PrewriteResult;

    const KIND: &'static str = "prewrite";

    fn context(&self) -> &Context {
        &self.ctx
    }

    fn keys(&self) -> Vec<&[u8]> {
        self.mutations
            .iter()
            .map(|mutation| mutation.key.as_encoded())
            .collect()
    }

    fn write_bytes(&self) -> usize {
        self.mutations
            .iter()
            .map(|m| m.key.as_encoded().len() + m.value.len())
            .sum()
    }

    fn task_id(&self) -> u64 {
        self.start_ts.into_inner()
    }

    fn validate(&self, limits: &Limits) -> Result<()> {
        limits.check_key(&Key::from_raw(&self.primary))?;
        for mutation in &self.mutations {
            limits.check_key(&mutation.key)?;
            limits.check_value(&mutation.value)?;
        }
        Ok(())
    }

    fn check_api(&self, storage: ApiVersion) -> Result<()> {
        let keys = self.mutations.iter().map(|mutation| &mutation.key);
        check_txn_keys(storage, &self.ctx, CommandKind::Prewrite, keys)
    }

    fn process_write<S: Snapshot>(
        self,
        snapshot: S,
        ctx: &mut WriteContext<'_>,
    ) -> Result<WriteResult<PrewriteResult>> {
        if self
            .mutations
            .iter()
            .any(|mutation| mutation.op.should_not_exist())
        {
            // Whether the key exists is an answer about the state at `start_ts`: nothing may commit below it later.
            ctx.concurrency_manager
                .update_max_ts(self.start_ts, Self::KIND)?;
        }
        let request = self.ctx.clone();
        let decided = decide(self.start_ts, snapshot, &request, ctx, |txn, reader| {
            self.prewrite_all(txn, reader)
        })?;
        if decided.output == PrewriteResult::default() {
            return Ok(decided);
        }
        Ok(WriteResult::unchanged(decided.output))
    }
}

impl Prewrite {
    fn prewrite_all<S: Snapshot>(
        self,
        txn: &mut MvccTxn,
        reader: &mut SnapshotReader<S>,
    ) -> Result<PrewriteResult> {
        let props = PrewriteProps {
            start_ts: self.start_ts,
            primary: &self.primary,
            lock_ttl: self.lock_ttl,
            txn_size: self.txn_size,
            min_commit_ts: self.min_commit_ts,
            assertion_level: self.assertion_level,
            skip_constraint_check: self.skip_constraint_check
                || range_is_untouched(reader, &self.mutations)?,
            txn_source: self.ctx.get_txn_source(),
        };
        let mut result = PrewriteResult::default();
        let mut failed_assertion = None;
        for mutation in self.mutations {
            let key = mutation.key.clone();
            let Err(error) = prewrite_mutation(txn, reader, &props, mutation) else {
                continue;
            };
            if may_be_late_copy(&error, props.start_ts)
                && let Some(commit_ts) = own_commit(reader, &key)?
            {
                return Ok(PrewriteResult {
                    locks: Vec::new(),
                    min_commit_ts: commit_ts,
                    one_pc_commit_ts: if self.try_one_pc {
                        commit_ts
                    } else {
                        TimeStamp::zero()
                    },
                });
            }
            match error {
                mvcc::Error::KeyIsLocked(lock) => result.locks.push(*lock),
                error @ mvcc::Error::AssertionFailed { .. } => {
                    failed_assertion.get_or_insert(error);
                }
                error => return Err(error.into()),
            }
        }
        match failed_assertion {
            Some(error) => Err(error.into()),
            None => Ok(result),
        }
    }
}

/// Whether no record at all lies in the range of the keys, so that nothing can be newer.
fn range_is_untouched<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    mutations: &[Mutation],
) -> Result<bool> {
    if mutations.len() <= RANGE_PROBE_MUTATIONS_MIN {
        return Ok(false);
    }
    let keys = || mutations.iter().map(|mutation| &mutation.key);
    match (keys().min(), keys().max()) {
        (Some(first), Some(last)) => Ok(!reader.range_has_write(first, last)?),
        _ => Ok(false),
    }
}

/// Errors that an already committed transaction would meet when its prewrite arrives once more.
fn may_be_late_copy(error: &mvcc::Error, start_ts: TimeStamp) -> bool {
    match error {
        mvcc::Error::KeyIsLocked(_)
        | mvcc::Error::PessimisticLockNotFound { .. }
        | mvcc::Error::CommitTsTooLarge { .. } => true,
        mvcc::Error::WriteConflict {
            conflict_commit_ts, ..
        } => *conflict_commit_ts > start_ts,
        _ => false,
    }
}

/// Where the transaction has committed `key`, if it has.
fn own_commit<S: Snapshot>(reader: &mut SnapshotReader<S>, key: &Key) -> Result<Option<TimeStamp>> {
    Ok(match reader.get_txn_commit_record(key)? {
        TxnCommitRecord::SingleRecord { commit_ts, write }
            if write.write_type != WriteType::Rollback =>
        {
            Some(commit_ts)
        }
        _ => None,
    })
}
