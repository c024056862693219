//! `.cargo/native.toml`: the decision of `setup` in a form that every later cargo command reads.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use super::plan::Grpc;
use super::probe::Found;
use crate::repo::Repo;

/// A repository on a machine that is set up: starts cargo with the environment just decided.
///
/// Cargo gave this process the variables of the *previous* `native.toml`, and a child's inherited
/// variables win over a file. So the children get the new ones explicitly.
pub(crate) struct Machine {
    repo: Repo,
    /// `None` takes a variable away that only the previous file had set.
    changes: BTreeMap<String, Option<String>>,
}

impl Machine {
    pub(crate) fn repo(&self) -> &Repo {
        &self.repo
    }

    /// Cargo, to be run at the root, in the environment that was decided.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = self.repo.cargo();
        for (name, value) in &self.changes {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// The directory that cargo builds into.
    pub(crate) fn target_directory(&self) -> PathBuf {
        let own = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        self.repo.root().join(own)
    }
}

type Environment = BTreeMap<String, String>;

/// Writes the file if it is not already so, and returns the machine.
pub(super) fn write(repo: &Repo, grpc: Grpc, found: &Found) -> anyhow::Result<Machine> {
    let path = repo.root().join(".cargo/native.toml");
    let before = fs::read_to_string(&path)
        .map(|text| parse(&text))
        .unwrap_or_default();
    let wanted = decide(grpc, found.ccache, &host()?);
    if before != wanted {
        println!("setup: writing {}", path.display());
        fs::write(&path, render(&wanted))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let changes = changes(&before, &wanted, |name| env::var(name).ok());
    Ok(Machine {
        repo: repo.clone(),
        changes,
    })
}

/// The variables that the build scripts of the native libraries read.
fn decide(grpc: Grpc, ccache: bool, host: &str) -> Environment {
    let mut environment = Environment::new();
    let mut set = |name: &str, value: &str| {
        environment.insert(name.to_owned(), value.to_owned());
    };
    match grpc {
        Grpc::Linked => {
            set("GRPCIO_SYS_USE_PKG_CONFIG", "1");
            if ccache {
                set("CC", "ccache cc");
                set("CXX", "ccache c++");
            }
        }
        Grpc::FromSource if ccache => {
            // grpcio-sys hands CXX to cmake as the name of a program, so the wrapper must come in
            // by names that only the `cc` crate and cmake itself read.
            let target = host.replace('-', "_");
            set(&format!("CC_{target}"), "ccache cc");
            set(&format!("CXX_{target}"), "ccache c++");
            set("CMAKE_C_COMPILER_LAUNCHER", "ccache");
            set("CMAKE_CXX_COMPILER_LAUNCHER", "ccache");
        }
        Grpc::FromSource => {}
    }
    if ccache {
        // Hits across clones and target directories.
        set("CCACHE_BASEDIR", "/");
        set("CCACHE_NOHASHDIR", "1");
    }
    environment
}

/// What a child must be told: all that is wanted and not set otherwise by the user, and the end of
/// what the previous file had set.
fn changes(
    before: &Environment,
    wanted: &Environment,
    current: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, Option<String>> {
    let mut changes = BTreeMap::new();
    for (name, value) in wanted {
        let users_own = current(name).is_some_and(|now| before.get(name) != Some(&now));
        if !users_own {
            changes.insert(name.clone(), Some(value.clone()));
        }
    }
    for (name, value) in before {
        if !wanted.contains_key(name) && current(name).as_ref() == Some(value) {
            changes.insert(name.clone(), None);
        }
    }
    changes
}

fn parse(text: &str) -> Environment {
    let table = text.parse::<toml::Table>().unwrap_or_default();
    let values = table
        .get("env")
        .and_then(toml::Value::as_table)
        .cloned()
        .unwrap_or_default();
    values
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
        .collect()
}

fn render(environment: &Environment) -> String {
    let mut text = String::from("# Written by `cargo xtask setup` for this machine.\n[env]\n");
    for (name, value) in environment {
        text.push_str(&format!("{name} = {}\n", toml::Value::from(value.as_str())));
    }
    text
}

/// The triple that rustc compiles for by itself.
pub(crate) fn host() -> anyhow::Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let answer = crate::process::read(Command::new(rustc).arg("-vV"))?;
    String::from_utf8_lossy(&answer)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .context("rustc names no host")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let wanted = decide(Grpc::Linked, true, "x86_64-unknown-linux-gnu");
        assert_eq!(parse(&render(&wanted)), wanted);
        assert_eq!(wanted["CXX"], "ccache c++");
        assert_eq!(parse("not toml ["), Environment::new());
    }

    #[test]
    fn from_source_cmake_gets_a_plain_compiler() {
        let wanted = decide(Grpc::FromSource, true, "aarch64-unknown-linux-gnu");
        assert!(!wanted.contains_key("CXX") && !wanted.contains_key("GRPCIO_SYS_USE_PKG_CONFIG"));
        assert_eq!(wanted["CXX_aarch64_unknown_linux_gnu"], "ccache c++");
        assert!(decide(Grpc::FromSource, false, "any").is_empty());
    }

    #[test]
    fn children_see_the_new_file_and_not_the_old() {
        let before = environment(&[("A", "old"), ("GONE", "1"), ("MINE", "file")]);
        let wanted = environment(&[("A", "new"), ("B", "b"), ("MINE", "file")]);
        let current = |name: &str| match name {
            "A" => Some("old".to_owned()),
            "GONE" => Some("1".to_owned()),
            "MINE" => Some("the user's".to_owned()),
            _ => None,
        };
        let expected: BTreeMap<_, _> = [
            ("A".to_owned(), Some("new".to_owned())),
            ("B".to_owned(), Some("b".to_owned())),
            ("GONE".to_owned(), None),
        ]
        .into();
        assert_eq!(changes(&before, &wanted, current), expected);
    }
}
