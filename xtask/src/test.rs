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
        // The servers were built a moment ago; the tests that start them need not look again.
        command.env(
            "TIKV_TEST_BINARIES",
            machine.target_directory().join("debug"),
        );
    }
    process::run(&mut command)
}

/// Everything, in one cargo command: cargo unites the features of what it builds together, so a
/// second command with another selection would compile shared dependencies a second time.
pub(crate) fn build(machine: &Machine) -> anyhow::Result<()> {
    let mut command = machine.cargo();
    command.args([
        "build",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "--examples",
    ]);
    process::run(&mut command)
}

fn select(command: &mut Command, selection: &Selection) {
    if selection.packages.is_empty() {
        command.arg("--workspace");
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
        assert_eq!(shown(None, &[]), "cargo --workspace");
        assert_eq!(
            shown(Some("latch"), &["storage"]),
            "cargo --package storage latch"
        );
    }
}
