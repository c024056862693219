//! Writers are slowed down one by one before the engine holds all of them back.
//!
//! First over figures that a test makes up, in virtual time; then over RocksDB with small buffers, whose own brakes must
//! hardly be needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use api_version::ApiV1;
use concurrency_manager::ConcurrencyManager;
use engine_mem::MemEngine;
use engine_rocks::{CfConfig, RocksEngine};
use engine_traits::{
    Backlog, Cf, CfPressure, CompactionFilterFactory, HeldBack, KvEngine, Verdict, WritePressure,
};
use futures::executor::block_on;
use futures::future::{BoxFuture, FutureExt as _, join_all};
use kv::LocalEngine;
use lock_manager::NoDetector;
use online_config::ReadableSize;
use parking_lot::Mutex;
use runtime::Runtime;
use storage::{BatchRollback, Config, Error, FlowControlConfig, Storage};
use txn_types::TimeStamp;

use crate::driver::{World, local_region, tracker};

const MS: Duration = Duration::from_millis(1);
const KIB: usize = 1024;

/// A store whose engine has the backlog that the test says.
struct Scene {
    world: World,
    level0_files: Arc<AtomicU64>,
    pending: Arc<AtomicU64>,
}

impl Scene {
    fn new(config: &Config) -> Scene {
        let scene = Scene {
            world: World::over(MemEngine::new(), 1, config),
            level0_files: Arc::default(),
            pending: Arc::default(),
        };
        let figures = (scene.level0_files.clone(), scene.pending.clone());
        let watch = scene.world.storage.flow_control().clone();
        let watch = watch.watch(move || {
            let of = |cf| CfPressure {
                cf,
                backlog: Backlog {
                    immutable_mem_tables: 0,
                    level0_files: figures.0.load(Ordering::Relaxed),
                    pending_compaction_bytes: figures.1.load(Ordering::Relaxed),
                },
                limit: Backlog {
                    immutable_mem_tables: 4,
                    level0_files: 32,
                    pending_compaction_bytes: 3 << 39,
                },
                mem_table_bytes: 32 << 20,
            };
            Some(WritePressure {
                cfs: Cf::DATA.map(of),
                held_back: HeldBack::Free,
            })
        });
        drop(scene.world.stepper.runtime().spawner.spawn(watch));
        scene.world.stepper.run_until_stalled();
        scene
    }

    fn put(&self, bytes: usize, within_ms: u64) -> BoxFuture<'static, storage::Result<()>> {
        let mut ctx = self.world.context();
        ctx.set_max_execution_duration_ms(within_ms);
        let pair = (b"k".to_vec(), vec![b'v'; bytes]);
        let put = self
            .world
            .storage
            .raw_put(ctx, String::new(), pair, 0, tracker());
        put.boxed()
    }

    fn rollback(&self) -> storage::Result<()> {
        let mut request = kvproto::kvrpcpb::BatchRollbackRequest::default();
        request.set_context(self.world.context());
        request.set_start_version(7);
        request.mut_keys().push(b"k".to_vec());
        let command = BatchRollback::try_from(request)?;
        let rolled_back = self.world.storage.sched_txn_command(command, tracker());
        self.world.run(rolled_back)
    }

    fn advance(&self, time: Duration) {
        self.world.stepper.advance(time);
        self.world.stepper.run_until_stalled();
    }

    /// Writes 1 MiB/s for five seconds, and then has `files` on level 0.
    fn congested(config: &Config, files: u64) -> Scene {
        let scene = Scene::new(config);
        for _ in 0..50 {
            scene.world.run(scene.put(1024 * KIB / 10, 0)).unwrap();
            scene.advance(100 * MS);
        }
        scene.level0_files.store(files, Ordering::Relaxed);
        scene.world.run(scene.put(1, 0)).unwrap();
        scene.advance(200 * MS);
        scene
    }

    fn rate(&self) -> Option<u64> {
        self.world.storage.flow_control().rate()
    }

    fn millis(&self) -> u128 {
        u128::from(self.world.stepper.virtual_clock().now().as_nanos()) / 1_000_000
    }
}

#[test]
fn writers_wait_their_turn_while_the_engine_is_behind() {
    let scene = Scene::congested(&Config::default(), 32);
    // The slowest rate there is.
    assert_eq!(scene.rate(), Some(1024 * 1024));
    let before = scene.millis();
    // The first takes what silence has saved, the others wait for what stands before them.
    for (count, took) in [(1, 0..=1), (4, 900..=1000)] {
        for _ in 0..count {
            scene.world.run(scene.put(256 * KIB, 0)).unwrap();
        }
        let passed = scene.millis() - before;
        assert!(took.contains(&passed), "{count}: {passed} ms");
    }
    // Compactions have caught up: a second later everybody is free.
    scene.level0_files.store(0, Ordering::Relaxed);
    scene.advance(1500 * MS);
    assert_eq!(scene.rate(), None);
    let before = scene.millis();
    for _ in 0..20 {
        scene.world.run(scene.put(256 * KIB, 0)).unwrap();
    }
    assert_eq!(scene.millis(), before);
}

#[test]
fn who_would_wait_too_long_is_refused_at_once_with_a_hint() {
    let scene = Scene::congested(&Config::default(), 32);
    let waiting: Vec<_> = (0..8).map(|_| scene.put(256 * KIB, 0)).collect();
    let refused =
        |mut put: BoxFuture<'static, storage::Result<()>>| match put.as_mut().now_or_never() {
            Some(Err(Error::FlowControl { backoff, .. })) => Some(backoff.as_millis()),
            None => None,
            other => panic!("{other:?}"),
        };
    // Two MiB stand before it, but for what was saved: with a deadline before its turn it is not even counted.
    let hint = refused(scene.put(KIB, 1500)).unwrap();
    assert!((1900..=2000).contains(&hint), "{hint}");
    assert_eq!(scene.world.storage.memory_quota().used() / (256 * KIB), 8);
    let accepted = scene.put(256 * KIB, 0);
    let hint = refused(scene.put(KIB, 0)).unwrap();
    assert!((2100..=2250).contains(&hint), "{hint}");
    // What ends a transaction goes through in no time.
    let before = scene.millis();
    scene.rollback().unwrap();
    assert_eq!(scene.millis(), before);
    for put in waiting.into_iter().chain([accepted]) {
        scene.world.run(put).unwrap();
    }
    assert_eq!(scene.world.storage.memory_quota().used(), 0);
    assert_eq!(scene.world.storage.scheduler().pending_bytes(), 0);
}

#[test]
fn beyond_the_hard_limit_only_ends_of_transactions_are_taken() {
    let scene = Scene::congested(&Config::default(), 0);
    scene.pending.store(1 << 40, Ordering::Relaxed);
    scene.world.run(scene.put(1, 0)).unwrap();
    scene.advance(200 * MS);
    let refused = scene.world.run(scene.put(1, 0)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "scheduler is busy: too many bytes wait to be compacted"
    );
    scene.rollback().unwrap();
    // Another limit, while it runs.
    scene.world.storage.reconfigure(&Config {
        flow_control: FlowControlConfig {
            enable: false,
            ..FlowControlConfig::default()
        },
        ..Config::default()
    });
    scene.advance(200 * MS);
    scene.world.run(scene.put(1, 0)).unwrap();
}

#[test]
fn a_fast_writer_is_not_faster_than_the_watch() {
    let scene = Scene::congested(&Config::default(), 0);
    scene.level0_files.store(32, Ordering::Relaxed);
    // Half a write buffer at one moment: nobody waits for the interval.
    let before = scene.millis();
    for _ in 0..16 {
        scene.world.run(scene.put(1024 * KIB, 0)).unwrap();
    }
    scene.world.stepper.run_until_stalled();
    assert_eq!(scene.millis(), before);
    assert!(scene.rate().is_some());
}

#[test]
fn an_idle_store_is_not_looked_at() {
    let looks = Arc::new(AtomicU64::new(0));
    let world = World::new(1);
    let (watch, counted) = (world.storage.flow_control().clone(), looks.clone());
    let watch = watch.watch(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let of = |cf| CfPressure {
            cf,
            backlog: Backlog::default(),
            limit: Backlog {
                immutable_mem_tables: 4,
                level0_files: 32,
                pending_compaction_bytes: 3 << 39,
            },
            mem_table_bytes: 1,
        };
        Some(WritePressure {
            cfs: Cf::DATA.map(of),
            held_back: HeldBack::Free,
        })
    });
    drop(world.stepper.runtime().spawner.spawn(watch));
    let hours = || {
        for _ in 0..10_000 {
            world.stepper.advance(Duration::from_secs(1));
            world.stepper.run_until_stalled();
        }
    };
    hours();
    assert_eq!(looks.swap(0, Ordering::Relaxed), 1);
    let pair = (b"k".to_vec(), b"v".to_vec());
    let put = world
        .storage
        .raw_put(world.context(), String::new(), pair, 0, tracker());
    world.run(put).unwrap();
    hours();
    let looked = looks.load(Ordering::Relaxed);
    assert!((1..=2).contains(&looked), "{looked}");
}

/// What became of a flood.
#[derive(Debug)]
struct Flood {
    /// Time that the engine held writers back.
    stalled: Duration,
    p99: Duration,
    written: usize,
}

/// How long a flood lasts.
const LENGTH: Duration = Duration::from_secs(4);

/// Writers that know no end, on small buffers.
fn flood(enable: bool) -> Flood {
    const WRITERS: usize = 16;
    const VALUE: usize = 16 * KIB;
    const VALUES_A_MS: u32 = 4;

    let directory = tempfile::TempDir::new().unwrap();
    let cf = CfConfig {
        write_buffer_size: ReadableSize::mb(1),
        target_file_size_base: ReadableSize::mb(1),
        max_write_buffer_number: 6,
        ..CfConfig::default()
    };
    let settings = engine_rocks::Config {
        max_background_jobs: 2,
        defaultcf: cf.clone(),
        writecf: cf.clone(),
        lockcf: cf.clone(),
        raftcf: cf,
        ..engine_rocks::Config::default()
    };
    let engine = RocksEngine::open(directory.path().join("kv"), &settings).unwrap();
    let runtime = Runtime::system("flood", 2).unwrap();
    // Merging is as slow as on a poor disk.
    let over = Arc::new(AtomicBool::new(false));
    let (timer, ends) = (runtime.timer.clone(), over.clone());
    let slow: CompactionFilterFactory = Arc::new(move || {
        let (timer, ends, mut judged) = (timer.clone(), ends.clone(), 0_u32);
        Box::new(move |_, _| {
            judged += 1;
            if judged.is_multiple_of(VALUES_A_MS) && !ends.load(Ordering::Relaxed) {
                block_on(timer.sleep(MS));
            }
            Verdict::Keep
        })
    });
    engine.filter_compactions(Cf::Default, slow).unwrap();
    let local = LocalEngine::new(
        engine.clone(),
        local_region(),
        &runtime,
        kv::Config::default(),
        Arc::new(|reason: &str| panic!("the engine failed: {reason}")),
    );
    let pool = |name: &str| {
        let pool = yatp::Builder::new(name).threads(1).build(&runtime);
        pool.unwrap()
    };
    let config = Config {
        flow_control: FlowControlConfig {
            enable,
            ..FlowControlConfig::default()
        },
        ..Config::default()
    };
    let (reads, commands) = (pool("reads"), pool("commands"));
    let storage: Storage<_, _, ApiV1> = Storage::new(
        local,
        NoDetector,
        ConcurrencyManager::new(TimeStamp::zero()),
        &runtime,
        reads.clone(),
        commands.clone(),
        &config,
    );
    let (watch, watched) = (storage.flow_control().clone(), engine.clone());
    let watch = watch.watch(move || watched.write_pressure());
    drop(runtime.spawner.spawn(watch));
    let took = Arc::new(Mutex::new(Vec::new()));
    let writers = (0..WRITERS).map(|writer| {
        let (storage, took, over) = (storage.clone(), took.clone(), over.clone());
        let clock = runtime.clock.clone();
        let write = async move {
            for n in 0_u64.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                // Scattered, so that files of level 0 lie over each other.
                let key = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes();
                let key = [&key[..], &writer.to_be_bytes()].concat();
                let begin = clock.now();
                let value = (key, vec![b'v'; VALUE]);
                let ctx = local_region().context();
                let put = storage.raw_put(ctx, String::new(), value, 0, tracker());
                match put.await {
                    Ok(()) => took.lock().push(clock.now() - begin),
                    Err(Error::FlowControl { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        runtime.spawner.spawn(write)
    });
    let writers: Vec<_> = writers.collect();
    block_on(runtime.timer.sleep(LENGTH));
    over.store(true, Ordering::Relaxed);
    for ended in block_on(join_all(writers)) {
        ended.unwrap();
    }
    let mut took = std::mem::take(&mut *took.lock());
    took.sort();
    let flood = Flood {
        stalled: Duration::from_micros(engine.stats().stall_micros),
        p99: took[took.len() * 99 / 100],
        written: took.len(),
    };
    block_on(storage.engine().close());
    reads.shutdown();
    commands.shutdown();
    runtime.shutdown();
    flood
}

#[test]
fn rocksdb_hardly_stalls_under_a_flood() {
    let (free, held) = (flood(false), flood(true));
    println!("without control {free:?}, with control {held:?}");
    let both = format!("without control {free:?}, with control {held:?}");
    assert!(free.stalled > LENGTH / 20, "the flood is none: {both}");
    assert!(held.stalled * 4 <= free.stalled, "{both}");
    assert!(held.p99 < Duration::from_secs(2), "{both}");
    // Not by doing nothing: a part of what the other wrote only lies on level 0.
    assert!(held.written * 3 >= free.written, "{both}");
}
