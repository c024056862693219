//! Where ready tasks stand and in which order a worker looks. Owns the queues; knows neither
//! threads nor tasks.
//!
//! There are five lanes: high priority, the three levels of normal priority, low priority. A worker
//! empties them in this order, with three exceptions:
//!
//! 1. From the first level it takes a batch into a deque of its own, from which idle workers steal.
//!    Only there: tasks of the first level are short, so what stands in a deque behind others does
//!    not stand long.
//! 2. A task of the first or second level that gave way while it ran goes on before those of its level that were not
//!    begun. Taking turns among equals would let all of them end late: under more load than the pool can carry, each
//!    would be half done when its caller gives up. The bound of the level bounds how long it can go on like that;
//!    the last level has none, so there turns are taken.
//! 3. Every few picks it prefers a lower priority, and every few picks of normal priority a lower
//!    level, so that none is starved by those above it. Both are counted apart: a share of the
//!    levels is a share of what normal tasks get.

use std::iter;

use crossbeam::deque::{Injector, Steal, Stealer, Worker};

use crate::{Priority, accounts::LEVELS};

const HIGH: usize = 0;
const FIRST_LEVEL: usize = 1;
const LOW: usize = FIRST_LEVEL + LEVELS;
/// Number of lanes.
pub(crate) const LANES: usize = LOW + 1;

/// The lane of a task.
pub(crate) fn lane_of(priority: Priority, level: usize) -> usize {
    match priority {
        Priority::High => HIGH,
        Priority::Normal => FIRST_LEVEL + level.min(LEVELS - 1),
        Priority::Low => LOW,
    }
}

/// The priorities in the order in which pick number `pick` looks: of 64 picks one prefers low and
/// sixteen prefer normal priority.
fn priorities(pick: u64) -> [Priority; 3] {
    match pick % 64 {
        63 => [Priority::Low, Priority::High, Priority::Normal],
        p if p % 4 == 1 => [Priority::Normal, Priority::High, Priority::Low],
        _ => [Priority::High, Priority::Normal, Priority::Low],
    }
}

/// The level that pick number `pick` among normal tasks prefers: of sixteen picks one prefers the
/// third, four the second, the others the first.
fn preferred_level(pick: u64) -> usize {
    const _: () = assert!(LEVELS == 3, "the shares below are for three levels");
    match pick % 16 {
        7 => 2,
        p if p % 4 == 1 => 1,
        _ => 0,
    }
}

/// The lanes of a pool and the far ends of its workers' deques.
pub(crate) struct Lanes<T> {
    shared: [Injector<T>; LANES],
    /// Of the levels but the last: tasks that gave way.
    begun: [Injector<T>; LEVELS - 1],
    stealers: Vec<Stealer<T>>,
}

/// One worker's end of the lanes.
pub(crate) struct LocalLanes<T> {
    index: usize,
    deque: Worker<T>,
    /// Tasks taken.
    picks: u64,
    /// Tasks of normal priority taken.
    normal_picks: u64,
}

impl<T> Lanes<T> {
    /// Lanes for `workers`, and their ends.
    pub(crate) fn new(workers: usize) -> (Self, Vec<LocalLanes<T>>) {
        let locals: Vec<_> = (0..workers)
            .map(|index| LocalLanes {
                index,
                deque: Worker::new_fifo(),
                picks: 0,
                normal_picks: 0,
            })
            .collect();
        let stealers = locals.iter().map(|local| local.deque.stealer()).collect();
        (
            Self {
                shared: std::array::from_fn(|_| Injector::new()),
                begun: std::array::from_fn(|_| Injector::new()),
                stealers,
            },
            locals,
        )
    }

    /// Puts a task at the end of its lane.
    pub(crate) fn push(&self, lane: usize, task: T) {
        self.shared[lane].push(task);
    }

    /// Puts a task that gave way into its lane: before those that were not begun, where that is bounded.
    pub(crate) fn push_begun(&self, lane: usize, task: T) {
        self.begun_of(lane).unwrap_or(&self.shared[lane]).push(task);
    }

    fn begun_of(&self, lane: usize) -> Option<&Injector<T>> {
        self.begun.get(lane.checked_sub(FIRST_LEVEL)?)
    }

    /// Whether no task stands anywhere.
    pub(crate) fn is_empty(&self) -> bool {
        let mut injectors = self.shared.iter().chain(&self.begun);
        injectors.all(Injector::is_empty) && self.stealers.iter().all(Stealer::is_empty)
    }

    /// Takes everything, for shutdown.
    pub(crate) fn drain(&self) -> Vec<T> {
        let shared = self
            .shared
            .iter()
            .chain(&self.begun)
            .flat_map(|lane| iter::from_fn(move || settled(|| lane.steal())));
        let local = self
            .stealers
            .iter()
            .flat_map(|stealer| iter::from_fn(move || settled(|| stealer.steal())));
        shared.chain(local).collect()
    }

    /// The next task for the worker of `local`.
    pub(crate) fn pop(&self, local: &mut LocalLanes<T>) -> Option<T> {
        let task = priorities(local.picks)
            .into_iter()
            .find_map(|priority| match priority {
                Priority::Normal => self.pop_normal(local),
                other => settled(|| self.shared[lane_of(other, 0)].steal()),
            });
        if task.is_some() {
            local.picks = local.picks.wrapping_add(1);
        }
        task
    }

    fn pop_normal(&self, local: &mut LocalLanes<T>) -> Option<T> {
        let preferred = preferred_level(local.normal_picks);
        let task = iter::once(preferred)
            .chain((0..LEVELS).filter(|&level| level != preferred))
            .find_map(|level| self.pop_lane(FIRST_LEVEL + level, local));
        if task.is_some() {
            local.normal_picks = local.normal_picks.wrapping_add(1);
        }
        task
    }

    fn pop_lane(&self, lane: usize, local: &LocalLanes<T>) -> Option<T> {
        let begun = self
            .begun_of(lane)
            .and_then(|lane| settled(|| lane.steal()));
        if begun.is_some() {
            return begun;
        }
        if lane != FIRST_LEVEL {
            return settled(|| self.shared[lane].steal());
        }
        local
            .deque
            .pop()
            .or_else(|| settled(|| self.shared[lane].steal_batch_and_pop(&local.deque)))
            .or_else(|| self.steal(local))
    }

    /// Takes from the deques of the others, beginning with the neighbour so that thieves spread.
    fn steal(&self, local: &LocalLanes<T>) -> Option<T> {
        let (before, from_own) = self.stealers.split_at(local.index);
        let others = from_own.iter().skip(1).chain(before);
        others
            .into_iter()
            .find_map(|stealer| settled(|| stealer.steal_batch_and_pop(&local.deque)))
    }
}

/// Repeats an attempt that lost a race until it is decided.
fn settled<T>(mut attempt: impl FnMut() -> Steal<T>) -> Option<T> {
    loop {
        match attempt() {
            Steal::Success(task) => return Some(task),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pop_all(lanes: &Lanes<u32>, local: &mut LocalLanes<u32>) -> Vec<u32> {
        iter::from_fn(|| lanes.pop(local)).collect()
    }

    #[test]
    fn lanes_are_ordered_and_fifo() {
        let (lanes, mut locals) = Lanes::new(1);
        lanes.push(lane_of(Priority::Low, 0), 50);
        lanes.push(lane_of(Priority::Normal, 2), 40);
        lanes.push(lane_of(Priority::Normal, 1), 30);
        lanes.push(lane_of(Priority::Normal, 0), 20);
        lanes.push(lane_of(Priority::Normal, 0), 21);
        lanes.push(lane_of(Priority::High, 2), 10);
        // Of the normal tasks, the second pick prefers the second level.
        assert_eq!(pop_all(&lanes, &mut locals[0]), [10, 20, 30, 21, 40, 50]);
        assert!(lanes.is_empty());
    }

    #[test]
    fn no_lane_is_starved() {
        let shares = |full: std::ops::Range<usize>| {
            let (lanes, mut locals) = Lanes::new(1);
            let mut taken = [0; LANES];
            for _ in 0..1_024 {
                for lane in full.clone() {
                    lanes.push(lane, lane);
                }
                taken[lanes.pop(&mut locals[0]).unwrap()] += 1;
            }
            taken
        };
        assert_eq!(shares(HIGH..LANES), [752, 176, 64, 16, 16]);
        assert_eq!(shares(FIRST_LEVEL..LANES), [0, 693, 252, 63, 16]);
        assert_eq!(shares(FIRST_LEVEL + 1..LOW), [0, 0, 960, 64, 0]);
    }

    #[test]
    fn what_was_begun_goes_on_first_but_not_at_the_last_level() {
        for (level, expected) in [(0, [3, 1, 2]), (1, [3, 1, 2]), (2, [1, 2, 3])] {
            let (lanes, mut locals) = Lanes::new(1);
            let lane = lane_of(Priority::Normal, level);
            lanes.push(lane, 1);
            lanes.push(lane, 2);
            lanes.push_begun(lane, 3);
            assert_eq!(pop_all(&lanes, &mut locals[0]), expected, "level {level}");
            lanes.push_begun(lane, 4);
            assert!(!lanes.is_empty());
            assert_eq!(lanes.drain(), [4]);
        }
        for priority in [Priority::High, Priority::Low] {
            let (lanes, mut locals) = Lanes::new(1);
            lanes.push(lane_of(priority, 0), 1);
            lanes.push_begun(lane_of(priority, 0), 2);
            assert_eq!(pop_all(&lanes, &mut locals[0]), [1, 2]);
        }
    }

    #[test]
    fn an_idle_worker_steals() {
        let (lanes, mut locals) = Lanes::new(2);
        for task in 0..10 {
            lanes.push(FIRST_LEVEL, task);
        }
        assert_eq!(lanes.pop(&mut locals[0]), Some(0));
        assert!(!locals[0].deque.is_empty(), "a batch was taken");
        let mut rest = pop_all(&lanes, &mut locals[1]);
        rest.sort_unstable();
        assert_eq!(rest, (1..10).collect::<Vec<_>>());
    }

    #[test]
    fn drain_takes_all() {
        let (lanes, mut locals) = Lanes::new(2);
        for task in 0..20 {
            lanes.push(task as usize % LANES, task);
        }
        let first = lanes.pop(&mut locals[0]).unwrap();
        let mut all = lanes.drain();
        all.push(first);
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        assert!(lanes.is_empty());
    }
}
