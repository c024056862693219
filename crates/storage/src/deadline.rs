//! The moment after which nobody waits for an answer any more.
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

    /// Fails when it has passed.
    pub(crate) fn check(&self, clock: &Clock) -> Result<()> {
        match self.at {
            Some(at) if clock.now() >= at => Err(Error::DeadlineExceeded),
            _ => Ok(()),
        }
    }
}
