//! What the handlers need to know of request and response messages, as two traits.
//!
//! Each kind of response reports failures in its own field; the kinds are listed in client.md 4:
//! one `error`, a list of `errors`, pairs that hold an error each, or plain text.

use kvproto::errorpb;
use kvproto::kvrpcpb::{
    BatchGetRequest, BatchGetResponse, BatchRollbackRequest, BatchRollbackResponse,
    CheckTxnStatusRequest, CheckTxnStatusResponse, CleanupRequest, CleanupResponse, CommitRequest,
    CommitResponse, Context, DeleteRangeRequest, DeleteRangeResponse, ExecDetailsV2, GetRequest,
    GetResponse, KeyError, KvPair, MvccGetByKeyRequest, MvccGetByKeyResponse,
    MvccGetByStartTsRequest, MvccGetByStartTsResponse, PrewriteRequest, PrewriteResponse,
    RawBatchDeleteRequest, RawBatchDeleteResponse, RawBatchGetRequest, RawBatchGetResponse,
    RawBatchPutRequest, RawBatchPutResponse, RawBatchScanRequest, RawBatchScanResponse,
    RawCASRequest, RawCASResponse, RawChecksumRequest, RawChecksumResponse, RawDeleteRangeRequest,
    RawDeleteRangeResponse, RawDeleteRequest, RawDeleteResponse, RawGetRequest, RawGetResponse,
    RawPutRequest, RawPutResponse, RawScanRequest, RawScanResponse, ResolveLockRequest,
    ResolveLockResponse, ScanLockRequest, ScanLockResponse, ScanRequest, ScanResponse,
    TxnHeartBeatRequest, TxnHeartBeatResponse,
};

use crate::errors;

/// A request with the envelope that all requests for a region share.
pub(crate) trait Request: Send + 'static {
    /// The envelope.
    fn context(&self) -> &Context;
    /// The timestamp of the transaction or read; 0 where there is none.
    fn start_ts(&self) -> u64;
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

/// Implements [`Request`] for requests that have an envelope, with the field of their timestamp.
macro_rules! requests {
    ($($request:ty $(, $start_ts:ident)?;)*) => {$(
        impl Request for $request {
            fn context(&self) -> &Context {
                self.get_context()
            }

            fn start_ts(&self) -> u64 {
                0 $(+ self.$start_ts())?
            }
        }
    )*};
}

requests! {
    GetRequest, get_version;
    BatchGetRequest, get_version;
    ScanRequest, get_version;
    PrewriteRequest, get_start_version;
    CommitRequest, get_start_version;
    CleanupRequest, get_start_version;
    BatchRollbackRequest, get_start_version;
    CheckTxnStatusRequest, get_lock_ts;
    TxnHeartBeatRequest, get_start_version;
    ResolveLockRequest, get_start_version;
    ScanLockRequest, get_max_version;
    MvccGetByStartTsRequest, get_start_ts;
    MvccGetByKeyRequest;
    DeleteRangeRequest;
    RawGetRequest;
    RawBatchGetRequest;
    RawPutRequest;
    RawBatchPutRequest;
    RawDeleteRequest;
    RawBatchDeleteRequest;
    RawScanRequest;
    RawBatchScanRequest;
    RawDeleteRangeRequest;
    RawChecksumRequest;
    RawCASRequest;
}

/// Implements [`Response`]: how the response takes a key error, and whether it has `exec_details_v2`.
macro_rules! responses {
    ($fail:ident, $details:ident: $($response:ty),* $(,)?) => {$(
        impl Response for $response {
            fn fail(&mut self, failure: Failure) {
                match failure {
                    Failure::Region(error) => self.set_region_error(*error),
                    Failure::Key { error, text } => responses!(@$fail self, error, text),
                }
            }

            fn exec_details(&mut self) -> Option<&mut ExecDetailsV2> {
                responses!(@$details self)
            }
        }
    )*};
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
    TxnHeartBeatResponse, ScanLockResponse, ResolveLockResponse,
);
responses!(one, no_details: CleanupResponse);
responses!(list, details: PrewriteResponse);
responses!(one_and_pair, details: BatchGetResponse);
responses!(one_and_pair, no_details: ScanResponse);
responses!(pair, no_details: RawBatchGetResponse);
responses!(kv, no_details: RawScanResponse, RawBatchScanResponse);
responses!(text, no_details:
    DeleteRangeResponse, MvccGetByKeyResponse, MvccGetByStartTsResponse, RawGetResponse,
    RawPutResponse, RawBatchPutResponse, RawDeleteResponse, RawBatchDeleteResponse,
    RawDeleteRangeResponse, RawCASResponse, RawChecksumResponse,
);

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
