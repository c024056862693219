//! `tikv-ctl`: parses the words, does one thing, prints the answer.
//!
//! Answers go to standard output, mistakes to standard error with exit code 1; words that are not
//! understood end with 2, as clap does it.
#![doc = include_str!("../README.md")]

mod answer;
mod cluster;
mod data;
mod decimal;
mod escape;
mod explain;
mod flags;
mod key;
mod lock_view;
mod locks;
mod placement;
mod raw_scan;
mod shell;
mod status;
mod tidb_key;
mod timestamp;
mod versions;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{CommandFactory as _, Parser as _};

use crate::answer::Answer;
use crate::cluster::Cluster;
use crate::data::Data;
use crate::explain::{Explanation, Findings};
use crate::flags::{Command, ConfigOp, Flags, Style, Target};
use crate::key::KeyReport;
use crate::lock_view::{LockView, LocksReport};
use crate::locks::LockSearch;
use crate::placement::{RegionReport, StoreReport, StoresReport};
use crate::status::Status;
use crate::versions::VersionsReport;

fn main() -> ExitCode {
    match run(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is gone.
            let _ = writeln!(std::io::stderr(), "tikv-ctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A line on standard output. A reader that has gone away, as `head` does, ends the program quietly.
pub(crate) fn print(text: &str) {
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}

fn run(flags: Flags) -> anyhow::Result<()> {
    let Flags {
        target,
        style,
        command,
    } = flags;
    if let Command::Completions { shell } = command {
        clap_complete::generate(
            shell,
            &mut Flags::command(),
            "tikv-ctl",
            &mut std::io::stdout(),
        );
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start a thread")?;
    runtime.block_on(async {
        if matches!(command, Command::Shell) {
            let mut data = Data::new(target, style.form());
            return shell::run(&mut data, style).await;
        }
        let answer = answer(command, target, style).await?;
        print(&answer.show(style.json));
        Ok(())
    })
}

async fn answer(command: Command, target: Target, style: Style) -> anyhow::Result<Answer> {
    let bytes =
        |text: &str| key::parse(text, style.form()).map_err(|error| anyhow!("{text}: {error}"));
    match command {
        Command::Raw(op) => Data::new(target, style.form()).run_raw(op).await,
        Command::Txn(op) => Data::new(target, style.form()).run_txn(op).await,
        Command::Mvcc { key } => {
            let key = bytes(&key)?;
            let cluster = Cluster::connect(&target).await?;
            let info = cluster.versions(&key).await?;
            // What is stored tells only a part of a lock.
            let now = cluster.now().await?;
            let lock = cluster.lock(&key, now).await?;
            let lock = lock.map(|lock| LockView::new(&lock, now));
            Ok(Answer::of(&VersionsReport::new(&key, &info, lock))?)
        }
        Command::Locks(args) => {
            let cluster = Cluster::connect(&target).await?;
            let now = cluster.now().await?;
            let search = LockSearch::new(&args, style.form(), now)?;
            let locks = search.run(&cluster).await?;
            let views = locks.iter().map(|lock| LockView::new(lock, now));
            Ok(Answer::of(&LocksReport(views.collect()))?)
        }
        Command::ExplainKey { key } => {
            let key = bytes(&key)?;
            let findings = findings(&Cluster::connect(&target).await?, key).await?;
            Ok(Answer::of(&Explanation::new(&findings))?)
        }
        Command::Store { id } => {
            let cluster = Cluster::connect(&target).await?;
            let ids = match id {
                Some(id) => vec![id],
                None => {
                    let stores = cluster.stores().await?;
                    stores.iter().map(|store| store.get_id()).collect()
                }
            };
            let mut reports = Vec::new();
            for id in ids {
                let (store, stats) = cluster.store(id).await?;
                reports.push(StoreReport::new(&store, &stats));
            }
            Ok(Answer::of(&StoresReport(reports))?)
        }
        Command::Region { key, raw } => {
            let mut key = bytes(&key)?;
            if !raw {
                key = txn_types::Key::from_raw(&key).into_encoded();
            }
            let region = Cluster::connect(&target).await?.region_of(&key).await?;
            Ok(Answer::of(&RegionReport::new(&region))?)
        }
        Command::Config(ConfigOp::Show { pattern }) => status(&target).await?.config(&pattern),
        Command::Config(ConfigOp::Set { changes }) => status(&target).await?.change(changes),
        Command::Metrics { pattern } => status(&target).await?.metrics(&pattern),
        Command::Key { key } => Ok(Answer::of(&KeyReport::of(&bytes(&key)?))?),
        Command::Shell | Command::Completions { .. } => {
            Err(anyhow!("a command that prints by itself"))
        }
    }
}

/// Everything that tells why a key is blocked. Reads only.
async fn findings(cluster: &Cluster, key: Vec<u8>) -> anyhow::Result<Findings> {
    let now = cluster.now().await?;
    let lock = cluster.lock(&key, now).await?;
    let primary = match &lock {
        Some(lock) => {
            // The lock first: what ends between the two is found in the records.
            let primary = lock.get_primary_lock();
            let its_lock = cluster.lock(primary, now).await?;
            Some((its_lock, cluster.versions(primary).await?))
        }
        None => None,
    };
    Ok(Findings {
        info: cluster.versions(&key).await?,
        waits: cluster.lock_waits(&key).await?,
        key,
        now,
        lock,
        primary,
    })
}

/// The status server to ask. The requests block: they are the only thing that this program does.
async fn status(target: &Target) -> anyhow::Result<Status> {
    let addr = match &target.status_addr {
        Some(addr) => addr.clone(),
        None => {
            Cluster::connect(target)
                .await?
                .only_status_address()
                .await?
        }
    };
    Status::new(target, &addr)
}
