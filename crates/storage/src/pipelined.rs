//! What pipelined DML needs besides its flushes: a transaction's reads of what it has flushed, and its client's word on
//! how far it is.
//! Must never: answer from anything but the transaction's own locks, or raise `max_ts`.

use std::future::Future;

use api_version::{CommandKind, KvFormat};
use kv::{Engine, Snapshot};
use kvproto::kvrpcpb::{self, Context};
use lock_manager::LockManager;
use mvcc::{KvPair, SnapshotReader, ValueEntry};
use tracker::TrackerHandle;
use txn_types::{Key, Lock, LockType, LockValue, TimeStamp, Write, WriteType};

use crate::limits::request_bytes;
use crate::reads::yield_now;
use crate::txn::large_txns::LargeTxnStatus;
use crate::{Result, Storage, statistics};

/// Keys that are looked up before other tasks of the pool run.
const YIELD_LOOKUPS: usize = 256;

impl<E: Engine, L: LockManager, F: KvFormat> Storage<E, L, F> {
    /// What the transaction that started at `start_ts` has flushed of `keys`, in the order of the keys, each once: its
    /// values, and the empty value for what it deleted. Keys that it has not written are left out, whoever has.
    pub fn buffer_batch_get(
        &self,
        ctx: Context,
        mut keys: Vec<Key>,
        start_ts: TimeStamp,
        tracker: TrackerHandle,
    ) -> impl Future<Output = Result<Vec<KvPair>>> + Send + 'static + use<E, L, F> {
        const KIND: &str = CommandKind::BufferBatchGet.name();
        let this = self.clone();
        let bytes = request_bytes(keys.iter().map(|key| key.as_encoded().len()));
        let ticket = self.admit_read(KIND, &ctx, start_ts, bytes);
        self.spawn_read(ticket, &tracker.clone(), async move {
            this.check_read_keys(CommandKind::BufferBatchGet, &ctx, &keys)?;
            keys.sort_unstable();
            keys.dedup();
            let fill_cache = !ctx.get_not_fill_cache();
            // No timestamp: nobody has to know that somebody reads.
            let snapshot = this
                .read_snapshot(ctx, TimeStamp::zero(), Vec::new(), &tracker)
                .await?;
            let mut reader = SnapshotReader::new(start_ts, snapshot, fill_cache);
            let pairs = this.flushed_values(&mut reader, keys).await;
            statistics::record(KIND, &reader.take_statistics(), &tracker);
            pairs
        })
    }

    async fn flushed_values<S: Snapshot>(
        &self,
        reader: &mut SnapshotReader<S>,
        keys: Vec<Key>,
    ) -> Result<Vec<KvPair>> {
        let mut budget = self.read_budget();
        let mut pairs = Vec::new();
        for (at, key) in keys.into_iter().enumerate() {
            if at % YIELD_LOOKUPS == YIELD_LOOKUPS - 1 {
                yield_now().await;
            }
            let own = match reader.load_lock(&key)? {
                Some(LockValue::Exclusive(lock)) if lock.ts == reader.start_ts() => lock,
                _ => continue,
            };
            let Some(value) = flushed_value(reader, &key, own)? else {
                continue;
            };
            let raw = key.to_raw().map_err(mvcc::Error::InvalidKey)?;
            budget.take(raw.len() + value.len())?;
            let entry = ValueEntry {
                value,
                commit_ts: None,
            };
            pairs.push((raw, entry));
        }
        Ok(pairs)
    }

    /// Takes note of what the clients of large transactions tell of them. What makes no sense is passed over: the
    /// client would not look at an error.
    pub fn broadcast_txn_status(&self, told: &[kvrpcpb::TxnStatus]) {
        let large = self.scheduler.large_txns();
        for status in told {
            let start_ts = TimeStamp::from(status.get_start_ts());
            if start_ts.is_zero() || start_ts.is_max() {
                continue;
            }
            let (commit_ts, min_commit_ts) = (
                TimeStamp::from(status.get_commit_ts()),
                TimeStamp::from(status.get_min_commit_ts()),
            );
            let now = if status.get_rolled_back() {
                LargeTxnStatus::RolledBack
            } else if commit_ts > start_ts {
                LargeTxnStatus::Committed(commit_ts)
            } else if commit_ts.is_zero() && min_commit_ts > start_ts {
                LargeTxnStatus::Ongoing(min_commit_ts)
            } else {
                continue;
            };
            if status.get_is_completed() {
                large.forget(start_ts);
            } else {
                large.tell(start_ts, now);
            }
        }
    }
}

/// The value that a lock of the transaction stands for; `None` where it changes no data.
fn flushed_value<S: Snapshot>(
    reader: &mut SnapshotReader<S>,
    key: &Key,
    own: Lock,
) -> Result<Option<Vec<u8>>> {
    Ok(match own.lock_type {
        LockType::Put => {
            let put = Write::new(WriteType::Put, own.ts, own.short_value);
            Some(reader.load_data(key, put)?)
        }
        LockType::Delete => Some(Vec::new()),
        LockType::Lock | LockType::Pessimistic => None,
    })
}
