//! A store under test: records put and read back without the layers above.

use engine_traits::{Cf, EngineIterator, IterOptions, KvEngine, WriteBatch, WriteOptions};
use txn_types::{Key, TimeStamp, Write, WriteType};

/// A record as tests speak of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Vec<u8>,
    pub(crate) commit: u64,
    pub(crate) start: u64,
    pub(crate) kind: WriteType,
    /// Its value stands in the default column family.
    pub(crate) long: bool,
    /// Zero for none.
    pub(crate) fence: u64,
}

impl Record {
    fn stored(&self) -> Vec<u8> {
        let short = (self.kind == WriteType::Put && !self.long).then(|| b"short".to_vec());
        let mut write = Write::new(self.kind, TimeStamp::new(self.start), short);
        if self.fence != 0 {
            write = write.with_overlapped_rollback(Some(TimeStamp::new(self.fence)));
        }
        write.to_bytes()
    }
}

fn versioned(key: &[u8], ts: u64) -> Vec<u8> {
    let key = Key::from_raw(key).append_ts(TimeStamp::new(ts));
    keys::data_key(key.as_encoded())
}

pub(crate) fn put<E: KvEngine>(engine: &E, record: &Record) {
    let mut batch = engine.write_batch();
    let at = versioned(&record.key, record.commit);
    batch.put(Cf::Write, &at, &record.stored());
    if record.long {
        batch.put(
            Cf::Default,
            &versioned(&record.key, record.start),
            b"a long value",
        );
    }
    engine.write(batch, &WriteOptions::SYNCED).unwrap();
}

fn entries<E: KvEngine>(engine: &E, cf: Cf) -> Vec<(Key, u64, Vec<u8>)> {
    let bounds = IterOptions::between(keys::DATA_MIN_KEY, keys::DATA_MAX_KEY);
    let mut iter = engine.iter(cf, bounds).unwrap();
    let mut found = Vec::new();
    let mut valid = iter.seek_to_first().unwrap();
    while valid {
        let key = keys::origin_key(iter.key()).unwrap();
        let (user, ts) = Key::split_on_ts_for(key).unwrap();
        let user = Key::from_encoded_slice(user);
        found.push((user, ts.into_inner(), iter.value().to_vec()));
        valid = iter.next().unwrap();
    }
    found
}

/// Every record that is stored, in the order of keys and from the newest of each.
pub(crate) fn records<E: KvEngine>(engine: &E) -> Vec<Record> {
    let values = values(engine);
    let read = |(key, commit, value): (Key, u64, Vec<u8>)| {
        let write = Write::parse(&value).unwrap();
        let start = write.start_ts.into_inner();
        let key = key.to_raw().unwrap();
        let long = write.write_type == WriteType::Put && write.short_value.is_none();
        assert!(
            !long || values.contains(&(key.clone(), start)),
            "the value of {key:?}@{commit} is gone"
        );
        Record {
            key,
            commit,
            start,
            kind: write.write_type,
            long,
            fence: write.gc_fence.map_or(0, TimeStamp::into_inner),
        }
    };
    entries(engine, Cf::Write).into_iter().map(read).collect()
}

/// Which values stand in the default column family.
pub(crate) fn values<E: KvEngine>(engine: &E) -> Vec<(Vec<u8>, u64)> {
    entries(engine, Cf::Default)
        .into_iter()
        .map(|(key, start, _)| (key.to_raw().unwrap(), start))
        .collect()
}

/// What a read of `key` at `ts` finds: when its value was committed.
pub(crate) fn read(records: &[Record], key: &[u8], ts: u64) -> Option<u64> {
    let newest = records
        .iter()
        .find(|r| r.key == key && r.commit <= ts && r.kind.is_data())?;
    let believed = newest.fence == 0 || newest.fence > ts;
    (newest.kind == WriteType::Put && believed).then_some(newest.commit)
}
