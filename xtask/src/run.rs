//! `cargo xtask run`: the server on this machine.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context;

use crate::setup::Machine;
use crate::{codegen, process};

/// How the server is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// Builds the server and becomes it, so that signals and the exit status are the server's own.
pub(crate) fn run(machine: &Machine, profile: Profile, flags: &[String]) -> anyhow::Result<()> {
    let mut build = machine.cargo();
    let folder = match profile {
        Profile::Dev => {
            // Built as the tests build it, so that neither compiles what the other has: cargo unites
            // the features of all packages named, those of test dependencies only if a test or an
            // example is among the targets. Hence the whole workspace and one example.
            let (examples, _) = codegen::DOCUMENTS[0];
            build.args([
                "build",
                "--workspace",
                "--bin",
                "tikv-server",
                "--example",
                examples[0],
            ]);
            "debug"
        }
        Profile::Release => {
            build.args(["build", "--release", "--package", "tikv-server"]);
            "release"
        }
    };
    process::run(&mut build)?;

    let target = machine.target_directory();
    let mut server = Command::new(target.join(folder).join("tikv-server"));
    if !names_data_dir(flags) {
        let data = target.join("run-data");
        println!(
            "data directory: {} (choose with `-- --data-dir PATH`)",
            data.display()
        );
        server.arg("--data-dir").arg(data);
    }
    server.args(flags);
    println!("$ {}", process::show(&server));
    Err(server.exec()).context("cannot start the server")
}

/// Whether the user decides where the data go: by flag, or by a file that may say it.
fn names_data_dir(flags: &[String]) -> bool {
    flags.iter().any(|flag| {
        let name = flag.split('=').next().unwrap_or(flag);
        matches!(
            name,
            "--data-dir" | "-s" | "--config" | "-C" | "--help" | "-h" | "--version" | "-V"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_directory_is_respected() {
        let flags = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(names_data_dir(&flags("--addr 127.0.0.1:1 --data-dir=/x")));
        assert!(names_data_dir(&flags("-C my.toml")));
        assert!(!names_data_dir(&flags("--addr 127.0.0.1:20160")));
    }
}
