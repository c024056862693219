//! The crates of the workspace and everything they resolve to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Context, bail};
use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::repo::Repo;
use crate::setup;

/// Where a crate stands. The order is that of the house: test code stands on top of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Floor {
    Level(u64),
    Test,
}

impl std::fmt::Display for Floor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Floor::Level(level) => write!(formatter, "{level}"),
            Floor::Test => formatter.write_str("test"),
        }
    }
}

/// What a dependency is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    Normal,
    Build,
    Dev,
}

/// A crate of the workspace.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Folder from the repository's root.
    pub(super) folder: String,
    /// `None` if the manifest says none.
    pub(super) floor: Option<Floor>,
}

/// Crates by name: two versions of one package count as one, which can only find more.
#[derive(Default)]
pub(super) struct Graph {
    members: BTreeMap<String, Member>,
    edges: BTreeMap<String, BTreeSet<(String, Purpose)>>,
}

impl Graph {
    /// Asks cargo, for this host's platform.
    pub(super) fn read(repo: &Repo) -> anyhow::Result<Graph> {
        let mut command = MetadataCommand::new();
        if let Some(cargo) = std::env::var_os("CARGO") {
            command.cargo_path(cargo);
        }
        let metadata = command
            .current_dir(repo.root())
            .other_options(vec!["--filter-platform".to_owned(), setup::host()?])
            .exec()?;
        let mut graph = Graph::default();
        let names: BTreeMap<_, _> = metadata
            .packages
            .iter()
            .map(|package| (&package.id, package.name.as_str()))
            .collect();
        for package in metadata.workspace_packages() {
            let folder = package
                .manifest_path
                .parent()
                .and_then(|folder| folder.strip_prefix(&metadata.workspace_root).ok())
                .context("a member outside the workspace")?
                .to_string();
            let floor = match package.metadata.pointer("/floor/level") {
                None => None,
                Some(level) if level == "test" => Some(Floor::Test),
                Some(level) => match level.as_u64() {
                    Some(level) => Some(Floor::Level(level)),
                    None => bail!(
                        "{}: floor.level is neither a number nor \"test\"",
                        package.name
                    ),
                },
            };
            graph
                .members
                .insert(package.name.to_string(), Member { folder, floor });
        }
        for node in &metadata.resolve.context("cargo resolved nothing")?.nodes {
            for dependency in &node.deps {
                for kind in &dependency.dep_kinds {
                    let purpose = match kind.kind {
                        DependencyKind::Development => Purpose::Dev,
                        DependencyKind::Build => Purpose::Build,
                        _ => Purpose::Normal,
                    };
                    graph.add(names[&node.id], names[&dependency.pkg], purpose);
                }
            }
        }
        Ok(graph)
    }

    fn add(&mut self, from: &str, to: &str, purpose: Purpose) {
        self.edges
            .entry(from.to_owned())
            .or_default()
            .insert((to.to_owned(), purpose));
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.members
            .iter()
            .map(|(name, member)| (name.as_str(), member))
    }

    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        self.members.get(name)
    }

    /// What `from` depends on directly.
    pub(super) fn direct(&self, from: &str) -> impl Iterator<Item = (&str, Purpose)> {
        self.edges
            .get(from)
            .into_iter()
            .flatten()
            .map(|(name, purpose)| (name.as_str(), *purpose))
    }

    /// A shortest chain of normal and build dependencies from `from` to `to` that does not pass
    /// through any of `except`.
    pub(super) fn path(&self, from: &str, to: &str, except: &[&str]) -> Option<Vec<String>> {
        let mut reached_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(here) = queue.pop_front() {
            for (next, purpose) in self.direct(here) {
                if purpose == Purpose::Dev || except.contains(&next) || next == from {
                    continue;
                }
                if reached_from.contains_key(next) {
                    continue;
                }
                reached_from.insert(next, here);
                if next == to {
                    let mut path = vec![to.to_owned()];
                    let mut at = to;
                    while let Some(previous) = reached_from.get(at) {
                        path.push((*previous).to_owned());
                        at = previous;
                    }
                    path.reverse();
                    return Some(path);
                }
                queue.push_back(next);
            }
        }
        None
    }
}

#[cfg(test)]
impl Graph {
    /// Members `(name, floor)` in `crates/<name>` and edges between any crates.
    pub(super) fn of(members: &[(&str, Floor)], edges: &[(&str, &str, Purpose)]) -> Graph {
        let mut graph = Graph::default();
        for (name, floor) in members {
            let member = Member {
                folder: format!("crates/{name}"),
                floor: Some(*floor),
            };
            graph.members.insert((*name).to_owned(), member);
        }
        for (from, to, purpose) in edges {
            graph.add(from, to, *purpose);
        }
        graph
    }

    pub(super) fn insert(&mut self, name: &str, member: Member) {
        self.members.insert(name.to_owned(), member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_avoids_what_it_must_and_dev_edges() {
        let edges = [
            ("a", "b", Purpose::Normal),
            ("b", "c", Purpose::Build),
            ("a", "d", Purpose::Normal),
            ("d", "e", Purpose::Normal),
            ("e", "c", Purpose::Normal),
            ("a", "f", Purpose::Dev),
        ];
        let graph = Graph::of(&[], &edges);
        assert_eq!(graph.path("a", "c", &[]).unwrap(), ["a", "b", "c"]);
        assert_eq!(graph.path("a", "c", &["b"]).unwrap(), ["a", "d", "e", "c"]);
        assert_eq!(graph.path("a", "c", &["b", "e"]), None);
        assert_eq!(graph.path("a", "f", &[]), None);
    }
}
