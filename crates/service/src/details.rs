//! From a request's tracker to `exec_details_v2`.

use std::time::Duration;

use kvproto::kvrpcpb::{ExecDetailsV2, ScanDetailV2, TimeDetail, TimeDetailV2, WriteDetail};
use tracker::Tracker;

/// Milliseconds, for the old form of the time detail.
fn millis(nanos: u64) -> u64 {
    nanos / 1_000_000
}

/// Writes what the request read, wrote and waited for; `elapsed` is the time since it arrived.
pub(crate) fn fill(details: &mut ExecDetailsV2, tracker: &Tracker, elapsed: Duration) {
    let total = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    fill_time(details.mut_time_detail(), tracker, total);
    fill_time_v2(details.mut_time_detail_v2(), tracker, total);
    fill_scan(details.mut_scan_detail_v2(), tracker);
    if tracker.write != tracker::WriteDetail::default() {
        fill_write(details.mut_write_detail(), &tracker.write);
    }
}

fn fill_time(detail: &mut TimeDetail, tracker: &Tracker, total: u64) {
    let time = &tracker.time;
    detail.set_wait_wall_time_ms(millis(time.wait_ns));
    detail.set_process_wall_time_ms(millis(time.process_ns));
    detail.set_kv_read_wall_time_ms(millis(time.kv_read_ns));
    detail.set_total_rpc_wall_time_ns(total);
}

fn fill_time_v2(detail: &mut TimeDetailV2, tracker: &Tracker, total: u64) {
    let time = &tracker.time;
    detail.set_wait_wall_time_ns(time.wait_ns);
    detail.set_process_wall_time_ns(time.process_ns);
    detail.set_process_suspend_wall_time_ns(time.suspend_ns);
    detail.set_kv_read_wall_time_ns(time.kv_read_ns);
    detail.set_total_rpc_wall_time_ns(total);
    detail.set_kv_grpc_process_time_ns(time.grpc_process_ns);
    detail.set_kv_grpc_wait_time_ns(time.grpc_wait_ns);
}

fn fill_scan(detail: &mut ScanDetailV2, tracker: &Tracker) {
    let scan = &tracker.scan;
    detail.set_processed_versions(scan.processed_versions);
    detail.set_processed_versions_size(scan.processed_versions_size);
    detail.set_total_versions(scan.total_versions);
    detail.set_total_versions_size(scan.total_versions_size);
    detail.set_rocksdb_delete_skipped_count(scan.engine_delete_skipped);
    detail.set_rocksdb_key_skipped_count(scan.engine_key_skipped);
    detail.set_rocksdb_block_cache_hit_count(scan.block_cache_hits);
    detail.set_rocksdb_block_read_count(scan.block_reads);
    detail.set_rocksdb_block_read_byte(scan.block_read_bytes);
    detail.set_rocksdb_block_read_nanos(scan.block_read_ns);
    detail.set_get_snapshot_nanos(scan.get_snapshot_ns);
    detail.set_read_index_propose_wait_nanos(scan.read_index_propose_wait_ns);
    detail.set_read_index_confirm_wait_nanos(scan.read_index_confirm_wait_ns);
    detail.set_read_pool_schedule_wait_nanos(scan.read_pool_schedule_wait_ns);
}

fn fill_write(detail: &mut WriteDetail, write: &tracker::WriteDetail) {
    detail.set_latch_wait_nanos(write.latch_wait_ns);
    detail.set_process_nanos(write.process_ns);
    detail.set_throttle_nanos(write.throttle_ns);
    detail.set_pessimistic_lock_wait_nanos(write.pessimistic_lock_wait_ns);
    detail.set_store_batch_wait_nanos(write.store_batch_wait_ns);
    detail.set_propose_send_wait_nanos(write.propose_send_wait_ns);
    detail.set_persist_log_nanos(write.persist_log_ns);
    detail.set_raft_db_write_leader_wait_nanos(write.raft_db_write_leader_wait_ns);
    detail.set_raft_db_sync_log_nanos(write.raft_db_sync_log_ns);
    detail.set_raft_db_write_memtable_nanos(write.raft_db_write_memtable_ns);
    detail.set_commit_log_nanos(write.commit_log_ns);
    detail.set_apply_batch_wait_nanos(write.apply_batch_wait_ns);
    detail.set_apply_log_nanos(write.apply_log_ns);
    detail.set_apply_mutex_lock_nanos(write.apply_mutex_lock_ns);
    detail.set_apply_write_leader_wait_nanos(write.apply_write_leader_wait_ns);
    detail.set_apply_write_wal_nanos(write.apply_write_wal_ns);
    detail.set_apply_write_memtable_nanos(write.apply_write_memtable_ns);
}

#[cfg(test)]
mod tests {
    use tracker::{RequestInfo, TrackerHandle};

    use super::*;

    #[test]
    fn numbers_arrive_in_their_units() {
        let handle = TrackerHandle::begin(RequestInfo::default(), 0);
        handle.with(|tracker| {
            tracker.time.wait_ns = 3_000_000;
            tracker.time.process_ns = 5_500_000;
            tracker.scan.processed_versions = 7;
            tracker.scan.block_reads = 2;
        });
        let mut details = ExecDetailsV2::default();
        fill(&mut details, &handle.snapshot(), Duration::from_micros(9));
        assert_eq!(details.get_time_detail().get_wait_wall_time_ms(), 3);
        assert_eq!(details.get_time_detail().get_process_wall_time_ms(), 5);
        assert_eq!(
            details.get_time_detail().get_total_rpc_wall_time_ns(),
            9_000
        );
        assert_eq!(
            details.get_time_detail_v2().get_process_wall_time_ns(),
            5_500_000
        );
        assert_eq!(
            details.get_time_detail_v2().get_total_rpc_wall_time_ns(),
            9_000
        );
        assert_eq!(details.get_scan_detail_v2().get_processed_versions(), 7);
        assert_eq!(
            details.get_scan_detail_v2().get_rocksdb_block_read_count(),
            2
        );
        assert!(!details.has_write_detail());

        handle.with(|tracker| tracker.write.latch_wait_ns = 4);
        fill(&mut details, &handle.snapshot(), Duration::ZERO);
        assert_eq!(details.get_write_detail().get_latch_wait_nanos(), 4);
    }
}
