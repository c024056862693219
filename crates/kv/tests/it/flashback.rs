//! A region in flashback: who may write and read, what was queued when it began, and what a restart finds.

use engine_mem::MemEngine;
use engine_traits::{Cf, Peekable};
use kv::in_memory_locks::{LockTableStatus, PessimisticLock};
use kv::{Config, Engine, LocalEngine, LocalRegion, Snapshot, SnapshotContext, WriteData};
use kvproto::{metapb, raft_serverpb};
use protobuf::Message;
use runtime::{Runtime, Stepper};
use txn_types::TimeStamp;

use crate::fixture::{Fixture, key, put, region, region_error, start};

const START: TimeStamp = TimeStamp::new(100);

fn of_flashback(data: WriteData) -> WriteData {
    WriteData {
        flashback: true,
        ..data
    }
}

fn in_progress(result: kv::Result<()>) -> u64 {
    let error = region_error(result);
    assert!(error.has_FlashbackInProgress(), "{error:?}");
    assert_eq!(error.get_FlashbackInProgress().get_region_id(), 2);
    error.get_FlashbackInProgress().get_flashback_start_ts()
}

fn not_prepared(result: kv::Result<()>) {
    let error = region_error(result);
    assert!(error.has_FlashbackNotPrepared(), "{error:?}");
    assert_eq!(error.get_FlashbackNotPrepared().get_region_id(), 2);
}

impl Fixture<MemEngine> {
    async fn prepare(&self, start_ts: TimeStamp) -> kv::Result<()> {
        let ctx = region().context();
        self.local.prepare_flashback(ctx, start_ts).await
    }

    async fn finish(&self, start_ts: TimeStamp) -> kv::Result<()> {
        let ctx = region().context();
        self.local.finish_flashback(ctx, start_ts).await
    }

    async fn read(&self, start_ts: u64, flashback: bool) -> kv::Result<()> {
        let context = region().context();
        let ts = TimeStamp::new(start_ts);
        let at_once = self.local.memory_snapshot(&context, ts, None).unwrap();
        let ctx = SnapshotContext {
            start_ts: ts,
            flashback,
            ..SnapshotContext::new(context)
        };
        let taken = self.local.async_snapshot(ctx).await.map(drop);
        if !flashback {
            assert_eq!(at_once.is_ok(), taken.is_ok());
        }
        taken
    }
}

/// The region as its store knows it.
fn stored(engine: &MemEngine) -> Option<metapb::Region> {
    let bytes = engine.get(Cf::Raft, &keys::region_state_key(2)).unwrap()?;
    let mut state = raft_serverpb::RegionLocalState::default();
    state.merge_from_bytes(&bytes).unwrap();
    Some(state.take_region())
}

/// What a server does when it starts again.
fn restart(engine: MemEngine, runtime: &Runtime) -> Fixture<MemEngine> {
    let started = LocalRegion {
        region: stored(&engine).unwrap_or(region().region),
        ..region()
    };
    let mut fixture = start(engine.clone(), runtime, Config::default());
    let on_fatal = std::sync::Arc::new(|reason: &str| panic!("{reason}"));
    fixture.local = LocalEngine::new(engine, started, runtime, Config::default(), on_fatal);
    fixture
}

#[test]
fn only_a_flashback_writes_and_reads_beside_older_reads() {
    let stepper = Stepper::new(1);
    let fixture = start(MemEngine::new(), &stepper.runtime(), Config::default());
    stepper.block_on(async {
        not_prepared(fixture.write(of_flashback(put("a", "v"))).await);
        fixture.read(0, true).await.unwrap();
        fixture.write(put("a", "old")).await.unwrap();

        fixture.prepare(START).await.unwrap();
        assert_eq!(in_progress(fixture.write(put("a", "new")).await), 100);
        fixture.write(of_flashback(put("b", "v"))).await.unwrap();
        for (ts, allowed) in [(0, false), (99, true), (100, false), (u64::MAX, false)] {
            let read = fixture.read(ts, false).await;
            assert_eq!(read.is_ok(), allowed, "{ts}");
            if !allowed {
                assert_eq!(in_progress(read), 100);
            }
            fixture.read(ts, true).await.unwrap();
        }

        fixture.finish(START).await.unwrap();
        not_prepared(fixture.write(of_flashback(put("a", "v"))).await);
        fixture.read(u64::MAX, false).await.unwrap();
        assert_eq!(fixture.get(Cf::Default, "a").await.unwrap(), b"old");
        fixture.write(put("a", "new")).await.unwrap();
    });
}

#[test]
fn each_step_may_be_repeated_and_a_newer_flashback_takes_over() {
    let stepper = Stepper::new(1);
    let engine = MemEngine::new();
    let fixture = start(engine.clone(), &stepper.runtime(), Config::default());
    let newer = TimeStamp::new(200);
    stepper.block_on(async {
        fixture.finish(START).await.unwrap();
        assert_eq!(stored(&engine), None);
        fixture.prepare(START).await.unwrap();
        fixture.prepare(START).await.unwrap();
        fixture.prepare(newer).await.unwrap();
        assert_eq!(in_progress(fixture.finish(START).await), 200);
        assert_eq!(in_progress(fixture.prepare(START).await), 200);
        fixture.read(150, false).await.unwrap();
        assert!(fixture.local.region_now().get_is_in_flashback());
        fixture.finish(newer).await.unwrap();
        fixture.finish(newer).await.unwrap();
        fixture.finish(START).await.unwrap();
        assert_eq!(fixture.local.region_now(), region().region);
        for late in [START, newer] {
            not_prepared(fixture.prepare(late).await);
        }
        assert_eq!(stored(&engine), Some(region().region));

        let mut foreign = region().context();
        foreign.set_region_id(9);
        let refused = fixture.local.prepare_flashback(foreign, START).await;
        assert!(region_error(refused).has_region_not_found());
    });
}

#[test]
fn a_write_that_waits_when_it_begins_is_applied_before_or_never() {
    for seed in 0..50 {
        let stepper = Stepper::new(seed);
        let config = Config {
            // Every group is one write.
            max_group_bytes: 1,
            ..Config::default()
        };
        let fixture = start(MemEngine::new(), &stepper.runtime(), config);
        let (before, prepared, after) = stepper.block_on(async {
            let writes = |name: &'static str| {
                let writes = (0..5).map(move |n| put(&format!("{name}{n}"), "v"));
                futures::future::join_all(writes.map(|write| fixture.write(write)))
            };
            futures::future::join3(writes("before"), fixture.prepare(START), writes("after")).await
        });
        prepared.unwrap();
        assert!(before.iter().all(Result::is_ok), "seed {seed}: {before:?}");
        for (n, result) in after.into_iter().enumerate() {
            assert_eq!(in_progress(result), 100, "seed {seed}");
            let snapshot = stepper.block_on(fixture.local.async_snapshot(SnapshotContext {
                flashback: true,
                ..SnapshotContext::new(region().context())
            }));
            let found = snapshot
                .unwrap()
                .get(Cf::Default, &key(&format!("after{n}")));
            assert_eq!(found.unwrap(), None, "seed {seed}: after{n}");
        }
        assert_eq!(fixture.local.stats().pending_bytes, 0);
    }
}

#[test]
fn a_restart_finds_the_state_that_was_answered() {
    let stepper = Stepper::new(3);
    let runtime = stepper.runtime();
    let engine = MemEngine::new();
    let fixture = start(engine.clone(), &runtime, Config::default());
    stepper.block_on(fixture.prepare(START)).unwrap();

    let engine = engine.crash();
    let fixture = restart(engine.clone(), &runtime);
    let status = || fixture.local.memory_locks().status();
    assert_eq!(status(), LockTableStatus::IsInFlashback);
    assert_eq!(
        in_progress(stepper.block_on(fixture.write(put("a", "v")))),
        100
    );
    let write = of_flashback(put("a", "v"));
    stepper.block_on(fixture.write(write)).unwrap();
    stepper.block_on(fixture.finish(START)).unwrap();
    assert_eq!(status(), LockTableStatus::Normal);

    let fixture = restart(engine.crash(), &runtime);
    stepper.block_on(fixture.write(put("a", "v"))).unwrap();
}

#[test]
fn locks_in_memory_stay_and_none_are_added() {
    let stepper = Stepper::new(4);
    let engine = MemEngine::new();
    let fixture = start(engine.clone(), &stepper.runtime(), Config::default());
    let snapshot = stepper
        .block_on(
            fixture
                .local
                .async_snapshot(SnapshotContext::new(region().context())),
        )
        .unwrap();
    let locks = snapshot.memory_locks().unwrap();
    let lock = |name: &str| {
        let lock = PessimisticLock {
            primary: name.as_bytes().into(),
            start_ts: 10.into(),
            ttl: 1,
            for_update_ts: 10.into(),
            min_commit_ts: 11.into(),
            last_change: txn_types::LastChange::Unknown,
            is_locked_with_conflict: false,
        };
        [(key(name), lock)]
    };
    assert!(locks.insert(&lock("a")));

    // A disk without room: it did not begin.
    engine.fill_disk(true);
    assert!(stepper.block_on(fixture.prepare(START)).is_err());
    engine.fill_disk(false);
    assert!(locks.insert(&lock("b")));
    stepper.block_on(fixture.write(put("x", "v"))).unwrap();

    stepper.block_on(fixture.prepare(START)).unwrap();
    assert!(!locks.insert(&lock("c")));
    assert_eq!(fixture.local.memory_locks().len(), 2);
    stepper.block_on(fixture.finish(START)).unwrap();
    assert!(locks.insert(&lock("c")));
}
