//! Group commit, in one thread on a store that counts its writes and may fail.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use engine_mem::MemEngine;
use futures::future::join_all;
use kvproto::metapb::Region;
use runtime::{ShutdownTrigger, Stepper, shutdown_pair};

use super::*;
use crate::gc::{NULL_KEYSPACE, Points};
use crate::meta_store::EngineMetaStore;
use crate::regions::RegionInfo;

struct CountingStore {
    inner: EngineMetaStore<MemEngine>,
    synced: AtomicUsize,
    later: AtomicUsize,
    fails: AtomicBool,
}

impl MetaStore for CountingStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.inner.get(key)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.inner.scan(prefix)
    }

    fn write(&self, batch: MetaBatch) -> Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::Refused("the disk is gone".to_owned()));
        }
        self.synced.fetch_add(1, Ordering::Relaxed);
        self.inner.write(batch)
    }

    fn write_later(&self, batch: MetaBatch) -> Result<()> {
        self.later.fetch_add(1, Ordering::Relaxed);
        self.inner.write_later(batch)
    }
}

struct World {
    stepper: Stepper,
    engine: MemEngine,
    store: Arc<CountingStore>,
    cluster: Cluster,
    fatal: Arc<AtomicBool>,
    stop: ShutdownTrigger,
}

impl World {
    fn new() -> World {
        let (stepper, engine) = (Stepper::new(3), MemEngine::new());
        let store = Arc::new(CountingStore {
            inner: EngineMetaStore::new(engine.clone()),
            synced: AtomicUsize::new(0),
            later: AtomicUsize::new(0),
            fails: AtomicBool::new(false),
        });
        let fatal = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&fatal);
        let on_fatal: FatalHandler = Arc::new(move |_| told.store(true, Ordering::Relaxed));
        let (stop, stopped) = shutdown_pair();
        let (cluster, _) = Cluster::start(
            store.clone(),
            EtcdLimits::default(),
            on_fatal,
            &stepper.runtime(),
            stopped,
        )
        .unwrap();
        World {
            stepper,
            engine,
            store,
            cluster,
            fatal,
            stop,
        }
    }

    /// Both points of the null keyspace move by one, from where the plan finds them.
    fn increments(&self, count: usize) -> Vec<Result<u64>> {
        let increment = |state: &PdState| {
            let next = state.gc().points(NULL_KEYSPACE).txn + 1;
            let points = Points {
                txn: next,
                gc: next,
            };
            Ok((vec![Change::GcPoints(NULL_KEYSPACE, points)], next))
        };
        let calls = (0..count).map(|_| self.cluster.mutate(increment));
        self.stepper.block_on(join_all(calls))
    }

    fn writes(&self) -> (usize, usize) {
        let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (load(&self.store.synced), load(&self.store.later))
    }

    fn on_disk(&self) -> PdState {
        PdState::load(&EngineMetaStore::new(self.engine.crash())).unwrap()
    }
}

#[test]
fn changes_that_gather_share_one_write_and_see_each_other() {
    let world = World::new();
    let answers: Vec<u64> = world
        .increments(500)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(answers, (1..=500).collect::<Vec<_>>());
    assert_eq!(world.writes(), (1, 0));
    assert_eq!(world.on_disk().gc().points(NULL_KEYSPACE).gc, 500);
    // More than one group takes at once.
    world.increments(GROUP_JOBS_MAX + 1);
    assert_eq!(world.writes(), (3, 0));
}

#[test]
fn what_is_reported_again_is_not_synced() {
    let world = World::new();
    let mut region = Region::default();
    region.set_id(7);
    let put = Change::RegionPut(Box::new(RegionInfo::new(region)));
    let plan = move |_: &PdState| Ok((vec![put], ()));
    world.stepper.block_on(world.cluster.mutate(plan)).unwrap();
    assert_eq!(world.writes(), (0, 1));
    assert!(world.cluster.read(|state| state.regions().get(7).is_some()));
    assert!(world.on_disk().regions().get(7).is_none());
    // The next promise takes it along.
    world.increments(1);
    assert!(world.on_disk().regions().get(7).is_some());
}

#[test]
fn refusals_and_empty_plans_write_nothing() {
    let world = World::new();
    let refuse = |_: &PdState| -> Result<(Vec<Change>, ())> { Err(Error::Busy) };
    let nothing = |_: &PdState| Ok((Vec::new(), 5));
    let refused = world.stepper.block_on(world.cluster.mutate(refuse));
    assert_eq!(refused, Err(Error::Busy));
    assert_eq!(world.stepper.block_on(world.cluster.mutate(nothing)), Ok(5));
    assert_eq!(world.writes(), (0, 0));
}

#[test]
fn after_a_failed_write_nobody_hears_of_its_changes() {
    let world = World::new();
    world.increments(1);
    world.store.fails.store(true, Ordering::Relaxed);
    for answer in world.increments(3) {
        assert!(answer.is_err());
    }
    assert!(world.fatal.load(Ordering::Relaxed));
    assert_eq!(world.increments(1), [Err(Error::Stopped)]);
    let look = |state: &PdState| Ok(state.gc().points(NULL_KEYSPACE));
    let told = world.stepper.block_on(world.cluster.read_durable(look));
    assert_eq!(told, Err(Error::Stopped));
    assert_eq!(world.on_disk().gc().points(NULL_KEYSPACE).gc, 1);
}

#[test]
fn waiting_changes_are_bounded_by_their_bytes_and_end_with_the_writer() {
    let world = World::new();
    let big = || {
        let plan = |_: &PdState| Ok((Vec::new(), ()));
        world.cluster.mutate_sized(QUEUE_BYTES_MAX / 2, plan)
    };
    let (first, second, third) = (big(), big(), big());
    // All three are asked before the writer runs.
    let outcomes = world.stepper.block_on(join_all([first, second, third]));
    let busy = outcomes.iter().filter(|one| **one == Err(Error::Busy));
    assert_eq!(busy.count(), 2);
    world.stop.trigger();
    world.stepper.run_until_stalled();
    assert_eq!(world.increments(1), [Err(Error::Stopped)]);
}
