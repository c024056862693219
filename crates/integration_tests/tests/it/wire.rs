//! Single requests, built by hand: what the published client never sends.

use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use grpcio::{
    CallOption, Channel, ChannelBuilder, Client, EnvBuilder, Marshaller, Method, MethodType,
    RpcStatus,
};
use integration_tests::TikvServer;
use kvproto::errorpb;
use kvproto::kvrpcpb::{self, Context, KeyError, Mutation, Op, PrewriteRequest};
use kvproto::pdpb::{GetMembersRequest, GetRegionRequest, PdClient};
use protobuf::Message;
use test_support::bytes_rpc;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A request of `tikvpb.Tikv` that this server answers.
pub(crate) trait Rpc: Message + Default {
    /// The method's path.
    const PATH: &'static str;
    /// What it is answered with.
    type Response: Message + Default + Unpin;
    /// The envelope.
    fn context_mut(&mut self) -> &mut Context;
    /// A request that is fine but for its empty envelope.
    fn sample() -> Self;
    /// What an answer means.
    fn outcome(response: Self::Response) -> Outcome;
}

/// One RPC, whatever its type.
pub(crate) struct Live {
    /// Its name in the schema.
    pub(crate) name: &'static str,
    /// Its path.
    pub(crate) path: &'static str,
    send: for<'a> fn(&'a Wire, Context) -> LocalBoxFuture<'a, Outcome>,
}

impl Live {
    /// Sends a request that is fine, in the given envelope.
    pub(crate) async fn send(&self, wire: &Wire, context: Context) -> Outcome {
        (self.send)(wire, context).await
    }
}

const KEY: &[u8] = b"wire-sample";
const TS: u64 = 400_000_000_000_000_000;

macro_rules! rpcs {
    ($($name:literal $request:ident -> $response:ident by $errors:ident
       |$sample:ident| $fill:block)*) => {
        $(
            impl Rpc for kvrpcpb::$request {
                const PATH: &'static str = concat!("/tikvpb.Tikv/", $name);
                type Response = kvrpcpb::$response;
                fn context_mut(&mut self) -> &mut Context {
                    self.mut_context()
                }
                fn sample() -> Self {
                    let mut $sample = Self::default();
                    $fill
                    $sample
                }
                fn outcome(response: Self::Response) -> Outcome {
                    rpcs!(@region $errors response);
                    let errors: Vec<String> = rpcs!(@$errors response);
                    if errors.is_empty() {
                        Outcome::Done(format!("{response:?}"))
                    } else {
                        Outcome::Refused(errors)
                    }
                }
            }
        )*

        /// All of them.
        pub(crate) const LIVE: &[Live] = &[$(
            Live {
                name: $name,
                path: kvrpcpb::$request::PATH,
                send: |wire, context| Box::pin(async move {
                    let mut request = kvrpcpb::$request::sample();
                    *request.context_mut() = context;
                    wire.ask(&request).await
                }),
            },
        )*];
    };
    // What concerns the whole store and is never refused has no field for errors at all.
    (@region no_field $response:ident) => {};
    (@region $errors:ident $response:ident) => {
        if $response.has_region_error() {
            return Outcome::Region(Box::new($response.get_region_error().clone()));
        }
    };
    (@no_field $response:ident) => { Vec::new() };
    // Where a response keeps errors.
    (@text $response:ident) => {
        Some($response.get_error().to_owned()).into_iter().filter(|text| !text.is_empty()).collect()
    };
    (@one $response:ident) => { of_key($response.error.as_ref()).collect() };
    (@list $response:ident) => {
        $response.get_errors().iter().map(|error| format!("{error:?}")).collect()
    };
    (@pairs $response:ident) => {
        of_key($response.error.as_ref()).chain(of_pairs($response.get_pairs())).collect()
    };
    (@only_pairs $response:ident) => { of_pairs($response.get_pairs()).collect() };
    (@nowhere $response:ident) => { Vec::new() };
    (@kvs $response:ident) => { of_pairs($response.get_kvs()).collect() };
}

fn of_key(error: Option<&KeyError>) -> impl Iterator<Item = String> {
    error.map(|error| format!("{error:?}")).into_iter()
}

fn of_pairs(pairs: &[kvrpcpb::KvPair]) -> impl Iterator<Item = String> {
    pairs.iter().flat_map(|pair| of_key(pair.error.as_ref()))
}

rpcs! {
    "KvGet" GetRequest -> GetResponse by one |r| { r.set_key(KEY.into()); r.set_version(TS); }
    "KvScan" ScanRequest -> ScanResponse by pairs |r| { r.set_limit(1); r.set_version(TS); }
    "KvPrewrite" PrewriteRequest -> PrewriteResponse by list |r| {
        r.mut_mutations().push(put(KEY, b"value"));
        r.set_primary_lock(KEY.into());
        r.set_start_version(TS);
        r.set_lock_ttl(1);
    }
    "KvFlush" FlushRequest -> FlushResponse by list |r| {
        r.mut_mutations().push(put(KEY, b"value"));
        r.set_primary_key(KEY.into());
        r.set_start_ts(TS);
        r.set_generation(1);
        r.set_lock_ttl(1);
    }
    "KvBufferBatchGet" BufferBatchGetRequest -> BufferBatchGetResponse by pairs |r| {
        r.mut_keys().push(KEY.into());
        r.set_version(TS);
    }
    "BroadcastTxnStatus" BroadcastTxnStatusRequest -> BroadcastTxnStatusResponse by no_field |r| {
        let mut status = kvrpcpb::TxnStatus::default();
        status.set_start_ts(TS);
        status.set_rolled_back(true);
        r.mut_txn_status().push(status);
    }
    "KvTxnHeartBeat" TxnHeartBeatRequest -> TxnHeartBeatResponse by one |r| {
        r.set_primary_lock(KEY.into());
        r.set_start_version(TS);
        r.set_advise_lock_ttl(1);
    }
    "KvCheckTxnStatus" CheckTxnStatusRequest -> CheckTxnStatusResponse by one |r| {
        r.set_primary_key(KEY.into());
        r.set_lock_ts(TS);
        r.set_current_ts(TS + 1);
    }
    "KvCommit" CommitRequest -> CommitResponse by one |r| {
        r.mut_keys().push(KEY.into());
        r.set_start_version(TS);
        r.set_commit_version(TS + 1);
    }
    "KvCleanup" CleanupRequest -> CleanupResponse by one |r| {
        r.set_key(KEY.into());
        r.set_start_version(TS);
    }
    "KvCheckSecondaryLocks" CheckSecondaryLocksRequest -> CheckSecondaryLocksResponse by one |r| {
        r.mut_keys().push(KEY.into());
        r.set_start_version(TS);
    }
    "KvPessimisticLock" PessimisticLockRequest -> PessimisticLockResponse by list |r| {
        let mut mutation = Mutation::default();
        mutation.set_op(Op::PessimisticLock);
        mutation.set_key(KEY.into());
        r.mut_mutations().push(mutation);
        r.set_primary_lock(KEY.into());
        r.set_start_version(TS);
        r.set_for_update_ts(TS);
        r.set_lock_ttl(1);
        r.set_wait_timeout(-1);
    }
    "KVPessimisticRollback" PessimisticRollbackRequest -> PessimisticRollbackResponse by list |r| {
        r.mut_keys().push(KEY.into());
        r.set_start_version(TS);
        r.set_for_update_ts(TS);
    }
    "GetLockWaitInfo" GetLockWaitInfoRequest -> GetLockWaitInfoResponse by text |r| { r.mut_context(); }
    "KvBatchGet" BatchGetRequest -> BatchGetResponse by pairs |r| {
        r.mut_keys().push(KEY.into());
        r.set_version(TS);
    }
    "KvBatchRollback" BatchRollbackRequest -> BatchRollbackResponse by one |r| {
        r.mut_keys().push(KEY.into());
        r.set_start_version(TS);
    }
    "KvScanLock" ScanLockRequest -> ScanLockResponse by one |r| { r.set_max_version(TS); r.set_limit(1); }
    "KvResolveLock" ResolveLockRequest -> ResolveLockResponse by one |r| { r.set_start_version(TS); }
    "KvDeleteRange" DeleteRangeRequest -> DeleteRangeResponse by text |r| {
        r.set_start_key(KEY.into());
        r.set_end_key([KEY, b"0"].concat());
    }
    // Of a key that nobody has; the second ends what the first begins.
    "KvPrepareFlashbackToVersion" PrepareFlashbackToVersionRequest -> PrepareFlashbackToVersionResponse by text |r| {
        r.set_start_key(b"wire-untouched".to_vec());
        r.set_end_key(b"wire-untouched0".to_vec());
        r.set_version(TS - 1);
        r.set_start_ts(TS);
    }
    "KvFlashbackToVersion" FlashbackToVersionRequest -> FlashbackToVersionResponse by text |r| {
        r.set_start_key(b"wire-untouched".to_vec());
        r.set_end_key(b"wire-untouched0".to_vec());
        r.set_version(TS - 1);
        r.set_start_ts(TS);
        r.set_commit_ts(TS + 1);
    }
    "RawGet" RawGetRequest -> RawGetResponse by text |r| { r.set_key(KEY.into()); }
    "RawBatchGet" RawBatchGetRequest -> RawBatchGetResponse by only_pairs |r| { r.mut_keys().push(KEY.into()); }
    "RawPut" RawPutRequest -> RawPutResponse by text |r| {
        r.set_key(KEY.into());
        r.set_value(b"value".to_vec());
    }
    "RawBatchPut" RawBatchPutRequest -> RawBatchPutResponse by text |r| {
        r.mut_pairs().push(pair(KEY, b"value"));
    }
    "RawDelete" RawDeleteRequest -> RawDeleteResponse by text |r| { r.set_key(KEY.into()); }
    "RawBatchDelete" RawBatchDeleteRequest -> RawBatchDeleteResponse by text |r| {
        r.mut_keys().push(KEY.into());
    }
    "RawScan" RawScanRequest -> RawScanResponse by kvs |r| { r.set_limit(1); }
    "RawDeleteRange" RawDeleteRangeRequest -> RawDeleteRangeResponse by text |r| {
        r.set_start_key(KEY.into());
        r.set_end_key([KEY, b"0"].concat());
    }
    "RawBatchScan" RawBatchScanRequest -> RawBatchScanResponse by kvs |r| {
        r.mut_ranges().push(range(KEY, b"x"));
        r.set_each_limit(1);
    }
    "RawCompareAndSwap" RawCASRequest -> RawCASResponse by text |r| {
        r.set_key(KEY.into());
        r.set_value(b"value".to_vec());
        r.set_previous_not_exist(true);
    }
    "GetHealthFeedback" GetHealthFeedbackRequest -> GetHealthFeedbackResponse by nowhere |r| {
        r.mut_context();
    }
    "RawGetKeyTTL" RawGetKeyTTLRequest -> RawGetKeyTTLResponse by text |r| { r.set_key(KEY.into()); }
    "UnsafeDestroyRange" UnsafeDestroyRangeRequest -> UnsafeDestroyRangeResponse by text |r| {
        r.set_start_key(KEY.into());
        r.set_end_key([KEY, b"0"].concat());
    }
    "RawChecksum" RawChecksumRequest -> RawChecksumResponse by text |r| {
        r.mut_ranges().push(range(KEY, b"x"));
    }
    "MvccGetByKey" MvccGetByKeyRequest -> MvccGetByKeyResponse by text |r| { r.set_key(KEY.into()); }
    "MvccGetByStartTs" MvccGetByStartTsRequest -> MvccGetByStartTsResponse by text |r| {
        r.set_start_ts(TS);
    }
}

/// What answers streams; [`LIVE`] is what answers single requests.
pub(crate) const LIVE_STREAMS: &[&str] = &["BatchCommands"];

/// A mutation that writes a value.
pub(crate) fn put(key: &[u8], value: &[u8]) -> Mutation {
    let mut mutation = Mutation::default();
    mutation.set_op(Op::Put);
    mutation.set_key(key.into());
    mutation.set_value(value.into());
    mutation
}

/// A key and its value.
pub(crate) fn pair(key: &[u8], value: &[u8]) -> kvrpcpb::KvPair {
    let mut pair = kvrpcpb::KvPair::default();
    pair.set_key(key.into());
    pair.set_value(value.into());
    pair
}

/// From `start` to before `end`.
pub(crate) fn range(start: &[u8], end: &[u8]) -> kvrpcpb::KeyRange {
    let mut range = kvrpcpb::KeyRange::default();
    range.set_start_key(start.into());
    range.set_end_key(end.into());
    range
}

/// How the server dealt with a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It answered, without any error.
    Done(String),
    /// It answered with errors of the command.
    Refused(Vec<String>),
    /// It could not serve the region.
    Region(Box<errorpb::Error>),
    /// The call itself failed.
    Status(RpcStatus),
}

/// A connection to one server.
pub(crate) struct Wire {
    client: Client,
    envelope: Context,
}

impl Wire {
    /// Connects, and asks the placement driver for the region that covers every key.
    pub(crate) async fn connect(server: &TikvServer) -> Wire {
        let endpoint = server.pd_endpoints().remove(0);
        let pd = PdClient::new(channel(&endpoint));
        let members = pd
            .get_members_async_opt(&GetMembersRequest::default(), options())
            .unwrap();
        let cluster_id = members.await.unwrap().get_header().get_cluster_id();
        let mut request = GetRegionRequest::default();
        request.mut_header().set_cluster_id(cluster_id);
        let answer = pd
            .get_region_async_opt(&request, options())
            .unwrap()
            .await
            .unwrap();
        let mut envelope = Context::default();
        envelope.set_region_id(answer.get_region().get_id());
        envelope.set_region_epoch(answer.get_region().get_region_epoch().clone());
        envelope.set_peer(answer.get_leader().clone());
        envelope.set_cluster_id(cluster_id);
        Wire {
            client: Client::new(channel(&server.client_address().to_string())),
            envelope,
        }
    }

    /// The envelope that the server accepts.
    pub(crate) fn envelope(&self) -> Context {
        self.envelope.clone()
    }

    /// Sends a request as it is.
    pub(crate) async fn ask<R: Rpc>(&self, request: &R) -> Outcome {
        match self.exchange(request).await {
            Ok(response) => R::outcome(response),
            Err(status) => Outcome::Status(status),
        }
    }

    /// Sends a request in the right envelope and expects an answer, which may hold errors.
    pub(crate) async fn call<R: Rpc>(&self, mut request: R) -> R::Response {
        *request.context_mut() = self.envelope();
        match self.exchange(&request).await {
            Ok(response) => response,
            Err(status) => panic!("{} failed: {status}", R::PATH),
        }
    }

    /// Sends a sample changed by `change`, in the right envelope.
    pub(crate) async fn try_with<R: Rpc>(&self, change: impl FnOnce(&mut R)) -> Outcome {
        let mut request = R::sample();
        *request.context_mut() = self.envelope();
        change(&mut request);
        self.ask(&request).await
    }

    async fn exchange<R: Rpc>(&self, request: &R) -> Result<R::Response, RpcStatus> {
        let method = Method {
            ty: MethodType::Unary,
            name: R::PATH,
            req_mar: Marshaller {
                ser: grpcio::pb_ser,
                de: grpcio::pb_de,
            },
            resp_mar: Marshaller {
                ser: grpcio::pb_ser,
                de: grpcio::pb_de,
            },
        };
        status(
            self.client
                .unary_call_async(&method, request, options())
                .unwrap()
                .await,
        )
    }

    /// Sends bytes as they are, and returns the answer's bytes.
    pub(crate) async fn send_bytes(
        &self,
        path: &str,
        bytes: Vec<u8>,
    ) -> Result<Vec<u8>, RpcStatus> {
        let method = bytes_rpc::method(MethodType::Unary, path);
        status(
            self.client
                .unary_call_async(&method, &bytes, options())
                .unwrap()
                .await,
        )
    }

    /// Prewrites like a client that then dies.
    pub(crate) async fn prewrite(
        &self,
        primary: &[u8],
        keys: &[&[u8]],
        start_ts: u64,
        ttl_ms: u64,
    ) {
        let mut request = PrewriteRequest::default();
        for key in keys {
            request.mut_mutations().push(put(key, b"of a dead client"));
        }
        request.set_primary_lock(primary.into());
        request.set_start_version(start_ts);
        request.set_lock_ttl(ttl_ms);
        request.set_txn_size(keys.len() as u64);
        let response = self.call(request).await;
        assert!(
            !response.has_region_error() && response.get_errors().is_empty(),
            "{response:?}"
        );
    }
}

fn status<T>(result: grpcio::Result<T>) -> Result<T, RpcStatus> {
    match result {
        Ok(response) => Ok(response),
        Err(grpcio::Error::RpcFailure(status)) => Err(status),
        Err(other) => panic!("a call that did not reach the server: {other}"),
    }
}

fn options() -> CallOption {
    CallOption::default().timeout(TIMEOUT).wait_for_ready(true)
}

fn channel(address: &str) -> Channel {
    let environment = Arc::new(EnvBuilder::new().cq_count(1).build());
    ChannelBuilder::new(environment)
        .use_local_subchannel_pool(true)
        .connect(address)
}
