//! How slow this store is, as one number that clients understand: 1 is healthy, 100 is as bad as it
//! gets.
//!
//! What is judged is the time of synced writes, because a dying disk shows there first and nowhere
//! so plainly. Time is cut into rounds. A round in which a share of the writes took too long raises
//! the score in proportion, up to doubling it; a round without slow writes, and one without any,
//! lowers it by a constant. So one hiccup is forgotten in seconds, seven bad rounds in a row end at
//! the top, and from there the way back takes five minutes.
//!
//! It is a plain state machine: latencies and moments in, a number out. Must never: read a clock.

use std::time::Duration;

use runtime::Instant;

/// Length of a round.
const ROUND: Duration = Duration::from_secs(1);
/// A write that takes longer is slow, whatever else the store does: no healthy disk syncs a group
/// of writes that long.
const SLOW_WRITE: Duration = Duration::from_millis(500);
/// The share of slow writes at which a round counts as bad in full.
const BAD_SHARE: f64 = 0.1;
/// The score at its best and at its worst.
const HEALTHY: f64 = 1.0;
const WORST: f64 = 100.0;
/// The way from the worst score to health, without a slow write.
const RECOVERY: Duration = Duration::from_secs(300);

/// The score of a store.
#[derive(Clone, Debug)]
pub(crate) struct SlowScore {
    score: f64,
    round_began: Instant,
    writes: u32,
    slow: u32,
}

impl SlowScore {
    /// A healthy store.
    pub(crate) fn new(now: Instant) -> Self {
        SlowScore {
            score: HEALTHY,
            round_began: now,
            writes: 0,
            slow: 0,
        }
    }

    /// Counts a write that ended just now.
    pub(crate) fn observe(&mut self, now: Instant, took: Duration) {
        self.close_rounds(now);
        self.writes = self.writes.saturating_add(1);
        if took > SLOW_WRITE {
            self.slow = self.slow.saturating_add(1);
        }
    }

    /// The score over all rounds that are over.
    pub(crate) fn value(&mut self, now: Instant) -> i32 {
        self.close_rounds(now);
        // Between 1 and 100, so nothing is lost.
        self.score.round() as i32
    }

    fn close_rounds(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.round_began);
        if passed < ROUND {
            return;
        }
        let mut calm = passed;
        if self.slow > 0 {
            let share = f64::from(self.slow) / f64::from(self.writes);
            self.score *= 1.0 + (share / BAD_SHARE).min(1.0);
            calm = passed.saturating_sub(ROUND);
        }
        self.score -= (WORST - HEALTHY) * calm.as_secs_f64() / RECOVERY.as_secs_f64();
        self.score = self.score.clamp(HEALTHY, WORST);
        self.round_began = now;
        self.writes = 0;
        self.slow = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use runtime::Stepper;

    use super::*;

    const FAST: Duration = Duration::from_millis(3);
    const SLOW: Duration = Duration::from_millis(501);

    fn start() -> Instant {
        Stepper::new(1).runtime().clock.now()
    }

    /// One round with writes of these kinds, and the score after it.
    fn round(score: &mut SlowScore, now: &mut Instant, fast: usize, slow: usize) -> i32 {
        for _ in 0..fast {
            score.observe(*now, FAST);
        }
        for _ in 0..slow {
            score.observe(*now, SLOW);
        }
        *now += ROUND;
        score.value(*now)
    }

    #[test]
    fn a_store_is_healthy_until_it_is_not() {
        let mut now = start();
        let mut score = SlowScore::new(now);
        assert_eq!(score.value(now), 1);
        for _ in 0..10 {
            assert_eq!(round(&mut score, &mut now, 100, 0), 1);
        }
        // A slow write does not count before its round is over.
        score.observe(now, SLOW);
        assert_eq!(score.value(now), 1);
        now += ROUND;
        assert_eq!(score.value(now), 2);
        // A hiccup is forgotten.
        now += Duration::from_secs(5);
        assert_eq!(score.value(now), 1);
    }

    #[test]
    fn sustained_slowness_doubles_it_to_the_top() {
        let mut now = start();
        let mut score = SlowScore::new(now);
        let seen: Vec<i32> = (0..8).map(|_| round(&mut score, &mut now, 0, 5)).collect();
        assert_eq!(seen, [2, 4, 8, 16, 32, 64, 100, 100]);
    }

    #[test]
    fn a_small_share_of_slow_writes_raises_it_slowly() {
        let mut now = start();
        let mut score = SlowScore::new(now);
        for _ in 0..10 {
            round(&mut score, &mut now, 99, 1);
        }
        // 1.1 to the tenth.
        assert_eq!(score.value(now), 3);
    }

    #[test]
    fn it_recovers_with_time_alone() {
        let mut now = start();
        let mut score = SlowScore::new(now);
        for _ in 0..7 {
            round(&mut score, &mut now, 0, 1);
        }
        assert_eq!(score.value(now), 100);
        now += RECOVERY / 2;
        assert_eq!(score.value(now), 51);
        now += RECOVERY / 2;
        assert_eq!(score.value(now), 1);
        now += RECOVERY * 100;
        assert_eq!(score.value(now), 1);
    }

    proptest! {
        #[test]
        fn it_stays_in_its_range(
            writes in proptest::collection::vec((0u64..3_000, 0u64..5_000), 0..200)
        ) {
            let mut now = start();
            let mut score = SlowScore::new(now);
            for (pause, took) in writes {
                now += Duration::from_millis(pause);
                score.observe(now, Duration::from_millis(took));
                prop_assert!((1..=100).contains(&score.value(now)));
            }
        }
    }
}
