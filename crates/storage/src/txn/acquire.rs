//! The way of a lock request through the scheduler: look, lock or wait, and go on when the lock is free.
//!
//! 1. A request is admitted and latched like any command, and looks at its keys on a snapshot.
//! 2. If another transaction holds a key, the request is put in the queue of that key *while it holds the latch*, and
//!    then gives up latches, admission and task. Whoever releases the lock needs that latch, so comes after.
//! 3. A command that has released locks, by a write that is applied, tells the queues while it still holds its
//!    latches. A request that tries again is answered at once. One that is resumed gets the latch of its key from the
//!    releasing command, so nobody who waits for the latch comes between, and it sees the state after that write. A
//!    write that fails releases nothing: those who wait stay where they are.
//! 4. A resumed request that does not take the lock, because its client is gone or its key does not exist, would
//!    leave the others asleep. It passes the wake-up on, as if it had released the lock.
//! 5. A request leaves the queue once: by a release, by the timer, or because the detector found a deadlock. Whoever
//!    takes it out has its only answer in hand.
//! 6. A lock in memory is there when the table has it; a lock that is written when the write is applied, or, with
//!    pipelined answers, as far as its client is concerned when the write is under way. Then the latches are held on.
//!
//! Must never: hold a lock across an await, lose a wake-up, or answer twice.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::channel::oneshot;
use kv::in_memory_locks::PessimisticLock;
use kv::{Engine, Modify, Snapshot, SnapshotContext, Subscribed, WriteData, WriteEvent};
use lock_manager::{
    Deadlock, DeadlockListener, Effects, Holder, LockManager, ReleasedLock, Wait, Waiter,
    WakeUpMode,
};
use mvcc::{Statistics, WriteConflictReason};
use protobuf::Message as _;
use runtime::Instant;
use tracker::TrackerHandle;
use txn_types::{Key, LockValue, TimeStamp};

use super::actions::key_is_locked;
use super::command::WriteContext;
use super::commands::{
    ACQUIRE_KIND as KIND, AcquirePessimisticLock, Granted, LockDecision, PessimisticLocked,
};
use super::lock_waits::{LockAnswer, PARKED_BYTES, Parked, tag};
use super::scheduler::{LatchGuard, Scheduler, Shared, answer, task_options};
use crate::deadline::Deadline;
use crate::txn::actions::acquire_pessimistic_lock::KeyLocked;
use crate::{Error, Result};

/// A request under its latches.
struct Attempt {
    request: AcquirePessimisticLock,
    answer: LockAnswer,
    deadline: Deadline,
    /// Since when and until when it has been waiting, if it has.
    waiting: Option<(Instant, Instant)>,
    tracker: TrackerHandle,
}

/// What an attempt leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Its key is locked, by it or by another: there will be a release.
    Locked,
    /// Nobody holds the key, as far as it knows.
    Free,
}

/// Requests to be resumed under one latch, each with what was released.
type Resumed = VecDeque<(Waiter<Parked>, ReleasedLock)>;

impl<E: Engine, L: LockManager> Scheduler<E, L> {
    /// Runs a lock request.
    pub(crate) fn acquire(
        &self,
        request: AcquirePessimisticLock,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<PessimisticLocked>> + Send + 'static + use<E, L> {
        answer(self.start_acquire(request, tracker))
    }

    fn start_acquire(
        &self,
        request: AcquirePessimisticLock,
        tracker: TrackerHandle,
    ) -> Result<oneshot::Receiver<Result<PessimisticLocked>>> {
        request.validate(&self.shared.limits)?;
        let deadline = Deadline::of(&request.ctx, &self.shared.clock);
        let admission = self.admit_held(KIND, request.bytes(), &deadline)?;
        let keys = request.keys.iter().map(|locked| locked.key.as_encoded());
        let latches = self.shared.latches.set_for(keys);
        let options = task_options(&request.ctx, request.start_ts.into_inner());
        let (answer, answered) = oneshot::channel();
        let this = self.clone();
        let started = self.shared.clock.now();
        let work = async move {
            let latched = this.latch(KIND, latches, started, &deadline, &tracker);
            match latched.await {
                Ok(guard) => {
                    let attempt = Attempt {
                        request,
                        answer,
                        deadline,
                        waiting: None,
                        tracker,
                    };
                    drop(this.attempt(guard, attempt).await);
                }
                Err(error) => drop(answer.send(Err(error))),
            }
            this.observe(KIND, started);
            Ok(())
        };
        let task = admission.cover(KIND, work);
        let run = async move { drop(task.await) };
        let spawned = self.shared.pool.spawn(options, run);
        spawned.map_err(|_| Error::Closed)?;
        Ok(answered)
    }

    /// Looks at the keys under their latches, and locks them or waits.
    async fn attempt(&self, guard: LatchGuard, attempt: Attempt) -> (LatchGuard, Left) {
        let (decided, snapshot) = match self.look(&attempt).await {
            Ok(decided) => decided,
            Err(error) => {
                drop(attempt.answer.send(Err(error)));
                return (guard, Left::Free);
            }
        };
        let left = match decided {
            LockDecision::Granted(granted) => self.grant(attempt, granted, snapshot).await,
            LockDecision::Blocked(key, lock) => {
                self.block(attempt, &key, lock);
                Left::Locked
            }
            LockDecision::Shrink(key, locks) => {
                let bytes = locks.to_bytes();
                let modify = Modify::Put(engine_traits::Cf::Lock, key.clone(), bytes);
                let written = self.put(&attempt, vec![modify], snapshot.term()).await;
                let error = written.err().unwrap_or_else(|| {
                    let lock = LockValue::Shared(locks);
                    Error::from(key_is_locked(lock, &key))
                });
                drop(attempt.answer.send(Err(error)));
                Left::Locked
            }
        };
        (guard, left)
    }

    async fn look(&self, attempt: &Attempt) -> Result<(LockDecision, E::Snap)> {
        let shared = &self.shared;
        attempt.deadline.check(&shared.clock)?;
        let before_snapshot = shared.clock.now();
        let snapshot = shared
            .engine
            .async_snapshot(SnapshotContext::new(attempt.request.ctx.clone()))
            .await?;
        let before_process = shared.clock.now();
        let mut statistics = Statistics::default();
        let mut ctx = WriteContext {
            concurrency_manager: &shared.concurrency_manager,
            clock: &shared.clock,
            txn_status: &shared.txn_status,
            statistics: &mut statistics,
        };
        let decided = attempt.request.decide(snapshot.clone(), &mut ctx);
        let tracker = &attempt.tracker;
        crate::statistics::record(KIND, &statistics, tracker);
        let before_write = shared.clock.now();
        crate::statistics::record_stages(tracker, before_snapshot, before_process, before_write);
        Ok((decided?, snapshot))
    }

    /// Makes the locks of a request that can have them.
    async fn grant(&self, attempt: Attempt, granted: Granted, snapshot: E::Snap) -> Left {
        let Granted {
            locks,
            mut modifies,
            output,
        } = granted;
        if locks.is_empty() && modifies.is_empty() {
            // What it asked for it has already, or it is not to have it.
            let has_it = output.keys.iter().any(|told| !is_absent(told));
            drop(attempt.answer.send(Ok(output)));
            return if has_it { Left::Locked } else { Left::Free };
        }
        let holder = locks.first().map(|(_, lock)| lock.clone());
        if self.shared.waits.in_memory()
            && modifies.is_empty()
            && let Some(table) = snapshot.memory_locks()
            && table.insert(&in_memory(&locks))
        {
            self.tell_holders(&locks);
            drop(attempt.answer.send(Ok(output)));
            return Left::Locked;
        }
        let cf = engine_traits::Cf::Lock;
        let puts = locks
            .iter()
            .map(|(key, lock)| Modify::Put(cf, key.clone(), lock.to_bytes()));
        modifies.extend(puts);
        let shared = shared_locks(&modifies, holder.is_some());
        let outcome = self.put_answered(attempt, modifies, snapshot.term(), output);
        match outcome.await {
            Ok(()) => {
                self.tell_holders(&locks);
                for (key, lock) in shared {
                    self.tell_holder(&key, lock);
                }
                Left::Locked
            }
            Err(()) => Left::Free,
        }
    }

    /// Writes, and answers with `output` at the moment that the configuration says.
    async fn put_answered(
        &self,
        attempt: Attempt,
        modifies: Vec<Modify>,
        term: Option<std::num::NonZeroU64>,
        output: PessimisticLocked,
    ) -> std::result::Result<(), ()> {
        if !self.shared.waits.pipelined() {
            let written = self.put(&attempt, modifies, term).await;
            let done = written.as_ref().map(|_| ()).map_err(|_| ());
            drop(attempt.answer.send(written.map(|()| output)));
            return done;
        }
        let data = WriteData {
            modifies,
            term,
            deadline: attempt.deadline.at(),
            ..WriteData::default()
        };
        let subscribed = Subscribed {
            proposed: true,
            ..Subscribed::default()
        };
        let ctx = attempt.request.ctx.clone();
        let mut events = self.shared.engine.async_write(ctx, data, subscribed);
        let mut unanswered = Some((attempt.answer, output));
        while let Some(event) = events.next().await {
            let result = match event {
                WriteEvent::Proposed => Ok(()),
                WriteEvent::Committed => continue,
                WriteEvent::Finished(result) => {
                    let done = result.as_ref().map(|_| ()).map_err(|_| ());
                    if let Some((answer, output)) = unanswered.take() {
                        drop(answer.send(result.map(|()| output).map_err(Error::from)));
                    }
                    return done;
                }
            };
            if let Some((answer, output)) = unanswered.take() {
                drop(answer.send(result.map(|()| output)));
            }
        }
        Err(())
    }

    async fn put(
        &self,
        attempt: &Attempt,
        modifies: Vec<Modify>,
        term: Option<std::num::NonZeroU64>,
    ) -> Result<()> {
        let data = WriteData {
            modifies,
            term,
            deadline: attempt.deadline.at(),
            ..WriteData::default()
        };
        let ctx = attempt.request.ctx.clone();
        let (deadline, tracker) = (&attempt.deadline, &attempt.tracker);
        self.write(KIND, ctx, data, deadline, tracker).await
    }

    fn tell_holders(&self, locks: &[(Key, txn_types::Lock)]) {
        for (key, lock) in locks {
            self.tell_holder(key, LockValue::Exclusive(lock.clone()));
        }
    }

    /// Lets those who wait for `key` know who holds it now.
    fn tell_holder(&self, key: &Key, lock: LockValue) {
        let waits = &self.shared.waits;
        if waits.len() == 0 {
            return;
        }
        let now = self.shared.clock.now();
        let holder = || Holder::new(lock, key.to_raw().unwrap_or_default());
        let effects = waits.with(|queues| queues.acquired(now, key, holder));
        self.act_without_resumes(effects);
    }

    /// The request waits for `key`, or is told why it does not.
    fn block(&self, attempt: Attempt, key: &Key, lock: LockValue) {
        let waits = &self.shared.waits;
        let now = self.shared.clock.now();
        let until = attempt.waiting.or_else(|| {
            let timeout = waits.timeout(attempt.request.wait_timeout)?;
            let until = now + timeout;
            Some((now, attempt.deadline.at().map_or(until, |at| until.min(at))))
        });
        let Some((since, until)) = until.filter(|(_, until)| *until > now) else {
            drop(attempt.answer.send(Err(key_is_locked(lock, key).into())));
            return;
        };
        let holder = Holder::new(lock, key.to_raw().unwrap_or_default());
        let request = match attempt.request.mode {
            WakeUpMode::Retry => attempt.request.primary,
            WakeUpMode::Resume => attempt
                .request
                .to_wire()
                .write_to_bytes()
                .unwrap_or_default(),
        };
        let wait = Wait {
            start_ts: attempt.request.start_ts,
            mode: attempt.request.mode,
            shared: attempt.request.shared,
            first_lock: attempt.request.is_first_lock,
            since,
            until,
            tag: tag(attempt.request.ctx.get_resource_group_tag()),
            payload_bytes: PARKED_BYTES + request.len(),
            payload: Parked {
                answer: attempt.answer,
                request: request.into_boxed_slice(),
                deadline: attempt.deadline,
                tracker: attempt.tracker,
            },
        };
        match waits.with(|queues| queues.enqueue(now, key, holder, wait)) {
            Ok(effects) => {
                self.arm();
                self.act_without_resumes(effects);
            }
            Err(refused) => {
                let (holder, wait) = *refused;
                let error = mvcc::Error::KeyIsLocked(holder.info);
                drop(wait.payload.answer.send(Err(error.into())));
            }
        }
    }

    /// Wakes those who wait for the locks that a write has removed. The latches of the locks are held by `guard`,
    /// and go over to those who are resumed.
    pub(super) fn wake_waiters(&self, guard: &mut LatchGuard, released: &[ReleasedLock]) {
        if released.is_empty() || self.shared.waits.len() == 0 {
            return;
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
                drop(payload.answer.send(Err(error)));
                return (guard, Left::Free);
            }
        };
        let attempt = Attempt {
            request,
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
            retry_answer(waiter, &released);
        }
        for (waiter, mut info, changed) in timed_out {
            let since = changed.map_or(0, |changed| millis_since(changed, now));
            info.set_duration_to_last_update_ms(since);
            let error = mvcc::Error::KeyIsLocked(info);
            drop(waiter.wait.payload.answer.send(Err(error.into())));
        }
        if !forget.is_empty() {
            self.shared.lock_manager.forget(forget);
        }
        if !detect.is_empty() {
            self.shared.lock_manager.detect(detect);
        }
        resume.into()
    }

    fn act_without_resumes(&self, effects: Effects<Parked>) {
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
    fn arm(&self) {
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
                let resumed = this.act(effects);
                this.resume_later(resumed);
                this.arm();
            }
        };
        drop(self.shared.waits.spawner.spawn(work));
    }
}

/// The one who wrote nothing and was told that there is nothing to lock.
fn is_absent(told: &KeyLocked) -> bool {
    matches!(told, KeyLocked::Value(None))
}

fn in_memory(locks: &[(Key, txn_types::Lock)]) -> Vec<(Key, PessimisticLock)> {
    locks
        .iter()
        .map(|(key, lock)| {
            let lock = PessimisticLock {
                primary: lock.primary.clone().into(),
                start_ts: lock.ts,
                ttl: lock.ttl,
                for_update_ts: lock.for_update_ts,
                min_commit_ts: lock.min_commit_ts,
                last_change: lock.last_change,
                is_locked_with_conflict: lock.is_locked_with_conflict,
            };
            (key.clone(), lock)
        })
        .collect()
}

/// The shared locks among the changes, for those who wait for them; none when the request was for exclusive ones.
fn shared_locks(modifies: &[Modify], exclusive: bool) -> Vec<(Key, LockValue)> {
    if exclusive {
        return Vec::new();
    }
    let parsed = modifies.iter().filter_map(|modify| match modify {
        Modify::Put(_, key, bytes) => Some((key.clone(), LockValue::parse(bytes).ok()?)),
        Modify::Delete(..) | Modify::DeleteRange(..) => None,
    });
    parsed.collect()
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
    drop(payload.answer.send(Err(error.into())));
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
        for waiter in waiters {
            let error = mvcc::Error::Deadlock {
                start_ts: found.wait.txn,
                lock_ts: found.wait.holder,
                lock_key: found.wait.key.to_vec(),
                deadlock_key_hash: found.deadlock_key_hash,
                wait_chain: wait_chain.clone(),
            };
            drop(waiter.wait.payload.answer.send(Err(error.into())));
        }
    }
}
