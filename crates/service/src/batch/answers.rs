//! The answers of one stream that the client does not have yet.
//!
//! Whoever executed a sub-request puts its answer here, on whatever thread; the stream's task takes
//! all of them at once and gives their bytes back when gRPC has passed them on. In between they
//! count, and a pool task that makes answers waits when they are too many. Must never: block a
//! thread, or lose an answer.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use futures::task::AtomicWaker;
use kvproto::tikvpb::BatchCommandsResponse_Response_oneof_cmd as Response;
use parking_lot::Mutex;
use storage::Room;

use super::ANSWER_BYTES_MAX;
use super::dispatch::Kind;
use crate::call::Call;

/// The answer of a sub-request. `None` in both is the answer to a command that is not served.
pub(super) struct Answer {
    pub(super) id: u64,
    pub(super) kind: Kind,
    /// Bytes of the request, which the stream counts until it sees this.
    pub(super) request_bytes: usize,
    pub(super) response: Option<Response>,
    /// Bytes that it takes in a message.
    pub(super) bytes: usize,
    /// The request is in progress until this is dropped.
    pub(super) call: Option<Call>,
}

/// See the file's header.
#[derive(Default)]
pub(super) struct Answers {
    state: Mutex<State>,
    /// The stream's task.
    stream: AtomicWaker,
}

#[derive(Default)]
struct State {
    ready: Vec<Answer>,
    /// Of all answers that gRPC has not passed on, taken or not.
    bytes: usize,
    /// Pool tasks that wait for room.
    waiting: Vec<Waker>,
    /// Nobody wants answers any more.
    closed: bool,
}

impl Answers {
    /// Adds an answer; the stream hears of it with [`Answers::wake`].
    pub(super) fn push(&self, answer: Answer) {
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_add(answer.bytes);
        state.ready.push(answer);
    }

    /// Lets the stream's task look for answers.
    pub(super) fn wake(&self) {
        self.stream.wake();
    }

    /// Before looking, so that an answer that comes after the look finds the waker.
    pub(super) fn register(&self, waker: &Waker) {
        self.stream.register(waker);
    }

    /// Moves all answers to the end of `to`. Their bytes go on counting.
    pub(super) fn take(&self, to: &mut VecDeque<Answer>) {
        let mut state = self.state.lock();
        to.extend(state.ready.drain(..));
    }

    /// Bytes that count.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Ready when another answer may be made, or nobody wants one.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Room> {
        let mut state = self.state.lock();
        if state.closed {
            return Poll::Ready(Room::Gone);
        }
        if state.bytes < ANSWER_BYTES_MAX {
            return Poll::Ready(Room::Free);
        }
        state.waiting.push(cx.waker().clone());
        Poll::Pending
    }

    /// Gives back bytes of answers that gRPC has passed on.
    pub(super) fn release(&self, bytes: usize) {
        let waiting = {
            let mut state = self.state.lock();
            state.bytes = state.bytes.saturating_sub(bytes);
            if state.bytes >= ANSWER_BYTES_MAX {
                return;
            }
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// From now on nobody wants answers.
    pub(super) fn close(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker;

    use super::*;

    fn answer(bytes: usize) -> Answer {
        Answer {
            id: 1,
            kind: Kind::Ordinary,
            request_bytes: 0,
            response: None,
            bytes,
            call: None,
        }
    }

    #[test]
    fn there_is_room_until_the_bytes_are_too_many_and_again_when_they_left() {
        let answers = Answers::default();
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert_eq!(answers.poll_room(&mut cx), Poll::Ready(Room::Free));
        answers.push(answer(ANSWER_BYTES_MAX));
        assert!(answers.poll_room(&mut cx).is_pending());
        let mut taken = VecDeque::new();
        answers.take(&mut taken);
        assert_eq!(taken.len(), 1);
        assert!(answers.poll_room(&mut cx).is_pending(), "taken is not sent");
        answers.release(1);
        assert_eq!(answers.poll_room(&mut cx), Poll::Ready(Room::Free));
        assert_eq!(answers.bytes(), ANSWER_BYTES_MAX - 1);
    }

    #[test]
    fn nobody_waits_when_nobody_wants_answers() {
        let answers = Answers::default();
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        answers.push(answer(ANSWER_BYTES_MAX));
        assert!(answers.poll_room(&mut cx).is_pending());
        answers.close();
        assert_eq!(answers.poll_room(&mut cx), Poll::Ready(Room::Gone));
    }
}
