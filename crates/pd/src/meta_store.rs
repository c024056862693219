//! The seam to durable metadata: keys under one prefix, atomic synced writes, checksummed values.
//!
//! A value on disk is a version byte, the CRC-32 of key and payload (4 bytes, big-endian) and the
//! payload. The key takes part in the checksum, so that a value in the wrong place is found too.

use engine_traits::{Cf, EngineIterator as _, IterOptions, KvEngine, WriteBatch, WriteOptions};

use crate::{Error, Result};

/// All keys of the placement driver begin with this.
const PREFIX: &[u8] = b"pd/";
/// The first byte after [`PREFIX`]'s range.
const PREFIX_END: &[u8] = b"pd0";
const VALUE_VERSION: u8 = 1;
const HEADER_LEN: usize = 5;

/// One write: a key without prefix, and its new value or none to delete it.
type MetaWrite = (Vec<u8>, Option<Vec<u8>>);

/// Writes that become durable together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaBatch {
    writes: Vec<MetaWrite>,
}

impl MetaBatch {
    /// Sets a value.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.push((key, Some(value)));
    }

    /// Removes a value.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.writes.push((key, None));
    }

    /// Adds the writes of another batch after its own.
    pub fn append(&mut self, mut other: MetaBatch) {
        self.writes.append(&mut other.writes);
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// Where metadata is kept. Calls block on IO: they are made from the driver's own tasks only.
pub trait MetaStore: Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Every key that starts with `prefix` with its value, in key order.
    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>>;

    /// Applies the batch. When it returns, the batch is on stable storage.
    fn write(&self, batch: MetaBatch) -> Result<()>;

    /// Applies the batch. It is on stable storage when a later [`MetaStore::write`] returns, or
    /// never: a crash loses it, but nothing that was written before it.
    fn write_later(&self, batch: MetaBatch) -> Result<()>;
}

/// Metadata in any engine, in its default column family. The engine may hold other keys too.
pub struct EngineMetaStore<E> {
    engine: E,
}

impl<E: KvEngine> EngineMetaStore<E> {
    /// A store over this engine.
    pub fn new(engine: E) -> Self {
        EngineMetaStore { engine }
    }
}

impl<E: KvEngine> MetaStore for EngineMetaStore<E> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.engine.get(Cf::Default, &engine_key(key))?;
        value.map(|value| open_value(key, &value)).transpose()
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let start = engine_key(prefix);
        let options = IterOptions::between(start.clone(), PREFIX_END);
        let mut iterator = self.engine.iter(Cf::Default, options)?;
        let mut entries = Vec::new();
        let mut valid = iterator.seek(&start)?;
        while valid && iterator.key().starts_with(&start) {
            let key = iterator.key()[PREFIX.len()..].to_vec();
            let value = open_value(&key, iterator.value())?;
            entries.push((key, value));
            valid = iterator.next()?;
        }
        Ok(entries)
    }

    fn write(&self, batch: MetaBatch) -> Result<()> {
        self.write_with(&batch, &WriteOptions::SYNCED)
    }

    fn write_later(&self, batch: MetaBatch) -> Result<()> {
        self.write_with(&batch, &WriteOptions::default())
    }
}

impl<E: KvEngine> EngineMetaStore<E> {
    fn write_with(&self, batch: &MetaBatch, options: &WriteOptions) -> Result<()> {
        let mut engine_batch = self.engine.write_batch();
        for (key, value) in &batch.writes {
            match value {
                Some(payload) => {
                    let value = seal_value(key, payload);
                    engine_batch.put(Cf::Default, &engine_key(key), &value);
                }
                None => engine_batch.delete(Cf::Default, &engine_key(key)),
            }
        }
        Ok(self.engine.write(engine_batch, options)?)
    }
}

fn engine_key(key: &[u8]) -> Vec<u8> {
    [PREFIX, key].concat()
}

fn checksum(key: &[u8], payload: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(payload);
    hasher.finalize().to_be_bytes()
}

fn seal_value(key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_LEN + payload.len());
    value.push(VALUE_VERSION);
    value.extend_from_slice(&checksum(key, payload));
    value.extend_from_slice(payload);
    value
}

fn open_value(key: &[u8], value: &[u8]) -> Result<Vec<u8>> {
    let Some((header, payload)) = value.split_at_checked(HEADER_LEN) else {
        return Err(damaged(key, format!("only {} bytes", value.len())));
    };
    if header[0] != VALUE_VERSION {
        let detail = format!("format {}, known is {VALUE_VERSION}", header[0]);
        return Err(damaged(key, detail));
    }
    if header[1..] != checksum(key, payload) {
        return Err(damaged(key, "checksum does not match".to_owned()));
    }
    Ok(payload.to_vec())
}

/// An error about the value of `key`.
pub(crate) fn damaged(key: &[u8], detail: String) -> Error {
    Error::Damaged {
        key: key.escape_ascii().to_string(),
        detail,
    }
}

/// A number as a value.
pub(crate) fn number_value(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// A value as a number.
pub(crate) fn parse_number(key: &[u8], value: &[u8]) -> Result<u64> {
    value
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| damaged(key, format!("{} bytes are no number", value.len())))
}

#[cfg(test)]
mod tests {
    use engine_mem::MemEngine;
    use engine_traits::Peekable as _;

    use super::*;

    fn put(store: &impl MetaStore, key: &[u8], value: &[u8]) {
        let mut batch = MetaBatch::default();
        batch.put(key.to_vec(), value.to_vec());
        store.write(batch).unwrap();
    }

    #[test]
    fn writes_survive_a_crash_and_scans_stay_within_the_prefix() {
        let engine = MemEngine::new();
        let mut foreign = engine.write_batch();
        foreign.put(Cf::Default, b"zuser", b"data");
        foreign.put(Cf::Default, b"aaa", b"data");
        engine.write(foreign, &WriteOptions::SYNCED).unwrap();
        let store = EngineMetaStore::new(engine.clone());
        put(&store, b"s/2", b"two");
        put(&store, b"s/1", b"one");
        put(&store, b"t", b"three");
        let store = EngineMetaStore::new(engine.crash());
        let all = store.scan(b"s/").unwrap();
        assert_eq!(
            all,
            [
                (b"s/1".to_vec(), b"one".to_vec()),
                (b"s/2".to_vec(), b"two".to_vec())
            ]
        );
        assert_eq!(store.scan(b"").unwrap().len(), 3);
        let mut batch = MetaBatch::default();
        batch.delete(b"t".to_vec());
        store.write(batch).unwrap();
        assert_eq!(store.get(b"t").unwrap(), None);
    }

    #[test]
    fn damage_is_found_and_named() {
        let engine = MemEngine::new();
        let store = EngineMetaStore::new(engine.clone());
        put(&store, b"k", b"payload");
        let good = engine.get(Cf::Default, b"pd/k").unwrap().unwrap();
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let mut newer = good.clone();
        newer[0] = 9;
        for (bad, word) in [
            (flipped, "checksum"),
            (newer, "format 9"),
            (vec![1], "bytes"),
        ] {
            let mut batch = engine.write_batch();
            batch.put(Cf::Default, b"pd/k", &bad);
            engine.write(batch, &WriteOptions::SYNCED).unwrap();
            let text = store.get(b"k").unwrap_err().to_string();
            assert!(text.contains(word) && text.contains("\"k\""), "{text}");
        }
        // The right value under a wrong key.
        let mut batch = engine.write_batch();
        batch.put(Cf::Default, b"pd/other", &good);
        engine.write(batch, &WriteOptions::SYNCED).unwrap();
        assert!(store.get(b"other").is_err());
        assert!(parse_number(b"n", b"123").is_err());
    }
}
