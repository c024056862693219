//! Compare-and-swap: one key, its expected value, and what to do when it is there.
//!
//! The comparison reads a snapshot taken under the latch of the key, which every raw writer of the key takes, and
//! under the latch of its stripe, which range deletions take.
//! Must never: write when the comparison failed.

use std::future::Future;
use std::marker::PhantomData;

use api_version::{CommandKind, KvFormat};
use engine_traits::Cf;
use futures::future::{Either, ready};
use kv::{Engine, Snapshot};
use kvproto::kvrpcpb::Context;
use lock_manager::LockManager;
use tracker::TrackerHandle;
use txn_types::Key;

use super::view::RawView;
use super::{format, raw_cf, stripe};
use crate::txn::command::{Stamp, WriteCommand, WriteContext, WriteResult};
use crate::{Result, Storage};

/// What to compare and what to write.
#[derive(Clone, PartialEq, Eq)]
pub struct CasRequest {
    /// The key.
    pub key: Vec<u8>,
    /// The value it must have; `None`: it must not exist.
    pub expected: Option<Vec<u8>>,
    /// What it is set to; ignored by a deletion.
    pub value: Vec<u8>,
    /// Seconds to live; zero means forever.
    pub ttl: u64,
    /// Remove the key instead of setting it.
    pub delete: bool,
}

/// What became of a compare-and-swap.
#[derive(Clone, PartialEq, Eq)]
pub struct CasResult {
    /// The value before; `None`: the key did not exist.
    pub previous: Option<Vec<u8>>,
    /// Whether it was the expected one, and the change is made.
    pub succeed: bool,
}

#[derive(Clone)]
struct CompareAndSwap<F> {
    ctx: Context,
    cf: Cf,
    key: Key,
    stripe: Vec<u8>,
    expected: Option<Vec<u8>>,
    /// The value and its seconds to live; `None` removes.
    replacement: Option<(Vec<u8>, u64)>,
    raw_key: Vec<u8>,
    format: PhantomData<F>,
}

impl<F: KvFormat> WriteCommand for CompareAndSwap<F> {
    type Output = CasResult;

    const KIND: &'static str = "raw_compare_and_swap";

    fn context(&self) -> &Context {
        &self.ctx
    }

    fn keys(&self) -> Vec<&[u8]> {
        vec![self.key.as_encoded(), &self.stripe]
    }

    fn write_bytes(&self) -> usize {
        self.key.as_encoded().len()
            + self
                .replacement
                .as_ref()
                .map_or(0, |(value, _)| value.len())
    }

    fn stamp(&self) -> Stamp {
        format::stamp::<F>()
    }

    fn process_write<S: Snapshot>(
        self,
        snapshot: S,
        ctx: &mut WriteContext<'_>,
    ) -> Result<WriteResult<CasResult>> {
        let now_secs = format::now_secs::<F>(ctx.clock);
        let fill_cache = !self.ctx.get_not_fill_cache();
        let view = RawView::<S, F>::new(&snapshot, self.cf, now_secs, fill_cache);
        let previous = view.get(&self.raw_key)?;
        let succeed = previous == self.expected;
        let modify = match &self.replacement {
            _ if !succeed => None,
            Some((value, ttl)) => {
                let expire_ts = format::expire_ts::<F>(*ttl, now_secs)?;
                Some(format::put::<F>(self.cf, &self.raw_key, value, expire_ts))
            }
            // Removing what is not there would only leave a tombstone.
            None if previous.is_none() => None,
            None => Some(format::delete::<F>(self.cf, &self.raw_key)),
        };
        let mut result = WriteResult::unchanged(CasResult { previous, succeed });
        result.modifies.extend(modify);
        Ok(result)
    }
}

impl<E: Engine, L: LockManager, F: KvFormat> Storage<E, L, F> {
    /// Changes a key if it has the expected value, atomically against every raw writer.
    pub fn raw_compare_and_swap(
        &self,
        ctx: Context,
        cf: String,
        request: CasRequest,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<CasResult>> + Send + 'static + use<E, L, F> {
        match self.cas_command(ctx, &cf, request) {
            Err(error) => Either::Left(ready(Err(error))),
            Ok(command) => Either::Right(self.scheduler.run(command, tracker)),
        }
    }

    fn cas_command(
        &self,
        ctx: Context,
        cf: &str,
        request: CasRequest,
    ) -> Result<CompareAndSwap<F>> {
        self.check_raw_keys(
            CommandKind::RawCompareAndSwap,
            &ctx,
            [request.key.as_slice()],
        )?;
        let cf = raw_cf::<F>(cf)?;
        self.limits.check_value(&request.value)?;
        // Refused before the comparison, whatever it would say.
        format::expire_ts::<F>(request.ttl, 0)?;
        let replacement = (!request.delete).then_some((request.value, request.ttl));
        Ok(CompareAndSwap {
            ctx,
            cf,
            key: format::encode_key::<F>(&request.key),
            stripe: stripe::of(&request.key),
            expected: request.expected,
            replacement,
            raw_key: request.key,
            format: PhantomData,
        })
    }
}
