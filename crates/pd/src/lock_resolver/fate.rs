//! What became of a transaction, asked from its primary key and, after an asynchronous commit, from
//! every key that it wrote.
//!
//! The rules are those of clients, with one difference: nothing is taken for dead because somebody
//! would like to go on. A transaction whose time to live has not run out is alive.

use std::collections::HashMap;

use kvproto::kvrpcpb::{
    Action, CheckSecondaryLocksRequest, CheckTxnStatusRequest, CheckTxnStatusResponse, KeyError,
    LockInfo,
};

use super::LockResolver;
use super::attempts::key_error;
use super::page::{TxnKey, TxnLocks, encoded, within};
use super::stores::CallError;

/// Bytes of fates that are remembered.
const CACHE_BYTES_MAX: usize = 1 << 20;
/// What one costs beside its key.
const CACHED_BYTES: usize = 96;
/// Keys of one CheckSecondaryLocks.
const SECONDARIES_AT_A_TIME: usize = 256;

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// At this timestamp.
    Committed(u64),
    /// For good.
    RolledBack,
    /// Its primary key holds neither a lock nor a record. It may go on elsewhere, without the
    /// statement whose locks these are.
    Abandoned,
    /// Nobody may touch its locks, for this reason.
    Alive(String),
}

/// Who holds the safe point back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The start of the transaction.
    pub(crate) start_ts: u64,
    /// Its primary key.
    pub(crate) primary: Vec<u8>,
    /// Why its locks were not resolved.
    pub(crate) reason: String,
}

/// Fates by transaction, up to a number of bytes. Only those that last for a run.
#[derive(Debug, Default)]
pub(super) struct Fates {
    known: HashMap<TxnKey, Fate>,
    bytes: usize,
}

impl Fates {
    pub(super) fn get(&self, txn: &TxnKey) -> Option<&Fate> {
        self.known.get(txn)
    }

    pub(super) fn insert(&mut self, txn: TxnKey, fate: Fate) {
        if fate == Fate::Abandoned {
            return;
        }
        // To ask again is cheap: no need to choose whom to forget.
        if self.bytes >= CACHE_BYTES_MAX {
            self.known.clear();
            self.bytes = 0;
        }
        let bytes = CACHED_BYTES + txn.primary.len();
        if self.known.insert(txn, fate).is_none() {
            self.bytes += bytes;
        }
    }
}

/// What a primary key says.
enum Verdict {
    Is(Fate),
    /// It may have committed asynchronously: its keys decide.
    AskSecondaries(Box<LockInfo>),
}

/// What the keys of an asynchronous commit say.
enum Secondaries {
    Say(Fate),
    /// It went on as an ordinary commit.
    NotAsync,
}

/// How a primary key is asked.
#[derive(Clone, Copy)]
struct Question {
    now: u64,
    /// Whether a primary key without a trace means that it never will have one.
    rollback_if_not_exist: bool,
    force_sync_commit: bool,
}

impl LockResolver {
    /// What became of the transaction of these locks.
    pub(super) async fn fate(&self, txn: &TxnKey, locks: &TxnLocks) -> Result<Fate, CallError> {
        let now = self.caller.stores().timestamp().await?;
        let mut question = Question {
            now,
            // Its other locks may be written before the one of the primary key is.
            rollback_if_not_exist: is_expired(txn.start_ts, locks.ttl, now),
            force_sync_commit: false,
        };
        let primary = match self.ask_primary(txn, question).await? {
            Verdict::Is(fate) => return Ok(fate),
            Verdict::AskSecondaries(lock) => lock,
        };
        if let Secondaries::Say(fate) = self.ask_secondaries(txn.start_ts, *primary).await? {
            return Ok(fate);
        }
        question.force_sync_commit = true;
        match self.ask_primary(txn, question).await? {
            Verdict::Is(fate) => Ok(fate),
            Verdict::AskSecondaries(_) => Ok(alive("its primary key is locked")),
        }
    }

    async fn ask_primary(&self, txn: &TxnKey, question: Question) -> Result<Verdict, CallError> {
        let build = |_: &_| {
            let mut request = CheckTxnStatusRequest::default();
            request.set_primary_key(txn.primary.clone());
            request.set_lock_ts(txn.start_ts);
            request.set_current_ts(question.now);
            request.set_rollback_if_not_exist(question.rollback_if_not_exist);
            request.set_force_sync_commit(question.force_sync_commit);
            request.set_resolving_pessimistic_lock(txn.pessimistic);
            request.set_verify_is_primary(true);
            request
        };
        let (_, answer) = self.caller.call(&encoded(&txn.primary), build).await?;
        Ok(verdict(txn, question, answer))
    }

    /// Asks every key. What one of them says that has no lock any more is final: the store has seen
    /// to that before it answered.
    async fn ask_secondaries(
        &self,
        start_ts: u64,
        mut primary: LockInfo,
    ) -> Result<Secondaries, CallError> {
        let mut commit_ts = primary.get_min_commit_ts();
        let mut keys = primary.take_secondaries().into_vec();
        keys.sort_unstable();
        keys.dedup();
        let mut rest = keys.as_slice();
        while let Some(first) = rest.first() {
            let mut asked = 0;
            let build = |place: &super::Place| {
                asked = within(rest, &place.end).clamp(1, SECONDARIES_AT_A_TIME);
                let mut request = CheckSecondaryLocksRequest::default();
                request.set_keys(rest[..asked].to_vec().into());
                request.set_start_version(start_ts);
                request
            };
            let (_, answer) = self.caller.call(&encoded(first), build).await?;
            if answer.has_error() {
                return Ok(Secondaries::Say(refused(answer.get_error())));
            }
            let locks = answer.get_locks();
            if locks.len() < asked {
                let fate = match answer.get_commit_ts() {
                    0 => Fate::RolledBack,
                    commit_ts => Fate::Committed(commit_ts),
                };
                return Ok(Secondaries::Say(fate));
            }
            if locks.iter().any(|lock| !lock.get_use_async_commit()) {
                return Ok(Secondaries::NotAsync);
            }
            let latest = locks.iter().map(LockInfo::get_min_commit_ts).max();
            commit_ts = commit_ts.max(latest.unwrap_or_default());
            rest = &rest[asked..];
        }
        Ok(Secondaries::Say(if commit_ts > start_ts {
            Fate::Committed(commit_ts)
        } else {
            alive("its locks name no commit timestamp")
        }))
    }
}

fn verdict(txn: &TxnKey, question: Question, mut answer: CheckTxnStatusResponse) -> Verdict {
    if answer.has_error() {
        return Verdict::Is(failed(txn, question, answer.get_error()));
    }
    // Before the time to live: that of an asynchronous commit may have run out.
    if answer.has_lock_info() {
        let lock = answer.take_lock_info();
        let expired = is_expired(txn.start_ts, answer.get_lock_ttl(), question.now);
        if lock.get_use_async_commit() && expired && !question.force_sync_commit {
            return Verdict::AskSecondaries(Box::new(lock));
        }
        return Verdict::Is(alive("its time to live has not run out"));
    }
    Verdict::Is(match (answer.get_commit_version(), answer.get_action()) {
        _ if answer.get_lock_ttl() > 0 => alive("its time to live has not run out"),
        (0, Action::LockNotExistDoNothing | Action::TTLExpirePessimisticRollback) => {
            if txn.pessimistic {
                Fate::Abandoned
            } else {
                alive("the store tells only what became of a statement")
            }
        }
        (0, _) => Fate::RolledBack,
        (commit_ts, _) => Fate::Committed(commit_ts),
    })
}

fn failed(txn: &TxnKey, question: Question, error: &KeyError) -> Fate {
    if error.has_txn_not_found() && !question.rollback_if_not_exist {
        return alive("its primary key may yet be written");
    }
    // A statement that was repeated with another primary key leaves such locks.
    if error.has_primary_mismatch() && txn.pessimistic {
        return Fate::Abandoned;
    }
    refused(error)
}

/// An answer of which nothing follows: the transaction is let alone.
fn refused(error: &KeyError) -> Fate {
    alive(&format!(
        "a store does not tell its fate: {}",
        key_error(error)
    ))
}

fn alive(reason: &str) -> Fate {
    Fate::Alive(reason.to_owned())
}

/// Whether a lock has outlived its time, by timestamps alone, as stores judge it.
fn is_expired(start_ts: u64, ttl: u64, now: u64) -> bool {
    const LOGICAL_BITS: u32 = 18;
    (start_ts >> LOGICAL_BITS).saturating_add(ttl) < now >> LOGICAL_BITS
}
