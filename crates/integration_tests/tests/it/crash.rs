//! A hundred SIGKILLs under load, each followed by a restart on the same data and a full comparison.
//!
//! A round: clients write in every way that the server has, the process dies at a random moment, it
//! starts again, the published client resolves the locks that the dead clients left, and everything
//! is read and compared with [`integration_tests::history`].
//!
//! All clients of a round live in a runtime that ends before the server starts again, so that no
//! forgotten retry can reach the new process: what is in doubt is decided when the server comes back.
//!
//! The comparison is tested too: with wrong histories beside `history`, and here with a server whose
//! disk was put back to an earlier state.

mod load;

use std::collections::BTreeSet;
use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use integration_tests::TikvServer;
use integration_tests::history::{Bank, Counters, Registers, Timestamps, Value};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tikv_client::{KvPair, RawClient, Transaction, TransactionClient};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::clients;

const KILLS: u32 = 100;
/// The latest moment of a kill, counted from the start of the clients. The earliest is at once: they
/// are still connecting.
const LOAD_MS_MAX: u64 = 600;
const ACCOUNTS: usize = 8;
const OPENING_BALANCE: i64 = 1_000;
/// Keys that one transaction writes together, each with the same value.
const GROUP_KEYS: usize = 4;

/// What the clients of all rounds know.
struct Model {
    raw: Registers,
    counters: Counters,
    groups: Registers,
    bank: Bank,
    timestamps: Timestamps,
    /// What a client saw that must not be, while the server ran.
    violations: Vec<String>,
    /// Acknowledged operations, by kind: a test without load would prove nothing.
    acknowledged: Acknowledged,
    round: u32,
    /// The server has been told to die, or will be at once: nothing is an answer any more.
    dying: bool,
}

#[derive(Debug, Default)]
struct Acknowledged {
    raw: u64,
    swaps: u64,
    groups: u64,
    transfers: u64,
    timestamps: u64,
}

impl Model {
    fn new() -> Model {
        Model {
            raw: Registers::default(),
            counters: Counters::default(),
            groups: Registers::default(),
            bank: Bank::new(ACCOUNTS, OPENING_BALANCE),
            timestamps: Timestamps::default(),
            violations: Vec::new(),
            acknowledged: Acknowledged::default(),
            round: 0,
            dying: false,
        }
    }
}

/// The model as tasks share it. Every method takes it for a moment only, never across an await.
#[derive(Clone)]
struct Shared(Arc<Mutex<Model>>);

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut Model) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }
}

/// What ends a load.
enum End {
    /// The server is killed.
    Kill,
    /// The clients go away.
    Clients,
}

struct Crashes {
    runtime: Runtime,
    server: TikvServer,
    model: Shared,
    rng: StdRng,
}

impl Crashes {
    fn start(seed: u64) -> Crashes {
        let runtime = runtime();
        let server = runtime.block_on(TikvServer::start()).unwrap();
        let model = Shared(Arc::new(Mutex::new(Model::new())));
        runtime.block_on(async {
            let client = clients::transactional(&server).await;
            let mut opening = clients::begin(&client).await;
            for account in 0..ACCOUNTS {
                opening
                    .put(account_key(account), OPENING_BALANCE.to_string())
                    .await
                    .unwrap();
            }
            opening.commit().await.unwrap();
        });
        Crashes {
            runtime,
            server,
            model,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Load for a while, from clients that are gone afterwards.
    fn load(&mut self, length: Duration, end: End) {
        self.model.with(|model| model.dying = false);
        let clients = runtime();
        let seed = self.rng.random();
        clients.spawn(load::run(
            self.server.pd_endpoints(),
            self.model.clone(),
            seed,
        ));
        // The length of the load is what is random here; nothing is awaited.
        let _ = clients.block_on(async { timeout(length, pending::<()>()).await });
        if let End::Kill = end {
            self.model.with(|model| model.dying = true);
            self.server.kill().unwrap();
        }
        clients.shutdown_timeout(Duration::from_secs(10));
    }

    /// One kill. Returns what is wrong afterwards.
    fn round(&mut self, round: u32) -> anyhow::Result<()> {
        self.model.with(|model| model.round = round);
        let length = Duration::from_millis(self.rng.random_range(0..LOAD_MS_MAX));
        self.load(length, End::Kill);
        self.runtime
            .block_on(self.server.restart())
            .context("restart")?;
        self.runtime
            .block_on(check(&self.server, &self.model))
            .with_context(|| format!("after {length:?} of load"))
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Compares a server with the model, and settles what was in doubt.
async fn check(server: &TikvServer, model: &Shared) -> anyhow::Result<()> {
    let violations = model.with(|model| std::mem::take(&mut model.violations));
    ensure!(violations.is_empty(), "while it ran: {violations:#?}");

    let client = clients::transactional(server).await;
    let floor = model.with(|model| model.timestamps.floor());
    let now = client.current_timestamp().await?;
    model.with(|model| {
        model
            .timestamps
            .note(floor, tikv_client::TimestampExt::version(&now))?;
        model.timestamps.settle();
        anyhow::Ok(())
    })?;

    client
        .cleanup_locks(.., &now, Default::default())
        .await
        .context("resolve locks")?;
    let left = client.scan_locks(&now, .., 10).await?;
    ensure!(left.is_empty(), "locks that cannot be resolved: {left:?}");

    let mut snapshot = clients::begin(&client).await;
    let compared = check_transactions(&mut snapshot, model).await;
    snapshot.rollback().await?;
    compared?;
    check_raw(&clients::raw(server).await, model).await
}

async fn check_transactions(snapshot: &mut Transaction, model: &Shared) -> anyhow::Result<()> {
    for name in model.with(|model| model.groups.names()) {
        let keys: Vec<String> = (0..GROUP_KEYS).map(|n| group_key(&name, n)).collect();
        let found = values(&keys, snapshot.batch_get(keys.clone()).await?.collect());
        model.with(|model| model.groups.check(&name, &found))?;
    }

    let keys: Vec<String> = (0..ACCOUNTS).map(account_key).collect();
    let balances = values(&keys, snapshot.batch_get(keys.clone()).await?.collect())
        .into_iter()
        .map(|value| number(&value))
        .collect::<anyhow::Result<Vec<i64>>>()?;
    let prefix = receipt_prefix(model.with(|model| model.round));
    let receipts: BTreeSet<String> = snapshot
        .scan_keys(prefix.clone()..format!("{prefix}~"), 100_000)
        .await?
        .map(|key| String::from_utf8_lossy((&key).into()).into_owned())
        .collect();
    model.with(|model| model.bank.check(&balances, &receipts))
}

async fn check_raw(client: &RawClient, model: &Shared) -> anyhow::Result<()> {
    let names = model.with(|model| model.raw.names());
    let found = values(&names, client.batch_get(names.clone()).await?);
    model.with(|model| {
        names
            .iter()
            .zip(found)
            .try_for_each(|(name, value)| model.raw.check(name, &[value]))
    })?;
    let names = model.with(|model| model.counters.names());
    let found = values(&names, client.batch_get(names.clone()).await?);
    for (name, value) in names.iter().zip(found) {
        let count = if value.is_none() {
            0
        } else {
            u64::try_from(number(&value)?)?
        };
        model.with(|model| model.counters.check(name, count))?;
    }
    Ok(())
}

/// The value of each key, in order.
fn values(keys: &[String], found: Vec<KvPair>) -> Vec<Value> {
    let value = |key: &String| {
        let pair = found
            .iter()
            .find(|pair| pair.key() == &tikv_client::Key::from(key.clone()));
        pair.map(|pair| pair.value().clone())
    };
    keys.iter().map(value).collect()
}

fn number(value: &Value) -> anyhow::Result<i64> {
    let bytes = value.as_ref().context("a number is missing")?;
    std::str::from_utf8(bytes)?
        .parse()
        .with_context(|| format!("a number: {bytes:?}"))
}

fn account_key(account: usize) -> String {
    format!("account/{account:02}")
}

fn group_key(group: &str, n: usize) -> String {
    format!("{group}/{n}")
}

/// All receipts of a round and of no other.
fn receipt_prefix(round: u32) -> String {
    format!("receipt/{round:04}/")
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

fn seed() -> u64 {
    let seed = environment("CRASH_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    // Shown when the test fails.
    println!("CRASH_SEED={seed} repeats the choices of this run");
    seed
}

#[test]
fn nothing_is_lost_in_a_hundred_kills() {
    let kills = environment("CRASH_KILLS").map_or(KILLS, |kills| kills.try_into().unwrap());
    let mut crashes = Crashes::start(seed());
    for round in 0..kills {
        if let Err(error) = crashes.round(round) {
            panic!("kill {round}: {error:?}");
        }
    }
    let done = crashes
        .model
        .with(|model| std::mem::take(&mut model.acknowledged));
    println!("{kills} kills: {done:?}");
    let least = [
        done.raw,
        done.swaps,
        done.groups,
        done.transfers,
        done.timestamps,
    ];
    assert!(
        least.iter().all(|count| *count >= u64::from(kills)),
        "{done:?} is no load"
    );
    crashes.runtime.block_on(crashes.server.stop()).unwrap();
}

/// The checker must be able to fail: here the disk forgets what was acknowledged since a copy of it
/// was made, as a disk would that never wrote it.
#[test]
fn a_server_that_forgets_is_caught() {
    let mut crashes = Crashes::start(seed());
    let length = Duration::from_millis(LOAD_MS_MAX);
    crashes.load(length, End::Kill);
    crashes.runtime.block_on(crashes.server.restart()).unwrap();
    crashes
        .runtime
        .block_on(check(&crashes.server, &crashes.model))
        .unwrap();
    crashes.runtime.block_on(crashes.server.stop()).unwrap();
    let earlier = crashes.server.copy_home().unwrap();

    crashes.runtime.block_on(crashes.server.restart()).unwrap();
    crashes.model.with(|model| model.round = 1);
    // Until something that can be forgotten was acknowledged.
    let before = crashes.model.with(|model| model.acknowledged.transfers);
    while crashes.model.with(|model| model.acknowledged.transfers) == before {
        crashes.load(length, End::Clients);
    }
    crashes.server.kill().unwrap();
    // The placement driver has forgotten too, and would be caught first.
    crashes
        .model
        .with(|model| model.timestamps = Timestamps::default());
    let forgetful = crashes
        .runtime
        .block_on(TikvServer::builder().start_in(earlier))
        .unwrap();
    let error = crashes
        .runtime
        .block_on(check(&forgetful, &crashes.model))
        .unwrap_err();
    let told = format!("{error:?}");
    assert!(told.contains("acknowledged"), "{told}");
}

/// The client type is named here once, so that the load needs no other.
type Client = TransactionClient;
