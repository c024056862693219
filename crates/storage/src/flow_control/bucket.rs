//! Bytes that may be written at a rate: a bucket that may owe.
//!
//! Two sums run along: what was *taken* by all writes so far, and what is *paid* by the time that has passed. A write
//! goes when what was taken before it is paid, and then takes all of its own, however much: the next ones wait for
//! that. So large writes need no special way, waits are in order of arrival, and when the rate changes everybody's
//! wait changes with it.
//! Must never: read a clock, or save up more than a moment of silence.

use std::time::Duration;

use runtime::Instant;

/// What a moment of silence may save up, in seconds of the rate.
const SAVED_MAX: f64 = 0.05;

/// See the module. The sums are exact for petabytes.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Bytes per second. Above zero.
    rate: f64,
    taken: f64,
    paid: f64,
    at: Instant,
}

/// What must be paid before a write may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn(f64);

impl Bucket {
    pub(super) fn new(rate: f64, now: Instant) -> Self {
        assert!(rate > 0.0, "a rate of {rate} would never pay off");
        Self {
            rate,
            taken: 0.0,
            paid: 0.0,
            at: now,
        }
    }

    /// Changes the rate; what is owed stays.
    pub(super) fn set_rate(&mut self, rate: f64, now: Instant) {
        assert!(rate > 0.0, "a rate of {rate} would never pay off");
        self.refill(now);
        self.rate = rate;
    }

    /// Forgets what is owed and what was saved.
    pub(super) fn settle(&mut self, now: Instant) {
        self.paid = self.taken;
        self.at = now;
    }

    /// The turn of a write that comes now.
    pub(super) fn turn(&self) -> Turn {
        Turn(self.taken)
    }

    /// How long a turn is away.
    pub(super) fn wait(&mut self, turn: Turn, now: Instant) -> Duration {
        self.refill(now);
        if self.paid >= turn.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64((turn.0 - self.paid) / self.rate).unwrap_or(Duration::MAX)
    }

    /// Takes the bytes of a write.
    pub(super) fn take(&mut self, bytes: usize) {
        self.taken += bytes as f64;
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.paid = (self.paid + passed * self.rate).min(self.taken + self.rate * SAVED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use runtime::VirtualClock;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    struct Scene {
        time: VirtualClock,
        bucket: Bucket,
    }

    impl Scene {
        fn new() -> Scene {
            let time = VirtualClock::new();
            let bucket = Bucket::new(1000.0, time.now());
            Scene { time, bucket }
        }

        fn wait(&mut self, turn: Turn) -> u128 {
            let wait = self.bucket.wait(turn, self.time.now());
            (wait.as_micros() + 500) / 1000
        }

        /// Milliseconds for whoever comes now.
        fn next(&mut self) -> u128 {
            let turn = self.bucket.turn();
            self.wait(turn)
        }
    }

    #[test]
    fn waits_add_up_to_the_rate_and_follow_it() {
        let mut scene = Scene::new();
        assert_eq!(scene.next(), 0);
        scene.bucket.take(100);
        let second = scene.bucket.turn();
        assert_eq!(scene.next(), 100);
        scene.bucket.take(50);
        assert_eq!((scene.wait(second), scene.next()), (100, 150));
        scene.time.advance(60 * MS);
        assert_eq!((scene.wait(second), scene.next()), (40, 90));
        scene.bucket.set_rate(500.0, scene.time.now());
        assert_eq!((scene.wait(second), scene.next()), (80, 180));
        scene.bucket.set_rate(5000.0, scene.time.now());
        assert_eq!((scene.wait(second), scene.next()), (8, 18));
        scene.time.advance(8 * MS);
        assert_eq!((scene.wait(second), scene.next()), (0, 10));
        scene.bucket.settle(scene.time.now());
        assert_eq!(scene.next(), 0);
    }

    #[test]
    fn silence_saves_a_moment_and_no_more() {
        let mut scene = Scene::new();
        scene.time.advance(Duration::from_secs(3600));
        assert_eq!(scene.next(), 0);
        scene.bucket.take(150);
        assert_eq!(scene.next(), 100);
    }

    #[test]
    fn an_hour_back_changes_nothing() {
        let time = VirtualClock::new();
        let early = time.now();
        time.advance(Duration::from_secs(1));
        let mut bucket = Bucket::new(1000.0, time.now());
        bucket.take(100);
        let turn = bucket.turn();
        assert_eq!(bucket.wait(turn, early), 100 * MS);
        assert_eq!(bucket.wait(turn, time.now()), 100 * MS);
    }
}
