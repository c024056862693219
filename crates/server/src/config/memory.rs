//! How one limit of memory becomes the sizes of everything that takes memory.
//!
//! The process itself is taken off first: code, threads, indexes of requests, an embedded placement
//! driver. The rest is cut into parts, each in 32ths, and a part that has its own key is what that key
//! says. What is given away is never more than the limit, unless the keys say so, in which case the
//! start logs it. What locks and those who wait for them may take is never more than their part: there the keys
//! only say less. Memory is taken as data comes: an idle node is far below its plan.

use std::fmt::Write as _;

use online_config::ReadableSize;

use super::{Config, Problem};
use crate::sys;

/// What the process takes besides its parts.
const BASE: u64 = 64 << 20;
/// With less the parts would be too small to be of use.
const LIMIT_MIN: ReadableSize = ReadableSize::mb(256);

/// Parts of what is left after [`BASE`].
const WHOLE: u64 = 32;
const BLOCK_CACHE: u64 = 17;
const WRITE_BUFFERS: u64 = 5;
const GRPC: u64 = 4;
const REQUESTS: u64 = 3;
/// Half of it for locks in memory, a quarter each for requests that wait for locks and for the graph in which
/// deadlocks are found.
const LOCKS: u64 = 1;
const _: () = assert!(
    BLOCK_CACHE + WRITE_BUFFERS + GRPC + REQUESTS + LOCKS < WHOLE,
    "something must be left for what nobody counts"
);

/// More write buffers only make a restart longer.
const WRITE_BUFFERS_MAX: u64 = 1 << 30;
/// More pending writes only make each of them wait longer.
const PENDING_WRITES_MAX: u64 = 100 << 20;

/// The sizes in force, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// `memory-usage-limit`.
    pub limit: u64,
    /// `storage.block-cache.capacity`.
    pub block_cache: u64,
    /// `rocksdb.write-buffer-limit`.
    pub write_buffers: u64,
    /// `server.grpc-memory-pool-quota`.
    pub grpc: u64,
    /// `storage.memory-quota`.
    pub requests: u64,
    /// `storage.scheduler-pending-write-threshold`: a part of `requests`.
    pub pending_writes: u64,
    /// `pessimistic-txn.in-memory-instance-size-limit`, as far as there is room.
    pub memory_locks: u64,
    /// `pessimistic-txn.wait-memory-limit`, as far as there is room: of the requests that wait, and once more of the
    /// graph in which deadlocks are found.
    pub lock_waits: u64,
}

impl MemoryPlan {
    /// The plan of a configuration.
    pub(super) fn of(config: &Config) -> MemoryPlan {
        let limit = match config.memory_usage_limit.0 {
            0 => sys::memory_total() / 4 * 3,
            limit => limit,
        };
        let rest = limit.saturating_sub(BASE);
        let set_or = |key: ReadableSize, derived: u64| if key.0 == 0 { derived } else { key.0 };
        let part = |parts: u64| rest / WHOLE * parts;
        let storage = &config.storage.storage;
        // Two of the largest writes: one in progress must not make the next impossible.
        let requests = part(REQUESTS).max(storage.max_write_size.0.saturating_mul(2));
        let requests = set_or(storage.memory_quota, requests);
        let locks = &config.pessimistic_txn;
        MemoryPlan {
            limit,
            block_cache: set_or(config.storage.block_cache.capacity, part(BLOCK_CACHE)),
            write_buffers: set_or(
                config.rocksdb.write_buffer_limit,
                part(WRITE_BUFFERS).min(WRITE_BUFFERS_MAX),
            ),
            grpc: set_or(config.server.grpc_memory_pool_quota, part(GRPC)),
            requests,
            pending_writes: set_or(
                storage.scheduler_pending_write_threshold,
                (requests / 2).min(PENDING_WRITES_MAX),
            ),
            memory_locks: locks.in_memory_instance_size_limit.0.min(part(LOCKS) / 2),
            lock_waits: locks.wait_memory_limit.0.min(part(LOCKS) / 4),
        }
    }

    /// What all of it comes to.
    pub fn total(&self) -> u64 {
        [
            BASE,
            self.block_cache,
            self.write_buffers,
            self.grpc,
            self.requests,
            self.memory_locks,
            self.lock_waits,
            self.lock_waits,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// A limit that nothing fits into.
pub(super) fn validate(config: &Config, problems: &mut Vec<Problem>) {
    let limit = config.memory_usage_limit;
    if limit.0 != 0 && limit < LIMIT_MIN {
        let allowed = format!("must be 0 or at least {LIMIT_MIN}");
        problems.push(Problem::new(
            "memory-usage-limit",
            &limit.to_string(),
            allowed,
        ));
    }
}

/// The derivation, for the reference.
pub(super) fn table() -> String {
    let mut text = format!(
        "\n## Memory\n\n\
         `memory-usage-limit` decides how much memory each part may take, unless the part has a value \
         of its own. {} are taken off for the process itself, the rest is divided:\n\n\
         | limit | `storage.block-cache.capacity` | `rocksdb.write-buffer-limit` | \
         `server.grpc-memory-pool-quota` | `storage.memory-quota` | of it \
         `storage.scheduler-pending-write-threshold` | `pessimistic-txn.in-memory-instance-size-limit` | \
         `pessimistic-txn.wait-memory-limit`, twice |\n|---|---|---|---|---|---|---|---|\n\
         | share of the rest | {BLOCK_CACHE}/{WHOLE} | {WRITE_BUFFERS}/{WHOLE}, at most {} | \
         {GRPC}/{WHOLE} | {REQUESTS}/{WHOLE}, at least twice `storage.max-write-size` | half, at most {} \
         | at most {LOCKS}/{} | at most {LOCKS}/{} |\n",
        ReadableSize(BASE),
        ReadableSize(WRITE_BUFFERS_MAX),
        ReadableSize(PENDING_WRITES_MAX),
        2 * WHOLE,
        4 * WHOLE,
    );
    for limit in [256, 1024, 8 << 10, 64 << 10].map(ReadableSize::mb) {
        let plan = MemoryPlan::of(&Config {
            memory_usage_limit: limit,
            ..Config::default()
        });
        let parts = [
            plan.block_cache,
            plan.write_buffers,
            plan.grpc,
            plan.requests,
            plan.pending_writes,
            plan.memory_locks,
            plan.lock_waits,
        ];
        // Writing to a String cannot fail.
        let _ = write!(text, "| {limit} |");
        for part in parts {
            let _ = write!(text, " {} MiB |", part >> 20);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(mib: u64) -> Config {
        Config {
            memory_usage_limit: ReadableSize::mb(mib),
            ..Config::default()
        }
    }

    #[test]
    fn the_parts_fit_into_the_limit_and_use_most_of_it() {
        for mib in [256, 300, 512, 1000, 4 << 10, 16 << 10, 64 << 10] {
            let config = limited(mib);
            assert_eq!(config.validate(), []);
            let plan = config.memory_plan();
            assert_eq!(plan.limit, mib << 20);
            assert!(plan.total() <= plan.limit, "{plan:?}");
            assert!(plan.total() * 4 >= plan.limit * 3, "{plan:?}");
            assert!(plan.pending_writes < plan.requests, "{plan:?}");
            // An answer fits twice into the memory of all requests.
            let storage = config.storage();
            assert_eq!(storage.validate(), Ok(()));
            assert_eq!(storage.memory_quota.0, plan.requests);
            assert!(storage.max_read_size.0 * 2 <= plan.requests, "{plan:?}");
            let engine = config.kv_engine();
            assert_eq!(engine.validate(), Vec::<String>::new());
            assert_eq!(engine.block_cache_size.0, plan.block_cache);
            assert_eq!(engine.write_buffer_limit.0, plan.write_buffers);
            let locks = config.pessimistic_txn();
            assert_eq!(locks.validate(), Ok(()));
            assert_eq!(locks.in_memory_instance_size_limit.0, plan.memory_locks);
            assert_eq!(locks.wait_memory_limit.0, plan.lock_waits);
            assert!(plan.lock_waits >= 1 << 20, "{plan:?}");
        }
    }

    #[test]
    fn what_is_set_stays() {
        let mut config = limited(1024);
        config.storage.block_cache.capacity = ReadableSize::mb(7);
        config.storage.storage.memory_quota = ReadableSize::mb(70);
        config.storage.storage.scheduler_pending_write_threshold = ReadableSize::mb(5);
        config.server.grpc_memory_pool_quota = ReadableSize::mb(9);
        config.rocksdb.write_buffer_limit = ReadableSize::mb(11);
        config.pessimistic_txn.in_memory_instance_size_limit = ReadableSize::mb(3);
        config.pessimistic_txn.wait_memory_limit = ReadableSize::mb(2);
        let plan = config.memory_plan();
        let parts = [
            plan.block_cache,
            plan.requests,
            plan.pending_writes,
            plan.grpc,
            plan.write_buffers,
            plan.memory_locks,
            plan.lock_waits,
        ];
        assert_eq!(parts.map(|bytes| bytes >> 20), [7, 70, 5, 9, 11, 3, 2]);
        assert_eq!(config.storage().max_read_size, ReadableSize::mb(35));
        config.storage.storage.max_read_size = ReadableSize::mb(10);
        assert_eq!(config.storage().max_read_size, ReadableSize::mb(10));
    }

    #[test]
    fn a_limit_that_nothing_fits_into_is_refused() {
        let problems = limited(100).validate();
        assert_eq!(
            problems[0].to_string(),
            "memory-usage-limit = 100MiB: must be 0 or at least 256MiB"
        );
    }
}
