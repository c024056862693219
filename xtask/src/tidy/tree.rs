//! The text of the repository's files, by path from its root.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;

use crate::process;
use crate::repo::Repo;

/// Files that git tracks or would track. What is not UTF-8 is present with empty text.
#[derive(Default)]
pub(super) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    pub(super) fn read(repo: &Repo) -> anyhow::Result<Tree> {
        let listing = process::read(repo.git().args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        let listing = String::from_utf8(listing).context("a path is not UTF-8")?;
        let mut files = BTreeMap::new();
        for path in listing.split('\0').filter(|path| !path.is_empty()) {
            // Deleted but not yet committed: the file is not there any more.
            let Ok(bytes) = fs::read(repo.root().join(path)) else {
                continue;
            };
            files.insert(
                path.to_owned(),
                String::from_utf8(bytes).unwrap_or_default(),
            );
        }
        Ok(Tree { files })
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Paths and texts, in order of paths.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The Rust files.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| path.ends_with(".rs"))
    }

    pub(super) fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether there is such a file, or a folder with a file in it.
    pub(super) fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path)
            || self
                .files
                .range(folder.clone()..)
                .next()
                .is_some_and(|(first, _)| first.starts_with(&folder))
    }
}

#[cfg(test)]
impl Tree {
    /// A tree of these files.
    pub(super) fn of(files: &[(&str, &str)]) -> Tree {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect();
        Tree { files }
    }
}

/// Whether `path` holds code that only tests run.
pub(super) fn is_test_code(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || path
            .split('/')
            .any(|part| matches!(part, "tests" | "benches"))
        || path.starts_with("crates/integration_tests/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_exist_through_their_files() {
        let tree = Tree::of(&[("docs/adr/0001.md", ""), ("docs-old/x", "")]);
        assert!(tree.exists("docs") && tree.exists("docs/adr/") && tree.exists("docs/adr/0001.md"));
        assert!(!tree.exists("doc") && !tree.exists("docs/adr/0002.md"));
    }
}
