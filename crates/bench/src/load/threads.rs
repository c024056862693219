//! The closed loop without a server: threads that call a library.

use std::sync::Arc;
use std::time::Instant;

use crate::random::Random;
use crate::sample::Sample;
use crate::window::{Timing, measure};

/// Calls `op` on `count` threads, one call after the other on each. `op` gets the number of the
/// thread and its random numbers, and gives what the call was about: rows, or one.
pub(crate) fn threads<Op>(count: usize, timing: Timing, op: Op) -> anyhow::Result<Sample>
where
    Op: Fn(usize, &mut Random) -> anyhow::Result<u64> + Send + Sync + 'static,
{
    let op = Arc::new(op);
    measure(timing, None, |workers| {
        for number in 0..count {
            let mut worker = workers.worker();
            let op = op.clone();
            let mut random = Random::new(number as u64 + 1);
            std::thread::Builder::new()
                .name(format!("bench-{number}"))
                .spawn(move || {
                    while worker.goes_on() {
                        let started = Instant::now();
                        let outcome = op(number, &mut random);
                        worker.done(started, outcome);
                    }
                })?;
        }
        Ok(())
    })
}
