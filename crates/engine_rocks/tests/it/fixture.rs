//! Directories that go away, and settings that make small data behave like much.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use engine_rocks::{CfConfig, Config, RocksEngine};
use engine_traits::{Cf, KvEngine, WriteBatch, WriteOptions};
use online_config::ReadableSize;
use tempfile::TempDir;

pub(crate) struct Directories {
    root: TempDir,
    count: AtomicU32,
}

impl Directories {
    pub(crate) fn new() -> Self {
        Directories {
            root: TempDir::new().unwrap(),
            count: AtomicU32::new(0),
        }
    }

    /// A path at which nothing is.
    pub(crate) fn fresh(&self) -> PathBuf {
        self.root
            .path()
            .join(self.count.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

/// Buffers and blocks as small as allowed.
pub(crate) fn tiny() -> Config {
    let cf = CfConfig {
        write_buffer_size: ReadableSize::kb(64),
        target_file_size_base: ReadableSize::kb(64),
        block_size: ReadableSize::kb(1),
        ..CfConfig::default()
    };
    Config {
        defaultcf: cf.clone(),
        writecf: cf.clone(),
        lockcf: cf.clone(),
        raftcf: cf,
        ..Config::default()
    }
}

/// As a killed process leaves it. Nothing writes to the engine, but it may still remove or merge
/// files on its own: a copy counts when the files were the same before and after.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    loop {
        let before = listing(from);
        drop(std::fs::remove_dir_all(to));
        std::fs::create_dir_all(to).unwrap();
        let copy = |(name, _): &(OsString, u64)| std::fs::copy(from.join(name), to.join(name));
        let copied = before.iter().all(|file| copy(file).is_ok());
        if copied && listing(from) == before {
            return;
        }
    }
}

/// Names and sizes of the files that count. The engine's own log grows as it likes.
fn listing(path: &Path) -> Vec<(OsString, u64)> {
    let mut files: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            // A file may go between the listing and the look at it.
            Some((entry.file_name(), entry.metadata().ok()?.len()))
        })
        .filter(|(name, _)| name != "LOCK" && !name.to_string_lossy().starts_with("LOG"))
        .collect();
    files.sort();
    files
}

pub(crate) fn put(engine: &RocksEngine, key: &[u8], value: &[u8]) {
    let mut batch = engine.write_batch();
    for cf in Cf::DATA {
        batch.put(cf, key, value);
    }
    engine.write(batch, &WriteOptions::SYNCED).unwrap();
}

/// The files of a directory whose names end so, the newest number last.
pub(crate) fn files(path: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    found.sort();
    found
}
