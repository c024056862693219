//! BatchCommands: one stream that carries the requests of many callers.
//!
//! A client sends messages of numbered requests and expects exactly one answer for each number, in
//! any order and grouping. One task serves a stream, on the thread to which gRPC bound it:
//!
//! 1. *Take in.* It takes a message, refuses it as a whole if it is wrong as a whole, and starts its
//!    sub-requests. Gets are gathered into runs for the read pool ([`runs`]); every other command
//!    starts in the storage at once, and the task only waits for its outcome, so no sub-request costs
//!    a task of its own on this side.
//! 2. *Gather.* Runs put their answers into [`answers::Answers`] and wake the task; the other futures
//!    wake it themselves.
//! 3. *Send.* Whatever is ready goes out as one message, unless the previous one is still on its way
//!    into the transport; what becomes ready meanwhile forms the next message. So an idle stream
//!    answers at once and a busy one in large messages, and there is no timer to tune.
//!
//! A get crosses two threads: from gRPC to the read pool, and with its neighbours back.
//!
//! *Bounds.* New messages are left to gRPC, and with it to the client's flow control, while too many
//! requests are without answer, or too many bytes of requests or of answers are held. Of reads that
//! may answer with much only a few are under way at a time, and a run of gets waits between two gets
//! while the answers are too many. So a client that does not read costs a bounded amount of memory,
//! and nobody else waits for it.
//!
//! *Ends.* When the client has closed its side, or the server stops, the client still gets all
//! answers, and then OK; another status would let some clients forget answers that they have not
//! looked at. A message that is wrong as a whole ends the stream with INVALID_ARGUMENT and none of its
//! requests is begun. In any case, and also when the client is gone, what was begun runs to its end
//! before the task is over.

mod answers;
mod dispatch;
mod runs;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::iter::{Peekable, Zip};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api_version::KvFormat;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Sink, SinkExt as _, Stream, StreamExt as _};
use grpcio::{DuplexSink, RequestStream, RpcStatus, RpcStatusCode, WriteFlags};
use kv::Engine;
use kvproto::tikvpb::{
    BatchCommandsRequest, BatchCommandsRequest_Request,
    BatchCommandsRequest_Request_oneof_cmd as Request, BatchCommandsResponse,
    BatchCommandsResponse_Response, BatchCommandsResponse_Response_oneof_cmd as Response,
};
use lock_manager::LockManager;
use protobuf::Message as _;
use runtime::Instant;
use storage::{GetCommand, RawGetCommand};

use crate::call::Call;
use crate::message::Request as _;
use crate::rpc_table::{self, RpcId};
use crate::service::Service;
use crate::{metrics, raw, txn};

use answers::{Answer, Answers};
pub(crate) use dispatch::CARRIED;
use dispatch::{Kind, Slot};
use runs::Run;

/// Requests of one stream that are begun and whose answers have not left. Large, because some of
/// them may wait for locks that others of the same stream hold.
const REQUESTS_MAX: usize = 8192;
/// Bytes of requests that are begun. One message can pass it.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// Bytes of answers that gRPC has not taken. One answer for each thread of the read pool, and the
/// bulk reads under way, can pass it.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Reads with large answers that are under way at a time.
const BULK_MAX: usize = 16;
/// Answers and bytes of one message: more would only delay its first answers.
const MESSAGE_ANSWERS_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// What a message takes beside its answers.
const MESSAGE_FRAME: usize = 128;
/// How often a stream hears of the store's health.
const FEEDBACK_EVERY: Duration = Duration::from_secs(1);

const RPC: RpcId = rpc_table::live("batch_commands");
const GET: RpcId = rpc_table::live("kv_get");
const RAW_GET: RpcId = rpc_table::live("raw_get");

/// How a stream ends.
#[derive(Clone, Debug)]
enum End {
    /// With OK, once all answers have left.
    AfterAnswers,
    /// With this status, now.
    Now(RpcStatus),
    /// Nobody is there to hear of it.
    Gone,
}

/// What the task waits for besides its client and its read pool.
#[expect(clippy::large_enum_variant, reason = "almost every event is an answer")]
enum Event {
    Answer(Answer),
    /// The server takes no more requests.
    Closing,
}

type Backlog =
    Peekable<Zip<std::vec::IntoIter<BatchCommandsRequest_Request>, std::vec::IntoIter<u64>>>;

/// The message that gRPC is taking.
#[derive(Default)]
struct Sent {
    answers: usize,
    bytes: usize,
    /// In progress until the message has left.
    calls: Vec<Call>,
}

/// One stream. Must be polled with the same ends of it.
struct Session<E: Engine, L: LockManager, F: KvFormat> {
    service: Service<E, L, F>,
    peer: String,
    /// What is left of the last message, and when that came.
    backlog: Backlog,
    arrived: Instant,
    gets: Run<GetCommand>,
    raw_gets: Run<RawGetCommand>,
    pending: FuturesUnordered<BoxFuture<'static, Event>>,
    answers: Arc<Answers>,
    ready: VecDeque<Answer>,
    sent: Sent,
    /// Begun, and the answer has not left.
    outstanding: usize,
    /// Of requests that are begun and not answered.
    request_bytes: usize,
    /// Begun and not answered.
    bulk: usize,
    feedback_due: Instant,
    end: Option<End>,
}

/// Serves a stream to its end.
pub(crate) async fn serve<E: Engine, L: LockManager, F: KvFormat>(
    service: Service<E, L, F>,
    peer: String,
    mut requests: RequestStream<BatchCommandsRequest>,
    mut sink: DuplexSink<BatchCommandsResponse>,
) {
    let mut session = Session::new(service, peer);
    let end = poll_fn(|cx| session.poll(cx, &mut requests, &mut sink)).await;
    // The client may have gone in the meantime.
    let _ = match end {
        End::AfterAnswers => sink.close().await,
        End::Now(status) => {
            metrics::failed(RPC);
            sink.fail(status).await
        }
        End::Gone => {
            drop(sink);
            Ok(())
        }
    };
    session.drain().await;
    // A stream of requests that is dropped before the status has left cancels the call.
    drop(requests);
}

impl<E: Engine, L: LockManager, F: KvFormat> Session<E, L, F> {
    fn new(service: Service<E, L, F>, peer: String) -> Self {
        let closing = service.in_flight.closing().map(|()| Event::Closing);
        let now = service.clock.now();
        Session {
            service,
            peer,
            backlog: backlog(BatchCommandsRequest::default()),
            arrived: now,
            gets: Run::default(),
            raw_gets: Run::default(),
            pending: FuturesUnordered::from_iter([closing.boxed()]),
            answers: Arc::new(Answers::default()),
            ready: VecDeque::new(),
            sent: Sent::default(),
            outstanding: 0,
            request_bytes: 0,
            bulk: 0,
            feedback_due: now,
            end: None,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        requests: &mut (impl Stream<Item = grpcio::Result<BatchCommandsRequest>> + Unpin),
        sink: &mut (impl Sink<(BatchCommandsResponse, WriteFlags), Error = grpcio::Error> + Unpin),
    ) -> Poll<End> {
        self.answers.register(cx.waker());
        loop {
            self.gather(cx);
            let sink_free = match self.poll_send(cx, sink) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, peer = self.peer, "the client of a stream is gone");
                    return Poll::Ready(End::Gone);
                }
                Poll::Pending => false,
            };
            match &self.end {
                Some(End::Gone) => return Poll::Ready(End::Gone),
                // The status must not overtake a message.
                Some(end @ End::Now(_)) if sink_free => return Poll::Ready(end.clone()),
                Some(end @ End::AfterAnswers)
                    if sink_free && self.outstanding == 0 && self.backlog.peek().is_none() =>
                {
                    return Poll::Ready(end.clone());
                }
                _ => {}
            }
            if !self.take_in(cx, requests) {
                return Poll::Pending;
            }
        }
    }

    /// Ends what was begun, for nobody.
    async fn drain(&mut self) {
        self.answers.close();
        poll_fn(|cx| {
            self.answers.register(cx.waker());
            self.gather(cx);
            self.outstanding -= self.ready.len();
            self.ready.clear();
            self.release();
            if self.outstanding == 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Takes the answers that are there.
    fn gather(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(event)) = self.pending.poll_next_unpin(cx) {
            match event {
                Event::Answer(answer) => self.answers.push(answer),
                Event::Closing => self.end = self.end.take().or(Some(End::AfterAnswers)),
            }
        }
        let known = self.ready.len();
        self.answers.take(&mut self.ready);
        for answer in self.ready.range(known..) {
            self.request_bytes -= answer.request_bytes;
            if answer.kind == Kind::Bulk {
                self.bulk -= 1;
            }
        }
    }

    /// Sends answers for as long as gRPC takes messages. Ready when everything has left.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut (impl Sink<(BatchCommandsResponse, WriteFlags), Error = grpcio::Error> + Unpin),
    ) -> Poll<grpcio::Result<()>> {
        loop {
            // Also with nothing to send: this is where the end of the call shows.
            futures::ready!(sink.poll_ready_unpin(cx))?;
            self.release();
            if self.ready.is_empty() || matches!(self.end, Some(End::Now(_))) {
                return Poll::Ready(Ok(()));
            }
            let message = self.compose();
            // With more to come the transport may wait for it before it writes to the socket.
            let flags = WriteFlags::default().buffer_hint(!self.ready.is_empty());
            sink.start_send_unpin((message, flags))?;
        }
    }

    /// The message that was being taken has left.
    fn release(&mut self) {
        if self.sent.answers > 0 {
            self.outstanding -= self.sent.answers;
            self.answers.release(self.sent.bytes);
            self.sent.answers = 0;
            self.sent.bytes = 0;
            self.sent.calls.clear();
        }
    }

    /// A message of what is ready, or of as much of it as one may hold.
    fn compose(&mut self) -> BatchCommandsResponse {
        let mut message = BatchCommandsResponse::default();
        let bytes_max = MESSAGE_BYTES_MAX.min(self.answer_bytes_max());
        while let Some(next) = self.ready.front() {
            let full = self.sent.answers >= MESSAGE_ANSWERS_MAX
                || self.sent.bytes + next.bytes > bytes_max;
            if full && self.sent.answers > 0 {
                break;
            }
            let Some(answer) = self.ready.pop_front() else {
                break;
            };
            self.sent.answers += 1;
            self.sent.bytes += answer.bytes;
            self.sent.calls.extend(answer.call);
            let mut response = BatchCommandsResponse_Response::default();
            response.cmd = answer.response;
            message.mut_responses().push(response);
            message.mut_request_ids().push(answer.id);
        }
        metrics::batch_sent(self.sent.answers);
        let now = self.service.clock.now();
        if now >= self.feedback_due {
            self.feedback_due = now + FEEDBACK_EVERY;
            message.set_health_feedback(self.service.feedback.message());
        }
        message.set_tikv_send_time_ns(self.service.clock.unix_nanos());
        message
    }

    /// The largest answer that fits into a message.
    fn answer_bytes_max(&self) -> usize {
        self.service.message_bytes_max.saturating_sub(MESSAGE_FRAME)
    }

    /// Takes messages and starts what is in them, as far as there is room. Returns whether anything
    /// was started or ended.
    fn take_in(
        &mut self,
        cx: &mut Context<'_>,
        requests: &mut (impl Stream<Item = grpcio::Result<BatchCommandsRequest>> + Unpin),
    ) -> bool {
        let mut changed = false;
        loop {
            changed |= self.start_backlog();
            if self.end.is_some() || self.backlog.peek().is_some() || !self.has_room() {
                return changed;
            }
            let Poll::Ready(next) = requests.poll_next_unpin(cx) else {
                return changed;
            };
            changed = true;
            match next {
                Some(Ok(message)) => {
                    metrics::batch_received(message.get_requests().len());
                    match self.check(&message) {
                        Ok(()) => {
                            self.arrived = self.service.clock.now();
                            self.backlog = backlog(message);
                        }
                        Err(status) => self.end = Some(End::Now(status)),
                    }
                }
                Some(Err(grpcio::Error::Codec(error))) => {
                    self.end = Some(End::Now(invalid(format!("malformed message: {error}"))));
                }
                Some(Err(_)) => self.end = Some(End::Gone),
                None => self.end = Some(End::AfterAnswers),
            }
        }
    }

    /// Whether the message is one that can be served at all.
    fn check(&self, message: &BatchCommandsRequest) -> Result<(), RpcStatus> {
        let (requests, ids) = (
            message.get_requests().len(),
            message.get_request_ids().len(),
        );
        if requests != ids {
            return Err(invalid(format!(
                "{requests} requests with {ids} request ids"
            )));
        }
        let envelopes = message
            .get_requests()
            .iter()
            .filter_map(|request| dispatch::envelope(request.cmd.as_ref()?));
        match envelopes
            .filter_map(|envelope| self.service.wrong_cluster(envelope))
            .next()
        {
            Some(status) => Err(status),
            None => Ok(()),
        }
    }

    fn has_room(&self) -> bool {
        self.outstanding < REQUESTS_MAX
            && self.request_bytes < REQUEST_BYTES_MAX
            && self.answers.bytes() < ANSWER_BYTES_MAX
    }

    /// Starts what is left of the last message, as far as there is room. Returns whether there was
    /// anything.
    fn start_backlog(&mut self) -> bool {
        let before = self.outstanding;
        while let Some((request, _)) = self.backlog.peek() {
            let kind = request.cmd.as_ref().map_or(Kind::Ordinary, Kind::of);
            if !self.has_room() || (kind == Kind::Bulk && self.bulk >= BULK_MAX) {
                break;
            }
            let Some((request, id)) = self.backlog.next() else {
                break;
            };
            let slot = Slot {
                id,
                kind,
                request_bytes: usize::try_from(request.compute_size()).unwrap_or(usize::MAX),
                arrived: self.arrived,
                answer_bytes_max: self.answer_bytes_max(),
            };
            self.outstanding += 1;
            self.request_bytes += slot.request_bytes;
            self.bulk += usize::from(kind == Kind::Bulk);
            self.start(slot, request.cmd);
        }
        self.start_gets();
        self.start_raw_gets();
        self.outstanding > before
    }

    fn start(&mut self, slot: Slot, cmd: Option<Request>) {
        match cmd {
            Some(Request::Get(request)) => {
                let call = self
                    .service
                    .begin(GET, &request, slot.arrived, self.peer.clone());
                if let Err(error) = request.check() {
                    let response = call.refuse(error);
                    self.answers
                        .push(slot.answer(call, response, Response::Get));
                } else {
                    let command = txn::get_command(request, call.tracker());
                    if self.gets.push(slot, call, command) {
                        self.start_gets();
                    }
                }
            }
            Some(Request::RawGet(request)) => {
                let call = self
                    .service
                    .begin(RAW_GET, &request, slot.arrived, self.peer.clone());
                let command = raw::get_command(request, call.tracker());
                if self.raw_gets.push(slot, call, command) {
                    self.start_raw_gets();
                }
            }
            Some(Request::Empty(request)) => self.answers.push(slot.answer_empty(&request)),
            Some(cmd) => match self.service.start_batched(slot, cmd, &self.peer) {
                Some(answer) => self.pending.push(answer),
                None => self.answers.push(slot.answer_unserved()),
            },
            None => self.answers.push(slot.answer_unserved()),
        }
    }

    fn start_gets(&mut self) {
        if !self.gets.is_empty() {
            let clock = &self.service.clock;
            let (commands, consumer) =
                self.gets
                    .take(&self.answers, clock, txn::get_response, Response::Get);
            self.service.storage.get_run(commands, consumer);
        }
    }

    fn start_raw_gets(&mut self) {
        if !self.raw_gets.is_empty() {
            let clock = &self.service.clock;
            let (commands, consumer) =
                self.raw_gets
                    .take(&self.answers, clock, raw::get_response, Response::RawGet);
            self.service.storage.raw_get_run(commands, consumer);
        }
    }
}

fn backlog(mut message: BatchCommandsRequest) -> Backlog {
    let ids = message.take_request_ids();
    let requests = message.take_requests().into_vec();
    requests.into_iter().zip(ids).peekable()
}

fn invalid(reason: String) -> RpcStatus {
    RpcStatus::with_message(RpcStatusCode::INVALID_ARGUMENT, reason)
}

#[cfg(test)]
mod tests;
