//! What our server stands on, without the server: RocksDB with our options, raft-engine, a file.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use engine_rocks::{Config, RocksEngine};
use engine_traits::{
    Cf, EngineIterator as _, IterOptions, Iterable as _, KvEngine as _, Peekable as _,
    WriteBatch as _, WriteOptions,
};
use kvproto::eraftpb::Entry;
use raft_engine::{Engine, LogBatch, MessageExt};
use tempfile::TempDir;

use super::keyspace::{KEYS, SCAN_ROWS, VALUE_BYTES, key};
use crate::random::Random;

/// The size of what is written before an `fdatasync`.
const BLOCK_BYTES: usize = 4096;
/// A commit record in front of a short value: type, start timestamp, tag and length.
const WRITE_RECORD_BYTES: usize = VALUE_BYTES + 13;

/// RocksDB as our server opens it, with the same data.
pub(crate) struct Rocks {
    engine: RocksEngine,
    _home: TempDir,
}

impl Rocks {
    pub(crate) fn open() -> anyhow::Result<Rocks> {
        let home = TempDir::with_prefix("bench-rocks-").context("create a directory")?;
        let engine = RocksEngine::open(home.path().join("db"), &Config::default())?;
        for first in (0..KEYS).step_by(1000) {
            let mut batch = engine.write_batch();
            for number in first..first + 1000 {
                let mut random = Random::new(number);
                batch.put(
                    Cf::Default,
                    &stored(b'r', number),
                    &random.bytes(VALUE_BYTES),
                );
                batch.put(
                    Cf::Write,
                    &versioned(number),
                    &random.bytes(WRITE_RECORD_BYTES),
                );
            }
            engine.write(batch, &WriteOptions::default())?;
        }
        engine.flush(&[Cf::Default, Cf::Write])?;
        Ok(Rocks {
            engine,
            _home: home,
        })
    }

    /// Reads a value.
    pub(crate) fn get(&self, random: &mut Random) -> anyhow::Result<u64> {
        let number = random.below(KEYS);
        let found = self.engine.get(Cf::Default, &stored(b'r', number))?;
        found.context("a key that was written is gone")?;
        Ok(1)
    }

    /// Writes a value and waits for the disk.
    pub(crate) fn put_synced(&self, random: &mut Random) -> anyhow::Result<u64> {
        let mut batch = self.engine.write_batch();
        let number = random.below(KEYS);
        batch.put(
            Cf::Default,
            &stored(b'p', number),
            &random.bytes(VALUE_BYTES),
        );
        self.engine.write(batch, &WriteOptions::SYNCED)?;
        Ok(1)
    }

    /// Walks over as many commit records as a scan of our server reads, and takes key and value of
    /// each.
    pub(crate) fn scan(&self, random: &mut Random) -> anyhow::Result<u64> {
        let start = versioned(random.below(KEYS - SCAN_ROWS));
        let mut iterator = self.engine.iter(Cf::Write, IterOptions::default())?;
        let mut valid = iterator.seek(&start)?;
        let mut rows = 0;
        while valid && rows < SCAN_ROWS {
            std::hint::black_box((iterator.key().to_vec(), iterator.value().to_vec()));
            rows += 1;
            valid = iterator.next()?;
        }
        Ok(rows)
    }
}

/// A key below the data prefix.
fn stored(prefix: u8, number: u64) -> Vec<u8> {
    [b"z", key(prefix, number).as_slice()].concat()
}

/// As long as an encoded user key with a timestamp.
fn versioned(number: u64) -> Vec<u8> {
    [stored(b't', number).as_slice(), &[0; 11 + 8]].concat()
}

/// raft-engine with its defaults.
pub(crate) struct RaftLog {
    engine: Engine,
    /// By thread, which stands for a region.
    next_index: Vec<AtomicU64>,
    _home: TempDir,
}

#[derive(Clone)]
struct EntryIndex;

impl MessageExt for EntryIndex {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.get_index()
    }
}

impl RaftLog {
    pub(crate) fn open(regions: usize) -> anyhow::Result<RaftLog> {
        let home = TempDir::with_prefix("bench-raft-").context("create a directory")?;
        let config = raft_engine::Config {
            dir: home.path().join("log").display().to_string(),
            ..raft_engine::Config::default()
        };
        Ok(RaftLog {
            engine: Engine::open(config)?,
            next_index: (0..regions).map(|_| AtomicU64::new(1)).collect(),
            _home: home,
        })
    }

    /// Appends an entry to the log of a region and waits for the disk.
    pub(crate) fn append_synced(&self, region: usize, random: &mut Random) -> anyhow::Result<u64> {
        let index = &self.next_index[region % self.next_index.len()];
        let mut entry = Entry::default();
        entry.set_term(1);
        entry.set_index(index.fetch_add(1, Ordering::Relaxed));
        entry.set_data(random.bytes(VALUE_BYTES).into());
        let mut batch = LogBatch::default();
        batch.add_entries::<EntryIndex>(region as u64 + 1, &[entry])?;
        self.engine.write(&mut batch, true)?;
        Ok(1)
    }
}

/// A file that only grows, as a log does.
pub(crate) struct PlainFile {
    file: File,
    end: AtomicU64,
    block: Arc<Vec<u8>>,
    _home: TempDir,
}

impl PlainFile {
    pub(crate) fn create() -> anyhow::Result<PlainFile> {
        let home = TempDir::with_prefix("bench-file-").context("create a directory")?;
        let file = File::create(home.path().join("log"))?;
        Ok(PlainFile {
            file,
            end: AtomicU64::new(0),
            block: Arc::new(Random::new(0).bytes(BLOCK_BYTES)),
            _home: home,
        })
    }

    /// Appends a block and waits for the disk.
    pub(crate) fn append_synced(&self) -> anyhow::Result<u64> {
        let at = self.end.fetch_add(BLOCK_BYTES as u64, Ordering::Relaxed);
        self.file.write_all_at(&self.block, at)?;
        rustix::fs::fdatasync(&self.file)?;
        Ok(1)
    }
}
