//! The worker in virtual time: a whole placement driver without its ports, in one thread.

use engine_mem::MemEngine;
use kvproto::metapb::{Peer, Region, Store};
use runtime::{ShutdownTrigger, Stepper, shutdown_pair};

use super::*;
use crate::etcd::EtcdLimits;
use crate::gc::{Barrier, FOREVER, Place};
use crate::lock_resolver::Stores;
use crate::lock_resolver::tests::fake::{FakeLock, FakeStores};
use crate::meta_store::{EngineMetaStore, MetaStore};

const SECOND: Duration = Duration::from_secs(1);

/// Runs every 10 seconds for versions of a minute.
const SCHEDULE: Schedule = Schedule {
    life_time: Duration::from_secs(60),
    interval: Duration::from_secs(10),
    reclaim: false,
};

struct World {
    stepper: Stepper,
    engine: MemEngine,
    cluster: Cluster,
    oracle: Arc<Oracle>,
    schedule: SharedSchedule,
    stores: Arc<FakeStores>,
    reports: GcReports,
    _stop: ShutdownTrigger,
}

impl World {
    fn start(stepper: Stepper, engine: MemEngine) -> World {
        let runtime = stepper.runtime();
        let store: Arc<dyn MetaStore> = Arc::new(EngineMetaStore::new(engine.clone()));
        let (stop, stopped) = shutdown_pair();
        let fatal: crate::FatalHandler = Arc::new(|reason| panic!("{reason}"));
        let (cluster, _) = Cluster::start(
            Arc::clone(&store),
            EtcdLimits::default(),
            fatal.clone(),
            &runtime,
            stopped.clone(),
        )
        .unwrap();
        let (oracle, _) = Oracle::start(store, fatal, &runtime, stopped.clone()).unwrap();
        let schedule = Arc::new(Mutex::new(SCHEDULE));
        let stores = Arc::new(FakeStores::new(&runtime));
        // Their time stands still, far ahead.
        stores.state.lock().now = 1 << 60;
        let reports = GcReports::default();
        let worker = GcWorker {
            schedule: Arc::clone(&schedule),
            cluster: cluster.clone(),
            oracle: Arc::clone(&oracle),
            resolver: LockResolver::new(Arc::clone(&stores) as Arc<dyn Stores>, &runtime),
            reports: reports.clone(),
            runtime: runtime.clone(),
        };
        drop(runtime.spawner.spawn(worker.run(stopped)));
        World {
            stores,
            reports,
            stepper,
            engine,
            cluster,
            oracle,
            schedule,
            _stop: stop,
        }
    }

    fn bootstrapped() -> World {
        let stepper = Stepper::new(7);
        // A day after the epoch, so that there is something before now.
        stepper.virtual_clock().jump_unix(86_400_000_000_000);
        let world = World::start(stepper, MemEngine::new());
        let (mut store, mut region, mut peer) =
            (Store::default(), Region::default(), Peer::default());
        store.set_id(1);
        store.set_address("a:1".to_owned());
        store.set_version("8.5.5".to_owned());
        region.set_id(2);
        peer.set_id(3);
        peer.set_store_id(1);
        region.mut_peers().push(peer);
        world.mutate(move |state| Ok((state.plan_bootstrap(1, store, region, 0)?, ())));
        world
    }

    fn mutate<R: Send + 'static>(
        &self,
        plan: impl FnOnce(&PdState) -> Result<(Vec<Change>, R)> + Send + 'static,
    ) -> R {
        self.stepper.block_on(self.cluster.mutate(plan)).unwrap()
    }

    fn apply(&self, change: Change) {
        self.mutate(move |_| Ok((vec![change], ())));
    }

    fn pass(&self, time: Duration) {
        self.stepper.advance(time);
        self.stepper.run_until_stalled();
    }

    /// How many seconds the safe point lies behind the timestamps. After a restart those are ahead of
    /// the clock.
    fn seconds_behind(&self) -> u64 {
        let points = self.cluster.read(|state| state.gc().points(NULL_KEYSPACE));
        assert_eq!(points.txn, points.gc);
        let now = self.oracle.moment().ts >> 18;
        (now - (points.gc >> 18)) / 1_000
    }

    fn points(&self) -> Points {
        self.cluster.read(|state| state.gc().points(NULL_KEYSPACE))
    }

    /// A client that dies leaves this lock, or one that lives takes it.
    fn lock(&self, start_ts: u64, ttl: u64) {
        let lock = FakeLock {
            start_ts,
            primary: "k".to_owned(),
            ttl,
            min_commit_ts: start_ts + 1,
            ..FakeLock::default()
        };
        self.stores.state.lock().lock("k", lock);
    }

    fn calls(&self) -> usize {
        self.stores.state.lock().calls.values().sum()
    }

    fn safe_point(&self) -> u64 {
        self.cluster
            .read(|state| state.gc().points(NULL_KEYSPACE).gc)
    }

    /// The process ends without warning and starts anew.
    fn restart(self) -> World {
        let engine = self.engine.crash();
        World::start(self.stepper, engine)
    }
}

#[test]
fn the_safe_point_follows_the_clock_at_a_distance() {
    let world = World::bootstrapped();
    world.pass(9 * SECOND);
    assert_eq!(world.safe_point(), 0, "somebody else may yet show up");
    world.pass(2 * SECOND);
    let mut last = world.safe_point();
    assert_ne!(last, 0);
    for _ in 0..50 {
        world.pass(7 * SECOND);
        let behind = world.seconds_behind();
        assert!((60..=71).contains(&behind), "{behind} seconds");
        assert!(world.safe_point() >= last);
        last = world.safe_point();
    }
}

#[test]
fn restarts_neither_delay_runs_nor_move_the_point_back() {
    let mut world = World::bootstrapped();
    world.pass(11 * SECOND);
    let mut last = world.safe_point();
    for _ in 0..30 {
        world = world.restart();
        assert_eq!(world.safe_point(), last);
        world.pass(3 * SECOND);
        assert!(world.safe_point() >= last);
        last = world.safe_point();
        let behind = world.seconds_behind();
        assert!((60..=74).contains(&behind), "{behind} seconds");
    }
}

#[test]
fn barriers_hold_it_until_they_run_out() {
    let world = World::bootstrapped();
    world.pass(11 * SECOND);
    let now = world.oracle.moment();
    let barrier = Barrier {
        ts: world.safe_point() + 5,
        expires_at: now.seconds + 60,
    };
    let forever = Barrier {
        ts: now.ts,
        expires_at: FOREVER,
    };
    let place = Place::Scope(NULL_KEYSPACE);
    world.apply(Change::BarrierPut(place, "br".to_owned(), barrier));
    world.apply(Change::BarrierPut(Place::Global, "cdc".to_owned(), forever));
    world.pass(50 * SECOND);
    assert_eq!(world.safe_point(), barrier.ts);
    world.pass(25 * SECOND);
    assert!(world.safe_point() > barrier.ts);
    world.pass(500 * SECOND);
    assert_eq!(world.safe_point(), forever.ts);
}

#[test]
fn whoever_claims_garbage_collection_has_it_for_good() {
    let world = World::bootstrapped();
    world.pass(11 * SECOND);
    let before = world.safe_point();
    world.apply(Change::GcClaimed(true));
    world.pass(500 * SECOND);
    assert_eq!(world.safe_point(), before);
    let world = world.restart();
    world.pass(500 * SECOND);
    assert_eq!(world.safe_point(), before);
    world.apply(Change::GcClaimed(false));
    world.pass(2 * SECOND);
    assert!((60..=62).contains(&world.seconds_behind()));
}

#[test]
fn a_clock_that_jumps_does_not_run_ahead_of_the_timestamps() {
    let world = World::bootstrapped();
    world.pass(11 * SECOND);
    let before = world.safe_point();
    // Back by a day: timestamps wait for the clock, and so does the safe point.
    world.stepper.virtual_clock().jump_unix(-86_000_000_000_000);
    world.pass(100 * SECOND);
    assert_eq!(world.safe_point(), before);
    world.stepper.virtual_clock().jump_unix(86_000_000_000_000);
    world.pass(2 * SECOND);
    assert!((60..=72).contains(&world.seconds_behind()));
}

#[test]
fn a_changed_schedule_is_followed() {
    let world = World::bootstrapped();
    world.schedule.lock().life_time = Duration::ZERO;
    world.pass(100 * SECOND);
    assert_eq!(world.safe_point(), 0, "it is left to clients");
    *world.schedule.lock() = Schedule {
        life_time: 30 * SECOND,
        interval: 10 * SECOND,
        ..SCHEDULE
    };
    world.pass(12 * SECOND);
    assert!((30..=42).contains(&world.seconds_behind()));
    // A longer life time does not move it back: it waits until the distance is there.
    let before = world.safe_point();
    world.schedule.lock().life_time = 60 * SECOND;
    world.pass(20 * SECOND);
    assert_eq!(world.safe_point(), before);
    world.pass(40 * SECOND);
    assert!((60..=72).contains(&world.seconds_behind()));
}

#[test]
fn locks_come_before_the_point_that_lets_versions_go() {
    let world = World::bootstrapped();
    world.pass(11 * SECOND);
    let start_ts = world.points().txn + (5_000 << 18);
    world.lock(start_ts, 1_000);
    let before = world.points();
    world.stores.state.lock().dead_store = Some(1);
    world.pass(25 * SECOND);
    let during = world.points();
    assert_eq!(during.gc, before.gc, "nobody knows of locks");
    assert!(during.txn > start_ts, "but nobody may begin below");
    // It is tried again and again, with pauses.
    let asked = world.calls();
    world.pass(200 * SECOND);
    assert_eq!(world.points().gc, before.gc);
    let tries = world.calls() - asked;
    assert!((40..120).contains(&tries), "{tries} tries in 200 seconds");
    let report = world.reports.last().unwrap();
    assert_eq!(report["result"], "failed");
    let error = report["error"].as_str().unwrap();
    assert!(error.contains("store 1"), "{error}");
    world.stores.state.lock().dead_store = None;
    world.pass(20 * SECOND);
    assert!(world.stores.state.lock().locks.is_empty());
    assert_eq!(world.reports.last().unwrap()["result"], "finished");
    assert!((60..=75).contains(&world.seconds_behind()));
}

#[test]
fn a_transaction_that_is_alive_holds_it_until_it_ends() {
    let world = World::bootstrapped();
    world.pass(11 * SECOND);
    let start_ts = world.points().txn + (5_000 << 18);
    world.lock(start_ts, 1 << 50);
    world.pass(100 * SECOND);
    let held = world.points();
    assert_eq!(held.gc, start_ts - 1);
    assert!(held.txn > start_ts);
    let report = world.reports.last().unwrap();
    assert_eq!(report["result"], "held");
    assert_eq!(report["held_by"]["start_ts"], start_ts);
    assert_eq!(report["held_by"]["primary"], "6B");
    // The others' runs go on in their time, not more often.
    let asked = world.calls();
    world.pass(100 * SECOND);
    let asked = world.calls() - asked;
    assert!((18..=22).contains(&asked), "{asked} calls in ten runs");
    world.stores.state.lock().locks.clear();
    world.pass(12 * SECOND);
    assert!((60..=72).contains(&world.seconds_behind()));
}

#[test]
fn who_is_killed_in_a_run_goes_on_with_it_at_the_next_start() {
    let world = World::bootstrapped();
    world.pass(11 * SECOND);
    world.stores.state.lock().dead_store = Some(1);
    world.pass(15 * SECOND);
    let cut = world.points();
    assert!(cut.gc < cut.txn);
    let world = world.restart();
    assert_eq!(world.points(), cut);
    world.pass(2 * SECOND);
    assert_eq!(world.points().gc, world.points().txn);
}

#[test]
fn a_claim_in_the_middle_of_a_run_ends_it() {
    let world = World::bootstrapped();
    world.pass(11 * SECOND);
    world.stores.state.lock().dead_store = Some(1);
    world.pass(12 * SECOND);
    let before = world.points();
    assert!(before.gc < before.txn);
    world.apply(Change::GcClaimed(true));
    world.stores.state.lock().dead_store = None;
    world.pass(500 * SECOND);
    assert_eq!(world.points(), before);
}

#[test]
fn a_stop_ends_a_run_at_once() {
    let world = World::bootstrapped();
    world.stores.state.lock().dead_store = Some(1);
    world.pass(12 * SECOND);
    let World {
        stepper,
        stores,
        _stop: stop,
        ..
    } = world;
    assert!(Arc::strong_count(&stores) > 1);
    stop.trigger();
    stepper.run_until_stalled();
    assert_eq!(Arc::strong_count(&stores), 1, "the worker is gone");
}

#[test]
fn nothing_is_due_before_there_is_a_past() {
    let clock = Stepper::new(1).clock();
    let age = Age {
        started: clock.now(),
        now: clock.now() + 100 * SECOND,
    };
    let at = |millis: u64| Moment {
        ts: millis << 18,
        seconds: 0,
    };
    let points = |millis: u64| Points {
        txn: millis << 18,
        gc: 0,
    };
    assert_eq!(SCHEDULE.due(points(0), at(59_999), age), None);
    assert_eq!(SCHEDULE.due(points(0), at(60_001), age), Some(1 << 18));
    assert_eq!(SCHEDULE.due(points(1), at(70_000), age), None);
    assert!(SCHEDULE.due(points(1), at(70_001), age).is_some());
    let young = Age {
        now: age.started,
        ..age
    };
    assert_eq!(SCHEDULE.due(points(0), at(70_001), young), None);
}
