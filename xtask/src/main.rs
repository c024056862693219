//! The subcommands and their flags. Each stands in its own module; this one must never do their work.
#![doc = include_str!("../README.md")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal: printing is its output"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod ci;
mod codegen;
mod fuzz;
mod lint;
mod process;
mod repo;
mod run;
mod setup;
mod test;
mod tidy;

use repo::Repo;

/// The commands of this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set the machine up, build the server and start it.
    Run {
        /// Build with optimisation (compiles every native library a second time).
        #[arg(long)]
        release: bool,
        /// Flags for the server, after `--`.
        #[arg(last = true)]
        flags: Vec<String>,
    },
    /// Set the machine up, build everything and run the tests.
    Test(test::Selection),
    /// Install what the machine lacks, or say how to, and write .cargo/native.toml.
    Setup,
    /// Check formatting, clippy's lints and the dependencies.
    Lint,
    /// Check floors, absences, sizes, headers and documents.
    Tidy,
    /// Write the documents that the code produces.
    Codegen {
        /// Write nothing; fail if a document is not what the code produces.
        #[arg(long)]
        check: bool,
    },
    /// Run the tests with BLESS=1: golden scripts take the output as it is now.
    Bless(test::Selection),
    /// Measure the server against its goals, with etcd, Redis and RocksDB beside it.
    Bench(bench::Plan),
    /// Look for input that breaks a decoder.
    Fuzz(fuzz::Hunt),
    /// What .ci/run runs: setup, tidy, lint, codegen --check, test.
    Ci,
}

fn main() -> ExitCode {
    match Repo::find().and_then(|repo| execute(&repo, Arguments::parse().command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(repo: &Repo, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run { release, flags } => {
            let profile = if release {
                run::Profile::Release
            } else {
                run::Profile::Dev
            };
            run::run(&setup::setup(repo)?, profile, &flags)
        }
        Command::Test(selection) => test::test(&setup::setup(repo)?, &selection),
        Command::Setup => setup::setup(repo).map(drop),
        Command::Lint => lint::lint(&setup::setup(repo)?, lint::Deny::IfInstalled),
        Command::Tidy => tidy::tidy(repo),
        Command::Codegen { check } => {
            let mode = if check {
                codegen::Mode::Check
            } else {
                codegen::Mode::Write
            };
            codegen::codegen(&setup::setup(repo)?, mode)
        }
        Command::Bless(selection) => test::bless(&setup::setup(repo)?, &selection),
        Command::Bench(plan) => bench::bench(&setup::setup(repo)?, &plan),
        Command::Fuzz(hunt) => fuzz::fuzz(&setup::setup(repo)?, &hunt),
        Command::Ci => ci::ci(repo),
    }
}
