//! `cargo xtask ci`: what `.ci/run` runs. It writes nothing that git tracks.
//!
//! The order is by cost: what fails in a second comes first. `codegen --check` stands after the
//! build that the tests need anyway, and the tests come last, so that their summary ends the output.

use anyhow::ensure;

use crate::repo::Repo;
use crate::{codegen, lint, process, setup, test, tidy};

/// Runs every check.
pub(crate) fn ci(repo: &Repo) -> anyhow::Result<()> {
    let before = state(repo)?;
    let machine = setup::setup(repo)?;
    step("tidy");
    tidy::tidy(repo)?;
    step("lint");
    lint::lint(&machine, lint::Deny::Install)?;
    step("codegen --check");
    test::build(&machine)?;
    codegen::codegen(&machine, codegen::Mode::Check)?;
    step("test");
    test::test(&machine, &test::Selection::default())?;
    ensure!(
        state(repo)? == before,
        "the checks themselves changed the tree: see `git status`"
    );
    Ok(())
}

/// What git sees of the working tree.
fn state(repo: &Repo) -> anyhow::Result<Vec<u8>> {
    process::read(repo.git().args(["status", "--porcelain"]))
}

fn step(name: &str) {
    println!("== cargo xtask {name}");
}
