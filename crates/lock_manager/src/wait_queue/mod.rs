//! Who waits for which lock, and who goes next: plain state, inputs in, effects out.
//!
//! Each waiting request is somebody's payload `T` in the queue of one key. The owner calls with what happened and
//! the time, and acts on the [`Effects`]; nothing here waits, sends or reads a clock.
//!
//! 1. *Nobody is lost.* A request is put in the queue while its owner holds the latch of the key, and a release is
//!    told under the same latch after its write: a lock that is there when the request is queued is released after.
//! 2. *The oldest goes first.* Of the waiting transactions the one with the smallest start timestamp is woken; a
//!    younger one that holds other locks is the likelier victim of a deadlock.
//! 3. *No herd.* One release wakes one request (several when they ask for shared locks, which do not exclude each
//!    other). A request in [`WakeUpMode::Retry`] that was woken may never come back, so those behind it are woken
//!    after a delay, all that were there at the release, unless somebody has taken the lock by then. Another release
//!    of the key starts the delay anew.
//! 4. *Nobody is overtaken for ever.* Between the answer of one that was woken to try again and its next request others
//!    may take the lock: no harm in one, and the lock is not idle meanwhile. Who comes back and finds it taken is noted,
//!    and has a turn at its next wake-up: requests of others that are willing to wait queue behind it until it comes,
//!    or until the delay is over. It is known by the start timestamp; who starts over with another one has no turn, so
//!    nobody waits for it in vain.
//! 5. *One end.* A waiter leaves the queue by exactly one of: woken, out of time, taken out. Whoever gets it out of
//!    the queue owns the payload; there is no flag to agree upon.
//! 6. *Edges follow the holder.* When the lock changes hands while requests wait, the edges that were reported to
//!    the detector are replaced; while nobody has it there are none. A transaction that holds nothing cannot close a circle, and has no edges.
//!
//! Must never: run the owner's code, or hold more bytes than its limit.

mod holder;
mod key_queue;

#[cfg(test)]
mod tests;
mod waiters;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use kvproto::kvrpcpb::LockInfo;
use runtime::Instant;
use txn_types::{Key, TimeStamp};

pub use holder::Holder;
use key_queue::KeyQueue;

use crate::{ReleasedLock, WaitFor};

/// What a waiting request does when the lock is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeUpMode {
    /// It is answered with a conflict, and its client starts over.
    Retry,
    /// It goes on where it stopped.
    Resume,
}

/// A request that is to wait.
#[derive(Debug)]
pub struct Wait<T> {
    /// When its transaction started.
    pub start_ts: TimeStamp,
    /// How it wants to be woken.
    pub mode: WakeUpMode,
    /// Whether it wants a shared lock.
    pub shared: bool,
    /// Whether its transaction holds no lock yet.
    pub first_lock: bool,
    /// Whether it was woken before and found the lock taken: said by the queue, `false` for one that comes to it.
    pub overtaken: bool,
    /// When it began to wait: now, or earlier when it was woken in between.
    pub since: Instant,
    /// When it gives up.
    pub until: Instant,
    /// What its client wants to see again in the report of a deadlock.
    pub tag: Arc<[u8]>,
    /// Bytes of the payload on the heap.
    pub payload_bytes: usize,
    /// Whatever the owner needs to answer or resume it.
    pub payload: T,
}

/// A request that left the queue.
#[derive(Debug)]
pub struct Waiter<T> {
    /// The key that it waited for.
    pub key: Arc<Key>,
    /// What was queued.
    pub wait: Wait<T>,
}

/// What the owner has to do.
#[derive(Debug)]
#[must_use]
pub struct Effects<T> {
    /// To be answered with a conflict with the released lock.
    pub retry: Vec<(Waiter<T>, ReleasedLock)>,
    /// To be resumed in this order, each with what was released.
    pub resume: Vec<(Waiter<T>, ReleasedLock)>,
    /// To be answered with the lock that they wait for, which last changed at the given time while they waited.
    pub timed_out: Vec<(Waiter<T>, Box<LockInfo>, Option<Instant>)>,
    /// Waits that ended.
    pub forget: Vec<WaitFor>,
    /// Waits that began; to be reported after those that ended.
    pub detect: Vec<WaitFor>,
}

impl<T> Default for Effects<T> {
    fn default() -> Self {
        Effects {
            retry: Vec::new(),
            resume: Vec::new(),
            timed_out: Vec::new(),
            forget: Vec::new(),
            detect: Vec::new(),
        }
    }
}

/// How long those behind the first wait, and how much all may take.
#[derive(Clone, Copy, Debug)]
pub struct WaitLimits {
    /// From a release to the wake-up of all who try again.
    pub wake_up_delay: Duration,
    /// Bytes of all waiting requests.
    pub max_bytes: usize,
}

/// What the queue of a key costs besides two copies of the key: its place in a hash map, a third of which is empty, the
/// lock as bytes, and those who are expected back.
const QUEUE_BYTES: usize = 512;

/// What a waiting request costs besides tag and payload: itself, and its places in two ordered maps, which are half
/// empty where times and timestamps only grow. `cargo xtask bench` shows what it really is.
const fn waiter_bytes_of<T>() -> usize {
    const PLACES: usize =
        size_of::<(waiters::Place, usize)>() + size_of::<((Instant, u64), Timed)>();
    size_of::<Wait<T>>() + 2 * PLACES
}

/// What fires at a moment.
#[derive(Debug)]
enum Timed {
    /// A waiter's time is over.
    Waiter(Arc<Key>, TimeStamp),
    /// Those behind the first of a key are woken, and a turn ends.
    Delayed(Arc<Key>),
}

/// The queues of a store.
#[derive(Debug)]
pub struct WaitQueues<T> {
    keys: HashMap<Arc<Key>, KeyQueue<T>, BuildHasherDefault<DefaultHasher>>,
    /// By moment and number; waiters and delays draw their numbers from `next_number`.
    timed: BTreeMap<(Instant, u64), Timed>,
    next_number: u64,
    limits: WaitLimits,
    bytes: usize,
    len: usize,
}

impl<T> WaitQueues<T> {
    /// Nobody waits.
    #[must_use]
    pub fn new(limits: WaitLimits) -> Self {
        WaitQueues {
            keys: HashMap::default(),
            timed: BTreeMap::new(),
            next_number: 0,
            limits,
            bytes: 0,
            len: 0,
        }
    }

    /// Changes the limits. Nobody who waits is sent away.
    pub fn set_limits(&mut self, limits: WaitLimits) {
        self.limits = limits;
    }

    /// Waiting requests.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keys for which somebody waits, or is expected back.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Bytes of all waiting requests.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a request in the queue of `key`, which `holder` holds. The owner holds the latch of the key. Given back
    /// when there is no room.
    pub fn enqueue(
        &mut self,
        now: Instant,
        key: &Key,
        holder: Holder,
        wait: Wait<T>,
    ) -> Result<Effects<T>, Box<(Holder, Wait<T>)>> {
        if !self.has_room(key, &wait) {
            return Err(Box::new((holder, wait)));
        }
        let mut effects = Effects::default();
        let shared_key = match self.keys.get_key_value(key) {
            Some((shared, _)) => shared.clone(),
            None => {
                let shared = Arc::new(key.clone());
                // A request that waited before met another lock then: it has changed since.
                let changed = (wait.since < now).then_some(now);
                let queue = KeyQueue::new(shared.clone(), holder.clone(), changed);
                self.bytes += queue_bytes(key);
                self.keys.insert(shared.clone(), queue);
                shared
            }
        };
        if let Some(queue) = self.keys.get_mut(key) {
            queue.set_holder(now, holder, &mut effects);
        }
        self.push(shared_key, wait, &mut effects);
        Ok(effects)
    }

    /// Whether a request of `start_ts` that found `key` free and is willing to wait has to: others have the turn, and
    /// there is room.
    #[must_use]
    pub fn is_turn_of_others(&self, key: &Key, start_ts: TimeStamp) -> bool {
        let queue = self.keys.get(key);
        self.bytes < self.limits.max_bytes
            && queue.is_some_and(|queue| queue.is_turn_of_others(start_ts))
    }

    /// Puts a request in the queue of `key`, where it [is the turn of others](Self::is_turn_of_others).
    ///
    /// # Panics
    ///
    /// Panics where nobody waits and nobody is expected back.
    pub fn enqueue_behind(&mut self, key: &Key, wait: Wait<T>) -> Effects<T> {
        let Some((key, _)) = self.keys.get_key_value(key) else {
            panic!("nobody has a turn at {key}, behind whom to wait");
        };
        let (key, mut effects) = (key.clone(), Effects::default());
        self.push(key, wait, &mut effects);
        effects
    }

    /// A transaction that was woken for `key` is not going to take it now.
    pub fn give_up_turn(&mut self, now: Instant, key: &Key, start_ts: TimeStamp) -> Effects<T> {
        let queue = self.keys.get_mut(key);
        match queue.and_then(|queue| queue.give_up_turn(start_ts)) {
            Some(released) => self.release(now, &released),
            None => Effects::default(),
        }
    }

    fn has_room(&self, key: &Key, wait: &Wait<T>) -> bool {
        let queue = if self.keys.contains_key(key) {
            0
        } else {
            queue_bytes(key)
        };
        let bytes = queue + waiter_bytes(wait);
        self.bytes.saturating_add(bytes) <= self.limits.max_bytes
    }

    /// There is a queue of `key`.
    fn push(&mut self, key: Arc<Key>, wait: Wait<T>, effects: &mut Effects<T>) {
        let number = self.number();
        self.bytes += waiter_bytes(&wait);
        self.len += 1;
        let Some(queue) = self.keys.get_mut(&key) else {
            unreachable!("the queue of {key} was found or made before");
        };
        let timed = Timed::Waiter(key, wait.start_ts);
        self.timed.insert((wait.until, number), timed);
        queue.push(number, wait, effects);
    }

    /// The lock of a key is gone, by a write that is applied or by a request that was resumed and did not take it.
    pub fn release(&mut self, now: Instant, released: &ReleasedLock) -> Effects<T> {
        let mut effects = Effects::default();
        if let Some((key, _)) = self.keys.get_key_value(&released.key) {
            let key = key.clone();
            self.wake(now, &key, released, &mut effects);
            self.drop_if_idle(&key);
        }
        effects
    }

    /// `holder` has the lock of `key` now. The owner holds the latch of the key.
    pub fn acquired(
        &mut self,
        now: Instant,
        key: &Key,
        holder: impl FnOnce() -> Holder,
    ) -> Effects<T> {
        let mut effects = Effects::default();
        let Some((key, _)) = self.keys.get_key_value(key) else {
            return effects;
        };
        let key = key.clone();
        if let Some(queue) = self.keys.get_mut(&key) {
            queue.acquired(now, holder(), &mut effects);
        }
        self.drop_if_idle(&key);
        effects
    }

    /// Takes the requests of one transaction for one key out, because they would wait for ever.
    pub fn take(&mut self, key: &Key, start_ts: TimeStamp) -> (Vec<Waiter<T>>, Vec<WaitFor>) {
        let mut forget = Vec::new();
        let mut taken = Vec::new();
        let Some((key, _)) = self.keys.get_key_value(key) else {
            return (taken, forget);
        };
        let key = key.clone();
        if let Some(queue) = self.keys.get_mut(&key) {
            for (number, wait) in queue.remove_txn(start_ts, &mut forget) {
                taken.push(self.leave(&key, number, wait));
            }
        }
        self.drop_if_idle(&key);
        (taken, forget)
    }

    /// What is due by `now`.
    pub fn tick(&mut self, now: Instant) -> Effects<T> {
        let mut effects = Effects::default();
        while let Some(entry) = self.timed.first_entry() {
            let (at, number) = *entry.key();
            if at > now {
                break;
            }
            match entry.remove() {
                Timed::Waiter(key, start_ts) => {
                    self.time_out(&key, (start_ts, number), &mut effects);
                }
                Timed::Delayed(key) => self.wake_delayed(now, &key, &mut effects),
            }
        }
        effects
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timed.first_key_value().map(|((at, _), _)| *at)
    }

    /// Who waits for whom, oldest waiter of each key first; no more than `max_bytes` of keys and tags.
    #[must_use]
    pub fn waits(&self, max_bytes: usize) -> Vec<(WaitFor, Instant)> {
        let mut keys: Vec<_> = self.keys.keys().collect();
        keys.sort_unstable();
        let mut room = max_bytes;
        let mut waits = Vec::new();
        for key in keys {
            for (wait, since) in self.keys[key].edges() {
                let bytes = size_of::<WaitFor>() + wait.key.len() + wait.tag.len();
                if bytes > room {
                    return waits;
                }
                room -= bytes;
                waits.push((wait, since));
            }
        }
        waits
    }

    fn time_out(&mut self, key: &Arc<Key>, place: (TimeStamp, u64), effects: &mut Effects<T>) {
        let Some(queue) = self.keys.get_mut(key) else {
            return;
        };
        let Some(wait) = queue.remove(place, &mut effects.forget) else {
            return;
        };
        let changed = queue.changed_since(wait.since);
        let info = queue.holder_info();
        let waiter = self.leave(key, place.1, wait);
        effects.timed_out.push((waiter, info, changed));
        self.drop_if_idle(key);
    }

    fn wake_delayed(&mut self, now: Instant, key: &Arc<Key>, effects: &mut Effects<T>) {
        let Some(queue) = self.keys.get_mut(key) else {
            return;
        };
        let Some(due) = queue.pop_delayed(&mut effects.forget) else {
            return;
        };
        for (number, wait) in due.popped {
            self.left(key, number, wait, &due.released, effects);
        }
        if due.missed {
            self.wake(now, key, &due.released, effects);
        }
        self.drop_if_idle(key);
    }

    /// Wakes the first of a key, and those who go with it.
    fn wake(
        &mut self,
        now: Instant,
        key: &Arc<Key>,
        released: &ReleasedLock,
        effects: &mut Effects<T>,
    ) {
        let number = self.number();
        let Some(queue) = self.keys.get_mut(key) else {
            return;
        };
        let popped = queue.pop_released(now, &mut effects.forget);
        let delay = queue.delay_from(&popped, now + self.limits.wake_up_delay, number, released);
        if let Some(before) = delay.replaced {
            self.timed.remove(&before);
        }
        if let Some(at) = delay.set {
            self.timed.insert(at, Timed::Delayed(key.clone()));
        }
        for (number, wait) in popped {
            self.left(key, number, wait, released, effects);
        }
    }

    /// Sorts a woken waiter by what is to be done with it.
    fn left(
        &mut self,
        key: &Arc<Key>,
        number: u64,
        wait: Wait<T>,
        released: &ReleasedLock,
        effects: &mut Effects<T>,
    ) {
        let waiter = self.leave(key, number, wait);
        match waiter.wait.mode {
            WakeUpMode::Retry => effects.retry.push((waiter, released.clone())),
            WakeUpMode::Resume => effects.resume.push((waiter, released.clone())),
        }
    }

    fn leave(&mut self, key: &Arc<Key>, number: u64, wait: Wait<T>) -> Waiter<T> {
        self.timed.remove(&(wait.until, number));
        self.bytes -= waiter_bytes(&wait);
        self.len -= 1;
        Waiter {
            key: key.clone(),
            wait,
        }
    }

    fn drop_if_idle(&mut self, key: &Arc<Key>) {
        if self.keys.get(key).is_some_and(KeyQueue::is_idle)
            && let Some(queue) = self.keys.remove(key)
        {
            self.bytes -= queue_bytes(key);
            if let Some(delayed) = queue.delayed_at() {
                self.timed.remove(&delayed);
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// What must hold between calls; for tests, since it looks at everything.
    pub fn check_invariants(&self) {
        let mut waiters = 0;
        let mut timed = 0;
        let mut bytes = 0;
        for (key, queue) in &self.keys {
            assert!(!queue.is_idle(), "an idle queue of {key} was kept");
            bytes += queue_bytes(key);
            for ((start_ts, number), wait) in queue.iter() {
                assert_eq!(start_ts, wait.start_ts);
                assert!(self.timed.contains_key(&(wait.until, number)));
                waiters += 1;
                bytes += waiter_bytes(wait);
            }
            if let Some(at) = queue.delayed_at() {
                assert!(self.timed.contains_key(&at));
                timed += 1;
            }
        }
        assert_eq!(waiters, self.len);
        assert_eq!(bytes, self.bytes);
        assert_eq!(self.timed.len(), waiters + timed);
    }
}

fn waiter_bytes<T>(wait: &Wait<T>) -> usize {
    waiter_bytes_of::<T>() + wait.tag.len() + wait.payload_bytes
}

fn queue_bytes(key: &Key) -> usize {
    QUEUE_BYTES + 2 * key.len()
}
