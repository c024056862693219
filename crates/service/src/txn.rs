//! Futures of the transactional RPCs: request to command, outcome to response.

use std::future::Future;

use api_version::KvFormat;
use kv::Engine;
use kvproto::kvrpcpb::{
    Action, BatchGetRequest, BatchGetResponse, BatchRollbackRequest, BatchRollbackResponse,
    CheckSecondaryLocksRequest, CheckSecondaryLocksResponse, CheckTxnStatusRequest,
    CheckTxnStatusResponse, CleanupRequest, CleanupResponse, CommitRequest, CommitResponse,
    DeleteRangeRequest, DeleteRangeResponse, GetRequest, GetResponse, KeyError, KvPair,
    MvccGetByKeyRequest, MvccGetByKeyResponse, MvccGetByStartTsRequest, MvccGetByStartTsResponse,
    PrewriteRequest, PrewriteResponse, ResolveLockRequest, ResolveLockResponse, ScanLockRequest,
    ScanLockResponse, ScanRequest, ScanResponse, TxnHeartBeatRequest, TxnHeartBeatResponse,
};
use lock_manager::LockManager;
use storage::txn::command::TxnCommand;
use storage::txn::commands::{
    BatchRollback, CheckSecondaryLocks, CheckTxnStatus, Cleanup, CleanupResult, Commit, Prewrite,
    ResolveLock, SecondaryLocksStatus, TxnHeartBeat, TxnStatus,
};
use storage::{GetCommand, ScanOptions, Storage, ValueEntry};
use tracker::TrackerHandle;
use txn_types::{Key, TimeStamp};

use crate::errors;
use crate::message::{Request, Response, respond};

/// The single-key read as the storage takes it.
pub(crate) fn get_command(mut req: GetRequest, tracker: TrackerHandle) -> GetCommand {
    GetCommand {
        key: Key::from_raw(req.get_key()),
        ts: TimeStamp::from(req.get_version()),
        need_commit_ts: req.get_need_commit_ts(),
        ctx: req.take_context(),
        tracker,
    }
}

/// The response to a single-key read.
pub(crate) fn get_response(
    region_id: u64,
    found: storage::Result<Option<ValueEntry>>,
) -> GetResponse {
    respond(
        region_id,
        found,
        |resp: &mut GetResponse, found| match found {
            Some(entry) => {
                resp.set_value(entry.value);
                resp.set_commit_ts(entry.commit_ts.map_or(0, TimeStamp::into_inner));
            }
            None => resp.set_not_found(true),
        },
    )
}

/// The single-key read.
pub(crate) fn future_get<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: GetRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = GetResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let GetCommand {
        ctx,
        key,
        ts,
        need_commit_ts,
        tracker,
    } = get_command(req, tracker);
    let read = storage.get(ctx, key, ts, need_commit_ts, tracker);
    async move { get_response(region_id, read.await) }
}

/// Pairs of a read, each with its value or its error.
pub(crate) fn pairs(
    region_id: u64,
    read: Vec<storage::Result<mvcc::KvPair>>,
) -> protobuf::RepeatedField<KvPair> {
    read.into_iter()
        .map(|pair| {
            let mut message = KvPair::default();
            match pair {
                Ok((key, entry)) => {
                    message.set_key(key);
                    message.set_value(entry.value);
                    message.set_commit_ts(entry.commit_ts.map_or(0, TimeStamp::into_inner));
                }
                // The key is in the error; clients take it from there.
                Err(error) => message.set_error(errors::pair_error(&error, region_id)),
            }
            message
        })
        .collect()
}

/// The read of several keys.
pub(crate) fn future_batch_get<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: BatchGetRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = BatchGetResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let keys = req
        .get_keys()
        .iter()
        .map(|key| Key::from_raw(key))
        .collect();
    let version = TimeStamp::from(req.get_version());
    let need_commit_ts = req.get_need_commit_ts();
    let read = storage.batch_get(req.take_context(), keys, version, need_commit_ts, tracker);
    async move {
        respond(
            region_id,
            read.await,
            |resp: &mut BatchGetResponse, found| {
                resp.set_pairs(pairs(region_id, found));
            },
        )
    }
}

/// The read of a range.
pub(crate) fn future_scan<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: ScanRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = ScanResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let options = ScanOptions {
        limit: req.get_limit() as usize,
        key_only: req.get_key_only(),
        reverse: req.get_reverse(),
        sample_step: req.get_sample_step() as usize,
    };
    let version = TimeStamp::from(req.get_version());
    let start = Key::from_raw(req.get_start_key());
    let end = bound(req.get_end_key());
    let read = storage.scan(req.take_context(), start, end, options, version, tracker);
    async move {
        respond(region_id, read.await, |resp: &mut ScanResponse, found| {
            resp.set_pairs(pairs(region_id, found));
        })
    }
}

/// A bound of a range; the empty key is none.
fn bound(key: &[u8]) -> Option<Key> {
    (!key.is_empty()).then(|| Key::from_raw(key))
}

/// Turns a request into its command and runs it.
pub(crate) fn run<C, Req, Resp, Fill, E, L, F>(
    storage: &Storage<E, L, F>,
    req: Req,
    tracker: TrackerHandle,
    fill: Fill,
) -> impl Future<Output = Resp> + Send + 'static + use<C, Req, Resp, Fill, E, L, F>
where
    C: TxnCommand + TryFrom<Req, Error = storage::Error>,
    Req: Request,
    Resp: Response,
    Fill: FnOnce(&mut Resp, C::Output) + Send + 'static,
    E: Engine,
    L: LockManager,
    F: KvFormat,
{
    let region_id = req.context().get_region_id();
    let running = C::try_from(req).map(|command| storage.sched_txn_command(command, tracker));
    async move {
        let outcome = match running {
            Ok(running) => running.await,
            Err(error) => Err(error),
        };
        respond(region_id, outcome, fill)
    }
}

/// The first phase of a commit.
pub(crate) fn future_prewrite<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: PrewriteRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = PrewriteResponse> + Send + 'static + use<E, L, F> {
    run::<Prewrite, _, _, _, _, _, _>(
        storage,
        req,
        tracker,
        |resp: &mut PrewriteResponse, result| {
            resp.set_min_commit_ts(result.min_commit_ts.into_inner());
            resp.set_one_pc_commit_ts(result.one_pc_commit_ts.into_inner());
            for lock in result.locks {
                let mut error = KeyError::default();
                error.set_locked(lock);
                resp.mut_errors().push(error);
            }
        },
    )
}

/// The second phase of a commit.
pub(crate) fn future_commit<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: CommitRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = CommitResponse> + Send + 'static + use<E, L, F> {
    run::<Commit, _, _, _, _, _, _>(
        storage,
        req,
        tracker,
        |resp: &mut CommitResponse, commit_ts| {
            resp.set_commit_version(commit_ts.into_inner());
        },
    )
}

/// The old way to end a transaction by one of its keys.
pub(crate) fn future_cleanup<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: CleanupRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = CleanupResponse> + Send + 'static + use<E, L, F> {
    run::<Cleanup, _, _, _, _, _, _>(
        storage,
        req,
        tracker,
        |resp: &mut CleanupResponse, result| {
            if let CleanupResult::Committed(commit_ts) = result {
                resp.set_commit_version(commit_ts.into_inner());
            }
        },
    )
}

/// Rolls back keys of a transaction.
pub(crate) fn future_batch_rollback<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: BatchRollbackRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = BatchRollbackResponse> + Send + 'static + use<E, L, F> {
    run::<BatchRollback, _, _, _, _, _, _>(storage, req, tracker, |_, ()| {})
}

/// Keeps a transaction alive.
pub(crate) fn future_txn_heart_beat<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: TxnHeartBeatRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = TxnHeartBeatResponse> + Send + 'static + use<E, L, F> {
    run::<TxnHeartBeat, _, _, _, _, _, _>(
        storage,
        req,
        tracker,
        |resp: &mut TxnHeartBeatResponse, lock_ttl| resp.set_lock_ttl(lock_ttl),
    )
}

/// What became of a transaction.
pub(crate) fn future_check_txn_status<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: CheckTxnStatusRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = CheckTxnStatusResponse> + Send + 'static + use<E, L, F> {
    run::<CheckTxnStatus, _, _, _, _, _, _>(storage, req, tracker, txn_status)
}

/// Whether the other locks of an async commit are all there.
pub(crate) fn future_check_secondary_locks<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: CheckSecondaryLocksRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = CheckSecondaryLocksResponse> + Send + 'static + use<E, L, F> {
    run::<CheckSecondaryLocks, _, _, _, _, _, _>(
        storage,
        req,
        tracker,
        |resp: &mut CheckSecondaryLocksResponse, status| match status {
            SecondaryLocksStatus::Locked(locks) => resp.set_locks(locks.into()),
            SecondaryLocksStatus::Committed(at) => resp.set_commit_ts(at.into_inner()),
            // Neither locks nor a commit timestamp.
            SecondaryLocksStatus::RolledBack => {}
        },
    )
}

/// The table of client.md 5.2: clients panic on any other combination of fields.
fn txn_status(resp: &mut CheckTxnStatusResponse, status: TxnStatus) {
    let action = match status {
        TxnStatus::RolledBack => Action::NoAction,
        TxnStatus::TtlExpire => Action::TTLExpireRollback,
        TxnStatus::PessimisticRollBack => Action::TTLExpirePessimisticRollback,
        TxnStatus::LockNotExist => Action::LockNotExistRollback,
        TxnStatus::LockNotExistDoNothing => Action::LockNotExistDoNothing,
        TxnStatus::Committed { commit_ts } => {
            resp.set_commit_version(commit_ts.into_inner());
            Action::NoAction
        }
        TxnStatus::Uncommitted {
            lock,
            min_commit_ts_pushed,
        } => {
            resp.set_lock_ttl(lock.ttl);
            // The key is the transaction's primary, also where the client asked about another key.
            let primary = lock.primary.clone();
            resp.set_lock_info(lock.into_lock_info(primary));
            if min_commit_ts_pushed {
                Action::MinCommitTSPushed
            } else {
                Action::NoAction
            }
        }
    };
    resp.set_action(action);
}

/// The locks of a range.
pub(crate) fn future_scan_lock<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: ScanLockRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = ScanLockResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let (start, end) = (bound(req.get_start_key()), bound(req.get_end_key()));
    let max_version = TimeStamp::from(req.get_max_version());
    let limit = req.get_limit() as usize;
    let scan = storage.scan_lock(req.take_context(), max_version, start, end, limit, tracker);
    async move {
        respond(
            region_id,
            scan.await,
            |resp: &mut ScanLockResponse, locks| {
                resp.set_locks(locks.into());
            },
        )
    }
}

/// Ends transactions whose fate is known.
pub(crate) fn future_resolve_lock<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: ResolveLockRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = ResolveLockResponse> + Send + 'static + use<E, L, F> {
    run::<ResolveLock, _, _, _, _, _, _>(storage, req, tracker, |_, ()| {})
}

/// Removes a range with its history.
pub(crate) fn future_delete_range<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: DeleteRangeRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = DeleteRangeResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let (start, end) = (
        Key::from_raw(req.get_start_key()),
        Key::from_raw(req.get_end_key()),
    );
    let notify_only = req.get_notify_only();
    let deletion = storage.delete_range(req.take_context(), start, end, notify_only, tracker);
    async move { respond(region_id, deletion.await, |_, ()| {}) }
}

/// Everything about a key.
pub(crate) fn future_mvcc_get_by_key<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: MvccGetByKeyRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = MvccGetByKeyResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let key = Key::from_raw(req.get_key());
    let read = storage.mvcc_by_key(req.take_context(), key, tracker);
    async move {
        respond(
            region_id,
            read.await,
            |resp: &mut MvccGetByKeyResponse, info| {
                resp.set_info(info);
            },
        )
    }
}

/// Everything about the first key of a transaction.
pub(crate) fn future_mvcc_get_by_start_ts<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: MvccGetByStartTsRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = MvccGetByStartTsResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let start_ts = TimeStamp::from(req.get_start_ts());
    let read = storage.mvcc_by_start_ts(req.take_context(), start_ts, tracker);
    async move {
        respond(
            region_id,
            read.await,
            |resp: &mut MvccGetByStartTsResponse, found| {
                let Some((key, info)) = found else { return };
                match key.to_raw() {
                    Ok(key) => resp.set_key(key),
                    Err(error) => resp.set_error(error.to_string()),
                }
                resp.set_info(info);
            },
        )
    }
}
