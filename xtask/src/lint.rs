//! `cargo xtask lint`: formatting, clippy, dependencies.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{ask, run};
use crate::setup::Machine;
use crate::test::WITH_FAIL_POINTS;

/// The version of cargo-deny that CI installs.
const CARGO_DENY: &str = "0.20.2";

/// What to do about a machine without cargo-deny.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deny {
    /// Go on without, and say so.
    IfInstalled,
    /// Compile it from crates.io, once, beside the target directory.
    Install,
}

/// Checks formatting, then clippy over every target, then the dependencies.
pub(crate) fn lint(machine: &Machine, deny: Deny) -> anyhow::Result<()> {
    run(machine.cargo().args(["fmt", "--all", "--check"]))?;
    run(machine
        .cargo()
        .args(["clippy", "--workspace", "--all-targets"])
        .args(WITH_FAIL_POINTS)
        .args(["--", "--deny", "warnings"]))?;
    let tools = machine.target_directory().join("tools");
    match (find_deny(&tools), deny) {
        (Some(program), _) => check_dependencies(machine, &program),
        (None, Deny::Install) => check_dependencies(machine, &install_deny(machine, &tools)?),
        (None, Deny::IfInstalled) => {
            println!(
                "lint: cargo-deny is not installed, so the DEPENDENCIES WERE NOT CHECKED; \
                 `cargo install --locked cargo-deny@{CARGO_DENY}` brings it"
            );
            Ok(())
        }
    }
}

/// Sources, licences and bans always; advisories only if their database can be had.
fn check_dependencies(machine: &Machine, program: &Path) -> anyhow::Result<()> {
    let deny = || {
        let mut command = Command::new(program);
        command.current_dir(machine.repo().root());
        command
    };
    run(deny().args(["--locked", "check", "bans", "licenses", "sources"]))?;
    // The database is a git repository on github.com. Where that cannot be reached the question
    // stays open, and that must be seen.
    let fetched = ask(deny().args(["fetch", "db"])).is_some();
    if fetched {
        return run(deny().args(["--locked", "check", "--disable-fetch", "advisories"]));
    }
    println!(
        "lint: the advisory database cannot be fetched from github.com, \
         so ADVISORIES WERE NOT CHECKED"
    );
    Ok(())
}

fn find_deny(tools: &Path) -> Option<PathBuf> {
    let ours = tools.join("bin/cargo-deny");
    [ours, PathBuf::from("cargo-deny")]
        .into_iter()
        .find(|program| ask(Command::new(program).arg("--version")).is_some())
}

/// A debug build: checking takes a second either way, and compiling a third of the time.
fn install_deny(machine: &Machine, tools: &Path) -> anyhow::Result<PathBuf> {
    println!("lint: compiling cargo-deny, once, to check the dependencies");
    let mut install = machine.cargo();
    install
        .args(["install", "--quiet", "--debug", "--locked", "--root"])
        .arg(tools)
        .arg("--target-dir")
        .arg(tools.join("build"))
        .args(["--version", CARGO_DENY, "cargo-deny"])
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    run(&mut install)?;
    Ok(tools.join("bin/cargo-deny"))
}
