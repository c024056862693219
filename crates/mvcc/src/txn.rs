//! The changes of one command, collected until they are written as one.
//!
//! Holds at most one change of the lock of a key: a later one replaces an earlier one, because a
//! written batch may name each lock once only.

use std::collections::HashMap;

use engine_traits::Cf;
use kv::Modify;
use lock_manager::ReleasedLock;
use txn_types::{Key, Lock, LockValue, SharedLocks, TimeStamp, Value};

use crate::{Error, Result};

/// What the collected changes do to the lock of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingLock {
    /// Nothing: the snapshot tells.
    Untouched,
    /// They remove it.
    Removed,
    /// They leave this.
    Present(LockValue),
}

/// The changes of one command of one transaction.
#[derive(Debug)]
pub struct MvccTxn {
    /// The transaction.
    pub start_ts: TimeStamp,
    modifies: Vec<Modify>,
    write_size: usize,
    released: Vec<ReleasedLock>,
    /// Where in `modifies` the change of a lock is.
    locks: HashMap<Key, usize>,
}

impl MvccTxn {
    /// No changes yet.
    #[must_use]
    pub fn new(start_ts: TimeStamp) -> Self {
        Self {
            start_ts,
            modifies: Vec::new(),
            write_size: 0,
            released: Vec::new(),
            locks: HashMap::new(),
        }
    }

    /// Bytes of the keys and values of the changes.
    #[must_use]
    pub fn write_size(&self) -> usize {
        self.write_size
    }

    /// The changes so far.
    #[must_use]
    pub fn modifies(&self) -> &[Modify] {
        &self.modifies
    }

    /// Whether there are no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.modifies.is_empty()
    }

    /// The changes.
    #[must_use]
    pub fn into_modifies(self) -> Vec<Modify> {
        self.modifies
    }

    /// The locks that the changes release.
    pub fn take_released(&mut self) -> Vec<ReleasedLock> {
        std::mem::take(&mut self.released)
    }

    fn push(&mut self, modify: Modify) {
        self.write_size += modify.size();
        self.modifies.push(modify);
    }

    fn change_lock(&mut self, key: Key, modify: Modify) {
        match self.locks.get(&key) {
            Some(at) => {
                let place = &mut self.modifies[*at];
                self.write_size = self.write_size - place.size() + modify.size();
                *place = modify;
            }
            None => {
                self.locks.insert(key, self.modifies.len());
                self.push(modify);
            }
        }
    }

    /// Writes a lock.
    pub fn put_lock(&mut self, key: Key, lock: &Lock) {
        self.change_lock(key.clone(), Modify::Put(Cf::Lock, key, lock.to_bytes()));
    }

    /// Writes a container of shared locks, or removes the key when nobody is left in it. The
    /// departure of a single member wakes nobody, that of the last one does: `left` is who went and
    /// where that transaction committed.
    pub fn put_shared_locks(
        &mut self,
        key: Key,
        locks: &SharedLocks,
        left: Option<(TimeStamp, Option<TimeStamp>)>,
    ) {
        if !locks.is_empty() {
            self.change_lock(key.clone(), Modify::Put(Cf::Lock, key, locks.to_bytes()));
            return;
        }
        match left {
            Some((start_ts, commit_ts)) => self.unlock(key, start_ts, commit_ts),
            None => self.change_lock(key.clone(), Modify::Delete(Cf::Lock, key)),
        }
    }

    /// Removes the lock that the transaction started at `start_ts` held; `commit_ts` is where it
    /// committed, if it did.
    pub fn unlock(&mut self, key: Key, start_ts: TimeStamp, commit_ts: Option<TimeStamp>) {
        self.released.push(ReleasedLock {
            key: key.clone(),
            start_ts,
            commit_ts,
        });
        self.change_lock(key.clone(), Modify::Delete(Cf::Lock, key));
    }

    /// Writes a value that is too long for the lock.
    pub fn put_value(&mut self, key: Key, start_ts: TimeStamp, value: Value) {
        self.push(Modify::Put(Cf::Default, key.append_ts(start_ts), value));
    }

    /// Removes a value that was too long for the lock.
    pub fn delete_value(&mut self, key: Key, start_ts: TimeStamp) {
        self.push(Modify::Delete(Cf::Default, key.append_ts(start_ts)));
    }

    /// Writes a commit or rollback record in its stored form.
    pub fn put_write(&mut self, key: Key, commit_ts: TimeStamp, record: Vec<u8>) {
        self.push(Modify::Put(Cf::Write, key.append_ts(commit_ts), record));
    }

    /// Removes a record.
    pub fn delete_write(&mut self, key: Key, commit_ts: TimeStamp) {
        self.push(Modify::Delete(Cf::Write, key.append_ts(commit_ts)));
    }

    /// What the changes so far do to the lock of `key`: a command that treats several locks of one
    /// key must see its own earlier changes.
    pub fn pending_lock(&self, key: &Key) -> Result<PendingLock> {
        let Some(at) = self.locks.get(key) else {
            return Ok(PendingLock::Untouched);
        };
        match &self.modifies[*at] {
            Modify::Put(_, _, bytes) => LockValue::parse(bytes)
                .map(PendingLock::Present)
                .map_err(|error| Error::corruption(Cf::Lock, key.as_encoded(), error)),
            Modify::Delete(..) | Modify::DeleteRange(..) => Ok(PendingLock::Removed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use txn_types::LockType;

    fn key() -> Key {
        Key::from_raw(b"k")
    }

    fn lock(start: u64) -> Lock {
        Lock::new(LockType::Lock, b"p".to_vec(), start.into(), 3000)
    }

    fn size(txn: &MvccTxn) -> usize {
        txn.modifies().iter().map(Modify::size).sum()
    }

    #[test]
    fn changes_go_to_their_column_families() {
        let mut txn = MvccTxn::new(10.into());
        txn.put_value(key(), 10.into(), b"long".to_vec());
        txn.delete_value(key(), 5.into());
        txn.put_write(key(), 20.into(), b"record".to_vec());
        txn.delete_write(key(), 15.into());
        txn.put_lock(key(), &lock(10));
        assert_eq!(txn.write_size(), size(&txn));
        let expected = vec![
            Modify::Put(Cf::Default, key().append_ts(10.into()), b"long".to_vec()),
            Modify::Delete(Cf::Default, key().append_ts(5.into())),
            Modify::Put(Cf::Write, key().append_ts(20.into()), b"record".to_vec()),
            Modify::Delete(Cf::Write, key().append_ts(15.into())),
            Modify::Put(Cf::Lock, key(), lock(10).to_bytes()),
        ];
        assert_eq!(txn.into_modifies(), expected);
    }

    #[test]
    fn a_lock_is_changed_once_and_seen_by_later_steps() {
        let mut txn = MvccTxn::new(10.into());
        assert_eq!(txn.pending_lock(&key()).unwrap(), PendingLock::Untouched);
        txn.put_lock(key(), &lock(10));
        txn.put_write(key(), 20.into(), Vec::new());
        let present = PendingLock::Present(LockValue::Exclusive(lock(10)));
        assert_eq!(txn.pending_lock(&key()).unwrap(), present);
        txn.unlock(key(), 10.into(), Some(20.into()));
        assert_eq!(txn.pending_lock(&key()).unwrap(), PendingLock::Removed);
        assert_eq!(txn.write_size(), size(&txn));
        let released = txn.take_released();
        let modifies = txn.into_modifies();
        assert_eq!(modifies.len(), 2);
        assert_eq!(modifies[0], Modify::Delete(Cf::Lock, key()));
        let expected = ReleasedLock {
            key: key(),
            start_ts: 10.into(),
            commit_ts: Some(20.into()),
        };
        assert_eq!(released, [expected]);
    }

    #[test]
    fn only_the_last_member_releases_a_shared_lock() {
        let mut locks = SharedLocks::new();
        assert_eq!(locks.insert(lock(10)), Ok(None));
        assert_eq!(locks.insert(lock(11)), Ok(None));
        let mut txn = MvccTxn::new(10.into());
        locks.remove(10.into());
        txn.put_shared_locks(key(), &locks, Some((10.into(), None)));
        assert!(txn.take_released().is_empty());
        let present = PendingLock::Present(LockValue::Shared(locks.clone()));
        assert_eq!(txn.pending_lock(&key()).unwrap(), present);
        locks.remove(11.into());
        txn.put_shared_locks(key(), &locks, Some((11.into(), None)));
        assert_eq!(txn.take_released().len(), 1);
        assert_eq!(txn.into_modifies(), [Modify::Delete(Cf::Lock, key())]);
    }
}
