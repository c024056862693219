//! Runs of gets: each get as if it came alone, whatever the others of its run are.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use kvproto::kvrpcpb;
use parking_lot::Mutex;
use proptest::prelude::*;
use storage::{GetCommand, RawGetCommand, Result, Room, RunConsumer};
use txn_types::{Key, TimeStamp};

use crate::driver::{World, tracker};

/// Keeps results; takes as many as it has room for.
struct Results<T>(Arc<Mutex<Taken<T>>>);

struct Taken<T> {
    results: Vec<Result<T>>,
    room: usize,
    gone: bool,
    dropped: bool,
    waker: Option<Waker>,
}

impl<T> Results<T> {
    fn with_room(room: usize) -> Self {
        Results(Arc::new(Mutex::new(Taken {
            results: Vec::new(),
            room,
            gone: false,
            dropped: false,
            waker: None,
        })))
    }

    fn change(&self, change: impl FnOnce(&mut Taken<T>)) {
        let mut taken = self.0.lock();
        change(&mut taken);
        if let Some(waker) = taken.waker.take() {
            waker.wake();
        }
    }

    fn consumer(&self) -> Consumer<T> {
        Consumer(Results(self.0.clone()))
    }
}

struct Consumer<T>(Results<T>);

impl<T: Send + 'static> RunConsumer<T> for Consumer<T> {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Room> {
        let mut taken = self.0.0.lock();
        if taken.gone {
            return Poll::Ready(Room::Gone);
        }
        if taken.results.len() < taken.room {
            return Poll::Ready(Room::Free);
        }
        taken.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn consume(&mut self, result: Result<T>) {
        self.0.0.lock().results.push(result);
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.0.0.lock().dropped = true;
    }
}

fn raw_put(world: &World, key: &[u8], value: &[u8]) {
    let pair = (key.to_vec(), value.to_vec());
    let write = world
        .storage
        .raw_put(world.context(), String::new(), pair, 0, tracker());
    world.run(write).unwrap();
}

fn raw_get(world: &World, key: &[u8]) -> RawGetCommand {
    RawGetCommand {
        ctx: world.context(),
        cf: String::new(),
        key: key.to_vec(),
        tracker: tracker(),
    }
}

fn get(world: &World, key: &[u8], ts: u64) -> GetCommand {
    GetCommand {
        ctx: world.context(),
        key: Key::from_raw(key),
        ts: TimeStamp::from(ts),
        need_commit_ts: false,
        tracker: tracker(),
    }
}

#[test]
fn all_gets_of_a_run_raise_max_ts_before_the_first_is_read() {
    let world = World::new(1);
    let results = Results::with_room(0);
    let gets = vec![
        get(&world, b"a", 50),
        get(&world, b"b", 70),
        get(&world, b"c", 60),
    ];
    world.storage.get_run(gets, results.consumer());
    world.stepper.run_until_stalled();
    let max_ts = world.storage.concurrency_manager().max_ts();
    assert_eq!(max_ts, TimeStamp::from(70));
    assert!(results.0.lock().results.is_empty());
}

#[test]
fn while_a_run_waits_it_holds_no_snapshot() {
    let world = World::new(1);
    raw_put(&world, b"k", b"old");
    let results = Results::with_room(1);
    let gets = vec![raw_get(&world, b"k"), raw_get(&world, b"k")];
    world.storage.raw_get_run(gets, results.consumer());
    world.stepper.run_until_stalled();
    raw_put(&world, b"k", b"new");
    results.change(|taken| taken.room = 2);
    world.stepper.run_until_stalled();
    let taken = results.0.lock();
    let values: Vec<_> = taken
        .results
        .iter()
        .map(|result| result.as_ref().unwrap())
        .collect();
    assert_eq!(values, [&Some(b"old".to_vec()), &Some(b"new".to_vec())]);
    assert!(taken.dropped);
}

#[test]
fn a_run_ends_when_nobody_wants_its_results() {
    let world = World::new(1);
    let results = Results::with_room(1);
    let gets = (0..5).map(|_| raw_get(&world, b"k")).collect();
    world.storage.raw_get_run(gets, results.consumer());
    world.stepper.run_until_stalled();
    assert!(!results.0.lock().dropped);
    results.change(|taken| taken.gone = true);
    world.stepper.run_until_stalled();
    let taken = results.0.lock();
    assert!(taken.dropped);
    assert_eq!(taken.results.len(), 1);
    assert_eq!(world.storage.memory_quota().used(), 0);
}

/// What is wrong with a get.
#[derive(Clone, Copy, Debug)]
enum Flaw {
    None,
    Region,
    Epoch,
    EmptyKey,
    LongKey,
    Cf,
}

fn spoil(ctx: &mut kvrpcpb::Context, key: &mut Vec<u8>, cf: &mut String, flaw: Flaw) {
    match flaw {
        Flaw::None => {}
        Flaw::Region => ctx.set_region_id(99),
        Flaw::Epoch => ctx.mut_region_epoch().set_version(99),
        Flaw::EmptyKey => key.clear(),
        Flaw::LongKey => *key = vec![b'k'; 9 << 10],
        Flaw::Cf => *cf = "nowhere".to_owned(),
    }
}

fn flaws() -> impl Strategy<Value = Flaw> {
    prop_oneof![
        6 => Just(Flaw::None),
        1 => Just(Flaw::Region),
        1 => Just(Flaw::Epoch),
        1 => Just(Flaw::EmptyKey),
        1 => Just(Flaw::LongKey),
        1 => Just(Flaw::Cf),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_get_of_a_run_is_answered_as_one_alone(
        picks in proptest::collection::vec((0u8..6, flaws()), 1..40)
    ) {
        let world = World::new(1);
        for key in [0u8, 2, 4] {
            raw_put(&world, &[b'k', key], &[b'v', key]);
        }
        let gets: Vec<RawGetCommand> = picks
            .iter()
            .map(|(key, flaw)| {
                let mut get = raw_get(&world, &[b'k', *key]);
                spoil(&mut get.ctx, &mut get.key, &mut get.cf, *flaw);
                get
            })
            .collect();
        let results = Results::with_room(usize::MAX);
        world.storage.raw_get_run(gets.clone(), results.consumer());
        world.stepper.run_until_stalled();
        let taken = results.0.lock();
        prop_assert_eq!(taken.results.len(), gets.len());
        for (get, result) in gets.into_iter().zip(&taken.results) {
            let RawGetCommand { ctx, cf, key, tracker } = get;
            let alone = world.run(world.storage.raw_get(ctx, cf, key, tracker));
            prop_assert_eq!(format!("{alone:?}"), format!("{result:?}"));
        }
    }
}
