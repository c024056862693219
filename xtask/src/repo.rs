//! The repository: its root, and cargo started inside it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// The working tree that this program was built from.
#[derive(Clone)]
pub(crate) struct Repo {
    root: PathBuf,
}

impl Repo {
    /// Finds the tree. Cargo names this crate's folder when it starts us, which keeps being right
    /// when clones share a target directory; the folder at compile time serves a direct start.
    pub(crate) fn find() -> anyhow::Result<Repo> {
        let own = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = own
            .parent()
            .context("xtask stands in a workspace")?
            .to_owned();
        Ok(Repo { root })
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo, to be run at the root.
    pub(crate) fn cargo(&self) -> Command {
        let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// Git, to be run at the root.
    pub(crate) fn git(&self) -> Command {
        let mut command = Command::new("git");
        command.current_dir(&self.root);
        command
    }
}
