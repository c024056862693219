//! What every engine must do, as tests that take the engine as a parameter.
//!
//! An engine's integration tests call [`run_all`], and [`run_crash`] with a function that crashes
//! the engine. Each check panics with the facts when the engine is wrong. `make` gives an empty
//! engine each time.

#![allow(
    clippy::unwrap_used,
    reason = "test code: an engine's error is a failed check"
)]

mod batches;
mod crash;
mod iterators;
mod model;
mod points;
mod prefixes;
mod snapshots;
mod upkeep;

use crate::{Cf, EngineIterator, IterOptions, Iterable, KvEngine, WriteBatch, WriteOptions};

/// Everything but crashes. `model_cases` random histories are compared with a `BTreeMap`.
pub fn run_all<E: KvEngine>(make: impl Fn() -> E, model_cases: u32) {
    points::run(&make);
    batches::run(&make);
    iterators::run(&make);
    prefixes::run(&make);
    snapshots::run(&make);
    upkeep::run(&make);
    model::run(&make, model_cases);
}

/// Crashes: `crash` takes the running engine and gives the one that is opened afterwards.
pub fn run_crash<E: KvEngine>(make: impl Fn() -> E, crash: impl Fn(E) -> E) {
    crash::run(&make, &crash);
}

type Entry = (Vec<u8>, Vec<u8>);

fn entry(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Entry {
    (key.as_ref().to_vec(), value.as_ref().to_vec())
}

/// Writes one batch that `fill` fills, without a sync.
fn write<E: KvEngine>(engine: &E, fill: impl FnOnce(&mut E::WriteBatch)) {
    write_with(engine, &WriteOptions::default(), fill);
}

fn write_with<E: KvEngine>(engine: &E, opts: &WriteOptions, fill: impl FnOnce(&mut E::WriteBatch)) {
    let mut batch = engine.write_batch();
    fill(&mut batch);
    engine.write(batch, opts).unwrap();
}

fn put_all<E: KvEngine>(engine: &E, cf: Cf, keys: &[&str]) {
    write(engine, |batch| {
        for key in keys {
            batch.put(cf, key.as_bytes(), format!("value of {key}").as_bytes());
        }
    });
}

/// All entries within the options' bounds, forward; checks that backward gives the same.
fn scan(source: &impl Iterable, cf: Cf, opts: IterOptions) -> Vec<Entry> {
    let mut iter = source.iter(cf, opts).unwrap();
    let mut forward = Vec::new();
    let mut valid = iter.seek_to_first().unwrap();
    while valid {
        assert!(iter.valid());
        forward.push(entry(iter.key(), iter.value()));
        valid = iter.next().unwrap();
    }
    assert!(!iter.valid());
    let mut backward = Vec::new();
    let mut valid = iter.seek_to_last().unwrap();
    while valid {
        backward.push(entry(iter.key(), iter.value()));
        valid = iter.prev().unwrap();
    }
    backward.reverse();
    assert_eq!(
        forward, backward,
        "forward and backward scans of {cf} differ"
    );
    forward
}

fn scan_all(source: &impl Iterable, cf: Cf) -> Vec<Entry> {
    scan(source, cf, IterOptions::default())
}

fn keys(entries: &[Entry]) -> Vec<&str> {
    entries
        .iter()
        .map(|(key, _)| std::str::from_utf8(key).unwrap())
        .collect()
}
