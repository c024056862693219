//! What the handlers need to know of request and response messages, as two traits.
//!
//! Each kind of response reports failures in its own field; the kinds are listed in client.md 4:
//! one `error`, a list of `errors`, pairs that hold an error each, or plain text.

use kvproto::errorpb;
use kvproto::kvrpcpb::{
    BatchGetRequest, BatchGetResponse, BatchRollbackRequest, BatchRollbackResponse,
    BroadcastTxnStatusRequest, BroadcastTxnStatusResponse, BufferBatchGetRequest,
    BufferBatchGetResponse, CheckSecondaryLocksRequest, CheckSecondaryLocksResponse,
    CheckTxnStatusRequest, CheckTxnStatusResponse, CleanupRequest, CleanupResponse, CommitRequest,
    CommitResponse, Context, DeleteRangeRequest, DeleteRangeResponse, ExecDetailsV2,
    FlashbackToVersionRequest, FlashbackToVersionResponse, FlushRequest, FlushResponse,
    GetHealthFeedbackRequest, GetHealthFeedbackResponse, GetLockWaitInfoRequest,
    GetLockWaitInfoResponse, GetRequest, GetResponse, KeyError, KvPair, MvccGetByKeyRequest,
    MvccGetByKeyResponse, MvccGetByStartTsRequest, MvccGetByStartTsResponse,
    PessimisticLockRequest, PessimisticLockResponse, PessimisticRollbackRequest,
    PessimisticRollbackResponse, PrepareFlashbackToVersionRequest,
    PrepareFlashbackToVersionResponse, PrewriteRequest, PrewriteResponse, RawBatchDeleteRequest,
    RawBatchDeleteResponse, RawBatchGetRequest, RawBatchGetResponse, RawBatchPutRequest,
    RawBatchPutResponse, RawBatchScanRequest, RawBatchScanResponse, RawCASRequest, RawCASResponse,
    RawChecksumRequest, RawChecksumResponse, RawDeleteRangeRequest, RawDeleteRangeResponse,
    RawDeleteRequest, RawDeleteResponse, RawGetKeyTTLRequest, RawGetKeyTTLResponse, RawGetRequest,
    RawGetResponse, RawPutRequest, RawPutResponse, RawScanRequest, RawScanResponse,
    ResolveLockRequest, ResolveLockResponse, ScanLockRequest, ScanLockResponse, ScanRequest,
    ScanResponse, TxnHeartBeatRequest, TxnHeartBeatResponse, UnsafeDestroyRangeRequest,
    UnsafeDestroyRangeResponse,
};

use txn_types::TimeStamp;

use crate::errors;

/// A request with the envelope that all requests for a region share.
pub(crate) trait Request: Send + 'static {
    /// The envelope.
    fn context(&self) -> &Context;
    /// The timestamp of the transaction or read; 0 where there is none.
    fn start_ts(&self) -> u64;

    /// The key, the first of several, or the start of the range; empty where there is none. For
    /// people who look for a request.
    fn first_key(&self) -> &[u8];

    /// Refuses what no state of the data could make valid, as far as the storage leaves it open.
    fn check(&self) -> storage::Result<()>;
}

/// The longest key that any configuration allows. What only ends a transaction is never refused for
/// the limit in force, because a lock that exists must stay removable after the limit was lowered;
/// but a key beyond this one cannot have a lock.
const ANY_KEY_SIZE_MAX: usize = 64 << 10;

fn possible_key(key: &[u8]) -> storage::Result<()> {
    let (size, limit) = (key.len(), ANY_KEY_SIZE_MAX);
    if size > limit {
        return Err(storage::Error::KeyTooLarge { size, limit });
    }
    Ok(())
}

/// A key that names something.
fn some_key(key: &[u8]) -> storage::Result<()> {
    if key.is_empty() {
        return Err(storage::Error::EmptyKey);
    }
    possible_key(key)
}

fn some_keys<'a>(keys: impl IntoIterator<Item = &'a Vec<u8>>) -> storage::Result<()> {
    keys.into_iter().try_for_each(|key| some_key(key))
}

fn first(keys: &[Vec<u8>]) -> &[u8] {
    keys.first().map_or(&[], Vec::as_slice)
}

/// A moment to read at: the largest means the latest, zero means nothing.
fn read_ts(field: &'static str, ts: u64) -> storage::Result<()> {
    let ts = TimeStamp::from(ts);
    if ts.is_zero() {
        Err(storage::Error::InvalidTimestamp { field, ts })
    } else {
        Ok(())
    }
}

/// The timestamp of a transaction.
fn txn_ts(field: &'static str, ts: u64) -> storage::Result<()> {
    if ts == u64::MAX {
        let ts = TimeStamp::max();
        return Err(storage::Error::InvalidTimestamp { field, ts });
    }
    read_ts(field, ts)
}

/// How a request failed, for any kind of response.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The region could not serve it: `region_error`.
    Region(Box<errorpb::Error>),
    /// The command failed.
    Key {
        /// For responses of transactions.
        error: Box<KeyError>,
        /// For responses that report plain text.
        text: String,
    },
}

/// A response that can tell a failure and, where the schema has it, what the request cost.
pub(crate) trait Response: Default + Send + 'static {
    /// Puts `failure` where clients look for it.
    fn fail(&mut self, failure: Failure);

    /// The place for what the request cost.
    fn exec_details(&mut self) -> Option<&mut ExecDetailsV2>;
}

/// Implements [`Request`]: the field of the timestamp, the key (`@`), and what is checked here (`=>`).
macro_rules! requests {
    ($(
        $request:ident $(, $start_ts:ident)? $(@ |$keyed:ident| $key:expr)?
        $(=> |$req:ident| $check:expr)?;
    )*) => {$(
        impl Request for $request {
            fn context(&self) -> &Context {
                self.get_context()
            }

            fn start_ts(&self) -> u64 {
                0 $(+ self.$start_ts())?
            }

            fn first_key(&self) -> &[u8] {
                $(let $keyed = self;)?
                let keys: &[&[u8]] = &[$($key,)? &[]];
                keys[0]
            }

            fn check(&self) -> storage::Result<()> {
                $(let $req = self; $check?;)?
                Ok(())
            }
        }
    )*};
}

requests! {
    GetRequest, get_version @ |req| req.get_key() => |req| read_ts("version", req.get_version());
    BatchGetRequest, get_version @ |req| first(req.get_keys()) => |req| read_ts("version", req.get_version());
    ScanRequest, get_version @ |req| req.get_start_key() => |req| read_ts("version", req.get_version());
    ScanLockRequest, get_max_version @ |req| req.get_start_key() => |req| {
        possible_key(req.get_start_key())?;
        possible_key(req.get_end_key())?;
        read_ts("max_version", req.get_max_version())
    };
    PrewriteRequest, get_start_version @ |req| req.get_primary_lock();
    PessimisticLockRequest, get_start_version @ |req| req.get_mutations().first().map_or(&[], |first| first.get_key());
    PessimisticRollbackRequest, get_start_version @ |req| first(req.get_keys()) => |req| some_keys(req.get_keys());
    FlushRequest, get_start_ts @ |req| req.get_mutations().first().map_or(&[], |first| first.get_key());
    BufferBatchGetRequest, get_version @ |req| first(req.get_keys()) => |req| txn_ts("version", req.get_version());
    BroadcastTxnStatusRequest;
    GetLockWaitInfoRequest;
    CommitRequest, get_start_version @ |req| first(req.get_keys()) => |req| some_keys(req.get_keys());
    CleanupRequest, get_start_version @ |req| req.get_key() => |req| some_key(req.get_key());
    BatchRollbackRequest, get_start_version @ |req| first(req.get_keys()) => |req| some_keys(req.get_keys());
    CheckTxnStatusRequest, get_lock_ts @ |req| req.get_primary_key() => |req| some_key(req.get_primary_key());
    CheckSecondaryLocksRequest, get_start_version @ |req| first(req.get_keys()) => |req| some_keys(req.get_keys());
    TxnHeartBeatRequest, get_start_version @ |req| req.get_primary_lock() => |req| some_key(req.get_primary_lock());
    ResolveLockRequest, get_start_version @ |req| first(req.get_keys()) => |req| some_keys(req.get_keys());
    MvccGetByStartTsRequest, get_start_ts => |req| txn_ts("start_ts", req.get_start_ts());
    MvccGetByKeyRequest @ |req| req.get_key();
    DeleteRangeRequest @ |req| req.get_start_key();
    PrepareFlashbackToVersionRequest, get_start_ts @ |req| req.get_start_key() => |req| {
        possible_key(req.get_start_key())?;
        possible_key(req.get_end_key())
    };
    FlashbackToVersionRequest, get_start_ts @ |req| req.get_start_key() => |req| {
        possible_key(req.get_start_key())?;
        possible_key(req.get_end_key())
    };
    RawGetRequest @ |req| req.get_key();
    RawBatchGetRequest @ |req| first(req.get_keys());
    RawPutRequest @ |req| req.get_key();
    RawBatchPutRequest @ |req| req.get_pairs().first().map_or(&[], |pair| pair.get_key());
    RawDeleteRequest @ |req| req.get_key();
    RawBatchDeleteRequest @ |req| first(req.get_keys());
    RawScanRequest @ |req| req.get_start_key();
    RawBatchScanRequest @ |req| req.get_ranges().first().map_or(&[], |range| range.get_start_key());
    RawDeleteRangeRequest @ |req| req.get_start_key();
    RawChecksumRequest @ |req| req.get_ranges().first().map_or(&[], |range| range.get_start_key());
    RawCASRequest @ |req| req.get_key();
    RawGetKeyTTLRequest @ |req| req.get_key();
    UnsafeDestroyRangeRequest @ |req| req.get_start_key();
    GetHealthFeedbackRequest;
}

/// Implements [`Response`]: how the response takes a key error, and whether it has `exec_details_v2`.
macro_rules! responses {
    ($fail:ident, $details:ident: $($response:ty),* $(,)?) => {$(
        impl Response for $response {
            fn fail(&mut self, failure: Failure) {
                match failure {
                    Failure::Region(error) => responses!(@region $fail self, error),
                    Failure::Key { error, text } => responses!(@$fail self, error, text),
                }
            }

            fn exec_details(&mut self) -> Option<&mut ExecDetailsV2> {
                responses!(@$details self)
            }
        }
    )*};
    (@region only_text $self:ident, $error:ident) => {{
        let mut error = $error;
        $self.set_error(error.take_message())
    }};
    (@region $fail:ident $self:ident, $error:ident) => { $self.set_region_error(*$error) };
    (@only_text $self:ident, $error:ident, $text:ident) => {
        responses!(@text $self, $error, $text)
    };
    (@one $self:ident, $error:ident, $text:ident) => {{
        let _ = $text;
        $self.set_error(*$error)
    }};
    (@list $self:ident, $error:ident, $text:ident) => {{
        let _ = $text;
        $self.mut_errors().push(*$error)
    }};
    // Old clients look into the first pair only, new ones at the response's error first.
    (@one_and_pair $self:ident, $error:ident, $text:ident) => {{
        let _ = $text;
        $self.mut_pairs().push(failed_pair(*$error.clone()));
        $self.set_error(*$error)
    }};
    (@pair $self:ident, $error:ident, $text:ident) => {{
        let _ = $text;
        $self.mut_pairs().push(failed_pair(*$error))
    }};
    (@kv $self:ident, $error:ident, $text:ident) => {{
        let _ = $text;
        $self.mut_kvs().push(failed_pair(*$error))
    }};
    (@text $self:ident, $error:ident, $text:ident) => {{
        let _ = $error;
        $self.set_error($text)
    }};
    (@only_region $self:ident, $error:ident, $text:ident) => {{
        let _ = $error;
        $self.mut_region_error().set_message($text)
    }};
    (@details $self:ident) => { Some($self.mut_exec_details_v2()) };
    (@no_details $self:ident) => { None };
}

fn failed_pair(error: KeyError) -> KvPair {
    let mut pair = KvPair::default();
    pair.set_error(error);
    pair
}

responses!(one, details:
    GetResponse, CommitResponse, BatchRollbackResponse, CheckTxnStatusResponse,
    CheckSecondaryLocksResponse,
    TxnHeartBeatResponse, ScanLockResponse, ResolveLockResponse,
);
responses!(one, no_details: CleanupResponse);
responses!(list, details:
    FlushResponse, PrewriteResponse, PessimisticLockResponse, PessimisticRollbackResponse,
);
responses!(one_and_pair, details: BatchGetResponse, BufferBatchGetResponse);
responses!(one_and_pair, no_details: ScanResponse);
responses!(pair, no_details: RawBatchGetResponse);
responses!(kv, no_details: RawScanResponse, RawBatchScanResponse);
responses!(text, no_details:
    DeleteRangeResponse, FlashbackToVersionResponse, PrepareFlashbackToVersionResponse,
    GetLockWaitInfoResponse, MvccGetByKeyResponse, MvccGetByStartTsResponse, RawGetResponse,
    RawPutResponse, RawBatchPutResponse, RawDeleteResponse, RawBatchDeleteResponse,
    RawDeleteRangeResponse, RawCASResponse, RawChecksumResponse, RawGetKeyTTLResponse,
);
responses!(only_region, no_details: GetHealthFeedbackResponse);
// Its callers look at nothing but the text: a region error would pass for a success.
responses!(only_text, no_details: UnsafeDestroyRangeResponse);

impl Response for BroadcastTxnStatusResponse {
    /// It has no place for that: the request is a hint, after which nobody looks.
    fn fail(&mut self, _: Failure) {}

    fn exec_details(&mut self) -> Option<&mut ExecDetailsV2> {
        None
    }
}

/// The response to a request for `region_id`: `fill` writes a success, a failure goes to its field.
pub(crate) fn respond<R: Response, T>(
    region_id: u64,
    outcome: storage::Result<T>,
    fill: impl FnOnce(&mut R, T),
) -> R {
    let mut response = R::default();
    match outcome {
        Ok(output) => fill(&mut response, output),
        Err(error) => response.fail(errors::failure(&error, region_id)),
    }
    response
}
