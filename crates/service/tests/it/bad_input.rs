//! What no client should send: each request gets a precise error, alone or in a batch, and the
//! server stays up.

use grpcio::RpcStatusCode;
use kvproto::kvrpcpb::*;
use protobuf::Message;
use service::rpc_table::{RPCS, Rpc, Shape, State};

use crate::fixture::{CLUSTER, Fixture, REGION, STORE};
use crate::stream::{self, Stream};

const TOO_LONG: usize = 9 << 10;
const TOO_LARGE: usize = 9 << 20;
const KEY: &[u8] = b"k";
/// They concern the whole store, so no region is looked at.
const OF_THE_STORE: [&str; 4] = [
    "UnsafeDestroyRange",
    "GetHealthFeedback",
    "GetLockWaitInfo",
    "BroadcastTxnStatus",
];

/// Adds a request of one RPC to the list.
macro_rules! request {
    ($all:ident, $context:ident, $rpc:literal, $request:ty, |$req:ident| $fill:expr) => {{
        let mut $req = <$request>::default();
        $req.set_context($context.clone());
        $fill;
        $all.push(($rpc, $req.write_to_bytes().unwrap()));
    }};
}

/// A request of each live RPC that is right but for `context`.
pub(crate) fn requests(context: &Context) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    of_transactions(context, &mut all);
    of_their_ends(context, &mut all);
    of_raw_data(context, &mut all);
    assert_eq!(all.len(), live_unary().count(), "a live RPC is missing");
    all
}

fn of_transactions(context: &Context, all: &mut Vec<(&'static str, Vec<u8>)>) {
    let key = || KEY.to_vec();
    let mut mutation = Mutation::default();
    mutation.set_key(key());
    let flushed = mutation.clone();
    request!(all, context, "KvGet", GetRequest, |req| {
        req.set_key(key());
        req.set_version(9);
    });
    request!(all, context, "KvScan", ScanRequest, |req| {
        req.set_limit(1);
        req.set_version(9);
    });
    request!(all, context, "KvPrewrite", PrewriteRequest, |req| {
        req.mut_mutations().push(mutation);
        req.set_primary_lock(key());
        req.set_start_version(9);
    });
    request!(all, context, "KvFlush", FlushRequest, |req| {
        req.mut_mutations().push(flushed);
        req.set_primary_key(key());
        req.set_start_ts(9);
        req.set_generation(1);
    });
    request!(
        all,
        context,
        "KvBufferBatchGet",
        BufferBatchGetRequest,
        |req| {
            req.mut_keys().push(key());
            req.set_version(9);
        }
    );
    request!(
        all,
        context,
        "BroadcastTxnStatus",
        BroadcastTxnStatusRequest,
        |req| {
            let mut status = TxnStatus::default();
            status.set_start_ts(9);
            status.set_min_commit_ts(10);
            req.mut_txn_status().push(status);
        }
    );
    request!(
        all,
        context,
        "KvPessimisticLock",
        PessimisticLockRequest,
        |req| {
            req.mut_mutations().push(locking(KEY));
            req.set_primary_lock(key());
            req.set_start_version(9);
            req.set_for_update_ts(9);
            req.set_wait_timeout(-1);
        }
    );
    request!(
        all,
        context,
        "KVPessimisticRollback",
        PessimisticRollbackRequest,
        |req| {
            req.mut_keys().push(key());
            req.set_start_version(9);
        }
    );
    request!(
        all,
        context,
        "GetLockWaitInfo",
        GetLockWaitInfoRequest,
        |_req| {}
    );
}

/// Those that ask for the fate of transactions, or decide it.
fn of_their_ends(context: &Context, all: &mut Vec<(&'static str, Vec<u8>)>) {
    let key = || KEY.to_vec();
    request!(all, context, "KvTxnHeartBeat", TxnHeartBeatRequest, |req| {
        req.set_primary_lock(key());
        req.set_start_version(9);
    });
    request!(
        all,
        context,
        "KvCheckTxnStatus",
        CheckTxnStatusRequest,
        |req| {
            req.set_primary_key(key());
            req.set_lock_ts(9);
        }
    );
    request!(
        all,
        context,
        "KvCheckSecondaryLocks",
        CheckSecondaryLocksRequest,
        |req| {
            req.mut_keys().push(key());
            req.set_start_version(9);
        }
    );
    request!(all, context, "KvCommit", CommitRequest, |req| {
        req.mut_keys().push(key());
        req.set_start_version(9);
        req.set_commit_version(10);
    });
    request!(all, context, "KvCleanup", CleanupRequest, |req| {
        req.set_key(key());
        req.set_start_version(9);
    });
    request!(all, context, "KvBatchGet", BatchGetRequest, |req| {
        req.mut_keys().push(key());
        req.set_version(9);
    });
    request!(
        all,
        context,
        "KvBatchRollback",
        BatchRollbackRequest,
        |req| {
            req.mut_keys().push(key());
            req.set_start_version(9);
        }
    );
    request!(all, context, "KvScanLock", ScanLockRequest, |req| req
        .set_max_version(9));
    request!(all, context, "KvResolveLock", ResolveLockRequest, |req| req
        .set_start_version(9));
    request!(all, context, "KvDeleteRange", DeleteRangeRequest, |req| req
        .set_end_key(key()));
    // Of nothing that other requests are about; the second ends what the first begins.
    request!(
        all,
        context,
        "KvPrepareFlashbackToVersion",
        PrepareFlashbackToVersionRequest,
        |req| {
            req.set_start_key(b"zz".to_vec());
            req.set_version(8);
            req.set_start_ts(9);
        }
    );
    request!(
        all,
        context,
        "KvFlashbackToVersion",
        FlashbackToVersionRequest,
        |req| {
            req.set_start_key(b"zz".to_vec());
            req.set_version(8);
            req.set_start_ts(9);
            req.set_commit_ts(10);
        }
    );
}

/// And of the store as a whole.
fn of_raw_data(context: &Context, all: &mut Vec<(&'static str, Vec<u8>)>) {
    let key = || KEY.to_vec();
    let mut pair = KvPair::default();
    pair.set_key(key());
    let mut range = KeyRange::default();
    range.set_start_key(key());
    request!(all, context, "RawGet", RawGetRequest, |req| req
        .set_key(key()));
    request!(all, context, "RawBatchGet", RawBatchGetRequest, |req| req
        .mut_keys()
        .push(key()));
    request!(all, context, "RawPut", RawPutRequest, |req| req
        .set_key(key()));
    request!(all, context, "RawBatchPut", RawBatchPutRequest, |req| req
        .mut_pairs()
        .push(pair));
    request!(all, context, "RawDelete", RawDeleteRequest, |req| req
        .set_key(key()));
    request!(
        all,
        context,
        "RawBatchDelete",
        RawBatchDeleteRequest,
        |req| req.mut_keys().push(key())
    );
    request!(all, context, "RawScan", RawScanRequest, |req| req
        .set_limit(1));
    request!(
        all,
        context,
        "RawDeleteRange",
        RawDeleteRangeRequest,
        |req| req.set_end_key(key())
    );
    request!(all, context, "RawBatchScan", RawBatchScanRequest, |req| {
        req.mut_ranges().push(range.clone());
        req.set_each_limit(1);
    });
    request!(all, context, "RawCompareAndSwap", RawCASRequest, |req| req
        .set_key(key()));
    request!(all, context, "RawChecksum", RawChecksumRequest, |req| req
        .mut_ranges()
        .push(range));
    request!(all, context, "MvccGetByKey", MvccGetByKeyRequest, |req| req
        .set_key(key()));
    request!(
        all,
        context,
        "MvccGetByStartTs",
        MvccGetByStartTsRequest,
        |req| req.set_start_ts(9)
    );
    request!(all, context, "RawGetKeyTTL", RawGetKeyTTLRequest, |req| req
        .set_key(key()));
    request!(
        all,
        context,
        "UnsafeDestroyRange",
        UnsafeDestroyRangeRequest,
        |req| {
            req.set_start_key(b"y".to_vec());
            req.set_end_key(b"z".to_vec());
        }
    );
    request!(
        all,
        context,
        "GetHealthFeedback",
        GetHealthFeedbackRequest,
        |_req| {}
    );
}

fn live_unary() -> impl Iterator<Item = &'static Rpc> {
    let live = RPCS.iter().filter(|rpc| rpc.state == State::Live);
    live.filter(|rpc| rpc.shape == Shape::Unary)
}

/// The region error of any response: it is the first field of all of them.
fn region_error(rpc: &str, response: &[u8]) -> kvproto::errorpb::Error {
    let response =
        RawPutResponse::parse_from_bytes(response).unwrap_or_else(|error| panic!("{rpc}: {error}"));
    assert!(response.has_region_error(), "{rpc}: {response:?}");
    assert!(
        response.get_error().is_empty(),
        "{rpc} has both kinds of error: {response:?}"
    );
    assert!(
        !response.get_region_error().get_message().is_empty(),
        "{rpc}: {response:?}"
    );
    response.get_region_error().clone()
}

pub(crate) fn stays_up(fixture: &Fixture) {
    for (rpc, bytes) in requests(&fixture.context()) {
        fixture
            .call_bytes(rpc, &bytes)
            .unwrap_or_else(|error| panic!("{rpc}: {error}"));
    }
}

#[test]
fn another_cluster_is_refused_before_anything_else() {
    let fixture = Fixture::new();
    let mut context = fixture.context();
    context.set_cluster_id(CLUSTER + 1);
    for (rpc, bytes) in requests(&context) {
        match fixture.call_bytes(rpc, &bytes) {
            Err(grpcio::Error::RpcFailure(status)) => {
                assert_eq!(status.code(), RpcStatusCode::INVALID_ARGUMENT, "{rpc}");
                assert_eq!(status.message(), "mismatch cluster id, need 7 but got 8");
            }
            other => panic!("{rpc}: {other:?}"),
        }
    }
    context.set_cluster_id(CLUSTER);
    for (rpc, bytes) in requests(&context) {
        assert!(fixture.call_bytes(rpc, &bytes).is_ok(), "{rpc}");
    }
}

#[test]
fn another_region_epoch_peer_or_store_gets_its_region_error() {
    type Spoil = fn(&mut Context);
    type Found = fn(&kvproto::errorpb::Error) -> bool;
    let cases: [(Spoil, Found); 5] = [
        (
            |context| context.mut_peer().set_store_id(STORE + 1),
            |error| error.get_store_not_match().get_actual_store_id() == STORE,
        ),
        (
            |context| context.set_region_id(REGION + 1),
            |error| error.get_region_not_found().get_region_id() == REGION + 1,
        ),
        (
            |context| context.mut_peer().set_id(99),
            |error| error.get_mismatch_peer_id().get_request_peer_id() == 99,
        ),
        (
            |context| context.mut_region_epoch().set_version(99),
            |error| {
                let current = error.get_epoch_not_match().get_current_regions();
                current.len() == 1 && current[0].has_region_epoch()
            },
        ),
        (
            Context::clear_region_epoch,
            kvproto::errorpb::Error::has_epoch_not_match,
        ),
    ];
    let fixture = Fixture::new();
    for (spoil, found) in cases {
        let mut context = fixture.context();
        spoil(&mut context);
        for (rpc, bytes) in requests(&context) {
            if OF_THE_STORE.contains(&rpc) {
                continue;
            }
            let response = fixture.call_bytes(rpc, &bytes).unwrap();
            let error = region_error(rpc, &response);
            assert!(found(&error), "{rpc}: {error:?}");
            if let Some(cmd) = stream::command(rpc, &bytes) {
                let answer = Stream::open(&fixture).ask(Some(cmd));
                let response = stream::response_bytes(answer);
                assert_eq!(region_error(rpc, &response), error, "{rpc}");
            }
        }
    }
    stays_up(&fixture);
}

#[test]
fn bytes_that_are_no_message_are_an_internal_error() {
    let fixture = Fixture::new();
    for rpc in live_unary() {
        // An endless tag, a context that is a number, and a text that is longer than the message.
        for bytes in [
            &[0xff; 16][..],
            &[0x08, 0x01],
            &[0x0a, 0x03, 0xc2, 0x01, 0x7f],
        ] {
            match fixture.call_bytes(rpc.name, bytes) {
                Err(grpcio::Error::RpcFailure(status)) => {
                    assert_eq!(status.code(), RpcStatusCode::INTERNAL, "{}", rpc.name);
                    assert!(
                        status.message().contains("deserialize"),
                        "{}",
                        status.message()
                    );
                }
                other => panic!("{} took {bytes:02x?}: {other:?}", rpc.name),
            }
        }
    }
    stays_up(&fixture);
}

/// Sends bad requests and looks for `expected` in what the response shows.
struct Bad<'a> {
    fixture: &'a Fixture,
    expected: &'a str,
}

impl Bad<'_> {
    fn check(&self, rpc: &str, outcome: grpcio::Result<impl std::fmt::Debug>) {
        self.look(rpc, &format!("{:?}", outcome.unwrap()));
    }

    /// The same request through BatchCommands, if that carries it.
    fn check_batched(&self, rpc: &str, request: &impl Message) {
        if let Some(cmd) = stream::command(rpc, &request.write_to_bytes().unwrap()) {
            let answer = Stream::open(self.fixture).ask(Some(cmd));
            self.look(rpc, &format!("{answer:?}"));
        }
    }

    fn look(&self, rpc: &str, shown: &str) {
        assert!(
            shown.contains(self.expected),
            "{rpc}: no {:?} in {shown}",
            self.expected
        );
    }
}

/// Each call fills a request and sends it: `bad!(check, rpc, Request, |req| ...)`.
macro_rules! bad {
    ($bad:expr, $rpc:ident, $request:ty, |$req:ident| $fill:expr) => {{
        let mut request = <$request>::default();
        request.set_context($bad.fixture.context());
        let $req = &mut request;
        $fill;
        $bad.check(stringify!($rpc), $bad.fixture.client.$rpc(&request));
        $bad.check_batched(stringify!($rpc), &request);
    }};
}

fn mutation(key: &[u8], value: Vec<u8>) -> Mutation {
    let mut mutation = Mutation::default();
    mutation.set_key(key.to_vec());
    mutation.set_value(value);
    mutation
}

fn locking(key: &[u8]) -> Mutation {
    let mut mutation = mutation(key, Vec::new());
    mutation.set_op(Op::PessimisticLock);
    mutation
}

fn pair(key: &[u8], value: Vec<u8>) -> KvPair {
    let mut pair = KvPair::default();
    pair.set_key(key.to_vec());
    pair.set_value(value);
    pair
}

fn bad_keys(bad: &Bad<'_>, key: &[u8]) {
    bad!(bad, kv_get, GetRequest, |req| {
        req.set_key(key.to_vec());
        req.set_version(9);
    });
    bad!(bad, kv_batch_get, BatchGetRequest, |req| {
        req.set_keys(vec![KEY.to_vec(), key.to_vec()].into());
        req.set_version(9);
    });
    bad!(bad, kv_prewrite, PrewriteRequest, |req| {
        req.mut_mutations().push(mutation(key, Vec::new()));
        req.set_primary_lock(KEY.to_vec());
        req.set_start_version(9);
    });
    bad!(bad, kv_prewrite, PrewriteRequest, |req| {
        req.mut_mutations().push(mutation(KEY, Vec::new()));
        req.set_primary_lock(key.to_vec());
        req.set_start_version(9);
    });
    bad!(bad, kv_buffer_batch_get, BufferBatchGetRequest, |req| {
        req.set_keys(vec![KEY.to_vec(), key.to_vec()].into());
        req.set_version(9);
    });
    for (flushed, primary) in [(key, KEY), (KEY, key)] {
        bad!(bad, kv_flush, FlushRequest, |req| {
            req.mut_mutations().push(mutation(flushed, Vec::new()));
            req.set_primary_key(primary.to_vec());
            req.set_start_ts(9);
            req.set_generation(1);
        });
    }
    for (locked, primary) in [(key, KEY), (KEY, key)] {
        bad!(bad, kv_pessimistic_lock, PessimisticLockRequest, |req| {
            req.mut_mutations().push(locking(locked));
            req.set_primary_lock(primary.to_vec());
            req.set_start_version(9);
            req.set_for_update_ts(9);
        });
    }
    bad!(bad, mvcc_get_by_key, MvccGetByKeyRequest, |req| req
        .set_key(key.to_vec()));
    bad!(bad, raw_get, RawGetRequest, |req| req.set_key(key.to_vec()));
    bad!(bad, raw_batch_get, RawBatchGetRequest, |req| {
        req.set_keys(vec![KEY.to_vec(), key.to_vec()].into());
    });
    bad!(bad, raw_put, RawPutRequest, |req| req.set_key(key.to_vec()));
    bad!(bad, raw_batch_put, RawBatchPutRequest, |req| {
        req.set_pairs(vec![pair(KEY, Vec::new()), pair(key, Vec::new())].into());
    });
    bad!(bad, raw_delete, RawDeleteRequest, |req| req
        .set_key(key.to_vec()));
    bad!(bad, raw_batch_delete, RawBatchDeleteRequest, |req| {
        req.set_keys(vec![KEY.to_vec(), key.to_vec()].into());
    });
    bad!(bad, raw_get_key_ttl, RawGetKeyTTLRequest, |req| req
        .set_key(key.to_vec()));
    bad!(bad, raw_compare_and_swap, RawCASRequest, |req| req
        .set_key(key.to_vec()));
}

#[test]
fn empty_keys() {
    let fixture = Fixture::new();
    let bad = Bad {
        fixture: &fixture,
        expected: "key must not be empty",
    };
    bad_keys(&bad, b"");
    bad!(bad, kv_commit, CommitRequest, |req| {
        req.mut_keys().push(Vec::new());
        req.set_start_version(9);
        req.set_commit_version(10);
    });
    bad!(bad, kv_cleanup, CleanupRequest, |req| req
        .set_start_version(9));
    bad!(bad, kv_batch_rollback, BatchRollbackRequest, |req| {
        req.mut_keys().push(Vec::new());
        req.set_start_version(9);
    });
    bad!(
        bad,
        kv_pessimistic_rollback,
        PessimisticRollbackRequest,
        |req| {
            req.mut_keys().push(Vec::new());
            req.set_start_version(9);
        }
    );
    bad!(bad, kv_check_txn_status, CheckTxnStatusRequest, |req| req
        .set_lock_ts(9));
    bad!(
        bad,
        kv_check_secondary_locks,
        CheckSecondaryLocksRequest,
        |req| {
            req.mut_keys().push(Vec::new());
            req.set_start_version(9);
        }
    );
    bad!(bad, kv_txn_heart_beat, TxnHeartBeatRequest, |req| req
        .set_start_version(9));
    bad!(bad, kv_resolve_lock, ResolveLockRequest, |req| {
        req.set_start_version(9);
        req.mut_keys().push(Vec::new());
    });
    stays_up(&fixture);
}

#[test]
fn over_long_keys() {
    let fixture = Fixture::new();
    let long = vec![b'k'; TOO_LONG];
    let too_large = Bad {
        fixture: &fixture,
        expected: "limit: 8192",
    };
    bad_keys(&too_large, &long);
    for (start, end) in [(&long[..], &b""[..]), (b"", &long)] {
        bad!(too_large, kv_scan, ScanRequest, |req| {
            req.set_start_key(start.to_vec());
            req.set_end_key(end.to_vec());
            req.set_limit(1);
            req.set_version(9);
        });
        bad!(too_large, raw_scan, RawScanRequest, |req| {
            req.set_start_key(start.to_vec());
            req.set_end_key(end.to_vec());
            req.set_limit(1);
        });
        bad!(too_large, raw_delete_range, RawDeleteRangeRequest, |req| {
            req.set_start_key(start.to_vec());
            req.set_end_key(end.to_vec());
        });
    }
    stays_up(&fixture);
}

#[test]
fn keys_that_no_store_can_hold() {
    let fixture = Fixture::new();
    let bad = Bad {
        fixture: &fixture,
        expected: "KeyTooLarge { size: 1048576, limit: 65536 }",
    };
    let long = || vec![b'k'; 1 << 20];
    bad!(bad, kv_commit, CommitRequest, |req| {
        req.mut_keys().push(long());
        req.set_start_version(9);
        req.set_commit_version(10);
    });
    bad!(bad, kv_cleanup, CleanupRequest, |req| req.set_key(long()));
    bad!(bad, kv_batch_rollback, BatchRollbackRequest, |req| {
        req.mut_keys().push(long())
    });
    bad!(
        bad,
        kv_pessimistic_rollback,
        PessimisticRollbackRequest,
        |req| { req.mut_keys().push(long()) }
    );
    bad!(bad, kv_check_txn_status, CheckTxnStatusRequest, |req| {
        req.set_primary_key(long())
    });
    bad!(bad, kv_txn_heart_beat, TxnHeartBeatRequest, |req| {
        req.set_primary_lock(long())
    });
    bad!(bad, kv_resolve_lock, ResolveLockRequest, |req| {
        req.mut_keys().push(long())
    });
    bad!(bad, kv_scan_lock, ScanLockRequest, |req| {
        req.set_start_key(long())
    });
    stays_up(&fixture);
}

#[test]
fn values_past_the_limit() {
    let fixture = Fixture::new();
    let bad = Bad {
        fixture: &fixture,
        expected: "raft_entry_too_large",
    };
    bad!(bad, raw_put, RawPutRequest, |req| {
        req.set_key(KEY.to_vec());
        req.set_value(vec![0; TOO_LARGE]);
    });
    bad!(bad, raw_batch_put, RawBatchPutRequest, |req| {
        req.set_pairs(
            vec![
                pair(b"a", vec![0; TOO_LARGE / 2]),
                pair(b"b", vec![0; TOO_LARGE / 2]),
            ]
            .into(),
        );
    });
    bad!(bad, raw_compare_and_swap, RawCASRequest, |req| {
        req.set_key(KEY.to_vec());
        req.set_value(vec![0; TOO_LARGE]);
        req.set_previous_not_exist(true);
    });
    bad!(bad, kv_prewrite, PrewriteRequest, |req| {
        req.mut_mutations().push(mutation(KEY, vec![0; TOO_LARGE]));
        req.set_primary_lock(KEY.to_vec());
        req.set_start_version(9);
    });
    stays_up(&fixture);

    // More than a message may hold never reaches a handler.
    let mut request = RawPutRequest::default();
    request.set_context(fixture.context());
    request.set_key(KEY.to_vec());
    request.set_value(vec![0; 17 << 20]);
    match fixture.client.raw_put(&request) {
        Err(grpcio::Error::RpcFailure(status)) => {
            assert_eq!(status.code(), RpcStatusCode::RESOURCE_EXHAUSTED);
        }
        other => panic!("{other:?}"),
    }
    stays_up(&fixture);
}

#[test]
fn start_after_end() {
    let fixture = Fixture::new();
    let bad = Bad {
        fixture: &fixture,
        expected: "invalid range",
    };
    let (z, a) = (b"z".to_vec(), b"a".to_vec());
    bad!(bad, kv_scan, ScanRequest, |req| {
        req.set_start_key(z.clone());
        req.set_end_key(a.clone());
        req.set_limit(1);
        req.set_version(9);
    });
    bad!(bad, kv_scan, ScanRequest, |req| {
        req.set_start_key(a.clone());
        req.set_end_key(z.clone());
        req.set_reverse(true);
        req.set_limit(1);
        req.set_version(9);
    });
    bad!(bad, kv_scan_lock, ScanLockRequest, |req| {
        req.set_start_key(z.clone());
        req.set_end_key(a.clone());
        req.set_max_version(9);
    });
    bad!(bad, kv_delete_range, DeleteRangeRequest, |req| {
        req.set_start_key(z.clone());
        req.set_end_key(a.clone());
    });
    let flashbacks = [(&z, &a), (&z, &z)];
    for (start, end) in flashbacks {
        bad!(
            bad,
            kv_prepare_flashback_to_version,
            PrepareFlashbackToVersionRequest,
            |req| {
                req.set_start_key(start.clone());
                req.set_end_key(end.clone());
                req.set_version(8);
                req.set_start_ts(9);
            }
        );
        bad!(
            bad,
            kv_flashback_to_version,
            FlashbackToVersionRequest,
            |req| {
                req.set_start_key(start.clone());
                req.set_end_key(end.clone());
                req.set_version(8);
                req.set_start_ts(9);
                req.set_commit_ts(10);
            }
        );
    }
    bad!(bad, raw_scan, RawScanRequest, |req| {
        req.set_start_key(z.clone());
        req.set_end_key(a.clone());
        req.set_limit(1);
    });
    bad!(bad, raw_delete_range, RawDeleteRangeRequest, |req| {
        req.set_start_key(z.clone());
        req.set_end_key(a.clone());
    });
    let mut range = KeyRange::default();
    range.set_start_key(z);
    range.set_end_key(a);
    bad!(bad, raw_batch_scan, RawBatchScanRequest, |req| {
        req.mut_ranges().push(range.clone());
        req.set_each_limit(1);
    });
    bad!(bad, raw_checksum, RawChecksumRequest, |req| req
        .mut_ranges()
        .push(range));
    // Erasing all that follows must be said, not left out.
    bad!(bad, kv_delete_range, DeleteRangeRequest, |req| req
        .set_start_key(b"a".to_vec()));
    stays_up(&fixture);
}

#[test]
fn flushes_that_cannot_be_meant() {
    let fixture = Fixture::new();
    let bad = |expected| Bad {
        fixture: &fixture,
        expected,
    };
    bad!(bad("generation: 0"), kv_flush, FlushRequest, |req| {
        req.mut_mutations().push(mutation(KEY, Vec::new()));
        req.set_primary_key(KEY.to_vec());
        req.set_start_ts(9);
    });
    bad!(bad("no mutations"), kv_flush, FlushRequest, |req| {
        req.set_primary_key(KEY.to_vec());
        req.set_start_ts(9);
        req.set_generation(1);
    });
    bad!(bad("SharedLock"), kv_flush, FlushRequest, |req| {
        let mut shared = mutation(KEY, Vec::new());
        shared.set_op(Op::SharedLock);
        req.mut_mutations().push(shared);
        req.set_primary_key(KEY.to_vec());
        req.set_start_ts(9);
        req.set_generation(1);
    });
    bad!(bad("raft_entry_too_large"), kv_flush, FlushRequest, |req| {
        for key in [b"a", b"b"] {
            let half = vec![0; TOO_LARGE / 2];
            req.mut_mutations().push(mutation(key, half));
        }
        req.set_primary_key(KEY.to_vec());
        req.set_start_ts(9);
        req.set_generation(1);
    });
    stays_up(&fixture);
}

#[test]
fn what_is_told_of_large_transactions_never_fails() {
    let fixture = Fixture::new();
    let bad = Bad {
        fixture: &fixture,
        expected: "",
    };
    bad!(
        bad,
        broadcast_txn_status,
        BroadcastTxnStatusRequest,
        |req| {
            for number in 0..100_000 {
                let mut status = TxnStatus::default();
                status.set_start_ts([0, u64::MAX, number][number as usize % 3]);
                status.set_min_commit_ts(number / 2);
                status.set_commit_ts(u64::MAX - number);
                status.set_rolled_back(number % 2 == 0);
                status.set_is_completed(number % 5 == 0);
                req.mut_txn_status().push(status);
            }
        }
    );
    stays_up(&fixture);
}

#[test]
fn timestamps_of_nobody() {
    let fixture = Fixture::new();
    let bad = Bad {
        fixture: &fixture,
        expected: "invalid timestamp",
    };
    for ts in [0, u64::MAX] {
        for (version, start_ts) in [(ts, 9), (8, ts)] {
            bad!(
                bad,
                kv_prepare_flashback_to_version,
                PrepareFlashbackToVersionRequest,
                |req| {
                    req.set_version(version);
                    req.set_start_ts(start_ts);
                }
            );
            bad!(
                bad,
                kv_flashback_to_version,
                FlashbackToVersionRequest,
                |req| {
                    req.set_version(version);
                    req.set_start_ts(start_ts);
                    req.set_commit_ts(10);
                }
            );
        }
        bad!(bad, kv_prewrite, PrewriteRequest, |req| {
            req.mut_mutations().push(mutation(KEY, Vec::new()));
            req.set_primary_lock(KEY.to_vec());
            req.set_start_version(ts);
        });
        bad!(bad, kv_flush, FlushRequest, |req| {
            req.mut_mutations().push(mutation(KEY, Vec::new()));
            req.set_primary_key(KEY.to_vec());
            req.set_start_ts(ts);
            req.set_generation(1);
        });
        bad!(bad, kv_buffer_batch_get, BufferBatchGetRequest, |req| {
            req.mut_keys().push(KEY.to_vec());
            req.set_version(ts);
        });
        bad!(bad, kv_commit, CommitRequest, |req| {
            req.mut_keys().push(KEY.to_vec());
            req.set_start_version(ts);
            req.set_commit_version(10);
        });
        for (start_ts, for_update_ts) in [(ts, 9), (9, ts)] {
            bad!(bad, kv_pessimistic_lock, PessimisticLockRequest, |req| {
                req.mut_mutations().push(locking(KEY));
                req.set_primary_lock(KEY.to_vec());
                req.set_start_version(start_ts);
                req.set_for_update_ts(for_update_ts);
            });
        }
        bad!(
            bad,
            kv_pessimistic_rollback,
            PessimisticRollbackRequest,
            |req| {
                req.mut_keys().push(KEY.to_vec());
                req.set_start_version(ts);
            }
        );
        bad!(bad, kv_cleanup, CleanupRequest, |req| {
            req.set_key(KEY.to_vec());
            req.set_start_version(ts);
        });
        bad!(bad, kv_batch_rollback, BatchRollbackRequest, |req| {
            req.mut_keys().push(KEY.to_vec());
            req.set_start_version(ts);
        });
        bad!(bad, kv_check_txn_status, CheckTxnStatusRequest, |req| {
            req.set_primary_key(KEY.to_vec());
            req.set_lock_ts(ts);
        });
        bad!(
            bad,
            kv_check_secondary_locks,
            CheckSecondaryLocksRequest,
            |req| {
                req.mut_keys().push(KEY.to_vec());
                req.set_start_version(ts);
            }
        );
        bad!(bad, kv_txn_heart_beat, TxnHeartBeatRequest, |req| {
            req.set_primary_lock(KEY.to_vec());
            req.set_start_version(ts);
        });
        bad!(bad, kv_resolve_lock, ResolveLockRequest, |req| req
            .set_start_version(ts));
        bad!(bad, kv_resolve_lock, ResolveLockRequest, |req| {
            let mut info = TxnInfo::default();
            info.set_txn(ts);
            req.mut_txn_infos().push(info);
        });
        bad!(bad, mvcc_get_by_start_ts, MvccGetByStartTsRequest, |req| {
            req.set_start_ts(ts)
        });
    }
    bad!(bad, kv_commit, CommitRequest, |req| {
        req.mut_keys().push(KEY.to_vec());
        req.set_start_version(9);
        req.set_commit_version(u64::MAX);
    });
    // The largest version of a read is the latest one; zero is no moment to read at.
    bad!(bad, kv_get, GetRequest, |req| req.set_key(KEY.to_vec()));
    bad!(bad, kv_batch_get, BatchGetRequest, |req| req
        .mut_keys()
        .push(KEY.to_vec()));
    bad!(bad, kv_scan, ScanRequest, |req| req.set_limit(1));
    bad!(bad, kv_scan_lock, ScanLockRequest, |_req| {});
    stays_up(&fixture);
}

#[test]
fn lock_requests_that_contradict_themselves() {
    let fixture = Fixture::new();
    let request = |mutations: Vec<Mutation>| {
        let mut req = PessimisticLockRequest::default();
        req.set_context(fixture.context());
        req.set_mutations(mutations.into());
        req.set_primary_lock(KEY.to_vec());
        req.set_start_version(9);
        req.set_for_update_ts(9);
        req
    };
    let shared = |key: &[u8]| {
        let mut mutation = locking(key);
        mutation.set_op(Op::SharedPessimisticLock);
        mutation
    };
    let force = |mut req: PessimisticLockRequest| {
        req.set_wake_up_mode(PessimisticLockWakeUpMode::WakeUpModeForceLock);
        req
    };
    let mut blind = request(vec![locking(KEY)]);
    blind.set_lock_only_if_exists(true);
    for (expected, request) in [
        ("no mutations", request(Vec::new())),
        (
            "mutation type Put",
            request(vec![mutation(KEY, Vec::new())]),
        ),
        (
            "shared and exclusive",
            request(vec![shared(KEY), locking(b"l")]),
        ),
        (
            "more than one key",
            force(request(vec![locking(KEY), locking(b"l")])),
        ),
        ("with a shared lock", force(request(vec![shared(KEY)]))),
        ("LockIfExistsFailed", blind),
    ] {
        let bad = Bad {
            fixture: &fixture,
            expected,
        };
        let answer = fixture.client.kv_pessimistic_lock(&request);
        bad.check("kv_pessimistic_lock", answer);
        bad.check_batched("kv_pessimistic_lock", &request);
    }
    stays_up(&fixture);
}

#[test]
fn column_families_of_nobody() {
    let fixture = Fixture::new();
    for cf in ["nowhere", "raft", "Default"] {
        let expected = format!("invalid cf name: {cf}");
        let bad = Bad {
            fixture: &fixture,
            expected: &expected,
        };
        let cf = || cf.to_owned();
        bad!(bad, raw_get, RawGetRequest, |req| {
            req.set_key(KEY.to_vec());
            req.set_cf(cf());
        });
        bad!(bad, raw_batch_get, RawBatchGetRequest, |req| {
            req.mut_keys().push(KEY.to_vec());
            req.set_cf(cf());
        });
        bad!(bad, raw_put, RawPutRequest, |req| {
            req.set_key(KEY.to_vec());
            req.set_cf(cf());
        });
        bad!(bad, raw_batch_put, RawBatchPutRequest, |req| {
            req.mut_pairs().push(pair(KEY, Vec::new()));
            req.set_cf(cf());
        });
        bad!(bad, raw_delete, RawDeleteRequest, |req| {
            req.set_key(KEY.to_vec());
            req.set_cf(cf());
        });
        bad!(bad, raw_batch_delete, RawBatchDeleteRequest, |req| {
            req.mut_keys().push(KEY.to_vec());
            req.set_cf(cf());
        });
        bad!(bad, raw_scan, RawScanRequest, |req| {
            req.set_limit(1);
            req.set_cf(cf());
        });
        bad!(bad, raw_batch_scan, RawBatchScanRequest, |req| {
            req.mut_ranges().push(KeyRange::default());
            req.set_each_limit(1);
            req.set_cf(cf());
        });
        bad!(bad, raw_delete_range, RawDeleteRangeRequest, |req| {
            req.set_end_key(KEY.to_vec());
            req.set_cf(cf());
        });
        bad!(bad, raw_compare_and_swap, RawCASRequest, |req| {
            req.set_key(KEY.to_vec());
            req.set_cf(cf());
        });
        bad!(bad, raw_get_key_ttl, RawGetKeyTTLRequest, |req| {
            req.set_key(KEY.to_vec());
            req.set_cf(cf());
        });
    }
    stays_up(&fixture);
}

#[test]
fn a_version_that_the_store_does_not_serve() {
    let fixture = Fixture::new();
    let mut context = fixture.context();
    context.set_api_version(APIVersion::V2);
    let mut request = GetRequest::default();
    request.set_context(context.clone());
    request.set_key(KEY.to_vec());
    request.set_version(9);
    let response = fixture.client.kv_get(&request).unwrap();
    let text = response.get_error().get_abort();
    assert!(
        text.starts_with("Api version in request does not match with TiKV storage"),
        "{text}"
    );
    let mut request = RawGetRequest::default();
    request.set_context(context);
    request.set_key(KEY.to_vec());
    let response = fixture.client.raw_get(&request).unwrap();
    assert!(
        response.get_error().starts_with("Api version in request"),
        "{response:?}"
    );
    stays_up(&fixture);
}
