//! Damaged files: a torn tail is no loss, everything else is told.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use engine_rocks::RocksEngine;
use engine_traits::{Cf, EngineIterator, Error, IterOptions, Iterable, KvEngine, Peekable};

use crate::fixture::{Directories, copy_directory, files, put, tiny};

/// A directory with the writes 0..20, all in the log, and the log's length after each.
fn with_log(directories: &Directories) -> (std::path::PathBuf, Vec<u64>) {
    let engine = RocksEngine::open(directories.fresh(), &tiny()).unwrap();
    let mut lengths = Vec::new();
    for n in 0..20_u8 {
        put(&engine, &[n], &[n; 100]);
        lengths.push(
            files(engine.path(), ".log")
                .last()
                .unwrap()
                .metadata()
                .unwrap()
                .len(),
        );
    }
    let copy = directories.fresh();
    copy_directory(engine.path(), &copy);
    (copy, lengths)
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
}

#[test]
fn a_torn_log_loses_whole_writes_from_its_end() {
    let directories = Directories::new();
    let (original, lengths) = with_log(&directories);
    let full = *lengths.last().unwrap();
    for cut in (0..full).step_by(97).chain([full]) {
        let path = directories.fresh();
        copy_directory(&original, &path);
        let log = files(&path, ".log").pop().unwrap();
        OpenOptions::new()
            .write(true)
            .open(log)
            .unwrap()
            .set_len(cut)
            .unwrap();
        let engine = RocksEngine::open(&path, &tiny()).unwrap();
        let complete = lengths.iter().filter(|length| **length <= cut).count();
        for n in 0..20_u8 {
            for cf in Cf::DATA {
                let there = engine.get(cf, &[n]).unwrap().is_some();
                assert_eq!(
                    there,
                    usize::from(n) < complete,
                    "write {n} in {cf}, cut at {cut}"
                );
            }
        }
        put(&engine, b"after", b"v");
    }
}

#[test]
fn damage_inside_the_log_is_corruption_and_not_a_shorter_log() {
    let directories = Directories::new();
    let (original, lengths) = with_log(&directories);
    for at in [lengths[3] + 40, lengths[10] + 150, lengths[15] - 5] {
        let path = directories.fresh();
        copy_directory(&original, &path);
        flip(files(&path, ".log").last().unwrap(), at);
        match RocksEngine::open(&path, &tiny()) {
            Err(Error::Corruption(_)) => {}
            Err(error) => panic!("byte {at}: {error:?}"),
            Ok(_) => panic!("byte {at}: opened as if nothing were lost"),
        }
    }
}

#[test]
fn a_damaged_table_fails_the_reads_that_need_it() {
    let directories = Directories::new();
    let path = directories.fresh();
    let engine = RocksEngine::open(&path, &tiny()).unwrap();
    for n in 0..100_u8 {
        put(&engine, &[n], &[n; 1000]);
    }
    engine.flush(&[Cf::Default]).unwrap();
    drop(engine);
    for table in files(&path, ".sst") {
        flip(&table, 500);
    }
    // Opening reads no data blocks, reading does.
    let engine = RocksEngine::open(&path, &tiny()).unwrap();
    let mut failed = 0;
    for n in 0..100_u8 {
        match engine.get(Cf::Default, &[n]) {
            Ok(value) => assert_eq!(value.unwrap(), [n; 1000]),
            Err(Error::Corruption(_)) => failed += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(failed > 0);
    let mut iter = engine.iter(Cf::Default, IterOptions::default()).unwrap();
    let mut step = iter.seek_to_first();
    while let Ok(true) = step {
        step = iter.next();
    }
    assert!(
        matches!(step, Err(Error::Corruption(_))),
        "the scan ended as if complete"
    );
    assert!(!iter.valid());
}

#[test]
fn a_missing_head_file_is_corruption_and_no_empty_engine() {
    let directories = Directories::new();
    let (path, _) = with_log(&directories);
    std::fs::remove_file(path.join("CURRENT")).unwrap();
    match RocksEngine::open(&path, &tiny()) {
        Err(Error::Corruption(text)) => assert!(text.contains("CURRENT"), "{text}"),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("opened as a new engine"),
    }
}
