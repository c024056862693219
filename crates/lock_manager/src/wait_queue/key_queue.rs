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
pub(super) type Popped<T> = Vec<(u64, Wait<T>)>;

/// How many of those who were woken are remembered: all but those who never come back leave soon.
pub(super) const WOKEN_MAX: usize = 16;

/// A transaction whose request was woken to try again, and that has not come back yet.
#[derive(Clone, Copy, Debug)]
struct Woken {
    txn: TimeStamp,
    /// Whether somebody else had the lock when it came back the time before.
    overtaken: bool,
}

/// What is left to do some time after a release.
#[derive(Debug)]
struct Delayed {
    at: TimedKey,
    released: ReleasedLock,
    /// Whether those who were behind the first at the release are woken then. Not if somebody took the lock
    /// meanwhile: there will be another release.
    wakes: bool,
    /// Whether somebody must be resumed then: whoever was woken at once may not come back.
    resume_one: bool,
    /// At most [`WOKEN_MAX`], the earliest first.
    woken: Vec<Woken>,
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
    /// The one who holds the lock; the one who did, without owners, when nobody is known to hold it.
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

/// What is due when the delay of a key is over.
pub(super) struct Due<T> {
    pub(super) released: ReleasedLock,
    pub(super) popped: Popped<T>,
    /// Whether those whose turn it was did not come: then it is the turn of the next.
    pub(super) missed: bool,
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

    /// Whether nobody waits and nobody is expected back.
    pub(super) fn is_idle(&self) -> bool {
        let expected = self.delayed.as_ref().is_some_and(|d| !d.woken.is_empty());
        self.waiters.is_empty() && !expected
    }

    /// Whether others than `txn` have a right to the lock, which is free: it was their turn before, and somebody came
    /// between.
    pub(super) fn is_turn_of_others(&self, txn: TimeStamp) -> bool {
        let Some(delayed) = &self.delayed else {
            return false;
        };
        let mut entitled = delayed.woken.iter().filter(|woken| woken.overtaken);
        !self.is_held() && entitled.clone().count() > 0 && entitled.all(|woken| woken.txn != txn)
    }

    /// `txn` was woken and does not try for the lock. What was released, if it had a right to it and nobody else has.
    pub(super) fn give_up_turn(&mut self, txn: TimeStamp) -> Option<ReleasedLock> {
        let held = self.is_held();
        let delayed = self.delayed.as_mut()?;
        let before = delayed.woken.len();
        delayed
            .woken
            .retain(|woken| woken.txn != txn || !woken.overtaken);
        let gave_up = delayed.woken.len() < before;
        let others = delayed.woken.iter().any(|woken| woken.overtaken);
        (gave_up && !others && !held).then(|| delayed.released.clone())
    }

    fn is_held(&self) -> bool {
        !self.holder.owners.is_empty()
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

    pub(super) fn push(&mut self, number: u64, mut wait: Wait<T>, effects: &mut Effects<T>) {
        if let Some(delayed) = &mut self.delayed {
            let before = delayed.woken.len();
            delayed.woken.retain(|woken| woken.txn != wait.start_ts);
            wait.overtaken |= delayed.woken.len() < before;
        }
        self.retrying += usize::from(wait.mode == WakeUpMode::Retry);
        if !wait.first_lock {
            self.with_edges += 1;
            effects.detect.extend(self.edges_of(&wait));
        }
        self.waiters.insert((wait.start_ts, number), wait);
    }

    /// Somebody took the lock, so there will be another release: nobody is woken for this one any more.
    pub(super) fn acquired(&mut self, now: Instant, holder: Holder, effects: &mut Effects<T>) {
        if let Some(delayed) = &mut self.delayed {
            delayed.wakes = false;
            delayed
                .woken
                .retain(|woken| !holder.owners.contains(&woken.txn));
        }
        self.set_holder(now, holder, effects);
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
        if self.with_edges > 0 {
            // Whoever held the lock may go on, and wait itself: nobody waits for it here.
            forget.extend(self.all_edges());
        }
        self.holder.owners = Box::default();
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

    /// Starts the delay after the release that woke `popped`, from the beginning when it runs already. `number` is
    /// above that of everybody who waits, and below that of everybody who comes later.
    pub(super) fn delay_from(
        &mut self,
        popped: &[(u64, Wait<T>)],
        at: Instant,
        number: u64,
        released: &ReleasedLock,
    ) -> DelayChange {
        let mut change = DelayChange::default();
        let retry = popped
            .iter()
            .filter(|(_, wait)| wait.mode == WakeUpMode::Retry);
        let only_retry = retry.clone().count() == popped.len();
        let wakes = !self.waiters.is_empty() && (self.retrying > 0 || only_retry);
        if popped.is_empty() || (!wakes && retry.clone().next().is_none()) {
            // What was resumed takes the lock, or passes it on; nobody else has to be told.
            return change;
        }
        let mut woken = match self.delayed.take() {
            Some(before) => {
                change.replaced = Some(before.at);
                before.woken
            }
            None => Vec::new(),
        };
        woken.extend(retry.map(|(_, wait)| Woken {
            txn: wait.start_ts,
            overtaken: wait.overtaken,
        }));
        let too_many = woken.len().saturating_sub(WOKEN_MAX);
        drop(woken.drain(..too_many));
        change.set = Some((at, number));
        self.delayed = Some(Delayed {
            at: (at, number),
            released: released.clone(),
            wakes,
            resume_one: only_retry,
            woken,
        });
        change
    }

    /// Takes out who is woken when the delay is over: all who try again and were there at the release, up to the
    /// first to be resumed where somebody must be.
    pub(super) fn pop_delayed(&mut self, forget: &mut Vec<WaitFor>) -> Option<Due<T>> {
        let delayed = self.delayed.take()?;
        let mut places = Vec::new();
        for (place, wait) in &self.waiters {
            if place.1 > delayed.at.1 || !delayed.wakes {
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
        let expected = delayed.woken.iter().any(|woken| woken.overtaken);
        Some(Due {
            released: delayed.released,
            popped,
            missed: expected && !self.is_held(),
        })
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

    /// Everybody who waits with whom they wait for, and since when. Between a release and the next who takes the lock
    /// that is the one who held it.
    pub(super) fn edges(&self) -> impl Iterator<Item = (WaitFor, Instant)> + '_ {
        let last = TimeStamp::new(self.holder.info.get_lock_version());
        self.waiters.values().flat_map(move |wait| {
            let edge = || self.edge(wait.start_ts, wait.tag.clone(), last);
            let before = (!self.is_held()).then(edge);
            let edges = self.edges_of(wait).chain(before);
            edges.map(|edge| (edge, wait.since))
        })
    }

    fn all_edges(&self) -> impl Iterator<Item = WaitFor> + '_ {
        self.waiters
            .values()
            .filter(|wait| !wait.first_lock)
            .flat_map(|wait| self.edges_of(wait))
    }

    fn edges_of(&self, wait: &Wait<T>) -> impl Iterator<Item = WaitFor> + use<'_, T> {
        let (txn, tag) = (wait.start_ts, wait.tag.clone());
        let owners = self.holder.owners.iter();
        let others = owners.filter(move |owner| **owner != txn);
        others.map(move |holder| self.edge(txn, tag.clone(), *holder))
    }

    fn edge(&self, txn: TimeStamp, tag: Arc<[u8]>, holder: TimeStamp) -> WaitFor {
        WaitFor {
            txn,
            holder,
            key: self.raw_key.clone(),
            key_hash: self.key_hash,
            tag,
        }
    }
}
