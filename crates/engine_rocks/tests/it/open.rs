//! Opening: again, twice, by another process, and what is not ours.

use std::process::Command;

use engine_rocks::{Config, RocksEngine};
use engine_traits::{Cf, Error, KvEngine, Peekable};
use rocksdb::{DB, Options};

use crate::fixture::{Directories, put, tiny};

/// Tells the test below that it is the other process.
const DIRECTORY_OF_PARENT: &str = "ENGINE_ROCKS_TEST_DIRECTORY";

fn open_error(path: &std::path::Path) -> Error {
    match RocksEngine::open(path, &tiny()) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let directories = Directories::new();
    let path = directories.fresh();
    for round in 0..3_u8 {
        let engine = RocksEngine::open(&path, &tiny()).unwrap();
        for earlier in 0..round {
            assert_eq!(engine.get(Cf::Write, &[earlier]).unwrap().unwrap(), b"v");
        }
        put(&engine, &[round], b"v");
        if round == 1 {
            engine.flush(&Cf::ALL).unwrap();
        }
    }
}

#[test]
fn a_snapshot_keeps_the_engine_open() {
    let directories = Directories::new();
    let path = directories.fresh();
    let engine = RocksEngine::open(&path, &tiny()).unwrap();
    let snapshot = engine.snapshot();
    drop(engine);
    assert!(matches!(open_error(&path), Error::Locked { .. }));
    drop(snapshot);
    RocksEngine::open(&path, &tiny()).unwrap();
}

#[test]
fn two_engines_of_one_process_cannot_share_a_directory() {
    let directories = Directories::new();
    let path = directories.fresh();
    let _engine = RocksEngine::open(&path, &tiny()).unwrap();
    let Error::Locked { path: locked, .. } = open_error(&path) else {
        panic!("{:?}", open_error(&path));
    };
    assert_eq!(locked, path);
}

#[test]
fn another_process_cannot_share_a_directory() {
    if let Ok(path) = std::env::var(DIRECTORY_OF_PARENT) {
        let error = open_error(path.as_ref());
        assert!(matches!(error, Error::Locked { .. }), "{error:?}");
        return;
    }
    let directories = Directories::new();
    let path = directories.fresh();
    let _engine = RocksEngine::open(&path, &tiny()).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "open::another_process_cannot_share_a_directory"])
        .env(DIRECTORY_OF_PARENT, &path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{output:?}"
    );
}

#[test]
fn foreign_directories_are_left_alone() {
    let directories = Directories::new();

    let documents = directories.fresh();
    std::fs::create_dir(&documents).unwrap();
    std::fs::write(documents.join("thesis.txt"), "chapter 1").unwrap();
    let error = open_error(&documents);
    assert!(
        matches!(&error, Error::ForeignDirectory { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("thesis.txt"));
    assert_eq!(std::fs::read_dir(&documents).unwrap().count(), 1);

    let file = directories.fresh();
    std::fs::write(&file, "").unwrap();
    assert!(matches!(open_error(&file), Error::ForeignDirectory { .. }));

    let unknown_cf = directories.fresh();
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    drop(
        DB::open_cf(
            &options,
            &unknown_cf,
            ["default", "lock", "write", "raft", "x"],
        )
        .unwrap(),
    );
    let error = open_error(&unknown_cf);
    assert!(
        matches!(&error, Error::ForeignDirectory { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains('x'));

    let only_default = directories.fresh();
    let db = DB::open(&options, &only_default).unwrap();
    db.put("k", "v").unwrap();
    drop(db);
    let error = open_error(&only_default);
    assert!(
        matches!(&error, Error::ForeignDirectory { .. }),
        "{error:?}"
    );
    let db = DB::open(&options, &only_default).unwrap();
    assert_eq!(db.get("k").unwrap().unwrap(), b"v");
}

#[test]
fn an_interrupted_creation_is_finished() {
    let directories = Directories::new();
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);

    let half = directories.fresh();
    drop(DB::open_cf(&options, &half, ["default", "lock"]).unwrap());
    let engine = RocksEngine::open(&half, &tiny()).unwrap();
    put(&engine, b"k", b"v");

    let begun = directories.fresh();
    std::fs::create_dir(&begun).unwrap();
    for name in ["LOCK", "LOG", "IDENTITY", "MANIFEST-000001"] {
        std::fs::write(begun.join(name), "").unwrap();
    }
    let engine = RocksEngine::open(&begun, &tiny()).unwrap();
    put(&engine, b"k", b"v");

    let empty = directories.fresh();
    std::fs::create_dir(&empty).unwrap();
    RocksEngine::open(&empty, &tiny()).unwrap();
}

#[test]
fn wrong_settings_are_refused_with_all_their_problems() {
    let directories = Directories::new();
    let config = Config {
        max_background_jobs: 0,
        max_open_files: 0,
        ..Config::default()
    };
    let path = directories.fresh();
    let Err(Error::InvalidArgument(text)) = RocksEngine::open(&path, &config) else {
        panic!("settings were accepted");
    };
    assert!(
        text.contains("max-background-jobs") && text.contains("max-open-files"),
        "{text}"
    );
    assert!(!path.exists());
}
