//! The open loop over gRPC: requests are due at fixed times, whatever became of those before.
//!
//! A latency is counted from the time when the request was due, so that a server that stalls is
//! charged for everything that had to wait, not only for what was in flight: no coordinated
//! omission. What this adds is the dispatcher's own lateness, at most the granularity of a sleep
//! (about 60 µs) while the machine has a core for it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use parking_lot::Mutex;

use crate::client::Connections;
use crate::random::Random;
use crate::sample::{Recorder, Sample};
use crate::window::{Meter, Timing};

/// Requests in flight beyond which further ones are not sent but counted as failed: a server that
/// is that far behind has lost them anyway, and the generator must not run out of memory.
const IN_FLIGHT_MAX: usize = 20_000;
/// The longest that the dispatcher sleeps at a time.
const NAP_MAX: Duration = Duration::from_millis(1);
/// Counts are kept apart by the number of the request, so that workers rarely meet.
const SHARDS: usize = 8;

/// How an open loop runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenLoop {
    /// Requests a second.
    pub(crate) rate: f64,
    /// An answer that comes later than this after its time is of no use.
    pub(crate) patience: Duration,
    pub(crate) timing: Timing,
    pub(crate) server: Option<u32>,
}

/// What an open loop gave.
#[derive(Clone, Debug)]
pub(crate) struct OpenSample {
    /// All requests that were due in the window and were answered, however late.
    pub(crate) sample: Sample,
    /// Those that succeeded within the patience.
    pub(crate) good: u64,
}

impl OpenSample {
    /// Useful answers a second.
    pub(crate) fn goodput(&self) -> f64 {
        self.good as f64 / self.sample.seconds.max(f64::MIN_POSITIVE)
    }
}

#[derive(Default)]
struct Tally {
    recorder: Option<Recorder>,
    good: u64,
}

struct Shared {
    shards: [Mutex<Tally>; SHARDS],
    in_flight: AtomicUsize,
    patience: Duration,
}

impl Shared {
    fn count(&self, number: u64, latency: Duration, outcome: anyhow::Result<u64>) {
        let mut tally = self.shards[number as usize % SHARDS].lock();
        match outcome {
            Ok(items) => {
                if latency <= self.patience {
                    tally.good += 1;
                }
                let recorder = tally.recorder.get_or_insert_with(Recorder::new);
                recorder.done(latency, items);
            }
            Err(error) => {
                let recorder = tally.recorder.get_or_insert_with(Recorder::new);
                recorder.failed(&error);
            }
        }
    }
}

/// Sends `op` at the times of `plan`. `op` gets the number of the request.
pub(crate) fn open_loop<Op, Fut>(
    connections: &Connections,
    plan: OpenLoop,
    op: Op,
) -> anyhow::Result<OpenSample>
where
    Op: Fn(usize, &mut Random) -> Fut,
    Fut: Future<Output = anyhow::Result<u64>> + Send + 'static,
{
    if !(plan.rate.is_finite() && plan.rate > 0.0) {
        bail!("an open loop needs a rate, not {}", plan.rate);
    }
    let shared = Arc::new(Shared {
        shards: Default::default(),
        in_flight: AtomicUsize::new(0),
        patience: plan.patience,
    });
    let mut random = Random::new(1);
    let start = Instant::now();
    let opens = start + plan.timing.warmup;
    let closes = opens + plan.timing.window;
    let mut meter = None;
    for number in 0u64.. {
        let due = start + Duration::from_secs_f64(number as f64 / plan.rate);
        if due >= closes {
            break;
        }
        wait_until(due);
        let counts = due >= opens;
        if counts && meter.is_none() {
            meter = Some(Meter::start(plan.server)?);
        }
        if shared.in_flight.load(Ordering::Relaxed) >= IN_FLIGHT_MAX {
            if counts {
                let behind = anyhow::anyhow!("{IN_FLIGHT_MAX} requests are in flight");
                shared.count(number, Duration::ZERO, Err(behind));
            }
            continue;
        }
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        let answer = op(number as usize, &mut random);
        let shared = shared.clone();
        connections.spawn(number as usize, async move {
            let outcome = answer.await;
            if counts {
                shared.count(number, due.elapsed(), outcome);
            }
            shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        });
    }
    let Some(meter) = meter else {
        bail!("at {} requests a second none was due", plan.rate)
    };
    let sample = meter.stop()?;
    // What was due in the window is waited for; what does not come within the patience is lost.
    let given_up = Instant::now() + plan.patience + Duration::from_secs(1);
    while shared.in_flight.load(Ordering::Acquire) > 0 && Instant::now() < given_up {
        // The window is over, so nothing is measured by how soon the last answer is seen.
        std::thread::sleep(NAP_MAX);
    }
    let (mut all, mut good) = (Recorder::new(), 0);
    for shard in &shared.shards {
        let tally = shard.lock();
        good += tally.good;
        if let Some(recorder) = &tally.recorder {
            all.merge(recorder);
        }
    }
    Ok(OpenSample {
        sample: sample.with(all),
        good,
    })
}

/// The pace of the loop. Short naps, because the longer one is, the later the kernel may wake from it.
fn wait_until(due: Instant) {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(NAP_MAX));
    }
}
