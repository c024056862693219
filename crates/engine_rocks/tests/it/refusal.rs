//! A disk that refuses: the write that meets it fails, so does each later one, and what was
//! acknowledged before is there after a restart.

use std::path::Path;
use std::process::Command;

use engine_rocks::{Config, RocksEngine};
use engine_traits::{Cf, Error, KvEngine, Peekable, WriteBatch, WriteOptions};

use crate::fixture::Directories;

/// Tells the test that it is the process whose files may not grow beyond a limit.
const DIRECTORY_OF_PARENT: &str = "ENGINE_ROCKS_TEST_LIMITED_DIRECTORY";

fn write(engine: &RocksEngine, n: u32) -> engine_traits::Result<()> {
    let mut batch = engine.write_batch();
    batch.put(Cf::Default, &n.to_be_bytes(), &[7; 4096]);
    batch.put(Cf::Write, &n.to_be_bytes(), b"");
    engine.write(batch, &WriteOptions::SYNCED)
}

/// Writes until the log reaches the limit and notes how many writes were acknowledged.
fn fill(directory: &Path) {
    let engine = RocksEngine::open(directory.join("db"), &Config::default()).unwrap();
    let mut acknowledged = 0;
    let error = loop {
        assert!(
            acknowledged < 10_000,
            "the limit of file sizes is not in force"
        );
        match write(&engine, acknowledged) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Io(_)), "{error:?}");
    for later in 0..3 {
        assert!(write(&engine, acknowledged + 1 + later).is_err());
    }
    std::fs::write(directory.join("acknowledged"), acknowledged.to_string()).unwrap();
}

#[test]
fn a_refused_write_is_an_error_and_so_is_every_later_one() {
    if let Ok(directory) = std::env::var(DIRECTORY_OF_PARENT) {
        fill(directory.as_ref());
        return;
    }
    let directories = Directories::new();
    let directory = directories.fresh();
    std::fs::create_dir(&directory).unwrap();
    // 2048 blocks of 512 bytes a file; beyond, a write returns an error instead of a signal.
    let limited = r#"trap '' XFSZ; ulimit -f 2048; exec "$0" "$@""#;
    let output = Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "refusal::a_refused_write_is_an_error_and_so_is_every_later_one",
        ])
        .env(DIRECTORY_OF_PARENT, &directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");

    let acknowledged = std::fs::read_to_string(directory.join("acknowledged")).unwrap();
    let acknowledged: u32 = acknowledged.parse().unwrap();
    assert!(acknowledged > 100, "{acknowledged}");
    let engine = RocksEngine::open(directory.join("db"), &Config::default()).unwrap();
    for n in 0..acknowledged {
        let key = n.to_be_bytes();
        assert_eq!(
            engine.get(Cf::Default, &key).unwrap().unwrap(),
            [7; 4096],
            "write {n}"
        );
        assert!(
            engine.get(Cf::Write, &key).unwrap().is_some(),
            "half of write {n}"
        );
    }
}
