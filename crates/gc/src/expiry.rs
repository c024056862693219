//! The space of values that have expired, where keys have no versions (API V1 with a time to live).
//!
//! Readers hide them, and the filter of `storage` drops them when the engine rewrites their files; but an engine that
//! is calm rewrites nothing. So a walk looks for them now and then, and compacts the stretches of which much has
//! expired. It looks only when something was written since the last one, or when what the last one met has expired.
//!
//! Where keys have versions [`crate::Pass`] does this, with the safe point.
//! Must never: delete anything itself: between the look and the deletion a client may have put the key anew.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::ops::Range;
use std::time::Duration;

use api_version::KvFormat;
use engine_traits::{Cf, EngineIterator, IterOptions, KvEngine};
use futures::future::{Either, select};
use runtime::{Runtime, Shutdown};

use crate::pass::{COMPACT_SHARE, STRETCH_ENTRIES};
use crate::{Settings, metrics};

/// Gives back the space of expired values of format `F`.
pub struct Expirer<E, F> {
    engine: E,
    settings: Settings,
    interval: Duration,
    runtime: Runtime,
    seen: Option<Seen>,
    format: PhantomData<fn() -> F>,
}

/// What the last walk found.
#[derive(Clone, Copy)]
struct Seen {
    /// Writes of the engine that it can have seen.
    writes: u64,
    next_expiry: Option<u64>,
}

/// A walk that is under way.
struct Walk {
    now_secs: u64,
    next: Vec<u8>,
    /// Where the part begins that is compacted or not as one.
    stretch: Vec<u8>,
    entries: u64,
    expired: u64,
    next_expiry: Option<u64>,
}

impl Walk {
    fn look<F: KvFormat>(&mut self, stored: &[u8]) {
        self.entries += 1;
        let Some(expiry) = F::decode_raw_value(stored)
            .ok()
            .and_then(|value| value.expire_ts)
        else {
            return;
        };
        if expiry <= self.now_secs {
            self.expired += 1;
        } else {
            self.next_expiry = self.next_expiry.into_iter().chain([expiry]).min();
        }
    }

    /// The stretch that ends at `next`, if much of it has expired.
    fn close_stretch(&mut self) -> Option<Range<Vec<u8>>> {
        let start = std::mem::replace(&mut self.stretch, self.next.clone());
        let (entries, expired) = (self.entries, self.expired);
        (self.entries, self.expired) = (0, 0);
        let is_worth_it = expired > 0 && expired >= entries / COMPACT_SHARE;
        is_worth_it.then(|| start..self.next.clone())
    }
}

impl<E: KvEngine, F: KvFormat> Expirer<E, F> {
    /// Looks every `interval`, at the pace of `settings`.
    pub fn new(engine: E, settings: Settings, interval: Duration, runtime: &Runtime) -> Self {
        Expirer {
            engine,
            settings,
            interval,
            runtime: runtime.clone(),
            seen: None,
            format: PhantomData,
        }
    }

    /// Runs until `stop`, on a thread that may block.
    pub async fn run(mut self, stop: Shutdown) {
        while self.pause(self.interval, &stop).await.is_continue() {
            if !self.is_due() {
                continue;
            }
            if let Err(error) = self.walk(&stop).await {
                tracing::error!(%error, "the space of expired values was not given back");
                metrics::FAILURES.inc();
            }
        }
    }

    fn is_due(&self) -> bool {
        let now = self.now_secs();
        self.seen.is_none_or(|seen| {
            seen.writes != self.engine.stats().writes
                || seen.next_expiry.is_some_and(|expiry| expiry <= now)
        })
    }

    fn now_secs(&self) -> u64 {
        self.runtime.clock.unix_millis() / 1000
    }

    async fn walk(&mut self, stop: &Shutdown) -> engine_traits::Result<()> {
        let writes = self.engine.stats().writes;
        let mut walk = Walk {
            now_secs: self.now_secs(),
            next: keys::DATA_MIN_KEY.to_vec(),
            stretch: keys::DATA_MIN_KEY.to_vec(),
            entries: 0,
            expired: 0,
            next_expiry: None,
        };
        loop {
            let begun = self.runtime.clock.now();
            let is_done = self.step(&mut walk)?;
            let took = self.runtime.clock.now().saturating_duration_since(begun);
            if (is_done || walk.entries >= STRETCH_ENTRIES)
                && let Some(range) = walk.close_stretch()
            {
                self.engine
                    .compact_range(Cf::Default, Some(&range.start), Some(&range.end))?;
            }
            if is_done {
                break;
            }
            let pause = self.settings.pause(took, 0);
            if self.pause(pause, stop).await.is_break() {
                return Ok(());
            }
        }
        self.seen = Some(Seen {
            writes,
            next_expiry: walk.next_expiry,
        });
        Ok(())
    }

    /// Looks at some entries. Whether it was the last.
    fn step(&self, walk: &mut Walk) -> engine_traits::Result<bool> {
        let mut opts = IterOptions::between(walk.next.clone(), keys::DATA_MAX_KEY);
        opts.fill_cache = false;
        let mut iter = self.engine.iter(Cf::Default, opts)?;
        let mut valid = iter.seek_to_first()?;
        for _ in 0..self.settings.batch_keys().max(1) {
            if !valid {
                break;
            }
            walk.look::<F>(iter.value());
            valid = iter.next()?;
        }
        walk.next = if valid {
            iter.key().to_vec()
        } else {
            keys::DATA_MAX_KEY.to_vec()
        };
        Ok(!valid)
    }

    async fn pause(&self, time: Duration, stop: &Shutdown) -> ControlFlow<()> {
        let sleep = Box::pin(self.runtime.timer.sleep(time));
        let is_over = matches!(select(stop.wait(), sleep).await, Either::Left(_));
        if is_over || stop.is_triggered() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
