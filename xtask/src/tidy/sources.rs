//! Rules about single Rust files: how they open, what they must not contain, what they are called.

use super::Finding;
use super::code::code_only;
use super::tree::Tree;

/// Code that is never committed, and what to do instead.
const BANNED: &[(&str, &str)] = &[
    ("todo!", "finish it"),
    (
        "unimplemented!",
        "finish it, or return an error that a caller can act on",
    ),
    (
        "#[ignore",
        "a test that does not run proves nothing: repair or delete it",
    ),
    (
        "#[should_panic",
        "catch the panic and look at it, or test what is checked",
    ),
];

/// Names that say nothing about what is inside.
const NAMELESS: &[&str] = &[
    "util", "utils", "common", "commons", "helper", "helpers", "misc",
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        // A crate's root, too: its README says what the crate is, not what this file must never become.
        if !text.starts_with("//! ") {
            findings.push(Finding::new(
                path,
                "begin with `//!`: what it is, what it keeps true",
            ));
        }
        let code = code_only(text);
        for (index, line) in code.lines().enumerate() {
            for (word, advice) in BANNED {
                if line.contains(word) {
                    let place = format!("{path}:{}", index + 1);
                    findings.push(Finding::new(place, format!("{word}: {advice}")));
                }
            }
        }
        let nameless = path
            .trim_end_matches(".rs")
            .split('/')
            .any(|part| part.split(['_', '-']).any(|word| NAMELESS.contains(&word)));
        if nameless {
            findings.push(Finding::new(path, "call it after what is inside"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let findings = check(&Tree::of(&[(path, text)]));
        findings
            .into_iter()
            .map(|finding| format!("{} {}", finding.place, finding.message))
            .collect()
    }

    #[test]
    fn an_ordinary_file_is_fine() {
        let text = "//! Words.\n// todo!() and #[ignore] in a comment\nfn f() { g(\"todo!\") }\n";
        assert!(found("crates/a/src/lib.rs", text).is_empty());
        let root = "//! Words.\n#![doc = include_str!(\"../README.md\")]\n";
        assert!(found("crates/a/src/lib.rs", root).is_empty());
        assert!(found("crates/a/src/commonly_used.rs", "//! x\n").is_empty());
    }

    #[test]
    fn a_missing_header_is_found() {
        let only_the_readme = "#![doc = include_str!(\"../README.md\")]\n";
        let after_it = "#![doc = include_str!(\"../README.md\")]\n//! late\n";
        for text in [
            "use a;\n",
            "// x\n//! late\n",
            "",
            "//!\n",
            only_the_readme,
            after_it,
        ] {
            assert_eq!(found("crates/a/src/b.rs", text).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn each_banned_word_is_found_with_its_line() {
        for (word, _) in BANNED {
            let text = format!("//! x\n\n    {word}\n");
            let found = found("crates/a/src/b.rs", &text);
            assert_eq!(found.len(), 1, "{word}");
            assert!(found[0].starts_with("crates/a/src/b.rs:3 "), "{found:?}");
        }
    }

    #[test]
    fn a_nameless_file_or_folder_is_found() {
        for path in [
            "a/src/util.rs",
            "a/src/common/x.rs",
            "a/tests/it/test_helpers.rs",
        ] {
            assert_eq!(found(path, "//! x\n").len(), 1, "{path}");
        }
    }
}
