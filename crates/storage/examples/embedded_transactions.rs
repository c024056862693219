//! Transactions inside a program: `storage` over a local engine, without a server, a placement driver
//! or a network. Four tellers move money between accounts at once; whatever they do, every reader
//! sees the same sum.
//!
//! `cargo run -p storage --example embedded_transactions`

#![allow(clippy::print_stdout, reason = "a program that talks to people")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail, ensure};
use api_version::ApiV1;
use concurrency_manager::ConcurrencyManager;
use engine_rocks::RocksEngine;
use futures::executor::block_on;
use kv::{LocalEngine, LocalRegion};
use kvproto::kvrpcpb;
use kvproto::kvrpcpb::{CommitRequest, Mutation, Op, PrewriteRequest};
use lock_manager::NoDetector;
use runtime::Runtime;
use storage::{Commit, Config, Error, Prewrite, ScanOptions, Storage};
use tracker::TrackerHandle;
use txn_types::{Key, TimeStamp};

const ACCOUNTS: u64 = 8;
const START: u64 = 100;
const TELLERS: u64 = 4;
const TRANSFERS: u64 = 50;

/// A store in this process. Clones share it.
#[derive(Clone)]
struct Bank {
    storage: Storage<LocalEngine<RocksEngine>, NoDetector, ApiV1>,
    context: kvrpcpb::Context,
    clock: Arc<AtomicU64>,
    runtime: Runtime,
}

fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let runtime = Runtime::system("bank", 2)?;
    let bank = Bank::open(&directory.path().join("db"), &runtime)?;
    let engine = bank.storage.engine().clone();

    block_on(bank.transact(|_| Ok((0..ACCOUNTS).map(|account| (account, START)).collect())))?;
    let tellers: Vec<_> = (0..TELLERS)
        .map(|teller| runtime.spawner.spawn(bank.clone().teller(teller)))
        .collect();
    let (mut done, mut conflicts) = (0, 0);
    for teller in tellers {
        // Readers run beside the writers and block nobody.
        ensure!(block_on(bank.sum())? == ACCOUNTS * START);
        let (transfers, retries) = block_on(teller).context("a teller stopped")??;
        done += transfers;
        conflicts += retries;
    }
    let sum = block_on(bank.sum())?;
    ensure!(done == TELLERS * TRANSFERS, "{done} transfers");
    ensure!(sum == ACCOUNTS * START, "the accounts hold {sum}");
    println!("{done} transfers, {conflicts} of them tried again after a conflict; sum {sum}");

    block_on(engine.close());
    runtime.shutdown();
    Ok(())
}

impl Bank {
    fn open(path: &std::path::Path, runtime: &Runtime) -> anyhow::Result<Bank> {
        let engine = RocksEngine::open(path, &engine_rocks::Config::default())?;
        // A disk that fails leaves nothing to say that would be true.
        let on_fatal = Arc::new(|reason: &str| {
            println!("the engine failed: {reason}");
            std::process::abort();
        });
        let local = LocalEngine::new(engine, region(), runtime, kv::Config::default(), on_fatal);
        let context = local.region().context();
        let pool = |name: &str| yatp::Builder::new(name).threads(2).build(runtime);
        let storage = Storage::new(
            local,
            NoDetector,
            ConcurrencyManager::new(TimeStamp::zero()),
            runtime,
            pool("reads")?,
            pool("commands")?,
            &Config::default(),
        );
        Ok(Bank {
            storage,
            context,
            clock: Arc::new(AtomicU64::new(1)),
            runtime: runtime.clone(),
        })
    }

    /// One process needs no oracle: a counter orders its transactions.
    fn ts(&self) -> TimeStamp {
        TimeStamp::new(self.clock.fetch_add(1, Ordering::Relaxed))
    }

    /// Moves money until all transfers are done; how many, and how often it had to try again.
    async fn teller(self, teller: u64) -> anyhow::Result<(u64, u64)> {
        let mut retries = 0;
        for transfer in 0..TRANSFERS {
            let (from, to) = (
                self.runtime.rng.u64() % ACCOUNTS,
                (teller + transfer) % ACCOUNTS,
            );
            let amount = transfer % 7;
            loop {
                let moved = self
                    .transact(|balance| {
                        let (mine, theirs) = (balance(from)?, balance(to)?);
                        let amount = amount.min(mine);
                        if from == to {
                            return Ok(vec![(from, mine)]);
                        }
                        Ok(vec![(from, mine - amount), (to, theirs + amount)])
                    })
                    .await;
                match moved {
                    Ok(()) => break,
                    Err(error) if is_conflict(&error) => retries += 1,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok((TRANSFERS, retries))
    }

    /// Reads at one timestamp what `decide` asks for, and writes its decision in two phases.
    async fn transact(
        &self,
        decide: impl FnOnce(&dyn Fn(u64) -> anyhow::Result<u64>) -> anyhow::Result<Vec<(u64, u64)>>,
    ) -> anyhow::Result<()> {
        let start = self.ts();
        let balances = self.balances(start).await?;
        let balance = |account: u64| {
            let found = balances.iter().find(|(known, _)| *known == account);
            found
                .map(|(_, balance)| *balance)
                .context("no such account")
        };
        let changes = decide(&balance)?;
        let keys: Vec<Vec<u8>> = changes.iter().map(|(account, _)| name(*account)).collect();
        let primary = keys.first().context("a transaction without changes")?;

        let mut prewrite = PrewriteRequest::default();
        prewrite.set_context(self.context.clone());
        prewrite.set_start_version(start.into_inner());
        prewrite.set_primary_lock(primary.clone());
        prewrite.set_lock_ttl(3000);
        for (account, balance) in changes {
            let mut mutation = Mutation::default();
            mutation.set_op(Op::Put);
            mutation.set_key(name(account));
            mutation.set_value(balance.to_string().into_bytes());
            prewrite.mut_mutations().push(mutation);
        }
        let prewritten = self.run(Prewrite::try_from(prewrite)?).await?;
        if let Some(lock) = prewritten.locks.first() {
            // Nothing was written: whoever holds the lock goes first.
            bail!(Busy(lock.get_lock_version()));
        }

        let mut commit = CommitRequest::default();
        commit.set_context(self.context.clone());
        commit.set_start_version(start.into_inner());
        commit.set_commit_version(self.ts().into_inner());
        commit.set_keys(keys.into());
        self.run(Commit::try_from(commit)?).await?;
        Ok(())
    }

    async fn run<C: storage::TxnCommand>(&self, command: C) -> storage::Result<C::Output> {
        self.storage
            .sched_txn_command(command, TrackerHandle::default())
            .await
    }

    /// All accounts at a timestamp. A lock below it is waited for: its owner is in this process.
    async fn balances(&self, at: TimeStamp) -> anyhow::Result<Vec<(u64, u64)>> {
        loop {
            let options = ScanOptions {
                limit: 1000,
                ..ScanOptions::default()
            };
            let (start, end) = (Key::from_raw(b"account/"), Key::from_raw(b"account0"));
            let scan = self.storage.scan(
                self.context.clone(),
                start,
                Some(end),
                options,
                at,
                TrackerHandle::default(),
            );
            let pairs: storage::Result<Vec<_>> = scan.await?.into_iter().collect();
            match pairs {
                Ok(pairs) => {
                    return pairs
                        .into_iter()
                        .map(|(key, entry)| Ok((account(&key)?, number(&entry.value)?)))
                        .collect();
                }
                Err(Error::Mvcc(error)) if error.is_key_locked() => {
                    let moment = std::time::Duration::from_millis(1);
                    self.runtime.timer.sleep(moment).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn sum(&self) -> anyhow::Result<u64> {
        let balances = self.balances(self.ts()).await?;
        ensure!(balances.len() as u64 == ACCOUNTS, "{balances:?}");
        Ok(balances.iter().map(|(_, balance)| balance).sum())
    }
}

/// The lock of another transaction is in the way.
#[derive(Debug, thiserror::Error)]
#[error("the transaction of {0} holds a lock")]
struct Busy(u64);

/// Whether trying again may help.
fn is_conflict(error: &anyhow::Error) -> bool {
    let conflicts = matches!(
        error.downcast_ref::<Error>(),
        Some(Error::Mvcc(mvcc::Error::WriteConflict { .. }))
    );
    conflicts || error.is::<Busy>()
}

fn name(account: u64) -> Vec<u8> {
    format!("account/{account}").into_bytes()
}

fn account(key: &[u8]) -> anyhow::Result<u64> {
    number(key.strip_prefix(b"account/").context("no account")?)
}

fn number(text: &[u8]) -> anyhow::Result<u64> {
    Ok(std::str::from_utf8(text)?.parse()?)
}

/// The whole key space on one store.
fn region() -> LocalRegion {
    LocalRegion::all_keys(2, 1, 3)
}
