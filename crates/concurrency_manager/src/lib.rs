//! `max_ts` and its limit: two atomics shared by every handle of a store.
//! Must never: block, lower `max_ts`, or let `u64::MAX` in.
#![doc = include_str!("../README.md")]

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use txn_types::TimeStamp;

/// A timestamp beyond what the placement driver can have handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
// Clients search the text for `invalid max_ts update`.
#[error("invalid max_ts update: {attempted} exceeds the limit {limit}, source: {source_name}")]
pub struct InvalidMaxTsUpdate {
    /// The refused timestamp.
    pub attempted: TimeStamp,
    /// The limit in force.
    pub limit: TimeStamp,
    /// Which command asked.
    pub source_name: &'static str,
}

/// What happens with a timestamp above the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InvalidMaxTsAction {
    /// Refuse the request.
    #[default]
    Error,
    /// Log it and accept the timestamp.
    Log,
}

#[derive(Debug)]
struct Shared {
    max_ts: AtomicU64,
    /// Zero: no limit known yet.
    limit: AtomicU64,
    action: InvalidMaxTsAction,
}

/// A handle on the store's `max_ts`; clones share it.
#[derive(Clone, Debug)]
pub struct ConcurrencyManager {
    shared: Arc<Shared>,
}

impl ConcurrencyManager {
    /// A manager that starts at `initial` (a recent TSO) and refuses timestamps above the limit.
    pub fn new(initial: TimeStamp) -> Self {
        Self::with_action(initial, InvalidMaxTsAction::Error)
    }

    /// A manager with a chosen treatment of timestamps above the limit.
    pub fn with_action(initial: TimeStamp, action: InvalidMaxTsAction) -> Self {
        let initial = if initial.is_max() {
            TimeStamp::zero()
        } else {
            initial
        };
        Self {
            shared: Arc::new(Shared {
                max_ts: AtomicU64::new(initial.into_inner()),
                limit: AtomicU64::new(0),
                action,
            }),
        }
    }

    /// The largest timestamp used so far.
    pub fn max_ts(&self) -> TimeStamp {
        TimeStamp::from(self.shared.max_ts.load(Ordering::SeqCst))
    }

    /// Raises `max_ts` to at least `ts`; `source` names the command for the error text and the log.
    ///
    /// Sequentially consistent: a reader raises and then looks at locks, a writer publishes its lock and then loads.
    /// One of the two must see the other.
    pub fn update_max_ts(
        &self,
        ts: TimeStamp,
        source: &'static str,
    ) -> Result<(), InvalidMaxTsUpdate> {
        if ts.is_max() {
            return Ok(());
        }
        let limit = TimeStamp::from(self.shared.limit.load(Ordering::SeqCst));
        if !limit.is_zero() && ts > limit {
            match self.shared.action {
                InvalidMaxTsAction::Error => {
                    return Err(InvalidMaxTsUpdate {
                        attempted: ts,
                        limit,
                        source_name: source,
                    });
                }
                InvalidMaxTsAction::Log => tracing::warn!(
                    attempted = ts.into_inner(),
                    limit = limit.into_inner(),
                    source,
                    "max_ts raised above its limit"
                ),
            }
        }
        self.shared
            .max_ts
            .fetch_max(ts.into_inner(), Ordering::SeqCst);
        Ok(())
    }

    /// Sets the limit: the latest TSO known to the store plus the allowed drift. It never goes back.
    pub fn set_max_ts_limit(&self, limit: TimeStamp) {
        if !limit.is_max() {
            self.shared
                .limit
                .fetch_max(limit.into_inner(), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(v: u64) -> TimeStamp {
        TimeStamp::from(v)
    }

    #[test]
    fn max_ts_only_grows_and_clones_share_it() {
        let cm = ConcurrencyManager::new(ts(5));
        let other = cm.clone();
        other.update_max_ts(ts(10), "get").unwrap();
        assert_eq!(cm.max_ts(), ts(10));
        cm.update_max_ts(ts(7), "get").unwrap();
        assert_eq!(other.max_ts(), ts(10));
    }

    #[test]
    fn latest_read_leaves_max_ts() {
        let cm = ConcurrencyManager::new(ts(5));
        cm.set_max_ts_limit(ts(100));
        cm.update_max_ts(TimeStamp::max(), "get").unwrap();
        assert_eq!(cm.max_ts(), ts(5));
        assert_eq!(ConcurrencyManager::new(TimeStamp::max()).max_ts(), ts(0));
    }

    #[test]
    fn above_the_limit_is_refused() {
        let cm = ConcurrencyManager::new(ts(5));
        cm.set_max_ts_limit(ts(100));
        cm.update_max_ts(ts(100), "scan").unwrap();
        let err = cm.update_max_ts(ts(101), "scan").unwrap_err();
        assert_eq!(
            err.to_string(),
            "invalid max_ts update: 101 exceeds the limit 100, source: scan"
        );
        assert_eq!(cm.max_ts(), ts(100));
        cm.set_max_ts_limit(ts(50));
        cm.update_max_ts(ts(90), "scan").unwrap();
    }

    #[test]
    fn above_the_limit_is_accepted_when_only_logged() {
        let cm = ConcurrencyManager::with_action(ts(5), InvalidMaxTsAction::Log);
        cm.set_max_ts_limit(ts(100));
        cm.update_max_ts(ts(101), "scan").unwrap();
        assert_eq!(cm.max_ts(), ts(101));
    }
}
