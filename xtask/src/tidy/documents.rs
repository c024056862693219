//! Documents agree with the tree: the code map lists the crates, links lead somewhere, decisions are
//! numbered.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::floors::WITHIN;
use super::graph::Graph;
use super::tree::Tree;

const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";

pub(super) fn check(tree: &Tree, graph: &Graph) -> Vec<Finding> {
    let mut findings = code_map(tree.get(ARCHITECTURE).unwrap_or_default(), graph);
    findings.extend(arrows(tree.get(ARCHITECTURE).unwrap_or_default(), WITHIN));
    findings.extend(links(tree));
    findings.extend(decisions(tree));
    findings
}

/// Rows `| floor | \`crate\` | what it is |` against the crates and the floors they declare. An empty
/// first cell continues the floor above.
fn code_map(text: &str, graph: &Graph) -> Vec<Finding> {
    let mut mapped: BTreeMap<&str, String> = BTreeMap::new();
    let mut floor = String::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [first, second, _] = cells[..] else {
            continue;
        };
        let Some(name) = second
            .strip_prefix('`')
            .and_then(|rest| rest.strip_suffix('`'))
        else {
            continue;
        };
        if !first.is_empty() {
            floor = first.split(' ').next().unwrap_or(first).to_owned();
        }
        mapped.insert(name, floor.clone());
    }
    let mut findings = Vec::new();
    let crates = graph
        .members()
        .filter(|(_, member)| member.folder.starts_with("crates/"));
    for (name, member) in crates {
        match mapped.remove(name) {
            None => {
                let message = format!("the code map lacks {name}");
                findings.push(Finding::new(ARCHITECTURE, message));
            }
            Some(floor) => {
                let declared = member
                    .floor
                    .map(|floor| floor.to_string())
                    .unwrap_or_default();
                if floor != declared {
                    let message = format!(
                        "the code map puts {name} on floor {floor}, its manifest on {declared}"
                    );
                    findings.push(Finding::new(ARCHITECTURE, message));
                }
            }
        }
    }
    for name in mapped.keys() {
        let message = format!("the code map lists {name}, which is no crate");
        findings.push(Finding::new(ARCHITECTURE, message));
    }
    findings
}

/// Chains `lower → upper → further up`, in backticks in the rows of the code map, against the edges
/// that are allowed within a floor. A chain allows each of its crates all that stand before it.
fn arrows(text: &str, allowed: &[(&str, &str)]) -> Vec<Finding> {
    let mut drawn = BTreeSet::new();
    let rows = text.lines().filter(|line| line.starts_with('|'));
    for chain in rows.flat_map(|row| row.split('`').skip(1).step_by(2)) {
        let crates: Vec<&str> = chain.split(" → ").collect();
        for (at, upper) in crates.iter().enumerate() {
            drawn.extend(crates[..at].iter().map(|lower| (*lower, *upper)));
        }
    }
    let allowed: BTreeSet<_> = allowed.iter().copied().collect();
    let undrawn = allowed
        .difference(&drawn)
        .map(|edge| (edge, "is allowed by tidy, not drawn"));
    let unknown = drawn
        .difference(&allowed)
        .map(|edge| (edge, "is drawn, not allowed by tidy"));
    undrawn
        .chain(unknown)
        .map(|((lower, upper), what)| {
            Finding::new(ARCHITECTURE, format!("the arrow {lower} → {upper} {what}"))
        })
        .collect()
}

/// Relative links in Markdown lead to a file or folder of the tree.
fn links(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with(".md")) {
        let mut fenced = false;
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            for target in line
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
            {
                let target = target.split('#').next().unwrap_or(target);
                if target.is_empty() || target.contains("://") || target.contains(' ') {
                    continue;
                }
                if resolve(path, target).is_none_or(|target| !tree.exists(&target)) {
                    let place = format!("{path}:{}", index + 1);
                    findings.push(Finding::new(
                        place,
                        format!("the link to {target} leads nowhere"),
                    ));
                }
            }
        }
    }
    findings
}

/// `target` as a path from the root, seen from the file `from`; `None` outside the tree.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Decisions are `docs/adr/NNNN-title.md`, each number once, and say their number in the title.
fn decisions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut numbers = BTreeSet::new();
    for (path, text) in tree.files() {
        let Some(name) = path.strip_prefix("docs/adr/") else {
            continue;
        };
        let number = name
            .get(..4)
            .filter(|number| number.chars().all(|c| c.is_ascii_digit()))
            .filter(|_| name[4..].starts_with('-') && name.ends_with(".md"));
        match number {
            None => findings.push(Finding::new(path, "decisions are called NNNN-title.md")),
            Some(number) if !numbers.insert(number) => {
                findings.push(Finding::new(path, "this number is taken"));
            }
            Some(number) if !text.starts_with(&format!("# {number}: ")) => {
                findings.push(Finding::new(path, format!("begin with `# {number}: `")));
            }
            Some(_) => {}
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::graph::Floor;
    use super::*;

    const MAP: &str = "\
| floor | crate | what it is |
|---|---|---|
| 0 ground | `codec` | Bytes. |
| | `runtime` | Seams. |
| test | `integration_tests` | Processes. |
";

    fn house() -> Graph {
        let members = [
            ("codec", Floor::Level(0)),
            ("runtime", Floor::Level(0)),
            ("integration_tests", Floor::Test),
        ];
        Graph::of(&members, &[])
    }

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let mut files = files.to_vec();
        if !files.iter().any(|(path, _)| *path == ARCHITECTURE) {
            files.push((ARCHITECTURE, MAP));
        }
        let findings = check(&Tree::of(&files), &house());
        // The fixtures draw no arrows; those have a test of their own.
        let messages = findings.into_iter().map(|finding| finding.message);
        messages
            .filter(|message| !message.starts_with("the arrow "))
            .collect()
    }

    #[test]
    fn a_map_that_agrees_is_fine() {
        assert!(found(&[]).is_empty());
    }

    #[test]
    fn a_map_that_lacks_invents_or_misplaces_is_found() {
        let lacks = MAP.replace("| | `runtime` | Seams. |\n", "");
        assert_eq!(
            found(&[(ARCHITECTURE, &lacks)]),
            ["the code map lacks runtime"]
        );
        let invents = format!("{MAP}| 9 | `roof` | x |\n");
        let invented = found(&[(ARCHITECTURE, &invents)]);
        assert_eq!(invented, ["the code map lists roof, which is no crate"]);
        let misplaces = MAP.replace("| | `runtime`", "| 3 | `runtime`");
        let misplaced = found(&[(ARCHITECTURE, &misplaces)]);
        assert_eq!(
            misplaced,
            ["the code map puts runtime on floor 3, its manifest on 0"]
        );
    }

    #[test]
    fn arrows_and_allowed_edges_that_disagree_are_found() {
        let row = "| 4 | `storage` | Commands. `lock_manager → mvcc → storage`. |\n";
        let all = [
            ("lock_manager", "mvcc"),
            ("lock_manager", "storage"),
            ("mvcc", "storage"),
        ];
        assert!(arrows(row, &all).is_empty());
        assert_eq!(arrows(row, &all[1..]).len(), 1);
        assert_eq!(arrows(row, &[&all[..], &[("a", "b")]].concat()).len(), 1);
        assert_eq!(arrows("`x → y` outside the map", &[]).len(), 0);
    }

    #[test]
    fn dead_links_are_found_and_others_left_alone() {
        let text = "[a](../ok.md#part) [b](https://x.y/z) [c](#here)\n```\n[d](nowhere)\n```\n";
        assert!(found(&[("docs/x.md", text), ("ok.md", "")]).is_empty());
        let dead = found(&[("docs/x.md", "[a](ok.md) [b](../../out.md)"), ("ok.md", "")]);
        assert_eq!(
            dead,
            [
                "the link to ok.md leads nowhere",
                "the link to ../../out.md leads nowhere"
            ]
        );
    }

    #[test]
    fn badly_numbered_decisions_are_found() {
        assert!(found(&[("docs/adr/0001-a.md", "# 0001: A\n")]).is_empty());
        assert_eq!(found(&[("docs/adr/a.md", "# A\n")]).len(), 1);
        assert_eq!(found(&[("docs/adr/0001-a.md", "# A\n")]).len(), 1);
        let twice = [
            ("docs/adr/0001-a.md", "# 0001: A\n"),
            ("docs/adr/0001-b.md", "# 0001: B\n"),
        ];
        assert_eq!(found(&twice), ["this number is taken"]);
    }
}
