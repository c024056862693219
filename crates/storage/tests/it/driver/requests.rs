//! The calls of the scripts: each becomes one request, and its answer becomes lines.

use std::time::Duration;

use api_version::KvFormat;
use engine_mem::MemEngine;
use engine_traits::{Cf, KvEngine};
use kvproto::kvrpcpb;
use storage::txn::command::TxnCommand;
use storage::{
    BatchRollback, CasRequest, CheckSecondaryLocks, CheckTxnStatus, Cleanup, CleanupResult, Commit,
    Error, Prewrite, RawScanRequest, ResolveLock, Result, ScanOptions, SecondaryLocksStatus,
    TxnHeartBeat, TxnStatus,
};
use txn_types::{
    Key, LastChange, Lock, LockType, Protected, SharedLocks, TimeStamp, Write, WriteType,
};

use super::parse::{Call, parse_key, parse_ts};
use super::show;
use super::world::{World, tracker};

type Lines = Vec<String>;

impl<F: KvFormat> World<MemEngine, F> {
    /// Carries out one call of a script.
    pub(crate) fn call(&self, call: &Call) -> Lines {
        self.txn_call(call)
            .or_else(|| self.pessimistic_call(call))
            .or_else(|| self.pipelined_call(call))
            .or_else(|| self.flashback_call(call))
            .or_else(|| self.read_call(call))
            .or_else(|| self.raw_call(call))
            .or_else(|| self.setup_call(call))
            .unwrap_or_else(|| panic!("unknown call: {}", call.name))
            .unwrap_or_else(|error| vec![show::error(&error)])
    }

    fn txn_call(&self, call: &Call) -> Option<Result<Lines>> {
        Some(match call.name.as_str() {
            "prewrite" => self.txn::<Prewrite, _>(self.prewrite(call), |result| {
                let mut out: Lines = result
                    .locks
                    .iter()
                    .map(|l| format!("KeyIsLocked {}", show::lock_info(l)))
                    .collect();
                if !result.min_commit_ts.is_zero() || !result.one_pc_commit_ts.is_zero() {
                    let (min, one_pc) = (result.min_commit_ts, result.one_pc_commit_ts);
                    out.push(format!(
                        "min-commit={} one-pc={}",
                        show::ts(min),
                        show::ts(one_pc)
                    ));
                }
                if out.is_empty() { ok() } else { out }
            }),
            "commit" => self.txn::<Commit, _>(self.commit(call), |at| {
                vec![format!("committed {}", show::ts(at))]
            }),
            "rollback" => self.txn::<BatchRollback, _>(self.rollback(call), |()| ok()),
            "cleanup" => self.txn::<Cleanup, _>(self.cleanup(call), |result| match result {
                CleanupResult::RolledBack => ok(),
                CleanupResult::Committed(at) => vec![format!("committed {}", show::ts(at))],
            }),
            "status" => self.txn::<CheckTxnStatus, _>(self.status(call), |s| vec![status(s)]),
            "heartbeat" => {
                self.txn::<TxnHeartBeat, _>(self.heartbeat(call), |ttl| vec![format!("ttl={ttl}")])
            }
            "secondary-locks" => self.txn::<CheckSecondaryLocks, _>(
                self.secondary_locks(call),
                |status| match status {
                    SecondaryLocksStatus::Locked(locks) => {
                        lines(locks.iter().map(show::lock_info).collect())
                    }
                    SecondaryLocksStatus::Committed(at) => {
                        vec![format!("committed {}", show::ts(at))]
                    }
                    SecondaryLocksStatus::RolledBack => vec!["rolled back".to_owned()],
                },
            ),
            "resolve" => self.txn::<ResolveLock, _>(self.resolve(call), |()| ok()),
            _ => return None,
        })
    }

    pub(super) fn txn<C, Req>(
        &self,
        req: Req,
        answer: impl FnOnce(C::Output) -> Lines,
    ) -> Result<Lines>
    where
        C: TxnCommand + TryFrom<Req, Error = Error>,
    {
        let command = C::try_from(req)?;
        self.run(self.storage.sched_txn_command(command, tracker()))
            .map(answer)
    }

    fn prewrite(&self, call: &Call) -> kvrpcpb::PrewriteRequest {
        let mut req = kvrpcpb::PrewriteRequest::default();
        let mut ctx = self.context();
        ctx.set_txn_source(call.number("source"));
        ctx.set_is_retry_request(call.flag("retry"));
        req.set_context(ctx);
        req.set_start_version(call.number("start"));
        req.set_primary_lock(call.bytes("primary"));
        req.set_lock_ttl(call.text("ttl").map_or(3000, |_| call.number("ttl")));
        req.set_txn_size(call.number("size"));
        req.set_min_commit_ts(call.number("min-commit"));
        req.set_max_commit_ts(call.number("max-commit"));
        req.set_for_update_ts(call.number("for-update"));
        req.set_use_async_commit(call.flag("async"));
        req.set_try_one_pc(call.flag("one-pc"));
        req.set_skip_constraint_check(call.flag("skip-check"));
        req.set_assertion_level(assertion_level(call));
        req.set_secondaries(call.keys("secondaries").into());
        for (index, line) in call.lines.iter().enumerate() {
            let line = Call::parse(line, Vec::new());
            req.mut_mutations().push(mutation(&line));
            pessimistic_prewrite(&mut req, &line, index);
        }
        req
    }

    fn secondary_locks(&self, call: &Call) -> kvrpcpb::CheckSecondaryLocksRequest {
        let mut req = kvrpcpb::CheckSecondaryLocksRequest::default();
        req.set_context(self.context());
        req.set_start_version(call.number("start"));
        req.set_keys(call.keys("keys").into());
        req
    }

    fn commit(&self, call: &Call) -> kvrpcpb::CommitRequest {
        let mut req = kvrpcpb::CommitRequest::default();
        req.set_context(self.context());
        req.set_start_version(call.number("start"));
        req.set_commit_version(call.number("commit"));
        req.set_keys(call.keys("keys").into());
        req.set_commit_role(match call.text("role") {
            None => kvrpcpb::CommitRole::Unknown,
            Some("primary") => kvrpcpb::CommitRole::Primary,
            Some("secondary") => kvrpcpb::CommitRole::Secondary,
            Some(other) => panic!("unknown role {other}"),
        });
        req
    }

    fn rollback(&self, call: &Call) -> kvrpcpb::BatchRollbackRequest {
        let mut req = kvrpcpb::BatchRollbackRequest::default();
        req.set_context(self.context());
        req.set_start_version(call.number("start"));
        req.set_keys(call.keys("keys").into());
        req
    }

    fn cleanup(&self, call: &Call) -> kvrpcpb::CleanupRequest {
        let mut req = kvrpcpb::CleanupRequest::default();
        req.set_context(self.context());
        req.set_key(call.bytes("key"));
        req.set_start_version(call.number("start"));
        req.set_current_ts(call.number("current"));
        req
    }

    fn status(&self, call: &Call) -> kvrpcpb::CheckTxnStatusRequest {
        let mut req = kvrpcpb::CheckTxnStatusRequest::default();
        req.set_context(self.context());
        req.set_primary_key(call.bytes("primary"));
        req.set_lock_ts(call.number("lock"));
        req.set_caller_start_ts(call.number("caller"));
        req.set_current_ts(call.number("current"));
        req.set_rollback_if_not_exist(call.flag("rollback-if-missing"));
        req.set_force_sync_commit(call.flag("force-sync"));
        req.set_resolving_pessimistic_lock(call.flag("resolving-pessimistic"));
        req.set_verify_is_primary(call.flag("verify-primary"));
        req
    }

    fn heartbeat(&self, call: &Call) -> kvrpcpb::TxnHeartBeatRequest {
        let mut req = kvrpcpb::TxnHeartBeatRequest::default();
        req.set_context(self.context());
        req.set_primary_lock(call.bytes("primary"));
        req.set_start_version(call.number("start"));
        req.set_advise_lock_ttl(call.number("ttl"));
        req.set_min_commit_ts(call.number("min-commit"));
        req
    }

    fn resolve(&self, call: &Call) -> kvrpcpb::ResolveLockRequest {
        let mut req = kvrpcpb::ResolveLockRequest::default();
        req.set_context(self.context());
        req.set_start_version(call.number("start"));
        req.set_commit_version(call.number("commit"));
        req.set_keys(call.keys("keys").into());
        for pair in call
            .text("txns")
            .into_iter()
            .flat_map(|text| text.split(','))
        {
            let (txn, status) = pair.split_once(':').unwrap();
            let mut info = kvrpcpb::TxnInfo::default();
            info.set_txn(parse_ts(txn).into_inner());
            info.set_status(parse_ts(status).into_inner());
            req.mut_txn_infos().push(info);
        }
        req
    }

    fn read_context(&self, call: &Call) -> kvrpcpb::Context {
        let mut ctx = self.context();
        if call.flag("rc") {
            ctx.set_isolation_level(kvrpcpb::IsolationLevel::RC);
        }
        if call.flag("rc-check-ts") {
            ctx.set_isolation_level(kvrpcpb::IsolationLevel::RCCheckTS);
        }
        ctx.set_replica_read(call.flag("replica"));
        ctx.set_stale_read(call.flag("stale"));
        ctx.set_resolved_locks(call.numbers("bypass"));
        ctx.set_committed_locks(call.numbers("access"));
        ctx
    }

    fn read_call(&self, call: &Call) -> Option<Result<Lines>> {
        let ctx = self.read_context(call);
        let key = |field| Key::from_raw(&call.bytes(field));
        let bound = |field| call.text(field).map(|text| Key::from_raw(&parse_key(text)));
        Some(match call.name.as_str() {
            "get" => {
                let need = call.flag("need-commit-ts");
                let read = self
                    .storage
                    .get(ctx, key("key"), call.ts("ts"), need, tracker());
                self.run(read).map(|found| vec![entry(found)])
            }
            "batch-get" => {
                let keys = call
                    .keys("keys")
                    .iter()
                    .map(|key| Key::from_raw(key))
                    .collect();
                let read = self
                    .storage
                    .batch_get(ctx, keys, call.ts("ts"), false, tracker());
                self.run(read).map(pairs)
            }
            "scan" => {
                let options = ScanOptions {
                    limit: call.number("limit") as usize,
                    key_only: call.flag("key-only"),
                    reverse: call.flag("reverse"),
                    sample_step: call.number("step") as usize,
                };
                let (start, end) = (key("start"), bound("end"));
                let read = self
                    .storage
                    .scan(ctx, start, end, options, call.ts("ts"), tracker());
                self.run(read).map(pairs)
            }
            "scan-lock" => {
                let limit = call.number("limit") as usize;
                let (start, end) = (bound("start"), bound("end"));
                let scan =
                    self.storage
                        .scan_lock(ctx, call.ts("max"), start, end, limit, tracker());
                self.run(scan)
                    .map(|locks| lines(locks.iter().map(show::lock_info).collect()))
            }
            "mvcc" => {
                let read = self.storage.mvcc_by_key(ctx, key("key"), tracker());
                self.run(read).map(|info| vec![proto(&info)])
            }
            "mvcc-start" => {
                let read = self.storage.mvcc_by_start_ts(ctx, call.ts("ts"), tracker());
                self.run(read).map(|found| match found {
                    None => vec!["nothing".to_owned()],
                    Some((key, info)) => {
                        vec![show::bytes(&key.to_raw().unwrap()), proto(&info)]
                    }
                })
            }
            "delete-range" => {
                let notify = call.flag("notify-only");
                let (start, end) = (key("start"), key("end"));
                let deleted = self
                    .storage
                    .delete_range(ctx, start, end, notify, tracker());
                self.run(deleted).map(|()| ok())
            }
            _ => return None,
        })
    }

    fn raw_call(&self, call: &Call) -> Option<Result<Lines>> {
        let mut ctx = self.context();
        match call.text("api") {
            None => {}
            Some("v1") => ctx.set_api_version(kvrpcpb::APIVersion::V1),
            Some("v1ttl") => ctx.set_api_version(kvrpcpb::APIVersion::V1TTL),
            Some("v2") => ctx.set_api_version(kvrpcpb::APIVersion::V2),
            Some(other) => panic!("unknown API version {other}"),
        }
        let cf = call.text("cf").unwrap_or_default().to_owned();
        let key = call.bytes("key");
        let storage = &self.storage;
        Some(match call.name.as_str() {
            "raw-put" => {
                let pair = (key, call.bytes("value"));
                let ttl = call.number("ttl");
                self.run(storage.raw_put(ctx, cf, pair, ttl, tracker()))
                    .map(|()| ok())
            }
            "raw-batch-put" => {
                let pairs = call.lines.iter().map(|line| pair(line)).collect();
                let ttls = call.numbers("ttls");
                self.run(storage.raw_batch_put(ctx, cf, pairs, ttls, tracker()))
                    .map(|()| ok())
            }
            "raw-get" => self
                .run(storage.raw_get(ctx, cf, key, tracker()))
                .map(|found| vec![value(found.as_deref())]),
            "raw-batch-get" => self
                .run(storage.raw_batch_get(ctx, cf, call.keys("keys"), tracker()))
                .map(raw_pairs),
            "raw-delete" => self
                .run(storage.raw_delete(ctx, cf, key, tracker()))
                .map(|()| ok()),
            "raw-batch-delete" => {
                let keys = call.keys("keys");
                self.run(storage.raw_batch_delete(ctx, cf, keys, tracker()))
                    .map(|()| ok())
            }
            "raw-delete-range" => {
                let (start, end) = (call.bytes("start"), call.bytes("end"));
                self.run(storage.raw_delete_range(ctx, cf, start, end, tracker()))
                    .map(|()| ok())
            }
            "raw-scan" => {
                let request = RawScanRequest {
                    start: call.bytes("start"),
                    end: call.text("end").map(parse_key),
                    limit: call.number("limit") as usize,
                    key_only: call.flag("key-only"),
                    reverse: call.flag("reverse"),
                };
                self.run(storage.raw_scan(ctx, cf, request, tracker()))
                    .map(raw_pairs)
            }
            "raw-batch-scan" => {
                let scan = |line: &String| {
                    let (start, end) = pair(line);
                    RawScanRequest {
                        start,
                        end: Some(end).filter(|end| !end.is_empty()),
                        limit: call.number("limit") as usize,
                        key_only: call.flag("key-only"),
                        reverse: call.flag("reverse"),
                    }
                };
                let scans = call.lines.iter().map(scan).collect();
                self.run(storage.raw_batch_scan(ctx, cf, scans, tracker()))
                    .map(raw_pairs)
            }
            "raw-ttl" => self
                .run(storage.raw_get_key_ttl(ctx, cf, key, tracker()))
                .map(|ttl| vec![ttl.map_or("not found".to_owned(), |ttl| format!("{ttl} s"))]),
            "destroy-range" => {
                let (start, end) = (call.bytes("start"), call.bytes("end"));
                self.run(storage.unsafe_destroy_range(start, end))
                    .map(|()| ok())
            }
            "raw-checksum" => {
                let algorithm = kvrpcpb::ChecksumAlgorithm::Crc64_Xor;
                let ranges = call.lines.iter().map(|line| range(line)).collect();
                self.run(storage.raw_checksum(ctx, algorithm, ranges, tracker()))
                    .map(|sum| {
                        let (crc, kvs, bytes) = (sum.checksum, sum.total_kvs, sum.total_bytes);
                        vec![format!("crc={crc:016x} kvs={kvs} bytes={bytes}")]
                    })
            }
            "raw-cas" => {
                let request = CasRequest {
                    key,
                    expected: call.text("expect").map(parse_key),
                    value: call.bytes("value"),
                    ttl: call.number("ttl"),
                    delete: call.flag("delete"),
                };
                self.run(storage.raw_compare_and_swap(ctx, cf, request, tracker()))
                    .map(|result| {
                        let word = if result.succeed { "swapped" } else { "kept" };
                        vec![format!(
                            "{word}, previous {}",
                            value(result.previous.as_deref())
                        )]
                    })
            }
            _ => return None,
        })
    }

    fn setup_call(&self, call: &Call) -> Option<Result<Lines>> {
        let key = Key::from_raw(&call.bytes("key"));
        match call.name.as_str() {
            "lock" => self.put(Cf::Lock, &key, &lock(call).to_bytes()),
            "shared" => {
                let mut locks = SharedLocks::new();
                locks.shrink_only = call.flag("shrink-only");
                for line in &call.lines {
                    locks.insert(lock(&Call::parse(line, Vec::new()))).unwrap();
                }
                self.put(Cf::Lock, &key, &locks.to_bytes());
            }
            "record" => {
                let key = key.append_ts(call.ts("commit"));
                self.put(Cf::Write, &key, &record(call).to_bytes());
            }
            "data" => self.put(
                Cf::Default,
                &key.append_ts(call.ts("start")),
                &call.bytes("value"),
            ),
            // Many alike: `count` keys named `prefix` and a number.
            "many" => {
                for n in 0..call.number("count") {
                    let name = format!("{}{n:04}", call.text("prefix").unwrap_or_default());
                    self.put(
                        Cf::Lock,
                        &Key::from_raw(name.as_bytes()),
                        &lock(call).to_bytes(),
                    );
                }
            }
            "count" => return Some(Ok(self.count())),
            "compact" => self.engine.compact_range(Cf::Default, None, None).unwrap(),
            // Moves time.
            "wait" => self
                .stepper
                .advance(Duration::from_secs(call.number("secs"))),
            "safe-point" => {
                let safe_point = self.storage.concurrency_manager().safe_point();
                safe_point.advance(call.ts("to"));
                return Some(Ok(vec![format!("safe-point={}", safe_point.get())]));
            }
            "max-ts" => {
                let cm = self.storage.concurrency_manager();
                if call.text("limit").is_some() {
                    cm.set_max_ts_limit(call.ts("limit"));
                }
                return Some(Ok(vec![format!("max-ts={}", show::ts(cm.max_ts()))]));
            }
            "show" => return Some(Ok(self.show(call.word(0)))),
            _ => return None,
        }
        Some(Ok(ok()))
    }
}

pub(super) fn ok() -> Lines {
    vec!["ok".to_owned()]
}

pub(super) fn lines(lines: Lines) -> Lines {
    if lines.is_empty() {
        vec!["nothing".to_owned()]
    } else {
        lines
    }
}

fn status(status: TxnStatus) -> String {
    match status {
        TxnStatus::Committed { commit_ts } => format!("Committed {}", show::ts(commit_ts)),
        TxnStatus::Uncommitted {
            lock,
            min_commit_ts_pushed,
        } => {
            let word = if min_commit_ts_pushed {
                "MinCommitTSPushed"
            } else {
                "Alive"
            };
            let primary = lock.primary.clone();
            format!("{word} {}", show::lock_info(&lock.into_lock_info(primary)))
        }
        other => format!("{other:?}"),
    }
}

/// The message as it travels, long values by their length.
fn proto(info: &kvrpcpb::MvccInfo) -> String {
    if *info == kvrpcpb::MvccInfo::default() {
        return "nothing".to_owned();
    }
    let mut info = info.clone();
    for value in info.mut_values().iter_mut() {
        let shown = show::bytes(value.get_value()).into_bytes();
        value.set_value(shown);
    }
    format!("{info:?}")
}

fn value(found: Option<&[u8]>) -> String {
    found.map_or("not found".to_owned(), show::bytes)
}

fn entry(found: Option<storage::ValueEntry>) -> String {
    match found {
        None => "not found".to_owned(),
        Some(entry) => {
            let at = entry
                .commit_ts
                .map(|at| format!(" @{}", show::ts(at)))
                .unwrap_or_default();
            format!("{}{at}", show::bytes(&entry.value))
        }
    }
}

pub(super) fn pairs(pairs: Vec<Result<storage::KvPair>>) -> Lines {
    let line = |pair: Result<storage::KvPair>| match pair {
        Ok((key, entry)) => format!("{} = {}", show::bytes(&key), show::bytes(&entry.value)),
        Err(error) => show::error(&error),
    };
    lines(pairs.into_iter().map(line).collect())
}

fn raw_pairs(pairs: Vec<storage::RawKvPair>) -> Lines {
    let line = |(key, value): &(Vec<u8>, Vec<u8>)| {
        format!("{} = {}", show::bytes(key), show::bytes(value))
    };
    lines(pairs.iter().map(line).collect())
}

fn pair(line: &str) -> (Vec<u8>, Vec<u8>) {
    let (key, value) = line.split_once(' ').unwrap();
    (parse_key(key), parse_key(value))
}

fn range(line: &str) -> kvrpcpb::KeyRange {
    let (start, end) = pair(line);
    let mut range = kvrpcpb::KeyRange::default();
    range.set_start_key(start);
    range.set_end_key(end);
    range
}

/// How much work assertions are worth.
pub(super) fn assertion_level(call: &Call) -> kvrpcpb::AssertionLevel {
    match call.text("level") {
        None => kvrpcpb::AssertionLevel::Off,
        Some("fast") => kvrpcpb::AssertionLevel::Fast,
        Some("strict") => kvrpcpb::AssertionLevel::Strict,
        Some(other) => panic!("unknown level {other}"),
    }
}

/// What a pessimistic transaction expects of the mutation that stands at `index`.
fn pessimistic_prewrite(req: &mut kvrpcpb::PrewriteRequest, line: &Call, index: usize) {
    use kvrpcpb::PrewriteRequest_PessimisticAction as Action;
    if req.get_for_update_ts() == 0 {
        return;
    }
    req.mut_pessimistic_actions()
        .push(if line.flag("check-lock") || line.flag("pessimistic") {
            Action::DO_PESSIMISTIC_CHECK
        } else if line.flag("check-constraint") {
            Action::DO_CONSTRAINT_CHECK
        } else {
            Action::SKIP_PESSIMISTIC_CHECK
        });
    if line.text("expect").is_some() {
        let mut constraint = kvrpcpb::PrewriteRequest_ForUpdateTSConstraint::default();
        constraint.set_index(index as u32);
        constraint.set_expected_for_update_ts(line.number("expect"));
        req.mut_for_update_ts_constraints().push(constraint);
    }
}

pub(super) fn mutation(call: &Call) -> kvrpcpb::Mutation {
    use kvrpcpb::Op;
    let mut mutation = kvrpcpb::Mutation::default();
    mutation.set_op(match call.name.as_str() {
        "put" => Op::Put,
        "del" => Op::Del,
        "lock" => Op::Lock,
        "insert" => Op::Insert,
        "check-not-exists" => Op::CheckNotExists,
        "shared-lock" => Op::SharedLock,
        "rollback" => Op::Rollback,
        other => panic!("unknown mutation {other}"),
    });
    mutation.set_key(parse_key(call.word(0).unwrap()));
    if let Some(value) = call.word(1).filter(|word| !word.ends_with("exist")) {
        mutation.set_value(parse_key(value));
    }
    if call.flag("exist") {
        mutation.set_assertion(kvrpcpb::Assertion::Exist);
    } else if call.flag("not-exist") {
        mutation.set_assertion(kvrpcpb::Assertion::NotExist);
    }
    mutation
}

fn lock(call: &Call) -> Lock {
    let lock_type = match call.text("type").unwrap_or("put") {
        "put" => LockType::Put,
        "del" => LockType::Delete,
        "lock" => LockType::Lock,
        "pessimistic" => LockType::Pessimistic,
        other => panic!("unknown lock type {other}"),
    };
    let ttl = call.text("ttl").map_or(3000, |_| call.number("ttl"));
    let mut lock = Lock::new(lock_type, call.bytes("primary"), call.ts("ts"), ttl);
    lock.short_value = call.text("value").map(parse_key);
    lock.for_update_ts = call.ts("for-update");
    lock.min_commit_ts = call.ts("min-commit");
    lock.txn_size = call.number("size");
    lock.use_async_commit = call.flag("async");
    lock.secondaries = call.keys("secondaries");
    lock.rollback_ts = call
        .numbers("rollback-ts")
        .into_iter()
        .map(TimeStamp::new)
        .collect();
    lock.is_locked_with_conflict = call.flag("with-conflict");
    lock.generation = call.number("generation");
    lock
}

fn record(call: &Call) -> Write {
    let start = call.ts("start");
    let value = call.text("value").map(parse_key);
    let mut write = match call.text("type").unwrap_or("put") {
        "put" => Write::new(WriteType::Put, start, value),
        "del" => Write::new(WriteType::Delete, start, None),
        "lock" => Write::new(WriteType::Lock, start, None),
        "rollback" => {
            let protected = Protected::from(call.flag("protected"));
            Write::new_rollback(call.ts("commit"), protected)
        }
        other => panic!("unknown record type {other}"),
    };
    write.has_overlapped_rollback = call.flag("overlapped");
    write.gc_fence = call.text("fence").map(parse_ts);
    if call.flag("last-change-none") {
        write.last_change = LastChange::NotExist;
    }
    write
}
