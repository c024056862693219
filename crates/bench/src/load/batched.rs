//! `BatchCommands`: many requests in one message on one stream.
//!
//! As client-go does: what has been answered since the last message goes into the next one, and a
//! request id is the number of the slot, free again once it was answered.

use anyhow::{bail, ensure};
use kvproto::kvrpcpb;
use kvproto::tikvpb::{
    BatchCommandsRequest, BatchCommandsRequest_Request, BatchCommandsRequest_Request_oneof_cmd,
    BatchCommandsResponse, BatchCommandsResponse_Response_oneof_cmd as Answer, TikvClient,
};

use super::stream::{Conversation, converse};
use crate::client::Connections;
use crate::random::Random;
use crate::sample::Sample;
use crate::target::Keyspace;
use crate::window::{Timing, measure};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batched {
    RawGet,
    KvGet,
    RawPut,
}

struct Requests {
    kind: Batched,
    keyspace: Keyspace,
    random: Random,
}

impl Conversation for Requests {
    type Request = BatchCommandsRequest;
    type Response = BatchCommandsResponse;

    fn ask(&mut self, slots: &[usize]) -> BatchCommandsRequest {
        let mut message = BatchCommandsRequest::default();
        for slot in slots {
            let cmd = match self.kind {
                Batched::RawGet => BatchCommandsRequest_Request_oneof_cmd::RawGet(
                    self.keyspace.raw_get(&mut self.random),
                ),
                Batched::KvGet => BatchCommandsRequest_Request_oneof_cmd::Get(
                    self.keyspace.kv_get(&mut self.random),
                ),
                Batched::RawPut => BatchCommandsRequest_Request_oneof_cmd::RawPut(
                    self.keyspace.raw_put(&mut self.random),
                ),
            };
            let mut request = BatchCommandsRequest_Request::default();
            request.cmd = Some(cmd);
            message.mut_requests().push(request);
            message.mut_request_ids().push(*slot as u64);
        }
        message
    }

    fn read(
        &mut self,
        mut message: BatchCommandsResponse,
        answered: &mut Vec<(usize, anyhow::Result<u64>)>,
    ) -> anyhow::Result<()> {
        let ids = message.take_request_ids();
        let responses = message.take_responses();
        ensure!(
            ids.len() == responses.len(),
            "{} answers for {} requests",
            responses.len(),
            ids.len()
        );
        for (id, response) in ids.into_iter().zip(responses) {
            let outcome = match response.cmd {
                Some(Answer::RawGet(answer)) => check_raw_get(&answer),
                Some(Answer::Get(answer)) => check_kv_get(&answer),
                Some(Answer::RawPut(answer)) => check_raw_put(&answer),
                _ => bail!("an answer of another type than the request"),
            };
            answered.push((usize::try_from(id)?, outcome));
        }
        Ok(())
    }
}

/// A value was found.
pub(crate) fn check_raw_get(answer: &kvrpcpb::RawGetResponse) -> anyhow::Result<u64> {
    ensure!(
        !answer.has_region_error() && answer.get_error().is_empty(),
        "RawGet: {answer:?}"
    );
    ensure!(!answer.get_value().is_empty(), "RawGet found nothing");
    Ok(1)
}

/// A value was found.
pub(crate) fn check_kv_get(answer: &kvrpcpb::GetResponse) -> anyhow::Result<u64> {
    ensure!(
        !answer.has_region_error() && !answer.has_error(),
        "KvGet: {answer:?}"
    );
    ensure!(!answer.get_value().is_empty(), "KvGet found nothing");
    Ok(1)
}

/// It was written.
pub(crate) fn check_raw_put(answer: &kvrpcpb::RawPutResponse) -> anyhow::Result<u64> {
    let refused = answer.has_region_error() || !answer.get_error().is_empty();
    ensure!(!refused, "RawPut: {answer:?}");
    Ok(1)
}

/// Keeps `in_flight` requests going through one stream on each connection.
pub(crate) fn batched(
    connections: &Connections,
    in_flight: usize,
    timing: Timing,
    server: Option<u32>,
    keyspace: &Keyspace,
    kind: Batched,
) -> anyhow::Result<Sample> {
    let streams = connections.count();
    measure(timing, server, |workers| {
        for number in 0..streams {
            let client = TikvClient::new(connections.channel(number));
            let (sink, answers) = client.batch_commands()?;
            let talk = Requests {
                kind,
                keyspace: keyspace.clone(),
                random: Random::new(number as u64 + 1),
            };
            let share = (in_flight / streams).max(1);
            let worker = workers.worker();
            connections.spawn(number, async move {
                converse(talk, share, worker, sink, answers).await;
            });
        }
        Ok(())
    })
}
