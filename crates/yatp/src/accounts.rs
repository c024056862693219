//! How long the tasks of each id have run, and the level that follows. Owns the accounts of recent
//! ids; must never grow with the number of ids ever seen: an account that nobody used for two
//! periods is forgotten.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use runtime::Instant;

/// Levels of the feedback queue.
pub const LEVELS: usize = 3;

/// A task leaves a level when its account reaches the level's bound.
pub const LEVEL_BOUNDS: [Duration; LEVELS - 1] =
    [Duration::from_millis(5), Duration::from_millis(100)];

/// An account lives at least this long after its last use.
const PERIOD: Duration = Duration::from_secs(10);

/// A shard with so many accounts begins a new period early.
const SHARD_CAPACITY: usize = 4_096;

const SHARDS: usize = 16;

/// Running time of one task id.
#[derive(Debug, Default)]
pub(crate) struct Account(AtomicU64);

impl Account {
    /// Books a run.
    pub(crate) fn add(&self, ran: Duration) {
        // 2^64 ns are five centuries of running.
        self.0.fetch_add(
            u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// The level of its tasks: 0 for who has run least.
    pub(crate) fn level(&self) -> usize {
        let ran = Duration::from_nanos(self.0.load(Ordering::Relaxed));
        LEVEL_BOUNDS.iter().filter(|&&bound| ran >= bound).count()
    }
}

/// Accounts by task id.
#[derive(Default)]
pub(crate) struct Accounts {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    /// Used in this period.
    current: HashMap<u64, Arc<Account>>,
    /// Used in the period before, not since.
    previous: HashMap<u64, Arc<Account>>,
    period_end: Option<Instant>,
}

impl Accounts {
    /// The account of `task_id`; 0 has a new one each time.
    pub(crate) fn get(&self, task_id: u64, now: Instant) -> Arc<Account> {
        if task_id == 0 {
            return Arc::default();
        }
        // Ids are often timestamps whose low bits are zero: mix before taking a shard.
        let mixed = task_id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let mut shard = self.shards[(mixed % SHARDS as u64) as usize].lock();
        shard.get(task_id, now)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                let shard = shard.lock();
                shard.current.len() + shard.previous.len()
            })
            .sum()
    }
}

impl Shard {
    fn get(&mut self, task_id: u64, now: Instant) -> Arc<Account> {
        if self.period_end.is_none_or(|end| now >= end) || self.current.len() >= SHARD_CAPACITY {
            self.previous = std::mem::take(&mut self.current);
            self.period_end = Some(now + PERIOD);
        }
        if let Some(account) = self.current.get(&task_id) {
            return account.clone();
        }
        let account = self.previous.remove(&task_id).unwrap_or_default();
        self.current.insert(task_id, account.clone());
        account
    }
}

#[cfg(test)]
mod tests {
    use runtime::VirtualClock;

    use super::*;

    #[test]
    fn levels_follow_running_time() {
        let account = Account::default();
        assert_eq!(account.level(), 0);
        account.add(Duration::from_micros(4_999));
        assert_eq!(account.level(), 0);
        account.add(Duration::from_micros(1));
        assert_eq!(account.level(), 1);
        account.add(Duration::from_millis(94));
        assert_eq!(account.level(), 1);
        account.add(Duration::from_millis(1));
        assert_eq!(account.level(), 2);
        account.add(Duration::from_secs(1));
        assert_eq!(account.level(), LEVELS - 1);
    }

    #[test]
    fn one_id_has_one_account_and_zero_has_none() {
        let (accounts, now) = (Accounts::default(), VirtualClock::new().now());
        accounts.get(7, now).add(Duration::from_secs(1));
        assert_eq!(accounts.get(7, now).level(), 2);
        assert_eq!(accounts.get(8, now).level(), 0);
        accounts.get(0, now).add(Duration::from_secs(1));
        assert_eq!(accounts.get(0, now).level(), 0);
    }

    #[test]
    fn accounts_outlive_a_period_when_used_and_are_forgotten_when_not() {
        let (accounts, time) = (Accounts::default(), VirtualClock::new());
        accounts.get(7, time.now()).add(Duration::from_secs(1));
        for _ in 0..5 {
            time.advance(PERIOD);
            assert_eq!(accounts.get(7, time.now()).level(), 2);
        }
        time.advance(PERIOD * 2);
        let mut shard = Shard::default();
        shard.get(7, time.now()).add(Duration::from_secs(1));
        time.advance(PERIOD);
        shard.get(8, time.now());
        time.advance(PERIOD);
        shard.get(8, time.now());
        assert_eq!(shard.get(7, time.now()).level(), 0);
    }

    #[test]
    fn memory_is_bounded_within_a_period() {
        let (accounts, now) = (Accounts::default(), VirtualClock::new().now());
        for id in 1..400_000 {
            let _ = accounts.get(id, now);
        }
        assert!(accounts.len() <= 2 * SHARDS * SHARD_CAPACITY);
    }
}
