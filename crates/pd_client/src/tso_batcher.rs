//! Batching of timestamp requests, without IO.
//!
//! Callers queue; a batch takes what is queued and asks for the sum. Several batches are under
//! way at once, and their answers come in order: the first answer belongs to the first batch. The
//! answer names the highest timestamp of its batch, so the callers of the batch share the range
//! below it in the order in which they queued.
//!
//! When the stream breaks, batches under way go back to the front of the queue: whatever the
//! server reserved for them is simply never used.

use std::collections::VecDeque;

use futures::channel::oneshot;
use kvproto::pdpb;
use txn_types::TimeStamp;

use crate::{Error, Result};

/// Callers that may wait at once.
pub(crate) const WAITERS_MAX: usize = 1 << 16;
/// Timestamps of one batch. The server hands out at most 2^18 - 1 a millisecond.
pub(crate) const BATCH_TIMESTAMPS_MAX: u32 = 10_000;
/// Batches under way at once.
const BATCHES_MAX: usize = 8;
const METHOD: &str = "Tso";

/// One caller.
pub(crate) struct Waiter {
    /// How many timestamps it wants: at least 1, at most [`BATCH_TIMESTAMPS_MAX`].
    pub(crate) count: u32,
    /// Where they go.
    pub(crate) deliver: oneshot::Sender<Result<TimeStamp>>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct TsoBatcher {
    queued: VecDeque<Waiter>,
    under_way: VecDeque<Vec<Waiter>>,
    /// Batches answered so far.
    answered: u64,
    /// The highest timestamp ever received.
    last: u64,
}

impl TsoBatcher {
    /// Queues a caller, or gives it back when too many wait.
    pub(crate) fn push(&mut self, waiter: Waiter) -> std::result::Result<(), Waiter> {
        if self.queued.len() >= WAITERS_MAX {
            return Err(waiter);
        }
        self.queued.push_back(waiter);
        Ok(())
    }

    /// Puts the next batch under way and returns how many timestamps to ask for.
    pub(crate) fn next_batch(&mut self) -> Option<u32> {
        if self.under_way.len() >= BATCHES_MAX {
            return None;
        }
        let mut batch = Vec::new();
        let mut total = 0;
        while let Some(waiter) = self.queued.front() {
            if total + waiter.count > BATCH_TIMESTAMPS_MAX {
                break;
            }
            let Some(waiter) = self.queued.pop_front() else {
                break;
            };
            // A caller that gave up needs no timestamps.
            if !waiter.deliver.is_canceled() {
                total += waiter.count;
                batch.push(waiter);
            }
        }
        if batch.is_empty() {
            return None;
        }
        self.under_way.push_back(batch);
        Some(total)
    }

    /// The number of the batch whose answer is due next, if one is.
    pub(crate) fn oldest_batch(&self) -> Option<u64> {
        (!self.under_way.is_empty()).then_some(self.answered)
    }

    /// Whether anybody waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.queued.is_empty()
    }

    /// Hands an answer to its batch. After an error the stream cannot be trusted any more.
    pub(crate) fn on_response(&mut self, response: &pdpb::TsoResponse) -> Result<()> {
        let Some(batch) = self.under_way.pop_front() else {
            return Err(bad_response("nobody asked".to_owned()));
        };
        self.answered += 1;
        let range = self.check(&batch, response);
        let mut ts = match range {
            Ok(first) => first,
            Err(error) => {
                for waiter in batch {
                    let _ = waiter.deliver.send(Err(error.clone()));
                }
                return Err(error);
            }
        };
        for waiter in batch {
            ts += u64::from(waiter.count);
            // A caller that gave up leaves a gap, which is harmless.
            let _ = waiter.deliver.send(Ok(TimeStamp::from(ts - 1)));
        }
        self.last = ts - 1;
        Ok(())
    }

    /// The first timestamp of the range, when the answer fits the batch and time goes forward.
    fn check(&self, batch: &[Waiter], response: &pdpb::TsoResponse) -> Result<u64> {
        if response.get_header().has_error() {
            let error = response.get_header().get_error();
            return Err(Error::from_header(METHOD, error));
        }
        let asked: u32 = batch.iter().map(|waiter| waiter.count).sum();
        if response.get_count() != asked {
            let got = response.get_count();
            return Err(bad_response(format!("{asked} asked for, {got} given")));
        }
        let timestamp = response.get_timestamp();
        let physical = u64::try_from(timestamp.get_physical()).ok();
        let logical = u64::try_from(timestamp.get_logical()).ok();
        let (Some(physical), Some(logical)) = (physical, logical) else {
            return Err(bad_response(format!("negative timestamp {timestamp:?}")));
        };
        let fits = physical < 1 << 46 && logical < 1 << 18 && logical + 1 >= u64::from(asked);
        if !fits {
            return Err(bad_response(format!("impossible timestamp {timestamp:?}")));
        }
        let highest = TimeStamp::compose(physical, logical).into_inner();
        let first = highest - u64::from(asked) + 1;
        if first <= self.last {
            return Err(Error::TsoRegressed {
                last: self.last,
                got: first,
            });
        }
        Ok(first)
    }

    /// The stream broke: what was under way is asked for again, in the old order.
    pub(crate) fn on_stream_lost(&mut self) {
        while let Some(batch) = self.under_way.pop_back() {
            for waiter in batch.into_iter().rev() {
                if !waiter.deliver.is_canceled() {
                    self.queued.push_front(waiter);
                }
            }
        }
        self.queued.retain(|waiter| !waiter.deliver.is_canceled());
    }

    /// Answers everybody with an error.
    pub(crate) fn fail_all(&mut self, error: &Error) {
        self.on_stream_lost();
        for waiter in self.queued.drain(..) {
            let _ = waiter.deliver.send(Err(error.clone()));
        }
    }
}

fn bad_response(detail: String) -> Error {
    Error::BadResponse {
        method: METHOD,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<TimeStamp>>;

    fn ask(batcher: &mut TsoBatcher, count: u32) -> Answer {
        let (deliver, answer) = oneshot::channel();
        assert!(batcher.push(Waiter { count, deliver }).is_ok());
        answer
    }

    fn response(count: u32, physical: i64, logical: i64) -> pdpb::TsoResponse {
        let mut response = pdpb::TsoResponse::default();
        response.set_count(count);
        response.mut_timestamp().set_physical(physical);
        response.mut_timestamp().set_logical(logical);
        response
    }

    fn got(answer: &mut Answer) -> u64 {
        answer.try_recv().unwrap().unwrap().unwrap().into_inner()
    }

    #[test]
    fn a_batch_shares_its_range_in_order() {
        let mut batcher = TsoBatcher::default();
        let mut answers = [1, 3, 2].map(|count| ask(&mut batcher, count));
        assert_eq!(batcher.next_batch(), Some(6));
        assert_eq!(batcher.next_batch(), None);
        batcher.on_response(&response(6, 1, 10)).unwrap();
        let base = 1 << 18;
        let [first, second, third] = &mut answers;
        assert_eq!(
            [got(first), got(second), got(third)],
            [base + 5, base + 8, base + 10]
        );
        assert!(batcher.is_idle());
    }

    #[test]
    fn a_lost_stream_repeats_in_the_old_order_without_those_who_left() {
        let mut batcher = TsoBatcher::default();
        let mut first = ask(&mut batcher, 1);
        assert_eq!(batcher.next_batch(), Some(1));
        let second = ask(&mut batcher, 5);
        assert_eq!(batcher.next_batch(), Some(5));
        let mut third = ask(&mut batcher, 2);
        drop(second);
        batcher.on_stream_lost();
        assert_eq!(batcher.next_batch(), Some(3));
        batcher.on_response(&response(3, 5, 3)).unwrap();
        assert!(got(&mut first) < got(&mut third));
    }

    #[test]
    fn wrong_answers_reach_the_callers_as_errors() {
        for wrong in [
            response(2, 5, 9),
            response(1, -1, 9),
            response(1, 5, -9),
            response(1, 5, 1 << 18),
            response(1, 1 << 46, 1),
            response(1, 4, 0),
        ] {
            let mut batcher = TsoBatcher::default();
            let mut before = ask(&mut batcher, 1);
            batcher.next_batch();
            batcher.on_response(&response(1, 4, 1)).unwrap();
            got(&mut before);
            let mut answer = ask(&mut batcher, 1);
            batcher.next_batch();
            assert!(batcher.on_response(&wrong).is_err(), "{wrong:?}");
            assert!(answer.try_recv().unwrap().unwrap().is_err());
        }
        assert!(
            TsoBatcher::default()
                .on_response(&response(1, 4, 1))
                .is_err()
        );
    }

    #[test]
    fn the_queue_and_the_batches_are_bounded() {
        let mut batcher = TsoBatcher::default();
        let mut answers: Vec<Answer> = Vec::new();
        for _ in 0..WAITERS_MAX {
            answers.push(ask(&mut batcher, BATCH_TIMESTAMPS_MAX));
        }
        let (deliver, _answer) = oneshot::channel();
        assert!(batcher.push(Waiter { count: 1, deliver }).is_err());
        for _ in 0..BATCHES_MAX {
            assert_eq!(batcher.next_batch(), Some(BATCH_TIMESTAMPS_MAX));
        }
        assert_eq!(batcher.next_batch(), None);
        batcher.fail_all(&Error::Closed);
        assert!(batcher.is_idle());
        assert_eq!(answers[9].try_recv().unwrap().unwrap(), Err(Error::Closed));
    }
}
