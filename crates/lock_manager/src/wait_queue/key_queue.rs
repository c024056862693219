//! The requests that wait for the lock of one key.
//! Must never: keep time; that is the part of the queues of all keys.

use std::sync::Arc;

use kvproto::kvrpcpb::LockInfo;
use runtime::Instant;
use txn_types::{Key, TimeStamp};

use super::waiters::{Place, Waiters};
use super::{Effects, Holder, Wait, WakeUpMode};
use crate::{ReleasedLock, WaitFor, key_hash};

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
    key: Arc<Key>,
    waiters: Waiters<T>,
    /// How many of them are in [`WakeUpMode::Retry`].
    retrying: u32,
    /// How many of them have edges in the detector.
    with_edges: u32,
    /// The one who holds the lock, or the one who did.
    holder: Holder,
    /// Whether somebody is known to hold it.
    held: bool,
    /// When the lock changed hands or was released, if it did since the queue exists.
    changed: Option<Instant>,
    delayed: Option<Box<Delayed>>,
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
    pub(super) fn new(key: Arc<Key>, holder: Holder, changed: Option<Instant>) -> Self {
        KeyQueue {
            key,
            waiters: Waiters::default(),
            retrying: 0,
            with_edges: 0,
            holder,
            held: true,
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
        !self.held && entitled.clone().count() > 0 && entitled.all(|woken| woken.txn != txn)
    }

    /// `txn` was woken and does not try for the lock. What was released, if it had a right to it and nobody else has.
    pub(super) fn give_up_turn(&mut self, txn: TimeStamp) -> Option<ReleasedLock> {
        let held = self.held;
        let delayed = self.delayed.as_mut()?;
        let before = delayed.woken.len();
        delayed
            .woken
            .retain(|woken| woken.txn != txn || !woken.overtaken);
        let gave_up = delayed.woken.len() < before;
        let others = delayed.woken.iter().any(|woken| woken.overtaken);
        (gave_up && !others && !held).then(|| delayed.released.clone())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Wait<T>)> + '_ {
        self.waiters.iter()
    }

    pub(super) fn delayed_at(&self) -> Option<TimedKey> {
        self.delayed.as_ref().map(|delayed| delayed.at)
    }

    pub(super) fn holder_info(&self) -> Box<LockInfo> {
        self.holder.lock_info(self.raw_key())
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
        self.retrying += u32::from(wait.mode == WakeUpMode::Retry);
        if !wait.first_lock {
            self.with_edges += 1;
            self.edges_of([&wait], &mut effects.detect);
        }
        self.waiters.insert((wait.start_ts, number), wait);
    }

    /// Somebody took the lock, so there will be another release: nobody is woken for this one any more.
    pub(super) fn acquired(&mut self, now: Instant, holder: Holder, effects: &mut Effects<T>) {
        if let Some(delayed) = &mut self.delayed {
            delayed.wakes = false;
            delayed
                .woken
                .retain(|woken| !holder.owners().contains(&woken.txn));
        }
        self.set_holder(now, holder, effects);
    }

    /// Takes over who holds the lock. Unless it is the same as before, edges are replaced.
    pub(super) fn set_holder(&mut self, now: Instant, holder: Holder, effects: &mut Effects<T>) {
        if self.held && holder.owners() == self.holder.owners() {
            // The holder may have changed the time to live or its statement; waiters need to know that.
            self.holder = holder;
            return;
        }
        self.all_edges(&mut effects.forget);
        self.holder = holder;
        self.held = true;
        self.changed = Some(now);
        self.all_edges(&mut effects.detect);
    }

    /// Takes out who is woken when the lock is released: the first, and when that wants a shared lock, those after
    /// it who want one, too.
    pub(super) fn pop_released(&mut self, now: Instant, forget: &mut Vec<WaitFor>) -> Popped<T> {
        self.changed = Some(now);
        // Whoever held the lock may go on, and wait itself: nobody waits for it here.
        self.all_edges(forget);
        self.held = false;
        let mut popped = Vec::new();
        while let Some((place, next)) = self.waiters.first() {
            let shared = next.shared;
            if !popped.is_empty() && !shared {
                break;
            }
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
        self.delayed = Some(Box::new(Delayed {
            at: (at, number),
            released: released.clone(),
            wakes,
            resume_one: only_retry,
            woken,
        }));
        change
    }

    /// Takes out who is woken when the delay is over: all who try again and were there at the release, up to the
    /// first to be resumed where somebody must be.
    pub(super) fn pop_delayed(&mut self, forget: &mut Vec<WaitFor>) -> Option<Due<T>> {
        let delayed = self.delayed.take()?;
        let mut places = Vec::new();
        for (place, wait) in self.waiters.iter() {
            if place.1 > delayed.at.1 || !delayed.wakes {
                continue;
            }
            match wait.mode {
                WakeUpMode::Retry => places.push(place),
                WakeUpMode::Resume if delayed.resume_one => {
                    places.push(place);
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
            missed: expected && !self.held,
        })
    }

    pub(super) fn remove(&mut self, place: Place, forget: &mut Vec<WaitFor>) -> Option<Wait<T>> {
        let wait = self.waiters.remove(place)?;
        self.retrying -= u32::from(wait.mode == WakeUpMode::Retry);
        if !wait.first_lock {
            self.with_edges -= 1;
            self.edges_of([&wait], forget);
        }
        Some(wait)
    }

    /// Takes out everything of one transaction.
    pub(super) fn remove_txn(
        &mut self,
        start_ts: TimeStamp,
        forget: &mut Vec<WaitFor>,
    ) -> Popped<T> {
        let places = self.waiters.places_of(start_ts);
        let mut removed = Vec::with_capacity(places.len());
        for place in places {
            removed.extend(self.remove(place, forget).map(|wait| (place.1, wait)));
        }
        removed
    }

    /// Everybody who waits with whom they wait for, and since when. Between a release and the next who takes the lock
    /// that is the one who held it.
    pub(super) fn edges(&self) -> impl Iterator<Item = (WaitFor, Instant)> + '_ {
        let (raw, hash) = self.name();
        self.waiters.iter().flat_map(move |(_, wait)| {
            let edges = self.edges_named(wait, (raw.clone(), hash));
            edges.map(|edge| (edge, wait.since))
        })
    }

    /// Adds the edges of everybody who has any.
    fn all_edges(&self, edges: &mut Vec<WaitFor>) {
        if self.with_edges > 0 {
            let waits = self.waiters.iter().map(|(_, wait)| wait);
            self.edges_of(waits.filter(|wait| !wait.first_lock), edges);
        }
    }

    /// Adds the edges of some; there are none while nobody holds the lock.
    fn edges_of<'a>(
        &'a self,
        waits: impl IntoIterator<Item = &'a Wait<T>>,
        edges: &mut Vec<WaitFor>,
    ) where
        T: 'a,
    {
        if self.held {
            let name = self.name();
            for wait in waits {
                edges.extend(self.edges_named(wait, name.clone()));
            }
        }
    }

    fn edges_named(
        &self,
        wait: &Wait<T>,
        (key, key_hash): (Arc<[u8]>, u64),
    ) -> impl Iterator<Item = WaitFor> + use<'_, T> {
        let (txn, tag) = (wait.start_ts, wait.tag.clone());
        let owners = self.holder.owners().iter();
        let others = owners.filter(move |owner| **owner != txn);
        others.map(move |holder| WaitFor {
            txn,
            holder: *holder,
            key: key.clone(),
            key_hash,
            tag: tag.clone(),
        })
    }

    fn raw_key(&self) -> Vec<u8> {
        // A key that does not decode cannot have been locked; its bytes still tell it from others.
        let key = &self.key;
        key.to_raw().unwrap_or_else(|_| key.as_encoded().to_vec())
    }

    /// What edges call the key. Made when there are any: most who wait hold no other lock.
    fn name(&self) -> (Arc<[u8]>, u64) {
        let raw = self.raw_key();
        let hash = key_hash(&raw);
        (raw.into(), hash)
    }
}
