//! Latches: commands that touch the same key run one after the other, in order of arrival.
//!
//! Plain state, no waiting: `acquire` says whether a command holds all of its latches, and if not leaves a token
//! `W` of the caller's choice in the queue; `release` gives back the tokens of those who came next.
//!
//! 1. A key hashes to one of a power-of-two number of slots. Two keys of one slot exclude each other needlessly and
//!    harmlessly.
//! 2. A command enters its slots in ascending order and stops at the first one that it does not own. Whoever waits
//!    in slot `s` owns only slots below `s`, so the wait graph has no cycle.
//! 3. A slot's queue is FIFO, and `release` makes the next in the queue the owner *before* it is told: nobody
//!    that arrives in between can overtake.
//! 4. A command waits in at most one slot at a time, so a release wakes exactly the next of each slot.
//!
//! Slots live in sharded maps and exist only while somebody is in them: no global lock, no memory when idle.
//! Must never: block, run the caller's code under a shard lock (beyond making a token), or lose a slot when a
//! command is dropped half-way (`release` works from any state).

use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasherDefault;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use parking_lot::Mutex;

/// Shards of the slot table: enough that two commands rarely meet on one mutex.
const SHARDS: usize = 256;
const _: () = assert!(SHARDS.is_power_of_two());

#[derive(Debug)]
struct Queue<W> {
    owner: u64,
    waiting: VecDeque<(u64, W)>,
}

type Shard<W> = Mutex<HashMap<u64, Queue<W>, BuildHasherDefault<DefaultHasher>>>;

/// The latches that one command needs, and how far it has come.
#[derive(Debug)]
pub struct LatchSet {
    /// Ascending, without duplicates.
    slots: Vec<u64>,
    /// `slots[..owned]` are owned. When smaller than `slots.len()` after an `acquire`, the command waits in
    /// `slots[owned]`.
    owned: usize,
    /// Whether the command is in the queue of `slots[owned]`, waiting or made its owner.
    queued: bool,
}

impl LatchSet {
    /// Whether every latch is held.
    pub fn is_complete(&self) -> bool {
        self.owned == self.slots.len()
    }

    /// How many different slots the keys fell into.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }
}

/// The latches of a store.
#[derive(Debug)]
pub struct Latches<W> {
    shards: Box<[Shard<W>]>,
    slot_mask: u64,
}

impl<W> Latches<W> {
    /// Latches with at least `slots` slots, rounded up to a power of two.
    pub fn new(slots: usize) -> Self {
        let slots = slots.max(1).next_power_of_two();
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            slot_mask: slots as u64 - 1,
        }
    }

    /// The set of latches for `keys`: hashed, sorted, without duplicates.
    pub fn set_for<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) -> LatchSet {
        let mut slots: Vec<u64> = keys
            .into_iter()
            .map(|key| hash(key) & self.slot_mask)
            .collect();
        slots.sort_unstable();
        slots.dedup();
        LatchSet {
            slots,
            owned: 0,
            queued: false,
        }
    }

    /// Takes as many of the remaining latches as it can for command `id`. When it returns `false`, the command
    /// waits in one queue with a token from `token`, and calls again after that token came back from a `release`.
    /// Calling again without having been woken is harmless.
    pub fn acquire(&self, set: &mut LatchSet, id: u64, mut token: impl FnMut() -> W) -> bool {
        while let Some(&slot) = set.slots.get(set.owned) {
            let mut shard = self.shard(slot).lock();
            match shard.get_mut(&slot) {
                None => {
                    shard.insert(
                        slot,
                        Queue {
                            owner: id,
                            waiting: VecDeque::new(),
                        },
                    );
                }
                Some(queue) if queue.owner == id => {}
                Some(queue) => {
                    if !set.queued {
                        queue.waiting.push_back((id, token()));
                        set.queued = true;
                    }
                    return false;
                }
            }
            set.owned += 1;
            set.queued = false;
        }
        true
    }

    /// Gives up everything that command `id` holds or waits for, and returns the tokens of the new owners.
    pub fn release(&self, set: &mut LatchSet, id: u64) -> Vec<W> {
        let mut woken = Vec::new();
        let entered = (set.owned + 1).min(set.slots.len());
        for &slot in &set.slots[..entered] {
            let mut shard = self.shard(slot).lock();
            let Some(queue) = shard.get_mut(&slot) else {
                continue;
            };
            if queue.owner != id {
                queue.waiting.retain(|(waiter, _)| *waiter != id);
                continue;
            }
            match queue.waiting.pop_front() {
                Some((next, token)) => {
                    queue.owner = next;
                    woken.push(token);
                }
                None => {
                    shard.remove(&slot);
                }
            }
        }
        set.slots.clear();
        set.owned = 0;
        set.queued = false;
        woken
    }

    /// Gives the latch of `key`, of the complete `set` of command `id`, to command `to`. Nothing when it is not in
    /// the set, for instance because it was given away before with another key of its slot.
    pub fn split_off(&self, set: &mut LatchSet, id: u64, key: &[u8], to: u64) -> Option<LatchSet> {
        assert!(set.is_complete(), "a latch was given away by one who waits");
        let slot = hash(key) & self.slot_mask;
        let at = set.slots.binary_search(&slot).ok()?;
        let mut shard = self.shard(slot).lock();
        let queue = shard.get_mut(&slot)?;
        assert_eq!(queue.owner, id, "a latch was given away that was not owned");
        queue.owner = to;
        set.slots.remove(at);
        set.owned -= 1;
        Some(LatchSet {
            slots: vec![slot],
            owned: 1,
            queued: false,
        })
    }

    /// Whether the latch of `key` is in `set`.
    pub fn covers(&self, set: &LatchSet, key: &[u8]) -> bool {
        set.slots
            .binary_search(&(hash(key) & self.slot_mask))
            .is_ok()
    }

    /// Slots that somebody owns right now.
    pub fn slots_in_use(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, slot: u64) -> &Shard<W> {
        // The mask keeps the index below `SHARDS`, whatever the width of `usize`.
        &self.shards[(slot & (SHARDS as u64 - 1)) as usize]
    }
}

fn hash(key: &[u8]) -> u64 {
    // Fixed keys: the same seed must give the same trace.
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquire(latches: &Latches<u64>, set: &mut LatchSet, id: u64) -> bool {
        latches.acquire(set, id, || id)
    }

    #[test]
    fn same_key_is_first_in_first_out_and_wakes_exactly_the_next() {
        let latches = Latches::new(64);
        let mut sets: Vec<_> = (0..4).map(|_| latches.set_for([b"k".as_slice()])).collect();
        assert!(acquire(&latches, &mut sets[0], 0));
        for id in 1..4 {
            assert!(!acquire(&latches, &mut sets[id as usize], id));
        }
        for id in 0..3 {
            assert_eq!(latches.release(&mut sets[id as usize], id), vec![id + 1]);
            assert!(acquire(&latches, &mut sets[id as usize + 1], id + 1));
        }
        assert!(latches.release(&mut sets[3], 3).is_empty());
        assert_eq!(latches.slots_in_use(), 0);
    }

    #[test]
    fn keys_are_sorted_and_deduplicated() {
        let latches: Latches<u64> = Latches::new(1000);
        let set = latches.set_for([b"b".as_slice(), b"a", b"b", b"a"]);
        assert_eq!(set.slot_count(), 2);
        assert!(set.slots.is_sorted());
        let one_slot: Latches<u64> = Latches::new(1);
        assert_eq!(one_slot.set_for([b"b".as_slice(), b"a"]).slot_count(), 1);
    }

    #[test]
    fn newcomer_cannot_overtake_the_woken() {
        let latches = Latches::new(64);
        let mut first = latches.set_for([b"k".as_slice()]);
        let mut second = latches.set_for([b"k".as_slice()]);
        let mut newcomer = latches.set_for([b"k".as_slice()]);
        assert!(acquire(&latches, &mut first, 1));
        assert!(!acquire(&latches, &mut second, 2));
        assert_eq!(latches.release(&mut first, 1), vec![2]);
        // 2 owns the slot although it has not run yet.
        assert!(!acquire(&latches, &mut newcomer, 3));
        assert!(acquire(&latches, &mut second, 2));
    }

    #[test]
    fn a_latch_that_is_given_away_keeps_its_queue() {
        let latches = Latches::new(1 << 20);
        let mut both = latches.set_for([b"a".as_slice(), b"b"]);
        let mut waiting = latches.set_for([b"a".as_slice()]);
        assert!(acquire(&latches, &mut both, 1));
        assert!(!acquire(&latches, &mut waiting, 2));
        let mut given = latches.split_off(&mut both, 1, b"a", 3).unwrap();
        assert!(latches.split_off(&mut both, 1, b"a", 4).is_none());
        assert!(latches.covers(&given, b"a") && !latches.covers(&both, b"a"));
        assert!(latches.release(&mut both, 1).is_empty());
        assert!(!acquire(&latches, &mut waiting, 2), "3 has it now");
        assert_eq!(latches.release(&mut given, 3), vec![2]);
        assert!(acquire(&latches, &mut waiting, 2));
        assert!(latches.release(&mut waiting, 2).is_empty());
        assert_eq!(latches.slots_in_use(), 0);
    }

    #[test]
    fn crossing_commands_do_not_deadlock() {
        let latches = Latches::new(1 << 20);
        let mut ab = latches.set_for([b"a".as_slice(), b"b"]);
        let mut ba = latches.set_for([b"b".as_slice(), b"a"]);
        assert!(acquire(&latches, &mut ab, 1));
        assert!(!acquire(&latches, &mut ba, 2));
        assert_eq!(latches.release(&mut ab, 1), vec![2]);
        assert!(acquire(&latches, &mut ba, 2));
        assert!(ba.is_complete());
    }

    #[test]
    fn dropped_waiter_leaves_the_queue_and_dropped_owner_passes_on() {
        let latches = Latches::new(64);
        let mut a = latches.set_for([b"k".as_slice()]);
        let mut b = latches.set_for([b"k".as_slice()]);
        let mut c = latches.set_for([b"k".as_slice()]);
        assert!(acquire(&latches, &mut a, 1));
        assert!(!acquire(&latches, &mut b, 2));
        assert!(!acquire(&latches, &mut c, 3));
        // 2 goes away while it waits.
        assert!(latches.release(&mut b, 2).is_empty());
        assert_eq!(latches.release(&mut a, 1), vec![3]);
        // 3 was made the owner and goes away before it noticed.
        assert!(latches.release(&mut c, 3).is_empty());
        assert_eq!(latches.slots_in_use(), 0);
    }

    #[test]
    fn acquiring_again_without_being_woken_is_harmless() {
        let latches = Latches::new(64);
        let mut a = latches.set_for([b"k".as_slice()]);
        let mut b = latches.set_for([b"k".as_slice()]);
        assert!(acquire(&latches, &mut a, 1));
        assert!(!acquire(&latches, &mut b, 2));
        assert!(!acquire(&latches, &mut b, 2));
        assert_eq!(latches.release(&mut a, 1), vec![2]);
        assert!(latches.release(&mut b, 2).is_empty());
    }
}
