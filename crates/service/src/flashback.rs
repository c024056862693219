//! Futures of the two RPCs that set a region back to an older version: request to command, outcome to response.

use std::future::Future;

use api_version::KvFormat;
use kv::Engine;
use kvproto::kvrpcpb::{
    FlashbackToVersionRequest, FlashbackToVersionResponse, PrepareFlashbackToVersionRequest,
    PrepareFlashbackToVersionResponse,
};
use lock_manager::LockManager;
use storage::Storage;
use storage::txn::commands::{Flashback, PrepareFlashback};
use tracker::TrackerHandle;

use crate::txn::run;

/// Brings the region into flashback.
pub(crate) fn future_prepare<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: PrepareFlashbackToVersionRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = PrepareFlashbackToVersionResponse> + Send + 'static + use<E, L, F> {
    run::<PrepareFlashback, _, _, _, _, _, _>(storage, req, tracker, |_, ()| {})
}

/// Sets the region back, and ends its flashback.
pub(crate) fn future_flashback<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: FlashbackToVersionRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = FlashbackToVersionResponse> + Send + 'static + use<E, L, F> {
    run::<Flashback, _, _, _, _, _, _>(storage, req, tracker, |_, ()| {})
}
