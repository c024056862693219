//! `cargo xtask fuzz`: looks for input that breaks a decoder, with cargo-fuzz and libFuzzer, on the stable compiler.
//!
//! What is found grows in the target directory; `--keep` adds to the committed corpus what reaches code that nothing
//! in it reaches. CI only replays the corpus, which needs neither.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use clap::Args;

use crate::process::{ask, run};
use crate::setup::Machine;

/// The version that is installed where there is none.
const CARGO_FUZZ: &str = "0.13.2";
/// The corpus, below the root: a folder for each target.
const CORPUS: &str = "crates/fuzz/corpus";

/// What to look at, and for how long.
#[derive(Args)]
pub(crate) struct Hunt {
    /// A folder of crates/fuzz/corpus.
    target: String,
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Add to the corpus what reaches new code.
    #[arg(long)]
    keep: bool,
}

/// Builds the target and runs it.
pub(crate) fn fuzz(machine: &Machine, hunt: &Hunt) -> anyhow::Result<()> {
    let corpus = Path::new(CORPUS).join(&hunt.target);
    let root = machine.repo().root();
    if !root.join(&corpus).is_dir() {
        let mut names = Vec::new();
        for entry in fs::read_dir(root.join(CORPUS)).with_context(|| format!("list {CORPUS}"))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        bail!(
            "no target `{}`; there are {}",
            hunt.target,
            names.join(", ")
        );
    }
    let tools = machine.target_directory().join("tools");
    install(machine, &tools)?;
    let found = machine
        .target_directory()
        .join("fuzz-corpus")
        .join(&hunt.target);
    fs::create_dir_all(&found).with_context(|| format!("create {}", found.display()))?;

    let with_arguments = |directories: [&Path; 2], arguments: &[String]| -> anyhow::Result<()> {
        let mut command = machine.cargo();
        command.env("PATH", path_with(&tools.join("bin"))?);
        // The sanitizers need nightly; what they find is undefined behaviour, and our code has hardly any that is
        // unsafe. Without optimisation the build takes a third of the time and a hunt is still limited by what it runs.
        command.args([
            "fuzz",
            "run",
            "--sanitizer",
            "none",
            "--dev",
            "--features",
            "libfuzzer",
        ]);
        command.args(["--fuzz-dir", "crates/fuzz", "--target-dir"]);
        command.arg(machine.target_directory().join("fuzz"));
        command
            .arg(&hunt.target)
            .args(directories)
            .arg("--")
            .args(arguments);
        run(&mut command)
    };
    let time = format!("-max_total_time={}", hunt.seconds);
    with_arguments([&found, &corpus], &[time, "-timeout=10".to_owned()])?;
    if hunt.keep {
        with_arguments([&corpus, &found], &["-merge=1".to_owned()])?;
    }
    Ok(())
}

fn install(machine: &Machine, tools: &Path) -> anyhow::Result<()> {
    let ours = tools.join("bin/cargo-fuzz");
    if [ours.as_path(), Path::new("cargo-fuzz")]
        .iter()
        .any(|program| ask(Command::new(program).arg("--version")).is_some())
    {
        return Ok(());
    }
    println!("fuzz: compiling cargo-fuzz, once");
    let mut command = machine.cargo();
    command
        .args(["install", "--quiet", "--locked", "--root"])
        .arg(tools);
    command.arg("--target-dir").arg(tools.join("build"));
    command.args(["--version", CARGO_FUZZ, "cargo-fuzz"]);
    run(&mut command)
        .context("cargo-fuzz cannot be installed; `cargo install cargo-fuzz` brings it")
}

/// The search path of this process, with `first` before it.
fn path_with(first: &Path) -> anyhow::Result<std::ffi::OsString> {
    let before = env::var_os("PATH").unwrap_or_default();
    let all = [first.to_owned()]
        .into_iter()
        .chain(env::split_paths(&before));
    env::join_paths(all).context("the target directory has a colon in its path")
}
