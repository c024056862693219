//! KvPrewrite: checks every key and locks them all, or none; or commits them all at once.
//!
//! Errors of single keys are collected so that the client can resolve all locks at once:
//! 1. locks of others are collected, and the loop goes on;
//! 2. a failed assertion is held back until the end: it may only be a consequence of a real conflict;
//! 3. anything else ends the request at once.
//!
//! Before 1 or a conflict is reported, the key is searched for a commit record of the transaction itself: the request
//! may be a late copy, and then it has long succeeded.
//!
//! How async commit and one-phase commit choose their timestamps, and when they fall back to two phases, is
//! [`CommitMode`]'s part.
//!
//! Must never: write anything while a key is refused.

use api_version::{ApiVersion, CommandKind};
use kv::Snapshot;
use kvproto::kvrpcpb::{Context, LockInfo};
use mvcc::{MvccTxn, SnapshotReader};
use txn_types::{Key, TimeStamp};

use crate::api::check_txn_keys;
use crate::limits::Limits;
use crate::txn::actions::assertion::AssertionLevel;
use crate::txn::actions::commit_mode::{CommitKind, CommitMode};
use crate::txn::actions::prewrite::{KeyPrewrite, PrewriteProps, prewrite_key};
use crate::txn::command::{WriteCommand, WriteContext, WriteResult};
use crate::{Error, Result};

/// From more mutations than this on, one probe of the whole range pays against a check of each key.
const RANGE_PROBE_MUTATIONS_MIN: usize = 12;

/// A prewrite request.
#[derive(Clone, Debug)]
pub struct Prewrite {
    pub(super) ctx: Context,
    pub(super) keys: Vec<KeyPrewrite>,
    pub(super) primary: Vec<u8>,
    pub(super) start_ts: TimeStamp,
    pub(super) lock_ttl: u64,
    pub(super) txn_size: u64,
    /// Zero for an optimistic transaction.
    pub(super) for_update_ts: TimeStamp,
    pub(super) min_commit_ts: TimeStamp,
    pub(super) max_commit_ts: TimeStamp,
    pub(super) kind: CommitKind,
    pub(super) secondaries: Vec<Vec<u8>>,
    pub(super) assertion_level: AssertionLevel,
    pub(super) skip_constraint_check: bool,
}

/// What became of a prewrite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrewriteResult {
    /// Locks in the way; when there is one, nothing was written.
    pub locks: Vec<LockInfo>,
    /// The least commit timestamp that these keys allow an async commit; also where the transaction committed, when
    /// an earlier copy of the request had led to that. Otherwise zero.
    pub min_commit_ts: TimeStamp,
    /// Where the transaction is committed, when one-phase commit was asked for and has succeeded; otherwise zero.
    pub one_pc_commit_ts: TimeStamp,
}

impl WriteCommand for Prewrite {
    type Output = PrewriteResult;

    const KIND: &'static str = "prewrite";

    fn context(&self) -> &Context {
        &self.ctx
    }

    fn keys(&self) -> Vec<&[u8]> {
        self.keys
            .iter()
            .map(|key| key.mutation.key.as_encoded())
            .collect()
    }

    fn write_bytes(&self) -> usize {
        let secondaries: usize = self.secondaries.iter().map(Vec::len).sum();
        let mutations = self.keys.iter().map(|key| &key.mutation);
        let mutations: usize = mutations
            .map(|m| m.key.as_encoded().len() + m.value.len())
            .sum();
        secondaries + mutations
    }

    fn task_id(&self) -> u64 {
        self.start_ts.into_inner()
    }

    fn begins(&self) -> Option<TimeStamp> {
        Some(self.start_ts)
    }

    fn may_answer_at_commit(&self) -> bool {
        self.kind != CommitKind::TwoPhase
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
        check_txn_keys(storage, &self.ctx, CommandKind::Prewrite, keys)
    }

    fn process_write<S: Snapshot>(
        mut self,
        snapshot: S,
        ctx: &mut WriteContext<'_>,
    ) -> Result<WriteResult<PrewriteResult>> {
        let should_not_exist = |key: &KeyPrewrite| key.mutation.op.should_not_exist();
        if self.keys.iter().any(should_not_exist) {
            // Whether the key exists is an answer about the state at `start_ts`: nothing may commit below it later.
            ctx.concurrency_manager
                .update_max_ts(self.start_ts, Self::KIND)?;
        }
        if self.kind != CommitKind::TwoPhase && !snapshot.max_ts_synced() {
            return Err(Error::MaxTimestampNotSynced {
                reason: "this leader does not know yet what its predecessor has read".to_owned(),
            });
        }
        if !self.for_update_ts.is_zero() && ctx.txn_status.committed(self.start_ts).is_some() {
            self.ctx.set_is_retry_request(true);
        }
        let fill_cache = !self.ctx.get_not_fill_cache();
        let mut txn = MvccTxn::new(self.start_ts);
        let mut reader = SnapshotReader::new(self.start_ts, snapshot, fill_cache);
        let mut mode = CommitMode::new(
            self.kind,
            ctx.concurrency_manager,
            self.max_commit_ts,
            std::mem::take(&mut self.secondaries),
        );
        let start_ts = self.start_ts;
        let decided = self.prewrite_all(&mut txn, &mut reader, &mut mode);
        ctx.statistics.add(&reader.take_statistics());
        if let Some(result) = decided? {
            return Ok(WriteResult::unchanged(result));
        }
        let kind = mode.kind();
        let (ts, memory_locks) = mode.finish(&mut txn);
        let one_pc = kind == CommitKind::OnePhase;
        let output = PrewriteResult {
            locks: Vec::new(),
            min_commit_ts: if one_pc { TimeStamp::zero() } else { ts },
            one_pc_commit_ts: if one_pc { ts } else { TimeStamp::zero() },
        };
        let mut result = WriteResult::from_txn(txn, output);
        result.one_pc = one_pc;
        result.at_commit = kind != CommitKind::TwoPhase;
        result.memory_locks = memory_locks;
        if one_pc {
            result.committed.push((start_ts, ts));
        }
        Ok(result)
    }
}

impl Prewrite {
    /// Locks all keys, or says why nothing is to be written.
    fn prewrite_all<S: Snapshot>(
        self,
        txn: &mut MvccTxn,
        reader: &mut SnapshotReader<S>,
        mode: &mut CommitMode<'_>,
    ) -> Result<Option<PrewriteResult>> {
        let try_one_pc = self.kind == CommitKind::OnePhase;
        let props = PrewriteProps {
            start_ts: self.start_ts,
            primary: &self.primary,
            lock_ttl: self.lock_ttl,
            txn_size: self.txn_size,
            for_update_ts: self.for_update_ts,
            min_commit_ts: self.min_commit_ts,
            assertion_level: self.assertion_level,
            skip_constraint_check: self.skip_constraint_check
                || (self.for_update_ts.is_zero() && range_is_untouched(reader, &self.keys)?),
            is_retry: self.ctx.get_is_retry_request(),
            txn_source: self.ctx.get_txn_source(),
            generation: 0,
        };
        let mut locks = Vec::new();
        let mut failed_assertion = None;
        for request in self.keys {
            let key = request.mutation.key.clone();
            let error = match prewrite_key(txn, reader, &props, request, mode) {
                Ok(min_commit_ts) => {
                    mode.allow(txn, min_commit_ts);
                    continue;
                }
                Err(error) => error,
            };
            if may_be_late_copy(&error, props.start_ts)
                && let Some(commit_ts) = reader.get_txn_commit_record(&key)?.committed_at()
            {
                return Ok(Some(already_committed(commit_ts, try_one_pc)));
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
            None if locks.is_empty() => Ok(None),
            None => Ok(Some(PrewriteResult {
                locks,
                ..PrewriteResult::default()
            })),
        }
    }
}

/// The answer to a copy of a request whose transaction has committed.
fn already_committed(commit_ts: TimeStamp, try_one_pc: bool) -> PrewriteResult {
    PrewriteResult {
        locks: Vec::new(),
        min_commit_ts: commit_ts,
        one_pc_commit_ts: if try_one_pc {
            commit_ts
        } else {
            TimeStamp::zero()
        },
    }
}

/// Whether no record at all lies in the range of the keys, so that nothing can be newer.
pub(super) fn range_is_untouched<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    requests: &[KeyPrewrite],
) -> Result<bool> {
    if requests.len() <= RANGE_PROBE_MUTATIONS_MIN {
        return Ok(false);
    }
    let keys = || requests.iter().map(|request| &request.mutation.key);
    match (keys().min(), keys().max()) {
        (Some(first), Some(last)) => Ok(!reader.range_has_write(first, last)?),
        _ => Ok(false),
    }
}

/// Errors that an already committed transaction would meet when its prewrite arrives once more.
pub(super) fn may_be_late_copy(error: &mvcc::Error, start_ts: TimeStamp) -> bool {
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
