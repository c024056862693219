//! What an admitted command takes from the store's limits, until its end.
//! Must never: outlive the command, or end before it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;

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
    ///
    /// Of combinators: an `async` block would have room for `work` twice, where it is kept and where it is awaited.
    pub(super) fn cover<T, Fut>(
        mut self,
        kind: &'static str,
        work: Fut,
    ) -> impl Future<Output = Result<T>> + use<T, Fut>
    where
        Fut: Future<Output = Result<T>>,
    {
        let held = std::mem::take(&mut self.hold).over();
        held.then(move |()| work).inspect(move |result| {
            drop(self);
            let stage = match result {
                Ok(_) => "done",
                Err(error) => {
                    error.log_damage(kind);
                    "error"
                }
            };
            metrics::STAGE_TOTAL.with_label_values(&[kind, stage]).inc();
        })
    }
}

/// A number of bytes for a gauge.
pub(super) fn gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
