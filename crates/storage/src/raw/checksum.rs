//! A checksum over ranges that does not depend on how they are cut: the exclusive or of one CRC per pair.
//! Must never: count what a read would not return.

use std::future::Future;

use api_version::{CommandKind, KvFormat};
use engine_traits::Cf;
use kv::Engine;
use kvproto::kvrpcpb::{ChecksumAlgorithm, Context, KeyRange};
use lock_manager::LockManager;
use mvcc::Direction;
use tracker::TrackerHandle;
use txn_types::TimeStamp;

use crate::limits::request_bytes;
use crate::{Result, Storage};

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// Exclusive or of the CRC-64/XZ of each key and value together.
    pub checksum: u64,
    /// Pairs.
    pub total_kvs: u64,
    /// Bytes of their keys and values.
    pub total_bytes: u64,
}

impl Checksum {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let mut digest = crc64fast::Digest::new();
        digest.write(key);
        digest.write(value);
        self.checksum ^= digest.sum64();
        self.total_kvs += 1;
        self.total_bytes += (key.len() + value.len()) as u64;
    }
}

impl<E: Engine, L: LockManager, F: KvFormat> Storage<E, L, F> {
    /// The checksum of what the ranges of the default column family hold; an empty end is unbounded.
    pub fn raw_checksum(
        &self,
        ctx: Context,
        algorithm: ChecksumAlgorithm,
        ranges: Vec<KeyRange>,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Checksum>> + Send + 'static + use<E, L, F> {
        const KIND: &str = "raw_checksum";
        let this = self.clone();
        let ticket = self.admit_read(
            KIND,
            &ctx,
            TimeStamp::zero(),
            request_bytes(ranges.iter().map(range_bytes)),
        );
        self.spawn_read(ticket, &tracker.clone(), async move {
            match algorithm {
                ChecksumAlgorithm::Crc64_Xor => {}
            }
            for range in &ranges {
                let start = Some(range.get_start_key());
                this.check_raw_range(CommandKind::RawChecksum, &ctx, start, bound(range))?;
            }
            let fill_cache = !ctx.get_not_fill_cache();
            let snapshot = this.raw_snapshot(ctx, &tracker).await?;
            let view = this.raw_view(&snapshot, Cf::Default, fill_cache);
            let mut sum = Checksum::default();
            for range in &ranges {
                let start = Some(range.get_start_key());
                let mut pairs = view.scan(start, bound(range), Direction::Forward)?;
                while let Some((key, value)) = pairs.next(false).await? {
                    sum.add(&key, &value);
                }
            }
            Ok(sum)
        })
    }
}

fn range_bytes(range: &KeyRange) -> usize {
    range.get_start_key().len() + range.get_end_key().len()
}

fn bound(range: &KeyRange) -> Option<&[u8]> {
    Some(range.get_end_key()).filter(|end| !end.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_crc_64_xz() {
        let mut sum = Checksum::default();
        sum.add(b"1234", b"56789");
        // The check value of CRC-64/XZ.
        assert_eq!(sum.checksum, 0x995d_c9bb_df19_39fa);
        assert_eq!((sum.total_kvs, sum.total_bytes), (1, 9));
        sum.add(b"1234", b"56789");
        assert_eq!(sum.checksum, 0);
    }
}
