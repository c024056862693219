//! From a prewrite request to the command, refusing what contradicts itself.
//! Must never: look at data or configuration.

use std::collections::HashSet;

use kvproto::kvrpcpb::{self, Op, PrewriteRequest, PrewriteRequest_PessimisticAction as Action};
use txn_types::{Key, Mutation, MutationOp, TimeStamp};

use super::prewrite::Prewrite;
use super::take_context;
use crate::limits::check_ts;
use crate::txn::actions::commit_mode::CommitKind;
use crate::txn::actions::prewrite::{KeyPrewrite, PessimisticAction};
use crate::{Error, Result};

pub(super) fn invalid<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::InvalidRequest(what.into()))
}

impl TryFrom<PrewriteRequest> for Prewrite {
    type Error = Error;

    fn try_from(mut req: PrewriteRequest) -> Result<Self> {
        if !req.get_txn_file_chunks().is_empty() {
            let what = "file-based transactions (txn_file_chunks)";
            return Err(Error::Unsupported(what.to_owned()));
        }
        let start_ts = TimeStamp::from(req.get_start_version());
        check_ts("start_version", start_ts)?;
        let for_update_ts = TimeStamp::from(req.get_for_update_ts());
        let min_commit_ts = TimeStamp::from(req.get_min_commit_ts());
        for (field, ts) in [
            ("for_update_ts", for_update_ts),
            ("min_commit_ts", min_commit_ts),
        ] {
            if !ts.is_zero() {
                check_ts(field, ts)?;
            }
        }
        if req.get_mutations().is_empty() {
            return invalid("no mutations");
        }
        let actions = pessimistic_actions(&req)?;
        let constraints = req.take_for_update_ts_constraints();
        let mutations = req.take_mutations().into_iter();
        let keys: Result<Vec<_>> = mutations
            .zip(actions)
            .map(|(wire, action)| {
                Ok(KeyPrewrite {
                    mutation: mutation(wire, !for_update_ts.is_zero())?,
                    action,
                    expected_for_update_ts: None,
                })
            })
            .collect();
        let mut keys = keys?;
        for constraint in constraints {
            let index = constraint.get_index() as usize;
            match keys.get_mut(index) {
                Some(key) => {
                    let expected = constraint.get_expected_for_update_ts();
                    key.expected_for_update_ts = Some(expected.into());
                }
                None => return invalid(format!("for_update_ts_constraints: no mutation {index}")),
            }
        }
        Ok(Self {
            ctx: take_context(req.context.take()),
            kind: commit_kind(&req, &keys),
            keys,
            primary: req.take_primary_lock(),
            start_ts,
            lock_ttl: req.get_lock_ttl(),
            txn_size: req.get_txn_size(),
            for_update_ts,
            min_commit_ts,
            max_commit_ts: req.get_max_commit_ts().into(),
            secondaries: req.take_secondaries().into_vec(),
            assertion_level: req.get_assertion_level().into(),
            skip_constraint_check: req.get_skip_constraint_check(),
        })
    }
}

/// How the transaction wants to commit.
fn commit_kind(req: &PrewriteRequest, keys: &[KeyPrewrite]) -> CommitKind {
    if req.get_try_one_pc() {
        // A key that is named twice cannot be committed twice; with a lock the second is a copy of the first.
        let mut named = HashSet::with_capacity(keys.len());
        if keys.iter().all(|key| named.insert(&key.mutation.key)) {
            return CommitKind::OnePhase;
        }
    }
    if req.get_use_async_commit() {
        CommitKind::Async
    } else {
        CommitKind::TwoPhase
    }
}

/// What a pessimistic transaction expects, key by key. Where the list is shorter, nothing is expected.
fn pessimistic_actions(req: &PrewriteRequest) -> Result<Vec<PessimisticAction>> {
    let (given, mutations) = (req.get_pessimistic_actions(), req.get_mutations().len());
    if given.len() > mutations {
        return invalid(format!(
            "{} pessimistic_actions for {mutations} mutations",
            given.len()
        ));
    }
    let mut actions: Vec<_> = given.iter().map(|action| from_wire(*action)).collect();
    actions.resize(mutations, PessimisticAction::Skip);
    if req.get_for_update_ts() == 0 {
        // An optimistic transaction locked nothing before.
        actions.fill(PessimisticAction::Skip);
    }
    Ok(actions)
}

fn from_wire(action: Action) -> PessimisticAction {
    match action {
        Action::SKIP_PESSIMISTIC_CHECK => PessimisticAction::Skip,
        Action::DO_PESSIMISTIC_CHECK => PessimisticAction::CheckLock,
        Action::DO_CONSTRAINT_CHECK => PessimisticAction::CheckConstraint,
    }
}

/// A change as a prewrite or a flush brings it.
pub(super) fn mutation(mut wire: kvrpcpb::Mutation, is_pessimistic: bool) -> Result<Mutation> {
    let op = match wire.get_op() {
        Op::Put => MutationOp::Put,
        Op::Del => MutationOp::Delete,
        Op::Lock => MutationOp::Lock,
        Op::SharedLock => MutationOp::SharedLock,
        Op::Insert => MutationOp::Insert,
        Op::CheckNotExists if is_pessimistic => {
            return invalid("CheckNotExists in a pessimistic transaction");
        }
        Op::CheckNotExists => MutationOp::CheckNotExists,
        op @ (Op::SharedPessimisticLock | Op::PessimisticLock | Op::Rollback) => {
            return invalid(format!("prewrite with mutation type {op:?}"));
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
