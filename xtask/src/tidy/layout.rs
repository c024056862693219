//! What stands where: the top level, the crates' folders, their READMEs and roots.

use std::collections::BTreeSet;

use super::Finding;
use super::graph::Graph;
use super::tree::Tree;

/// Everything at the top besides dot files.
const TOP: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "crates",
    "deny.toml",
    "docs",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "scripts",
    "xtask",
];

/// What a crate's README says, in this order.
const TOPICS: &[&str] = &[
    "Purpose",
    "Neighbours",
    "Entry points",
    "Invariants",
    "Tests",
];

/// How a crate's root makes the README its documentation.
const README_IS_DOC: &str = "#![doc = include_str!(\"../README.md\")]";

pub(super) fn check(tree: &Tree, graph: &Graph) -> Vec<Finding> {
    let mut findings = top_level(tree);
    for (name, member) in graph.members() {
        let folder = &member.folder;
        if folder.starts_with("crates/") && *folder != format!("crates/{name}") {
            findings.push(Finding::new(
                folder,
                format!("holds {name}: folder is package name"),
            ));
        }
        readme(tree, folder, &mut findings);
        let roots = ["src/lib.rs", "src/main.rs"].map(|root| format!("{folder}/{root}"));
        let mut roots = roots
            .iter()
            .filter_map(|root| Some((root, tree.get(root)?)));
        if let Some((root, text)) = roots.next()
            && !text.lines().any(|line| line == README_IS_DOC)
        {
            let message =
                format!("show the README as the crate's documentation: `{README_IS_DOC}`");
            findings.push(Finding::new(root, message));
        }
        integration_tests(tree, folder, &mut findings);
    }
    findings
}

fn top_level(tree: &Tree) -> Vec<Finding> {
    let entries: BTreeSet<&str> = tree
        .files()
        .map(|(path, _)| path.split('/').next().unwrap_or(path))
        .collect();
    entries
        .into_iter()
        .filter(|entry| !entry.starts_with('.') && !TOP.contains(entry))
        .map(|entry| Finding::new(entry, "does not belong at the top"))
        .collect()
}

/// The topics stand as headings or as bold words at the beginning of a line.
fn readme(tree: &Tree, folder: &str, findings: &mut Vec<Finding>) {
    let path = format!("{folder}/README.md");
    let Some(text) = tree.get(&path) else {
        findings.push(Finding::new(path, "every crate has one"));
        return;
    };
    let mut from = 0;
    for topic in TOPICS {
        let forms = [format!("\n## {topic}\n"), format!("\n**{topic}.**")];
        match forms
            .iter()
            .filter_map(|form| text[from..].find(form.as_str()))
            .min()
        {
            Some(at) => from += at,
            None => {
                let message = format!("`{topic}` is missing, or not in the usual order");
                findings.push(Finding::new(path, message));
                return;
            }
        }
    }
}

/// One integration binary per crate: each costs a link.
fn integration_tests(tree: &Tree, folder: &str, findings: &mut Vec<Finding>) {
    let prefix = format!("{folder}/tests/");
    for (path, _) in tree.rust() {
        if path
            .strip_prefix(&prefix)
            .is_some_and(|rest| !rest.contains('/'))
        {
            findings.push(Finding::new(
                path,
                "tests of the public API go to tests/it/",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::{Floor, Member};
    use super::*;

    const README: &str = "# kv\n\n**Purpose.** x\n\n**Neighbours.** x\n\n**Entry points.** x\n\n\
                          **Invariants.**\n- x\n\n**Tests.** x\n";
    const ROOT: &str = "#![doc = include_str!(\"../README.md\")]\n";

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let graph = Graph::of(&[("kv", Floor::Level(3))], &[]);
        let findings = check(&Tree::of(files), &graph);
        findings.into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn a_crate_as_it_should_be_is_fine() {
        let files = [
            ("crates/kv/README.md", README),
            ("crates/kv/src/lib.rs", ROOT),
            ("crates/kv/tests/it/main.rs", ""),
            (".gitignore", ""),
            ("Cargo.toml", ""),
        ];
        assert!(found(&files).is_empty());
        let headings = README.replace("**Tests.** x", "## Tests\nx");
        assert!(found(&[("crates/kv/README.md", &headings)]).is_empty());
    }

    #[test]
    fn strangers_at_the_top_are_found() {
        let files = [
            ("crates/kv/README.md", README),
            ("notes.txt", ""),
            ("src/main.rs", ""),
        ];
        assert_eq!(found(&files), ["notes.txt", "src"]);
    }

    #[test]
    fn a_readme_without_a_topic_is_found() {
        assert_eq!(found(&[]), ["crates/kv/README.md"]);
        for topic in TOPICS {
            let text = README.replace(&format!("**{topic}.**"), "x");
            assert_eq!(found(&[("crates/kv/README.md", &text)]).len(), 1, "{topic}");
        }
    }

    #[test]
    fn a_root_that_hides_the_readme_is_found() {
        let files = [
            ("crates/kv/README.md", README),
            ("crates/kv/src/lib.rs", "//! x\n"),
        ];
        assert_eq!(found(&files), ["crates/kv/src/lib.rs"]);
    }

    #[test]
    fn a_second_integration_binary_is_found() {
        let files = [
            ("crates/kv/README.md", README),
            ("crates/kv/tests/more.rs", ""),
        ];
        assert_eq!(found(&files), ["crates/kv/tests/more.rs"]);
    }

    #[test]
    fn a_folder_with_another_name_is_found() {
        let mut graph = Graph::default();
        graph.insert(
            "kv",
            Member {
                folder: "crates/store".into(),
                floor: None,
            },
        );
        let findings = check(&Tree::of(&[("crates/store/README.md", README)]), &graph);
        assert_eq!(findings.len(), 1);
    }
}
