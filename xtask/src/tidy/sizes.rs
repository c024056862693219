//! Files of at most 1,000 lines of product, functions of at most 120 lines.
//!
//! What was over the limit once is written down in `RATCHET`, one line each, with its size. Such an
//! entry must always say the exact size, and compared with the commit before it may only shrink or
//! go: there is no way to be let in.

use std::collections::BTreeMap;

use super::Finding;
use super::code::{code_only, functions, product_lines};
use super::tree::{Tree, is_test_code};
use crate::process::ask;
use crate::repo::Repo;

const FILE_LINES: usize = 1000;
const FUNCTION_LINES: usize = 120;
const RATCHET: &str = "xtask/tidy-ratchet.txt";

/// The ratchet file as it was one commit ago, if there is such a commit.
pub(super) fn ratchet_of_parent(repo: &Repo) -> Option<String> {
    ask(repo.git().args(["show", &format!("HEAD^:{RATCHET}")]))
}

pub(super) fn check(tree: &Tree, ratchet_before: Option<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let entries = parse(tree.get(RATCHET).unwrap_or_default(), &mut findings);
    let mut seen = BTreeMap::new();
    for (path, text) in tree.rust() {
        let code = code_only(text);
        if !is_test_code(path) {
            let lines = product_lines(&code);
            if lines > FILE_LINES {
                seen.insert(path.to_owned(), (lines, FILE_LINES));
            }
        }
        for function in functions(&code) {
            if function.lines > FUNCTION_LINES {
                seen.insert(
                    format!("{path}::{}", function.name),
                    (function.lines, FUNCTION_LINES),
                );
            }
        }
    }
    for (place, (lines, limit)) in &seen {
        match entries.get(place) {
            Some(listed) if listed == lines => {}
            Some(listed) => {
                let message =
                    format!("{lines} lines, {RATCHET} says {listed}: shrink it or tell it");
                findings.push(Finding::new(place, message));
            }
            None => {
                let message = format!("{lines} lines, more than {limit}: divide it by topic");
                findings.push(Finding::new(place, message));
            }
        }
    }
    for place in entries.keys().filter(|place| !seen.contains_key(*place)) {
        let message = format!("{place} is within the limits now: delete its line");
        findings.push(Finding::new(RATCHET, message));
    }
    if let Some(before) = ratchet_before {
        let before = parse(before, &mut Vec::new());
        for (place, lines) in &entries {
            if before.get(place).is_none_or(|allowed| allowed < lines) {
                let message = format!("{place} is new or grew: this list may only shrink");
                findings.push(Finding::new(RATCHET, message));
            }
        }
    }
    findings
}

/// Lines `<size> <path>` or `<size> <path>::<function>`; `#` begins a comment.
fn parse(text: &str, findings: &mut Vec<Finding>) -> BTreeMap<String, usize> {
    let mut entries = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let entry = line
            .split_once(' ')
            .and_then(|(size, place)| Some((place.to_owned(), size.parse::<usize>().ok()?)));
        match entry {
            Some((place, size)) => {
                entries.insert(place, size);
            }
            None => findings.push(Finding::new(
                RATCHET,
                format!("not `<size> <place>`: {line}"),
            )),
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "crates/kv/src/lib.rs";

    fn file(lines: usize) -> String {
        "use a;\n".repeat(lines)
    }

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    a();\n".repeat(lines - 2))
    }

    fn found(text: &str, ratchet: &str, before: Option<&str>) -> Vec<String> {
        let tree = Tree::of(&[(PATH, text), (RATCHET, ratchet)]);
        check(&tree, before)
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn the_limits_themselves_are_fine() {
        assert!(found(&file(1000), "# nothing\n", Some("")).is_empty());
        assert!(found(&function(120), "", None).is_empty());
    }

    #[test]
    fn a_line_more_is_found() {
        assert_eq!(
            found(&file(1001), "", None),
            ["1001 lines, more than 1000: divide it by topic"]
        );
        assert_eq!(
            found(&function(121), "", None),
            ["121 lines, more than 120: divide it by topic"]
        );
    }

    #[test]
    fn tests_do_not_count_as_product() {
        let text = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", file(900), file(900));
        assert!(found(&text, "", None).is_empty());
        let tree = Tree::of(&[("crates/kv/src/log/tests.rs", &file(2000))]);
        assert!(check(&tree, None).is_empty());
    }

    #[test]
    fn the_ratchet_admits_exactly_what_it_lists() {
        let listed = format!("130 {PATH}::long\n");
        assert!(found(&function(130), &listed, Some(&listed)).is_empty());
        assert_eq!(found(&function(131), &listed, Some(&listed)).len(), 1);
        assert_eq!(found(&function(125), &listed, Some(&listed)).len(), 1);
        assert_eq!(found(&function(100), &listed, Some(&listed)).len(), 1);
    }

    #[test]
    fn the_ratchet_only_shrinks() {
        let listed = format!("130 {PATH}::long\n");
        let more = format!("140 {PATH}::long\n");
        assert!(found(&function(130), &listed, Some(&more)).is_empty());
        assert_eq!(found(&function(140), &more, Some(&listed)).len(), 1);
        assert_eq!(found(&function(130), &listed, Some("")).len(), 1);
        assert_eq!(found("", "what is this\n", None).len(), 1);
    }
}
