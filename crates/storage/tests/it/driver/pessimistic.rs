//! Lock requests in the scripts, also such that wait while the script goes on.
//!
//! `acquire … as=name` begins a request and says whether it waits; `advance ms=20` moves time; `finished` tells what
//! was answered since, in the order of the answers' names. Without `as` the request does not wait.

use std::time::Duration;

use api_version::KvFormat;
use engine_mem::MemEngine;
use futures::FutureExt as _;
use kv::{Engine, Snapshot as _, SnapshotContext};
use kvproto::kvrpcpb::{self, Op, PessimisticLockWakeUpMode};
use online_config::ReadableDuration;
use storage::{AcquirePessimisticLock, KeyLocked, PessimisticLocked, PessimisticRollback, Result};
use txn_types::Key;

use super::parse::{Call, parse_key};
use super::show;
use super::world::{World, tracker};

type Lines = Vec<String>;

impl<F: KvFormat> World<MemEngine, F> {
    pub(super) fn pessimistic_call(&self, call: &Call) -> Option<Result<Lines>> {
        Some(match call.name.as_str() {
            "acquire" => self.acquire(call),
            "finished" => Ok(self.finished()),
            "advance" => {
                self.stepper
                    .advance(Duration::from_millis(call.number("ms")));
                Ok(vec!["ok".to_owned()])
            }
            "pessimistic-rollback" => {
                let mut req = kvrpcpb::PessimisticRollbackRequest::default();
                req.set_context(self.context());
                req.set_start_version(call.number("start"));
                req.set_for_update_ts(call.number("for-update"));
                req.set_keys(call.keys("keys").into());
                PessimisticRollback::try_from(req).and_then(|command| {
                    self.run(self.storage.sched_txn_command(command, tracker()))
                        .map(|()| vec!["ok".to_owned()])
                })
            }
            "waits" => Ok(self.waits()),
            "memory" => Ok(self.memory()),
            // How locks are kept, and how long requests wait.
            "pessimistic-txn" => {
                let mode = call.word(0).unwrap_or("in-memory");
                let config = lock_manager::Config {
                    pipelined: mode != "sync",
                    in_memory: mode == "in-memory",
                    wait_for_lock_timeout: ReadableDuration::secs(1),
                    ..lock_manager::Config::default()
                };
                self.storage.set_pessimistic_txn(&config);
                Ok(vec!["ok".to_owned()])
            }
            _ => return None,
        })
    }

    fn acquire(&self, call: &Call) -> Result<Lines> {
        let command = AcquirePessimisticLock::try_from(self.acquire_request(call))?;
        let answer = self.storage.sched_txn_command(command, tracker());
        let Some(name) = call.text("as") else {
            return self.run(answer).map(locked);
        };
        let lines = answer.map(|answer| answer.map(locked).unwrap_or_else(|e| vec![error(&e)]));
        let mut pending = self.pending.borrow_mut();
        pending.push((name.to_owned(), self.start(lines)));
        self.stepper.run_until_stalled();
        let last = pending.len() - 1;
        match (&mut pending[last].1).now_or_never() {
            Some(lines) => {
                pending.pop();
                Ok(lines)
            }
            None => Ok(vec!["waits".to_owned()]),
        }
    }

    fn acquire_request(&self, call: &Call) -> kvrpcpb::PessimisticLockRequest {
        let mut req = kvrpcpb::PessimisticLockRequest::default();
        let mut ctx = self.context();
        ctx.set_resource_group_tag(call.bytes("tag"));
        req.set_context(ctx);
        req.set_start_version(call.number("start"));
        req.set_for_update_ts(match call.text("for-update") {
            Some(_) => call.number("for-update"),
            None => call.number("start"),
        });
        req.set_primary_lock(match call.text("primary") {
            Some(_) => call.bytes("primary"),
            None => b"p".to_vec(),
        });
        req.set_lock_ttl(call.text("ttl").map_or(3000, |_| call.number("ttl")));
        req.set_min_commit_ts(call.number("min-commit"));
        req.set_is_first_lock(call.flag("first-lock"));
        req.set_return_values(call.flag("values"));
        req.set_check_existence(call.flag("existence"));
        req.set_lock_only_if_exists(call.flag("only-if-exists"));
        req.set_wait_timeout(match (call.text("wait"), call.text("as")) {
            (Some(_), _) => i64::try_from(call.number("wait")).unwrap(),
            (None, Some(_)) => 0,
            (None, None) => -1,
        });
        if call.flag("force") {
            req.set_wake_up_mode(PessimisticLockWakeUpMode::WakeUpModeForceLock);
        }
        for line in &call.lines {
            let line = Call::parse(line, Vec::new());
            let mut mutation = kvrpcpb::Mutation::default();
            mutation.set_op(if call.flag("shared") {
                Op::SharedPessimisticLock
            } else {
                Op::PessimisticLock
            });
            mutation.set_key(parse_key(&line.name));
            if line.flag("not-exist") {
                mutation.set_assertion(kvrpcpb::Assertion::NotExist);
            }
            req.mut_mutations().push(mutation);
        }
        req
    }

    /// What was answered to those who waited.
    fn finished(&self) -> Lines {
        self.stepper.run_until_stalled();
        let mut out = Vec::new();
        self.pending
            .borrow_mut()
            .retain_mut(|(name, answer)| match answer.now_or_never() {
                None => true,
                Some(lines) => {
                    out.extend(lines.into_iter().map(|line| format!("{name}: {line}")));
                    false
                }
            });
        if out.is_empty() {
            out.push("nothing".to_owned());
        }
        out
    }

    fn waits(&self) -> Lines {
        let mut out: Lines = self
            .storage
            .lock_wait_info()
            .iter()
            .map(|wait| {
                format!(
                    "{} waits for {} on {} tag={}",
                    wait.get_txn(),
                    wait.get_wait_for_txn(),
                    show::bytes(wait.get_key()),
                    show::bytes(wait.get_resource_group_tag())
                )
            })
            .collect();
        if out.is_empty() {
            out.push("nobody".to_owned());
        }
        out
    }

    /// The locks that are not written.
    fn memory(&self) -> Lines {
        let ctx = SnapshotContext {
            flashback: true,
            ..SnapshotContext::new(self.context())
        };
        let snapshot = self.run(self.storage.engine().async_snapshot(ctx)).unwrap();
        let table = snapshot.memory_locks().unwrap();
        let line = |(key, lock): (Key, txn_types::Lock)| {
            let raw = key.to_raw().unwrap();
            let conflict = if lock.is_locked_with_conflict {
                " with conflict"
            } else {
                ""
            };
            format!("{}{conflict}", show::lock_info(&lock.into_lock_info(raw)))
        };
        let locks = table.scan(None, None, |_, _| true, usize::MAX).unwrap();
        let mut out: Lines = locks.into_iter().map(line).collect();
        if out.is_empty() {
            out.push("nothing".to_owned());
        }
        out
    }
}

fn error(error: &storage::Error) -> String {
    show::error(error)
}

fn locked(locked: PessimisticLocked) -> Lines {
    let value = |value: &Option<Vec<u8>>| value.as_deref().map_or("none".to_owned(), show::bytes);
    locked
        .keys
        .iter()
        .map(|key| match key {
            KeyLocked::Plain => "locked".to_owned(),
            KeyLocked::Value(found) => format!("value {}", value(found)),
            KeyLocked::Existence(true) => "exists".to_owned(),
            KeyLocked::Existence(false) => "absent".to_owned(),
            KeyLocked::WithConflict {
                value: found,
                commit_ts,
            } => format!("locked with conflict @{commit_ts}, value {}", value(found)),
        })
        .collect()
}
