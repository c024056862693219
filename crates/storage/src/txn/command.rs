//! What a write command is: keys to latch, and one pure decision.
//!
//! A command takes a snapshot and returns the changes and the answer. It owns no thread and no clock; the scheduler
//! owns latches, snapshot, write and answer.
//! Must never: touch the engine except through the snapshot it is given.

use std::future::Future;

use api_version::ApiVersion;
use concurrency_manager::{ConcurrencyManager, LockGuard};
use kv::{Engine, Modify, Snapshot};
use kvproto::kvrpcpb::Context;
use lock_manager::{LockManager, ReleasedLock};
use mvcc::{MvccTxn, SnapshotReader, Statistics};
use runtime::Clock;
use tracker::TrackerHandle;
use txn_types::{Key, TimeStamp};

use super::scheduler::Scheduler;
use super::status_cache::TxnStatusCache;
use crate::{Result, limits::Limits};

/// What a decision may use besides its snapshot.
pub struct WriteContext<'a> {
    /// To raise `max_ts` when the command answers about the state at a timestamp.
    pub concurrency_manager: &'a ConcurrencyManager,
    /// Tells when values expire.
    pub clock: &'a Clock,
    /// Transactions that committed lately.
    pub txn_status: &'a TxnStatusCache,
    /// Receives what the command's reads cost.
    pub statistics: &'a mut Statistics,
}

/// Whether the keys of a command's puts get a version before they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// They are written as they are.
    None,
    /// They get a timestamp of the placement driver, taken under the latches. One serves all keys of a command.
    Causal,
}

/// What a command decided.
#[derive(Debug)]
pub struct WriteResult<T> {
    /// The changes, applied as one; empty when nothing is to be written.
    pub modifies: Vec<Modify>,
    /// The answer, given after the changes are applied.
    pub output: T,
    /// Locks that the changes remove.
    pub released: Vec<ReleasedLock>,
    /// The changes commit a transaction that wrote no locks before.
    pub one_pc: bool,
    /// Start and commit timestamps of transactions that are known to be committed once the changes are applied.
    pub committed: Vec<(TimeStamp, TimeStamp)>,
    /// The answer may be given once the changes are bound to be applied.
    pub at_commit: bool,
    /// Locks that readers see until the changes are applied.
    pub memory_locks: Vec<LockGuard>,
}

impl<T> WriteResult<T> {
    /// An answer without changes.
    pub fn unchanged(output: T) -> Self {
        Self {
            modifies: Vec::new(),
            output,
            released: Vec::new(),
            one_pc: false,
            committed: Vec::new(),
            at_commit: false,
            memory_locks: Vec::new(),
        }
    }

    /// The changes collected in `txn`, and the answer.
    pub fn from_txn(mut txn: MvccTxn, output: T) -> Self {
        let released = txn.take_released();
        Self {
            modifies: txn.into_modifies(),
            released,
            ..Self::unchanged(output)
        }
    }
}

/// Runs the decision of one transaction: a buffer and a reader at its start timestamp, and what they cost.
pub(crate) fn decide<S: Snapshot, T>(
    start_ts: TimeStamp,
    snapshot: S,
    request: &Context,
    ctx: &mut WriteContext<'_>,
    decision: impl FnOnce(&mut MvccTxn, &mut SnapshotReader<S>) -> Result<T>,
) -> Result<WriteResult<T>> {
    let mut txn = MvccTxn::new(start_ts);
    let mut reader = SnapshotReader::new(start_ts, snapshot, !request.get_not_fill_cache());
    let output = decision(&mut txn, &mut reader);
    ctx.statistics.add(&reader.take_statistics());
    Ok(WriteResult::from_txn(txn, output?))
}

/// What a command of one transaction is about.
#[derive(Clone, Copy, Debug)]
pub struct TxnTarget<'a> {
    /// The request's envelope.
    pub ctx: &'a Context,
    /// Which transaction.
    pub start_ts: TimeStamp,
    /// The keys whose state the decision may read and change.
    pub keys: &'a [Key],
}

/// A [`WriteCommand`] of one transaction over a list of keys: the form of all that carry no values.
pub trait KeyedCommand: Clone + Send + 'static {
    /// The answer.
    type Output: Send + 'static;

    /// The label in metrics and logs.
    const KIND: &'static str;

    /// The transaction and its keys.
    fn target(&self) -> TxnTarget<'_>;

    /// Decides: reads through `reader`, collects changes in `txn`, and answers. Pure but for raising `max_ts`.
    fn decide<S: Snapshot>(
        &self,
        txn: &mut MvccTxn,
        reader: &mut SnapshotReader<S>,
        concurrency_manager: &ConcurrencyManager,
    ) -> Result<Self::Output>;

    /// Where the transaction is committed, if the answer says so.
    fn committed_at(&self, _output: &Self::Output) -> Option<TimeStamp> {
        None
    }
}

impl<C: KeyedCommand> WriteCommand for C {
    type Output = C::Output;

    const KIND: &'static str = C::KIND;

    fn context(&self) -> &Context {
        self.target().ctx
    }

    fn keys(&self) -> Vec<&[u8]> {
        self.target().keys.iter().map(Key::as_encoded).collect()
    }

    fn task_id(&self) -> u64 {
        self.target().start_ts.into_inner()
    }

    fn process_write<S: Snapshot>(
        self,
        snapshot: S,
        ctx: &mut WriteContext<'_>,
    ) -> Result<WriteResult<C::Output>> {
        let TxnTarget {
            ctx: request,
            start_ts,
            ..
        } = self.target();
        let concurrency_manager = ctx.concurrency_manager;
        let mut result = decide(start_ts, snapshot, request, ctx, |txn, reader| {
            self.decide(txn, reader, concurrency_manager)
        })?;
        if let Some(commit_ts) = self.committed_at(&result.output) {
            result.committed.push((start_ts, commit_ts));
        }
        Ok(result)
    }
}

/// A command that decides on one snapshot, under the latches of its keys, and writes once. A small one is cloned before
/// it is tried on what stands in memory.
pub trait WriteCommand: Clone + Send + 'static {
    /// The answer.
    type Output: Send + 'static;

    /// The label in metrics and logs.
    const KIND: &'static str;

    /// The request's envelope.
    fn context(&self) -> &Context;

    /// The encoded keys that no other command may touch meanwhile.
    fn keys(&self) -> Vec<&[u8]>;

    /// Bytes that count against the limit of pending writes.
    fn write_bytes(&self) -> usize {
        self.keys().iter().map(|key| key.len()).sum()
    }

    /// Identifies the work for the pool's accounting; commands of one transaction share it.
    fn task_id(&self) -> u64 {
        0
    }

    /// Whether it may be answered once its write is bound to be applied, where the configuration allows that.
    fn may_answer_at_commit(&self) -> bool {
        false
    }

    /// The start of the transaction whose changes it begins. When what it has to look at may have been collected, above
    /// all the newest records of its keys, it must not change anything. A command that ends a transaction has none: its
    /// locks have kept the collector from it.
    fn begins(&self) -> Option<TimeStamp> {
        None
    }

    /// Whether it is a step of a flashback: it reads and writes the region while others may not, and never on its
    /// caller's thread.
    fn flashback(&self) -> bool {
        false
    }

    /// Whether its puts get a version.
    fn stamp(&self) -> Stamp {
        Stamp::None
    }

    /// Refuses requests that no state of the data could make valid.
    fn validate(&self, _limits: &Limits) -> Result<()> {
        Ok(())
    }

    /// Refuses requests that do not fit the store's format.
    fn check_api(&self, _storage: ApiVersion) -> Result<()> {
        Ok(())
    }

    /// Decides. Pure but for raising `max_ts`.
    fn process_write<S: Snapshot>(
        self,
        snapshot: S,
        ctx: &mut WriteContext<'_>,
    ) -> Result<WriteResult<Self::Output>>;
}

/// Anything that `Storage::sched_txn_command` runs: a [`WriteCommand`], or a series of them.
pub trait TxnCommand: Send + 'static {
    /// The answer.
    type Output: Send + 'static;

    /// Refuses requests that do not fit the store's format.
    fn check_api(&self, _storage: ApiVersion) -> Result<()> {
        Ok(())
    }

    /// Runs the command. It begins now, or with the first poll, or when the future is dropped, and goes on to its end in
    /// any case. Whoever holds the future polls it when it is woken, or drops it.
    fn run<E: Engine, L: LockManager>(
        self,
        scheduler: &Scheduler<E, L>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Self::Output>> + Send + 'static + use<Self, E, L>;
}

impl<C: WriteCommand> TxnCommand for C {
    type Output = C::Output;

    fn check_api(&self, storage: ApiVersion) -> Result<()> {
        WriteCommand::check_api(self, storage)
    }

    fn run<E: Engine, L: LockManager>(
        self,
        scheduler: &Scheduler<E, L>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Self::Output>> + Send + 'static + use<C, E, L> {
        scheduler.run(self, tracker)
    }
}
