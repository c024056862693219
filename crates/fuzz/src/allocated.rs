//! How much memory a piece of code asks the allocator for, on its own thread.

use std::cell::RefCell;

use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

thread_local! {
    /// The allocator's own counter of this thread. It only grows.
    static COUNTER: RefCell<Option<ThreadLocal<u64>>> = RefCell::new(allocatedp::read().ok());
}

fn so_far() -> u64 {
    COUNTER.with_borrow(|counter| counter.as_ref().map_or(0, |counter| counter.get()))
}

/// Runs `work` and counts the bytes that it asked for, whether it gave them back or not.
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = so_far();
    let outcome = work();
    (outcome, so_far() - before)
}

/// Runs `work`, which reads `len` bytes and may allocate in proportion to them, whatever those claim.
pub(crate) fn bounded_by<T>(len: usize, work: impl FnOnce() -> T) -> T {
    /// For each byte that is really there: a list grows by doubling, and its elements are larger than their shortest
    /// encoding, which for the records of this house is one byte for a vector of three words.
    const PER_BYTE: u64 = 256;
    /// For errors and whatever else does not depend on the input.
    const FIXED: u64 = 16 << 10;
    let (outcome, bytes) = counted(work);
    let allowed = FIXED + PER_BYTE * len as u64;
    assert!(
        bytes <= allowed,
        "{len} bytes made it allocate {bytes}, more than {allowed}"
    );
    outcome
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn what_is_allocated_is_counted() {
        let (kept, bytes) = counted(|| vec![1u8; 100_000]);
        assert!((100_000..200_000).contains(&bytes), "{bytes}");
        let ((), bytes) = counted(|| drop(kept));
        assert_eq!(bytes, 0);
    }
}
