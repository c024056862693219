//! Who chooses the commit timestamp of a transaction, and what its prewrite has to do for that.
//!
//! With async commit and one-phase commit it is the server. The timestamp must be above every read so far, so it is
//! taken from `max_ts` at the moment when the lock is published in memory. When that is later than the client allows,
//! or when an earlier copy of the request has left an ordinary lock, the request falls back to two phases; keys that
//! are done already keep what they have, which is more than two phases need.
//! Must never: choose a timestamp before the lock can be seen by readers.

use concurrency_manager::{ConcurrencyManager, LockGuard, MemoryLock};
use mvcc::MvccTxn;
use txn_types::{Key, Lock, SharedLocks, TimeStamp, Write, WriteType};

/// How a transaction commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitKind {
    /// The client chooses the timestamp and sends it to every key.
    TwoPhase,
    /// It is committed once all its locks are written; the largest `min_commit_ts` is the timestamp.
    Async,
    /// All its keys are in this request, and it is committed by it.
    OnePhase,
}

/// A lock that is kept back because its transaction may commit at once.
#[derive(Debug)]
struct Deferred {
    key: Key,
    lock: Lock,
    /// It takes the place of a pessimistic lock.
    was_held: bool,
    /// The shared locks of the key, this one among them if it was held.
    container: Option<SharedLocks>,
}

/// How the transaction of a prewrite commits, and what follows of it for its locks.
#[derive(Debug)]
pub struct CommitMode<'a> {
    kind: CommitKind,
    concurrency_manager: &'a ConcurrencyManager,
    /// Raw keys of the other locks, for the primary.
    secondaries: Vec<Vec<u8>>,
    /// The latest commit that the client allows; zero for any.
    max_commit_ts: TimeStamp,
    final_min_commit_ts: TimeStamp,
    guards: Vec<LockGuard>,
    deferred: Vec<Deferred>,
    /// The lock of the primary of an async commit.
    primary: Option<(Key, Lock)>,
}

impl<'a> CommitMode<'a> {
    /// A commit of `kind`. `secondaries` goes with the primary of an async commit.
    pub fn new(
        kind: CommitKind,
        concurrency_manager: &'a ConcurrencyManager,
        max_commit_ts: TimeStamp,
        secondaries: Vec<Vec<u8>>,
    ) -> Self {
        Self {
            kind,
            concurrency_manager,
            secondaries,
            max_commit_ts,
            final_min_commit_ts: TimeStamp::zero(),
            guards: Vec::new(),
            deferred: Vec::new(),
            primary: None,
        }
    }

    /// How it commits, as far as is known.
    pub fn kind(&self) -> CommitKind {
        self.kind
    }

    /// Chooses the least commit timestamp of `lock` and shows the lock to readers. Zero when the client chooses.
    pub(super) fn publish(&mut self, key: &Key, lock: &mut Lock) -> TimeStamp {
        if self.kind == CommitKind::TwoPhase {
            return TimeStamp::zero();
        }
        let is_async = self.kind == CommitKind::Async;
        let latest = self.max_commit_ts;
        let guard = self.concurrency_manager.publish(key, |max_ts| {
            let above = max_ts.max(lock.ts).max(lock.for_update_ts).next();
            let ts = above.max(lock.min_commit_ts);
            if ts.is_max() || (!latest.is_zero() && ts > latest) {
                return None;
            }
            lock.min_commit_ts = ts;
            lock.use_async_commit = is_async;
            Some(MemoryLock::of(lock, !is_async))
        });
        match guard {
            Some(guard) => {
                self.guards.push(guard);
                if is_async && key.is_encoded_from(&lock.primary) {
                    lock.secondaries = std::mem::take(&mut self.secondaries);
                }
                lock.min_commit_ts
            }
            None => TimeStamp::zero(),
        }
    }

    /// Writes `lock`, or keeps it back.
    pub(super) fn lock(
        &mut self,
        txn: &mut MvccTxn,
        key: Key,
        lock: Lock,
        was_held: bool,
        container: Option<SharedLocks>,
    ) {
        if self.kind == CommitKind::OnePhase {
            self.deferred.push(Deferred {
                key,
                lock,
                was_held,
                container,
            });
            return;
        }
        if lock.use_async_commit && container.is_none() && key.is_encoded_from(&lock.primary) {
            self.primary = Some((key.clone(), lock.clone()));
        }
        put(txn, key, lock, container);
    }

    /// Takes note of what a key allows. One without a timestamp of the server's makes the whole request fall back.
    pub fn allow(&mut self, txn: &mut MvccTxn, min_commit_ts: TimeStamp) {
        if self.kind == CommitKind::TwoPhase {
            return;
        }
        if min_commit_ts.is_zero() {
            self.fall_back(txn);
        } else {
            self.final_min_commit_ts = self.final_min_commit_ts.max(min_commit_ts);
        }
    }

    fn fall_back(&mut self, txn: &mut MvccTxn) {
        self.kind = CommitKind::TwoPhase;
        self.final_min_commit_ts = TimeStamp::zero();
        self.secondaries = Vec::new();
        self.guards.clear();
        self.primary = None;
        for kept in self.deferred.drain(..) {
            put(txn, kept.key, kept.lock, kept.container);
        }
    }

    /// Completes the changes of the request: returns the least timestamp of an async commit, or the timestamp of a
    /// one-phase commit, or zero, and the locks that readers must see until the changes are applied.
    pub fn finish(mut self, txn: &mut MvccTxn) -> (TimeStamp, Vec<LockGuard>) {
        let ts = self.final_min_commit_ts;
        match self.kind {
            CommitKind::TwoPhase => {}
            CommitKind::Async => self.raise_primary(txn),
            CommitKind::OnePhase => {
                for kept in self.deferred.drain(..) {
                    commit(txn, kept, ts);
                }
            }
        }
        (ts, self.guards)
    }

    /// Whoever resolves the transaction looks at its primary first, and must not see less than a secondary tells.
    fn raise_primary(&mut self, txn: &mut MvccTxn) {
        let ts = self.final_min_commit_ts;
        let Some((key, mut lock)) = self.primary.take() else {
            return;
        };
        if lock.min_commit_ts >= ts {
            return;
        }
        lock.min_commit_ts = ts;
        for guard in self.guards.iter().filter(|guard| *guard.key() == key) {
            guard.raise_min_commit_ts(ts);
        }
        txn.put_lock(key, &lock);
    }
}

fn put(txn: &mut MvccTxn, key: Key, lock: Lock, container: Option<SharedLocks>) {
    let Some(mut locks) = container else {
        txn.put_lock(key, &lock);
        return;
    };
    let refused = locks.insert(lock).err();
    assert!(
        refused.is_none(),
        "a shared lock changes no data: {refused:?}"
    );
    txn.put_shared_locks(key, &locks, None);
}

/// Writes the record of a key at once, in place of its lock.
fn commit(txn: &mut MvccTxn, kept: Deferred, commit_ts: TimeStamp) {
    let Deferred {
        key,
        lock,
        was_held,
        container,
    } = kept;
    let write_type = WriteType::from_lock_type(lock.lock_type);
    let write_type = write_type.expect("a prewrite leaves no pessimistic lock");
    let mut write = Write::new(write_type, lock.ts, lock.short_value);
    write.last_change = lock.last_change;
    write.txn_source = lock.txn_source;
    txn.put_write(key.clone(), commit_ts, write.to_bytes());
    if !was_held {
        return;
    }
    match container {
        None => txn.unlock(key, lock.ts, Some(commit_ts)),
        Some(mut locks) => {
            locks.remove(lock.ts);
            txn.put_shared_locks(key, &locks, Some((lock.ts, Some(commit_ts))));
        }
    }
}
