//! Whether the region is being set back to an older version, and who may use it meanwhile.
//!
//! 1. The state changes in the writer task alone, between two groups of writes: what was queued before is applied
//!    before, or meets the new state and is refused. So no write slips through between two states.
//! 2. It is on disk, in the state of the region, before a change of it is answered: a restart finds it.
//! 3. Reads learn that a flashback begins before it is durable, and that it has ended only afterwards. A snapshot
//!    counts only if no change took place between the check and the snapshot.
//!
//! Must never: let a write or a read pass that contradicts the state on disk.

use std::sync::atomic::{AtomicU64, Ordering};

use keys::region_state_key;
use kvproto::{metapb, raft_serverpb};
use protobuf::Message;
use txn_types::TimeStamp;

use crate::{Result, region_error};

/// What a write is to the state of its region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Passage {
    /// It must wait for the end of a flashback.
    Ordinary,
    /// It is part of a flashback.
    Flashback,
    /// It goes round the region.
    Always,
}

/// A change of the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// The flashback that started then begins. It replaces an earlier one that was not finished.
    Begin(TimeStamp),
    /// It ends.
    Finish(TimeStamp),
}

impl Change {
    fn start_ts_after(self) -> TimeStamp {
        match self {
            Change::Begin(start_ts) => start_ts,
            Change::Finish(_) => TimeStamp::zero(),
        }
    }
}

/// The state of one region; shared by whoever checks it, changed by the writer.
pub(crate) struct Flashback {
    /// As it is without a flashback.
    region: metapb::Region,
    /// When the flashback started; zero while there is none.
    start_ts: AtomicU64,
    /// How often that changed.
    changes: AtomicU64,
    /// The newest start of those that this process has finished.
    finished: AtomicU64,
}

impl Flashback {
    /// The state that `region` was stored in.
    pub(crate) fn new(mut region: metapb::Region) -> Flashback {
        let start_ts = if region.get_is_in_flashback() {
            region.get_flashback_start_ts()
        } else {
            0
        };
        region.set_is_in_flashback(false);
        region.set_flashback_start_ts(0);
        Flashback {
            region,
            start_ts: start_ts.into(),
            changes: AtomicU64::new(0),
            finished: AtomicU64::new(0),
        }
    }

    /// When the flashback that is under way started; zero while there is none.
    pub(crate) fn start_ts(&self) -> TimeStamp {
        self.start_ts.load(Ordering::SeqCst).into()
    }

    /// The region with its present state.
    pub(crate) fn region(&self) -> metapb::Region {
        self.region_at(self.start_ts())
    }

    fn region_at(&self, start_ts: TimeStamp) -> metapb::Region {
        let mut region = self.region.clone();
        region.set_is_in_flashback(!start_ts.is_zero());
        region.set_flashback_start_ts(start_ts.into_inner());
        region
    }

    fn in_progress(&self, start_ts: TimeStamp) -> crate::Error {
        region_error::flashback_in_progress(self.region.get_id(), start_ts.into_inner()).into()
    }

    /// Whether a write may pass now.
    pub(crate) fn check_write(&self, passage: Passage) -> Result<()> {
        let start_ts = self.start_ts();
        match passage {
            Passage::Ordinary if !start_ts.is_zero() => Err(self.in_progress(start_ts)),
            Passage::Flashback if start_ts.is_zero() => {
                Err(region_error::flashback_not_prepared(self.region.get_id()).into())
            }
            Passage::Ordinary | Passage::Flashback | Passage::Always => Ok(()),
        }
    }

    /// Takes a view by `take` for a read at `ts`, zero being no timestamp, unless what it reads is about to change.
    /// A flashback itself reads whatever the state.
    pub(crate) fn read<T>(
        &self,
        ts: TimeStamp,
        flashback: bool,
        take: impl Fn() -> T,
    ) -> Result<T> {
        loop {
            let changes = self.changes.load(Ordering::SeqCst);
            let start_ts = self.start_ts();
            // What is older than the flashback stays as it is.
            let untouched = !ts.is_zero() && ts < start_ts;
            if !start_ts.is_zero() && !flashback && !untouched {
                return Err(self.in_progress(start_ts));
            }
            let taken = take();
            if self.changes.load(Ordering::SeqCst) == changes {
                return Ok(taken);
            }
        }
    }

    /// Whether `change` is one: one that took place already is none.
    pub(crate) fn check_change(&self, change: Change) -> Result<bool> {
        let now = self.start_ts();
        match change {
            // Late copies of requests, whose clients have gone on: nobody would end what they begin. They do not
            // outlive the process.
            Change::Begin(start_ts) if start_ts < now => Err(self.in_progress(now)),
            Change::Begin(start_ts)
                if start_ts.into_inner() <= self.finished.load(Ordering::SeqCst) =>
            {
                Err(region_error::flashback_not_prepared(self.region.get_id()).into())
            }
            Change::Begin(start_ts) => Ok(start_ts != now),
            Change::Finish(_) if now.is_zero() => Ok(false),
            // Another one has begun since.
            Change::Finish(start_ts) if now != start_ts => Err(self.in_progress(now)),
            Change::Finish(_) => Ok(true),
        }
    }

    /// What the disk is to hold after `change`: key and value.
    pub(crate) fn stored(&self, change: Change) -> engine_traits::Result<([u8; 11], Vec<u8>)> {
        let mut state = raft_serverpb::RegionLocalState::default();
        state.set_state(raft_serverpb::PeerState::Normal);
        state.set_region(self.region_at(change.start_ts_after()));
        let bytes = state
            .write_to_bytes()
            .map_err(|error| engine_traits::Error::Engine(error.to_string()))?;
        Ok((region_state_key(self.region.get_id()), bytes))
    }

    /// For the writer alone: readers and writers see this from now on.
    pub(crate) fn set(&self, start_ts: TimeStamp) {
        self.start_ts.store(start_ts.into_inner(), Ordering::SeqCst);
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// For the writer alone: the same after `change`.
    pub(crate) fn set_after(&self, change: Change) {
        if let Change::Finish(start_ts) = change {
            self.finished
                .fetch_max(start_ts.into_inner(), Ordering::SeqCst);
        }
        self.set(change.start_ts_after());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn state() -> Flashback {
        let mut region = metapb::Region::default();
        region.set_id(2);
        Flashback::new(region)
    }

    #[test]
    fn a_view_of_a_state_that_changed_meanwhile_is_taken_again() {
        let state = state();
        let taken = Cell::new(0);
        let whole_flashback_between = || {
            taken.set(taken.get() + 1);
            if taken.get() == 1 {
                state.set(5.into());
                state.set(TimeStamp::zero());
            }
            taken.get()
        };
        assert_eq!(
            state
                .read(9.into(), false, whole_flashback_between)
                .unwrap(),
            2
        );
        let begins = || state.set(5.into());
        assert!(state.read(9.into(), false, begins).is_err());
        assert_eq!(state.start_ts(), 5.into());
    }

    #[test]
    fn who_may_read() {
        let state = state();
        let may = |ts: u64, flashback| state.read(ts.into(), flashback, || ()).is_ok();
        for ts in [0, 4, 5, u64::MAX] {
            assert!(may(ts, false) && may(ts, true), "{ts}");
        }
        state.set(5.into());
        for (ts, allowed) in [(0, false), (4, true), (5, false), (u64::MAX, false)] {
            assert_eq!(may(ts, false), allowed, "{ts}");
            assert!(may(ts, true), "{ts}");
        }
    }

    #[test]
    fn what_is_stored_is_found_again() {
        let state = state();
        let (key, bytes) = state.stored(Change::Begin(7.into())).unwrap();
        assert_eq!(key, region_state_key(2));
        let mut stored = raft_serverpb::RegionLocalState::default();
        stored.merge_from_bytes(&bytes).unwrap();
        assert!(stored.get_region().get_is_in_flashback());
        assert_eq!(Flashback::new(stored.take_region()).start_ts(), 7.into());
        let (_, bytes) = state.stored(Change::Finish(7.into())).unwrap();
        stored.merge_from_bytes(&bytes).unwrap();
        assert!(!stored.get_region().get_is_in_flashback());
    }
}
