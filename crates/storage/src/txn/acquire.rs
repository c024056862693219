//! The way of a lock request through the scheduler: look, lock or wait, and go on when the lock is free.
//!
//! 1. A request is admitted and latched like any command, and looks at its keys on a snapshot: where its caller polls
//!    it if what it needs stands in memory, else in the pool.
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
//! 6. One that was woken to try again and was overtaken has a turn the next time: a request that finds the key free and
//!    is willing to wait queues behind it, as if the key were locked.
//! 7. A lock in memory is there when the table has it; a lock that is written when the write is applied, or, with
//!    pipelined answers, as far as its client is concerned when the write is under way. Then the latches are held on.
//!
//! Must never: hold a lock across an await, lose a wake-up, or answer twice.

use std::future::Future;

use futures::StreamExt as _;
use futures::future::{Either, select};
use kv::in_memory_locks::PessimisticLock;
use kv::{Engine, Modify, Snapshot, SnapshotContext, Subscribed, WriteData, WriteEvent};
use lock_manager::{Holder, LockManager, Wait, WakeUpMode};
use mvcc::Statistics;
use protobuf::Message as _;
use runtime::Instant;
use tracker::TrackerHandle;
use txn_types::{Key, LockValue, TimeStamp};

use super::actions::key_is_locked;
use super::carried::Place;
use super::command::WriteContext;
use super::commands::{
    ACQUIRE_KIND as KIND, AcquirePessimisticLock, Granted, LockDecision, PessimisticLocked,
};
use super::latch_guard::LatchGuard;
use super::lock_waits::{LockAnswer, PARKED_BYTES, Parked, tag};
use super::scheduler::{Scheduler, is_small, task_options};
use crate::deadline::Deadline;
use crate::txn::actions::acquire_pessimistic_lock::KeyLocked;
use crate::{Error, Result, metrics};

/// A request under its latches.
pub(super) struct Attempt {
    /// Boxed: it travels through all steps.
    pub(super) request: Box<AcquirePessimisticLock>,
    pub(super) answer: LockAnswer,
    pub(super) deadline: Deadline,
    /// Since when and until when it has been waiting, if it has.
    pub(super) waiting: Option<(Instant, Instant)>,
    pub(super) tracker: TrackerHandle,
}

/// What an attempt leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Its key is locked, by it or by another: there will be a release.
    Locked,
    /// Nobody holds the key, as far as it knows.
    Free,
}

impl<E: Engine, L: LockManager> Scheduler<E, L> {
    /// Runs a lock request.
    pub(crate) fn acquire(
        &self,
        request: AcquirePessimisticLock,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<PessimisticLocked>> + Send + 'static + use<E, L> {
        let (answer, answered) = LockAnswer::channel();
        let started = self.start_acquire(request, answer, tracker);
        async move {
            // The request first: where it is polled, it answers while it is. Once it waits for a lock it has ended.
            match select(started?, answered).await {
                Either::Left((Ok(()), answered)) => answered.await,
                Either::Left((Err(error), _)) => Err(error),
                Either::Right((answer, _)) => answer,
            }
        }
    }

    fn start_acquire(
        &self,
        request: AcquirePessimisticLock,
        answer: LockAnswer,
        tracker: TrackerHandle,
    ) -> Result<impl Future<Output = Result<()>> + Send + Unpin + 'static + use<E, L>> {
        request.validate(&self.shared.limits)?;
        let deadline = Deadline::of(&request.ctx, &self.shared.clock);
        let bytes = request.bytes();
        let admission = self.admit_held(KIND, bytes, &deadline)?;
        let options = task_options(&request.ctx, request.start_ts.into_inner());
        let this = self.clone();
        let started = self.shared.clock.now();
        let place = Place::new(is_small(request.keys.len(), bytes));
        let here = place.clone();
        let attempt = Attempt {
            request: Box::new(request),
            answer,
            deadline,
            waiting: None,
            tracker,
        };
        let work = async move {
            this.first_attempt(attempt, started, here).await;
            this.observe(KIND, started);
            Ok(())
        };
        self.start(admission.cover(KIND, work), options, place)
    }

    /// Latches, and what stands in memory; what takes more begins again in the pool.
    async fn first_attempt(&self, attempt: Attempt, started: Instant, place: Place) {
        loop {
            let keys = attempt.request.keys.iter();
            let keys = keys.map(|locked| locked.key.as_encoded());
            let latches = self.shared.latches.set_for(keys);
            let guard = match self.latch(latches, &attempt.deadline).await {
                Ok(guard) => guard,
                Err(error) => return attempt.answer.send(Err(error)),
            };
            let looked = match place.is_pool() {
                true => Some(self.look(&attempt).await),
                false => self.look_at_once(&attempt),
            };
            if let Some(looked) = looked {
                self.latched(KIND, started, &attempt.tracker);
                return drop(self.settle(guard, attempt, looked).await);
            }
            drop(guard);
            place.enter_pool().await;
        }
    }

    /// Looks at the keys under their latches, and locks them or waits.
    pub(super) async fn attempt(&self, guard: LatchGuard, attempt: Attempt) -> (LatchGuard, Left) {
        let looked = self.look(&attempt).await;
        self.settle(guard, attempt, looked).await
    }

    /// Does what was decided.
    async fn settle(
        &self,
        guard: LatchGuard,
        attempt: Attempt,
        looked: Result<(LockDecision, E::Snap)>,
    ) -> (LatchGuard, Left) {
        let (decided, snapshot) = match looked {
            Ok(decided) => decided,
            Err(error) => {
                attempt.answer.send(Err(error));
                return (guard, Left::Free);
            }
        };
        let left = match decided {
            LockDecision::Granted(granted) => match self.queue_behind(attempt, &granted) {
                Some(attempt) => self.grant(attempt, granted, snapshot).await,
                // Whoever has the turn takes the key, or passes it on.
                None => Left::Locked,
            },
            LockDecision::Blocked(key, lock) => {
                self.give_up_turns(&attempt, &key);
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
                attempt.answer.send(Err(error));
                Left::Locked
            }
        };
        (guard, left)
    }

    async fn look(&self, attempt: &Attempt) -> Result<(LockDecision, E::Snap)> {
        let shared = &self.shared;
        attempt.deadline.check(&shared.clock)?;
        let begun = shared.clock.now();
        let snapshot = shared
            .engine
            .async_snapshot(SnapshotContext::new(attempt.request.ctx.clone()))
            .await?;
        self.decide_lock(attempt, snapshot, begun)
    }

    /// The decision, if it takes neither time nor a file.
    fn look_at_once(&self, attempt: &Attempt) -> Option<Result<(LockDecision, E::Snap)>> {
        let engine = &self.shared.engine;
        let begun = self.shared.clock.now();
        let looked = engine
            .memory_snapshot(&attempt.request.ctx, TimeStamp::zero(), None)?
            .map_err(Error::from)
            .and_then(|snapshot| self.decide_lock(attempt, snapshot, begun));
        let in_vain = |error: &Error| error.is_not_in_memory();
        (!looked.as_ref().is_err_and(in_vain)).then_some(looked)
    }

    fn decide_lock(
        &self,
        attempt: &Attempt,
        snapshot: E::Snap,
        before_snapshot: Instant,
    ) -> Result<(LockDecision, E::Snap)> {
        let shared = &self.shared;
        let before_process = shared.clock.now();
        let mut statistics = Statistics::default();
        let mut ctx = WriteContext {
            concurrency_manager: &shared.concurrency_manager,
            clock: &shared.clock,
            txn_status: &shared.txn_status,
            statistics: &mut statistics,
        };
        let decided = attempt.request.decide(snapshot.clone(), &mut ctx);
        if !decided.as_ref().is_err_and(Error::is_not_in_memory) {
            let tracker = &attempt.tracker;
            crate::statistics::record(KIND, &statistics, tracker);
            let before_write = shared.clock.now();
            crate::statistics::record_stages(
                tracker,
                before_snapshot,
                before_process,
                before_write,
            );
        }
        let decided = decided?;
        if let LockDecision::Granted(Granted {
            locks, modifies, ..
        }) = &decided
            && !(locks.is_empty() && modifies.is_empty())
        {
            let safe_point = shared.concurrency_manager.safe_point();
            safe_point.check(attempt.request.start_ts)?;
        }
        Ok((decided, snapshot))
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
            attempt.answer.send(Ok(output));
            return if has_it { Left::Locked } else { Left::Free };
        }
        let holder = locks.first().map(|(_, lock)| lock.clone());
        if self.shared.waits.in_memory()
            && modifies.is_empty()
            && let Some(table) = snapshot.memory_locks()
        {
            let inserted = table.insert(&in_memory(&locks));
            let result = if inserted { "success" } else { "full" };
            metrics::IN_MEMORY_LOCKS_TOTAL
                .with_label_values(&[result])
                .inc();
            if inserted {
                self.tell_holders(&locks);
                attempt.answer.send(Ok(output));
                return Left::Locked;
            }
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
            attempt.answer.send(written.map(|()| output));
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
                        answer.send(result.map(|()| output).map_err(Error::from));
                    }
                    return done;
                }
            };
            if let Some((answer, output)) = unanswered.take() {
                answer.send(result.map(|()| output));
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
        let how = (&attempt.deadline, &attempt.tracker);
        self.write(KIND, ctx, data, how, None::<fn()>).await
    }

    fn tell_holders(&self, locks: &[(Key, txn_types::Lock)]) {
        for (key, lock) in locks {
            self.tell_holder(key, LockValue::Exclusive(lock.clone()));
        }
    }

    /// Lets those who wait for `key` know who holds it now.
    fn tell_holder(&self, key: &Key, lock: LockValue) {
        let waits = &self.shared.waits;
        if waits.is_quiet() {
            return;
        }
        let now = self.shared.clock.now();
        let holder = || Holder::new(&lock);
        let effects = waits.with(|queues| queues.acquired(now, key, holder));
        self.act_without_resumes(effects);
    }

    /// Puts a request that could have its locks in the queue of a key where others have the turn. Given back when there
    /// is no such key, or it is not willing to wait.
    fn queue_behind(&self, attempt: Attempt, granted: &Granted) -> Option<Attempt> {
        let waits = &self.shared.waits;
        let locks_nothing = granted.locks.is_empty() && granted.modifies.is_empty();
        if waits.is_quiet() || locks_nothing {
            return Some(attempt);
        }
        let now = self.shared.clock.now();
        let Some(times) = self.waits_until(&attempt, now) else {
            return Some(attempt);
        };
        let start_ts = attempt.request.start_ts;
        let mut unparked = Some(attempt);
        // Under one lock of the queues: a turn that ended in between would wake nobody.
        let behind = waits.with(|queues| {
            let mut keys = unparked.as_ref()?.request.keys.iter();
            let taken = keys.find(|locked| queues.is_turn_of_others(&locked.key, start_ts))?;
            let key = taken.key.clone();
            Some(queues.enqueue_behind(&key, wait_of(unparked.take()?, times)))
        });
        if let Some(effects) = behind {
            self.arm();
            self.act_without_resumes(effects);
        }
        unparked
    }

    /// Since when and until when a request waits that has to; `None` when it does not.
    fn waits_until(&self, attempt: &Attempt, now: Instant) -> Option<(Instant, Instant)> {
        let times = attempt.waiting.or_else(|| {
            let timeout = self.shared.waits.timeout(attempt.request.wait_timeout)?;
            let until = now + timeout;
            Some((now, attempt.deadline.at().map_or(until, |at| until.min(at))))
        });
        times.filter(|(_, until)| *until > now)
    }

    /// A request that waits for `key` is not going to take the others that it asked for now.
    fn give_up_turns(&self, attempt: &Attempt, key: &Key) {
        let waits = &self.shared.waits;
        let request = &attempt.request;
        if waits.is_quiet() || request.keys.len() == 1 {
            return;
        }
        let now = self.shared.clock.now();
        for other in request.keys.iter().map(|locked| &locked.key) {
            if other != key {
                let effects =
                    waits.with(|queues| queues.give_up_turn(now, other, request.start_ts));
                self.act_and_resume(effects);
            }
        }
    }

    /// The request waits for `key`, or is told why it does not.
    fn block(&self, attempt: Attempt, key: &Key, lock: LockValue) {
        let waits = &self.shared.waits;
        let now = self.shared.clock.now();
        let Some(times) = self.waits_until(&attempt, now) else {
            attempt.answer.send(Err(key_is_locked(lock, key).into()));
            return;
        };
        let holder = Holder::new(&lock);
        let wait = wait_of(attempt, times);
        match waits.with(|queues| queues.enqueue(now, key, holder, wait)) {
            Ok(effects) => {
                self.arm();
                self.act_without_resumes(effects);
            }
            Err(refused) => {
                let (_, wait) = *refused;
                metrics::LOCK_WAIT_ENDS_TOTAL
                    .with_label_values(&["no_room"])
                    .inc();
                let error = key_is_locked(lock, key);
                wait.payload.answer.send(Err(error.into()));
            }
        }
    }
}

/// A request as it waits.
fn wait_of(attempt: Attempt, (since, until): (Instant, Instant)) -> Wait<Parked> {
    let request = *attempt.request;
    let message = match request.mode {
        WakeUpMode::Retry => request.primary,
        WakeUpMode::Resume => request.to_wire().write_to_bytes().unwrap_or_default(),
    };
    Wait {
        start_ts: request.start_ts,
        mode: request.mode,
        shared: request.shared,
        first_lock: request.is_first_lock,
        overtaken: false,
        since,
        until,
        tag: tag(request.ctx.get_resource_group_tag()),
        payload_bytes: PARKED_BYTES + message.len(),
        payload: Parked {
            answer: attempt.answer,
            request: message.into_boxed_slice(),
            deadline: attempt.deadline,
            tracker: attempt.tracker,
        },
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
