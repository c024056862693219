//! Random histories: many clients, all modes of transactions mixed, on one thread and one seed.
//!
//! Clients move money between accounts and append to lists, optimistically and pessimistically, in two phases, in one,
//! asynchronously and pipelined; some change their minds, some die at some point, and a janitor finishes what they left.
//! Afterwards the fate of every
//! transaction is asked of the store, and [`check`] says whether it explains what was seen. Besides:
//! 1. who waits for a lock is woken: nobody waits for his full time;
//! 2. nothing is left: no lock in the engine or in memory, no latch, no waiting request;
//! 3. an acknowledged commit is there, an acknowledged failure is not, and a transaction is committed on all of its
//!    keys at one timestamp or on none;
//! 4. one seed gives one history, on both engines;
//! 5. one client alone sees the same whatever the modes are.

mod check;
mod client;
mod pipelined;
mod record;
mod resolve;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use engine_mem::MemEngine;
use engine_traits::{Cf, EngineIterator as _, IterOptions, KvEngine};
use futures::FutureExt as _;
use futures::future::{join_all, select};
use kv::{Engine as _, Snapshot as _, SnapshotContext};
use kvproto::kvrpcpb;
use online_config::ReadableDuration;
use runtime::Rng;
use storage::Config;
use txn_types::Key;

use self::check::{Committed, Model, elements, number};
use self::client::{Clients, Open, Stop, WAIT_MS};
use self::record::{CommitMode, LockMode, Read, Told, Txn};
use crate::driver::{World, tracker};

const CLIENTS: usize = 6;
const TXNS: usize = 12;
const ACCOUNTS: u64 = 4;
const EACH: u64 = 100;
const LISTS: u64 = 4;

/// What of the store and of the clients differs between histories.
#[derive(Clone, Copy, Debug)]
struct Modes {
    pipelined: bool,
    in_memory: bool,
    async_apply: bool,
    /// What clients choose from.
    commits: &'static [CommitMode],
    locks: &'static [LockMode],
    deaths: u64,
    clients: usize,
}

const ALL_COMMITS: &[CommitMode] = &[
    CommitMode::TwoPhases,
    CommitMode::Async,
    CommitMode::OnePhase,
    CommitMode::Pipelined,
];
const ALL_LOCKS: &[LockMode] = &[
    LockMode::Optimistic,
    LockMode::Pessimistic,
    LockMode::ForceLock,
];

impl Modes {
    /// Everything mixed, by the seed.
    fn of(seed: u64) -> Self {
        Modes {
            pipelined: seed % 4 != 1,
            in_memory: seed % 4 >= 2,
            async_apply: seed % 8 >= 4,
            commits: ALL_COMMITS,
            locks: ALL_LOCKS,
            deaths: 25,
            clients: CLIENTS,
        }
    }
}

struct History<'w, K: KvEngine> {
    clients: Clients<'w, K>,
    modes: Modes,
    /// What the clients want to do; how they fare draws from another sequence.
    plan: Rng,
    txns: RefCell<Vec<Txn>>,
}

fn account(number: u64) -> Vec<u8> {
    format!("a{number}").into_bytes()
}

fn pick<T: Copy>(rng: &Rng, from: &[T]) -> T {
    from[rng.below(from.len() as u64) as usize]
}

impl<K: KvEngine> History<'_, K> {
    fn open(&self) -> Open {
        let locking = pick(&self.plan, self.modes.locks);
        let commit = pick(&self.plan, self.modes.commits);
        self.clients.begin(locking, commit)
    }

    async fn fund(&self) {
        let mut open = self
            .clients
            .begin(LockMode::Optimistic, CommitMode::TwoPhases);
        for number in 0..ACCOUNTS {
            let money = EACH.to_string().into_bytes();
            open.txn.writes.insert(account(number), money);
        }
        open.txn.told = self.clients.finish(&mut open).await;
        assert!(matches!(open.txn.told, Told::Committed(_)));
        self.txns.borrow_mut().push(open.txn);
    }

    async fn client(&self) {
        for _ in 0..TXNS {
            self.clients.pause(30).await;
            let mut open = self.open();
            let body = match self.plan.below(6) {
                0 | 1 => self.transfer(&mut open).await,
                2 | 3 => self.append(&mut open).await,
                4 => self.look(&mut open).await,
                _ => {
                    let changed_mind = self.change_mind().await;
                    self.txns.borrow_mut().push(changed_mind);
                    continue;
                }
            };
            open.txn.told = match body {
                Ok(()) => self.clients.finish(&mut open).await,
                Err(Stop::Died) => Told::Nothing,
                Err(Stop::GivenUp) => Told::Failed,
            };
            self.txns.borrow_mut().push(open.txn);
        }
    }

    /// Moves money between two accounts.
    async fn transfer(&self, open: &mut Open) -> Result<(), Stop> {
        let rng = &self.plan;
        let from = rng.below(ACCOUNTS);
        let to = (from + 1 + rng.below(ACCOUNTS - 1)) % ACCOUNTS;
        let has = number(&self.clients.read(open, &account(from)).await?.unwrap());
        self.clients.pause(10).await;
        let other = number(&self.clients.read(open, &account(to)).await?.unwrap());
        let moved = rng.below(has + 1);
        for (account, money) in [(account(from), has - moved), (account(to), other + moved)] {
            open.txn
                .writes
                .insert(account, money.to_string().into_bytes());
            self.clients.flush_some(open).await?;
        }
        Ok(())
    }

    /// Appends to some lists.
    async fn append(&self, open: &mut Open) -> Result<(), Stop> {
        let rng = &self.plan;
        for _ in 0..=rng.below(3) {
            let key = format!("l{}", rng.below(LISTS)).into_bytes();
            if open.txn.reads.iter().any(|read| read.key == key) {
                continue;
            }
            let mut list = self.clients.read(open, &key).await?.unwrap_or_default();
            if rng.chance(3, 4) {
                list.extend(format!("{},", open.txn.start).into_bytes());
                open.txn.writes.insert(key, list);
                self.clients.flush_some(open).await?;
            }
            if rng.chance(1, 4) {
                self.clients.heart_beat(open).await?;
            }
        }
        Ok(())
    }

    /// Writes what it has not read, and takes it back: unlike after a read, another transaction that holds a key may
    /// commit below this one's start.
    async fn change_mind(&self) -> Txn {
        let mut open = self
            .clients
            .begin(LockMode::Optimistic, CommitMode::TwoPhases);
        for _ in 0..=self.plan.below(3) {
            let key = match self.plan.chance(1, 2) {
                true => account(self.plan.below(ACCOUNTS)),
                false => format!("l{}", self.plan.below(LISTS)).into_bytes(),
            };
            open.txn.writes.insert(key, b"nonsense".to_vec());
        }
        let told = self.clients.take_back(&open).await;
        open.txn.told = told.unwrap_or(Told::Nothing);
        open.txn
    }

    /// Reads everything at its start, and writes nothing.
    async fn look(&self, open: &mut Open) -> Result<(), Stop> {
        let at = open.txn.start;
        let lists = (0..LISTS).map(|number| format!("l{number}").into_bytes());
        for key in (0..ACCOUNTS).map(account).chain(lists) {
            let value = self.clients.get(&key, at).await;
            open.txn.reads.push(Read {
                key,
                value,
                at,
                locked: false,
            });
        }
        Ok(())
    }

    /// Finishes what dead clients left, for as long as it is polled.
    async fn janitor(&self) {
        loop {
            self.clients
                .runtime
                .timer
                .sleep(Duration::from_secs(1))
                .await;
            self.clients.sweep().await;
        }
    }

    async fn play(&self) {
        self.fund().await;
        self.clients.deaths.set(self.modes.deaths);
        let clients = join_all((0..self.modes.clients).map(|_| self.client()));
        select(Box::pin(clients), Box::pin(self.janitor())).await;
        // What dead clients had begun ends by itself, and may leave something.
        loop {
            self.clients
                .runtime
                .timer
                .sleep(Duration::from_secs(1))
                .await;
            if self.clients.scan_locks().await.is_empty() {
                return;
            }
            self.clients.sweep().await;
        }
    }

    /// Where a transaction committed, by what its keys tell.
    async fn fate(&self, txn: &Txn) -> Option<u64> {
        if txn.writes.is_empty() {
            // It leaves no version by which anybody could tell.
            return match txn.told {
                Told::Committed(at) => Some(at),
                Told::Failed | Told::Nothing => None,
            };
        }
        let world = self.clients.world;
        let mut commits = Vec::new();
        for key in txn.writes.keys() {
            let key = Key::from_raw(key);
            let info = world.storage.mvcc_by_key(world.context(), key, tracker());
            let info = info.await.unwrap();
            let own = info.get_writes().iter().find(|write| {
                write.get_start_ts() == txn.start && write.get_field_type() != kvrpcpb::Op::Rollback
            });
            commits.push(own.map(kvrpcpb::MvccWrite::get_commit_ts));
        }
        let one = commits.iter().all(|at| *at == commits[0]);
        assert!(one, "half there: {txn:?} {commits:?}");
        commits[0]
    }

    fn nothing_is_left(&self) {
        let world = self.clients.world;
        let snapshot = SnapshotContext::new(world.context());
        let snapshot = world
            .run(world.storage.engine().async_snapshot(snapshot))
            .unwrap();
        let in_memory = snapshot.memory_locks();
        let left = in_memory.map(|table| table.scan(None, None, |_, _| true, 1).unwrap());
        assert!(
            left.is_none_or(|locks| locks.is_empty()),
            "pessimistic locks in memory"
        );
        let mut locks = world.engine.iter(Cf::Lock, IterOptions::default()).unwrap();
        assert!(
            !locks.seek_to_first().unwrap(),
            "a lock on {:?}",
            locks.key()
        );
        assert_eq!(world.storage.concurrency_manager().locks_under_way(), 0);
        assert_eq!(world.storage.scheduler().latches_in_use(), 0);
        assert!(world.storage.lock_wait_info().is_empty());
    }
}

/// Says which history it was that failed.
struct Played(u64, Modes);

impl Drop for Played {
    #[expect(
        clippy::print_stderr,
        reason = "a failing seed is told to whoever runs the test"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("history of seed {}, {:?}", self.0, self.1);
        }
    }
}

/// Plays a history and checks it. Gives what was seen, and the digest of all steps.
fn run<K: KvEngine>(engine: K, seed: u64, modes: Modes) -> (Vec<Txn>, u64) {
    let _played = Played(seed, modes);
    let config = Config {
        enable_async_apply_prewrite: modes.async_apply,
        ..Config::default()
    };
    let world = World::over(engine, seed, &config);
    world.storage.set_pessimistic_txn(&lock_manager::Config {
        pipelined: modes.pipelined,
        in_memory: modes.in_memory,
        wait_for_lock_timeout: ReadableDuration(Duration::from_millis(WAIT_MS.unsigned_abs())),
        ..lock_manager::Config::default()
    });
    let history = History {
        clients: Clients {
            world: &world,
            runtime: world.stepper.runtime(),
            rng: Rng::from_seed(seed ^ 0x5eed),
            deaths: Cell::new(0),
            last_ts: Cell::new(0),
        },
        modes,
        plan: Rng::from_seed(seed ^ 0x91a7),
        txns: RefCell::default(),
    };
    world.run(history.play().boxed_local());
    history.nothing_is_left();

    let txns = history.txns.borrow().clone();
    let mut committed: Vec<Committed<'_>> = Vec::new();
    for txn in &txns {
        let fate = world.run(history.fate(txn));
        match txn.told {
            Told::Committed(at) => assert_eq!(fate, Some(at), "seed {seed}: {txn:?}"),
            Told::Failed => assert_eq!(fate, None, "seed {seed}: {txn:?}"),
            Told::Nothing => {}
        }
        committed.extend(fate.map(|at| (txn, at)));
    }
    let model = Model::of(&committed);
    check::reads_and_writes(&model, &txns, &committed);
    let funded = committed[0].1;
    let times = committed
        .iter()
        .map(|(_, at)| *at)
        .filter(|at| *at >= funded);
    check::sums(&model, b'a', ACCOUNTS * EACH, times);
    check::lists(&model, b'l', &committed);
    assert!(committed.len() > 1, "seed {seed}: nothing committed");
    (txns, world.stepper.trace_hash())
}

#[test]
fn all_modes_mixed_are_snapshot_isolated() {
    let seeds = std::env::var("HISTORY_SEEDS").map_or(24, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        // Where nothing misses every command is decided where it arrives; where everything does, in the pool.
        let engine = MemEngine::new();
        engine.miss_every(seed % 4);
        run(engine, seed, Modes::of(seed));
    }
}

#[test]
fn one_seed_gives_one_history_on_both_engines() {
    for seed in [3, 6, 9] {
        let modes = Modes::of(seed);
        let dir = tempfile::tempdir().unwrap();
        let config = engine_rocks::Config::default();
        let rocks = engine_rocks::RocksEngine::open(dir.path(), &config).unwrap();
        let first = run(MemEngine::new(), seed, modes);
        assert_eq!(first, run(MemEngine::new(), seed, modes), "seed {seed}");
        assert_eq!(first, run(rocks, seed, modes), "seed {seed}");
    }
}

/// What one client alone saw and did, without times.
fn story(seed: u64, modes: Modes) -> Vec<(Vec<Vec<u8>>, Vec<usize>, bool)> {
    let (txns, _) = run(MemEngine::new(), seed, modes);
    let of = |txn: &Txn| {
        let moneys = txn.reads.iter().filter(|read| read.key[0] == b'a');
        let moneys = moneys.map(|read| read.value.clone().unwrap_or_default());
        let lists = txn.reads.iter().filter(|read| read.key[0] == b'l');
        let lengths = lists.map(|read| elements(read.value.as_ref()).len());
        let committed = matches!(txn.told, Told::Committed(_));
        (moneys.collect(), lengths.collect(), committed)
    };
    txns.iter().map(of).collect()
}

#[test]
fn one_client_alone_sees_the_same_in_every_mode() {
    for seed in 0..4 {
        let mut stories = Vec::new();
        for commit in ALL_COMMITS {
            for locks in ALL_LOCKS {
                for (pipelined, in_memory) in [(false, false), (true, false), (true, true)] {
                    let modes = Modes {
                        pipelined,
                        in_memory,
                        async_apply: in_memory,
                        commits: std::slice::from_ref(commit),
                        locks: std::slice::from_ref(locks),
                        deaths: 0,
                        clients: 1,
                    };
                    stories.push(story(seed, modes));
                }
            }
        }
        for other in &stories[1..] {
            assert_eq!(*other, stories[0], "seed {seed}");
        }
    }
}
