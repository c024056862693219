//! Futures of the RPCs of pipelined DML: request to command, outcome to response.

use std::future::Future;

use api_version::KvFormat;
use kv::Engine;
use kvproto::kvrpcpb::{
    BroadcastTxnStatusRequest, BroadcastTxnStatusResponse, BufferBatchGetRequest,
    BufferBatchGetResponse, FlushRequest, FlushResponse, KeyError,
};
use lock_manager::LockManager;
use storage::{Flush, Storage};
use tracker::TrackerHandle;
use txn_types::{Key, TimeStamp};

use crate::message::respond;
use crate::txn::{pairs, run};

/// Locks a part of a large transaction. The keys whose errors are locks were not written, the others were.
pub(crate) fn future_flush<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: FlushRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = FlushResponse> + Send + 'static + use<E, L, F> {
    run::<Flush, _, _, _, _, _, _>(storage, req, tracker, |resp: &mut FlushResponse, locks| {
        for lock in locks {
            let mut error = KeyError::default();
            error.set_locked(lock);
            resp.mut_errors().push(error);
        }
    })
}

/// What the transaction itself has flushed.
pub(crate) fn future_buffer_batch_get<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: BufferBatchGetRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = BufferBatchGetResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let keys = req.take_keys();
    let keys = keys.iter().map(|key| Key::from_raw(key)).collect();
    let start_ts = TimeStamp::from(req.get_version());
    let read = storage.buffer_batch_get(req.take_context(), keys, start_ts, tracker);
    async move {
        respond(
            region_id,
            read.await,
            |resp: &mut BufferBatchGetResponse, found| {
                let found = found.into_iter().map(Ok).collect();
                resp.set_pairs(pairs(region_id, found));
            },
        )
    }
}

/// How far large transactions are. It is a hint for the whole store, whatever region the envelope names.
pub(crate) fn future_broadcast_txn_status<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: BroadcastTxnStatusRequest,
    _tracker: TrackerHandle,
) -> impl Future<Output = BroadcastTxnStatusResponse> + Send + 'static + use<E, L, F> {
    storage.broadcast_txn_status(req.get_txn_status());
    std::future::ready(BroadcastTxnStatusResponse::default())
}
