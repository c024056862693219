//! Raw writes: put, delete, their batch forms, and the deletion of a range.
//!
//! They are blind. They need latches because a compare-and-swap of the same key does, and because where keys have
//! versions the order of these must be the order in which they are applied.
//! Must never: write part of a batch.

use std::future::Future;

use api_version::{CommandKind, KvFormat};
use engine_traits::Cf;
use futures::future::{Either, ready};
use kv::{Engine, Modify};
use kvproto::kvrpcpb::Context;
use lock_manager::LockManager;
use tracker::TrackerHandle;
use txn_types::Key;

use super::{RawKvPair, format, raw_cf, stripe};
use crate::txn::command::Stamp;
use crate::{Error, Result, Storage};

impl<E: Engine, L: LockManager, F: KvFormat> Storage<E, L, F> {
    /// Sets `key`. A `ttl` of zero seconds means forever.
    pub fn raw_put(
        &self,
        ctx: Context,
        cf: String,
        (key, value): RawKvPair,
        ttl: u64,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E, L, F> {
        let modifies =
            self.put_modifies(CommandKind::RawPut, &ctx, &cf, vec![(key, value)], &[ttl]);
        self.write_raw("raw_put", ctx, modifies, tracker)
    }

    /// Sets all of the pairs or none. `ttls` are none, one for all, or one for each pair, in seconds.
    pub fn raw_batch_put(
        &self,
        ctx: Context,
        cf: String,
        pairs: Vec<RawKvPair>,
        ttls: Vec<u64>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E, L, F> {
        let modifies = self.put_modifies(CommandKind::RawBatchPut, &ctx, &cf, pairs, &ttls);
        self.write_raw("raw_batch_put", ctx, modifies, tracker)
    }

    /// Removes `key`.
    pub fn raw_delete(
        &self,
        ctx: Context,
        cf: String,
        key: Vec<u8>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E, L, F> {
        let modifies = self.delete_modifies(CommandKind::RawDelete, &ctx, &cf, vec![key]);
        self.write_raw("raw_delete", ctx, modifies, tracker)
    }

    /// Removes all of the keys or none.
    pub fn raw_batch_delete(
        &self,
        ctx: Context,
        cf: String,
        keys: Vec<Vec<u8>>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E, L, F> {
        let modifies = self.delete_modifies(CommandKind::RawBatchDelete, &ctx, &cf, keys);
        self.write_raw("raw_batch_delete", ctx, modifies, tracker)
    }

    /// Removes `[start, end)` of one column family, where there are versions all of them; an empty `end` is unbounded.
    pub fn raw_delete_range(
        &self,
        ctx: Context,
        cf: String,
        start: Vec<u8>,
        end: Vec<u8>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E, L, F> {
        let modifies = self.range_modifies(&ctx, &cf, &start, &end);
        match modifies {
            Err(error) => Either::Left(ready(Err(error))),
            Ok(modifies) => {
                let stripes = stripe::all();
                let latches: Vec<&[u8]> = stripes.iter().map(Vec::as_slice).collect();
                let kind = "raw_delete_range";
                Either::Right(self.scheduler.run_blind(
                    kind,
                    ctx,
                    (modifies, Stamp::None),
                    &latches,
                    tracker,
                ))
            }
        }
    }

    fn write_raw(
        &self,
        kind: &'static str,
        ctx: Context,
        modifies: Result<Vec<Modify>>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E, L, F> {
        match modifies {
            Err(error) => Either::Left(ready(Err(error))),
            Ok(modifies) => {
                let keys: Vec<Key> = modifies.iter().map(modified_key).cloned().collect();
                let latches: Vec<&[u8]> = keys.iter().map(Key::as_encoded).collect();
                Either::Right(self.scheduler.run_blind(
                    kind,
                    ctx,
                    (modifies, format::stamp::<F>()),
                    &latches,
                    tracker,
                ))
            }
        }
    }

    fn put_modifies(
        &self,
        kind: CommandKind,
        ctx: &Context,
        cf: &str,
        pairs: Vec<RawKvPair>,
        ttls: &[u64],
    ) -> Result<Vec<Modify>> {
        self.check_raw_keys(kind, ctx, pairs.iter().map(|(key, _)| key.as_slice()))?;
        let cf = raw_cf::<F>(cf)?;
        if ttls.len() > 1 && ttls.len() != pairs.len() {
            return Err(Error::TtlCountMismatch);
        }
        pairs
            .iter()
            .try_for_each(|(_, value)| self.limits.check_value(value))?;
        let now_secs = format::now_secs::<F>(self.scheduler.clock());
        pairs
            .into_iter()
            .enumerate()
            .map(|(at, (key, value))| {
                let ttl = match ttls {
                    [] => 0,
                    [for_all] => *for_all,
                    each => each[at],
                };
                let expire_ts = format::expire_ts::<F>(ttl, now_secs)?;
                Ok(format::put::<F>(cf, &key, &value, expire_ts))
            })
            .collect()
    }

    fn delete_modifies(
        &self,
        kind: CommandKind,
        ctx: &Context,
        cf: &str,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Modify>> {
        self.check_raw_keys(kind, ctx, keys.iter().map(Vec::as_slice))?;
        let cf = raw_cf::<F>(cf)?;
        Ok(keys
            .iter()
            .map(|key| format::delete::<F>(cf, key))
            .collect())
    }

    fn range_modifies(
        &self,
        ctx: &Context,
        cf: &str,
        start: &[u8],
        end: &[u8],
    ) -> Result<Vec<Modify>> {
        let bound = Some(end).filter(|end| !end.is_empty());
        self.check_raw_range(CommandKind::RawDeleteRange, ctx, Some(start), bound)?;
        let cf: Cf = raw_cf::<F>(cf)?;
        if bound == Some(start) {
            return Ok(Vec::new());
        }
        // An empty end stands for the end of the region, below as well.
        let end = bound.map_or_else(|| Key::from_encoded(Vec::new()), format::encode_key::<F>);
        Ok(vec![Modify::DeleteRange(
            cf,
            format::encode_key::<F>(start),
            end,
        )])
    }
}

fn modified_key(modify: &Modify) -> &Key {
    match modify {
        Modify::Put(_, key, _) | Modify::Delete(_, key) | Modify::DeleteRange(_, key, _) => key,
    }
}
