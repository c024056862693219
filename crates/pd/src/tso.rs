//! The timestamp oracle as a state machine: numbers in, numbers out, no clock, no disk.
//!
//! A timestamp is milliseconds (`physical`) and a counter within them (`logical`). What keeps it
//! from ever going back:
//!
//! 1. A *bound* is on disk, and no timestamp is handed out whose physical part reaches it.
//! 2. Whoever starts anew begins one millisecond after the bound that is on disk, or at the
//!    clock's time if that is later, and puts a new bound on disk before the first timestamp. So
//!    everything handed out before a crash lies below everything after it.
//! 3. While running, the physical part only grows. A clock that steps back is waited for, one that
//!    stands still is helped along when half of a millisecond's counter is used up.
//! 4. Only the tick moves the bound: it plans a [`BoundWrite`], the driver makes it durable without
//!    holding the oracle's lock, and [`Tso::persisted`] puts it in force. Requests go on meanwhile
//!    under the old bound.

use kvproto::pdpb;

/// Counters of one millisecond: `0..LOGICAL_END`.
pub const LOGICAL_END: u64 = 1 << 18;
/// Time between ticks.
pub const TICK_MS: u64 = 50;
/// How far ahead of the physical part a new bound is set.
const BOUND_AHEAD_MS: u64 = 5_000;
/// The clock must be ahead by more than this before a tick follows it, and a bound is renewed when
/// no more than this is left of it.
const GUARD_MS: u64 = 1;
/// Physical parts have 46 bits. A clock beyond is taken as this, which leaves room for bounds.
pub(crate) const PHYSICAL_MAX: u64 = (1 << 46) - 1 - 2 * BOUND_AHEAD_MS;

/// The highest timestamp of a range that was handed out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Timestamp {
    /// Milliseconds since the epoch.
    pub physical: u64,
    /// The counter within them.
    pub logical: u64,
}

impl Timestamp {
    /// Both parts in one number, as clients compare them.
    pub fn to_u64(self) -> u64 {
        (self.physical << 18) | self.logical
    }

    /// From both parts in one number.
    pub fn from_u64(number: u64) -> Timestamp {
        Timestamp {
            physical: number >> 18,
            logical: number & (LOGICAL_END - 1),
        }
    }
}

impl Timestamp {
    /// As clients hear it.
    pub fn to_message(self) -> pdpb::Timestamp {
        let mut message = pdpb::Timestamp::default();
        // Both parts are far below the sign bit.
        message.set_physical(self.physical.cast_signed());
        message.set_logical(self.logical.cast_signed());
        message
    }
}

/// A bound that has to be on disk before `next` may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "without the write the oracle cannot go on"]
pub struct BoundWrite {
    /// What the disk has to hold.
    pub bound: u64,
    next: u64,
}

/// The outcome of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allocation {
    /// The range ends here.
    Granted(Timestamp),
    /// The millisecond is used up and the bound allows no other: ask again after a tick.
    Exhausted,
    /// No bound is on disk yet.
    NotStarted,
    /// No millisecond has so many.
    TooMany,
}

/// See the module.
#[derive(Debug)]
pub struct Tso {
    /// 0 until the first bound of this run is on disk.
    physical: u64,
    logical: u64,
    /// What the disk holds.
    bound: u64,
}

impl Tso {
    /// The oracle before its first write. `saved_bound` is what the disk holds, 0 when nothing.
    pub fn new(saved_bound: u64) -> Tso {
        Tso {
            physical: 0,
            logical: 0,
            bound: saved_bound,
        }
    }

    /// What must be on disk before the first timestamp. `None` when time has run out, which only a
    /// damaged bound can bring about.
    pub fn start(&self, now_ms: u64) -> Option<BoundWrite> {
        let next = now_ms.min(PHYSICAL_MAX).max(self.bound + GUARD_MS);
        (next <= PHYSICAL_MAX + BOUND_AHEAD_MS).then_some(BoundWrite {
            bound: next + BOUND_AHEAD_MS,
            next,
        })
    }

    /// Follows the clock. When the bound is too near, it changes nothing and says what has to be
    /// on disk first.
    pub fn tick(&mut self, now_ms: u64) -> Option<BoundWrite> {
        if self.physical == 0 {
            return self.start(now_ms);
        }
        let now_ms = now_ms.min(PHYSICAL_MAX);
        let next = if now_ms > self.physical + GUARD_MS {
            now_ms
        } else if self.logical > LOGICAL_END / 2 {
            self.physical + 1
        } else {
            return None;
        };
        if self.may_use(next) {
            self.advance(next);
            None
        } else if next > PHYSICAL_MAX {
            None
        } else {
            Some(BoundWrite {
                bound: next + BOUND_AHEAD_MS,
                next,
            })
        }
    }

    /// What must be on disk before timestamps go on above `target`; none when that is so already.
    pub fn plan_reset(&self, target: Timestamp) -> Option<BoundWrite> {
        let next = target.physical + 1;
        (!self.may_use(next)).then_some(BoundWrite {
            bound: next + BOUND_AHEAD_MS,
            next,
        })
    }

    /// Goes on above `target`, whose bound is on disk.
    pub fn reset(&mut self, target: Timestamp) {
        if target >= self.current() {
            self.advance(target.physical + 1);
        }
    }

    /// The write is on disk.
    pub fn persisted(&mut self, write: BoundWrite) {
        assert!(write.bound > self.bound, "bounds only grow");
        self.bound = write.bound;
        // Requests may have pushed the physical part this far in the meantime.
        if write.next > self.physical {
            self.advance(write.next);
        }
    }

    /// Hands out `count` timestamps, at least 1.
    pub fn allocate(&mut self, count: u32) -> Allocation {
        let count = u64::from(count);
        if count >= LOGICAL_END {
            return Allocation::TooMany;
        }
        if self.physical == 0 {
            return Allocation::NotStarted;
        }
        if self.logical + count >= LOGICAL_END {
            let next = self.physical + 1;
            if !self.may_use(next) {
                return Allocation::Exhausted;
            }
            self.advance(next);
        }
        self.logical += count;
        assert!(self.physical < self.bound && self.logical < LOGICAL_END);
        Allocation::Granted(self.current())
    }

    /// Hands out one range per count, in their order, appending the end of each to `granted`. Stops
    /// before the first that is not to be had, and tells why.
    pub fn allocate_each(
        &mut self,
        counts: &[u32],
        granted: &mut Vec<Timestamp>,
    ) -> Option<Allocation> {
        for count in counts {
            match self.allocate(*count) {
                Allocation::Granted(timestamp) => granted.push(timestamp),
                refused => return Some(refused),
            }
        }
        None
    }

    /// The highest timestamp handed out in this run.
    pub fn current(&self) -> Timestamp {
        Timestamp {
            physical: self.physical,
            logical: self.logical,
        }
    }

    fn may_use(&self, physical: u64) -> bool {
        physical + GUARD_MS < self.bound
    }

    fn advance(&mut self, next: u64) {
        assert!(next > self.physical && next < self.bound);
        self.physical = next;
        self.logical = 0;
    }
}

#[cfg(test)]
mod tests;
