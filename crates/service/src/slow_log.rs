//! The slow log: one line for a request that took long, with what it was, whose it was, and where
//! its time went. The account comes from the request's tracker; here nothing is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use logger::RedactedKey;
use tracker::Tracker;

/// A longer request source is cut: clients choose it.
const SOURCE_CHARS_MAX: usize = 128;

/// Decides which requests are slow. Clones share the threshold.
#[derive(Clone, Debug)]
pub struct SlowLog {
    threshold_ns: Arc<AtomicU64>,
}

/// TiKV's.
impl Default for SlowLog {
    fn default() -> Self {
        SlowLog::new(Duration::from_secs(1))
    }
}

impl SlowLog {
    /// Tells of requests that take at least `threshold`.
    pub fn new(threshold: Duration) -> Self {
        SlowLog {
            threshold_ns: Arc::new(AtomicU64::new(nanos(threshold))),
        }
    }

    /// Changes the threshold, also for requests in progress.
    pub fn set_threshold(&self, threshold: Duration) {
        self.threshold_ns.store(nanos(threshold), Ordering::Relaxed);
    }

    /// Whether a request that took `elapsed` is to be told of.
    pub(crate) fn is_slow(&self, elapsed: Duration) -> bool {
        nanos(elapsed) >= self.threshold_ns.load(Ordering::Relaxed)
    }

    /// Writes the line of a request that took `elapsed`.
    pub(crate) fn tell(&self, tracker: &Tracker, elapsed: Duration) {
        let Tracker {
            info,
            time,
            scan,
            write,
            ..
        } = tracker;
        let source: String = info.request_source.chars().take(SOURCE_CHARS_MAX).collect();
        tracing::info!(
            target: logger::SLOW_LOG,
            request = info.kind,
            took_ms = millis(nanos(elapsed)),
            region_id = info.region_id,
            start_ts = info.start_ts,
            peer = info.peer,
            source,
            key = %RedactedKey(info.key.bytes()),
            key_len = info.key.key_len(),
            wait_ms = millis(time.wait_ns),
            latch_wait_ms = millis(write.latch_wait_ns),
            snapshot_ms = millis(scan.get_snapshot_ns.saturating_add(write.snapshot_ns)),
            process_ms = millis(time.process_ns.saturating_add(write.process_ns)),
            suspend_ms = millis(time.suspend_ns),
            throttle_ms = millis(write.throttle_ns),
            write_ms = millis(write.apply_log_ns),
            processed_versions = scan.processed_versions,
            total_versions = scan.total_versions,
            "slow request"
        );
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds, to the microsecond.
fn millis(nanos: u64) -> f64 {
    (nanos / 1_000) as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use parking_lot::Mutex;
    use tracker::{KeyPrefix, RequestInfo, TrackerHandle};

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_tells_who_what_and_where_the_time_went() {
        let info = RequestInfo {
            kind: "kv_prewrite",
            region_id: 2,
            start_ts: 7,
            request_source: "x".repeat(1000),
            peer: "ipv4:127.0.0.1:5".to_owned(),
            key: KeyPrefix::of(b"k1"),
        };
        let handle = TrackerHandle::begin(info, 0);
        handle.with(|tracker| {
            tracker.time.wait_ns = 1_000_000;
            tracker.write.latch_wait_ns = 2_500_000;
            tracker.write.snapshot_ns = 3_000;
            tracker.scan.get_snapshot_ns = 1_000;
            tracker.write.apply_log_ns = 4_000_999;
        });
        let output = Output::default();
        let (dispatch, _guard) = logger::scoped(
            &logger::Config::default(),
            Box::new(output.clone()),
            Arc::new(|| 0),
        );
        tracing::dispatcher::with_default(&dispatch, || {
            SlowLog::default().tell(&handle.snapshot(), Duration::from_millis(12));
        });
        let line = String::from_utf8(output.0.lock().clone()).unwrap();
        for part in [
            "[\"slow request\"] [request=kv_prewrite] [took_ms=12] [region_id=2] [start_ts=7] \
             [peer=ipv4:127.0.0.1:5]",
            &format!("[source={}]", "x".repeat(SOURCE_CHARS_MAX)),
            "[key=6B31] [key_len=2] [wait_ms=1] [latch_wait_ms=2.5] [snapshot_ms=0.004]",
            "[write_ms=4]",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn the_threshold_changes_for_all_clones() {
        let slow_log = SlowLog::new(Duration::from_millis(10));
        let clone = slow_log.clone();
        assert!(!slow_log.is_slow(Duration::from_micros(9_999)));
        assert!(slow_log.is_slow(Duration::from_millis(10)));
        clone.set_threshold(Duration::ZERO);
        assert!(slow_log.is_slow(Duration::ZERO));
        clone.set_threshold(Duration::MAX);
        assert!(!slow_log.is_slow(Duration::from_secs(1_000_000)));
    }
}
