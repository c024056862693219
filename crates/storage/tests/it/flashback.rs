//! A flashback among writers that do not stop, cut off at any step: the process is killed, the client gives up its
//! wait and asks again. Whatever happens:
//! 1. in the end the region is open and every key is, at the commit timestamp and behind it, what it was at the version;
//! 2. what could be read below the start can be read all the time, and is what it was;
//! 3. nobody else's write is acknowledged while the region is in flashback;
//! 4. no lock of others is left.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

use api_version::ApiV1;
use engine_mem::MemEngine;
use futures::future::{Either, select};
use kv::LocalEngine;
use kvproto::kvrpcpb::{
    self, CommitRequest, Mutation, Op, PessimisticLockRequest, PrewriteRequest,
};
use lock_manager::Detector;
use runtime::Rng;
use storage::txn::commands::{Flashback, PrepareFlashback};
use storage::{AcquirePessimisticLock, Commit, Error, Prewrite, ScanOptions, Storage};
use txn_types::{Key, TimeStamp};

use crate::driver::{World, tracker};

const KEYS: u64 = 40;
const SEEDS: u64 = 60;
/// More than any run takes that comes to an end.
const STEPS_MAX: u64 = 1_000_000;

type Store = Storage<LocalEngine<MemEngine>, Detector, ApiV1>;
type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// What outlives the process.
struct Outside {
    next_ts: AtomicU64,
    /// What the client of the flashback knows: its first step was answered, where it commits, all was answered.
    prepared: AtomicBool,
    commit_ts: AtomicU64,
    done: AtomicBool,
}

impl Outside {
    fn ts(&self) -> u64 {
        self.next_ts.fetch_add(1, Ordering::SeqCst) + 1
    }
}

fn start_ts_of(storage: &Store) -> u64 {
    storage.engine().region_now().get_flashback_start_ts()
}

fn is_in_progress(error: &Error) -> bool {
    matches!(error, Error::Kv(kv::Error::Region(error)) if error.has_FlashbackInProgress())
}

fn is_not_prepared(error: &Error) -> bool {
    matches!(error, Error::Kv(kv::Error::Region(error)) if error.has_FlashbackNotPrepared())
}

fn mutation(rng: &Rng, ts: u64) -> Mutation {
    let mut mutation = Mutation::default();
    mutation.set_key(format!("k{:02}", rng.below(KEYS)).into_bytes());
    // None, short, and so long that few fit into one batch.
    match rng.below(5) {
        0 => mutation.set_op(Op::Del),
        1 => mutation.set_value(vec![ts as u8; 9000]),
        _ => mutation.set_value(ts.to_string().into_bytes()),
    }
    mutation
}

/// A write of one key, in one of the ways there are; leaves a lock sometimes. Whether it was acknowledged as a whole.
async fn write(
    storage: &Store,
    ctx: &kvrpcpb::Context,
    rng: &Rng,
    outside: &Outside,
) -> Result<(), Error> {
    let start = outside.ts();
    if rng.chance(1, 8) {
        let mut mutation = mutation(rng, start);
        mutation.set_op(Op::PessimisticLock);
        mutation.clear_value();
        let mut req = PessimisticLockRequest::default();
        req.set_context(ctx.clone());
        req.set_start_version(start);
        req.set_for_update_ts(start);
        req.set_primary_lock(mutation.get_key().to_vec());
        req.set_wait_timeout(-1);
        req.mut_mutations().push(mutation);
        let command = AcquirePessimisticLock::try_from(req)?;
        return storage
            .sched_txn_command(command, tracker())
            .await
            .map(drop);
    }
    let mutation = mutation(rng, start);
    let mut req = PrewriteRequest::default();
    req.set_context(ctx.clone());
    req.set_start_version(start);
    req.set_primary_lock(mutation.get_key().to_vec());
    req.set_try_one_pc(rng.chance(1, 4));
    req.set_use_async_commit(req.get_try_one_pc());
    req.mut_mutations().push(mutation);
    let keys = vec![req.get_primary_lock().to_vec()];
    let one_pc = req.get_try_one_pc();
    let prewritten = storage
        .sched_txn_command(Prewrite::try_from(req)?, tracker())
        .await?;
    if one_pc || !prewritten.locks.is_empty() || rng.chance(1, 6) {
        return Ok(());
    }
    let mut req = CommitRequest::default();
    req.set_context(ctx.clone());
    req.set_start_version(start);
    req.set_commit_version(outside.ts());
    req.set_keys(keys.into());
    let commit = storage.sched_txn_command(Commit::try_from(req)?, tracker());
    commit.await.map(drop)
}

/// Writes without end, and looks that nothing is acknowledged during a flashback.
async fn writer(storage: Store, ctx: kvrpcpb::Context, rng: Rng, outside: Arc<Outside>) {
    while !outside.done.load(Ordering::SeqCst) {
        let before = start_ts_of(&storage);
        let written = write(&storage, &ctx, &rng, &outside).await;
        let after = start_ts_of(&storage);
        match written {
            Ok(()) => assert!(
                before == 0 || after == 0,
                "a write slipped into a flashback"
            ),
            Err(Error::Mvcc(_)) => {}
            Err(error) => assert!(is_in_progress(&error), "{error}"),
        }
    }
}

/// Everything that is there at `ts`; none while others are in the way.
async fn state(storage: &Store, ctx: &kvrpcpb::Context, ts: u64) -> Option<State> {
    let options = ScanOptions {
        limit: 1000,
        ..ScanOptions::default()
    };
    let start = Key::from_raw(b"");
    let ts = TimeStamp::new(ts);
    let scan = storage.scan(ctx.clone(), start, None, options, ts, tracker());
    let pairs = scan.await.unwrap();
    let pairs = pairs.into_iter().map(|pair| {
        let (key, entry) = pair.ok()?;
        Some((key, entry.value))
    });
    pairs.collect()
}

/// Reads what is older than the flashback, all the time.
async fn reader(
    storage: Store,
    ctx: kvrpcpb::Context,
    history: Arc<BTreeMap<u64, State>>,
    rng: Rng,
    outside: Arc<Outside>,
) {
    let moments: Vec<_> = history.keys().copied().collect();
    while !outside.done.load(Ordering::SeqCst) {
        let ts = moments[rng.below(moments.len() as u64) as usize];
        let found = state(&storage, &ctx, ts).await;
        assert_eq!(found.as_ref(), history.get(&ts), "at {ts}");
    }
}

/// Ready after so many polls.
async fn patience(mut polls: u64) {
    poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(());
        }
        polls -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The client of the flashback: goes on where its last answer left it, and does not always wait for one.
async fn set_back(
    storage: Store,
    requests: (
        kvrpcpb::PrepareFlashbackToVersionRequest,
        kvrpcpb::FlashbackToVersionRequest,
    ),
    rng: Rng,
    outside: Arc<Outside>,
) {
    let (prepare, mut flashback) = requests;
    while !outside.done.load(Ordering::SeqCst) {
        let prepared = outside.prepared.load(Ordering::SeqCst);
        let running = if prepared {
            flashback.set_commit_ts(outside.commit_ts.load(Ordering::SeqCst));
            let command = Flashback::try_from(flashback.clone()).unwrap();
            Either::Left(storage.sched_txn_command(command, tracker()))
        } else {
            let command = PrepareFlashback::try_from(prepare.clone()).unwrap();
            Either::Right(storage.sched_txn_command(command, tracker()))
        };
        let polls = if rng.chance(1, 2) {
            rng.below(60)
        } else {
            u64::MAX
        };
        let waits = Box::pin(patience(polls));
        let Either::Left((answer, _)) = select(Box::pin(running), waits).await else {
            continue;
        };
        match answer {
            Ok(()) if prepared => outside.done.store(true, Ordering::SeqCst),
            Ok(()) => {
                if outside.commit_ts.load(Ordering::SeqCst) == 0 {
                    outside.commit_ts.store(outside.ts(), Ordering::SeqCst);
                }
                outside.prepared.store(true, Ordering::SeqCst);
            }
            Err(error) if is_not_prepared(&error) => {
                outside.prepared.store(false, Ordering::SeqCst);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn run(seed: u64) {
    let rng = Rng::from_seed(seed);
    let outside = Arc::new(Outside {
        next_ts: AtomicU64::new(10),
        prepared: AtomicBool::new(false),
        commit_ts: AtomicU64::new(0),
        done: AtomicBool::new(false),
    });
    let mut world = World::new(seed);
    // What was written before, and every state that it went through.
    let mut history = BTreeMap::new();
    for _ in 0..20 + rng.below(60) {
        let ctx = world.context();
        let written = write(&world.storage, &ctx, &rng, &outside);
        drop(world.run(written));
        let now = outside.ts();
        if let Some(state) = world.run(state(&world.storage, &ctx, now)) {
            history.insert(now, state);
        }
    }
    let history = Arc::new(history);
    let versions: Vec<_> = history.keys().copied().collect();
    let Some(&version) = versions.get(rng.below(versions.len().max(1) as u64) as usize) else {
        return;
    };
    let at = (outside.ts(), version);

    let mut kills = rng.below(4);
    loop {
        begin(&world, &rng, at, &outside, &history);
        let steps = if kills == 0 {
            STEPS_MAX
        } else {
            rng.below(3000)
        };
        for _ in 0..steps {
            if !world.stepper.step() {
                break;
            }
        }
        assert_eq!(
            world.stepper.take_panics(),
            Vec::<String>::new(),
            "seed {seed}"
        );
        if kills == 0 {
            break;
        }
        kills -= 1;
        world = world.killed(seed + kills);
    }
    assert!(
        outside.done.load(Ordering::SeqCst),
        "seed {seed}: it comes to no end"
    );
    check_end(&world, seed, at, &outside, &history);
}

fn begin(
    world: &World,
    rng: &Rng,
    at: (u64, u64),
    outside: &Arc<Outside>,
    history: &Arc<BTreeMap<u64, State>>,
) {
    let storage = || world.storage.clone();
    for _ in 0..3 {
        drop(world.start(writer(
            storage(),
            world.context(),
            rng.fork(),
            outside.clone(),
        )));
    }
    let requests = (world.prepare_request(at), world.flashback_request(at, 0));
    drop(world.start(set_back(storage(), requests, rng.fork(), outside.clone())));
    let (history, outside) = (history.clone(), outside.clone());
    drop(world.start(reader(
        storage(),
        world.context(),
        history,
        rng.fork(),
        outside,
    )));
}

fn check_end(
    world: &World,
    seed: u64,
    (start, version): (u64, u64),
    outside: &Outside,
    history: &BTreeMap<u64, State>,
) {
    let (storage, ctx) = (&world.storage, world.context());
    assert_eq!(start_ts_of(storage), 0, "seed {seed}");
    let commit = outside.commit_ts.load(Ordering::SeqCst);
    // Locks of writers that came after the flashback are in nobody's way here.
    let locks = storage.scan_lock(ctx.clone(), start.into(), None, None, 0, tracker());
    assert_eq!(world.run(locks).unwrap(), [], "seed {seed}");
    assert_eq!(
        world.run(state(storage, &ctx, commit)).as_ref(),
        history.get(&version),
        "seed {seed}: at {commit} as at {version}"
    );
    for (ts, then) in history {
        let now = world.run(state(storage, &ctx, *ts));
        assert_eq!(now.as_ref(), Some(then), "seed {seed}: at {ts}");
    }
}

#[test]
fn whatever_cuts_it_off_a_flashback_ends_as_it_should() {
    for seed in 0..SEEDS {
        run(seed);
    }
}
