//! The corpus, replayed on stable: `corpus/<target>/` holds the inputs of each target.
//!
//! Files called `seed-…` are written by `BLESS=1` from real encoders and a list of bad inputs; all others were found
//! by libFuzzer and are kept because they reach code that nothing else reaches.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod seeds;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use fuzz::TARGETS;
use test_support::sample;

/// All of it together.
const CORPUS_BYTES_MAX: u64 = 300 << 10;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn inputs(target: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let files =
        fs::read_dir(corpus().join(target)).unwrap_or_else(|error| panic!("{target}: {error}"));
    let paths = files.map(|file| file.unwrap().path());
    paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn every_input_holds() {
    for target in TARGETS {
        let inputs = inputs(target.name);
        let seeds = inputs.keys().filter(|path| is_seed(path)).count();
        assert!(seeds > 0, "{} has no seeds: BLESS=1", target.name);
        for (path, bytes) in &inputs {
            let held = std::panic::catch_unwind(|| (target.run)(bytes));
            assert!(held.is_ok(), "the input is {}", path.display());
        }
        // Nothing at all is an input, too.
        (target.run)(&[]);
    }
}

fn is_seed(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("seed-"))
}

#[test]
fn the_seeds_are_those_of_the_encoders() {
    for (target, seeds) in seeds::all() {
        let folder = corpus().join(target);
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            for path in inputs(target).keys().filter(|path| is_seed(path)) {
                fs::remove_file(path).unwrap();
            }
            for (name, bytes) in &seeds {
                fs::write(folder.join(format!("seed-{name}")), bytes).unwrap();
            }
        }
        let mut kept = inputs(target);
        kept.retain(|path, _| is_seed(path));
        let names = seeds
            .iter()
            .map(|(name, bytes)| (folder.join(format!("seed-{name}")), bytes.clone()));
        assert!(
            kept == names.collect(),
            "{target}: BLESS=1 writes the seeds"
        );
    }
}

#[test]
fn every_target_has_a_corpus_and_a_program_and_the_corpus_is_small() {
    let names: BTreeSet<String> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(names.len(), TARGETS.len());
    let entries = |folder: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        entries
            .map(|name| name.to_string_lossy().trim_end_matches(".rs").to_owned())
            .collect()
    };
    assert_eq!(entries(&corpus()), names);
    assert_eq!(entries(&corpus().with_file_name("fuzz_targets")), names);
    let bytes: usize = TARGETS
        .iter()
        .flat_map(|target| inputs(target.name))
        .map(|(_, bytes)| bytes.len())
        .sum();
    assert!(
        bytes as u64 <= CORPUS_BYTES_MAX,
        "{bytes} bytes: `cargo fuzz cmin`"
    );
}

#[test]
fn the_frames_are_the_requests_of_every_live_rpc() {
    let mut live = BTreeSet::new();
    for rpc in service::rpc_table::RPCS {
        if rpc.state == service::rpc_table::State::Live {
            live.insert(sample::request_of("tikvpb.Tikv", rpc.name));
        }
    }
    for service in pd::rpc_table::services() {
        for rpc in service.rpcs.iter().filter(|rpc| rpc.live) {
            live.insert(sample::request_of(&service.name, &rpc.name));
        }
    }
    let frames: BTreeSet<String> = fuzz::frame_types().map(str::to_owned).collect();
    assert_eq!(frames, live);
}
