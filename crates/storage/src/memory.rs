//! The memory of requests in progress: one quota that reads and commands share.
//!
//! A request takes its own bytes, and some for the machinery around it, when it is admitted; a read takes more as
//! its answer grows. Both are given back when the answer is handed over: from there on gRPC's own quota counts.
//! Must never: wait for memory. A request that does not fit is refused at once, so that nobody holds some memory
//! while it waits for more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Error, Result};

/// What a request takes besides its keys and values: envelope, account, futures, channel.
pub(crate) const REQUEST_OVERHEAD: usize = 4 * 1024;

#[derive(Debug)]
struct Shared {
    used: AtomicUsize,
    capacity: AtomicUsize,
}

/// Bytes that all requests in progress may take together; clones share them.
#[derive(Clone, Debug)]
pub struct MemoryQuota {
    shared: Arc<Shared>,
}

impl MemoryQuota {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                used: AtomicUsize::new(0),
                capacity: AtomicUsize::new(capacity),
            }),
        }
    }

    /// Changes what there is in all. Requests that hold more than that keep it.
    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.shared.capacity.store(capacity, Ordering::Relaxed);
    }

    /// Bytes that requests in progress have taken.
    pub fn used(&self) -> usize {
        self.shared.used.load(Ordering::Acquire)
    }

    /// Bytes that there are in all.
    pub fn capacity(&self) -> usize {
        self.shared.capacity.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, and gives them back when the lease is dropped.
    pub(crate) fn take(&self, bytes: usize) -> Result<MemoryLease> {
        let mut lease = MemoryLease {
            quota: self.clone(),
            bytes: 0,
        };
        lease.grow(bytes)?;
        Ok(lease)
    }
}

/// Bytes in the hands of one request.
#[derive(Debug)]
pub(crate) struct MemoryLease {
    quota: MemoryQuota,
    bytes: usize,
}

impl MemoryLease {
    /// Takes `bytes` more, or none.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<()> {
        let used = &self.quota.shared.used;
        let capacity = self.quota.capacity();
        let before = used.fetch_add(bytes, Ordering::AcqRel);
        // Sizes of memory that exists: the sum cannot wrap.
        if before.saturating_add(bytes) > capacity {
            used.fetch_sub(bytes, Ordering::AcqRel);
            return Err(Error::MemoryQuotaExceeded { capacity });
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        self.quota
            .shared
            .used
            .fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let quota = MemoryQuota::new(100);
        let mut first = quota.take(60).unwrap();
        assert!(matches!(
            quota.take(41),
            Err(Error::MemoryQuotaExceeded { capacity: 100 })
        ));
        assert_eq!(quota.used(), 60);
        let second = quota.take(30).unwrap();
        first.grow(10).unwrap();
        assert!(first.grow(1).is_err());
        assert_eq!(quota.used(), 100);
        drop(second);
        first.grow(30).unwrap();
        drop(first);
        assert_eq!(quota.used(), 0);
    }
}
