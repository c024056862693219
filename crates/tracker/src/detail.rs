//! The numbers of one request, in groups as the protocol reports them. Plain data: they never
//! measure themselves.
//!
//! Times are nanoseconds. A stage adds to its field, for a request may pass a stage more than once.
//! Sums saturate.

/// Where the time of a request went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeDetail {
    /// Waited in the pool before it first ran.
    pub wait_ns: u64,
    /// Ran on a thread.
    pub process_ns: u64,
    /// Was ready to go on, but waited for a thread again.
    pub suspend_ns: u64,
    /// Read from the engine; part of `process_ns`.
    pub kv_read_ns: u64,
    /// Stood between gRPC and the handler.
    pub grpc_wait_ns: u64,
    /// Was encoded, decoded and dispatched by gRPC.
    pub grpc_process_ns: u64,
}

impl TimeDetail {
    /// Adds the times of a part.
    pub fn add(&mut self, part: &Self) {
        sum(&mut self.wait_ns, part.wait_ns);
        sum(&mut self.process_ns, part.process_ns);
        sum(&mut self.suspend_ns, part.suspend_ns);
        sum(&mut self.kv_read_ns, part.kv_read_ns);
        sum(&mut self.grpc_wait_ns, part.grpc_wait_ns);
        sum(&mut self.grpc_process_ns, part.grpc_process_ns);
    }
}

/// Operations on one column family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CfScan {
    /// Operations: gets, seeks, nexts, prevs.
    pub total: u64,
    /// Entries that took part in the answer.
    pub processed: u64,
    /// Bytes of keys and values that were read.
    pub read_bytes: u64,
}

impl CfScan {
    /// Adds the operations of a part.
    pub fn add(&mut self, part: &Self) {
        sum(&mut self.total, part.total);
        sum(&mut self.processed, part.processed);
        sum(&mut self.read_bytes, part.read_bytes);
    }
}

/// What a request read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanDetail {
    /// Versions that took part in the answer.
    pub processed_versions: u64,
    /// Bytes of these versions: user keys and values.
    pub processed_versions_size: u64,
    /// Versions that were passed, useful or not.
    pub total_versions: u64,
    /// Bytes of these versions.
    pub total_versions_size: u64,
    /// Operations on the lock column family.
    pub lock: CfScan,
    /// Operations on the write column family.
    pub write: CfScan,
    /// Operations on the default column family.
    pub data: CfScan,
    /// Tombstones that the engine skipped.
    pub engine_delete_skipped: u64,
    /// Entries that the engine skipped.
    pub engine_key_skipped: u64,
    /// Blocks found in the cache.
    pub block_cache_hits: u64,
    /// Blocks read from disk.
    pub block_reads: u64,
    /// Bytes of these blocks.
    pub block_read_bytes: u64,
    /// Time to read them.
    pub block_read_ns: u64,
    /// Time to get the snapshot.
    pub get_snapshot_ns: u64,
    /// Wait of the read index before it was proposed.
    pub read_index_propose_wait_ns: u64,
    /// Wait of the read index until it was confirmed.
    pub read_index_confirm_wait_ns: u64,
    /// Wait for a thread of the read pool.
    pub read_pool_schedule_wait_ns: u64,
}

impl ScanDetail {
    /// Adds what a part read.
    pub fn add(&mut self, part: &Self) {
        sum(&mut self.processed_versions, part.processed_versions);
        sum(
            &mut self.processed_versions_size,
            part.processed_versions_size,
        );
        sum(&mut self.total_versions, part.total_versions);
        sum(&mut self.total_versions_size, part.total_versions_size);
        self.lock.add(&part.lock);
        self.write.add(&part.write);
        self.data.add(&part.data);
        sum(&mut self.engine_delete_skipped, part.engine_delete_skipped);
        sum(&mut self.engine_key_skipped, part.engine_key_skipped);
        sum(&mut self.block_cache_hits, part.block_cache_hits);
        sum(&mut self.block_reads, part.block_reads);
        sum(&mut self.block_read_bytes, part.block_read_bytes);
        sum(&mut self.block_read_ns, part.block_read_ns);
        sum(&mut self.get_snapshot_ns, part.get_snapshot_ns);
        sum(
            &mut self.read_index_propose_wait_ns,
            part.read_index_propose_wait_ns,
        );
        sum(
            &mut self.read_index_confirm_wait_ns,
            part.read_index_confirm_wait_ns,
        );
        sum(
            &mut self.read_pool_schedule_wait_ns,
            part.read_pool_schedule_wait_ns,
        );
    }
}

/// Where the time of a write went, in the order of its stages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteDetail {
    /// Waited for its latches.
    pub latch_wait_ns: u64,
    /// Waited for its snapshot.
    pub snapshot_ns: u64,
    /// Decided what to write.
    pub process_ns: u64,
    /// Was held back by flow control.
    pub throttle_ns: u64,
    /// Waited for pessimistic locks of others.
    pub pessimistic_lock_wait_ns: u64,
    /// Waited to be batched with its neighbours.
    pub store_batch_wait_ns: u64,
    /// Waited to be sent to the followers.
    pub propose_send_wait_ns: u64,
    /// Made the log durable.
    pub persist_log_ns: u64,
    /// Part of it: waited to lead the engine's write group.
    pub raft_db_write_leader_wait_ns: u64,
    /// Part of it: synced.
    pub raft_db_sync_log_ns: u64,
    /// Part of it: filled the memtable.
    pub raft_db_write_memtable_ns: u64,
    /// From the proposal to the commit.
    pub commit_log_ns: u64,
    /// Waited to be applied with its neighbours.
    pub apply_batch_wait_ns: u64,
    /// Was applied.
    pub apply_log_ns: u64,
    /// Part of it: waited for the engine's mutex.
    pub apply_mutex_lock_ns: u64,
    /// Part of it: waited to lead the engine's write group.
    pub apply_write_leader_wait_ns: u64,
    /// Part of it: wrote the engine's own log, and synced it where that is asked for.
    pub apply_write_wal_ns: u64,
    /// Part of it: filled the memtable.
    pub apply_write_memtable_ns: u64,
}

fn sum(total: &mut u64, part: u64) {
    *total = total.saturating_add(part);
}
