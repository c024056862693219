//! The rules of waking one by one, a hundred thousand waiters, and random histories against a naive model.

use std::collections::BTreeSet;

use proptest::prelude::*;
use runtime::VirtualClock;
use txn_types::{Lock, LockType, LockValue, SharedLocks};

use super::*;

const DELAY: Duration = Duration::from_millis(20);

struct World {
    queues: WaitQueues<u64>,
    time: VirtualClock,
}

fn key(name: &str) -> Key {
    Key::from_raw(name.as_bytes())
}

fn lock_at(start_ts: u64) -> Lock {
    Lock::new(LockType::Pessimistic, b"p".to_vec(), start_ts.into(), 3000)
}

fn holder_at(start_ts: u64) -> Holder {
    Holder::new(&lock_at(start_ts).into())
}

fn released(start_ts: u64, name: &str) -> ReleasedLock {
    ReleasedLock {
        key: key(name),
        start_ts: start_ts.into(),
        commit_ts: Some((start_ts + 1).into()),
    }
}

impl World {
    fn new(max_bytes: usize) -> World {
        World {
            queues: WaitQueues::new(WaitLimits {
                wake_up_delay: DELAY,
                max_bytes,
            }),
            time: VirtualClock::new(),
        }
    }

    fn wait(&self, start_ts: u64, mode: WakeUpMode) -> Wait<u64> {
        let now = self.time.now();
        Wait {
            start_ts: start_ts.into(),
            mode,
            shared: false,
            first_lock: true,
            overtaken: false,
            since: now,
            until: now + Duration::from_secs(1),
            tag: Arc::from([]),
            payload_bytes: 8,
            payload: start_ts,
        }
    }

    fn enqueue(&mut self, name: &str, wait: Wait<u64>) -> Effects<u64> {
        self.queues
            .enqueue(self.time.now(), &key(name), holder_at(5), wait)
            .unwrap()
    }

    fn park(&mut self, name: &str, start_ts: u64, mode: WakeUpMode) {
        let wait = self.wait(start_ts, mode);
        let effects = self.enqueue(name, wait);
        assert!(effects.detect.is_empty(), "a first lock closes no circle");
    }

    fn release(&mut self, start_ts: u64, name: &str) -> Effects<u64> {
        self.queues
            .release(self.time.now(), &released(start_ts, name))
    }

    fn acquire(&mut self, start_ts: u64, name: &str) {
        let now = self.time.now();
        let holder = || holder_at(start_ts);
        drop(self.queues.acquired(now, &key(name), holder));
    }

    /// A request meets the lock of `holder`.
    fn park_behind(&mut self, holder: u64, name: &str, start_ts: u64) {
        let wait = self.wait(start_ts, WakeUpMode::Retry);
        let now = self.time.now();
        let holder = holder_at(holder);
        let effects = self.queues.enqueue(now, &key(name), holder, wait);
        assert!(effects.unwrap().detect.is_empty());
    }

    fn advance(&mut self, d: Duration) -> Effects<u64> {
        self.time.advance(d);
        let effects = self.queues.tick(self.time.now());
        self.queues.check_invariants();
        effects
    }
}

fn woken(waiters: &[(Waiter<u64>, ReleasedLock)]) -> Vec<u64> {
    waiters
        .iter()
        .map(|(waiter, _)| waiter.wait.payload)
        .collect()
}

fn late(effects: &Effects<u64>) -> Vec<u64> {
    let payload =
        |(waiter, ..): &(Waiter<u64>, Box<LockInfo>, Option<Instant>)| waiter.wait.payload;
    effects.timed_out.iter().map(payload).collect()
}

#[test]
fn the_oldest_transaction_goes_first_and_the_others_after_the_delay() {
    let mut world = World::new(usize::MAX);
    for start_ts in [30, 10, 20] {
        world.park("k", start_ts, WakeUpMode::Retry);
    }
    let effects = world.release(5, "k");
    assert_eq!(woken(&effects.retry), [10]);
    assert_eq!(effects.retry[0].1, released(5, "k"));
    let effects = world.advance(DELAY - Duration::from_millis(1));
    assert!(effects.retry.is_empty());
    let effects = world.advance(Duration::from_millis(1));
    assert_eq!(woken(&effects.retry), [20, 30]);
    assert!(world.queues.is_empty());
    assert_eq!(world.queues.next_deadline(), None);
}

#[test]
fn another_release_starts_the_delay_anew() {
    let mut world = World::new(usize::MAX);
    for start_ts in [10, 20, 30] {
        world.park("k", start_ts, WakeUpMode::Retry);
    }
    assert_eq!(woken(&world.release(5, "k").retry), [10]);
    assert!(world.advance(DELAY / 2).retry.is_empty());
    assert_eq!(woken(&world.release(10, "k").retry), [20]);
    assert!(world.advance(DELAY / 2).retry.is_empty());
    let effects = world.advance(DELAY / 2);
    assert_eq!(woken(&effects.retry), [30]);
    assert_eq!(effects.retry[0].1, released(10, "k"));
}

#[test]
fn who_came_after_the_release_waits_for_the_next_one() {
    let mut world = World::new(usize::MAX);
    world.park("k", 20, WakeUpMode::Retry);
    world.park("k", 30, WakeUpMode::Retry);
    assert_eq!(woken(&world.release(5, "k").retry), [20]);
    world.park("k", 10, WakeUpMode::Retry);
    assert_eq!(woken(&world.advance(DELAY).retry), [30]);
    assert_eq!(world.queues.len(), 1);
    assert_eq!(woken(&world.release(20, "k").retry), [10]);
}

#[test]
fn one_is_resumed_and_the_others_sleep_on() {
    let mut world = World::new(usize::MAX);
    for start_ts in [10, 20, 30] {
        world.park("k", start_ts, WakeUpMode::Resume);
    }
    let effects = world.release(5, "k");
    assert_eq!(woken(&effects.resume), [10]);
    assert!(woken(&world.advance(DELAY).resume).is_empty());
    assert_eq!(woken(&world.release(10, "k").resume), [20]);
}

#[test]
fn a_client_that_does_not_come_back_does_not_leave_the_others_asleep() {
    let mut world = World::new(usize::MAX);
    world.park("k", 10, WakeUpMode::Retry);
    world.park("k", 20, WakeUpMode::Resume);
    world.park("k", 30, WakeUpMode::Retry);
    assert_eq!(woken(&world.release(5, "k").retry), [10]);
    let effects = world.advance(DELAY);
    assert_eq!(woken(&effects.resume), [20]);
    assert!(
        effects.retry.is_empty(),
        "30 waits for the one that was resumed"
    );
}

#[test]
fn requests_for_shared_locks_go_together() {
    let mut world = World::new(usize::MAX);
    for (start_ts, shared) in [(10, true), (20, true), (30, false), (40, true)] {
        let mut wait = world.wait(start_ts, WakeUpMode::Retry);
        wait.shared = shared;
        drop(world.enqueue("k", wait));
    }
    assert_eq!(woken(&world.release(5, "k").retry), [10, 20]);
    assert_eq!(woken(&world.release(10, "k").retry), [30]);
}

#[test]
fn time_runs_out_and_says_when_the_lock_last_changed() {
    let mut world = World::new(usize::MAX);
    world.park("k", 10, WakeUpMode::Resume);
    world.park("other", 11, WakeUpMode::Resume);
    world.time.advance(Duration::from_millis(400));
    let now = world.time.now();
    let effects = world.queues.acquired(now, &key("k"), || holder_at(7));
    assert!(effects.detect.is_empty());
    let effects = world.advance(Duration::from_millis(600));
    assert_eq!(late(&effects), [10, 11]);
    let (_, info, changed) = &effects.timed_out[0];
    assert_eq!(info.get_lock_version(), 7);
    assert_eq!(*changed, Some(now));
    assert_eq!(effects.timed_out[1].2, None, "its lock never changed");
    assert!(world.queues.is_empty());
}

#[test]
fn edges_follow_the_holder_and_end_with_the_wait() {
    let mut world = World::new(usize::MAX);
    let mut wait = world.wait(10, WakeUpMode::Resume);
    wait.first_lock = false;
    let edges = world.enqueue("k", wait).detect;
    assert_eq!(edges.len(), 1);
    assert_eq!((edges[0].txn, edges[0].holder), (10.into(), 5.into()));
    assert_eq!(&*edges[0].key, b"k");
    let now = world.time.now();
    let same = world.queues.acquired(now, &key("k"), || holder_at(5));
    assert!(same.forget.is_empty() && same.detect.is_empty());
    let new = world.queues.acquired(now, &key("k"), || holder_at(7));
    assert_eq!(new.forget, edges);
    assert_eq!(new.detect[0].holder, 7.into());
    let ended = world.release(7, "k");
    assert_eq!(ended.forget, new.detect);
}

#[test]
fn a_shared_lock_is_waited_for_by_one_edge_a_member() {
    let mut world = World::new(usize::MAX);
    let mut wait = world.wait(10, WakeUpMode::Retry);
    wait.first_lock = false;
    // A member that waits for its own key does not wait for itself.
    let mut members = SharedLocks::new();
    for start_ts in [5, 6, 10] {
        members.insert(lock_at(start_ts)).unwrap();
    }
    let holder = Holder::new(&LockValue::Shared(members));
    let now = world.time.now();
    let effects = world.queues.enqueue(now, &key("k"), holder, wait).unwrap();
    let holders: Vec<_> = effects.detect.iter().map(|edge| edge.holder).collect();
    assert_eq!(holders, [5.into(), 6.into()]);
}

#[test]
fn a_deadlock_takes_all_requests_of_its_transaction_for_the_key() {
    let mut world = World::new(usize::MAX);
    for start_ts in [10, 10, 20] {
        let mut wait = world.wait(start_ts, WakeUpMode::Retry);
        wait.first_lock = false;
        drop(world.enqueue("k", wait));
    }
    let (taken, forget) = world.queues.take(&key("k"), 10.into());
    assert_eq!((taken.len(), forget.len()), (2, 2));
    world.queues.check_invariants();
    assert_eq!(woken(&world.release(5, "k").retry), [20]);
    assert!(world.queues.take(&key("k"), 10.into()).0.is_empty());
}

#[test]
fn one_hundred_thousand_wait_on_one_key_in_bounded_memory() {
    const WAITERS: usize = 100_000;
    let mut world = World::new(400 * WAITERS);
    for start_ts in 0..WAITERS as u64 {
        world.park("k", WAITERS as u64 - start_ts, WakeUpMode::Retry);
    }
    let each = world.queues.bytes() / WAITERS;
    assert!(each <= 400, "{each} bytes for a waiter");
    let limits = WaitLimits {
        wake_up_delay: DELAY,
        max_bytes: world.queues.bytes(),
    };
    world.queues.set_limits(limits);
    let one_more = world.wait(1, WakeUpMode::Retry);
    let now = world.time.now();
    let refused = world.queues.enqueue(now, &key("k"), holder_at(5), one_more);
    assert_eq!(refused.unwrap_err().1.payload, 1);
    assert_eq!(woken(&world.release(5, "k").retry), [1]);
    assert_eq!(world.advance(DELAY).retry.len(), WAITERS - 1);
    assert_eq!(world.queues.bytes(), 0);
}

#[test]
fn who_waits_for_whom_can_be_told_up_to_a_size() {
    let mut world = World::new(usize::MAX);
    for name in ["b", "a"] {
        world.park(name, 10, WakeUpMode::Retry);
    }
    let all = world.queues.waits(usize::MAX);
    let keys: Vec<_> = all.iter().map(|(wait, _)| wait.key.to_vec()).collect();
    assert_eq!(keys, [b"a", b"b"]);
    assert_eq!(world.queues.waits(size_of::<WaitFor>() + 1).len(), 1);
}

#[test]
fn who_comes_back_and_finds_the_lock_taken_has_a_turn_the_next_time() {
    let mut world = World::new(usize::MAX);
    world.park("k", 10, WakeUpMode::Retry);
    assert_eq!(woken(&world.release(5, "k").retry), [10]);
    assert!(!world.queues.is_turn_of_others(&key("k"), 30.into()));
    // Somebody else is first this time, and only this time.
    world.acquire(30, "k");
    world.park_behind(30, "k", 10);
    assert!(!world.queues.is_turn_of_others(&key("k"), 40.into()));
    assert_eq!(woken(&world.release(30, "k").retry), [10]);
    assert!(world.queues.is_turn_of_others(&key("k"), 40.into()));
    assert!(!world.queues.is_turn_of_others(&key("k"), 10.into()));
    assert!(!world.queues.is_turn_of_others(&key("other"), 40.into()));
    let wait = world.wait(40, WakeUpMode::Retry);
    drop(world.queues.enqueue_behind(&key("k"), wait));
    world.acquire(10, "k");
    assert!(world.advance(DELAY).retry.is_empty(), "the lock is held");
    assert_eq!(woken(&world.release(10, "k").retry), [40]);
    assert!(!world.queues.is_turn_of_others(&key("k"), 50.into()));
    assert!(world.advance(DELAY).retry.is_empty());
    assert_eq!((world.queues.keys(), world.queues.bytes()), (0, 0));
}

#[test]
fn a_turn_that_is_missed_or_given_up_is_that_of_the_next() {
    for gives_up in [false, true] {
        let mut world = World::new(usize::MAX);
        world.park("k", 10, WakeUpMode::Retry);
        drop(world.release(5, "k"));
        world.acquire(30, "k");
        world.park_behind(30, "k", 10);
        drop(world.release(30, "k"));
        for (start_ts, mode) in [(40, WakeUpMode::Resume), (50, WakeUpMode::Retry)] {
            let mut wait = world.wait(start_ts, mode);
            wait.first_lock = false;
            let effects = world.queues.enqueue_behind(&key("k"), wait);
            assert!(effects.detect.is_empty(), "nobody holds the lock");
        }
        assert_eq!(world.queues.waits(usize::MAX).len(), 2);
        let effects = if gives_up {
            let now = world.time.now();
            let others = world.queues.give_up_turn(now, &key("k"), 50.into());
            assert!(others.resume.is_empty(), "it was not its turn");
            world.queues.give_up_turn(now, &key("k"), 10.into())
        } else {
            world.advance(DELAY)
        };
        assert_eq!(woken(&effects.resume), [40]);
        assert!(!world.queues.is_turn_of_others(&key("k"), 60.into()));
        world.acquire(40, "k");
        assert_eq!(woken(&world.release(40, "k").retry), [50]);
        drop(world.advance(DELAY));
        assert_eq!((world.queues.keys(), world.queues.bytes()), (0, 0));
    }
}

#[test]
fn those_who_never_come_back_are_forgotten() {
    let mut world = World::new(usize::MAX);
    for start_ts in 10..100 {
        world.park("k", start_ts, WakeUpMode::Retry);
        assert_eq!(woken(&world.release(5, "k").retry), [start_ts]);
    }
    world.park("k", 10, WakeUpMode::Retry);
    drop(world.release(5, "k"));
    assert!(
        !world.queues.is_turn_of_others(&key("k"), 1.into()),
        "10 was woken too long ago"
    );
    drop(world.advance(DELAY));
    assert_eq!((world.queues.keys(), world.queues.bytes()), (0, 0));
}

#[test]
fn who_took_the_lock_ends_the_delay_of_those_behind() {
    let mut world = World::new(usize::MAX);
    for start_ts in [10, 20, 30] {
        world.park("k", start_ts, WakeUpMode::Retry);
    }
    assert_eq!(woken(&world.release(5, "k").retry), [10]);
    world.acquire(10, "k");
    assert!(world.advance(DELAY).retry.is_empty());
    assert_eq!(woken(&world.release(10, "k").retry), [20]);
    assert_eq!(woken(&world.advance(DELAY).retry), [30]);
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Park {
        key: u8,
        start_ts: u64,
        resume: bool,
        shared: bool,
        timeout: u64,
        /// It finds the key free, and waits only if it is the turn of others.
        behind: bool,
    },
    Release(u8),
    Acquired(u8, u64),
    GiveUp(u8, u64),
    Deadlock(u8, u64),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let park = (0..3_u8, 1..9_u64, flags, 1..60_u64);
    prop_oneof![
        4 => park.prop_map(|(key, start_ts, (resume, shared, behind), timeout)| Step::Park {
            key, start_ts, resume, shared, timeout, behind,
        }),
        3 => (0..3_u8).prop_map(Step::Release),
        1 => (0..3_u8, 1..15_u64).prop_map(|(key, ts)| Step::Acquired(key, ts)),
        1 => (0..3_u8, 1..9_u64).prop_map(|(key, ts)| Step::GiveUp(key, ts)),
        1 => (0..3_u8, 1..9_u64).prop_map(|(key, ts)| Step::Deadlock(key, ts)),
        2 => (1..40_u64).prop_map(Step::Advance),
    ]
}

/// A waiter as the naive model sees it: a row in a list.
#[derive(Clone, Debug)]
struct Row {
    id: u64,
    key: u8,
    start_ts: u64,
    resume: bool,
    shared: bool,
    overtaken: bool,
    until: u64,
}

/// What is due some time after a release, as the model sees it.
#[derive(Clone, Debug)]
struct Delay {
    key: u8,
    at: u64,
    /// Those with smaller ids were there.
    below: u64,
    wakes: bool,
    resume_one: bool,
    /// Start timestamps, and whether they were overtaken.
    woken: Vec<(u64, bool)>,
}

/// A list that is searched from the start each time.
#[derive(Default)]
struct Model {
    rows: Vec<Row>,
    delays: Vec<Delay>,
    held: BTreeSet<u8>,
    now: u64,
}

impl Model {
    fn first(&self, key: u8) -> Option<usize> {
        let mine = self
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.key == key);
        mine.min_by_key(|(_, row)| (row.start_ts, row.id))
            .map(|(at, _)| at)
    }

    fn is_turn_of_others(&self, key: u8, start_ts: u64) -> bool {
        let woken = self.delays.iter().filter(|delay| delay.key == key);
        let entitled: Vec<_> = woken
            .flat_map(|delay| &delay.woken)
            .filter(|(_, overtaken)| *overtaken)
            .map(|(of, _)| *of)
            .collect();
        !self.held.contains(&key) && !entitled.is_empty() && !entitled.contains(&start_ts)
    }

    fn park(&mut self, mut row: Row) {
        for delay in self.delays.iter_mut().filter(|delay| delay.key == row.key) {
            row.overtaken |= delay.woken.iter().any(|(of, _)| *of == row.start_ts);
            delay.woken.retain(|(of, _)| *of != row.start_ts);
        }
        self.rows.push(row);
    }

    fn acquired(&mut self, key: u8, start_ts: u64) {
        self.held.insert(key);
        for delay in self.delays.iter_mut().filter(|delay| delay.key == key) {
            delay.wakes = false;
            delay.woken.retain(|(of, _)| *of != start_ts);
        }
        self.forget_delays();
    }

    fn give_up(&mut self, key: u8, start_ts: u64, next_id: u64) -> Vec<u64> {
        let before = self.is_turn_of_others(key, u64::MAX);
        for delay in self.delays.iter_mut().filter(|delay| delay.key == key) {
            delay
                .woken
                .retain(|(of, overtaken)| *of != start_ts || !overtaken);
        }
        let after = self.is_turn_of_others(key, u64::MAX);
        let woken = if before && !after {
            self.release(key, next_id)
        } else {
            Vec::new()
        };
        self.forget_delays();
        woken
    }

    fn release(&mut self, key: u8, next_id: u64) -> Vec<u64> {
        self.held.remove(&key);
        let mut popped: Vec<Row> = Vec::new();
        while let Some(at) = self.first(key) {
            let joins = |first: &Row| first.shared && self.rows[at].shared;
            if !popped.first().is_none_or(joins) {
                break;
            }
            popped.push(self.rows.remove(at));
        }
        let mut rest = self.rows.iter().filter(|row| row.key == key).peekable();
        let resume_one = popped.iter().all(|row| !row.resume);
        let wakes = rest.peek().is_some() && (resume_one || rest.any(|row| !row.resume));
        let now_woken = popped.iter().filter(|row| !row.resume);
        let now_woken: Vec<_> = now_woken.map(|row| (row.start_ts, row.overtaken)).collect();
        if !popped.is_empty() && (wakes || !now_woken.is_empty()) {
            let before = self.delays.iter().position(|delay| delay.key == key);
            let before = before.map(|at| self.delays.remove(at).woken);
            let mut woken = before.unwrap_or_default();
            woken.extend(now_woken);
            let too_many = woken.len().saturating_sub(key_queue::WOKEN_MAX);
            drop(woken.drain(..too_many));
            self.delays.push(Delay {
                key,
                at: self.now + DELAY.as_millis() as u64,
                below: next_id,
                wakes,
                resume_one,
                woken,
            });
        }
        self.forget_delays();
        popped.iter().map(|row| row.id).collect()
    }

    fn forget_delays(&mut self) {
        let rows = &self.rows;
        self.delays
            .retain(|delay| !delay.woken.is_empty() || rows.iter().any(|row| row.key == delay.key));
    }

    /// What happens until `self.now`, delays and timeouts of one moment in the order of their numbers.
    fn tick(&mut self, next_id: u64) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let (mut woken, mut late) = (BTreeSet::new(), BTreeSet::new());
        loop {
            let timeout = self.rows.iter().filter(|row| row.until <= self.now);
            let timeout = timeout.map(|row| (row.until, row.id)).min();
            let delay = self.delays.iter().filter(|delay| delay.at <= self.now);
            let delay = delay.map(|delay| (delay.at, delay.below)).min();
            match (timeout, delay) {
                (None, None) => return (woken, late),
                (Some(first), delay) if delay.is_none_or(|delay| first < delay) => {
                    self.rows.retain(|row| row.id != first.1);
                    late.insert(first.1);
                }
                (_, Some(first)) => {
                    let is_first = |delay: &Delay| (delay.at, delay.below) == first;
                    let at = self.delays.iter().position(is_first).unwrap();
                    woken.extend(self.wake_delayed(at, next_id));
                }
                (Some(_), None) => unreachable!("taken above"),
            }
            self.forget_delays();
        }
    }

    fn wake_delayed(&mut self, at: usize, next_id: u64) -> Vec<u64> {
        let missed = self.is_turn_of_others(self.delays[at].key, u64::MAX);
        let delay = self.delays.remove(at);
        let mut mine: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row.key == delay.key)
            .collect();
        mine.sort_by_key(|row| (row.start_ts, row.id));
        let mut ids = Vec::new();
        let were_there = mine.into_iter().filter(|row| row.id < delay.below);
        for row in were_there.filter(|_| delay.wakes) {
            match (row.resume, delay.resume_one) {
                (false, _) => ids.push(row.id),
                (true, true) => {
                    ids.push(row.id);
                    break;
                }
                (true, false) => {}
            }
        }
        self.rows.retain(|row| !ids.contains(&row.id));
        if missed {
            ids.extend(self.release(delay.key, next_id));
        }
        ids
    }
}

fn ids(waiters: &[(Waiter<u64>, ReleasedLock)]) -> impl Iterator<Item = u64> + '_ {
    waiters.iter().map(|(waiter, _)| waiter.wait.payload)
}

fn all_woken(effects: &Effects<u64>) -> BTreeSet<u64> {
    ids(&effects.retry).chain(ids(&effects.resume)).collect()
}

/// One step in both worlds: who was woken, and whose time was over.
fn both(
    world: &mut World,
    model: &mut Model,
    next_id: &mut u64,
    step: Step,
) -> [(BTreeSet<u64>, BTreeSet<u64>); 2] {
    *next_id += 1;
    let id = *next_id;
    let now = world.time.now();
    let none = BTreeSet::new;
    match step {
        Step::Park {
            key: k,
            start_ts,
            resume,
            shared,
            timeout,
            behind,
        } => {
            let (name, key) = (k.to_string(), key(&k.to_string()));
            let waits = !behind || model.is_turn_of_others(k, start_ts);
            let turn = world.queues.is_turn_of_others(&key, start_ts.into());
            assert_eq!(turn, model.is_turn_of_others(k, start_ts));
            if waits {
                let mode = if resume {
                    WakeUpMode::Resume
                } else {
                    WakeUpMode::Retry
                };
                let mut wait = world.wait(start_ts, mode);
                wait.shared = shared;
                wait.first_lock = resume;
                wait.until = wait.since + Duration::from_millis(timeout);
                wait.payload = id;
                if behind {
                    drop(world.queues.enqueue_behind(&key, wait));
                } else {
                    model.held.insert(k);
                    drop(world.enqueue(&name, wait));
                }
                model.park(Row {
                    id,
                    key: k,
                    start_ts,
                    resume,
                    shared,
                    overtaken: false,
                    until: model.now + timeout,
                });
            }
            [(none(), none()), (none(), none())]
        }
        Step::Release(k) => {
            let effects = world.release(5, &k.to_string());
            let expected = model.release(k, id).into_iter().collect();
            [(all_woken(&effects), none()), (expected, none())]
        }
        Step::Acquired(k, ts) => {
            world.acquire(ts, &k.to_string());
            model.acquired(k, ts);
            [(none(), none()), (none(), none())]
        }
        Step::GiveUp(k, ts) => {
            let key = key(&k.to_string());
            let effects = world.queues.give_up_turn(now, &key, ts.into());
            let expected = model.give_up(k, ts, id).into_iter().collect();
            [(all_woken(&effects), none()), (expected, none())]
        }
        Step::Deadlock(k, ts) => {
            let (taken, _) = world.queues.take(&key(&k.to_string()), ts.into());
            let got = taken.iter().map(|waiter| waiter.wait.payload).collect();
            let gone = |row: &Row| row.key == k && row.start_ts == ts;
            let expected = model.rows.iter().filter(|row| gone(row));
            let expected = expected.map(|row| row.id).collect();
            model.rows.retain(|row| !gone(row));
            model.forget_delays();
            [(got, none()), (expected, none())]
        }
        Step::Advance(ms) => {
            let effects = world.advance(Duration::from_millis(ms));
            model.now += ms;
            let got = (all_woken(&effects), late(&effects).into_iter().collect());
            [got, model.tick(id)]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// Whatever happens in which order, each waiter leaves once, at the moment and for the reason of the model.
    #[test]
    fn histories_agree_with_a_list(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new(usize::MAX);
        let mut model = Model::default();
        let mut next_id = 0;
        for step in steps {
            let [got, expected] = both(&mut world, &mut model, &mut next_id, step);
            prop_assert_eq!(got, expected);
            world.queues.check_invariants();
            prop_assert_eq!(world.queues.len(), model.rows.len());
        }
        // Each turn that is missed wakes one more.
        for _ in 0..=model.rows.len() + 1 {
            drop(world.advance(Duration::from_secs(60)));
        }
        prop_assert_eq!((world.queues.keys(), world.queues.bytes()), (0, 0));
        prop_assert_eq!(world.queues.next_deadline(), None);
    }
}
