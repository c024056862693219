//! The write batch, built directly in RocksDB's representation.
//!
//! The binding lacks save points and appending; in the representation both are a length. It is
//! what RocksDB writes to its log, so its format does not change:
//!
//! - 8 bytes of sequence number, which RocksDB fills in; 4 bytes of count, little-endian;
//! - then records: a tag, for column families other than the default one the id as a varint, and
//!   one or two byte strings, each with its length as a varint before it.
//!
//! A test compares with batches that RocksDB itself builds.

use engine_traits::{Cf, Error, Result, WriteBatch};

const HEADER_LEN: usize = 12;
const COUNT_AT: usize = 8;

/// Tag of an operation in the default column family, and in any other.
#[derive(Clone, Copy)]
struct Tags {
    default_cf: u8,
    other_cf: u8,
}

const PUT: Tags = Tags {
    default_cf: 0x1,
    other_cf: 0x5,
};
const DELETE: Tags = Tags {
    default_cf: 0x0,
    other_cf: 0x4,
};
const DELETE_RANGE: Tags = Tags {
    default_cf: 0xf,
    other_cf: 0xe,
};

/// Ids that the database gave its column families, in the order of [`Cf::ALL`].
pub(crate) type CfIds = [u32; Cf::ALL.len()];

/// A batch for a [`RocksEngine`](crate::RocksEngine).
#[derive(Clone, Debug)]
pub struct RocksWriteBatch {
    rep: Vec<u8>,
    count: u32,
    /// Length and count at each save point.
    save_points: Vec<(usize, u32)>,
    cf_ids: CfIds,
    /// A key or value that the format cannot hold was given; the batch is refused as a whole.
    oversized: bool,
}

impl RocksWriteBatch {
    pub(crate) fn new(cf_ids: CfIds) -> Self {
        let rep = vec![0; HEADER_LEN];
        RocksWriteBatch {
            rep,
            count: 0,
            save_points: Vec::new(),
            cf_ids,
            oversized: false,
        }
    }

    /// The representation, complete.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        if self.oversized {
            return Err(Error::InvalidArgument(
                "a key or value of 4 GiB or more".into(),
            ));
        }
        self.rep[COUNT_AT..HEADER_LEN].copy_from_slice(&self.count.to_le_bytes());
        Ok(self.rep)
    }

    fn push(&mut self, tags: Tags, cf: Cf, strings: &[&[u8]]) {
        if strings
            .iter()
            .any(|string| u32::try_from(string.len()).is_err())
        {
            self.oversized = true;
            return;
        }
        match self.cf_ids[cf.index()] {
            0 => self.rep.push(tags.default_cf),
            id => {
                self.rep.push(tags.other_cf);
                push_varint(&mut self.rep, id);
            }
        }
        for string in strings {
            // Below 2^32: see above.
            push_varint(&mut self.rep, string.len() as u32);
            self.rep.extend_from_slice(string);
        }
        self.count += 1;
    }

    fn take_save_point(&mut self) -> Result<(usize, u32)> {
        self.save_points
            .pop()
            .ok_or_else(|| Error::InvalidArgument("the batch has no save point".into()))
    }
}

fn push_varint(out: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The id of a column family, read from a batch with one put of nothing that RocksDB built.
pub(crate) fn cf_id_of_probe(rep: &[u8]) -> Option<u32> {
    let (tag, mut rest) = rep.get(HEADER_LEN..)?.split_first()?;
    if *tag == PUT.default_cf {
        return Some(0);
    }
    let mut id = 0;
    for shift in (0..32).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        id |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (*tag == PUT.other_cf).then_some(id);
        }
        rest = tail;
    }
    None
}

impl WriteBatch for RocksWriteBatch {
    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        self.push(PUT, cf, &[key, value]);
    }

    fn delete(&mut self, cf: Cf, key: &[u8]) {
        self.push(DELETE, cf, &[key]);
    }

    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]) {
        if start < end {
            self.push(DELETE_RANGE, cf, &[start, end]);
        }
    }

    fn len(&self) -> usize {
        self.count as usize
    }

    fn byte_size(&self) -> usize {
        self.rep.len()
    }

    fn clear(&mut self) {
        *self = RocksWriteBatch::new(self.cf_ids);
    }

    fn append(&mut self, other: Self) {
        debug_assert_eq!(self.cf_ids, other.cf_ids, "batches of two databases");
        self.rep.extend_from_slice(&other.rep[HEADER_LEN..]);
        self.count += other.count;
        self.oversized |= other.oversized;
    }

    fn set_save_point(&mut self) {
        self.save_points.push((self.rep.len(), self.count));
    }

    fn rollback_to_save_point(&mut self) -> Result<()> {
        let (len, count) = self.take_save_point()?;
        self.rep.truncate(len);
        self.count = count;
        Ok(())
    }

    fn pop_save_point(&mut self) -> Result<()> {
        self.take_save_point().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What RocksDB builds for the default column family, whose id is 0.
    fn theirs() -> Vec<u8> {
        let mut batch = rocksdb::WriteBatch::default();
        batch.put(b"key", vec![7; 300]);
        batch.delete(b"");
        batch.delete_range(b"a", b"b");
        batch.data().to_vec()
    }

    #[test]
    fn it_builds_what_rocksdb_builds() {
        let mut batch = RocksWriteBatch::new([0, 1, 2, 3]);
        batch.put(Cf::Default, b"key", &[7; 300]);
        batch.set_save_point();
        batch.put(Cf::Write, b"gone", b"");
        batch.rollback_to_save_point().unwrap();
        batch.delete(Cf::Default, b"");
        let mut tail = RocksWriteBatch::new([0, 1, 2, 3]);
        tail.delete_range(Cf::Default, b"a", b"b");
        tail.delete_range(Cf::Default, b"b", b"a");
        batch.append(tail);
        assert_eq!(batch.len(), 3);
        assert_eq!(batch.byte_size(), theirs().len());
        assert_eq!(batch.finish().unwrap(), theirs());
    }

    #[test]
    fn rocksdb_reads_other_column_families_back() {
        #[derive(Default)]
        struct Seen(Vec<(u32, Vec<u8>, Option<Vec<u8>>)>);
        impl rocksdb::WriteBatchIteratorCf for Seen {
            fn put_cf(&mut self, cf: u32, key: &[u8], value: &[u8]) {
                self.0.push((cf, key.to_vec(), Some(value.to_vec())));
            }
            fn delete_cf(&mut self, cf: u32, key: &[u8]) {
                self.0.push((cf, key.to_vec(), None));
            }
            fn merge_cf(&mut self, _: u32, _: &[u8], _: &[u8]) {}
        }
        let mut batch = RocksWriteBatch::new([0, 5, 200, 70_000]);
        batch.put(Cf::Lock, b"k", b"v");
        batch.put(Cf::Raft, b"k", &[1; 20_000]);
        batch.delete(Cf::Write, b"k");
        let mut seen = Seen::default();
        rocksdb::WriteBatch::from_data(&batch.finish().unwrap()).iterate_cf(&mut seen);
        let expected = [
            (5, b"k".to_vec(), Some(b"v".to_vec())),
            (70_000, b"k".to_vec(), Some(vec![1; 20_000])),
            (200, b"k".to_vec(), None),
        ];
        assert_eq!(seen.0, expected);
    }

    #[test]
    fn a_probe_tells_the_id() {
        for id in [0, 1, 127, 128, 70_000, u32::MAX] {
            let mut probe = RocksWriteBatch::new([id; 4]);
            probe.put(Cf::Lock, b"", b"");
            assert_eq!(cf_id_of_probe(&probe.finish().unwrap()), Some(id));
        }
        assert_eq!(cf_id_of_probe(&[0; HEADER_LEN]), None);
        assert_eq!(cf_id_of_probe(&theirs()[..4]), None);
    }
}
