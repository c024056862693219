//! Single-key reads of one message, executed in runs.
//!
//! A read of a cached key takes about as long as handing a task to another thread, so the gets of a
//! message go to the read pool many at a time, and share a snapshot there. The pool's thread also
//! makes the responses, and puts each into the stream's answers as soon as it is there. It wakes the
//! stream at the end of the run, or earlier when the run takes long: a stream that is woken for each
//! answer would send each in a message of its own.

use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use kvproto::tikvpb::BatchCommandsResponse_Response_oneof_cmd as Response;
use protobuf::Message;
use runtime::{Clock, Instant};
use storage::{Room, RunConsumer};

use super::answers::Answers;
use super::dispatch::Slot;
use crate::call::Call;
use crate::message;

/// Most gets of one run: enough to make the hand-over cheap, few enough for the runs of a full
/// message to use several threads.
pub(super) const RUN_MAX: usize = 32;

/// How long an answer may wait for the end of its run.
const WAKE_AFTER: Duration = Duration::from_micros(500);

/// The gets of one kind that were gathered and not handed over yet.
pub(super) struct Run<C> {
    commands: Vec<C>,
    items: Vec<(Slot, Call)>,
}

impl<C> Default for Run<C> {
    fn default() -> Self {
        Run {
            commands: Vec::new(),
            items: Vec::new(),
        }
    }
}

impl<C> Run<C> {
    /// Adds a get. Returns whether the run is full.
    pub(super) fn push(&mut self, slot: Slot, call: Call, command: C) -> bool {
        self.commands.push(command);
        self.items.push((slot, call));
        self.commands.len() >= RUN_MAX
    }

    /// Whether there is nothing to hand over.
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The commands, and who takes their results. The run is empty afterwards.
    pub(super) fn take<T: 'static, Resp: message::Response + Message>(
        &mut self,
        answers: &Arc<Answers>,
        clock: &Clock,
        respond: fn(u64, storage::Result<T>) -> Resp,
        case: fn(Resp) -> Response,
    ) -> (Vec<C>, impl RunConsumer<T> + use<C, T, Resp>) {
        let consumer = Consumer {
            items: std::mem::take(&mut self.items).into_iter(),
            answers: answers.clone(),
            clock: clock.clone(),
            woken: clock.now(),
            respond,
            case,
            result: PhantomData,
        };
        (std::mem::take(&mut self.commands), consumer)
    }
}

/// Makes answers of the results of a run.
struct Consumer<T, Resp: message::Response + Message> {
    items: std::vec::IntoIter<(Slot, Call)>,
    answers: Arc<Answers>,
    clock: Clock,
    /// When the stream was last told to look.
    woken: Instant,
    respond: fn(u64, storage::Result<T>) -> Resp,
    case: fn(Resp) -> Response,
    result: PhantomData<fn(T)>,
}

impl<T, Resp: message::Response + Message> Consumer<T, Resp> {
    fn answer(&mut self, result: storage::Result<T>) {
        let Some((slot, call)) = self.items.next() else {
            return;
        };
        let response = (self.respond)(call.region_id(), result);
        self.answers.push(slot.answer(call, response, self.case));
    }
}

impl<T, Resp> RunConsumer<T> for Consumer<T, Resp>
where
    T: 'static,
    Resp: message::Response + Message,
{
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Room> {
        let room = self.answers.poll_room(cx);
        if room.is_pending() {
            // What is there must leave for room to come.
            self.answers.wake();
        }
        room
    }

    fn consume(&mut self, result: storage::Result<T>) {
        self.answer(result);
        let now = self.clock.now();
        if now.saturating_duration_since(self.woken) >= WAKE_AFTER {
            self.woken = now;
            self.answers.wake();
        }
    }
}

/// Also when the pool stopped or the run panicked: each request gets its answer.
impl<T, Resp: message::Response + Message> Drop for Consumer<T, Resp> {
    fn drop(&mut self) {
        while self.items.len() > 0 {
            self.answer(Err(storage::Error::Closed));
        }
        self.answers.wake();
    }
}
