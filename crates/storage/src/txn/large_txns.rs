//! What the clients of large transactions tell of them while they run.
//!
//! The locks of a pipelined transaction lie about for as long as it runs, and each holds back what has to be below
//! every unfinished transaction: the resolved timestamp. Its client therefore pushes its earliest commit timestamp from
//! time to time and tells all stores of it, and of its end. Only the resolved timestamp may be computed from that; who
//! meets a lock asks the transaction's primary as ever.
//!
//! It is a hint, so a bounded number of transactions is kept, each for a bounded time after its client's last word.
//! Must never: be asked whether a lock may be passed or removed.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use runtime::{Clock, Instant};
use txn_types::TimeStamp;

/// How long a transaction is remembered: three times as long as a client is silent.
const RETENTION: Duration = Duration::from_secs(30);

/// Transactions at most: they take at most 2 MiB.
const TXNS_MAX: usize = 10_000;

/// What became of a large transaction, by its client's last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeTxnStatus {
    /// It runs and will not commit below this timestamp.
    Ongoing(TimeStamp),
    /// It is committed at this timestamp; not all of its locks need be gone.
    Committed(TimeStamp),
    /// It is rolled back; not all of its locks need be gone.
    RolledBack,
}

impl LargeTxnStatus {
    /// The later of two words, which may arrive in any order: a transaction only ever moves forward.
    fn after(self, earlier: Self) -> Self {
        match (earlier, self) {
            (Self::Ongoing(before), Self::Ongoing(now)) => Self::Ongoing(before.max(now)),
            (Self::Ongoing(_), ended) => ended,
            (ended, _) => ended,
        }
    }
}

#[derive(Debug, Default)]
struct Txns {
    /// Each with its place in `ages`.
    by_start: HashMap<TimeStamp, (u64, LargeTxnStatus)>,
    /// In order of the last word.
    ages: BTreeMap<u64, (Instant, TimeStamp)>,
    words: u64,
}

impl Txns {
    fn forget(&mut self, start_ts: TimeStamp) -> Option<LargeTxnStatus> {
        let (age, status) = self.by_start.remove(&start_ts)?;
        self.ages.remove(&age);
        Some(status)
    }

    /// Drops what is too old, and the oldest where there are more than `room`.
    fn drop_old(&mut self, now: Instant, room: usize) {
        while let Some((_, &(since, start_ts))) = self.ages.first_key_value() {
            let is_old = now.saturating_duration_since(since) >= RETENTION;
            if !is_old && self.ages.len() <= room {
                return;
            }
            self.forget(start_ts);
        }
    }
}

/// The large transactions that clients have told of lately.
#[derive(Debug)]
pub struct LargeTxns {
    txns: Mutex<Txns>,
    clock: Clock,
}

impl LargeTxns {
    /// Knows of none; `clock` tells what is too old.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            txns: Mutex::default(),
            clock,
        }
    }

    /// Takes note of a client's word.
    pub fn tell(&self, start_ts: TimeStamp, status: LargeTxnStatus) {
        let now = self.clock.now();
        let mut txns = self.txns.lock();
        let status = match txns.forget(start_ts) {
            Some(earlier) => status.after(earlier),
            None => status,
        };
        txns.drop_old(now, TXNS_MAX - 1);
        txns.words += 1;
        let age = txns.words;
        txns.by_start.insert(start_ts, (age, status));
        txns.ages.insert(age, (now, start_ts));
    }

    /// The client says that none of the transaction's locks is left.
    pub fn forget(&self, start_ts: TimeStamp) {
        self.txns.lock().forget(start_ts);
    }

    /// What is known of a transaction. Nothing says nothing.
    pub fn status(&self, start_ts: TimeStamp) -> Option<LargeTxnStatus> {
        let now = self.clock.now();
        let mut txns = self.txns.lock();
        txns.drop_old(now, TXNS_MAX);
        txns.by_start.get(&start_ts).map(|(_, status)| *status)
    }
}

#[cfg(test)]
mod tests {
    use runtime::Stepper;

    use super::LargeTxnStatus::{Committed, Ongoing, RolledBack};
    use super::*;

    fn ts(ts: u64) -> TimeStamp {
        TimeStamp::new(ts)
    }

    #[test]
    fn a_transaction_only_moves_forward() {
        let stepper = Stepper::new(1);
        let txns = LargeTxns::new(stepper.clock());
        assert_eq!(txns.status(ts(10)), None);
        for (told, known) in [
            (Ongoing(ts(20)), Ongoing(ts(20))),
            (Ongoing(ts(15)), Ongoing(ts(20))),
            (Ongoing(ts(30)), Ongoing(ts(30))),
            (Committed(ts(40)), Committed(ts(40))),
            (Ongoing(ts(50)), Committed(ts(40))),
            (RolledBack, Committed(ts(40))),
        ] {
            txns.tell(ts(10), told);
            assert_eq!(txns.status(ts(10)), Some(known), "after {told:?}");
        }
        txns.forget(ts(10));
        assert_eq!(txns.status(ts(10)), None);
        txns.forget(ts(10));
    }

    #[test]
    fn a_silent_client_is_forgotten_and_one_that_speaks_is_not() {
        let stepper = Stepper::new(1);
        let txns = LargeTxns::new(stepper.clock());
        txns.tell(ts(10), Ongoing(ts(20)));
        txns.tell(ts(11), Ongoing(ts(21)));
        stepper.advance(Duration::from_secs(20));
        txns.tell(ts(10), Ongoing(ts(20)));
        stepper.advance(Duration::from_secs(10));
        assert_eq!(txns.status(ts(11)), None);
        assert_eq!(txns.status(ts(10)), Some(Ongoing(ts(20))));
        stepper.advance(Duration::from_secs(20));
        assert_eq!(txns.status(ts(10)), None);
    }

    #[test]
    fn a_flood_drops_the_oldest_and_grows_nothing() {
        let stepper = Stepper::new(1);
        let txns = LargeTxns::new(stepper.clock());
        let flood = 3 * TXNS_MAX as u64;
        for start in 1..=flood {
            txns.tell(ts(start), RolledBack);
        }
        let inner = txns.txns.lock();
        assert_eq!(inner.by_start.len(), TXNS_MAX);
        assert_eq!(inner.ages.len(), TXNS_MAX);
        assert!(inner.by_start.contains_key(&ts(flood)));
        assert!(!inner.by_start.contains_key(&ts(flood - TXNS_MAX as u64)));
    }
}
