//! Runs the scripts of `testdata/`: a call, `----`, its answer. `BLESS=1` writes the answers of this build.
//!
//! Each script starts with an empty store. A line that begins with `#` is a comment; `reset` empties the store,
//! `restart` kills the process and starts another one on what it left.

use std::fs;
use std::path::Path;

use api_version::{ApiV1, ApiV1Ttl, ApiV2, KvFormat};
use engine_mem::MemEngine;
use storage::Config;

use crate::driver::{Call, World};

const SEPARATOR: &str = "----";

/// Carries a script out, on a store of the format that its name begins with, and returns it with its answers.
fn answers(path: &Path, script: &str) -> String {
    match path.file_name().unwrap().to_str().unwrap() {
        name if name.starts_with("v1ttl-") => replay::<ApiV1Ttl>(script),
        name if name.starts_with("v2-") => replay::<ApiV2>(script),
        _ => replay::<ApiV1>(script),
    }
}

fn replay<F: KvFormat>(script: &str) -> String {
    let empty = || World::<MemEngine, F>::in_format(MemEngine::new(), 1, &Config::default());
    let mut world = empty();
    let mut out = String::new();
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut below = Vec::new();
        while let Some(line) = lines.next_if(|line| *line != SEPARATOR && !line.is_empty()) {
            out.push_str(line);
            out.push('\n');
            below.push(line.trim().to_owned());
        }
        // The recorded answer ends at the next empty line.
        if lines.next_if_eq(&SEPARATOR).is_some() {
            while lines.next_if(|line| !line.is_empty()).is_some() {}
        }
        let answer = if line == "reset" {
            world = empty();
            vec!["ok".to_owned()]
        } else if line == "restart" {
            world = world.killed(1);
            vec!["ok".to_owned()]
        } else {
            world.call(&Call::parse(line, below))
        };
        out.push_str(SEPARATOR);
        out.push('\n');
        for line in answer {
            out.push_str(&line);
            out.push('\n');
        }
    }
    out
}

#[test]
fn scripts_answer_as_recorded() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let bless = std::env::var_os("BLESS").is_some();
    let mut scripts: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    let mut failed = Vec::new();
    for path in scripts {
        let recorded = fs::read_to_string(&path).unwrap();
        let answered = answers(&path, &recorded);
        if recorded == answered {
            continue;
        }
        if bless {
            fs::write(&path, answered).unwrap();
            continue;
        }
        let differs = recorded
            .lines()
            .zip(answered.lines())
            .position(|(a, b)| a != b);
        let at = differs.unwrap_or(recorded.lines().count().min(answered.lines().count()));
        failed.push(format!(
            "{}:{}: recorded {:?}, answered {:?}",
            path.display(),
            at + 1,
            recorded.lines().nth(at),
            answered.lines().nth(at)
        ));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
