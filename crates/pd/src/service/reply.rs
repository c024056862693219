//! How results become answers: the one place where errors meet gRPC.

use futures::FutureExt as _;
use grpcio::{RpcContext, RpcStatus, RpcStatusCode, UnarySink};
use kvproto::keyspacepb::{
    GetAllKeyspacesResponse, LoadKeyspaceResponse, LookupKeyspaceResponse,
    UpdateKeyspaceStateResponse, WatchKeyspacesResponse,
};
use kvproto::pdpb::{
    AdvanceGCSafePointResponse, AdvanceTxnSafePointResponse, AllocIDResponse,
    AskBatchSplitResponse, AskSplitResponse, BatchScanRegionsResponse, BootstrapResponse,
    DeleteGCBarrierResponse, DeleteGlobalGCBarrierResponse, ErrorType, GetAllGCSafePointV2Response,
    GetAllKeyspacesGCStatesResponse, GetAllStoresResponse, GetClusterConfigResponse,
    GetClusterInfoResponse, GetDCLocationInfoResponse, GetExternalTimestampResponse,
    GetGCSafePointResponse, GetGCSafePointV2Response, GetGCStateResponse, GetMembersResponse,
    GetMinTSResponse, GetOperatorResponse, GetRegionResponse, GetStoreResponse,
    IsBootstrappedResponse, IsSnapshotRecoveringResponse, PutClusterConfigResponse,
    PutStoreResponse, QueryRegionResponse, RegionHeartbeatResponse, ReportBatchSplitResponse,
    ReportBucketsResponse, ReportMinResolvedTsResponse, ReportSplitResponse, ResponseHeader,
    ScanRegionsResponse, ScatterRegionResponse, SetExternalTimestampResponse, SetGCBarrierResponse,
    SetGlobalGCBarrierResponse, StoreHeartbeatResponse, SyncMaxTSResponse, TsoResponse,
    UpdateGCSafePointResponse, UpdateGCSafePointV2Response, UpdateServiceGCSafePointResponse,
    UpdateServiceSafePointV2Response, WatchGlobalConfigResponse,
};

use super::Service;
use crate::{Error, Result};

/// An answer that carries a header.
pub(super) trait Reply: Default + Send + 'static {
    fn put_header(&mut self, header: ResponseHeader);
}

macro_rules! replies {
    ($($message:ty),* $(,)?) => {
        $(impl Reply for $message {
            fn put_header(&mut self, header: ResponseHeader) {
                self.set_header(header);
            }
        })*
    };
}

replies!(
    AdvanceGCSafePointResponse,
    AdvanceTxnSafePointResponse,
    AllocIDResponse,
    AskBatchSplitResponse,
    AskSplitResponse,
    BatchScanRegionsResponse,
    BootstrapResponse,
    DeleteGCBarrierResponse,
    DeleteGlobalGCBarrierResponse,
    GetAllGCSafePointV2Response,
    GetAllKeyspacesGCStatesResponse,
    GetAllKeyspacesResponse,
    GetAllStoresResponse,
    GetClusterConfigResponse,
    GetClusterInfoResponse,
    GetDCLocationInfoResponse,
    GetExternalTimestampResponse,
    GetGCSafePointResponse,
    GetGCSafePointV2Response,
    GetGCStateResponse,
    GetMembersResponse,
    GetMinTSResponse,
    GetOperatorResponse,
    GetRegionResponse,
    GetStoreResponse,
    IsBootstrappedResponse,
    IsSnapshotRecoveringResponse,
    LoadKeyspaceResponse,
    LookupKeyspaceResponse,
    PutClusterConfigResponse,
    PutStoreResponse,
    QueryRegionResponse,
    RegionHeartbeatResponse,
    ReportBatchSplitResponse,
    ReportBucketsResponse,
    ReportMinResolvedTsResponse,
    ReportSplitResponse,
    ScanRegionsResponse,
    ScatterRegionResponse,
    SetExternalTimestampResponse,
    SetGCBarrierResponse,
    SetGlobalGCBarrierResponse,
    StoreHeartbeatResponse,
    SyncMaxTSResponse,
    TsoResponse,
    UpdateGCSafePointResponse,
    UpdateGCSafePointV2Response,
    UpdateKeyspaceStateResponse,
    UpdateServiceGCSafePointResponse,
    UpdateServiceSafePointV2Response,
    WatchGlobalConfigResponse,
    WatchKeyspacesResponse,
);

/// The two ways to refuse.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The call fails with a status.
    Status(RpcStatus),
    /// The call succeeds with an error in its header.
    Header(ErrorType, String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let text = error.to_string();
        let status = |code| Refusal::Status(RpcStatus::with_message(code, text.clone()));
        match error {
            Error::ClusterIdMismatch { .. } => status(RpcStatusCode::FAILED_PRECONDITION),
            Error::InvalidArgument(_) => status(RpcStatusCode::INVALID_ARGUMENT),
            Error::Busy => status(RpcStatusCode::RESOURCE_EXHAUSTED),
            Error::Stopped => status(RpcStatusCode::UNAVAILABLE),
            Error::Etcd(ref refused) => status(super::etcd::status_code(refused)),
            Error::NotBootstrapped => Refusal::Header(ErrorType::NOT_BOOTSTRAPPED, text),
            Error::AlreadyBootstrapped => Refusal::Header(ErrorType::ALREADY_BOOTSTRAPPED, text),
            Error::StoreTombstone(_) => Refusal::Header(ErrorType::STORE_TOMBSTONE, text),
            Error::RegionNotFound(_) => Refusal::Header(ErrorType::REGION_NOT_FOUND, text),
            Error::EntryNotFound(_) => Refusal::Header(ErrorType::ENTRY_NOT_FOUND, text),
            Error::Duplicated(_) => Refusal::Header(ErrorType::DUPLICATED_ENTRY, text),
            Error::InvalidValue(_) => Refusal::Header(ErrorType::INVALID_VALUE, text),
            Error::RangeNotCovered(_) => {
                Refusal::Header(ErrorType::REGIONS_NOT_CONTAIN_ALL_KEY_RANGE, text)
            }
            Error::Refused(_)
            | Error::Config(_)
            | Error::Listen { .. }
            | Error::Store(_)
            | Error::Damaged { .. } => Refusal::Header(ErrorType::UNKNOWN, text),
        }
    }
}

/// The error part of a header.
pub(super) fn header_error(kind: ErrorType, message: String) -> kvproto::pdpb::Error {
    let mut error = kvproto::pdpb::Error::default();
    error.set_field_type(kind);
    error.set_message(message);
    error
}

impl Service {
    /// Completes a result with its header, or says with which status to fail.
    pub(super) fn complete<R: Reply>(
        &self,
        result: Result<R>,
    ) -> std::result::Result<R, RpcStatus> {
        let mut header = self.shared.header();
        let mut response = match result.map_err(Refusal::from) {
            Ok(response) => response,
            Err(Refusal::Status(status)) => return Err(status),
            Err(Refusal::Header(kind, message)) => {
                header.set_error(header_error(kind, message));
                R::default()
            }
        };
        response.put_header(header);
        Ok(response)
    }

    /// Answers a unary call with what `work` comes to.
    pub(super) fn answer<R: Reply>(
        &self,
        ctx: &RpcContext<'_>,
        sink: UnarySink<R>,
        work: impl Future<Output = Result<R>> + Send + 'static,
    ) {
        let service = self.clone();
        deliver(ctx, sink, work.map(move |result| service.complete(result)));
    }
}

/// Sends the outcome of `work`. Whether it arrives is the client's business: it may have left.
pub(super) fn deliver<R: Send + 'static>(
    ctx: &RpcContext<'_>,
    sink: UnarySink<R>,
    work: impl Future<Output = std::result::Result<R, RpcStatus>> + Send + 'static,
) {
    ctx.spawn(async move {
        let sent = match work.await {
            Ok(response) => sink.success(response).await,
            Err(status) => sink.fail(status).await,
        };
        if let Err(error) = sent {
            tracing::debug!(error = %error, "answer not delivered");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every variant, so that a new one has to be decided on here.
    #[test]
    fn errors_become_what_clients_know() {
        let code = |code: RpcStatusCode| (Some(code), None);
        let header = |kind: ErrorType| (None, Some(kind));
        let text = || "text".to_owned();
        let cases = [
            (
                Error::ClusterIdMismatch {
                    expected: 1,
                    got: 2,
                },
                code(RpcStatusCode::FAILED_PRECONDITION),
            ),
            (
                Error::InvalidArgument(text()),
                code(RpcStatusCode::INVALID_ARGUMENT),
            ),
            (Error::Busy, code(RpcStatusCode::RESOURCE_EXHAUSTED)),
            (Error::Stopped, code(RpcStatusCode::UNAVAILABLE)),
            (Error::NotBootstrapped, header(ErrorType::NOT_BOOTSTRAPPED)),
            (
                Error::AlreadyBootstrapped,
                header(ErrorType::ALREADY_BOOTSTRAPPED),
            ),
            (Error::StoreTombstone(1), header(ErrorType::STORE_TOMBSTONE)),
            (
                Error::RegionNotFound(text()),
                header(ErrorType::REGION_NOT_FOUND),
            ),
            (
                Error::EntryNotFound(text()),
                header(ErrorType::ENTRY_NOT_FOUND),
            ),
            (
                Error::Duplicated(text()),
                header(ErrorType::DUPLICATED_ENTRY),
            ),
            (
                Error::InvalidValue(text()),
                header(ErrorType::INVALID_VALUE),
            ),
            (
                Error::RangeNotCovered(text()),
                header(ErrorType::REGIONS_NOT_CONTAIN_ALL_KEY_RANGE),
            ),
            (
                Error::Etcd(crate::etcd::EtcdError::NoSpace),
                code(RpcStatusCode::RESOURCE_EXHAUSTED),
            ),
            (Error::Refused(text()), header(ErrorType::UNKNOWN)),
            (Error::Config(text()), header(ErrorType::UNKNOWN)),
            (
                Error::Listen {
                    address: text(),
                    detail: text(),
                },
                header(ErrorType::UNKNOWN),
            ),
            (
                Error::Store(engine_traits::Error::TooManySkipped),
                header(ErrorType::UNKNOWN),
            ),
            (
                Error::Damaged {
                    key: text(),
                    detail: text(),
                },
                header(ErrorType::UNKNOWN),
            ),
        ];
        for (error, expected) in cases {
            let words = error.to_string();
            let got = match Refusal::from(error) {
                Refusal::Status(status) => {
                    assert_eq!(status.message(), words);
                    (Some(status.code()), None)
                }
                Refusal::Header(kind, message) => {
                    assert_eq!(message, words);
                    (None, Some(kind))
                }
            };
            assert_eq!(got, expected, "{words}");
        }
        let mismatch = Error::ClusterIdMismatch {
            expected: 7,
            got: 8,
        };
        assert_eq!(
            mismatch.to_string(),
            "mismatch cluster id, need 7 but got 8"
        );
    }
}
