//! What the store tells its clients about its own health: the message `HealthFeedback`.
//!
//! One board for the whole store: whoever answered a write reports how long it took, whoever
//! answers a client may add the feedback to what it sends. Each message has a larger number than the
//! one before, so that a client with several streams knows which is newer. Nothing here waits or
//! wakes: the score moves on when somebody asks.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kvproto::kvrpcpb::{self, GetHealthFeedbackRequest, GetHealthFeedbackResponse};
use parking_lot::Mutex;
use runtime::Clock;
use tracker::TrackerHandle;

use crate::slow_score::SlowScore;

/// The feedback of one store; clones share it.
#[derive(Clone)]
pub(crate) struct HealthFeedback {
    shared: Arc<Shared>,
}

struct Shared {
    store_id: u64,
    clock: Clock,
    /// The number of the last message; the first one is 1.
    sequence: AtomicU64,
    score: Mutex<SlowScore>,
}

impl HealthFeedback {
    /// The feedback of a store that is healthy so far.
    pub(crate) fn new(store_id: u64, clock: Clock) -> Self {
        let score = Mutex::new(SlowScore::new(clock.now()));
        HealthFeedback {
            shared: Arc::new(Shared {
                store_id,
                clock,
                sequence: AtomicU64::new(0),
                score,
            }),
        }
    }

    /// Counts a write whose synced part took `nanos`.
    pub(crate) fn observe_write(&self, nanos: u64) {
        let now = self.shared.clock.now();
        let took = Duration::from_nanos(nanos);
        self.shared.score.lock().observe(now, took);
    }

    /// The next message.
    pub(crate) fn message(&self) -> kvrpcpb::HealthFeedback {
        let mut message = kvrpcpb::HealthFeedback::default();
        let Shared {
            store_id,
            clock,
            sequence,
            score,
        } = &*self.shared;
        message.set_store_id(*store_id);
        // Under the lock, so that the larger number never comes with the older score.
        let mut score = score.lock();
        message.set_slow_score(score.value(clock.now()));
        message.set_feedback_seq_no(sequence.fetch_add(1, Ordering::Relaxed) + 1);
        message
    }
}

/// The feedback for whoever asks. It concerns the store, so no region is looked at.
pub(crate) fn future_get_health_feedback(
    feedback: &HealthFeedback,
    _request: GetHealthFeedbackRequest,
    _tracker: TrackerHandle,
) -> Ready<GetHealthFeedbackResponse> {
    let mut response = GetHealthFeedbackResponse::default();
    response.set_health_feedback(feedback.message());
    ready(response)
}

#[cfg(test)]
mod tests {
    use runtime::Stepper;

    use super::*;

    #[test]
    fn numbers_grow_and_the_score_follows_the_writes() {
        let stepper = Stepper::new(1);
        let feedback = HealthFeedback::new(4, stepper.runtime().clock.clone());
        let first = feedback.clone().message();
        assert_eq!(
            (
                first.get_store_id(),
                first.get_feedback_seq_no(),
                first.get_slow_score()
            ),
            (4, 1, 1)
        );
        feedback.observe_write(2_000_000_000);
        stepper.block_on(stepper.runtime().timer.sleep(Duration::from_secs(1)));
        let second = feedback.message();
        assert_eq!(
            (second.get_feedback_seq_no(), second.get_slow_score()),
            (2, 2)
        );
    }
}
