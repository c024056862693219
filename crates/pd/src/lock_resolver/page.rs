//! A page of locks, by transaction, and the two encodings of its keys.

use std::collections::{BTreeMap, BTreeSet};

use kvproto::kvrpcpb::{LockInfo, Op};

/// Locks whose fate is asked once: those of one transaction that name one primary key. Locks of
/// statements stand apart from those of a commit, because their fate is asked differently.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TxnKey {
    pub(super) start_ts: u64,
    /// As clients know it.
    pub(super) primary: Vec<u8>,
    pub(super) pessimistic: bool,
}

/// What a page has of such locks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TxnLocks {
    /// In order, as clients know them.
    pub(super) keys: BTreeSet<Vec<u8>>,
    /// The longest time to live, in milliseconds from the start.
    pub(super) ttl: u64,
    /// The latest statement.
    pub(super) for_update_ts: u64,
}

/// How many locks a page holds, and the last of its keys.
pub(super) fn extent(locks: &[LockInfo]) -> (usize, Option<&[u8]>) {
    let members = |lock: &LockInfo| lock.get_shared_lock_infos().len().max(1);
    let count = locks.iter().map(members).sum();
    (count, locks.iter().map(LockInfo::get_key).max())
}

/// Takes locks together; a lock that several transactions share is several.
pub(super) fn by_txn(locks: Vec<LockInfo>) -> BTreeMap<TxnKey, TxnLocks> {
    let mut all = BTreeMap::new();
    for mut lock in locks {
        let key = lock.take_key();
        let members = lock.take_shared_lock_infos();
        if members.is_empty() {
            add(&mut all, key, lock);
            continue;
        }
        for member in members {
            add(&mut all, key.clone(), member);
        }
    }
    all
}

fn add(all: &mut BTreeMap<TxnKey, TxnLocks>, key: Vec<u8>, mut lock: LockInfo) {
    let txn = TxnKey {
        start_ts: lock.get_lock_version(),
        primary: lock.take_primary_lock(),
        pessimistic: matches!(
            lock.get_lock_type(),
            Op::PessimisticLock | Op::SharedPessimisticLock
        ),
    };
    let locks: &mut TxnLocks = all.entry(txn).or_default();
    locks.keys.insert(key);
    locks.ttl = locks.ttl.max(lock.get_lock_ttl());
    locks.for_update_ts = locks.for_update_ts.max(lock.get_lock_for_update_ts());
}

/// A key as region boundaries have it.
pub(super) fn encoded(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    codec::bytes::encode_bytes(&mut out, key);
    out
}

/// A region boundary as clients know it. One that is no encoded key is where raw data of API V1 was
/// split: empty, for the region itself bounds what a store looks at.
pub(super) fn decoded(boundary: &[u8]) -> Vec<u8> {
    let mut rest = boundary;
    match codec::bytes::decode_bytes(&mut rest) {
        Ok(key) if rest.is_empty() => key,
        _ => Vec::new(),
    }
}

/// Of keys in order, how many lie before the end of a region.
pub(super) fn within(keys: &[Vec<u8>], end: &[u8]) -> usize {
    if end.is_empty() {
        return keys.len();
    }
    keys.partition_point(|key| encoded(key).as_slice() < end)
}
