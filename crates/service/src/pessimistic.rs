//! Futures of the RPCs of pessimistic transactions: request to command, outcome to response.

use std::future::Future;

use api_version::KvFormat;
use kv::Engine;
use kvproto::kvrpcpb::{
    GetLockWaitInfoRequest, GetLockWaitInfoResponse, PessimisticLockKeyResult,
    PessimisticLockKeyResultType, PessimisticLockRequest, PessimisticLockResponse,
    PessimisticLockWakeUpMode, PessimisticRollbackRequest, PessimisticRollbackResponse,
};
use lock_manager::{LockManager, WakeUpMode};
use storage::{AcquirePessimisticLock, KeyLocked, PessimisticLocked, PessimisticRollback, Storage};
use tracker::TrackerHandle;

use crate::message::respond;
use crate::txn::run;

/// Locks the keys of a statement.
pub(crate) fn future_acquire<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: PessimisticLockRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = PessimisticLockResponse> + Send + 'static + use<E, L, F> {
    let forced = req.get_wake_up_mode() == PessimisticLockWakeUpMode::WakeUpModeForceLock;
    let running = run::<AcquirePessimisticLock, _, _, _, _, _, _>(storage, req, tracker, locked);
    async move {
        let mut response = running.await;
        // The one key of such a request has a result also when it could not be locked.
        let blocked = response.get_errors().first();
        if forced && blocked.is_some_and(|error| error.has_locked() || error.has_deadlock()) {
            let mut result = PessimisticLockKeyResult::default();
            result.set_field_type(PessimisticLockKeyResultType::LockResultFailed);
            response.mut_results().push(result);
        }
        response
    }
}

fn locked(response: &mut PessimisticLockResponse, locked: PessimisticLocked) {
    match locked.mode {
        WakeUpMode::Resume => {
            response.set_results(locked.keys.into_iter().map(key_result).collect());
        }
        WakeUpMode::Retry => {
            for key in locked.keys {
                told(response, key);
            }
        }
    }
}

/// The lists of a request that does not force: one entry for each key, or none at all.
fn told(response: &mut PessimisticLockResponse, key: KeyLocked) {
    match key {
        KeyLocked::Plain | KeyLocked::WithConflict { .. } => {}
        KeyLocked::Value(value) => {
            response.mut_not_founds().push(value.is_none());
            response.mut_values().push(value.unwrap_or_default());
        }
        KeyLocked::Existence(exists) => response.mut_not_founds().push(!exists),
    }
}

fn key_result(key: KeyLocked) -> PessimisticLockKeyResult {
    let mut result = PessimisticLockKeyResult::default();
    result.set_field_type(PessimisticLockKeyResultType::LockResultNormal);
    match key {
        KeyLocked::Plain => {}
        KeyLocked::Value(value) => {
            result.set_existence(value.is_some());
            result.set_value(value.unwrap_or_default());
        }
        KeyLocked::Existence(exists) => result.set_existence(exists),
        KeyLocked::WithConflict { value, commit_ts } => {
            let kind = PessimisticLockKeyResultType::LockResultLockedWithConflict;
            result.set_field_type(kind);
            result.set_locked_with_conflict_ts(commit_ts.into_inner());
            result.set_existence(value.is_some());
            result.set_value(value.unwrap_or_default());
        }
    }
    result
}

/// Takes the locks of a statement back.
pub(crate) fn future_rollback<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: PessimisticRollbackRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = PessimisticRollbackResponse> + Send + 'static + use<E, L, F> {
    run::<PessimisticRollback, _, _, _, _, _, _>(storage, req, tracker, |_, ()| {})
}

/// Who waits for whom on this store.
pub(crate) fn future_lock_wait_info<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: GetLockWaitInfoRequest,
    _: TrackerHandle,
) -> impl Future<Output = GetLockWaitInfoResponse> + Send + 'static + use<E, L, F> {
    let waits = storage.lock_wait_info();
    let region_id = req.get_context().get_region_id();
    async move {
        let fill = |response: &mut GetLockWaitInfoResponse, waits: Vec<_>| {
            response.set_entries(waits.into());
        };
        respond(region_id, Ok(waits), fill)
    }
}
