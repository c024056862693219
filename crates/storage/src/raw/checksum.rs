//! A checksum over ranges that does not depend on how they are cut: the exclusive or of one CRC per pair.
//! Must never: count what a read would not return.

use std::future::Future;

use api_version::{CommandKind, KvFormat};
use engine_traits::{Cf, EngineIterator, IterOptions};
use kv::{Engine, Snapshot};
use kvproto::kvrpcpb::{ChecksumAlgorithm, Context, KeyRange};
use lock_manager::LockManager;
use tracker::TrackerHandle;
use txn_types::TimeStamp;

use super::format;
use crate::reads::yield_now;
use crate::{Result, Storage};

/// Pairs that are counted before other tasks of the pool may run.
const YIELD_KEYS: u64 = 256;

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
        let envelope = ctx.clone();
        self.spawn_read(
            KIND,
            &envelope,
            TimeStamp::zero(),
            &tracker.clone(),
            async move {
                match algorithm {
                    ChecksumAlgorithm::Crc64_Xor => {}
                }
                for range in &ranges {
                    let start = Some(range.get_start_key());
                    this.check_raw_range(CommandKind::RawChecksum, &ctx, start, bound(range))?;
                }
                let fill_cache = !ctx.get_not_fill_cache();
                let snapshot = this.raw_snapshot(ctx, &tracker).await?;
                let mut sum = Checksum::default();
                for range in &ranges {
                    add_range::<F, _>(&mut sum, &snapshot, range, fill_cache).await?;
                }
                Ok(sum)
            },
        )
    }
}

fn bound(range: &KeyRange) -> Option<&[u8]> {
    Some(range.get_end_key()).filter(|end| !end.is_empty())
}

async fn add_range<F: KvFormat, S: Snapshot>(
    sum: &mut Checksum,
    snapshot: &S,
    range: &KeyRange,
    fill_cache: bool,
) -> Result<()> {
    let options = IterOptions {
        lower: Some(format::encode_key::<F>(range.get_start_key()).into_encoded()),
        upper: bound(range).map(|end| format::encode_key::<F>(end).into_encoded()),
        fill_cache,
        ..IterOptions::default()
    };
    let mut iter = snapshot.iter(Cf::Default, options)?;
    let mut valid = iter.seek_to_first().map_err(kv::Error::from)?;
    let mut met = 0u64;
    while valid {
        if let Some(value) = format::decode_value::<F>(iter.value())? {
            sum.add(&format::decode_key::<F>(iter.key())?, &value);
        }
        met += 1;
        if met.is_multiple_of(YIELD_KEYS) {
            yield_now().await;
        }
        valid = iter.next().map_err(kv::Error::from)?;
    }
    Ok(())
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
