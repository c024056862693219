//! Every live RPC with one request and one response, once: its handler, the function that makes its
//! future, its messages, and its case in BatchCommands where it has one.
//!
//! The unary handlers and the dispatch of BatchCommands are both written by macros that are given
//! this list, so a new RPC is one entry here and its row in [`crate::rpc_table`]. Nothing but the
//! list may stand here.

/// Gives the list to the macro `each`.
macro_rules! live_rpcs {
    ($each:ident) => {
        $each! {
            kv_get = txn::future_get: GetRequest => GetResponse, batch Get;
            kv_batch_get = txn::future_batch_get: BatchGetRequest => BatchGetResponse, batch BatchGet;
            kv_scan = txn::future_scan: ScanRequest => ScanResponse, batch Scan;
            kv_prewrite = txn::future_prewrite: PrewriteRequest => PrewriteResponse, batch Prewrite;
            kv_commit = txn::future_commit: CommitRequest => CommitResponse, batch Commit;
            kv_cleanup = txn::future_cleanup: CleanupRequest => CleanupResponse, batch Cleanup;
            kv_batch_rollback = txn::future_batch_rollback:
                BatchRollbackRequest => BatchRollbackResponse, batch BatchRollback;
            kv_pessimistic_lock = pessimistic::future_acquire:
                PessimisticLockRequest => PessimisticLockResponse, batch PessimisticLock;
            kv_pessimistic_rollback = pessimistic::future_rollback:
                PessimisticRollbackRequest => PessimisticRollbackResponse, batch PessimisticRollback;
            kv_flush = pipelined::future_flush: FlushRequest => FlushResponse, batch Flush;
            kv_buffer_batch_get = pipelined::future_buffer_batch_get:
                BufferBatchGetRequest => BufferBatchGetResponse, batch BufferBatchGet;
            broadcast_txn_status = pipelined::future_broadcast_txn_status:
                BroadcastTxnStatusRequest => BroadcastTxnStatusResponse, batch BroadcastTxnStatus;
            get_lock_wait_info = pessimistic::future_lock_wait_info:
                GetLockWaitInfoRequest => GetLockWaitInfoResponse;
            kv_txn_heart_beat = txn::future_txn_heart_beat:
                TxnHeartBeatRequest => TxnHeartBeatResponse, batch TxnHeartBeat;
            kv_check_txn_status = txn::future_check_txn_status:
                CheckTxnStatusRequest => CheckTxnStatusResponse, batch CheckTxnStatus;
            kv_check_secondary_locks = txn::future_check_secondary_locks:
                CheckSecondaryLocksRequest => CheckSecondaryLocksResponse, batch CheckSecondaryLocks;
            kv_scan_lock = txn::future_scan_lock: ScanLockRequest => ScanLockResponse, batch ScanLock;
            kv_resolve_lock = txn::future_resolve_lock:
                ResolveLockRequest => ResolveLockResponse, batch ResolveLock;
            kv_delete_range = txn::future_delete_range:
                DeleteRangeRequest => DeleteRangeResponse, batch DeleteRange;
            kv_prepare_flashback_to_version = flashback::future_prepare:
                PrepareFlashbackToVersionRequest => PrepareFlashbackToVersionResponse, batch PrepareFlashbackToVersion;
            kv_flashback_to_version = flashback::future_flashback:
                FlashbackToVersionRequest => FlashbackToVersionResponse, batch FlashbackToVersion;
            mvcc_get_by_key = txn::future_mvcc_get_by_key: MvccGetByKeyRequest => MvccGetByKeyResponse;
            mvcc_get_by_start_ts = txn::future_mvcc_get_by_start_ts:
                MvccGetByStartTsRequest => MvccGetByStartTsResponse;
            raw_get = raw::future_get: RawGetRequest => RawGetResponse, batch RawGet;
            raw_batch_get = raw::future_batch_get:
                RawBatchGetRequest => RawBatchGetResponse, batch RawBatchGet;
            raw_put = raw::future_put: RawPutRequest => RawPutResponse, batch RawPut;
            raw_batch_put = raw::future_batch_put:
                RawBatchPutRequest => RawBatchPutResponse, batch RawBatchPut;
            raw_delete = raw::future_delete: RawDeleteRequest => RawDeleteResponse, batch RawDelete;
            raw_batch_delete = raw::future_batch_delete:
                RawBatchDeleteRequest => RawBatchDeleteResponse, batch RawBatchDelete;
            raw_delete_range = raw::future_delete_range:
                RawDeleteRangeRequest => RawDeleteRangeResponse, batch RawDeleteRange;
            raw_scan = raw::future_scan: RawScanRequest => RawScanResponse, batch RawScan;
            raw_batch_scan = raw::future_batch_scan:
                RawBatchScanRequest => RawBatchScanResponse, batch RawBatchScan;
            raw_get_key_ttl = raw::future_get_key_ttl: RawGetKeyTTLRequest => RawGetKeyTTLResponse;
            raw_checksum = raw::future_checksum: RawChecksumRequest => RawChecksumResponse;
            raw_compare_and_swap = raw::future_compare_and_swap: RawCASRequest => RawCASResponse;
            unsafe_destroy_range = raw::future_unsafe_destroy_range:
                UnsafeDestroyRangeRequest => UnsafeDestroyRangeResponse;
            get_health_feedback = feedback::future_get_health_feedback:
                GetHealthFeedbackRequest => GetHealthFeedbackResponse, batch GetHealthFeedback;
        }
    };
}

pub(crate) use live_rpcs;
