//! When to walk, how fast, and what to compact afterwards.
//!
//! 1. The safe point comes from outside, again and again. It is raised for readers at once, also when nothing is to be
//!    done: what they are told must not depend on whether there was garbage. One that goes back is an error of
//!    whoever gave it; it is logged and ignored.
//! 2. A safe point that has grown starts a walk over all data, unless nothing can have become garbage: nothing was
//!    written since the last walk, and the least safe point at which something of what it left would be garbage is not
//!    reached. So a store that nobody uses reads nothing. The first one after a start always does: what was left from
//!    before the start is collected as well.
//! 3. A walk takes a quarter of a processor at most, and no more bytes of deletions a second than it may. One that
//!    removed little is followed by a rest, so that a large store of which a little is written all the time is not
//!    read all the time: what garbage there is takes little space until then.
//! 4. What the walk has thinned out is compacted piece by piece, so that its space is given back.
//!
//! Everything runs on one thread of its own, which may block.
//! Must never: walk at a safe point that readers do not know yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use concurrency_manager::SafePoint;
use engine_traits::{Cf, KvEngine};
use futures::future::{Either, select};
use runtime::{Instant, Runtime, Shutdown};
use txn_types::TimeStamp;

use crate::pass::{Data, Pass, Totals};
use crate::{Config, metrics};

/// The pause after a step, in times of what it took.
const PAUSE_SHARE: u32 = 3;

/// A walk is followed by a rest if it removed less than one of so many versions.
const WORTH_IT: u64 = 10;

/// That rest, in times of what the walk took.
const REST_SHARE: u32 = 9;

/// The configuration in force; clones share it.
#[derive(Clone, Debug)]
pub struct Settings(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    batch_keys: AtomicUsize,
    max_write_bytes_per_sec: AtomicU64,
    poll_millis: AtomicU64,
}

impl Settings {
    /// Begins with `config`.
    pub fn new(config: &Config) -> Self {
        let this = Settings(Arc::new(Shared {
            batch_keys: AtomicUsize::new(1),
            max_write_bytes_per_sec: AtomicU64::new(0),
            poll_millis: AtomicU64::new(0),
        }));
        this.set(config);
        this
    }

    /// Takes over `config`, from the next step or poll on.
    pub fn set(&self, config: &Config) {
        let shared = &self.0;
        let poll = config.poll_interval.as_millis();
        shared
            .batch_keys
            .store(config.batch_keys, Ordering::Relaxed);
        shared
            .max_write_bytes_per_sec
            .store(config.max_write_bytes_per_sec.bytes(), Ordering::Relaxed);
        shared.poll_millis.store(poll, Ordering::Relaxed);
    }

    pub(crate) fn batch_keys(&self) -> usize {
        self.0.batch_keys.load(Ordering::Relaxed)
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.0.poll_millis.load(Ordering::Relaxed))
    }

    /// How long to pause after a step.
    pub(crate) fn pause(&self, took: Duration, written: u64) -> Duration {
        let limit = self.0.max_write_bytes_per_sec.load(Ordering::Relaxed);
        let paced = match limit {
            0 => Duration::ZERO,
            limit => Duration::from_micros(written.saturating_mul(1_000_000) / limit),
        };
        paced.max(took * PAUSE_SHARE)
    }
}

/// What the last walk left.
#[derive(Clone, Copy, Debug)]
struct Left {
    /// Writes of the engine that it can have seen.
    writes: u64,
    next_due: TimeStamp,
    next_expiry: Option<u64>,
    /// There is no other before this moment.
    rest_until: Instant,
}

/// Collects the garbage of one store.
pub struct Collector<E> {
    engine: E,
    safe_point: SafePoint,
    settings: Settings,
    /// The region that all of it belongs to.
    region: u64,
    data: Vec<Data>,
    runtime: Runtime,
    /// The safe point of the last walk that came to its end.
    collected: TimeStamp,
    left: Option<Left>,
}

impl<E: KvEngine> Collector<E> {
    /// A collector over what `engine` holds of `region`, which raises `safe_point` for the readers of it.
    pub fn new(
        engine: E,
        safe_point: SafePoint,
        settings: Settings,
        (region, data): (u64, &[Data]),
        runtime: &Runtime,
    ) -> Self {
        Collector {
            engine,
            safe_point,
            settings,
            region,
            data: data.to_vec(),
            runtime: runtime.clone(),
            collected: TimeStamp::zero(),
            left: None,
        }
    }

    /// Asks `source` for the safe point and collects, until `stop`.
    pub async fn run<Source, Asked, Error>(mut self, source: Source, stop: Shutdown)
    where
        Source: Fn() -> Asked,
        Asked: Future<Output = Result<TimeStamp, Error>>,
        Error: std::fmt::Display,
    {
        while !stop.is_triggered() {
            match source().await {
                Ok(safe_point) => self.hear(safe_point),
                Err(error) => tracing::warn!(%error, "the safe point is not known"),
            }
            if self.is_due()
                && let Err(error) = self.collect(&stop).await
            {
                tracing::error!(%error, "garbage was not collected");
                metrics::FAILURES.inc();
            }
            if !self.pause(self.settings.poll_interval(), &stop).await {
                return;
            }
        }
    }

    /// Raises the safe point for readers.
    fn hear(&self, safe_point: TimeStamp) {
        let known = self.safe_point.get();
        if safe_point < known {
            tracing::error!(
                %known, given = %safe_point,
                "the safe point of garbage collection went back; it stays where it was"
            );
            return;
        }
        metrics::SAFE_POINT.set(gauge(safe_point.physical()));
        if self.safe_point.advance(safe_point) {
            tracing::info!(%safe_point, "safe point");
        }
    }

    fn is_due(&self) -> bool {
        let safe_point = self.safe_point.get();
        if safe_point <= self.collected {
            return false;
        }
        self.left.is_none_or(|left| {
            let now = self.now_secs();
            let may_have_garbage = left.writes != self.engine.stats().writes
                || left.next_due <= safe_point
                || left.next_expiry.is_some_and(|expiry| expiry <= now);
            may_have_garbage && left.rest_until <= self.runtime.clock.now()
        })
    }

    fn now_secs(&self) -> u64 {
        self.runtime.clock.unix_millis() / 1000
    }

    /// One walk over everything. Ends early, without having collected, when the store stops.
    async fn collect(&mut self, stop: &Shutdown) -> engine_traits::Result<()> {
        let begun = self.runtime.clock.now();
        let safe_point = self.safe_point.get();
        let mut left = Left {
            writes: self.engine.stats().writes,
            next_due: TimeStamp::max(),
            next_expiry: None,
            rest_until: begun,
        };
        let mut all = Totals::default();
        for data in self.data.clone() {
            let mut pass = Pass::new(self.engine.clone(), data, safe_point, self.now_secs());
            if !self.walk(&mut pass, data, stop).await? {
                return Ok(());
            }
            let totals = pass.totals();
            left.writes += totals.batches;
            left.next_due = left.next_due.min(pass.next_due());
            left.next_expiry = left.next_expiry.into_iter().chain(pass.next_expiry()).min();
            all.versions += totals.versions;
            all.removed += totals.removed;
            all.unreadable += totals.unreadable;
        }
        if all.unreadable > 0 {
            tracing::error!(
                entries = all.unreadable,
                "some entries of the data cannot be read; they and what is older of their keys were kept"
            );
        }
        let now = self.runtime.clock.now();
        let took = now.saturating_duration_since(begun);
        if all.removed.saturating_mul(WORTH_IT) < all.versions {
            left.rest_until = now + took * REST_SHARE;
        }
        tracing::info!(%safe_point, versions = all.versions, removed = all.removed, ?took, "garbage collected");
        metrics::oldest_garbage(self.region, left.next_due);
        self.collected = safe_point;
        self.left = Some(left);
        Ok(())
    }

    /// Goes through with one walk. False when the store stops.
    async fn walk(
        &self,
        pass: &mut Pass<E>,
        data: Data,
        stop: &Shutdown,
    ) -> engine_traits::Result<bool> {
        let clock = &self.runtime.clock;
        let mut before = Totals::default();
        loop {
            let begun = clock.now();
            let step = pass.step(self.settings.batch_keys())?;
            let took = clock.now().saturating_duration_since(begun);
            metrics::step(&before, &pass.totals());
            before = pass.totals();
            if let Some(range) = step.compact {
                for cf in files_of(data) {
                    self.engine
                        .compact_range(*cf, Some(&range.start), Some(&range.end))?;
                }
            }
            if step.is_done {
                return Ok(!stop.is_triggered());
            }
            let pause = self.settings.pause(took, step.written_bytes);
            if !self.pause(pause, stop).await {
                return Ok(false);
            }
        }
    }

    /// False when the store stops.
    async fn pause(&self, time: Duration, stop: &Shutdown) -> bool {
        let sleep = Box::pin(self.runtime.timer.sleep(time));
        matches!(select(stop.wait(), sleep).await, Either::Right(_)) && !stop.is_triggered()
    }
}

/// The column families that a walk thins out.
fn files_of(data: Data) -> &'static [Cf] {
    match data {
        Data::Transactions => &[Cf::Write, Cf::Default],
        Data::RawVersions => &[Cf::Default],
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use engine_mem::MemEngine;
    use engine_traits::{WriteBatch, WriteOptions};
    use futures::FutureExt as _;
    use runtime::{Stepper, shutdown_pair};
    use txn_types::{Key, Write, WriteType};

    use super::*;

    fn put(engine: &MemEngine, commit: u64) {
        let ts = TimeStamp::new(commit);
        let write = Write::new(WriteType::Put, ts.prev(), Some(b"v".to_vec()));
        let key = Key::from_raw(b"k").append_ts(ts);
        let mut batch = engine.write_batch();
        let key = keys::data_key(key.as_encoded());
        batch.put(Cf::Write, &key, &write.to_bytes());
        engine.write(batch, &WriteOptions::SYNCED).unwrap();
    }

    #[test]
    fn an_idle_store_is_not_walked() {
        let stepper = Stepper::new(1);
        let engine = MemEngine::new();
        let settings = Settings::new(&Config::default());
        let (safe_point, runtime) = (SafePoint::default(), stepper.runtime());
        let data = [Data::Transactions];
        let mut collector =
            Collector::new(engine.clone(), safe_point, settings, (1, &data), &runtime);
        let (_trigger, stop) = shutdown_pair();
        let collect = |collector: &mut Collector<MemEngine>| {
            collector.collect(&stop).now_or_never().unwrap().unwrap();
        };
        for commit in [10, 20, 100] {
            put(&engine, commit);
        }
        assert!(!collector.is_due(), "no safe point is known");
        collector.hear(TimeStamp::new(50));
        assert!(collector.is_due(), "the first one");
        collect(&mut collector);
        assert!(!collector.is_due(), "it has not grown");
        for idle in [51, 99] {
            collector.hear(TimeStamp::new(idle));
            assert!(!collector.is_due(), "nothing is due at {idle}");
        }
        collector.hear(TimeStamp::new(100));
        assert!(collector.is_due(), "20 is garbage from 100 on");
        collect(&mut collector);
        collector.hear(TimeStamp::new(150));
        assert!(!collector.is_due());
        put(&engine, 200);
        assert!(collector.is_due(), "somebody has written");
    }
}
