//! Bytes that may be written at a rate: a bucket that may owe.
//!
//! A write goes when nothing is owed, and then takes all of its bytes, however many: the next ones wait until they
//! are paid. So large writes need no special way, waits are in order of arrival, and the sum is exact.
//! Must never: read a clock, or save up more than a moment of silence.

use std::time::Duration;

use runtime::Instant;

/// What a moment of silence may save up, in seconds of the rate.
const SAVED_MAX: f64 = 0.05;

/// See the module.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Bytes per second. Above zero.
    rate: f64,
    /// Bytes that may be written now; what is owed is below zero.
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(rate: f64, now: Instant) -> Self {
        assert!(rate > 0.0, "a rate of {rate} would never pay off");
        Self {
            rate,
            level: 0.0,
            at: now,
        }
    }

    /// Changes the rate; what is owed stays.
    pub(super) fn set_rate(&mut self, rate: f64, now: Instant) {
        assert!(rate > 0.0, "a rate of {rate} would never pay off");
        self.refill(now);
        self.rate = rate;
    }

    /// How long the next write has to wait.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        self.refill(now);
        if self.level >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.level / self.rate).unwrap_or(Duration::MAX)
    }

    /// Takes the bytes of a write.
    pub(super) fn take(&mut self, bytes: usize) {
        self.level -= bytes as f64;
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.level = (self.level + passed * self.rate).min(self.rate * SAVED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use runtime::VirtualClock;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn about(wait: Duration) -> u128 {
        (wait.as_micros() + 500) / 1000
    }

    #[test]
    fn waits_add_up_to_the_rate() {
        let time = VirtualClock::new();
        let mut bucket = Bucket::new(1000.0, time.now());
        assert_eq!(bucket.wait(time.now()), Duration::ZERO);
        bucket.take(100);
        assert_eq!(about(bucket.wait(time.now())), 100);
        bucket.take(50);
        assert_eq!(about(bucket.wait(time.now())), 150);
        time.advance(60 * MS);
        assert_eq!(about(bucket.wait(time.now())), 90);
        bucket.set_rate(500.0, time.now());
        assert_eq!(about(bucket.wait(time.now())), 180);
    }

    #[test]
    fn silence_saves_a_moment_and_no_more() {
        let time = VirtualClock::new();
        let mut bucket = Bucket::new(1000.0, time.now());
        time.advance(Duration::from_secs(3600));
        assert_eq!(bucket.wait(time.now()), Duration::ZERO);
        bucket.take(150);
        assert_eq!(about(bucket.wait(time.now())), 100);
    }

    #[test]
    fn an_hour_back_changes_nothing() {
        let time = VirtualClock::new();
        let early = time.now();
        time.advance(Duration::from_secs(1));
        let mut bucket = Bucket::new(1000.0, time.now());
        bucket.take(100);
        assert_eq!(about(bucket.wait(early)), 100);
        assert_eq!(about(bucket.wait(time.now())), 100);
    }
}
