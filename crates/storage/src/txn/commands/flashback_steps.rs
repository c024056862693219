//! The steps of a flashback that write: see [`super::flashback`], which puts them together.
//! Must never: be carried out on a region that is not in flashback; the engine refuses them there.

use kv::Snapshot;
use kvproto::kvrpcpb::{CommitRole, Context};
use mvcc::{MvccTxn, SnapshotReader};
use txn_types::{Key, Lock, LockType, LockValue, TimeStamp, Value, Write, WriteType};

use super::batch_rollback::rollback_unprotected;
use super::flashback::{Target, is_lock_of};
use crate::Result;
use crate::txn::actions::commit::commit_key;
use crate::txn::actions::{current_lock, key_is_locked};
use crate::txn::command::{WriteCommand, WriteContext, WriteResult};

/// Bytes of changes after which the rest is left to another round.
const WRITE_SIZE_MAX: usize = 32 * 1024;

/// Rolls locks back that others left.
#[derive(Clone, Debug)]
pub(super) struct RollbackLocks {
    pub(super) ctx: Context,
    pub(super) locks: Vec<(Key, LockValue)>,
}

impl WriteCommand for RollbackLocks {
    /// The first key that is still to be done, when the round was cut short.
    type Output = Option<Key>;

    const KIND: &'static str = "flashback_rollback";

    fn context(&self) -> &Context {
        &self.ctx
    }

    fn keys(&self) -> Vec<&[u8]> {
        self.locks.iter().map(|(key, _)| key.as_encoded()).collect()
    }

    fn flashback(&self) -> bool {
        true
    }

    fn process_write<S: Snapshot>(
        self,
        snapshot: S,
        ctx: &mut WriteContext<'_>,
    ) -> Result<WriteResult<Option<Key>>> {
        let fill_cache = !self.ctx.get_not_fill_cache();
        let mut txn = MvccTxn::new(TimeStamp::zero());
        let mut stopped_at = None;
        for (key, found) in &self.locks {
            if txn.write_size() >= WRITE_SIZE_MAX {
                stopped_at = Some(key.clone());
                break;
            }
            let locks: Vec<&Lock> = match found {
                LockValue::Exclusive(lock) => vec![lock],
                LockValue::Shared(locks) => locks.iter().collect(),
            };
            for lock in locks {
                txn.start_ts = lock.ts;
                let mut reader = SnapshotReader::new(lock.ts, snapshot.clone(), fill_cache);
                let still_there =
                    current_lock(&txn, &mut reader, key)?.is_some_and(|now| match now {
                        LockValue::Exclusive(now) => now.ts == lock.ts,
                        LockValue::Shared(now) => now.contains(lock.ts),
                    });
                let done = if still_there {
                    rollback_unprotected(&mut txn, &mut reader, key, ctx.concurrency_manager)
                } else {
                    Ok(())
                };
                ctx.statistics.add(&reader.take_statistics());
                done?;
            }
        }
        Ok(WriteResult::from_txn(txn, stopped_at))
    }
}

/// What a key was at a version.
struct OldValue {
    /// Of a deletion, or of nothing at all, there is none.
    put: Option<Short>,
}

/// A value as a lock or a record carries it.
enum Short {
    Inline(Value),
    /// It stands by itself, under the start timestamp.
    Apart(Value),
}

impl OldValue {
    fn read<S: Snapshot>(reader: &mut SnapshotReader<S>, key: &Key) -> Result<OldValue> {
        let version = reader.start_ts();
        let put = match reader.get_write(key, version)? {
            Some((_, mut write)) if write.write_type == WriteType::Put => {
                Some(match write.short_value.take() {
                    Some(value) => Short::Inline(value),
                    None => Short::Apart(reader.load_data(key, write)?),
                })
            }
            Some(_) | None => None,
        };
        Ok(OldValue { put })
    }

    /// Whether it is a value, and what goes into the lock or record; a long one is written.
    fn copy(self, txn: &mut MvccTxn, key: &Key) -> (bool, Option<Value>) {
        match self.put {
            None => (false, None),
            Some(Short::Inline(value)) => (true, Some(value)),
            Some(Short::Apart(value)) => {
                txn.put_value(key.clone(), txn.start_ts, value);
                (true, None)
            }
        }
    }
}

/// Locks the first changed key, which the commit of its lock will set back.
#[derive(Clone, Debug)]
pub(super) struct LockFirst {
    pub(super) target: Target,
    pub(super) key: Key,
}

impl WriteCommand for LockFirst {
    type Output = ();

    const KIND: &'static str = "flashback_lock";

    fn context(&self) -> &Context {
        &self.target.ctx
    }

    fn keys(&self) -> Vec<&[u8]> {
        vec![self.key.as_encoded()]
    }

    fn flashback(&self) -> bool {
        true
    }

    fn begins(&self) -> Option<TimeStamp> {
        Some(self.target.version)
    }

    fn process_write<S: Snapshot>(
        self,
        snapshot: S,
        ctx: &mut WriteContext<'_>,
    ) -> Result<WriteResult<()>> {
        let Target {
            version, start_ts, ..
        } = self.target;
        let fill_cache = !self.target.ctx.get_not_fill_cache();
        let mut txn = MvccTxn::new(start_ts);
        let mut own = SnapshotReader::new(start_ts, snapshot.clone(), fill_cache);
        let mut reader = SnapshotReader::new(version, snapshot, fill_cache);
        let record = own.get_txn_commit_record(&self.key)?.status();
        ctx.statistics.add(&own.take_statistics());
        match reader.load_lock(&self.key)? {
            Some(lock) if is_lock_of(&lock, start_ts) => {}
            // All were rolled back: another flashback is at work.
            Some(lock) => return Err(key_is_locked(lock, &self.key).into()),
            // A late copy of a request: the flashback is complete, or was rolled back by another one.
            None if record.is_some_and(|(_, kind)| kind != WriteType::Rollback) => {}
            None if record.is_some() => return Err(self.target.not_prepared()),
            None => {
                let old = OldValue::read(&mut reader, &self.key)?;
                let (is_put, short_value) = old.copy(&mut txn, &self.key);
                let lock_type = if is_put {
                    LockType::Put
                } else {
                    LockType::Delete
                };
                // The primary is the key in its encoded form, as others of this protocol write it.
                let primary = self.key.as_encoded().to_vec();
                let mut lock = Lock::new(lock_type, primary, start_ts, 0);
                lock.short_value = short_value;
                lock.txn_size = 1;
                txn.put_lock(self.key.clone(), &lock);
            }
        }
        ctx.statistics.add(&reader.take_statistics());
        Ok(WriteResult::from_txn(txn, ()))
    }
}

/// Writes changed keys as they were.
#[derive(Clone, Debug)]
pub(super) struct RewriteKeys {
    pub(super) target: Target,
    /// Its lock shows that the flashback is still under way.
    pub(super) first: Key,
    pub(super) keys: Vec<Key>,
    pub(super) commit_ts: TimeStamp,
}

impl WriteCommand for RewriteKeys {
    /// The first key that is still to be done, when the round was cut short.
    type Output = Option<Key>;

    const KIND: &'static str = "flashback_rewrite";

    fn context(&self) -> &Context {
        &self.target.ctx
    }

    fn keys(&self) -> Vec<&[u8]> {
        let keys = self.keys.iter().chain([&self.first]);
        keys.map(Key::as_encoded).collect()
    }

    fn write_bytes(&self) -> usize {
        WRITE_SIZE_MAX
            + self
                .keys
                .iter()
                .map(|key| key.as_encoded().len())
                .sum::<usize>()
    }

    fn flashback(&self) -> bool {
        true
    }

    fn begins(&self) -> Option<TimeStamp> {
        Some(self.target.version)
    }

    fn process_write<S: Snapshot>(
        self,
        snapshot: S,
        ctx: &mut WriteContext<'_>,
    ) -> Result<WriteResult<Option<Key>>> {
        let Target {
            version, start_ts, ..
        } = self.target;
        let fill_cache = !self.target.ctx.get_not_fill_cache();
        let mut now = SnapshotReader::new(TimeStamp::max(), snapshot.clone(), fill_cache);
        let mut old = SnapshotReader::new(version, snapshot, fill_cache);
        let first = now.load_lock(&self.first)?;
        if !first.is_some_and(|lock| is_lock_of(&lock, start_ts)) {
            return Err(self.target.not_prepared());
        }
        let mut txn = MvccTxn::new(start_ts);
        let mut stopped_at = None;
        for key in &self.keys {
            if txn.write_size() >= WRITE_SIZE_MAX {
                stopped_at = Some(key.clone());
                break;
            }
            let newest = now.get_write(key, TimeStamp::max())?;
            if !newest.is_some_and(|(ts, _)| version < ts && ts < self.commit_ts) {
                continue;
            }
            let (is_put, short_value) = OldValue::read(&mut old, key)?.copy(&mut txn, key);
            let write_type = if is_put {
                WriteType::Put
            } else {
                WriteType::Delete
            };
            let write = Write::new(write_type, start_ts, short_value);
            txn.put_write(key.clone(), self.commit_ts, write.to_bytes());
        }
        ctx.statistics.add(&now.take_statistics());
        ctx.statistics.add(&old.take_statistics());
        Ok(WriteResult {
            one_pc: true,
            ..WriteResult::from_txn(txn, stopped_at)
        })
    }
}

/// Commits the first key: from then on the flashback is complete.
#[derive(Clone, Debug)]
pub(super) struct CommitFirst {
    pub(super) target: Target,
    pub(super) key: Key,
    pub(super) commit_ts: TimeStamp,
}

impl WriteCommand for CommitFirst {
    type Output = ();

    const KIND: &'static str = "flashback_commit";

    fn context(&self) -> &Context {
        &self.target.ctx
    }

    fn keys(&self) -> Vec<&[u8]> {
        vec![self.key.as_encoded()]
    }

    fn flashback(&self) -> bool {
        true
    }

    fn process_write<S: Snapshot>(
        self,
        snapshot: S,
        ctx: &mut WriteContext<'_>,
    ) -> Result<WriteResult<()>> {
        let Target {
            start_ts, ctx: env, ..
        } = &self.target;
        let mut txn = MvccTxn::new(*start_ts);
        let mut reader = SnapshotReader::new(*start_ts, snapshot, !env.get_not_fill_cache());
        let role = CommitRole::Unknown;
        let committed = commit_key(&mut txn, &mut reader, &self.key, self.commit_ts, role);
        ctx.statistics.add(&reader.take_statistics());
        committed?;
        Ok(WriteResult::from_txn(txn, ()))
    }
}
