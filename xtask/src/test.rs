//! `cargo xtask test` and `cargo xtask bless`.

use std::process::Command;

use clap::Args;

use crate::process;
use crate::setup::Machine;

/// Which tests to run; all of them if nothing is said.
#[derive(Args, Default)]
pub(crate) struct Selection {
    /// Only tests whose name contains this.
    filter: Option<String>,
    /// Only tests of these crates.
    #[arg(short, long = "package", value_name = "CRATE")]
    packages: Vec<String>,
}

/// Builds and runs the tests.
pub(crate) fn test(machine: &Machine, selection: &Selection) -> anyhow::Result<()> {
    run(machine, selection, &[])
}

/// The same with `BLESS=1`.
pub(crate) fn bless(machine: &Machine, selection: &Selection) -> anyhow::Result<()> {
    println!("bless: look at the difference before you commit it");
    run(machine, selection, &[("BLESS", "1")])
}

fn run(machine: &Machine, selection: &Selection, vars: &[(&str, &str)]) -> anyhow::Result<()> {
    if selection.packages.is_empty() {
        build(machine)?;
    }
    let mut command = machine.cargo();
    // Every failure in one run: on a slow machine the second run is what costs.
    command.args(["test", "--no-fail-fast"]);
    select(&mut command, selection);
    command.envs(vars.iter().copied());
    if selection.packages.is_empty() {
        command.args(["--", "--skip", FAIL_POINT_TESTS]);
        // The servers were built a moment ago; the tests that start them need not look again.
        command.env(
            "TIKV_TEST_BINARIES",
            machine.target_directory().join("debug"),
        );
    }
    process::run(&mut command)?;
    if selection.filter.is_none() && selection.packages.is_empty() {
        process::run(&mut fail_point_tests(machine.cargo()))?;
        for example in EXAMPLES {
            process::run(&mut built_example(machine, example))?;
        }
    }
    Ok(())
}

/// Programs that show how parts of the house are used alone; each checks itself and fails loudly.
const EXAMPLES: [&str; 3] = ["engine_alone", "embedded_transactions", "two_nodes"];

fn built_example(machine: &Machine, name: &str) -> Command {
    Command::new(machine.target_directory().join("debug/examples").join(name))
}

/// How everything is built: with the fail points that some tests switch on.
pub(crate) const WITH_FAIL_POINTS: [&str; 2] = [
    "--features",
    "bench/failpoints,kv/failpoints,storage/failpoints",
];

/// A fail point acts on every thread of a process, so these tests run without the others; they stand in modules
/// called like this.
const FAIL_POINT_TESTS: &str = "failpoints::";

/// Everything is selected here as well, though most of it has no such tests: see [`build`].
fn fail_point_tests(mut command: Command) -> Command {
    command.args(["test", "--no-fail-fast", "--test", "it"]);
    select(&mut command, &Selection::default());
    command.args(["--", FAIL_POINT_TESTS, "--test-threads", "1"]);
    command
}

/// Everything, in one cargo command: cargo unites the features of what it builds together, so a
/// second command with another selection would compile shared dependencies a second time. (That of the fail points
/// did: RocksDB, because of a feature of a crate that its build script uses.)
pub(crate) fn build(machine: &Machine) -> anyhow::Result<()> {
    let mut command = machine.cargo();
    command.args(["build", "--lib", "--bins", "--tests", "--examples"]);
    select(&mut command, &Selection::default());
    process::run(&mut command)
}

fn select(command: &mut Command, selection: &Selection) {
    if selection.packages.is_empty() {
        command.arg("--workspace").args(WITH_FAIL_POINTS);
    }
    for package in &selection.packages {
        command.args(["--package", package]);
    }
    command.args(&selection.filter);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(filter: Option<&str>, packages: &[&str]) -> String {
        let selection = Selection {
            filter: filter.map(str::to_owned),
            packages: packages.iter().map(|name| (*name).to_owned()).collect(),
        };
        let mut command = Command::new("cargo");
        select(&mut command, &selection);
        process::show(&command)
    }

    #[test]
    fn nothing_said_means_everything() {
        assert_eq!(
            shown(None, &[]),
            "cargo --workspace --features bench/failpoints,kv/failpoints,storage/failpoints"
        );
        assert_eq!(
            shown(Some("latch"), &["storage"]),
            "cargo --package storage latch"
        );
    }

    #[test]
    fn fail_points_run_alone() {
        assert_eq!(
            process::show(&fail_point_tests(Command::new("cargo"))),
            "cargo test --no-fail-fast --test it --workspace \
             --features bench/failpoints,kv/failpoints,storage/failpoints -- failpoints:: --test-threads 1"
        );
    }
}
