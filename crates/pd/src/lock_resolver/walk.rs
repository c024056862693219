//! The way of a run through all regions.
//!
//! A *segment* is what one walk covers: from where it began to the end of the region in which its
//! last page was. Regions may split and merge meanwhile; segments touch each other in any case, so
//! together they are the whole key space.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kvproto::kvrpcpb::{LockInfo, ScanLockRequest};

use super::LockResolver;
use super::attempts::key_error;
use super::fate::{Fate, Fates, Holder};
use super::page::{TxnKey, TxnLocks, by_txn, decoded, encoded, extent};
use super::stores::{CallError, Place};
use crate::metrics::GC_RESOLVED_LOCKS;
use crate::regions::before_end;

/// Transactions of a page that are asked about at once.
const TXNS_AT_A_TIME: usize = 16;
/// Walks of one segment. The second finds nothing to do, but for answers that were lost.
const WALKS_MAX: u32 = 8;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// No lock of a transaction that began at or before it is left.
    pub(crate) safe_point: u64,
    /// The oldest transaction that keeps it from the target.
    pub(crate) holder: Option<Holder>,
    /// Locks that were resolved.
    pub(crate) locks: u64,
    /// Segments that were walked: regions, unless these changed.
    pub(crate) regions: u64,
}

/// A run under way.
struct Run {
    target: u64,
    fates: Fates,
    holder: Option<Holder>,
    locks: u64,
    /// What a store last refused, for people.
    refused: Option<String>,
}

struct Page {
    locks: Vec<LockInfo>,
    /// Where the next one begins; none when the region is through.
    next: Option<Vec<u8>>,
    /// The end of the region.
    end: Vec<u8>,
}

/// What became of a transaction's locks on a page.
struct Settled {
    txn: TxnKey,
    locks: u64,
    fate: Fate,
    refused: Option<String>,
}

impl LockResolver {
    /// Brings every lock of a transaction that began at or before `target` to its end. It may be
    /// dropped at any point: whatever it did is what any client might have done.
    pub(crate) async fn resolve_up_to(&self, target: u64) -> Result<Resolved, CallError> {
        let mut run = Run {
            target,
            fates: Fates::default(),
            holder: None,
            locks: 0,
            refused: None,
        };
        let walked = self.resolve_all(&mut run).await;
        self.caller.stores().run_ended();
        let regions = walked?;
        let allowed = run.holder.as_ref().map_or(target, |holder| {
            target.min(holder.start_ts.saturating_sub(1))
        });
        Ok(Resolved {
            safe_point: allowed,
            holder: run.holder,
            locks: run.locks,
            regions,
        })
    }

    /// The answer is the number of segments.
    async fn resolve_all(&self, run: &mut Run) -> Result<u64, CallError> {
        let mut start = Vec::new();
        let mut segments = 0;
        loop {
            start = self.resolve_segment(run, &start).await?;
            segments += 1;
            if start.is_empty() {
                return Ok(segments);
            }
        }
    }

    /// Walks until nothing is left to do. The answer is where the next segment begins; empty at the
    /// end of all keys.
    async fn resolve_segment(&self, run: &mut Run, start: &[u8]) -> Result<Vec<u8>, CallError> {
        for _ in 0..WALKS_MAX {
            let before = run.locks;
            let end = self.walk(run, start).await?;
            if run.locks == before {
                return Ok(end);
            }
        }
        let refused = run.refused.take();
        Err(CallError::Failed(format!(
            "locks are left after {WALKS_MAX} walks; a store refused last: {}",
            refused.unwrap_or_else(|| "nothing".to_owned())
        )))
    }

    async fn walk(&self, run: &mut Run, start: &[u8]) -> Result<Vec<u8>, CallError> {
        let mut cursor = start.to_vec();
        let mut limit = self.page_locks;
        loop {
            let page = self.page(run.target, &cursor, &mut limit).await?;
            self.settle(run, page.locks).await?;
            match page.next {
                Some(next) => cursor = next,
                None => return Ok(page.end),
            }
        }
    }

    /// The locks from `cursor` on, at most `limit`, which shrinks when that is too much.
    async fn page(&self, target: u64, cursor: &[u8], limit: &mut u32) -> Result<Page, CallError> {
        loop {
            let asked = *limit;
            let build = |place: &Place| {
                let mut request = ScanLockRequest::default();
                request.set_max_version(target);
                request.set_start_key(decoded(cursor));
                request.set_end_key(decoded(&place.end));
                request.set_limit(asked);
                request
            };
            let (place, mut answer) = match self.caller.call(cursor, build).await {
                Err(CallError::TooLarge(_)) if asked > 1 => {
                    *limit = asked / 2;
                    continue;
                }
                answered => answered?,
            };
            if answer.has_error() {
                return Err(CallError::Failed(format!(
                    "store {} does not list its locks: {}",
                    place.store_id,
                    key_error(answer.get_error())
                )));
            }
            let locks = answer.take_locks().into_vec();
            let (count, last) = extent(&locks);
            let is_full = count >= asked as usize;
            let next = last.filter(|_| is_full).map(|last| {
                // The smallest key above it.
                let mut next = last.to_vec();
                next.push(0);
                encoded(&next)
            });
            let next = next.filter(|next| before_end(next, &place.end));
            return Ok(Page {
                locks,
                next,
                end: place.end,
            });
        }
    }

    async fn settle(&self, run: &mut Run, locks: Vec<LockInfo>) -> Result<(), CallError> {
        let mut each = Vec::new();
        for (txn, locks) in by_txn(locks) {
            let known = run.fates.get(&txn).cloned();
            each.push(self.settle_txn(txn, locks, known));
        }
        let settled: Vec<Settled> = stream::iter(each)
            .buffer_unordered(TXNS_AT_A_TIME)
            .try_collect()
            .await?;
        for settled in settled {
            run.account(settled);
        }
        Ok(())
    }

    async fn settle_txn(
        &self,
        txn: TxnKey,
        locks: TxnLocks,
        known: Option<Fate>,
    ) -> Result<Settled, CallError> {
        let fate = match known {
            Some(fate) => fate,
            None => self.fate(&txn, &locks).await?,
        };
        let refused = match &fate {
            Fate::Alive(_) => None,
            _ if txn.pessimistic => self.forget(&txn, &locks).await?,
            Fate::Committed(commit_ts) => self.finish(&txn, &locks, Some(*commit_ts)).await?,
            Fate::RolledBack | Fate::Abandoned => self.finish(&txn, &locks, None).await?,
        };
        Ok(Settled {
            locks: locks.keys.len() as u64,
            txn,
            fate,
            refused,
        })
    }
}

impl Run {
    fn account(&mut self, settled: Settled) {
        let Settled {
            txn,
            locks,
            fate,
            refused,
        } = settled;
        let outcome = match &fate {
            Fate::Alive(reason) => {
                self.hold(&txn, reason);
                None
            }
            _ if txn.pessimistic => Some("pessimistic"),
            Fate::Committed(_) => Some("committed"),
            Fate::RolledBack | Fate::Abandoned => Some("rolled_back"),
        };
        if let Some(outcome) = outcome {
            let series = GC_RESOLVED_LOCKS.with_label_values(&[outcome]);
            series.inc_by(locks);
            self.locks += locks;
        }
        self.refused = refused.or(self.refused.take());
        self.fates.insert(txn, fate);
    }

    fn hold(&mut self, txn: &TxnKey, reason: &str) {
        let oldest = self.holder.as_ref().map(|holder| holder.start_ts);
        if oldest.is_some_and(|oldest| oldest <= txn.start_ts) {
            return;
        }
        self.holder = Some(Holder {
            start_ts: txn.start_ts,
            primary: txn.primary.clone(),
            reason: reason.to_owned(),
        });
    }
}
