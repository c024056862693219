//! Transactional reads: single keys, batches, scans, locks, and the state of a key for debugging.
//!
//! The order in every read at a timestamp is: raise `max_ts`, look at locks that are on their way to the engine, take
//! the snapshot, look at locks, look at records, and last whether garbage collection has overtaken it. See
//! [`crate::memory_locks`].
//! A stale read is a read like any other here: no timestamp is known up to which nothing can commit any more.
//! Must never: raise `max_ts` for a read of the latest version, or reserve memory for what a client
//! claims to want.

use std::future::Future;
use std::task::Poll;

use api_version::{CommandKind, KvFormat};
use kv::{Engine, SnapshotContext};
use kvproto::kvrpcpb::{self, Context, LockInfo};
use lock_manager::LockManager;
use mvcc::{
    Direction, KvPair, PointGetter, ReadView, ReplicaRead, Scanner, SnapshotReader, Statistics,
    ValueEntry,
};
use tracker::TrackerHandle;
use txn_types::{Key, TimeStamp, TsSet};

use crate::get_runs::GetCommand;
use crate::limits::{check_key_range, request_bytes};
use crate::{Error, Result, Storage, statistics};

/// Keys that a scan passes before it lets other tasks of the pool run: one or two milliseconds. A scan that gives way
/// stands behind all who wait. So the usual ones must not have to: in a full pool all would be half done, and late.
const SCAN_YIELD_KEYS: usize = 4096;

/// Single keys, each with seeks of its own, that a read looks up before it lets other tasks of the pool run.
const YIELD_LOOKUPS: usize = 256;

/// Locks that are collected at a time.
const LOCKS_AT_A_TIME: usize = 256;

/// What a scan returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanOptions {
    /// Most pairs, locked keys included. Zero returns nothing.
    pub limit: usize,
    /// Leave values out.
    pub key_only: bool,
    /// From the end of the range to its start.
    pub reverse: bool,
    /// Keep one of so many keys; zero and one keep all.
    pub sample_step: usize,
}

/// How the request of `ctx` reads at `ts`.
pub(crate) fn read_view(ctx: &Context, ts: TimeStamp) -> ReadView {
    ReadView {
        isolation: ctx.get_isolation_level().into(),
        bypass: TsSet::from_u64s(ctx.get_resolved_locks()),
        access: TsSet::from_u64s(ctx.get_committed_locks()),
        replica_read: if ctx.get_replica_read() {
            ReplicaRead::Yes
        } else {
            ReplicaRead::No
        },
        fill_cache: !ctx.get_not_fill_cache(),
        ..ReadView::new(ts)
    }
}

/// `[key, key‖00)` of encoded keys: that key alone.
pub(crate) fn point_range(key: &Key) -> (Key, Key) {
    let mut end = key.as_encoded().to_vec();
    end.push(0);
    (key.clone(), Key::from_encoded(end))
}

/// Beyond so many keys a batch names one range that holds them all, instead of copying each key twice.
const POINT_RANGES_MAX: usize = 256;

/// The ranges that a batch of `keys` reads.
fn key_ranges(keys: &[Key]) -> Vec<(Key, Key)> {
    if keys.len() <= POINT_RANGES_MAX {
        return keys.iter().map(point_range).collect();
    }
    let (first, last) = (keys.iter().min(), keys.iter().max());
    first
        .zip(last)
        .map(|(first, last)| (first.clone(), point_range(last).1))
        .into_iter()
        .collect()
}

/// A commit timestamp goes out only to whom it was promised: a value read through a lock has none.
pub(crate) fn asked_for(entry: ValueEntry, need_commit_ts: bool) -> ValueEntry {
    let commit_ts = entry.commit_ts.filter(|_| need_commit_ts);
    ValueEntry { commit_ts, ..entry }
}

impl<E: Engine, L: LockManager, F: KvFormat> Storage<E, L, F> {
    /// The value of `key` at `ts`.
    pub fn get(
        &self,
        ctx: Context,
        key: Key,
        ts: TimeStamp,
        need_commit_ts: bool,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Option<ValueEntry>>> + Send + 'static + use<E, L, F> {
        self.get_one(GetCommand {
            ctx,
            key,
            ts,
            need_commit_ts,
            tracker,
        })
    }

    /// The values of those `keys` that exist at `ts`, in the order of the request. A locked key has its error in
    /// its place.
    pub fn batch_get(
        &self,
        ctx: Context,
        keys: Vec<Key>,
        ts: TimeStamp,
        need_commit_ts: bool,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Vec<Result<KvPair>>>> + Send + 'static + use<E, L, F> {
        const KIND: &str = CommandKind::BatchGet.name();
        let this = self.clone();
        let ticket = self.admit_read(
            KIND,
            &ctx,
            ts,
            request_bytes(keys.iter().map(|key| key.as_encoded().len())),
        );
        self.spawn_read(ticket, &tracker.clone(), async move {
            this.check_read_keys(CommandKind::BatchGet, &ctx, &keys)?;
            this.begin_reading_at(ts, KIND)?;
            this.check_memory_locks(&ctx, ts, &keys)?;
            let view = ReadView {
                need_commit_ts,
                ..read_view(&ctx, ts)
            };
            let ranges = key_ranges(&keys);
            let snapshot = this.read_snapshot(ctx, ts, ranges, &tracker).await?;
            let mut getter = PointGetter::new(snapshot, view);
            let pairs = this.get_each(&mut getter, keys, need_commit_ts).await;
            statistics::record(KIND, &getter.take_statistics(), &tracker);
            this.end_reading_at(ts)?;
            pairs
        })
    }

    async fn get_each<S: kv::Snapshot>(
        &self,
        getter: &mut PointGetter<S>,
        keys: Vec<Key>,
        need_commit_ts: bool,
    ) -> Result<Vec<Result<KvPair>>> {
        let mut budget = self.read_budget();
        let mut pairs = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            if at % YIELD_LOOKUPS == YIELD_LOOKUPS - 1 {
                yield_now().await;
            }
            match getter.get(key) {
                Ok(None) => {}
                Ok(Some(entry)) => {
                    let raw = key.to_raw().map_err(mvcc::Error::InvalidKey)?;
                    budget.take(raw.len() + entry.value.len())?;
                    pairs.push(Ok((raw, asked_for(entry, need_commit_ts))));
                }
                // A read-committed read with timestamp check conflicts key by key, too.
                Err(error @ (mvcc::Error::KeyIsLocked(_) | mvcc::Error::WriteConflict { .. })) => {
                    pairs.push(Err(error.into()))
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(pairs)
    }

    /// The pairs of a range at `ts`: `[start, end)`, or with `reverse` from `start` (exclusive) down to `end`
    /// (inclusive). An absent `end` is unbounded, and so is the empty `start` of a reverse scan.
    pub fn scan(
        &self,
        ctx: Context,
        start: Key,
        end: Option<Key>,
        options: ScanOptions,
        ts: TimeStamp,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Vec<Result<KvPair>>>> + Send + 'static + use<E, L, F> {
        const KIND: &str = CommandKind::Scan.name();
        let this = self.clone();
        let ticket = self.admit_read(KIND, &ctx, ts, 0);
        self.spawn_read(ticket, &tracker.clone(), async move {
            let (lower, upper) = this.scan_bounds(&ctx, start, end, options.reverse)?;
            this.begin_reading_at(ts, KIND)?;
            let range = (lower.as_ref(), upper.as_ref());
            this.check_memory_lock_range(&ctx, ts, range)?;
            if options.limit == 0 {
                return Ok(Vec::new());
            }
            let view = ReadView {
                key_only: options.key_only,
                ..read_view(&ctx, ts)
            };
            let unbounded = || Key::from_encoded(Vec::new());
            let ranges = vec![(
                lower.clone().unwrap_or_else(unbounded),
                upper.clone().unwrap_or_else(unbounded),
            )];
            let snapshot = this.read_snapshot(ctx, ts, ranges, &tracker).await?;
            let direction = if options.reverse {
                Direction::Backward
            } else {
                Direction::Forward
            };
            let mut scanner = Scanner::new(snapshot, view, direction, (lower, upper))?;
            let pairs = this.collect_pairs(&mut scanner, options).await;
            statistics::record(KIND, &scanner.take_statistics(), &tracker);
            this.end_reading_at(ts)?;
            pairs
        })
    }

    async fn collect_pairs<S: kv::Snapshot>(
        &self,
        scanner: &mut Scanner<S>,
        options: ScanOptions,
    ) -> Result<Vec<Result<KvPair>>> {
        let step = options.sample_step.max(1);
        let mut budget = self.read_budget();
        let mut pairs = Vec::new();
        let mut met = 0usize;
        while pairs.len() < options.limit {
            let pair = match scanner.next() {
                Ok(None) => break,
                Ok(Some(pair)) => Ok(pair),
                Err(error) if error.is_key_locked() => Err(Error::from(error)),
                Err(error) => return Err(error.into()),
            };
            if met.is_multiple_of(step) {
                budget.take(
                    pair.as_ref()
                        .map_or(0, |(key, entry)| key.len() + entry.value.len()),
                )?;
                pairs.push(pair);
            }
            met += 1;
            if met.is_multiple_of(SCAN_YIELD_KEYS) {
                yield_now().await;
            }
        }
        Ok(pairs)
    }

    fn scan_bounds(
        &self,
        ctx: &Context,
        start: Key,
        end: Option<Key>,
        reverse: bool,
    ) -> Result<(Option<Key>, Option<Key>)> {
        let (lower, upper) = if reverse {
            (end, Some(start).filter(|start| !start.is_encoded_from(b"")))
        } else {
            (Some(start), end)
        };
        self.check_txn_range(CommandKind::Scan, ctx, lower.as_ref(), upper.as_ref())?;
        for bound in [&lower, &upper].into_iter().flatten() {
            self.limits.check_bound(bound)?;
        }
        if let Some(lower) = &lower {
            check_key_range(lower, upper.as_ref())?;
        }
        Ok((lower, upper))
    }

    /// The locks of `[start, end)` whose transactions started at or before `max_version`. Zero is no limit.
    pub fn scan_lock(
        &self,
        mut ctx: Context,
        max_version: TimeStamp,
        start: Option<Key>,
        end: Option<Key>,
        limit: usize,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Vec<LockInfo>>> + Send + 'static + use<E, L, F> {
        const KIND: &str = CommandKind::ScanLock.name();
        let this = self.clone();
        // Garbage collection asks the leader: a follower may not have the newest locks yet.
        ctx.set_replica_read(false);
        let ticket = self.admit_read(KIND, &ctx, max_version, 0);
        self.spawn_read(ticket, &tracker.clone(), async move {
            if let Some(start) = &start {
                check_key_range(start, end.as_ref())?;
            }
            this.concurrency_manager.update_max_ts(max_version, KIND)?;
            this.check_no_memory_locks(max_version, (start.as_ref(), end.as_ref()))?;
            let fill_cache = !ctx.get_not_fill_cache();
            let snapshot = this
                .read_snapshot(ctx, max_version, Vec::new(), &tracker)
                .await?;
            let mut reader = SnapshotReader::new(max_version, snapshot, fill_cache);
            let locks = this
                .collect_locks(&mut reader, max_version, (start, end), limit)
                .await;
            statistics::record(KIND, &reader.take_statistics(), &tracker);
            locks
        })
    }

    /// The locks of a range, a batch at a time.
    async fn collect_locks<S: kv::Snapshot>(
        &self,
        reader: &mut SnapshotReader<S>,
        max_version: TimeStamp,
        (mut start, end): (Option<Key>, Option<Key>),
        limit: usize,
    ) -> Result<Vec<LockInfo>> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut budget = self.read_budget();
        let mut found = Vec::new();
        loop {
            let wanted = LOCKS_AT_A_TIME.min(limit - found.len());
            let filter = |_: &Key, lock: &txn_types::Lock| lock.ts <= max_version;
            let scanned = reader.scan_all_locks(start.as_ref(), end.as_ref(), filter, wanted)?;
            let last = scanned.locks.last().map(|(key, _)| point_range(key).1);
            for (key, lock) in scanned.locks {
                let raw = key.to_raw().map_err(mvcc::Error::InvalidKey)?;
                budget.take(raw.len())?;
                found.push(lock.into_lock_info(raw));
            }
            if !scanned.has_remain || found.len() >= limit || last.is_none() {
                return Ok(found);
            }
            start = last;
            yield_now().await;
        }
    }

    /// Everything that is stored about `key`.
    pub fn mvcc_by_key(
        &self,
        ctx: Context,
        key: Key,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<kvrpcpb::MvccInfo>> + Send + 'static + use<E, L, F> {
        const KIND: &str = CommandKind::KeyMvcc.name();
        let this = self.clone();
        let ticket = self.admit_read(KIND, &ctx, TimeStamp::zero(), 0);
        self.spawn_read(ticket, &tracker.clone(), async move {
            this.limits.check_key(&key)?;
            let ranges = vec![point_range(&key)];
            let snapshot = this
                .read_snapshot(ctx, TimeStamp::zero(), ranges, &tracker)
                .await?;
            let mut cost = Statistics::default();
            let info = mvcc::mvcc_info(&snapshot, &key, &mut cost);
            statistics::record(KIND, &cost, &tracker);
            Ok(info?.into_proto())
        })
    }

    /// The first key that a transaction started at `start_ts` touched, and everything that is stored about it.
    pub fn mvcc_by_start_ts(
        &self,
        ctx: Context,
        start_ts: TimeStamp,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Option<(Key, kvrpcpb::MvccInfo)>>> + Send + 'static + use<E, L, F>
    {
        const KIND: &str = CommandKind::StartTsMvcc.name();
        let this = self.clone();
        let ticket = self.admit_read(KIND, &ctx, TimeStamp::zero(), 0);
        self.spawn_read(ticket, &tracker.clone(), async move {
            let snapshot = this
                .read_snapshot(ctx, TimeStamp::zero(), Vec::new(), &tracker)
                .await?;
            let mut cost = Statistics::default();
            let found = find(&snapshot, start_ts, &mut cost);
            statistics::record(KIND, &cost, &tracker);
            found
        })
    }

    /// Raises `max_ts`, before a read at `ts`. One below the safe point need not begin.
    pub(crate) fn begin_reading_at(&self, ts: TimeStamp, kind: &'static str) -> Result<()> {
        self.end_reading_at(ts)?;
        Ok(self.concurrency_manager.update_max_ts(ts, kind)?)
    }

    /// Fails when something that a read at `ts` needed may have been collected meanwhile.
    pub(crate) fn end_reading_at(&self, ts: TimeStamp) -> Result<()> {
        Ok(self.concurrency_manager.safe_point().check(ts)?)
    }

    pub(crate) async fn read_snapshot(
        &self,
        ctx: Context,
        start_ts: TimeStamp,
        key_ranges: Vec<(Key, Key)>,
        tracker: &TrackerHandle,
    ) -> Result<E::Snap> {
        let clock = self.scheduler.clock();
        let before = clock.now();
        let snapshot = self
            .engine
            .async_snapshot(SnapshotContext {
                ctx,
                start_ts,
                key_ranges,
                flashback: false,
            })
            .await?;
        let took = clock.now().saturating_duration_since(before);
        statistics::record_snapshot(tracker, took);
        Ok(snapshot)
    }
}

fn find<S: kv::Snapshot>(
    snapshot: &S,
    start_ts: TimeStamp,
    cost: &mut Statistics,
) -> Result<Option<(Key, kvrpcpb::MvccInfo)>> {
    let Some(key) = mvcc::find_start_ts(snapshot, start_ts, cost)? else {
        return Ok(None);
    };
    let info = mvcc::mvcc_info(snapshot, &key, cost)?.into_proto();
    Ok(Some((key, info)))
}

/// Lets other tasks of the pool run before this one goes on.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
