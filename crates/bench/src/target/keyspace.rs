//! The data, and the requests about it. Keys of 16 bytes, values of 100.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvproto::{kvrpcpb, metapb};

use crate::random::Random;

/// How many keys there are: they fit into every cache, reads are of cached values.
pub(crate) const KEYS: u64 = 100_000;
/// The length of a value.
pub(crate) const VALUE_BYTES: usize = 100;
/// Rows of a scan.
pub(crate) const SCAN_ROWS: u64 = 1000;
/// How long a lock is respected; longer than any run.
pub(super) const LOCK_TTL_MS: u64 = 60_000;

/// Key `number` of the family `prefix`: `r` raw, `t` transactional, `w` written by transactions.
pub(crate) fn key(prefix: u8, number: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(16);
    key.push(prefix);
    key.extend_from_slice(format!("{:015}", number % 1_000_000_000_000_000).as_bytes());
    key
}

/// Makes requests as a client does that knows the region.
#[derive(Clone)]
pub(crate) struct Keyspace {
    context: Arc<kvrpcpb::Context>,
    value: Arc<Vec<u8>>,
    /// Reads see what was written up to here.
    read_ts: u64,
    next_ts: Arc<AtomicU64>,
}

impl Keyspace {
    pub(crate) fn new(region: &metapb::Region, peer: metapb::Peer, now: u64) -> Keyspace {
        let mut context = kvrpcpb::Context::default();
        context.set_region_id(region.get_id());
        context.set_region_epoch(region.get_region_epoch().clone());
        context.set_peer(peer);
        Keyspace {
            context: Arc::new(context),
            value: Arc::new(Random::new(0).bytes(VALUE_BYTES)),
            read_ts: now,
            next_ts: Arc::new(AtomicU64::new(now + 1)),
        }
    }

    pub(super) fn context(&self) -> kvrpcpb::Context {
        kvrpcpb::Context::clone(&self.context)
    }

    /// A timestamp that no other transaction has. They are counted up from one that the placement
    /// driver gave, far slower than its clock runs.
    pub(crate) fn timestamp(&self) -> u64 {
        self.next_ts.fetch_add(1, Ordering::Relaxed)
    }

    /// A key of a transaction that was committed before everything.
    pub(crate) fn any_key(&self, random: &mut Random) -> Vec<u8> {
        key(b't', random.below(KEYS))
    }

    pub(crate) fn raw_get(&self, random: &mut Random) -> kvrpcpb::RawGetRequest {
        let mut request = kvrpcpb::RawGetRequest::default();
        request.set_context(self.context());
        request.set_key(key(b'r', random.below(KEYS)));
        request
    }

    pub(crate) fn kv_get(&self, random: &mut Random) -> kvrpcpb::GetRequest {
        let mut request = kvrpcpb::GetRequest::default();
        request.set_context(self.context());
        request.set_key(key(b't', random.below(KEYS)));
        request.set_version(self.read_ts);
        request
    }

    pub(crate) fn raw_put(&self, random: &mut Random) -> kvrpcpb::RawPutRequest {
        let mut request = kvrpcpb::RawPutRequest::default();
        request.set_context(self.context());
        request.set_key(key(b'p', random.below(KEYS)));
        request.set_value(self.value.to_vec());
        request
    }

    /// `count` keys from `first` on, for loading.
    pub(crate) fn raw_batch_put(&self, first: u64, count: u64) -> kvrpcpb::RawBatchPutRequest {
        let mut request = kvrpcpb::RawBatchPutRequest::default();
        request.set_context(self.context());
        for number in first..first + count {
            let mut pair = kvrpcpb::KvPair::default();
            pair.set_key(key(b'r', number));
            pair.set_value(Random::new(number).bytes(VALUE_BYTES));
            request.mut_pairs().push(pair);
        }
        request
    }

    /// [`SCAN_ROWS`] rows from a random place.
    pub(crate) fn kv_scan(&self, random: &mut Random) -> kvrpcpb::ScanRequest {
        let mut request = kvrpcpb::ScanRequest::default();
        request.set_context(self.context());
        request.set_start_key(key(b't', random.below(KEYS - SCAN_ROWS)));
        request.set_limit(u32::try_from(SCAN_ROWS).unwrap_or(u32::MAX));
        request.set_version(self.read_ts);
        request
    }

    /// A scan that reads so many rows and answers with three: costly for the server, cheap for
    /// the client. It may take `max_execution_ms`.
    pub(crate) fn kv_sample(
        &self,
        random: &mut Random,
        rows: u64,
        max_execution_ms: u64,
    ) -> kvrpcpb::ScanRequest {
        let mut request = self.kv_scan(random);
        request.set_start_key(key(b't', random.below(KEYS - rows)));
        request
            .mut_context()
            .set_max_execution_duration_ms(max_execution_ms);
        // Every client reads at a timestamp of its own; by it the server tells their requests apart.
        request.set_version(self.timestamp());
        request.set_limit(3);
        request.set_sample_step(u32::try_from(rows / 2).unwrap_or(u32::MAX));
        request
    }

    /// The first phase of a transaction on `keys`, the first of which is the primary.
    pub(crate) fn prewrite(&self, keys: Vec<Vec<u8>>, start_ts: u64) -> kvrpcpb::PrewriteRequest {
        let mut request = kvrpcpb::PrewriteRequest::default();
        request.set_context(self.context());
        request.set_primary_lock(keys.first().cloned().unwrap_or_default());
        request.set_start_version(start_ts);
        request.set_lock_ttl(LOCK_TTL_MS);
        request.set_txn_size(keys.len() as u64);
        for key in keys {
            let mut mutation = kvrpcpb::Mutation::default();
            mutation.set_op(kvrpcpb::Op::Put);
            mutation.set_key(key);
            mutation.set_value(self.value.to_vec());
            request.mut_mutations().push(mutation);
        }
        request
    }

    /// The second phase.
    pub(crate) fn commit(
        &self,
        keys: Vec<Vec<u8>>,
        start_ts: u64,
        commit_ts: u64,
    ) -> kvrpcpb::CommitRequest {
        let mut request = kvrpcpb::CommitRequest::default();
        request.set_context(self.context());
        request.set_keys(keys.into());
        request.set_start_version(start_ts);
        request.set_commit_version(commit_ts);
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_and_of_one_length() {
        assert_eq!(key(b'r', 7), b"r000000000000007");
        assert!(key(b't', 9) < key(b't', 10));
        assert_eq!(key(b't', u64::MAX).len(), 16);
    }

    #[test]
    fn timestamps_are_given_once() {
        let region = metapb::Region::default();
        let keyspace = Keyspace::new(&region, metapb::Peer::default(), 100);
        let (one, two) = (keyspace.timestamp(), keyspace.clone().timestamp());
        assert!(100 < one && one < two);
    }
}
