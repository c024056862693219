//! Golden scripts: `testdata/*.txt`, each one history.
//!
//! A block is some command lines, a line `----`, and the output of the commands; an empty line ends
//! it. Lines that start with `#` explain. `BLESS=1 cargo test -p mvcc` writes the outputs anew.
//!
//! A command is a name and arguments `name=value` or flags. Values of keys may be written as
//! `x*300`, which is 300 times `x`.

mod commands;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use engine_mem::MemEngine;

use crate::store::Store;

/// The arguments of one command line.
pub(crate) struct Args<'a> {
    pub(crate) command: &'a str,
    args: Vec<(&'a str, &'a str)>,
    used: std::cell::RefCell<Vec<&'a str>>,
}

impl<'a> Args<'a> {
    fn parse(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let command = words.next().unwrap();
        let args = words
            .map(|word| word.split_once('=').unwrap_or((word, "")))
            .collect();
        Self {
            command,
            args,
            used: Vec::new().into(),
        }
    }

    pub(crate) fn get(&self, name: &'a str) -> Option<&'a str> {
        self.used.borrow_mut().push(name);
        self.args
            .iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| *value)
    }

    pub(crate) fn flag(&self, name: &'a str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn need(&self, name: &'a str) -> &'a str {
        self.get(name)
            .unwrap_or_else(|| panic!("{} needs {name}=", self.command))
    }

    /// A number; `max` is the largest.
    pub(crate) fn number(&self, name: &'a str) -> Option<u64> {
        self.get(name).map(|text| match text {
            "max" => u64::MAX,
            text => text
                .parse()
                .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        })
    }

    /// Numbers with commas between them.
    pub(crate) fn numbers(&self, name: &'a str) -> Vec<u64> {
        let list = self.get(name).unwrap_or_default();
        list.split(',')
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().unwrap())
            .collect()
    }

    fn check_all_used(&self) {
        let used = self.used.borrow();
        for (name, _) in &self.args {
            assert!(used.contains(name), "{} does not know {name}", self.command);
        }
    }
}

fn run(text: &str) -> String {
    let store = Store::new(MemEngine::new());
    let mut out = String::new();
    for block in text
        .split("\n\n")
        .map(str::trim)
        .filter(|block| !block.is_empty())
    {
        if !out.is_empty() {
            out.push('\n');
        }
        let input: Vec<_> = block.lines().take_while(|line| *line != "----").collect();
        let commands = input.iter().filter(|line| !line.starts_with('#'));
        let mut output = String::new();
        for line in commands.clone() {
            let args = Args::parse(line);
            output.push_str(&commands::run(&store, &args));
            args.check_all_used();
        }
        for line in &input {
            writeln!(out, "{line}").unwrap();
        }
        if commands.count() > 0 {
            writeln!(
                out,
                "----\n{}",
                if output.is_empty() { "ok\n" } else { &output }.trim_end()
            )
            .unwrap();
        }
    }
    out
}

fn scripts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn golden_scripts() {
    let bless = std::env::var_os("BLESS").is_some();
    let paths = scripts();
    assert!(!paths.is_empty(), "the scripts are missing");
    for path in paths {
        let expected = std::fs::read_to_string(&path).unwrap();
        let actual = run(&expected);
        if bless {
            std::fs::write(&path, actual).unwrap();
            continue;
        }
        let differs = expected
            .lines()
            .zip(actual.lines())
            .enumerate()
            .find(|(_, (e, a))| e != a);
        if let Some((line, (expected, actual))) = differs {
            panic!(
                "{}:{}\n  expected {expected}\n  got      {actual}",
                path.display(),
                line + 1
            );
        }
        assert_eq!(expected, actual, "{}", path.display());
    }
}
