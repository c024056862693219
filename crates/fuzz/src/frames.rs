//! Messages as they arrive: the request of every live RPC of both ports, and the frames of BatchCommands.
//!
//! The first byte chooses the type, the rest is the message.

use kvproto::bounded;
use protobuf::Message;

use crate::allocated::{bounded_by, counted};

/// What an allocation costs beyond what was asked for is left out; what the decoder reserves for an error is in.
const FIXED: u64 = 16 << 10;

/// A type of messages.
struct Kind {
    name: fn() -> &'static str,
    check: fn(&[u8]),
}

macro_rules! requests {
    ($($package:ident: $($request:ident),* $(,)?;)*) => {
        const KINDS: &[Kind] = &[$($(Kind {
            name: || kvproto::$package::$request::descriptor_static().full_name(),
            check: check::<kvproto::$package::$request>,
        },)*)*];
    };
}

// New ones go to the end: the corpus knows them by their numbers.
requests! {
    etcdserverpb:
        CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
        LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, MemberListRequest,
        PutRequest, RangeRequest, StatusRequest, TxnRequest, WatchRequest;
    healthpb:
        HealthCheckRequest;
    keyspacepb:
        GetAllKeyspacesRequest, LoadKeyspaceByIDRequest, LoadKeyspaceRequest, LookupKeyspaceRequest,
        UpdateKeyspaceStateRequest, WatchKeyspacesRequest;
    kvrpcpb:
        BatchGetRequest, BatchRollbackRequest, CheckSecondaryLocksRequest, CheckTxnStatusRequest,
        CleanupRequest, CommitRequest,
        DeleteRangeRequest, GetHealthFeedbackRequest, GetLockWaitInfoRequest, GetRequest,
        MvccGetByKeyRequest,
        MvccGetByStartTsRequest, PessimisticLockRequest, PessimisticRollbackRequest, PrewriteRequest, RawBatchDeleteRequest, RawBatchGetRequest,
        RawBatchPutRequest, RawBatchScanRequest, RawCASRequest, RawChecksumRequest,
        RawDeleteRangeRequest, RawDeleteRequest, RawGetKeyTTLRequest, RawGetRequest, RawPutRequest,
        RawScanRequest, ResolveLockRequest, ScanLockRequest, ScanRequest, TxnHeartBeatRequest,
        UnsafeDestroyRangeRequest;
    meta_storagepb:
        DeleteRequest, GetRequest, PutRequest, WatchRequest;
    pdpb:
        AdvanceGCSafePointRequest, AdvanceTxnSafePointRequest, AllocIDRequest, AskBatchSplitRequest,
        AskSplitRequest, BatchScanRegionsRequest, BootstrapRequest, DeleteGCBarrierRequest,
        DeleteGlobalGCBarrierRequest, GetAllGCSafePointV2Request, GetAllKeyspacesGCStatesRequest,
        GetAllStoresRequest, GetClusterConfigRequest, GetClusterInfoRequest,
        GetDCLocationInfoRequest, GetExternalTimestampRequest, GetGCSafePointRequest,
        GetGCSafePointV2Request, GetGCStateRequest, GetMembersRequest, GetMinTSRequest,
        GetOperatorRequest, GetRegionByIDRequest, GetRegionRequest, GetStoreRequest,
        IsBootstrappedRequest, IsSnapshotRecoveringRequest, LoadGlobalConfigRequest,
        PutClusterConfigRequest, PutStoreRequest, QueryRegionRequest, RegionHeartbeatRequest,
        ReportBatchSplitRequest, ReportBucketsRequest, ReportMinResolvedTsRequest,
        ReportSplitRequest, ScanRegionsRequest, ScatterRegionRequest, SetExternalTimestampRequest,
        SetGCBarrierRequest, SetGlobalGCBarrierRequest, StoreGlobalConfigRequest,
        StoreHeartbeatRequest, SyncMaxTSRequest, TsoRequest, UpdateGCSafePointRequest,
        UpdateGCSafePointV2Request, UpdateServiceGCSafePointRequest,
        UpdateServiceSafePointV2Request, WatchGlobalConfigRequest;
    resource_manager:
        DeleteResourceGroupRequest, GetResourceGroupRequest, ListResourceGroupsRequest,
        PutResourceGroupRequest, TokenBucketsRequest;
    tikvpb:
        BatchCommandsRequest;
    kvrpcpb:
        PrepareFlashbackToVersionRequest, FlashbackToVersionRequest, FlushRequest,
        BufferBatchGetRequest, BroadcastTxnStatusRequest;
}

/// A message behind the number of its type.
pub fn frames(data: &[u8]) {
    if let Some((&number, bytes)) = data.split_first()
        && let Some(kind) = KINDS.get(usize::from(number))
    {
        (kind.check)(bytes);
    }
}

/// The names of the types, in the order of their numbers.
pub fn frame_types() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| (kind.name)())
}

fn check<M: Message + PartialEq>(bytes: &[u8]) {
    let name = M::descriptor_static().full_name();
    // The first use of all builds what the others share.
    let _ = bounded::cost(name, &[]);
    let cost = bounded_by(0, || bounded::cost(name, bytes));
    let (parsed, allocated) = counted(|| bounded::parse::<M>(bytes));
    assert!(
        allocated <= FIXED + 2 * cost,
        "{name} was to take {cost} and took {allocated}"
    );
    // What fits into the least limit that its cost allows.
    assert!(bounded::fits(name, bytes, cost));
    let Ok(message) = parsed else {
        return;
    };
    let written = match message.write_to_bytes() {
        Ok(written) => written,
        Err(error) => panic!("{name} cannot be written again: {error}"),
    };
    assert_eq!(written.len(), message.compute_size() as usize);
    match bounded::parse::<M>(&written) {
        Ok(again) => assert!(
            again == message || is_same(&again, &written),
            "{name} changed"
        ),
        Err(error) => panic!("{name} cannot be read again: {error}"),
    }
}

/// No number that is none equals itself, and the entries of a map have no order.
fn is_same<M: Message>(again: &M, written: &[u8]) -> bool {
    let sorted = |mut bytes: Vec<u8>| {
        bytes.sort_unstable();
        bytes
    };
    again
        .write_to_bytes()
        .is_ok_and(|again| sorted(again) == sorted(written.to_vec()))
}
