//! The moment after which nobody waits for an answer any more.
//!
//! Only the client knows it. A request that names none (`max_execution_duration_ms` 0) has none: what it costs is
//! bounded by the limits on its size, and a deadline of our own would fail what a patient client still wants.
//! Must never: look at a clock other than the one it is given.

use std::time::Duration;

use kvproto::kvrpcpb::Context;
use runtime::{Clock, Instant};

use crate::{Error, Result};

/// A request's deadline, if it has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Option<Instant>,
}

impl Deadline {
    /// `max_execution_duration_ms` from now; zero means none.
    pub(crate) fn of(ctx: &Context, clock: &Clock) -> Self {
        let millis = ctx.get_max_execution_duration_ms();
        // A client may claim centuries: more than a year is none.
        const YEAR_MS: u64 = 366 * 24 * 3600 * 1000;
        let at = (1..=YEAR_MS)
            .contains(&millis)
            .then(|| clock.now() + Duration::from_millis(millis));
        Self { at }
    }

    /// The moment itself.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Whether it will have passed so long from now.
    pub(crate) fn passes_within(&self, wait: Duration, clock: &Clock) -> bool {
        self.at.is_some_and(|at| clock.now() + wait > at)
    }

    /// Fails when it has passed.
    pub(crate) fn check(&self, clock: &Clock) -> Result<()> {
        match self.at {
            Some(at) if clock.now() >= at => Err(Error::DeadlineExceeded),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::VirtualClock;

    use super::*;

    fn of(millis: u64, clock: &Clock) -> Deadline {
        let mut ctx = Context::default();
        ctx.set_max_execution_duration_ms(millis);
        Deadline::of(&ctx, clock)
    }

    #[test]
    fn it_passes_at_its_moment() {
        let time = VirtualClock::new();
        let clock = time.clock();
        let deadline = of(10, &clock);
        time.advance(Duration::from_millis(9));
        deadline.check(&clock).unwrap();
        assert!(!deadline.passes_within(Duration::from_millis(1), &clock));
        assert!(deadline.passes_within(Duration::from_nanos(1_000_001), &clock));
        time.advance(Duration::from_millis(1));
        assert!(matches!(
            deadline.check(&clock),
            Err(Error::DeadlineExceeded)
        ));
    }

    #[test]
    fn none_and_centuries_never_pass() {
        let time = VirtualClock::new();
        let clock = time.clock();
        for millis in [0, u64::MAX, 1 << 50] {
            let deadline = of(millis, &clock);
            time.advance(Duration::from_secs(1 << 30));
            deadline.check(&clock).unwrap();
            assert!(!deadline.passes_within(Duration::MAX, &clock));
        }
    }
}
