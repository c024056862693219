//! Futures of the raw RPCs, and of the one that destroys ranges: request to storage call, outcome to
//! response.
//!
//! `for_cas` is not looked at: every raw write is atomic against compare-and-swap.

use std::future::Future;

use api_version::KvFormat;
use kv::Engine;
use kvproto::kvrpcpb::{
    KvPair, RawBatchDeleteRequest, RawBatchDeleteResponse, RawBatchGetRequest, RawBatchGetResponse,
    RawBatchPutRequest, RawBatchPutResponse, RawBatchScanRequest, RawBatchScanResponse,
    RawCASRequest, RawCASResponse, RawChecksumRequest, RawChecksumResponse, RawDeleteRangeRequest,
    RawDeleteRangeResponse, RawDeleteRequest, RawDeleteResponse, RawGetKeyTTLRequest,
    RawGetKeyTTLResponse, RawGetRequest, RawGetResponse, RawPutRequest, RawPutResponse,
    RawScanRequest, RawScanResponse, UnsafeDestroyRangeRequest, UnsafeDestroyRangeResponse,
};
use lock_manager::LockManager;
use storage::{CasRequest, RawGetCommand, RawKvPair, Storage};
use tracker::TrackerHandle;

use crate::message::respond;

fn messages(pairs: Vec<RawKvPair>) -> protobuf::RepeatedField<KvPair> {
    pairs
        .into_iter()
        .map(|(key, value)| {
            let mut pair = KvPair::default();
            pair.set_key(key);
            pair.set_value(value);
            pair
        })
        .collect()
}

/// A range as the storage takes it; the empty end is none.
fn scan_request(
    start: Vec<u8>,
    end: Vec<u8>,
    limit: u32,
    key_only: bool,
    reverse: bool,
) -> storage::RawScanRequest {
    storage::RawScanRequest {
        start,
        end: (!end.is_empty()).then_some(end),
        limit: limit as usize,
        key_only,
        reverse,
    }
}

/// The read of a key as the storage takes it.
pub(crate) fn get_command(mut req: RawGetRequest, tracker: TrackerHandle) -> RawGetCommand {
    RawGetCommand {
        ctx: req.take_context(),
        cf: req.take_cf(),
        key: req.take_key(),
        tracker,
    }
}

/// The response to the read of a key.
pub(crate) fn get_response(
    region_id: u64,
    found: storage::Result<Option<Vec<u8>>>,
) -> RawGetResponse {
    respond(
        region_id,
        found,
        |resp: &mut RawGetResponse, found| match found {
            Some(value) => resp.set_value(value),
            None => resp.set_not_found(true),
        },
    )
}

/// The value of a key.
pub(crate) fn future_get<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    req: RawGetRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = RawGetResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let RawGetCommand {
        ctx,
        cf,
        key,
        tracker,
    } = get_command(req, tracker);
    let read = storage.raw_get(ctx, cf, key, tracker);
    async move { get_response(region_id, read.await) }
}

/// The values of several keys.
pub(crate) fn future_batch_get<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: RawBatchGetRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = RawBatchGetResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let keys = req.take_keys().into_vec();
    let read = storage.raw_batch_get(req.take_context(), req.take_cf(), keys, tracker);
    async move {
        respond(
            region_id,
            read.await,
            |resp: &mut RawBatchGetResponse, pairs| {
                resp.set_pairs(messages(pairs));
            },
        )
    }
}

/// Sets a key.
pub(crate) fn future_put<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: RawPutRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = RawPutResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let pair = (req.take_key(), req.take_value());
    let (cf, ttl) = (req.take_cf(), req.get_ttl());
    let write = storage.raw_put(req.take_context(), cf, pair, ttl, tracker);
    async move { respond(region_id, write.await, |_, ()| {}) }
}

/// Sets several keys.
pub(crate) fn future_batch_put<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: RawBatchPutRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = RawBatchPutResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let pairs = req
        .take_pairs()
        .into_iter()
        .map(|mut one| (one.take_key(), one.take_value()))
        .collect();
    // Old clients give one time to live for all.
    let ttls = match (req.take_ttls(), req.get_ttl()) {
        (ttls, old) if ttls.is_empty() && old != 0 => vec![old],
        (ttls, _) => ttls,
    };
    let write = storage.raw_batch_put(req.take_context(), req.take_cf(), pairs, ttls, tracker);
    async move { respond(region_id, write.await, |_, ()| {}) }
}

/// Removes a key.
pub(crate) fn future_delete<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: RawDeleteRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = RawDeleteResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let write = storage.raw_delete(req.take_context(), req.take_cf(), req.take_key(), tracker);
    async move { respond(region_id, write.await, |_, ()| {}) }
}

/// Removes several keys.
pub(crate) fn future_batch_delete<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: RawBatchDeleteRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = RawBatchDeleteResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let keys = req.take_keys().into_vec();
    let write = storage.raw_batch_delete(req.take_context(), req.take_cf(), keys, tracker);
    async move { respond(region_id, write.await, |_, ()| {}) }
}

/// Removes a range.
pub(crate) fn future_delete_range<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: RawDeleteRangeRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = RawDeleteRangeResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let (start, end) = (req.take_start_key(), req.take_end_key());
    let write = storage.raw_delete_range(req.take_context(), req.take_cf(), start, end, tracker);
    async move { respond(region_id, write.await, |_, ()| {}) }
}

/// The pairs of a range.
pub(crate) fn future_scan<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: RawScanRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = RawScanResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let (start, end) = (req.take_start_key(), req.take_end_key());
    let scan = scan_request(
        start,
        end,
        req.get_limit(),
        req.get_key_only(),
        req.get_reverse(),
    );
    let read = storage.raw_scan(req.take_context(), req.take_cf(), scan, tracker);
    async move {
        respond(
            region_id,
            read.await,
            |resp: &mut RawScanResponse, pairs| {
                resp.set_kvs(messages(pairs));
            },
        )
    }
}

/// The pairs of several ranges, one range after the other.
pub(crate) fn future_batch_scan<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: RawBatchScanRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = RawBatchScanResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let (limit, key_only, reverse) = (req.get_each_limit(), req.get_key_only(), req.get_reverse());
    let scans = req
        .take_ranges()
        .into_iter()
        .map(|mut range| {
            let (start, end) = (range.take_start_key(), range.take_end_key());
            scan_request(start, end, limit, key_only, reverse)
        })
        .collect();
    let read = storage.raw_batch_scan(req.take_context(), req.take_cf(), scans, tracker);
    async move {
        respond(
            region_id,
            read.await,
            |resp: &mut RawBatchScanResponse, pairs| {
                resp.set_kvs(messages(pairs));
            },
        )
    }
}

/// How long a value still lives.
pub(crate) fn future_get_key_ttl<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: RawGetKeyTTLRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = RawGetKeyTTLResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let read = storage.raw_get_key_ttl(req.take_context(), req.take_cf(), req.take_key(), tracker);
    async move {
        respond(
            region_id,
            read.await,
            |resp: &mut RawGetKeyTTLResponse, ttl| match ttl {
                Some(ttl) => resp.set_ttl(ttl),
                None => resp.set_not_found(true),
            },
        )
    }
}

/// Destroys a range of this store, whatever is in it.
pub(crate) fn future_unsafe_destroy_range<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: UnsafeDestroyRangeRequest,
    _: TrackerHandle,
) -> impl Future<Output = UnsafeDestroyRangeResponse> + Send + 'static + use<E, L, F> {
    let (start, end) = (req.take_start_key(), req.take_end_key());
    let destroyed = storage.unsafe_destroy_range(start, end);
    async move { respond(0, destroyed.await, |_, ()| {}) }
}

/// The checksum of ranges.
pub(crate) fn future_checksum<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: RawChecksumRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = RawChecksumResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let ranges = req.take_ranges().into_vec();
    let algorithm = req.get_algorithm();
    let read = storage.raw_checksum(req.take_context(), algorithm, ranges, tracker);
    async move {
        respond(
            region_id,
            read.await,
            |resp: &mut RawChecksumResponse, sum| {
                resp.set_checksum(sum.checksum);
                resp.set_total_kvs(sum.total_kvs);
                resp.set_total_bytes(sum.total_bytes);
            },
        )
    }
}

/// Sets or removes a key if it has the expected value.
pub(crate) fn future_compare_and_swap<E: Engine, L: LockManager, F: KvFormat>(
    storage: &Storage<E, L, F>,
    mut req: RawCASRequest,
    tracker: TrackerHandle,
) -> impl Future<Output = RawCASResponse> + Send + 'static + use<E, L, F> {
    let region_id = req.get_context().get_region_id();
    let previous = req.take_previous_value();
    let request = CasRequest {
        key: req.take_key(),
        expected: (!req.get_previous_not_exist()).then_some(previous),
        value: req.take_value(),
        ttl: req.get_ttl(),
        delete: req.get_delete(),
    };
    let swap = storage.raw_compare_and_swap(req.take_context(), req.take_cf(), request, tracker);
    async move {
        respond(
            region_id,
            swap.await,
            |resp: &mut RawCASResponse, result| {
                resp.set_succeed(result.succeed);
                match result.previous {
                    Some(value) => resp.set_previous_value(value),
                    None => resp.set_previous_not_exist(true),
                }
            },
        )
    }
}
