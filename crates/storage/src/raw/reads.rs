//! Raw reads: single keys, batches, scans, and how long a value still lives.
//! Must never: return more than the configured bytes, or look at a column family that is not the client's.

use std::future::Future;

use api_version::{CommandKind, KvFormat};
use engine_traits::Cf;
use kv::{Engine, Snapshot};
use kvproto::kvrpcpb::Context;
use lock_manager::LockManager;
use mvcc::Direction;
use tracker::TrackerHandle;
use txn_types::TimeStamp;

use super::view::RawView;
use super::{RawKvPair, format, raw_cf};
use crate::get_runs::RawGetCommand;
use crate::limits::{ReadBudget, request_bytes};
use crate::reads::yield_now;
use crate::{Error, Result, Storage};

/// Keys or ranges that a raw read looks up before it lets other tasks of the pool run.
const YIELD_LOOKUPS: usize = 256;

/// What a raw scan returns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawScanRequest {
    /// Where to begin: inclusive, or exclusive upper bound when `reverse`. Empty in a reverse scan: from the end.
    pub start: Vec<u8>,
    /// Where to end: exclusive, or inclusive lower bound when `reverse`. `None` is unbounded.
    pub end: Option<Vec<u8>>,
    /// Most pairs; zero returns nothing.
    pub limit: usize,
    /// Leave values out.
    pub key_only: bool,
    /// From the end of the range to its start.
    pub reverse: bool,
}

impl RawScanRequest {
    fn direction(&self) -> Direction {
        if self.reverse {
            Direction::Backward
        } else {
            Direction::Forward
        }
    }

    /// The smallest key and the one behind the largest; absent where open.
    fn bounds(&self) -> (Option<&[u8]>, Option<&[u8]>) {
        let (start, end) = (self.start.as_slice(), self.end.as_deref());
        if self.reverse {
            (end, Some(start).filter(|start| !start.is_empty()))
        } else {
            (Some(start), end)
        }
    }
}

impl<E: Engine, L: LockManager, F: KvFormat> Storage<E, L, F> {
    /// The value of `key`.
    pub fn raw_get(
        &self,
        ctx: Context,
        cf: String,
        key: Vec<u8>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send + 'static + use<E, L, F> {
        self.get_one(RawGetCommand {
            ctx,
            cf,
            key,
            tracker,
        })
    }

    /// The value of `key` in a snapshot.
    pub(crate) fn raw_value(
        &self,
        snapshot: &E::Snap,
        ctx: &Context,
        cf: &str,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let cf = raw_cf::<F>(cf)?;
        let fill_cache = !ctx.get_not_fill_cache();
        self.raw_view(snapshot, cf, fill_cache).get(key)
    }

    /// The seconds for which `key` still lives, zero being for ever; `None` when it does not exist.
    pub fn raw_get_key_ttl(
        &self,
        ctx: Context,
        cf: String,
        key: Vec<u8>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Option<u64>>> + Send + 'static + use<E, L, F> {
        const KIND: CommandKind = CommandKind::RawGetKeyTtl;
        let this = self.clone();
        let ticket = self.admit_read(KIND.name(), &ctx, TimeStamp::zero(), key.len());
        self.spawn_read(ticket, &tracker.clone(), async move {
            this.check_raw_keys(KIND, &ctx, [key.as_slice()])?;
            let cf = raw_cf::<F>(&cf)?;
            let fill_cache = !ctx.get_not_fill_cache();
            let snapshot = this.raw_snapshot(ctx, &tracker).await?;
            if !F::IS_TTL_ENABLED {
                return Err(Error::TtlNotEnabled);
            }
            let view = this.raw_view(&snapshot, cf, fill_cache);
            // What is visible expires later than now.
            let rest = |expire_ts: Option<u64>| expire_ts.map_or(0, |at| at - view.now_secs);
            view.get_with(&key, |value| rest(value.expire_ts))
        })
    }

    /// The values of those `keys` that exist, in the order of the request.
    pub fn raw_batch_get(
        &self,
        ctx: Context,
        cf: String,
        keys: Vec<Vec<u8>>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Vec<RawKvPair>>> + Send + 'static + use<E, L, F> {
        const KIND: CommandKind = CommandKind::RawBatchGet;
        let this = self.clone();
        let bytes = request_bytes(keys.iter().map(Vec::len));
        let ticket = self.admit_read(KIND.name(), &ctx, TimeStamp::zero(), bytes);
        self.spawn_read(ticket, &tracker.clone(), async move {
            this.check_raw_keys(KIND, &ctx, keys.iter().map(Vec::as_slice))?;
            let cf = raw_cf::<F>(&cf)?;
            let fill_cache = !ctx.get_not_fill_cache();
            let snapshot = this.raw_snapshot(ctx, &tracker).await?;
            let view = this.raw_view(&snapshot, cf, fill_cache);
            let mut budget = this.read_budget();
            let mut pairs = Vec::new();
            for (at, key) in keys.into_iter().enumerate() {
                if at % YIELD_LOOKUPS == YIELD_LOOKUPS - 1 {
                    yield_now().await;
                }
                if let Some(value) = view.get(&key)? {
                    budget.take(key.len() + value.len())?;
                    pairs.push((key, value));
                }
            }
            Ok(pairs)
        })
    }

    /// The pairs of a range.
    pub fn raw_scan(
        &self,
        ctx: Context,
        cf: String,
        request: RawScanRequest,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Vec<RawKvPair>>> + Send + 'static + use<E, L, F> {
        self.raw_scans(CommandKind::RawScan, ctx, cf, vec![request], tracker)
    }

    /// The pairs of several ranges, one range after the other, all as of one moment.
    pub fn raw_batch_scan(
        &self,
        ctx: Context,
        cf: String,
        requests: Vec<RawScanRequest>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Vec<RawKvPair>>> + Send + 'static + use<E, L, F> {
        self.raw_scans(CommandKind::RawBatchScan, ctx, cf, requests, tracker)
    }

    fn raw_scans(
        &self,
        kind: CommandKind,
        ctx: Context,
        cf: String,
        requests: Vec<RawScanRequest>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Vec<RawKvPair>>> + Send + 'static + use<E, L, F> {
        let this = self.clone();
        let bound_bytes =
            |scan: &RawScanRequest| scan.start.len() + scan.end.as_ref().map_or(0, Vec::len);
        let bytes = request_bytes(requests.iter().map(bound_bytes));
        let ticket = self.admit_read(kind.name(), &ctx, TimeStamp::zero(), bytes);
        self.spawn_read(ticket, &tracker.clone(), async move {
            for request in &requests {
                let (lower, upper) = request.bounds();
                this.check_raw_range(kind, &ctx, lower, upper)?;
            }
            let cf = raw_cf::<F>(&cf)?;
            let mut pairs = Vec::new();
            if requests.iter().all(|request| request.limit == 0) {
                return Ok(pairs);
            }
            let fill_cache = !ctx.get_not_fill_cache();
            let snapshot = this.raw_snapshot(ctx, &tracker).await?;
            let view = this.raw_view(&snapshot, cf, fill_cache);
            let mut budget = this.read_budget();
            for (at, request) in requests.iter().enumerate() {
                if at % YIELD_LOOKUPS == YIELD_LOOKUPS - 1 {
                    yield_now().await;
                }
                collect(&view, request, &mut budget, &mut pairs).await?;
            }
            Ok(pairs)
        })
    }

    /// A snapshot for a read without a timestamp.
    pub(super) async fn raw_snapshot(
        &self,
        ctx: Context,
        tracker: &TrackerHandle,
    ) -> Result<E::Snap> {
        self.read_snapshot(ctx, TimeStamp::zero(), Vec::new(), tracker)
            .await
    }

    /// What a read that begins now sees of a snapshot.
    pub(super) fn raw_view<'s>(
        &self,
        snapshot: &'s E::Snap,
        cf: Cf,
        fill_cache: bool,
    ) -> RawView<'s, E::Snap, F> {
        let now_secs = format::now_secs::<F>(self.scheduler.clock());
        RawView::new(snapshot, cf, now_secs, fill_cache)
    }
}

/// Adds the pairs of one range.
async fn collect<S: Snapshot, F: KvFormat>(
    view: &RawView<'_, S, F>,
    request: &RawScanRequest,
    budget: &mut ReadBudget,
    pairs: &mut Vec<RawKvPair>,
) -> Result<()> {
    let (lower, upper) = request.bounds();
    if request.limit == 0 {
        return Ok(());
    }
    let mut scanner = view.scan(lower, upper, request.direction())?;
    let mut found = 0;
    while found < request.limit
        && let Some((key, value)) = scanner.next(request.key_only).await?
    {
        budget.take(key.len() + value.len())?;
        pairs.push((key, value));
        found += 1;
    }
    Ok(())
}
