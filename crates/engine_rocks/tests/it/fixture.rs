//! Directories that go away, and settings that make small data behave like much.

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

/// As a killed process leaves it; the engine is open and at rest.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
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
