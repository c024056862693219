//! `cargo xtask tidy`: what no compiler checks about this repository.
//!
//! A rule is a function from facts to findings: `Tree` is the text of every tracked file, `Graph`
//! the crates and their resolved dependencies. Rules read no disk and start no process, so each is
//! tested on a small tree in which it must find something.

mod absences;
mod code;
mod documents;
mod floors;
mod graph;
mod layout;
mod sizes;
mod sources;
mod tree;

use anyhow::bail;

use crate::repo::Repo;
use graph::Graph;
use tree::Tree;

/// One thing that is wrong: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    place: String,
    message: String,
}

impl Finding {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding {
            place: place.into(),
            message: message.into(),
        }
    }
}

/// Checks the repository.
pub(crate) fn tidy(repo: &Repo) -> anyhow::Result<()> {
    let tree = Tree::read(repo)?;
    let graph = Graph::read(repo)?;
    let ratchet_before = sizes::ratchet_of_parent(repo);
    let findings = check(&tree, &graph, ratchet_before.as_deref());
    for finding in &findings {
        println!("{}: {}", finding.place, finding.message);
    }
    match findings.len() {
        0 => {
            println!(
                "tidy: {} files and {} crates are in order",
                tree.len(),
                graph.len()
            );
            Ok(())
        }
        count => bail!("tidy: {count} findings"),
    }
}

/// All the rules.
fn check(tree: &Tree, graph: &Graph, ratchet_before: Option<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(floors::check(graph));
    findings.extend(absences::check(graph));
    findings.extend(layout::check(tree, graph));
    findings.extend(sources::check(tree));
    findings.extend(sizes::check(tree, ratchet_before));
    findings.extend(documents::check(tree, graph));
    findings.sort();
    findings
}
