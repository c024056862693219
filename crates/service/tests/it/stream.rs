//! A client of BatchCommands, and a request of each case.

use std::collections::BTreeMap;

use futures::executor::block_on;
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{ClientDuplexReceiver, ClientDuplexSender, RpcStatus, WriteFlags};
use kvproto::coprocessor;
use kvproto::kvrpcpb::*;
use kvproto::tikvpb::{
    BatchCommandsEmptyRequest, BatchCommandsRequest, BatchCommandsRequest_Request,
    BatchCommandsRequest_Request_oneof_cmd as Cmd, BatchCommandsResponse,
    BatchCommandsResponse_Response, BatchCommandsResponse_Response_oneof_cmd as Answer,
};
use protobuf::Message;
use service::rpc_table::RPCS;

use crate::fixture::Fixture;

/// A client of one stream.
pub(crate) struct Stream {
    sender: ClientDuplexSender<BatchCommandsRequest>,
    receiver: ClientDuplexReceiver<BatchCommandsResponse>,
}

impl Stream {
    pub(crate) fn open(fixture: &Fixture) -> Stream {
        let (sender, receiver) = fixture.client.batch_commands().unwrap();
        Stream { sender, receiver }
    }

    pub(crate) fn send(&mut self, cmds: impl IntoIterator<Item = (u64, Option<Cmd>)>) {
        let mut message = BatchCommandsRequest::default();
        for (id, cmd) in cmds {
            let mut request = BatchCommandsRequest_Request::default();
            request.cmd = cmd;
            message.mut_requests().push(request);
            message.mut_request_ids().push(id);
        }
        self.send_message(message);
    }

    pub(crate) fn send_message(&mut self, message: BatchCommandsRequest) {
        match block_on(self.sender.send((message, WriteFlags::default()))) {
            // What the server thinks of it, the receiver hears.
            Ok(()) | Err(grpcio::Error::RpcFinished(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn half_close(&mut self) {
        block_on(self.sender.close()).unwrap();
    }

    /// The next message; `None` when the stream ended with OK.
    pub(crate) fn next(&mut self) -> Result<Option<BatchCommandsResponse>, RpcStatus> {
        match block_on(self.receiver.next()) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(grpcio::Error::RpcFailure(status))) => Err(status),
            Some(Err(error)) => panic!("{error}"),
        }
    }

    /// Reads until so many answers came. Panics when an id comes too often, judging by `expected`.
    pub(crate) fn answers(&mut self, count: usize) -> BTreeMap<u64, Vec<Option<Answer>>> {
        let mut answers: BTreeMap<u64, Vec<Option<Answer>>> = BTreeMap::new();
        let mut got = 0;
        while got < count {
            let message = self.next().unwrap().expect("more answers");
            assert_eq!(
                message.get_responses().len(),
                message.get_request_ids().len()
            );
            assert!(!message.get_responses().is_empty());
            got += message.get_responses().len();
            for (id, response) in message.request_ids.iter().zip(message.responses) {
                answers.entry(*id).or_default().push(response.cmd);
            }
        }
        assert_eq!(got, count);
        answers
    }

    /// The one answer to one request.
    pub(crate) fn ask(&mut self, cmd: Option<Cmd>) -> Option<Answer> {
        self.send([(1, cmd)]);
        self.answers(1).remove(&1).unwrap().remove(0)
    }
}

/// The number of the case in the oneof: the tag of the only field.
fn case(bytes: &[u8]) -> Option<u32> {
    let mut input = protobuf::CodedInputStream::from_bytes(bytes);
    if bytes.is_empty() {
        return None;
    }
    Some(input.read_tag_unpack().unwrap().0)
}

/// A request in the case that carries the RPC of this name or handler, if one does.
pub(crate) fn command(rpc: &str, request: &[u8]) -> Option<Cmd> {
    let mut rows = RPCS.iter();
    let row = rows
        .find(|row| row.name == rpc || row.handler == rpc)
        .unwrap();
    let descriptor = BatchCommandsRequest_Request::descriptor_static();
    let case = descriptor.get_field_by_name(row.batch_case()?).unwrap();
    let number = u32::try_from(case.proto().get_number()).unwrap();
    let mut bytes = Vec::new();
    let mut output = protobuf::CodedOutputStream::vec(&mut bytes);
    output.write_bytes(number, request).unwrap();
    output.flush().unwrap();
    drop(output);
    BatchCommandsRequest_Request::parse_from_bytes(&bytes)
        .unwrap()
        .cmd
}

/// The response in an answer.
pub(crate) fn response_bytes(answer: Option<Answer>) -> Vec<u8> {
    let mut response = BatchCommandsResponse_Response::default();
    response.cmd = answer;
    let bytes = response.write_to_bytes().unwrap();
    let mut input = protobuf::CodedInputStream::from_bytes(&bytes);
    input.read_tag().unwrap();
    input.read_bytes().unwrap()
}

pub(crate) fn case_of_request(cmd: &Cmd) -> u32 {
    let mut request = BatchCommandsRequest_Request::default();
    request.cmd = Some(cmd.clone());
    case(&request.write_to_bytes().unwrap()).unwrap()
}

pub(crate) fn case_of_answer(answer: &Option<Answer>) -> Option<u32> {
    let mut response = BatchCommandsResponse_Response::default();
    response.cmd = answer.clone();
    case(&response.write_to_bytes().unwrap())
}

/// Adds a request of one case to the list.
macro_rules! cmd {
    ($all:ident, $context:ident, $case:ident, $request:ty, |$req:ident| $fill:expr) => {{
        let mut $req = <$request>::default();
        $req.set_context($context.clone());
        $fill;
        $all.push(Cmd::$case($req));
    }};
}

/// A request of each case that is served.
pub(crate) fn served(context: &Context) -> Vec<Cmd> {
    let mut all = Vec::new();
    of_transactions(context, &mut all);
    of_locks(context, &mut all);
    of_raw_data(context, &mut all);
    all.push(Cmd::Empty(BatchCommandsEmptyRequest::default()));
    all
}

fn of_transactions(context: &Context, all: &mut Vec<Cmd>) {
    let key = || b"k".to_vec();
    cmd!(all, context, Get, GetRequest, |req| {
        req.set_key(key());
        req.set_version(9);
    });
    cmd!(all, context, Scan, ScanRequest, |req| {
        req.set_limit(1);
        req.set_version(9);
    });
    cmd!(all, context, Prewrite, PrewriteRequest, |req| {
        let mut mutation = Mutation::default();
        mutation.set_key(key());
        req.mut_mutations().push(mutation);
        req.set_primary_lock(key());
        req.set_start_version(9);
    });
    cmd!(all, context, Flush, FlushRequest, |req| {
        let mut mutation = Mutation::default();
        mutation.set_key(key());
        req.mut_mutations().push(mutation);
        req.set_primary_key(key());
        req.set_start_ts(9);
        req.set_generation(1);
    });
    cmd!(all, context, BufferBatchGet, BufferBatchGetRequest, |req| {
        req.mut_keys().push(key());
        req.set_version(9);
    });
    cmd!(
        all,
        context,
        BroadcastTxnStatus,
        BroadcastTxnStatusRequest,
        |req| {
            req.mut_txn_status().push(TxnStatus::default());
        }
    );
    cmd!(all, context, Commit, CommitRequest, |req| {
        req.mut_keys().push(key());
        req.set_start_version(9);
        req.set_commit_version(10);
    });
    cmd!(all, context, Cleanup, CleanupRequest, |req| {
        req.set_key(key());
        req.set_start_version(9);
    });
    cmd!(all, context, BatchGet, BatchGetRequest, |req| {
        req.mut_keys().push(key());
        req.set_version(9);
    });
    cmd!(all, context, BatchRollback, BatchRollbackRequest, |req| {
        req.mut_keys().push(key());
        req.set_start_version(9);
    });
}

/// Those about locks, and about ranges.
fn of_locks(context: &Context, all: &mut Vec<Cmd>) {
    let key = || b"k".to_vec();
    cmd!(all, context, ScanLock, ScanLockRequest, |req| req
        .set_max_version(9));
    cmd!(all, context, ResolveLock, ResolveLockRequest, |req| req
        .set_start_version(9));
    cmd!(all, context, DeleteRange, DeleteRangeRequest, |req| req
        .set_end_key(key()));
    // Of nothing that other requests are about.
    cmd!(
        all,
        context,
        PrepareFlashbackToVersion,
        PrepareFlashbackToVersionRequest,
        |req| {
            req.set_start_key(b"zz".to_vec());
            req.set_version(8);
            req.set_start_ts(9);
        }
    );
    cmd!(
        all,
        context,
        FlashbackToVersion,
        FlashbackToVersionRequest,
        |req| {
            req.set_start_key(b"zz".to_vec());
            req.set_version(8);
            req.set_start_ts(9);
            req.set_commit_ts(10);
        }
    );
    cmd!(all, context, TxnHeartBeat, TxnHeartBeatRequest, |req| {
        req.set_primary_lock(key());
        req.set_start_version(9);
    });
    cmd!(
        all,
        context,
        PessimisticLock,
        PessimisticLockRequest,
        |req| {
            let mut mutation = Mutation::default();
            mutation.set_op(Op::PessimisticLock);
            mutation.set_key(key());
            req.mut_mutations().push(mutation);
            req.set_primary_lock(key());
            req.set_start_version(9);
            req.set_for_update_ts(9);
            req.set_wait_timeout(-1);
        }
    );
    cmd!(
        all,
        context,
        PessimisticRollback,
        PessimisticRollbackRequest,
        |req| {
            req.mut_keys().push(key());
            req.set_start_version(9);
        }
    );
    cmd!(
        all,
        context,
        CheckSecondaryLocks,
        CheckSecondaryLocksRequest,
        |req| {
            req.mut_keys().push(key());
            req.set_start_version(9);
        }
    );
    cmd!(all, context, CheckTxnStatus, CheckTxnStatusRequest, |req| {
        req.set_primary_key(key());
        req.set_lock_ts(9);
    });
}

/// And of the store as a whole.
fn of_raw_data(context: &Context, all: &mut Vec<Cmd>) {
    let key = || b"k".to_vec();
    cmd!(all, context, RawGet, RawGetRequest, |req| req
        .set_key(key()));
    cmd!(all, context, RawBatchGet, RawBatchGetRequest, |req| req
        .mut_keys()
        .push(key()));
    cmd!(all, context, RawPut, RawPutRequest, |req| req
        .set_key(key()));
    cmd!(all, context, RawBatchPut, RawBatchPutRequest, |req| {
        let mut pair = KvPair::default();
        pair.set_key(key());
        req.mut_pairs().push(pair);
    });
    cmd!(all, context, RawDelete, RawDeleteRequest, |req| req
        .set_key(key()));
    cmd!(all, context, RawBatchDelete, RawBatchDeleteRequest, |req| {
        req.mut_keys().push(key())
    });
    cmd!(all, context, RawScan, RawScanRequest, |req| req
        .set_limit(1));
    cmd!(all, context, RawDeleteRange, RawDeleteRangeRequest, |req| {
        req.set_end_key(key())
    });
    cmd!(all, context, RawBatchScan, RawBatchScanRequest, |req| {
        req.mut_ranges().push(KeyRange::default());
        req.set_each_limit(1);
    });
    cmd!(
        all,
        context,
        GetHealthFeedback,
        GetHealthFeedbackRequest,
        |_req| {}
    );
}

/// A request of each case that is not.
pub(crate) fn unserved() -> Vec<Option<Cmd>> {
    vec![
        None,
        Some(Cmd::Import(ImportRequest::default())),
        Some(Cmd::GC(GCRequest::default())),
        Some(Cmd::Coprocessor(coprocessor::Request::default())),
        Some(Cmd::RawCoprocessor(RawCoprocessorRequest::default())),
    ]
}
