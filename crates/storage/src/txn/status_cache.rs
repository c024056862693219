//! Transactions that committed lately.
//!
//! A pessimistic prewrite does not look for newer versions of keys that it did not lock, because its other locks keep
//! the transaction safe. A copy of it that arrives after the commit, when these locks are gone, would lock such a key
//! again, and nobody would ever unlock it. Whoever finds the transaction here makes the checks in full.
//!
//! What is forgotten costs nothing but this protection, so the cache holds a bounded number of transactions, each for
//! a bounded time.
//! Must never: be asked for the fate of a transaction that it does not know; absence says nothing.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use runtime::{Clock, Instant};
use txn_types::TimeStamp;

const SHARDS: usize = 128;

/// How long a transaction is remembered: longer than a request can be on its way.
const RETENTION: Duration = Duration::from_secs(30);

/// Transactions of one shard; all shards together take at most 20 MiB.
const SHARD_TXNS_MAX: usize = 2048;

#[derive(Debug, Default)]
struct Shard {
    committed: HashMap<TimeStamp, TimeStamp>,
    /// In order of arrival.
    ages: VecDeque<(Instant, TimeStamp)>,
}

impl Shard {
    /// Drops what is too old, and the oldest where there is no room for one more.
    fn drop_old(&mut self, now: Instant) {
        while let Some((since, start_ts)) = self.ages.front() {
            let old = now.saturating_duration_since(*since) >= RETENTION;
            if !old && self.ages.len() < SHARD_TXNS_MAX {
                return;
            }
            self.committed.remove(start_ts);
            self.ages.pop_front();
        }
    }
}

/// Start and commit timestamps of transactions that committed lately on this store.
#[derive(Debug)]
pub struct TxnStatusCache {
    shards: Box<[Mutex<Shard>]>,
    clock: Clock,
}

impl TxnStatusCache {
    /// An empty cache; `clock` tells what is too old.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            clock,
        }
    }

    fn shard(&self, start_ts: TimeStamp) -> &Mutex<Shard> {
        // Physical and logical part both change from one transaction to the next.
        let hash = start_ts.into_inner().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57;
        &self.shards[hash as usize % SHARDS]
    }

    /// Remembers that the transaction started at `start_ts` committed at `commit_ts`.
    pub(super) fn insert(&self, start_ts: TimeStamp, commit_ts: TimeStamp) {
        let now = self.clock.now();
        let mut shard = self.shard(start_ts).lock();
        shard.drop_old(now);
        if shard.committed.insert(start_ts, commit_ts).is_none() {
            shard.ages.push_back((now, start_ts));
        }
    }

    /// Where the transaction committed, if that is remembered.
    pub fn committed(&self, start_ts: TimeStamp) -> Option<TimeStamp> {
        let now = self.clock.now();
        let mut shard = self.shard(start_ts).lock();
        if !shard.committed.contains_key(&start_ts) {
            return None;
        }
        shard.drop_old(now);
        shard.committed.get(&start_ts).copied()
    }
}

#[cfg(test)]
mod tests {
    use runtime::Stepper;

    use super::*;

    #[test]
    fn a_commit_is_remembered_for_thirty_seconds() {
        let stepper = Stepper::new(1);
        let cache = TxnStatusCache::new(stepper.clock());
        cache.insert(10.into(), 20.into());
        stepper.advance(Duration::from_secs(29));
        assert_eq!(cache.committed(10.into()), Some(20.into()));
        assert_eq!(cache.committed(11.into()), None);
        stepper.advance(Duration::from_secs(1));
        assert_eq!(cache.committed(10.into()), None);
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let stepper = Stepper::new(1);
        let cache = TxnStatusCache::new(stepper.clock());
        for start in 1..=2 * (SHARDS * SHARD_TXNS_MAX) as u64 {
            cache.insert(start.into(), TimeStamp::max());
        }
        for shard in &cache.shards {
            let shard = shard.lock();
            assert!(shard.ages.len() <= SHARD_TXNS_MAX);
            assert_eq!(shard.ages.len(), shard.committed.len());
        }
    }
}
