//! How long something takes on average, lately: a turn of a pool's thread, or what a caller measures.
//!
//! 1. Times are averaged over windows of [`WINDOW`], and each finished window counts half of what was
//!    known before it, so the mean follows a change of load within some hundred milliseconds and one
//!    long time does not decide it.
//! 2. A pause of several windows counts like so many windows of what came after it: old knowledge
//!    fades with time, not with the number of events.
//!
//! The state is plain; the atomics around it are at the end. Must never read a clock, and never wait
//! for a lock: a time that cannot be counted at once is not counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use runtime::Instant;

/// What happens in so long a time is one sample.
const WINDOW: Duration = Duration::from_millis(100);

/// After so many windows nothing is left of the past.
const FORGOTTEN_AFTER: u64 = 16;

/// The moving average, as plain state.
#[derive(Debug, Default)]
struct State {
    /// Valid once something was counted.
    window_start: Option<Instant>,
    sum_ns: u64,
    count: u64,
    /// Of the finished windows; absent during the first.
    past_ns: Option<u64>,
}

impl State {
    /// Counts what ended at `now`. Returns the mean in nanoseconds.
    fn record(&mut self, now: Instant, took: Duration) -> u64 {
        let start = *self.window_start.get_or_insert(now);
        self.sum_ns = self.sum_ns.saturating_add(nanos(took));
        self.count += 1;
        let mean = self.sum_ns / self.count;
        let elapsed = now.saturating_duration_since(start);
        if elapsed < WINDOW {
            return self.past_ns.unwrap_or(mean);
        }
        let windows = (nanos(elapsed) / nanos(WINDOW)).min(FORGOTTEN_AFTER);
        let past = self.past_ns.map_or(mean, |past| {
            if past >= mean {
                mean + ((past - mean) >> windows)
            } else {
                mean - ((mean - past) >> windows)
            }
        });
        *self = State {
            window_start: Some(now),
            sum_ns: 0,
            count: 0,
            past_ns: Some(past),
        };
        past
    }
}

/// A moving mean that many threads count into and read.
#[derive(Debug, Default)]
pub struct MeanTime {
    state: Mutex<State>,
    mean_ns: AtomicU64,
}

impl MeanTime {
    /// Counts what ended at `now`.
    pub fn record(&self, now: Instant, took: Duration) {
        if let Some(mut state) = self.state.try_lock() {
            let mean = state.record(now, took);
            self.mean_ns.store(mean, Ordering::Relaxed);
        }
    }

    /// The mean; zero when nothing was counted yet.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.mean_ns.load(Ordering::Relaxed))
    }

    /// How long `count` of them take when `at_once` go on side by side.
    pub fn of_many(&self, count: usize, at_once: usize) -> Duration {
        let total = u128::from(self.mean_ns.load(Ordering::Relaxed)) * count as u128;
        let wait = total / at_once.max(1) as u128;
        Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use runtime::VirtualClock;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_count_at_once() {
        let (turns, time) = (MeanTime::default(), VirtualClock::new());
        assert_eq!(turns.of_many(1000, 1), Duration::ZERO);
        turns.record(time.now(), 2 * MS);
        assert_eq!(turns.mean(), 2 * MS);
        turns.record(time.now(), 4 * MS);
        assert_eq!(turns.mean(), 3 * MS);
        // Ten turns of 3 ms on two threads.
        assert_eq!(turns.of_many(10, 2), 15 * MS);
        assert_eq!(turns.of_many(0, 2), Duration::ZERO);
    }

    #[test]
    fn each_window_halves_what_was_known() {
        let (turns, time) = (MeanTime::default(), VirtualClock::new());
        turns.record(time.now(), 8 * MS);
        time.advance(WINDOW);
        turns.record(time.now(), 8 * MS);
        assert_eq!(turns.mean(), 8 * MS);
        for expected in [4, 2, 1] {
            // Within a window nothing changes.
            turns.record(time.now(), Duration::ZERO);
            time.advance(WINDOW);
            turns.record(time.now(), Duration::ZERO);
            assert_eq!(turns.mean(), expected * MS);
        }
        // Upwards too.
        time.advance(WINDOW);
        turns.record(time.now(), 9 * MS);
        assert_eq!(turns.mean(), 5 * MS);
    }

    #[test]
    fn one_long_time_among_many_does_not_decide() {
        let (turns, time) = (MeanTime::default(), VirtualClock::new());
        for n in 0..1000 {
            let ran = if n == 500 { 100 * MS } else { MS };
            time.advance(MS);
            turns.record(time.now(), ran);
        }
        assert!(turns.mean() < MS * 11 / 10, "{:?}", turns.mean());
    }

    #[test]
    fn a_pause_fades_the_past() {
        let (turns, time) = (MeanTime::default(), VirtualClock::new());
        turns.record(time.now(), 1024 * MS);
        time.advance(WINDOW);
        turns.record(time.now(), 1024 * MS);
        time.advance(10 * WINDOW);
        turns.record(time.now(), Duration::ZERO);
        assert_eq!(turns.mean(), MS);
        time.advance(Duration::from_secs(3600));
        turns.record(time.now(), 7 * MS);
        assert_eq!(turns.mean().as_millis(), 6);
    }

    #[test]
    fn absurd_numbers_saturate() {
        let (turns, time) = (MeanTime::default(), VirtualClock::new());
        turns.record(time.now(), Duration::MAX);
        turns.record(time.now(), Duration::MAX);
        assert_eq!(turns.of_many(usize::MAX, 0), Duration::from_nanos(u64::MAX));
    }
}
