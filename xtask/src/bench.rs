//! `cargo xtask bench`: builds the server and the load generator with optimisation, brings what they
//! are compared with to the machine, and measures.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use clap::Args;

use crate::process::{ask, run};
use crate::setup::{self, Machine};

/// What to measure, and how long.
#[derive(Args)]
pub(crate) struct Plan {
    /// Only this scenario; can be given several times. `--list` prints their names.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Less than five minutes instead of less than twenty; the figures are rougher.
    #[arg(long)]
    quick: bool,
    /// Print the scenarios and measure nothing.
    #[arg(long)]
    list: bool,
    /// Write the report to docs/bench, to be committed, instead of target/bench.
    #[arg(long)]
    save: bool,
    /// Write the report in docs/bench again, with the notes there as they are now, and measure nothing.
    #[arg(long)]
    renew: bool,
}

/// A program of others, and Debian's package that has it.
const OTHERS: [(&str, &str); 2] = [("etcd", "etcd-server"), ("redis-server", "redis-server")];

/// Builds and measures.
pub(crate) fn bench(machine: &Machine, plan: &Plan) -> anyhow::Result<()> {
    if !plan.list && !plan.renew {
        install_others();
    }
    let mut build = machine.cargo();
    build.args(["build", "--release"]);
    build.args(["--package", "tikv-server", "--package", "bench"]);
    run(&mut build)?;

    let target = machine.target_directory();
    let mut measure = Command::new(target.join("release/bench"));
    measure.current_dir(machine.repo().root());
    // Servers keep their data below the target directory, which is on a disk; /tmp may not be.
    let data = target.join("bench-data");
    fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
    measure.env("TMPDIR", &data);
    measure.env("TIKV_TEST_BINARIES", target.join("release"));
    measure.args(arguments(plan));
    let out = match plan.save || plan.renew {
        true => PathBuf::from("docs/bench"),
        false => target.join("bench"),
    };
    measure.arg("--out").arg(out);
    for (flag, name) in [("--etcd", "etcd"), ("--redis", "redis-server")] {
        if let Some(path) = find(name) {
            measure.args([flag, &path]);
        }
    }
    if let Some(date) = ask(Command::new("date").arg("+%F")) {
        measure.args(["--date", &date]);
    }
    let describe = ["describe", "--always", "--dirty", "--abbrev=12"];
    if let Some(commit) = ask(machine.repo().git().args(describe)) {
        measure.args(["--commit", &commit]);
    }
    run(&mut measure)
}

fn arguments(plan: &Plan) -> Vec<String> {
    let mut arguments = Vec::new();
    if plan.list {
        arguments.push("--list".to_owned());
    }
    if plan.renew {
        arguments.push("--renew".to_owned());
    }
    if plan.quick {
        arguments.extend(["--mode".to_owned(), "quick".to_owned()]);
    }
    for name in &plan.only {
        arguments.extend(["--only".to_owned(), name.clone()]);
    }
    arguments
}

/// Installs what is compared with. Where that cannot be done those lines are not measured, which is
/// no reason to measure nothing.
fn install_others() {
    let missing: Vec<&str> = OTHERS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return;
    }
    println!(
        "bench: to compare with, this machine lacks {}",
        missing.join(", ")
    );
    if let Err(error) = setup::install_packages(&missing) {
        println!("bench: what needs them will not be measured: {error:#}");
    }
}

fn find(program: &str) -> Option<String> {
    ask(Command::new("sh").args(["-c", "command -v \"$0\"", program]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_passed_on() {
        let plan = Plan {
            only: vec!["kv-get".to_owned(), "txn".to_owned()],
            quick: true,
            list: false,
            save: false,
            renew: false,
        };
        assert_eq!(
            arguments(&plan).join(" "),
            "--mode quick --only kv-get --only txn"
        );
    }
}
