//! Every RPC of `tikvpb.Tikv`, once: its name, its shape, whether this server answers it, and why.
//!
//! The handlers of [`crate::Service`], the request metrics and `docs/rpc-coverage.md` all read
//! [`RPCS`]; nothing else may list RPCs. Unit tests compare it with the descriptors of `kvproto`, and
//! the integration tests call every row over the wire.

use std::fmt::Write as _;

/// How messages flow in an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One request, one response.
    Unary,
    /// One request, a stream of responses.
    ServerStream,
    /// A stream of requests, one response.
    ClientStream,
    /// Streams in both directions.
    Duplex,
}

/// Whether this server answers an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Served in full.
    Live,
    /// Answered with gRPC `UNIMPLEMENTED`.
    Unimplemented,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Rpc {
    /// The name in `tikvpb.proto`.
    pub name: &'static str,
    /// The name of the handler in the generated trait; also the `type` label of the metrics.
    pub handler: &'static str,
    /// How messages flow.
    pub shape: Shape,
    /// Whether it is answered.
    pub state: State,
    /// What a user should know about it.
    pub remark: &'static str,
}

impl Rpc {
    /// The case under which BatchCommands carries it, if it does.
    pub fn batch_case(&self) -> Option<&'static str> {
        let mut carried = crate::batch::CARRIED.iter();
        carried
            .find(|(handler, _)| *handler == self.handler)
            .map(|(_, case)| *case)
    }
}

/// The row number of an RPC in [`RPCS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcId(usize);

impl RpcId {
    /// The row.
    pub fn rpc(self) -> &'static Rpc {
        &RPCS[self.0]
    }

    /// The row number.
    pub fn index(self) -> usize {
        self.0
    }
}

/// The row whose handler is called `handler`. Used in `const` position, where a name that is not in
/// the table, or not live, fails the build.
pub const fn live(handler: &str) -> RpcId {
    let mut row = 0;
    while row < RPCS.len() {
        if same(RPCS[row].handler, handler) {
            assert!(
                matches!(RPCS[row].state, State::Live),
                "the handler of an RPC that is not live"
            );
            return RpcId(row);
        }
        row += 1;
    }
    panic!("a handler that is not in the RPC table")
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

const fn live_unary(name: &'static str, handler: &'static str, remark: &'static str) -> Rpc {
    Rpc {
        name,
        handler,
        shape: Shape::Unary,
        state: State::Live,
        remark,
    }
}

const fn no(name: &'static str, handler: &'static str, remark: &'static str) -> Rpc {
    Rpc {
        name,
        handler,
        shape: Shape::Unary,
        state: State::Unimplemented,
        remark,
    }
}

const fn no_stream(
    shape: Shape,
    name: &'static str,
    handler: &'static str,
    remark: &'static str,
) -> Rpc {
    Rpc {
        name,
        handler,
        shape,
        state: State::Unimplemented,
        remark,
    }
}

const RAW: &str = "API V1, V1TTL and V2";
const TIFLASH: &str = "served by TiFlash nodes only";
const COPROCESSOR: &str = "needs the coprocessor";
const REPLICATION: &str = "between stores, needs replication";
const LOCK_OBSERVER: &str = "no client calls it any more";

/// Every RPC of `tikvpb.Tikv`, in the order of the schema.
pub const RPCS: &[Rpc] = &[
    live_unary("KvGet", "kv_get", "isolation SI, RC and RCCheckTS"),
    live_unary(
        "KvScan",
        "kv_scan",
        "both directions, `limit`, `key_only`, `sample_step`",
    ),
    live_unary(
        "KvPrewrite",
        "kv_prewrite",
        "optimistic and pessimistic; two-phase, async and one-phase commit",
    ),
    live_unary(
        "KvPessimisticLock",
        "kv_pessimistic_lock",
        "both wake-up modes, shared locks; waits in the server",
    ),
    live_unary(
        "KVPessimisticRollback",
        "kv_pessimistic_rollback",
        "without keys: those of the region",
    ),
    live_unary("KvTxnHeartBeat", "kv_txn_heart_beat", ""),
    live_unary("KvCheckTxnStatus", "kv_check_txn_status", ""),
    live_unary("KvCheckSecondaryLocks", "kv_check_secondary_locks", ""),
    live_unary("KvCommit", "kv_commit", ""),
    no("KvImport", "kv_import", "replaced by ImportSST"),
    live_unary("KvCleanup", "kv_cleanup", ""),
    live_unary("KvBatchGet", "kv_batch_get", ""),
    live_unary("KvBatchRollback", "kv_batch_rollback", ""),
    live_unary("KvScanLock", "kv_scan_lock", ""),
    live_unary("KvResolveLock", "kv_resolve_lock", "full, batch and lite"),
    no("KvGC", "kv_gc", "a store collects garbage by itself"),
    live_unary(
        "KvDeleteRange",
        "kv_delete_range",
        "the end key must not be empty",
    ),
    live_unary(
        "KvPrepareFlashbackToVersion",
        "kv_prepare_flashback_to_version",
        "the range must not be empty",
    ),
    live_unary("KvFlashbackToVersion", "kv_flashback_to_version", ""),
    live_unary(
        "KvFlush",
        "kv_flush",
        "pipelined DML; keys that others have locked are left out",
    ),
    live_unary(
        "KvBufferBatchGet",
        "kv_buffer_batch_get",
        "what the transaction itself has flushed",
    ),
    live_unary("RawGet", "raw_get", RAW),
    live_unary("RawBatchGet", "raw_batch_get", RAW),
    live_unary("RawPut", "raw_put", "API V1, V1TTL and V2; `ttl` but in V1"),
    live_unary(
        "RawBatchPut",
        "raw_batch_put",
        "API V1, V1TTL and V2; `ttls`: none, one, or one for each pair",
    ),
    live_unary("RawDelete", "raw_delete", RAW),
    live_unary("RawBatchDelete", "raw_batch_delete", RAW),
    live_unary(
        "RawScan",
        "raw_scan",
        "API V1, V1TTL and V2; both directions",
    ),
    live_unary(
        "RawDeleteRange",
        "raw_delete_range",
        "API V1, V1TTL and V2; all versions",
    ),
    live_unary(
        "RawBatchScan",
        "raw_batch_scan",
        "API V1, V1TTL and V2; all ranges as of one moment",
    ),
    live_unary(
        "RawGetKeyTTL",
        "raw_get_key_ttl",
        "API V1TTL and V2; a deleted key is not found",
    ),
    live_unary(
        "RawCompareAndSwap",
        "raw_compare_and_swap",
        "atomic against every raw writer of the key, whatever `for_cas` says; `delete` removes",
    ),
    live_unary("RawChecksum", "raw_checksum", "`Crc64_Xor`"),
    live_unary(
        "UnsafeDestroyRange",
        "unsafe_destroy_range",
        "this store only, no region errors; both bounds must be given",
    ),
    no(
        "RegisterLockObserver",
        "register_lock_observer",
        LOCK_OBSERVER,
    ),
    no("CheckLockObserver", "check_lock_observer", LOCK_OBSERVER),
    no("RemoveLockObserver", "remove_lock_observer", LOCK_OBSERVER),
    no("PhysicalScanLock", "physical_scan_lock", LOCK_OBSERVER),
    no("Coprocessor", "coprocessor", COPROCESSOR),
    no_stream(
        Shape::ServerStream,
        "CoprocessorStream",
        "coprocessor_stream",
        COPROCESSOR,
    ),
    no_stream(
        Shape::ServerStream,
        "BatchCoprocessor",
        "batch_coprocessor",
        TIFLASH,
    ),
    no("DelegateCoprocessor", "delegate_coprocessor", COPROCESSOR),
    no(
        "RawCoprocessor",
        "raw_coprocessor",
        "no coprocessor plugins",
    ),
    no_stream(Shape::ClientStream, "Raft", "raft", REPLICATION),
    no_stream(Shape::ClientStream, "BatchRaft", "batch_raft", REPLICATION),
    no_stream(Shape::ClientStream, "Snapshot", "snapshot", REPLICATION),
    no_stream(
        Shape::Duplex,
        "TabletSnapshot",
        "tablet_snapshot",
        REPLICATION,
    ),
    no("SplitRegion", "split_region", "needs regions that split"),
    no("ReadIndex", "read_index", REPLICATION),
    live_unary("MvccGetByKey", "mvcc_get_by_key", ""),
    live_unary(
        "MvccGetByStartTs",
        "mvcc_get_by_start_ts",
        "reads the store until it finds one",
    ),
    Rpc {
        name: "BatchCommands",
        handler: "batch_commands",
        shape: Shape::Duplex,
        state: State::Live,
        remark: "carries what the column `batched` names; health feedback about once a second",
    },
    no("DispatchMPPTask", "dispatch_mpp_task", TIFLASH),
    no("CancelMPPTask", "cancel_mpp_task", TIFLASH),
    no_stream(
        Shape::ServerStream,
        "EstablishMPPConnection",
        "establish_mpp_connection",
        TIFLASH,
    ),
    no("IsAlive", "is_alive", TIFLASH),
    no("ReportMPPTaskStatus", "report_mpp_task_status", TIFLASH),
    no("CheckLeader", "check_leader", REPLICATION),
    no("GetStoreSafeTS", "get_store_safe_ts", "stale read"),
    live_unary("GetLockWaitInfo", "get_lock_wait_info", "this store's"),
    no("Compact", "compact", TIFLASH),
    no(
        "GetLockWaitHistory",
        "get_lock_wait_history",
        "no client calls it",
    ),
    no(
        "GetTiFlashSystemTable",
        "get_ti_flash_system_table",
        TIFLASH,
    ),
    no("GetEstimateTiCICount", "get_estimate_ti_ci_count", TIFLASH),
    no("tryAddLock", "try_add_lock", TIFLASH),
    no("tryMarkDelete", "try_mark_delete", TIFLASH),
    no("EstablishDisaggTask", "establish_disagg_task", TIFLASH),
    no("CancelDisaggTask", "cancel_disagg_task", TIFLASH),
    no_stream(
        Shape::ServerStream,
        "FetchDisaggPages",
        "fetch_disagg_pages",
        TIFLASH,
    ),
    no("GetDisaggConfig", "get_disagg_config", TIFLASH),
    live_unary(
        "GetHealthFeedback",
        "get_health_feedback",
        "the score comes from the time of synced writes",
    ),
    live_unary(
        "BroadcastTxnStatus",
        "broadcast_txn_status",
        "a hint for the whole store; never fails",
    ),
];

/// The text of `docs/rpc-coverage.md`.
pub fn coverage() -> String {
    let live = RPCS.iter().filter(|rpc| rpc.state == State::Live).count();
    let mut text = format!(
        "# RPC coverage\n\n\
         Generated from `crates/service/src/rpc_table.rs` by `cargo xtask codegen`; do not edit.\n\n\
         `tikvpb.Tikv`: {live} of {} RPCs are served; the others answer gRPC `UNIMPLEMENTED`. \
         Besides it the server offers `grpc.health.v1.Health` and `deadlock.Deadlock`.\n\n\
         | RPC | shape | state | batched | remark |\n|---|---|---|---|---|\n",
        RPCS.len()
    );
    for rpc in RPCS {
        let shape = match rpc.shape {
            Shape::Unary => "unary",
            Shape::ServerStream => "server stream",
            Shape::ClientStream => "client stream",
            Shape::Duplex => "duplex",
        };
        let state = match rpc.state {
            State::Live => "live",
            State::Unimplemented => "`UNIMPLEMENTED`",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {shape} | {state} | {} | {} |",
            rpc.name,
            rpc.batch_case().unwrap_or_default(),
            rpc.remark
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use protobuf::Message as _;
    use protobuf::descriptor::{FileDescriptorProto, FileDescriptorSet};

    use super::*;

    fn tikvpb(set: &FileDescriptorSet) -> &FileDescriptorProto {
        let mut files = set.get_file().iter();
        files
            .find(|file| file.get_name() == "tikvpb.proto")
            .unwrap()
    }

    #[test]
    fn the_table_is_the_schema() {
        let set = FileDescriptorSet::parse_from_bytes(kvproto::FILE_DESCRIPTOR_SET).unwrap();
        let file = tikvpb(&set);
        let service = file
            .get_service()
            .iter()
            .find(|service| service.get_name() == "Tikv")
            .unwrap();
        let schema: Vec<(&str, Shape)> = service
            .get_method()
            .iter()
            .map(|method| {
                let shape = match (method.get_client_streaming(), method.get_server_streaming()) {
                    (false, false) => Shape::Unary,
                    (false, true) => Shape::ServerStream,
                    (true, false) => Shape::ClientStream,
                    (true, true) => Shape::Duplex,
                };
                (method.get_name(), shape)
            })
            .collect();
        let table: Vec<(&str, Shape)> = RPCS.iter().map(|rpc| (rpc.name, rpc.shape)).collect();
        assert_eq!(schema, table);
    }

    /// What BatchCommands could carry: the case of the oneof and its two types, by the descriptor.
    fn cases(file: &FileDescriptorProto) -> BTreeMap<&str, (&str, &str)> {
        let fields = |outer: &str, inner: &str| {
            let outer = file
                .get_message_type()
                .iter()
                .find(|m| m.get_name() == outer);
            let inner = outer
                .unwrap()
                .get_nested_type()
                .iter()
                .find(|m| m.get_name() == inner);
            inner.unwrap().get_field()
        };
        let requests = fields("BatchCommandsRequest", "Request");
        let responses = fields("BatchCommandsResponse", "Response");
        assert_eq!(requests.len(), responses.len());
        requests
            .iter()
            .zip(responses)
            .map(|(request, response)| {
                assert_eq!(request.get_name(), response.get_name());
                let types = (request.get_type_name(), response.get_type_name());
                (request.get_name(), types)
            })
            .collect()
    }

    #[test]
    fn batch_commands_carries_every_live_rpc_that_it_has_a_case_for() {
        let set = FileDescriptorSet::parse_from_bytes(kvproto::FILE_DESCRIPTOR_SET).unwrap();
        let file = tikvpb(&set);
        let cases = cases(file);
        let mut carried = 0;
        for method in file.get_service()[0].get_method() {
            let rpc = RPCS
                .iter()
                .find(|rpc| rpc.name == method.get_name())
                .unwrap();
            let types = (method.get_input_type(), method.get_output_type());
            let case = cases
                .iter()
                .find(|(_, of_case)| **of_case == types)
                .map(|(name, _)| *name);
            let live = rpc.state == State::Live;
            assert_eq!(rpc.batch_case(), case.filter(|_| live), "{}", rpc.name);
            carried += usize::from(rpc.batch_case().is_some());
        }
        assert_eq!(carried, crate::batch::CARRIED.len());
    }

    #[test]
    fn handlers_are_distinct_and_found() {
        let handlers: HashSet<&str> = RPCS.iter().map(|rpc| rpc.handler).collect();
        assert_eq!(handlers.len(), RPCS.len());
        const GET: RpcId = live("raw_get");
        assert_eq!(GET.rpc().name, "RawGet");
    }

    #[test]
    fn coverage_names_every_rpc() {
        let text = coverage();
        for rpc in RPCS {
            assert!(text.contains(&format!("| {} |", rpc.name)), "{}", rpc.name);
        }
    }
}
