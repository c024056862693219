//! Raw reads: single keys, batches and scans.
//! Must never: return more than the configured bytes, or look at a column family that is not the client's.

use std::future::Future;

use api_version::{CommandKind, KvFormat};
use engine_traits::{Cf, EngineIterator, IterOptions, ReadOptions};
use kv::{Engine, Snapshot};
use kvproto::kvrpcpb::Context;
use lock_manager::LockManager;
use tracker::TrackerHandle;
use txn_types::TimeStamp;

use super::{RawKvPair, format, raw_cf};
use crate::limits::ReadBudget;
use crate::reads::yield_now;
use crate::{Result, Storage};

/// Entries that a raw read passes before it lets other tasks of the pool run.
const YIELD_KEYS: usize = 256;

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

impl<E: Engine, L: LockManager, F: KvFormat> Storage<E, L, F> {
    /// The value of `key`.
    pub fn raw_get(
        &self,
        ctx: Context,
        cf: String,
        key: Vec<u8>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send + 'static + use<E, L, F> {
        let this = self.clone();
        let envelope = ctx.clone();
        self.spawn_read(
            "raw_get",
            &envelope,
            TimeStamp::zero(),
            &tracker.clone(),
            async move {
                let cf = raw_cf(&cf)?;
                this.check_raw_keys(CommandKind::RawGet, &ctx, [key.as_slice()])?;
                let options = ReadOptions {
                    fill_cache: !ctx.get_not_fill_cache(),
                };
                let snapshot = this.raw_snapshot(ctx, &tracker).await?;
                format::load::<F, _>(&snapshot, cf, &key, &options)
            },
        )
    }

    /// The values of those `keys` that exist, in the order of the request.
    pub fn raw_batch_get(
        &self,
        ctx: Context,
        cf: String,
        keys: Vec<Vec<u8>>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Vec<RawKvPair>>> + Send + 'static + use<E, L, F> {
        let this = self.clone();
        let envelope = ctx.clone();
        self.spawn_read(
            "raw_batch_get",
            &envelope,
            TimeStamp::zero(),
            &tracker.clone(),
            async move {
                let cf = raw_cf(&cf)?;
                this.check_raw_keys(
                    CommandKind::RawBatchGet,
                    &ctx,
                    keys.iter().map(Vec::as_slice),
                )?;
                let options = ReadOptions {
                    fill_cache: !ctx.get_not_fill_cache(),
                };
                let snapshot = this.raw_snapshot(ctx, &tracker).await?;
                let mut budget = ReadBudget::new(&this.limits);
                let mut pairs = Vec::new();
                for (at, key) in keys.into_iter().enumerate() {
                    if at % YIELD_KEYS == YIELD_KEYS - 1 {
                        yield_now().await;
                    }
                    if let Some(value) = format::load::<F, _>(&snapshot, cf, &key, &options)? {
                        budget.take(key.len() + value.len())?;
                        pairs.push((key, value));
                    }
                }
                Ok(pairs)
            },
        )
    }

    /// The pairs of a range.
    pub fn raw_scan(
        &self,
        ctx: Context,
        cf: String,
        request: RawScanRequest,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Vec<RawKvPair>>> + Send + 'static + use<E, L, F> {
        let this = self.clone();
        let envelope = ctx.clone();
        self.spawn_read(
            "raw_scan",
            &envelope,
            TimeStamp::zero(),
            &tracker.clone(),
            async move {
                let cf = raw_cf(&cf)?;
                let options = this.raw_scan_options(&ctx, &request)?;
                if request.limit == 0 {
                    return Ok(Vec::new());
                }
                let snapshot = this.raw_snapshot(ctx, &tracker).await?;
                this.raw_collect(&snapshot, cf, options, &request).await
            },
        )
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

    fn raw_scan_options(&self, ctx: &Context, request: &RawScanRequest) -> Result<IterOptions> {
        let end = request.end.as_deref();
        let (lower, upper) = if request.reverse {
            (
                end,
                Some(request.start.as_slice()).filter(|start| !start.is_empty()),
            )
        } else {
            (Some(request.start.as_slice()), end)
        };
        self.check_raw_range(CommandKind::RawScan, ctx, lower, upper)?;
        Ok(IterOptions {
            lower: lower.map(|key| format::encode_key::<F>(key).into_encoded()),
            upper: upper.map(|key| format::encode_key::<F>(key).into_encoded()),
            fill_cache: !ctx.get_not_fill_cache(),
            ..IterOptions::default()
        })
    }

    async fn raw_collect<S: Snapshot>(
        &self,
        snapshot: &S,
        cf: Cf,
        options: IterOptions,
        request: &RawScanRequest,
    ) -> Result<Vec<RawKvPair>> {
        let mut budget = ReadBudget::new(&self.limits);
        let mut pairs = Vec::new();
        let mut iter = snapshot.iter(cf, options)?;
        let mut valid = if request.reverse {
            iter.seek_to_last()
        } else {
            iter.seek_to_first()
        }
        .map_err(kv::Error::from)?;
        let mut met = 0usize;
        while valid && pairs.len() < request.limit {
            if let Some(value) = format::decode_value::<F>(iter.value())? {
                let key = format::decode_key::<F>(iter.key())?;
                let value = if request.key_only { Vec::new() } else { value };
                budget.take(key.len() + value.len())?;
                pairs.push((key, value));
            }
            met += 1;
            if met.is_multiple_of(YIELD_KEYS) {
                yield_now().await;
            }
            valid = if request.reverse {
                iter.prev()
            } else {
                iter.next()
            }
            .map_err(kv::Error::from)?;
        }
        Ok(pairs)
    }
}
