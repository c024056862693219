//! Runs of single-key reads: many gets, each with its own envelope and timestamp, as one task of the read pool.
//!
//! Reading a cached key costs about as much as giving a task to another thread, and as taking a snapshot. Whoever has
//! many gets at a time gives them as a run: one task, and one snapshot for all gets of one region.
//!
//! 1. Each get is admitted for itself, and refused for itself.
//! 2. Every get of the run raises `max_ts` before the first snapshot is taken. A commit that chooses its own timestamp
//!    after the snapshot therefore lands above all of them, also above those that are read last.
//! 3. Sharing a snapshot is right because all gets of a run were there before it was taken. Reads of a replica have
//!    each their own: what they may see depends on their timestamp.
//! 4. Between two gets the consumer may make the run wait. No snapshot is held meanwhile, for that would keep the engine
//!    from dropping old versions.
//!
//! A get alone goes the same way, without a consumer, if it needs the pool at all: see [`crate::at_once`].
//!
//! Must never: let one get's failure touch another.

use std::future::{Future, poll_fn};
use std::task::{Context as TaskContext, Poll};

use api_version::{CommandKind, KvFormat};
use kv::Engine;
use kvproto::kvrpcpb::Context;
use lock_manager::LockManager;
use mvcc::{PointGetter, ReadView, ValueEntry};
use runtime::Instant;
use tracker::TrackerHandle;
use txn_types::{Key, TimeStamp};

use crate::read_pool::ReadTicket;
use crate::reads::{asked_for, point_range, read_view};
use crate::{Result, Storage, statistics};

/// A get of a run; what [`Storage::get`] takes.
#[derive(Clone)]
pub struct GetCommand {
    /// The envelope.
    pub ctx: Context,
    /// The key.
    pub key: Key,
    /// The moment to read at.
    pub ts: TimeStamp,
    /// Tell when the value was committed.
    pub need_commit_ts: bool,
    /// The account of the request.
    pub tracker: TrackerHandle,
}

/// A raw get of a run; what [`Storage::raw_get`] takes.
#[derive(Clone)]
pub struct RawGetCommand {
    /// The envelope.
    pub ctx: Context,
    /// The column family; empty for the default one.
    pub cf: String,
    /// The key.
    pub key: Vec<u8>,
    /// The account of the request.
    pub tracker: TrackerHandle,
}

/// What a consumer says before the next result is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It takes another result.
    Free,
    /// Nobody wants results any more.
    Gone,
}

/// Takes the results of a run. When it is dropped before it got all of them, the rest will not come: the store is
/// stopping.
pub trait RunConsumer<T>: Send + 'static {
    /// Ready when another result may be made.
    fn poll_room(&mut self, cx: &mut TaskContext<'_>) -> Poll<Room>;

    /// Takes the next result, in the order of the run.
    fn consume(&mut self, result: Result<T>);
}

/// A single-key read: what differs between the kinds of gets.
pub(crate) trait PointRead<E: Engine, L, F>: Send + Sync + 'static {
    type Output: Send + 'static;
    const KIND: &'static str;

    fn ctx(&self) -> &Context;
    fn ts(&self) -> TimeStamp;
    fn key_len(&self) -> usize;
    fn tracker(&self) -> &TrackerHandle;

    /// The key as ranges of a snapshot know it, if they do.
    fn key(&self) -> Option<&Key>;

    /// Everything that must happen before the snapshot.
    fn prepare(&self, storage: &Storage<E, L, F>) -> Result<()>;

    fn read(&self, storage: &Storage<E, L, F>, snapshot: E::Snap) -> Result<Self::Output>;
}

impl<E: Engine, L: LockManager, F: KvFormat> PointRead<E, L, F> for GetCommand {
    type Output = Option<ValueEntry>;
    const KIND: &'static str = CommandKind::Get.name();

    fn ctx(&self) -> &Context {
        &self.ctx
    }

    fn ts(&self) -> TimeStamp {
        self.ts
    }

    fn key_len(&self) -> usize {
        self.key.as_encoded().len()
    }

    fn tracker(&self) -> &TrackerHandle {
        &self.tracker
    }

    fn key(&self) -> Option<&Key> {
        Some(&self.key)
    }

    fn prepare(&self, storage: &Storage<E, L, F>) -> Result<()> {
        let keys = std::slice::from_ref(&self.key);
        storage.check_read_keys(CommandKind::Get, &self.ctx, keys)?;
        storage.begin_reading_at(self.ts, CommandKind::Get.name())?;
        storage.check_memory_locks(&self.ctx, self.ts, keys)
    }

    fn read(&self, storage: &Storage<E, L, F>, snapshot: E::Snap) -> Result<Option<ValueEntry>> {
        let view = ReadView {
            need_commit_ts: self.need_commit_ts,
            ..read_view(&self.ctx, self.ts)
        };
        let mut getter = PointGetter::new(snapshot, view);
        let found = getter.get(&self.key);
        if !found.as_ref().is_err_and(mvcc::Error::is_not_in_memory) {
            let cost = getter.take_statistics();
            statistics::record(CommandKind::Get.name(), &cost, &self.tracker);
        }
        storage.end_reading_at(self.ts)?;
        Ok(found?.map(|entry| asked_for(entry, self.need_commit_ts)))
    }
}

impl<E: Engine, L: LockManager, F: KvFormat> PointRead<E, L, F> for RawGetCommand {
    type Output = Option<Vec<u8>>;
    const KIND: &'static str = CommandKind::RawGet.name();

    fn ctx(&self) -> &Context {
        &self.ctx
    }

    fn ts(&self) -> TimeStamp {
        TimeStamp::zero()
    }

    fn key_len(&self) -> usize {
        self.key.len()
    }

    fn tracker(&self) -> &TrackerHandle {
        &self.tracker
    }

    fn key(&self) -> Option<&Key> {
        None
    }

    fn prepare(&self, storage: &Storage<E, L, F>) -> Result<()> {
        storage.check_raw_keys(CommandKind::RawGet, &self.ctx, [self.key.as_slice()])
    }

    fn read(&self, storage: &Storage<E, L, F>, snapshot: E::Snap) -> Result<Option<Vec<u8>>> {
        storage.raw_value(&snapshot, &self.ctx, &self.cf, &self.key)
    }
}

/// A snapshot, and the envelope that it was taken for.
struct SharedSnapshot<S> {
    ctx: Context,
    snapshot: S,
}

/// Whether a snapshot that was taken for `a` can serve `b`.
fn same_snapshot(a: &Context, b: &Context) -> bool {
    let of_replica = |ctx: &Context| ctx.get_replica_read() || ctx.get_stale_read();
    a.get_region_id() == b.get_region_id()
        && a.region_epoch == b.region_epoch
        && a.peer == b.peer
        && a.get_term() == b.get_term()
        && !of_replica(a)
        && !of_replica(b)
}

type Admitted<R> = (Result<ReadTicket>, R);

impl<E: Engine, L: LockManager, F: KvFormat> Storage<E, L, F> {
    /// Runs gets as one task. `consumer` gets one result for each.
    pub fn get_run(&self, gets: Vec<GetCommand>, consumer: impl RunConsumer<Option<ValueEntry>>) {
        self.start_run(gets, consumer);
    }

    /// Runs raw gets as one task. `consumer` gets one result for each.
    pub fn raw_get_run(
        &self,
        gets: Vec<RawGetCommand>,
        consumer: impl RunConsumer<Option<Vec<u8>>>,
    ) {
        self.start_run(gets, consumer);
    }

    /// A get alone, in the pool.
    pub(crate) fn get_in_pool<R: PointRead<E, L, F>>(
        &self,
        read: R,
    ) -> impl Future<Output = Result<R::Output>> + Send + 'static + use<E, L, F, R> {
        let this = self.clone();
        let ticket = self.admit_read(R::KIND, read.ctx(), read.ts(), read.key_len());
        self.spawn_read(ticket, &read.tracker().clone(), async move {
            read.prepare(&this)?;
            let range = read.key().map(point_range);
            let snapshot = this.snapshot_for(&read, read.ts(), range).await?;
            read.read(&this, snapshot)
        })
    }

    fn start_run<R: PointRead<E, L, F>>(
        &self,
        reads: Vec<R>,
        mut consumer: impl RunConsumer<R::Output>,
    ) {
        let submitted = self.scheduler.clock().now();
        let admitted: Vec<Admitted<R>> = reads
            .into_iter()
            .map(|read| {
                let ticket = self.admit_read(R::KIND, read.ctx(), read.ts(), read.key_len());
                (ticket, read)
            })
            .collect();
        let options = admitted
            .iter()
            .find_map(|(ticket, _)| ticket.as_ref().ok())
            .map(ReadTicket::options);
        let Some(options) = options else {
            for (ticket, _) in admitted {
                if let Err(error) = ticket {
                    consumer.consume(Err(error));
                }
            }
            return;
        };
        let this = self.clone();
        // A pool that is closed drops the task, and the consumer with it.
        let _ = self.reads.spawn(options, async move {
            this.execute_run(admitted, submitted, consumer).await;
        });
    }

    async fn execute_run<R: PointRead<E, L, F>>(
        self,
        mut run: Vec<Admitted<R>>,
        submitted: Instant,
        mut consumer: impl RunConsumer<R::Output>,
    ) {
        let clock = self.scheduler.clock();
        for (ticket, read) in &mut run {
            if let Ok(admitted) = ticket {
                let prepared = admitted.check(clock).and_then(|()| read.prepare(&self));
                if let Err(error) = prepared {
                    *ticket = Err(error);
                }
            }
        }
        let mut shared = None;
        let mut run = run.into_iter();
        while let Some((ticket, read)) = run.next() {
            let room = poll_fn(|cx| {
                let room = consumer.poll_room(cx);
                if room.is_pending() {
                    shared = None;
                }
                room
            });
            if room.await == Room::Gone {
                return;
            }
            let begun = clock.now();
            let tracker = read.tracker().clone();
            let result = match ticket {
                Ok(ticket) => {
                    let snapshot = match ticket.check(clock) {
                        Ok(()) => self.run_snapshot(&mut shared, &read, run.as_slice()).await,
                        Err(error) => Err(error),
                    };
                    snapshot.and_then(|snapshot| read.read(&self, snapshot))
                }
                Err(error) => Err(error),
            };
            if let Err(error) = &result {
                error.log_damage(R::KIND);
            }
            statistics::record_read(&tracker, submitted, begun, clock.now());
            consumer.consume(result);
        }
    }

    /// The snapshot of `read`: the shared one if it fits, else a new one, that `rest` may share.
    async fn run_snapshot<R: PointRead<E, L, F>>(
        &self,
        shared: &mut Option<SharedSnapshot<E::Snap>>,
        read: &R,
        rest: &[Admitted<R>],
    ) -> Result<E::Snap> {
        if let Some(shared) = shared
            && same_snapshot(&shared.ctx, read.ctx())
        {
            return Ok(shared.snapshot.clone());
        }
        let rest = rest.iter().filter_map(|(ticket, other)| {
            let shares = ticket.is_ok() && same_snapshot(read.ctx(), other.ctx());
            shares.then_some(other)
        });
        let alone = (read.key(), read.key(), read.ts());
        let (first, last, ts) = rest.fold(alone, |(first, last, ts), other| {
            let (key, at) = (other.key(), other.ts());
            (first.min(key), last.max(key), ts.max(at))
        });
        let cover = first
            .zip(last)
            .map(|(first, last)| (first.clone(), point_range(last).1));
        let ctx = read.ctx().clone();
        // Of the newest read: where that may read, so may the older ones.
        if let Ok(snapshot) = self.snapshot_for(read, ts, cover).await {
            *shared = Some(SharedSnapshot {
                ctx,
                snapshot: snapshot.clone(),
            });
            return Ok(snapshot);
        }
        // Another key may lie where the region does not, or another read be refused.
        self.snapshot_for(read, read.ts(), read.key().map(point_range))
            .await
    }

    async fn snapshot_for<R: PointRead<E, L, F>>(
        &self,
        read: &R,
        ts: TimeStamp,
        range: Option<(Key, Key)>,
    ) -> Result<E::Snap> {
        let key_ranges = range.into_iter().collect();
        self.read_snapshot(read.ctx().clone(), ts, key_ranges, read.tracker())
            .await
    }
}
