//! Who is admitted, who is refused and who goes first when there is more to do than can be done.
//!
//! Each read here takes a millisecond of virtual time, and the pools take turns like one thread: so queues have
//! lengths in time, and twice the capacity is a number.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api_version::ApiV1;
use concurrency_manager::ConcurrencyManager;
use engine_mem::MemEngine;
use engine_traits::{KvEngine, WriteBatch, WriteOptions};
use futures::future::Either;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt as _};
use kv::{
    Engine, LocalEngine, LocalSnapshot, Modify, SnapshotContext, Subscribed, WriteData, WriteEvent,
};
use kvproto::kvrpcpb::{CommandPri, CommitRequest, Context, Mutation, Op, PrewriteRequest};
use lock_manager::NoDetector;
use online_config::ReadableSize;
use runtime::{Instant, Stepper, VirtualClock};
use storage::{CasRequest, Commit, Config, Error, Prewrite, RawScanRequest, Storage};
use txn_types::{Key, TimeStamp};

use crate::driver::{World, local_region, tracker};

const MS: Duration = Duration::from_millis(1);

/// A read that an engine has served.
#[derive(Clone)]
struct Served {
    priority: CommandPri,
    /// What its client put into the envelope.
    tag: Vec<u8>,
    at: Instant,
}

/// An engine whose snapshots take a millisecond, and that notes each.
#[derive(Clone)]
struct SlowEngine {
    inner: LocalEngine<MemEngine>,
    time: VirtualClock,
    served: Arc<Mutex<Vec<Served>>>,
    /// Writes take no time and no turn of anybody, so that the pool of commands is all there is to wait for.
    writes_at_once: Arc<AtomicBool>,
}

impl Engine for SlowEngine {
    type Snap = LocalSnapshot<engine_mem::MemSnapshot>;

    fn async_snapshot(
        &self,
        ctx: SnapshotContext,
    ) -> impl Future<Output = kv::Result<Self::Snap>> + Send + 'static + use<> {
        self.time.advance(MS);
        self.served.lock().unwrap().push(Served {
            priority: ctx.ctx.get_priority(),
            tag: ctx.ctx.get_resource_group_tag().to_vec(),
            at: self.time.now(),
        });
        self.inner.async_snapshot(ctx)
    }

    fn async_write(
        &self,
        ctx: Context,
        data: WriteData,
        subscribed: Subscribed,
    ) -> impl Stream<Item = WriteEvent> + Send + Unpin + 'static + use<> {
        if !self.writes_at_once.load(Ordering::Relaxed) {
            return Either::Left(self.inner.async_write(ctx, data, subscribed));
        }
        let engine = self.inner.kv_engine();
        let mut batch = engine.write_batch();
        let place = |key: &Key| [&[keys::DATA_PREFIX][..], key.as_encoded()].concat();
        for modify in &data.modifies {
            match modify {
                Modify::Put(cf, key, value) => batch.put(*cf, &place(key), value),
                Modify::Delete(cf, key) => batch.delete(*cf, &place(key)),
                Modify::DeleteRange(..) => panic!("no test needs it"),
            }
        }
        engine.write(batch, &WriteOptions::SYNCED).unwrap();
        Either::Right(futures::stream::iter([WriteEvent::Finished(Ok(()))]))
    }

    fn prepare_flashback(
        &self,
        ctx: Context,
        start_ts: TimeStamp,
    ) -> impl Future<Output = kv::Result<()>> + Send + 'static + use<> {
        self.inner.prepare_flashback(ctx, start_ts)
    }

    fn finish_flashback(
        &self,
        ctx: Context,
        start_ts: TimeStamp,
    ) -> impl Future<Output = kv::Result<()>> + Send + 'static + use<> {
        self.inner.finish_flashback(ctx, start_ts)
    }

    fn destroy_range(
        &self,
        start: Key,
        end: Key,
    ) -> impl Future<Output = kv::Result<()>> + Send + 'static + use<> {
        self.inner.destroy_range(start, end)
    }
}

struct Scene {
    stepper: Stepper,
    storage: Storage<SlowEngine, NoDetector, ApiV1>,
    served: Arc<Mutex<Vec<Served>>>,
    writes_at_once: Arc<AtomicBool>,
}

type Answer = futures::future::BoxFuture<'static, storage::Result<Option<Vec<u8>>>>;

impl Scene {
    /// A store whose read pool knows already what a read costs.
    fn new(seed: u64, config: &Config) -> Scene {
        let stepper = Stepper::new(seed);
        let runtime = stepper.runtime();
        let served: Arc<Mutex<Vec<_>>> = Arc::default();
        let writes_at_once: Arc<AtomicBool> = Arc::default();
        let engine = SlowEngine {
            inner: LocalEngine::new(
                MemEngine::new(),
                local_region(),
                &runtime,
                kv::Config::default(),
                Arc::new(|reason: &str| panic!("the engine failed: {reason}")),
            ),
            time: stepper.virtual_clock().clone(),
            served: served.clone(),
            writes_at_once: writes_at_once.clone(),
        };
        let pool = |name: &str| yatp::Builder::new(name).build_stepped_in_order(&stepper);
        let storage = Storage::new(
            engine,
            NoDetector,
            ConcurrencyManager::new(TimeStamp::zero()),
            &runtime,
            pool("read"),
            pool("sched"),
            config,
        );
        let scene = Scene {
            stepper,
            storage,
            served,
            writes_at_once,
        };
        // Four, after which the next turn is again one that looks at high priority first.
        for _ in 0..4 {
            scene.stepper.block_on(scene.get(|_| {})).unwrap();
        }
        scene.served.lock().unwrap().clear();
        scene
    }

    fn context(&self, change: impl FnOnce(&mut Context)) -> Context {
        let mut ctx = local_region().context();
        change(&mut ctx);
        ctx
    }

    fn get(&self, change: impl FnOnce(&mut Context)) -> Answer {
        let ctx = self.context(change);
        self.storage
            .raw_get(ctx, String::new(), b"k".to_vec(), tracker())
            .boxed()
    }

    /// What became of a read that may not wait.
    fn refused(&self, mut answer: Answer) -> Option<Error> {
        answer.as_mut().now_or_never().map(Result::unwrap_err)
    }
}

fn busy(error: Option<Error>) -> Duration {
    match error {
        Some(Error::ReadPoolBusy { estimated_wait }) => estimated_wait,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_read_does_not_wait_longer_than_its_client_accepts() {
    let scene = Scene::new(1, &Config::default());
    let threshold = |ms| scene.get(move |ctx| ctx.set_busy_threshold_ms(ms));
    scene.stepper.block_on(threshold(1)).unwrap();
    let waiting: Vec<_> = (0..20).map(|_| scene.get(|_| {})).collect();
    assert_eq!(busy(scene.refused(threshold(10))), 20 * MS);
    assert_eq!(busy(scene.refused(threshold(19))), 20 * MS);
    let accepted = [threshold(20), threshold(0), threshold(u32::MAX)];
    // Nothing stands before a read of high priority.
    let urgent = scene.get(|ctx| {
        ctx.set_busy_threshold_ms(1);
        ctx.set_priority(CommandPri::High);
    });
    for answer in waiting.into_iter().chain(accepted).chain([urgent]) {
        scene.stepper.block_on(answer).unwrap();
    }
    scene.stepper.block_on(threshold(1)).unwrap();
}

#[test]
fn a_read_that_would_be_late_is_refused_at_once() {
    let scene = Scene::new(1, &Config::default());
    let within = |ms| scene.get(move |ctx| ctx.set_max_execution_duration_ms(ms));
    // It takes all of its time; but an idle pool takes whatever comes.
    scene.stepper.block_on(within(1)).unwrap();
    let waiting: Vec<_> = (0..20).map(|_| scene.get(|_| {})).collect();
    assert_eq!(busy(scene.refused(within(20))), 20 * MS);
    // Twenty before it and its own turn.
    let in_time = within(21);
    let all = futures::future::try_join_all(waiting.into_iter().chain([in_time]));
    scene.stepper.block_on(all).unwrap();
}

#[test]
fn too_many_waiting_reads_refuse_the_next_whatever_it_accepts() {
    let config = Config {
        max_read_tasks_per_worker: 5,
        ..Config::default()
    };
    let scene = Scene::new(1, &config);
    let waiting: Vec<_> = (0..5).map(|_| scene.get(|_| {})).collect();
    let next = scene.refused(scene.get(|_| {}));
    assert!(matches!(next, Some(Error::SchedTooBusy)), "{next:?}");
    for answer in waiting {
        scene.stepper.block_on(answer).unwrap();
    }
    scene.stepper.block_on(scene.get(|_| {})).unwrap();
}

#[test]
fn bounds_change_while_requests_run() {
    let narrow = Config {
        max_read_tasks_per_worker: 1,
        memory_quota: ReadableSize::mb(3),
        scheduler_pending_write_threshold: ReadableSize::mb(1),
        ..Config::default()
    };
    let scene = Scene::new(1, &narrow);
    let put = || {
        let pair = (b"w".to_vec(), vec![b'v'; 1 << 20]);
        let ctx = scene.context(|_| {});
        let write = scene
            .storage
            .raw_put(ctx, String::new(), pair, 0, tracker());
        write.boxed()
    };
    let refused = |mut answer: futures::future::BoxFuture<'static, storage::Result<()>>| {
        answer.as_mut().now_or_never().map(Result::unwrap_err)
    };
    let (read, written) = (scene.get(|_| {}), put());
    let next = scene.refused(scene.get(|_| {}));
    assert!(matches!(next, Some(Error::SchedTooBusy)), "{next:?}");
    let next = refused(put());
    assert!(matches!(next, Some(Error::SchedTooBusy)), "{next:?}");

    // More of all: what is under way goes on, and more fits beside it.
    scene.storage.reconfigure(&Config::default());
    let (more_read, more_written) = (scene.get(|_| {}), put());
    assert_eq!(scene.storage.memory_quota().capacity(), 256 << 20);

    // Less memory than is in use: it is kept until its requests are answered.
    scene.storage.reconfigure(&Config {
        memory_quota: ReadableSize::mb(1),
        ..Config::default()
    });
    let next = refused(put());
    assert!(
        matches!(
            next,
            Some(Error::MemoryQuotaExceeded {
                capacity: 1_048_576
            })
        ),
        "{next:?}"
    );
    for answer in [written, more_written] {
        scene.stepper.block_on(answer).unwrap();
    }
    for answer in [read, more_read] {
        scene.stepper.block_on(answer).unwrap();
    }
    assert_eq!(scene.storage.memory_quota().used(), 0);
}

#[test]
fn sizes_change_while_requests_run() {
    let scene = Scene::new(1, &Config::default());
    let put = |key: usize, value: usize| {
        let pair = (vec![b'w'; key], vec![b'v'; value]);
        let ctx = scene.context(|_| {});
        let write = scene
            .storage
            .raw_put(ctx, String::new(), pair, 0, tracker());
        scene.stepper.block_on(write)
    };
    put(100, 4000).unwrap();
    scene.storage.reconfigure(&Config {
        max_key_size: ReadableSize(50),
        max_write_size: ReadableSize(1000),
        ..Config::default()
    });
    let error = put(100, 1).unwrap_err();
    let limit = |error: &Error| match error {
        Error::KeyTooLarge { limit, .. }
        | Error::ValueTooLarge { limit, .. }
        | Error::WriteTooLarge { limit, .. } => *limit,
        other => panic!("{other}"),
    };
    assert_eq!(limit(&error), 50);
    assert_eq!(limit(&put(10, 1001).unwrap_err()), 1000);
    // As a batch, with its key, it is too large: the scheduler has the new limit, too.
    assert_eq!(limit(&put(10, 999).unwrap_err()), 1000);
    put(50, 900).unwrap();
    scene.storage.reconfigure(&Config::default());
    put(100, 4000).unwrap();
}

#[test]
fn requests_in_progress_share_their_memory() {
    let config = Config {
        memory_quota: ReadableSize::kb(64),
        ..Config::default()
    };
    let scene = Scene::new(1, &config);
    let used = || scene.storage.memory_quota().used();
    assert_eq!(used(), 0);
    let put = |len: usize| {
        let pair = (b"k".to_vec(), vec![b'v'; len]);
        let ctx = scene.context(|_| {});
        scene
            .storage
            .raw_put(ctx, String::new(), pair, 0, tracker())
            .boxed()
    };
    let first = put(50 << 10);
    assert!(used() > 50 << 10, "{}", used());
    let second = scene.stepper.block_on(put(20 << 10));
    assert!(
        matches!(second, Err(Error::MemoryQuotaExceeded { capacity: 65_536 })),
        "{second:?}"
    );
    scene.stepper.block_on(first).unwrap();
    scene.stepper.block_on(put(20 << 10)).unwrap();
    assert_eq!(used(), 0);

    // Reads count from their admission, too.
    let mut waiting = Vec::new();
    let refusal = loop {
        let mut answer = scene.get(|_| {});
        match answer.as_mut().now_or_never() {
            None => waiting.push(answer),
            Some(answer) => break answer,
        }
    };
    assert!(matches!(refusal, Err(Error::MemoryQuotaExceeded { .. })));
    assert!((10..40).contains(&waiting.len()), "{}", waiting.len());
    // Nobody waits any more: the memory is free although nothing was read.
    drop(waiting);
    scene.stepper.run_until_stalled();
    assert_eq!(used(), 0);
    assert!(scene.served.lock().unwrap().is_empty());
}

#[test]
fn priorities_of_requests_reach_the_pools() {
    use CommandPri::{High, Low, Normal};
    let arrivals = [Low, Normal, High];
    for seed in 0..10 {
        let scene = Scene::new(seed, &Config::default());
        let with = |priority| move |ctx: &mut Context| ctx.set_priority(priority);
        let reads: Vec<_> = arrivals.map(|priority| scene.get(with(priority))).into();
        let ended = futures::future::try_join_all(reads);
        scene.stepper.block_on(ended).unwrap();
        let served = scene.served.lock().unwrap().clone();
        let order: Vec<_> = served.iter().map(|read| read.priority).collect();
        assert_eq!(order, [High, Normal, Low]);

        // Commands that set one key unless it exists: the first in its turn sets it.
        let writes = arrivals.map(|priority| {
            let request = CasRequest {
                key: b"k".to_vec(),
                expected: None,
                value: format!("{priority:?}").into_bytes(),
                ttl: 0,
                delete: false,
            };
            let ctx = scene.context(with(priority));
            let cf = String::new();
            scene
                .storage
                .raw_compare_and_swap(ctx, cf, request, tracker())
        });
        let ended = futures::future::try_join_all(writes);
        scene.stepper.block_on(ended).unwrap();
        let first = scene.stepper.block_on(scene.get(|_| {})).unwrap();
        assert_eq!(first.unwrap(), b"High", "seed {seed}");
    }
}

/// Reads that arrive twice as fast as they can be served, for two seconds. Returns the share of the capacity that
/// was answered in time, and the share of those of high priority that were.
fn overload(seed: u64, limit: fn(&mut Context)) -> (f64, f64) {
    const IN_TIME: Duration = Duration::from_millis(50);
    const LENGTH: Duration = Duration::from_secs(2);
    const URGENT_ONE_IN: usize = 20;

    let scene = Scene::new(seed, &Config::default());
    let time = scene.stepper.virtual_clock();
    let begin = time.now();
    let mut answers = Vec::new();
    let mut urgent_arrivals = 0u32;
    while time.now() - begin < LENGTH {
        while MS / 2 * answers.len() as u32 <= time.now() - begin {
            let urgent = answers.len().is_multiple_of(URGENT_ONE_IN);
            urgent_arrivals += u32::from(urgent);
            // Kept: a client that goes away would take its read along.
            answers.push(scene.get(|ctx| {
                limit(ctx);
                ctx.set_resource_group_tag(time.now().as_nanos().to_be_bytes().to_vec());
                if urgent {
                    ctx.set_priority(CommandPri::High);
                }
            }));
        }
        // What runs takes time; when there is nothing to run, the next arrival is waited for.
        if !scene.stepper.step() {
            time.advance(MS / 2);
        }
    }
    let in_time = |read: &&Served| {
        let arrived = u64::from_be_bytes(read.tag.as_slice().try_into().unwrap());
        read.at.as_nanos() - arrived <= IN_TIME.as_nanos() as u64
    };
    let served = scene.served.lock().unwrap();
    let capacity = (time.now() - begin).as_millis() as f64;
    let all = served.iter().filter(in_time).count();
    let urgent = served
        .iter()
        .filter(in_time)
        .filter(|read| read.priority == CommandPri::High);
    (
        all as f64 / capacity,
        urgent.count() as f64 / f64::from(urgent_arrivals),
    )
}

#[test]
fn at_twice_the_capacity_nearly_all_of_it_is_of_use() {
    for seed in 0..3 {
        let deadline = overload(seed, |ctx| ctx.set_max_execution_duration_ms(50));
        let threshold = overload(seed, |ctx| ctx.set_busy_threshold_ms(30));
        for (goodput, urgent) in [deadline, threshold] {
            assert!(goodput >= 0.9, "seed {seed}: {goodput}");
            assert!(urgent >= 0.95, "seed {seed}: {urgent}");
        }
        // Without either, everybody waits for ever: that is what the two are for.
        let (goodput, _) = overload(seed, |_| {});
        assert!(goodput < 0.5, "seed {seed}: {goodput}");
    }
}

/// Transactions that begin `times` as often as they can be served, for four seconds: each is a prewrite and a commit,
/// which take a millisecond each, and their client gives up soon after the deadline of either. Returns the share of the
/// capacity that was committed.
fn transactions(seed: u64, times: f64) -> f64 {
    const IN_TIME_MS: u64 = 50;
    const PATIENCE: Duration = Duration::from_millis(55);
    const LENGTH: Duration = Duration::from_secs(4);

    let scene = Scene::new(seed, &Config::default());
    let time = scene.stepper.virtual_clock();
    scene.writes_at_once.store(true, Ordering::Relaxed);
    let mut clients = FuturesUnordered::new();
    let begin = time.now();
    let between = (2 * MS).div_f64(times);
    let committed = Arc::new(AtomicU64::new(0));
    let mut begun = 0_u64;
    while time.now() - begin < LENGTH {
        while between * u32::try_from(begun).unwrap() <= time.now() - begin {
            begun += 1;
            let ctx = scene.context(|ctx| ctx.set_max_execution_duration_ms(IN_TIME_MS));
            let (storage, clock) = (scene.storage.clone(), scene.stepper.clock());
            let (committed, start_ts) = (committed.clone(), begun * 2);
            let key = begun.to_be_bytes().to_vec();
            clients.push(async move {
                let (asked, mut prewrite) = (clock.now(), PrewriteRequest::default());
                prewrite.set_context(ctx.clone());
                prewrite.set_start_version(start_ts);
                prewrite.set_lock_ttl(3000);
                prewrite.set_primary_lock(key.clone());
                let mut put = Mutation::default();
                put.set_op(Op::Put);
                put.set_key(key.clone());
                prewrite.mut_mutations().push(put);
                let prewrite = Prewrite::try_from(prewrite).unwrap();
                let done = storage.sched_txn_command(prewrite, tracker()).await;
                if done.is_err() || clock.now() - asked > PATIENCE {
                    return;
                }
                let (asked, mut commit) = (clock.now(), CommitRequest::default());
                commit.set_context(ctx);
                commit.set_start_version(start_ts);
                commit.set_commit_version(start_ts + 1);
                commit.mut_keys().push(key);
                let commit = Commit::try_from(commit).unwrap();
                let done = storage.sched_txn_command(commit, tracker()).await;
                if done.is_ok() && clock.now() - asked <= PATIENCE {
                    committed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while let Some(Some(())) = clients.next().now_or_never() {}
        if !scene.stepper.step() {
            time.advance(MS / 10);
        }
    }
    let elapsed = (time.now() - begin).as_secs_f64();
    committed.load(Ordering::Relaxed) as f64 * 0.002 / elapsed
}

#[test]
fn at_twice_the_capacity_nearly_all_of_it_are_transactions_that_commit() {
    for seed in 0..3 {
        let peak = transactions(seed, 0.95);
        assert!(peak > 0.9, "seed {seed}: {peak}");
        for times in [1.5, 2.0, 4.0] {
            let goodput = transactions(seed, times);
            assert!(
                goodput >= 0.9 * peak,
                "seed {seed}, x{times}: {goodput} of {peak}"
            );
        }
    }
}

#[test]
fn a_scan_stops_between_turns_when_its_deadline_has_passed() {
    let world = World::new(1);
    for n in 0..40_000u32 {
        let key = Key::from_encoded(n.to_be_bytes().to_vec());
        world.put(engine_traits::Cf::Default, &key, b"v");
    }
    let scan = |ms| {
        let mut ctx = world.context();
        ctx.set_max_execution_duration_ms(ms);
        let request = RawScanRequest {
            limit: usize::MAX,
            ..RawScanRequest::default()
        };
        let scan = world
            .storage
            .raw_scan(ctx, String::new(), request, tracker());
        let scan = world.stepper.runtime().spawner.spawn(scan);
        let mut turns = 0;
        while world.stepper.step() {
            turns += 1;
            world.stepper.virtual_clock().advance(MS);
        }
        (world.run(scan), turns)
    };
    let (all, turns) = scan(1000);
    assert_eq!(all.unwrap().unwrap().len(), 40_000);
    let (late, late_turns) = scan(5);
    let late = late.unwrap().map(|pairs| pairs.len());
    assert!(matches!(late, Err(Error::DeadlineExceeded)), "{late:?}");
    assert!(late_turns < turns, "{late_turns} of {turns}");
    assert_eq!(world.storage.memory_quota().used(), 0);
}
