//! The requests that wait for the lock of one key.
//! Must never: keep time; that is the part of the queues of all keys.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::sync::Arc;

use kvproto::kvrpcpb::LockInfo;
use runtime::Instant;
use txn_types::{Key, TimeStamp};

use super::{Effects, Holder, Wait, WakeUpMode};
use crate::{ReleasedLock, WaitFor, key_hash};

/// Where a waiter stands: older transactions first, of one transaction the earlier request.
type Place = (TimeStamp, u64);

/// A moment and the number that tells it from others at the same moment.
type TimedKey = (Instant, u64);

/// Waiters that left, each with its number.
type Popped<T> = Vec<(u64, Wait<T>)>;

/// Those behind the first are woken later.
#[derive(Debug)]
struct Delayed {
    at: TimedKey,
    released: ReleasedLock,
    /// Whether somebody must be resumed then: whoever was woken at once may not come back.
    resume_one: bool,
}

#[derive(Debug)]
pub(super) struct KeyQueue<T> {
    raw_key: Arc<[u8]>,
    key_hash: u64,
    waiters: BTreeMap<Place, Wait<T>>,
    /// How many of them are in [`WakeUpMode::Retry`].
    retrying: usize,
    /// How many of them have edges in the detector.
    with_edges: usize,
    holder: Holder,
    /// When the lock changed hands or was released, if it did since the queue exists.
    changed: Option<Instant>,
    delayed: Option<Delayed>,
}

/// What became of the delay of a key.
#[derive(Debug, Default)]
pub(super) struct DelayChange {
    pub(super) replaced: Option<TimedKey>,
    pub(super) set: Option<TimedKey>,
}

impl<T> KeyQueue<T> {
    pub(super) fn new(key: &Key, holder: Holder, changed: Option<Instant>) -> Self {
        // A key that does not decode cannot have been locked; its bytes still tell it from others.
        let raw = key.to_raw().unwrap_or_else(|_| key.as_encoded().to_vec());
        KeyQueue {
            key_hash: key_hash(&raw),
            raw_key: raw.into(),
            waiters: BTreeMap::new(),
            retrying: 0,
            with_edges: 0,
            holder,
            changed,
            delayed: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(super) fn iter(&self) -> btree_map::Iter<'_, Place, Wait<T>> {
        self.waiters.iter()
    }

    pub(super) fn delayed_at(&self) -> Option<TimedKey> {
        self.delayed.as_ref().map(|delayed| delayed.at)
    }

    pub(super) fn holder_info(&self) -> Box<LockInfo> {
        self.holder.info.clone()
    }

    /// When the lock last changed, if that was after `since`.
    pub(super) fn changed_since(&self, since: Instant) -> Option<Instant> {
        self.changed.filter(|changed| *changed > since)
    }

    pub(super) fn push(&mut self, number: u64, wait: Wait<T>, effects: &mut Effects<T>) {
        self.retrying += usize::from(wait.mode == WakeUpMode::Retry);
        if !wait.first_lock {
            self.with_edges += 1;
            effects.detect.extend(self.edges_of(&wait));
        }
        self.waiters.insert((wait.start_ts, number), wait);
    }

    /// Takes over who holds the lock. Unless it is the same as before, edges are replaced.
    pub(super) fn set_holder(&mut self, now: Instant, holder: Holder, effects: &mut Effects<T>) {
        if holder.owners == self.holder.owners {
            // The holder may have changed the time to live or its statement; waiters need to know that.
            self.holder = holder;
            return;
        }
        let replace = self.with_edges > 0;
        if replace {
            effects.forget.extend(self.all_edges());
        }
        self.holder = holder;
        self.changed = Some(now);
        if replace {
            effects.detect.extend(self.all_edges());
        }
    }

    /// Takes out who is woken when the lock is released: the first, and when that wants a shared lock, those after
    /// it who want one, too.
    pub(super) fn pop_released(&mut self, now: Instant, forget: &mut Vec<WaitFor>) -> Popped<T> {
        self.changed = Some(now);
        let mut popped = Vec::new();
        while let Some((place, next)) = self.waiters.first_key_value() {
            if !popped.is_empty() && !next.shared {
                break;
            }
            let (place, shared) = (*place, next.shared);
            popped.extend(self.remove(place, forget).map(|wait| (place.1, wait)));
            if !shared {
                break;
            }
        }
        popped
    }

    /// Starts the delay for those behind `popped`, from the beginning when it runs already. `number` is above that
    /// of everybody who waits, and below that of everybody who comes later.
    pub(super) fn delay_from(
        &mut self,
        popped: &[(u64, Wait<T>)],
        at: Instant,
        number: u64,
        released: &ReleasedLock,
    ) -> DelayChange {
        let mut change = DelayChange::default();
        let only_retry = popped
            .iter()
            .all(|(_, wait)| wait.mode == WakeUpMode::Retry);
        if self.waiters.is_empty() || (self.retrying == 0 && !only_retry) {
            // What was resumed takes the lock, or passes it on; nobody else has to be told.
            return change;
        }
        change.replaced = self.delayed_at();
        change.set = Some((at, number));
        self.delayed = Some(Delayed {
            at: (at, number),
            released: released.clone(),
            resume_one: only_retry,
        });
        change
    }

    /// Takes out who is woken when the delay is over: all who try again and were there at the release, up to the
    /// first to be resumed where somebody must be.
    pub(super) fn pop_delayed(
        &mut self,
        forget: &mut Vec<WaitFor>,
    ) -> Option<(ReleasedLock, Popped<T>)> {
        let delayed = self.delayed.take()?;
        let mut places = Vec::new();
        for (place, wait) in &self.waiters {
            if place.1 > delayed.at.1 {
                continue;
            }
            match wait.mode {
                WakeUpMode::Retry => places.push(*place),
                WakeUpMode::Resume if delayed.resume_one => {
                    places.push(*place);
                    break;
                }
                WakeUpMode::Resume => {}
            }
        }
        let mut popped = Vec::with_capacity(places.len());
        for place in places {
            popped.extend(self.remove(place, forget).map(|wait| (place.1, wait)));
        }
        Some((delayed.released, popped))
    }

    pub(super) fn remove(&mut self, place: Place, forget: &mut Vec<WaitFor>) -> Option<Wait<T>> {
        let wait = self.waiters.remove(&place)?;
        self.retrying -= usize::from(wait.mode == WakeUpMode::Retry);
        if !wait.first_lock {
            self.with_edges -= 1;
            forget.extend(self.edges_of(&wait));
        }
        Some(wait)
    }

    /// Takes out everything of one transaction.
    pub(super) fn remove_txn(
        &mut self,
        start_ts: TimeStamp,
        forget: &mut Vec<WaitFor>,
    ) -> Popped<T> {
        let places: Vec<_> = self
            .waiters
            .range((start_ts, 0)..=(start_ts, u64::MAX))
            .map(|(place, _)| *place)
            .collect();
        let mut removed = Vec::with_capacity(places.len());
        for place in places {
            removed.extend(self.remove(place, forget).map(|wait| (place.1, wait)));
        }
        removed
    }

    /// Everybody who waits with whom they wait for, and since when.
    pub(super) fn edges(&self) -> impl Iterator<Item = (WaitFor, Instant)> + '_ {
        self.waiters
            .values()
            .flat_map(|wait| self.edges_of(wait).map(|edge| (edge, wait.since)))
    }

    fn all_edges(&self) -> impl Iterator<Item = WaitFor> + '_ {
        self.waiters
            .values()
            .filter(|wait| !wait.first_lock)
            .flat_map(|wait| self.edges_of(wait))
    }

    fn edges_of(&self, wait: &Wait<T>) -> impl Iterator<Item = WaitFor> + use<'_, T> {
        let (txn, tag) = (wait.start_ts, wait.tag.clone());
        let others = self
            .holder
            .owners
            .iter()
            .filter(move |owner| **owner != txn);
        others.map(move |holder| WaitFor {
            txn,
            holder: *holder,
            key: self.raw_key.clone(),
            key_hash: self.key_hash,
            tag: tag.clone(),
        })
    }
}
