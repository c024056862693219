//! What an admitted command takes from the store's limits, until its end.
//! Must never: outlive the command, or end before it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::flow_control::Hold;
use crate::memory::MemoryLease;
use crate::{Result, metrics};

/// Stands for an admitted command in the pending bytes, and holds its memory.
pub(super) struct Admission {
    pub(super) pending_bytes: Arc<AtomicUsize>,
    pub(super) bytes: usize,
    pub(super) memory: Option<MemoryLease>,
    pub(super) hold: Hold,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.memory = None;
        self.pending_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        metrics::WRITING_BYTES.sub(gauge(self.bytes));
        metrics::CONTEXT_TOTAL.dec();
    }
}

impl Admission {
    /// The work of a command, which counts as under way until its end, the time that it is held back included.
    pub(super) async fn cover<T>(
        mut self,
        kind: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        std::mem::take(&mut self.hold).over().await;
        let result = work.await;
        drop(self);
        let stage = match &result {
            Ok(_) => "done",
            Err(error) => {
                error.log_damage(kind);
                "error"
            }
        };
        metrics::STAGE_TOTAL.with_label_values(&[kind, stage]).inc();
        result
    }
}

/// A number of bytes for a gauge.
pub(super) fn gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
