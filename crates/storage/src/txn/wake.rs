//! Wake-ups: who waits for a lock goes on when it is released, when time is over, or when there is a deadlock.
//!
//! The order of things is that of [`super::acquire`], where requests begin to wait.
//! Must never: hold a lock across an await, lose a wake-up, or answer twice.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use kv::Engine;
use lock_manager::{Deadlock, DeadlockListener, Effects, LockManager, ReleasedLock, Wait, Waiter};
use mvcc::WriteConflictReason;
use protobuf::Message as _;
use runtime::Instant;
use txn_types::{Key, TimeStamp};

use super::acquire::{Attempt, Left};
use super::commands::AcquirePessimisticLock;
use super::latch_guard::LatchGuard;
use super::lock_waits::Parked;
use super::scheduler::{Scheduler, Shared};
use crate::{Error, metrics};

/// Requests to be resumed under one latch, each with what was released.
type Resumed = VecDeque<(Waiter<Parked>, ReleasedLock)>;

impl<E: Engine, L: LockManager> Scheduler<E, L> {
    /// Wakes those who wait for the locks that a write has removed. The latches of the locks are held by `guard`,
    /// and go over to those who are resumed. Says whether anybody may have been woken.
    pub(super) fn wake_waiters(&self, guard: &mut LatchGuard, released: &[ReleasedLock]) -> bool {
        if released.is_empty() || self.shared.waits.is_quiet() {
            return false;
        }
        let mut groups: Vec<(LatchGuard, Resumed)> = Vec::new();
        for lock in released {
            let resumed = self.release(lock);
            if resumed.is_empty() {
                continue;
            }
            let key = lock.key.as_encoded();
            match guard.split_off(key, self.next_id()) {
                Some(part) => groups.push((part, resumed)),
                // Its latch went with that of another key of the same slot.
                None => match groups.iter_mut().find(|(part, _)| part.covers(key)) {
                    Some((_, group)) => group.extend(resumed),
                    None => self.resume_later(resumed),
                },
            }
        }
        for (part, resumed) in groups {
            let this = self.clone();
            self.spawn_resumes(async move { this.resume(part, resumed).await });
        }
        self.arm();
        true
    }

    /// Tells the queues of a release, and acts; those who are to be resumed are given back.
    fn release(&self, lock: &ReleasedLock) -> Resumed {
        let now = self.shared.clock.now();
        let effects = self.shared.waits.with(|queues| queues.release(now, lock));
        self.act(effects)
    }

    /// Resumes requests one after the other under the latch of their keys.
    async fn resume(&self, mut guard: LatchGuard, mut resumed: Resumed) {
        while let Some((waiter, released)) = resumed.pop_front() {
            let left;
            (guard, left) = self.resume_one(guard, waiter).await;
            let next_has_key = resumed.iter().any(|(_, next)| next.key == released.key);
            if left == Left::Free && !next_has_key {
                resumed.extend(self.release(&released));
                self.arm();
            }
        }
        drop(guard);
    }

    async fn resume_one(&self, guard: LatchGuard, waiter: Waiter<Parked>) -> (LatchGuard, Left) {
        let Wait {
            since,
            until,
            payload,
            ..
        } = waiter.wait;
        if payload.answer.is_canceled() {
            return (guard, Left::Free);
        }
        let request = kvproto::kvrpcpb::PessimisticLockRequest::parse_from_bytes(&payload.request)
            .map_err(|error| Error::InvalidRequest(error.to_string()))
            .and_then(AcquirePessimisticLock::try_from);
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                payload.answer.send(Err(error));
                return (guard, Left::Free);
            }
        };
        let attempt = Attempt {
            request: Box::new(request),
            answer: payload.answer,
            deadline: payload.deadline,
            waiting: Some((since, until)),
            tracker: payload.tracker,
        };
        self.attempt(guard, attempt).await
    }

    /// Resumes requests whose latch nobody has to give: they queue for it like others.
    fn resume_later(&self, resumed: Resumed) {
        for next in resumed {
            let this = self.clone();
            let latches = self.shared.latches.set_for([next.0.key.as_encoded()]);
            let id = self.next_id();
            self.spawn_resumes(async move {
                let guard = LatchGuard::acquire(&this.shared.latches, latches, id).await;
                this.resume(guard, VecDeque::from([next])).await;
            });
        }
    }

    /// A pool that is closed drops the requests, and with them their answers: their clients hear that the store
    /// stops.
    fn spawn_resumes(&self, work: impl Future<Output = ()> + Send + 'static) {
        let _ = self.shared.pool.spawn(yatp::TaskOptions::default(), work);
    }

    /// Answers, and reports to the detector. Gives back who is to be resumed.
    fn act(&self, effects: Effects<Parked>) -> Resumed {
        let Effects {
            retry,
            resume,
            timed_out,
            forget,
            detect,
        } = effects;
        let now = self.shared.clock.now();
        for (waiter, released) in retry {
            ended("retry", &waiter, now);
            retry_answer(waiter, &released);
        }
        for (waiter, _) in &resume {
            ended("resume", waiter, now);
        }
        for (waiter, mut info, changed) in timed_out {
            ended("timeout", &waiter, now);
            let since = changed.map_or(0, |changed| millis_since(changed, now));
            info.set_duration_to_last_update_ms(since);
            let error = mvcc::Error::KeyIsLocked(info);
            waiter.wait.payload.answer.send(Err(error.into()));
        }
        if !forget.is_empty() {
            self.shared.lock_manager.forget(forget);
        }
        if !detect.is_empty() {
            self.shared.lock_manager.detect(detect);
        }
        resume.into()
    }

    /// Where nobody holds the latches of those who are to be resumed.
    pub(super) fn act_and_resume(&self, effects: Effects<Parked>) {
        let resumed = self.act(effects);
        self.resume_later(resumed);
        self.arm();
    }

    pub(super) fn act_without_resumes(&self, effects: Effects<Parked>) {
        let resumed = self.act(effects);
        assert!(
            resumed.is_empty(),
            "only a release and time resume a request"
        );
    }

    /// Who waits for whom, by key and age; no more than `max_bytes`.
    pub(crate) fn lock_wait_info(&self, max_bytes: usize) -> Vec<kvproto::deadlock::WaitForEntry> {
        let now = self.shared.clock.now();
        let waits = self.shared.waits.with(|queues| queues.waits(max_bytes));
        let entry = |(wait, since)| {
            let mut entry = lock_manager::wire_entry(&wait);
            entry.set_wait_time(millis_since(since, now));
            entry
        };
        waits.into_iter().map(entry).collect()
    }

    /// Sees to it that somebody looks at the queues when the next time is over.
    pub(super) fn arm(&self) {
        let Some(at) = self.shared.waits.arm() else {
            return;
        };
        let sleep = self.shared.waits.timer.sleep_until(at);
        let shared = Arc::downgrade(&self.shared);
        let work = async move {
            sleep.await;
            if let Some(shared) = shared.upgrade() {
                let this = Scheduler { shared };
                let now = this.shared.clock.now();
                let effects = this.shared.waits.fire(at, now);
                this.act_and_resume(effects);
            }
        };
        drop(self.shared.waits.spawner.spawn(work));
    }
}

/// The client is to start over: somebody else may have changed the key.
fn retry_answer(waiter: Waiter<Parked>, released: &ReleasedLock) {
    let payload = waiter.wait.payload;
    let error = mvcc::Error::WriteConflict {
        start_ts: waiter.wait.start_ts,
        conflict_start_ts: released.start_ts,
        conflict_commit_ts: released.commit_ts.unwrap_or(TimeStamp::zero()),
        key: waiter.key.to_raw().unwrap_or_default(),
        primary: payload.request.into_vec(),
        reason: WriteConflictReason::PessimisticRetry,
    };
    payload.answer.send(Err(error.into()));
}

/// Notes that a wait has ended.
fn ended(reason: &str, waiter: &Waiter<Parked>, now: Instant) {
    let waited = now.saturating_duration_since(waiter.wait.since);
    metrics::LOCK_WAIT_DURATION.observe(waited.as_secs_f64());
    metrics::LOCK_WAIT_ENDS_TOTAL
        .with_label_values(&[reason])
        .inc();
}

/// At least one: zero says that nothing happened.
fn millis_since(before: Instant, now: Instant) -> u64 {
    let millis = now.saturating_duration_since(before).as_millis();
    u64::try_from(millis).unwrap_or(u64::MAX).max(1)
}

impl<E: Engine, L: LockManager> DeadlockListener for Shared<E, L> {
    fn on_deadlock(&self, found: Deadlock) {
        let key = Key::from_raw(&found.wait.key);
        let (waiters, forget) = self.waits.with(|queues| queues.take(&key, found.wait.txn));
        self.lock_manager.forget(forget);
        let mut wait_chain: Vec<_> = found
            .wait_chain
            .iter()
            .map(lock_manager::wire_entry)
            .collect();
        // The detector tells the way back to the one who asked; the step that closes the circle is the asker's.
        wait_chain.push(lock_manager::wire_entry(&found.wait));
        let now = self.clock.now();
        for waiter in waiters {
            ended("deadlock", &waiter, now);
            let error = mvcc::Error::Deadlock {
                start_ts: found.wait.txn,
                lock_ts: found.wait.holder,
                lock_key: found.wait.key.to_vec(),
                deadlock_key_hash: found.deadlock_key_hash,
                wait_chain: wait_chain.clone(),
            };
            waiter.wait.payload.answer.send(Err(error.into()));
        }
    }
}
