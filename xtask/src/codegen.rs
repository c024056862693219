//! `cargo xtask codegen`: documents that are printed by the code they describe.
//!
//! Each is the standard output of cargo examples, one after the other, so that what a table says is
//! what the program uses. A document is added by adding a line to `DOCUMENTS`.

use std::fs;

use anyhow::{Context, bail};

use crate::process;
use crate::setup::Machine;

/// Examples and the document they print.
pub(crate) const DOCUMENTS: &[(&[&str], &str)] = &[
    (&["rpc_coverage", "pd_rpc_coverage"], "docs/rpc-coverage.md"),
    (&["config_reference"], "docs/config.md"),
    (&["metrics_reference"], "docs/metrics.md"),
];

/// Whether the documents are written or compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Check,
}

/// Writes every document, or fails naming those that are not what the code prints.
pub(crate) fn codegen(machine: &Machine, mode: Mode) -> anyhow::Result<()> {
    // With `--workspace` the features are those of the test build, which is then shared.
    let mut build = machine.cargo();
    build.args(["build", "--workspace"]);
    for example in DOCUMENTS.iter().flat_map(|(examples, _)| *examples) {
        build.args(["--example", example]);
    }
    process::run(&mut build)?;

    let mut stale = Vec::new();
    for (examples, document) in DOCUMENTS {
        let directory = machine.target_directory().join("debug/examples");
        let mut printed = Vec::new();
        for example in *examples {
            let program = directory.join(example);
            printed.extend(process::read(&mut std::process::Command::new(program))?);
        }
        let path = machine.repo().root().join(document);
        if fs::read(&path).is_ok_and(|now| now == printed) {
            println!("codegen: {document} is up to date");
            continue;
        }
        match mode {
            Mode::Write => {
                println!("codegen: writing {document}");
                fs::write(&path, printed)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            Mode::Check => stale.push(*document),
        }
    }
    if !stale.is_empty() {
        bail!(
            "{} not as the code says: run `cargo xtask codegen`",
            stale.join(", ")
        );
    }
    Ok(())
}
