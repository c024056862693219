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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_of_raw_data_bound_nothing() {
        for key in [b"".as_slice(), b"k", b"x\0\0\0k", b"12345678", b"123456789"] {
            assert_eq!(decoded(&encoded(key)), key);
        }
        // Not encoded, encoded with something behind, and the ends of all keys.
        let behind = [encoded(b"k"), vec![0]].concat();
        for boundary in [b"raw".as_slice(), b"rawrawraw", &behind, b""] {
            assert_eq!(decoded(boundary), b"");
        }
    }

    #[test]
    fn keys_are_parted_at_the_end_of_a_region() {
        let keys = ["a", "b", "c"].map(|key| key.as_bytes().to_vec());
        assert_eq!(within(&keys, b""), 3);
        assert_eq!(within(&keys, &encoded(b"c")), 2);
        assert_eq!(within(&keys, &encoded(b"a")), 0);
        assert_eq!(within(&keys, b"b"), 1, "raw data was split here");
        assert_eq!(within(&[], &encoded(b"a")), 0);
    }

    #[test]
    fn locks_go_by_transaction_and_kind() {
        let lock = |key: &str, start_ts: u64, op: Op| {
            let mut lock = LockInfo::default();
            lock.set_key(key.into());
            lock.set_primary_lock(b"p".to_vec());
            lock.set_lock_version(start_ts);
            lock.set_lock_type(op);
            lock
        };
        let mut container = lock("s", 0, Op::SharedLock);
        let members = vec![
            lock("s", 1, Op::SharedPessimisticLock),
            lock("s", 2, Op::SharedLock),
        ];
        container.set_shared_lock_infos(members.into());
        let page = vec![
            lock("a", 1, Op::Put),
            lock("b", 1, Op::PessimisticLock),
            lock("c", 1, Op::Lock),
            container,
        ];
        assert_eq!(extent(&page), (5, Some(b"s".as_slice())));
        let found: Vec<(u64, bool, usize)> = by_txn(page)
            .into_iter()
            .map(|(txn, locks)| (txn.start_ts, txn.pessimistic, locks.keys.len()))
            .collect();
        assert_eq!(found, [(1, false, 2), (1, true, 2), (2, false, 1)]);
        assert_eq!(extent(&[]), (0, None));
    }
}
