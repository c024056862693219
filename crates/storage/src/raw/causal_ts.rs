//! Timestamps for raw writes: the version of a raw key in API V2.
//!
//! A read takes the newest version of a key, so of two writes of one key the later must have the larger
//! timestamp, whoever made them and whatever happened between. The argument:
//!
//! 1. Timestamps come from the placement driver's oracle, which never hands one out twice nor goes back,
//!    also over restarts and changes of leaders.
//! 2. They come in batches, because a round trip for each write would cost more than the write. A batch is
//!    handed out in order, and once the next one is here the rest of it is never used.
//! 3. A write gets its timestamp while it holds the latch of its key, and keeps the latch until it is
//!    applied. So two writes of one key on this store have timestamps in the order in which they are
//!    applied.
//! 4. A restart forgets what was left of a batch and takes a new one.
//!
//! Once regions move between stores, a store that becomes leader has to [`flush`](CausalTs::flush) before
//! it writes: the former leader may have used timestamps above those of a batch that was fetched earlier.
//! Then, too, a timestamp that was taken and not yet written has to be announced to whoever computes
//! resolved timestamps; without replication and change capture there is nobody.
//!
//! A batch may be used for [`USABLE_MAX`], so that the driver may be away for a moment. In use, it is
//! replaced when it is older than [`RENEW_AFTER`] or half used, while writes go on; timestamps thereby stay
//! close to the time, and the size of batches follows the load. An idle store asks for nothing.
//!
//! Must never: hand out a timestamp that is not above every earlier one, or wait with a lock held.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use runtime::{Instant, Runtime};
use txn_types::TimeStamp;

use crate::{Error, Result};

/// Asks for so many timestamps. The answer is the highest of them; they are contiguous. An error says
/// why there are none.
pub type TsoSource =
    Arc<dyn Fn(u32) -> BoxFuture<'static, std::result::Result<TimeStamp, String>> + Send + Sync>;

/// Timestamps of the smallest and the largest batch.
const BATCH_MIN: u32 = 128;
const BATCH_MAX: u32 = 8192;
const _: () = assert!(
    BATCH_MIN.is_power_of_two() && BATCH_MAX.is_power_of_two() && BATCH_MIN < BATCH_MAX,
    "batches grow and shrink by halves"
);

/// Age from which on a batch that is in use is replaced.
const RENEW_AFTER: Duration = Duration::from_millis(100);

/// Age from which on a batch is not used any more.
const USABLE_MAX: Duration = Duration::from_secs(3);

/// How long writes wait for a batch before they fail.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hands out timestamps. Clones share everything.
#[derive(Clone)]
pub struct CausalTs {
    shared: Arc<Shared>,
}

struct Shared {
    source: TsoSource,
    runtime: Runtime,
    state: Mutex<State>,
}

struct State {
    /// The next timestamp and the last of the batch; none are left when `next` is above `last`.
    next: u64,
    last: u64,
    /// When the batch was asked for; `None`: it must not be used.
    since: Option<Instant>,
    /// Size of the batch that was asked for last.
    size: u32,
    /// Distinguishes the batches asked for before a flush from those after.
    flushes: u64,
    refill: Refill,
    /// Who waits for the batch that is under way.
    waiting: Vec<oneshot::Sender<Result<()>>>,
}

/// Whether a batch is under way, and whether the last one came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refill {
    Idle,
    UnderWay,
    /// The last one failed; the reason has been logged.
    Failed,
    /// One is under way after one that failed.
    Again,
}

impl Refill {
    fn is_under_way(self) -> bool {
        matches!(self, Refill::UnderWay | Refill::Again)
    }

    fn begun(self) -> Self {
        match self {
            Refill::Idle | Refill::UnderWay => Refill::UnderWay,
            Refill::Failed | Refill::Again => Refill::Again,
        }
    }
}

impl State {
    fn left(&self) -> u64 {
        (self.last + 1).saturating_sub(self.next)
    }

    fn age(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.since?))
    }

    /// A timestamp of the batch, if it may be used.
    fn take(&mut self, now: Instant) -> Option<TimeStamp> {
        if self.age(now).is_none_or(|age| age >= USABLE_MAX) || self.left() == 0 {
            return None;
        }
        self.next += 1;
        Some(TimeStamp::from(self.next - 1))
    }

    /// How many timestamps the batch needs at this moment; `None` while it lasts or a request is under way.
    fn wants(&self, now: Instant) -> Option<u32> {
        if self.refill.is_under_way() {
            return None;
        }
        let Some(age) = self.age(now) else {
            return Some(self.size);
        };
        let half_used = self.left() <= u64::from(self.size / 2);
        if half_used && age < RENEW_AFTER {
            // Used up faster than it grows old.
            Some((self.size * 2).min(BATCH_MAX))
        } else if age < RENEW_AFTER {
            None
        } else if self.left() > u64::from(self.size / 4 * 3) {
            Some((self.size / 2).max(BATCH_MIN))
        } else {
            Some(self.size)
        }
    }

    /// Replaces the batch, if the new one is above it.
    fn accept(&mut self, last: TimeStamp, size: u32, asked_at: Instant) -> Result<()> {
        let last = last.into_inner();
        let first = (last + 1).saturating_sub(u64::from(size));
        if first <= self.last || last == u64::MAX {
            let before = self.last;
            return Err(unavailable(format!(
                "the timestamps {first} to {last} are not above {before}"
            )));
        }
        self.next = first;
        self.last = last;
        self.since = Some(asked_at);
        Ok(())
    }
}

fn unavailable(reason: String) -> Error {
    Error::MaxTimestampNotSynced { reason }
}

impl CausalTs {
    /// Takes timestamps from `source`; none before the first is needed.
    pub fn new(source: TsoSource, runtime: &Runtime) -> Self {
        let state = State {
            next: 1,
            last: 0,
            since: None,
            size: BATCH_MIN,
            flushes: 0,
            refill: Refill::Idle,
            waiting: Vec::new(),
        };
        CausalTs {
            shared: Arc::new(Shared {
                source,
                runtime: runtime.clone(),
                state: Mutex::new(state),
            }),
        }
    }

    /// A timestamp above every one that was handed out before.
    pub async fn next(&self) -> Result<TimeStamp> {
        loop {
            match self.take() {
                Ok(ts) => return Ok(ts),
                // The sender goes unsent when the runtime stops.
                Err(refilled) => refilled.await.unwrap_or(Err(Error::Closed))?,
            }
        }
    }

    /// Gives up what is left of the batch, and whatever is under way: the next timestamp is asked for
    /// after this call.
    pub fn flush(&self) {
        let mut state = self.shared.state.lock();
        state.since = None;
        state.flushes += 1;
    }

    /// A timestamp, or what to wait for before there is one.
    fn take(&self) -> std::result::Result<TimeStamp, oneshot::Receiver<Result<()>>> {
        let now = self.shared.runtime.clock.now();
        let mut state = self.shared.state.lock();
        let taken = state.take(now);
        let wants = state.wants(now);
        let answer = taken.ok_or_else(|| {
            let (sender, refilled) = oneshot::channel();
            state.waiting.push(sender);
            refilled
        });
        if let Some(size) = wants {
            state.refill = state.refill.begun();
            let batch = Batch {
                shared: Some(self.shared.clone()),
                size,
                asked_at: now,
                flushes: state.flushes,
            };
            drop(state);
            drop(self.shared.runtime.spawner.spawn(batch.fetch()));
        }
        answer
    }
}

/// A batch under way. When it is dropped before its end, nobody waits for it in vain.
struct Batch {
    /// Taken at the end.
    shared: Option<Arc<Shared>>,
    size: u32,
    asked_at: Instant,
    flushes: u64,
}

impl Batch {
    async fn fetch(mut self) {
        let Some(shared) = self.shared.clone() else {
            return;
        };
        let asked = (shared.source)(self.size);
        let answered = match shared.runtime.timer.timeout(PATIENCE, asked).await {
            Ok(answered) => answered,
            Err(_) => Err(format!("no answer in {} s", PATIENCE.as_secs())),
        };
        self.end(answered.map_err(unavailable));
    }

    fn end(&mut self, answered: Result<TimeStamp>) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        let mut state = shared.state.lock();
        let result = answered.and_then(|last| {
            if state.flushes != self.flushes {
                // Whoever waits asks again.
                return Ok(());
            }
            state.size = self.size;
            state.accept(last, self.size, self.asked_at)
        });
        let failed_before = state.refill == Refill::Again;
        state.refill = match &result {
            Ok(()) => Refill::Idle,
            Err(_) => Refill::Failed,
        };
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        if let Err(error) = &result
            && !failed_before
        {
            tracing::warn!(%error, "no timestamps for raw writes");
        }
        for waiter in waiting {
            let told = match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(unavailable(error.to_string())),
            };
            // Who gave up needs no timestamp.
            let _ = waiter.send(told);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            let mut state = shared.state.lock();
            state.refill = Refill::Idle;
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            drop(waiting);
        }
    }
}

#[cfg(test)]
mod tests;
