//! Crate root: one request's tracker and its handle. It must never read a clock nor keep a global table.
#![doc = include_str!("../README.md")]

mod detail;
mod key_prefix;

use std::sync::Arc;

use parking_lot::Mutex;

pub use detail::{CfScan, ScanDetail, TimeDetail, WriteDetail};
pub use key_prefix::KeyPrefix;

/// What a request is, for logs and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Name of the request, as in the metrics: `kv_get`.
    pub kind: &'static str,
    /// Region that it addresses, 0 when none.
    pub region_id: u64,
    /// Start timestamp of its transaction, 0 when none.
    pub start_ts: u64,
    /// What the client said about its origin.
    pub request_source: String,
    /// The connection that it came over, as gRPC names it; empty when there is none.
    pub peer: String,
    /// Its key, its first key, or the start of its range.
    pub key: KeyPrefix,
}

/// The account of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracker {
    /// What it is.
    pub info: RequestInfo,
    /// When it arrived, on the caller's monotonic axis.
    pub begin_ns: u64,
    /// Where its time went.
    pub time: TimeDetail,
    /// What it read.
    pub scan: ScanDetail,
    /// Where its write's time went.
    pub write: WriteDetail,
}

impl Tracker {
    /// Time since it arrived; zero when `now_ns` lies before.
    #[must_use]
    pub fn elapsed_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.begin_ns)
    }
}

/// The account of one request, shared by all who work for it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct TrackerHandle(Arc<Mutex<Tracker>>);

impl TrackerHandle {
    /// Opens the account of a request that arrived at `now_ns`.
    #[must_use]
    pub fn begin(info: RequestInfo, now_ns: u64) -> Self {
        Self(Arc::new(Mutex::new(Tracker {
            info,
            begin_ns: now_ns,
            ..Tracker::default()
        })))
    }

    /// Changes the account. `change` must not use the same handle again.
    pub fn with<R>(&self, change: impl FnOnce(&mut Tracker) -> R) -> R {
        change(&mut self.0.lock())
    }

    /// A copy of the account as it stands.
    #[must_use]
    pub fn snapshot(&self) -> Tracker {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_write_to_one_account() {
        let info = RequestInfo {
            kind: "kv_get",
            region_id: 2,
            ..RequestInfo::default()
        };
        let handle = TrackerHandle::begin(info.clone(), 100);
        let clone = handle.clone();
        clone.with(|tracker| tracker.time.wait_ns += 7);
        handle.with(|tracker| tracker.time.wait_ns += 5);
        let tracker = clone.snapshot();
        assert_eq!(tracker.info, info);
        assert_eq!(tracker.time.wait_ns, 12);
        assert_eq!((tracker.elapsed_ns(130), tracker.elapsed_ns(99)), (30, 0));
        handle.with(|tracker| tracker.scan.total_versions = 1);
        assert_eq!(tracker.scan.total_versions, 0, "a snapshot does not change");
    }

    #[test]
    fn parts_add_up_and_saturate() {
        let cf = CfScan {
            total: 1,
            processed: 2,
            read_bytes: u64::MAX,
        };
        let part = ScanDetail {
            processed_versions: 1,
            total_versions: 3,
            lock: cf,
            data: cf,
            block_read_ns: 9,
            ..ScanDetail::default()
        };
        let mut scan = part;
        scan.add(&part);
        assert_eq!((scan.processed_versions, scan.total_versions), (2, 6));
        assert_eq!(
            (scan.lock.total, scan.lock.processed, scan.lock.read_bytes),
            (2, 4, u64::MAX)
        );
        assert_eq!(
            (scan.data.total, scan.write.total, scan.block_read_ns),
            (2, 0, 18)
        );

        let part = TimeDetail {
            wait_ns: 1,
            process_ns: 2,
            suspend_ns: 3,
            kv_read_ns: 4,
            grpc_wait_ns: 5,
            grpc_process_ns: 6,
        };
        let mut time = part;
        time.add(&part);
        let twice = TimeDetail {
            wait_ns: 2,
            process_ns: 4,
            suspend_ns: 6,
            kv_read_ns: 8,
            grpc_wait_ns: 10,
            grpc_process_ns: 12,
        };
        assert_eq!(time, twice);
    }
}
