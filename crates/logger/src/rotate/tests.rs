//! Rotation in a directory of its own, at times that the test chooses.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;

/// 2026-11-22T16:40:00.123Z
const NOW: u64 = 1_795_365_600_123;

struct Log {
    directory: TempDir,
    now: Arc<AtomicU64>,
    file: RotatingFile,
}

fn open(directory: &Path, now: &Arc<AtomicU64>, rotation: Rotation) -> RotatingFile {
    let now = now.clone();
    let clock: UnixMillis = Arc::new(move || now.load(Ordering::Relaxed));
    RotatingFile::open(&directory.join("tikv.log"), rotation, clock).unwrap()
}

impl Log {
    fn new(rotation: Rotation) -> Log {
        let directory = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicU64::new(NOW));
        let file = open(directory.path(), &now, rotation);
        Log {
            directory,
            now,
            file,
        }
    }

    fn line(&mut self, text: &str) {
        self.file.write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    fn advance(&self, millis: u64) {
        self.now.fetch_add(millis, Ordering::Relaxed);
    }

    fn names(&self) -> Vec<String> {
        names(self.directory.path())
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn after_bytes(max_bytes: u64) -> Rotation {
    Rotation {
        max_bytes,
        ..Rotation::default()
    }
}

#[test]
fn a_full_file_is_put_aside_under_its_time() {
    let mut log = Log::new(after_bytes(8));
    log.line("first");
    log.line("second");
    log.advance(877);
    log.line("third");
    assert_eq!(
        log.names(),
        ["tikv-2026-11-22T16-40-01.000.log", "tikv.log"]
    );
    assert_eq!(
        log.text("tikv-2026-11-22T16-40-01.000.log"),
        "first\nsecond\n"
    );
    assert_eq!(log.text("tikv.log"), "third\n");
    for name in log.names() {
        let metadata = fs::metadata(log.directory.path().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    }
}

#[test]
fn two_files_of_one_millisecond_are_both_kept() {
    let mut log = Log::new(after_bytes(1));
    for line in ["a", "b", "c"] {
        log.line(line);
    }
    assert_eq!(
        log.names(),
        [
            "tikv-2026-11-22T16-40-00.123.log",
            "tikv-2026-11-22T16-40-00.124.log",
            "tikv.log"
        ]
    );
    assert_eq!(log.text("tikv-2026-11-22T16-40-00.124.log"), "b\n");
}

#[test]
fn no_limit_means_one_file() {
    let mut log = Log::new(Rotation::default());
    for _ in 0..100 {
        log.line("line");
    }
    assert_eq!(log.names(), ["tikv.log"]);
}

#[test]
fn the_oldest_are_removed_when_they_are_too_many() {
    let mut log = Log::new(Rotation {
        max_backups: 2,
        ..after_bytes(1)
    });
    for line in ["a", "b", "c", "d"] {
        log.line(line);
        log.advance(1000);
    }
    assert_eq!(log.names().len(), 3);
    assert_eq!(log.text(&log.names()[0]), "b\n");
    assert_eq!(log.text(&log.names()[1]), "c\n");
}

#[test]
fn the_old_are_removed_after_days_and_nothing_else_is() {
    let mut log = Log::new(Rotation {
        max_days: 2,
        ..after_bytes(1)
    });
    let strangers = [
        "tikv-2020-01-01.log",
        "tikv-2020-01-01T00-00-00.000.log.bak",
        "tikv-slow-2020-01-01T00-00-00.000.log",
        "other-2020-01-01T00-00-00.000.log",
    ];
    for name in strangers {
        fs::write(log.directory.path().join(name), "").unwrap();
    }
    log.line("a");
    log.line("b");
    log.advance(2 * MILLIS_PER_DAY);
    log.line("c");
    let aside = |log: &Log| {
        let mut names = log.names();
        names.retain(|name| !strangers.contains(&name.as_str()) && name != "tikv.log");
        names
    };
    assert_eq!(aside(&log).len(), 2, "a file of exactly two days is kept");
    log.advance(1);
    log.line("d");
    assert_eq!(aside(&log).len(), 2, "the oldest of three is gone");

    // A start removes as well: the log of a server that is seldom full would keep all for ever.
    log.advance(3 * MILLIS_PER_DAY);
    drop(open(log.directory.path(), &log.now, log.file.rotation));
    assert_eq!(aside(&log), Vec::<String>::new());
    assert_eq!(log.names().len(), strangers.len() + 1);
}

#[test]
fn a_restart_goes_on_with_the_file_and_its_size() {
    let mut log = Log::new(after_bytes(8));
    log.line("first");
    log.file = open(log.directory.path(), &log.now, after_bytes(8));
    log.line("second");
    log.line("third");
    assert_eq!(log.names().len(), 2);
    assert_eq!(log.text(&log.names()[0]), "first\nsecond\n");
}

#[test]
fn a_crash_between_the_two_steps_loses_nothing() {
    let mut log = Log::new(after_bytes(2));
    log.line("first");
    // The process died after the rename and before the new file.
    let aside = log.file.aside(NOW);
    fs::rename(log.directory.path().join("tikv.log"), aside).unwrap();
    log.file = open(log.directory.path(), &log.now, after_bytes(2));
    log.line("second");
    log.line("third");
    let texts: Vec<_> = log.names().iter().map(|name| log.text(name)).collect();
    assert_eq!(texts, ["first\n", "second\n", "third\n"]);
}

#[test]
fn a_file_that_cannot_be_put_aside_is_written_on() {
    let mut log = Log::new(after_bytes(32));
    // A directory in the place of the log: it can be renamed, but no file can be made there, because
    // the directory of the logs is gone.
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("moved");
    log.line(&"x".repeat(40));
    fs::rename(log.directory.path(), &moved).unwrap();
    fs::write(log.directory.path(), "a file where a directory was").unwrap();
    log.line("goes on");
    log.line("and on");
    let text = fs::read_to_string(moved.join("tikv.log")).unwrap();
    assert!(text.ends_with("goes on\nand on\n"), "{text}");

    // As soon as it can be, it is.
    fs::remove_file(log.directory.path()).unwrap();
    fs::rename(&moved, log.directory.path()).unwrap();
    for _ in 0..4 {
        log.line("again");
    }
    assert_eq!(log.names().len(), 2, "{:?}", log.names());
}
