//! An engine under the readers, without regions: the tests write its column families directly.

use std::num::NonZeroU64;

use engine_traits::{Cf, IterOptions, Iterable, KvEngine, Peekable, ReadOptions, WriteBatch};
use kv::Modify;
use txn_types::{Key, Lock, LockValue, TimeStamp, Write};

/// An engine under the readers.
pub(crate) struct Store<E: KvEngine> {
    engine: E,
}

impl<E: KvEngine> Store<E> {
    pub(crate) fn new(engine: E) -> Self {
        Self { engine }
    }

    pub(crate) fn snapshot(&self) -> TestSnapshot<E::Snapshot> {
        TestSnapshot(self.engine.snapshot())
    }

    pub(crate) fn apply(&self, modifies: Vec<Modify>) {
        let mut batch = self.engine.write_batch();
        for modify in modifies {
            match modify {
                Modify::Put(cf, key, value) => batch.put(cf, key.as_encoded(), &value),
                Modify::Delete(cf, key) => batch.delete(cf, key.as_encoded()),
                Modify::DeleteRange(cf, start, end) => {
                    batch.delete_range(cf, start.as_encoded(), end.as_encoded());
                }
            }
        }
        self.engine
            .write(batch, &engine_traits::WriteOptions::default())
            .unwrap();
    }

    pub(crate) fn put(&self, cf: Cf, key: Key, value: Vec<u8>) {
        self.apply(vec![Modify::Put(cf, key, value)]);
    }

    pub(crate) fn put_lock(&self, key: &Key, lock: Lock) {
        self.put(Cf::Lock, key.clone(), LockValue::Exclusive(lock).to_bytes());
    }

    pub(crate) fn put_write(&self, key: &Key, commit_ts: TimeStamp, write: &Write) {
        self.put(
            Cf::Write,
            key.clone().append_ts(commit_ts),
            write.to_bytes(),
        );
    }

    pub(crate) fn put_default(&self, key: &Key, start_ts: TimeStamp, value: Vec<u8>) {
        self.put(Cf::Default, key.clone().append_ts(start_ts), value);
    }

    /// Empties the data column families.
    pub(crate) fn clear(&self) {
        let mut batch = self.engine.write_batch();
        for cf in Cf::DATA {
            batch.delete_range(cf, b"", &[0xff; 32]);
        }
        self.engine
            .write(batch, &engine_traits::WriteOptions::default())
            .unwrap();
    }
}

/// A snapshot of an engine in the dress of a snapshot of a region.
#[derive(Clone)]
pub(crate) struct TestSnapshot<S>(S);

impl<S: engine_traits::Snapshot> kv::Snapshot for TestSnapshot<S> {
    type Iter = S::Iter;

    fn get_with<R>(
        &self,
        cf: Cf,
        key: &Key,
        opts: &ReadOptions,
        f: impl FnOnce(&[u8]) -> R,
    ) -> kv::Result<Option<R>> {
        Ok(Peekable::get_with(&self.0, cf, key.as_encoded(), opts, f)?)
    }

    fn iter(&self, cf: Cf, opts: IterOptions) -> kv::Result<Self::Iter> {
        Ok(Iterable::iter(&self.0, cf, opts)?)
    }

    fn term(&self) -> Option<NonZeroU64> {
        None
    }
}
