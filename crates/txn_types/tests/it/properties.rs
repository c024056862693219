//! Whatever can be written reads back the same; whatever arrives does not panic.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use txn_types::{
    Key, LastChange, Lock, LockType, LockValue, SharedLocks, TimeStamp, Write, WriteType,
};

fn ts() -> impl Strategy<Value = TimeStamp> {
    prop_oneof![Just(0), Just(u64::MAX), 0..200u64, any::<u64>()].prop_map(TimeStamp::new)
}

fn last_change() -> impl Strategy<Value = LastChange> {
    prop_oneof![
        Just(LastChange::Unknown),
        Just(LastChange::NotExist),
        (1..=u64::MAX, 1..=u64::MAX).prop_map(|(ts, versions)| LastChange::Exist {
            ts: ts.into(),
            versions
        }),
    ]
}

fn short_value() -> impl Strategy<Value = Option<Vec<u8>>> {
    option::of(vec(any::<u8>(), 0..=255))
}

fn lock(lock_types: &'static [LockType]) -> impl Strategy<Value = Lock> {
    let head = (
        prop::sample::select(lock_types),
        vec(any::<u8>(), 0..20),
        ts(),
        any::<u64>(),
        short_value(),
        ts(),
        any::<u64>(),
        ts(),
    );
    let tail = (
        option::of(vec(vec(any::<u8>(), 0..20), 0..4)),
        vec(ts(), 0..4),
        last_change(),
        any::<u64>(),
        any::<bool>(),
        any::<u64>(),
    );
    (head, tail).prop_map(|(head, tail)| {
        let mut lock = Lock::new(head.0, head.1, head.2, head.3);
        (lock.short_value, lock.for_update_ts) = (head.4, head.5);
        (lock.txn_size, lock.min_commit_ts) = (head.6, head.7);
        lock.use_async_commit = tail.0.is_some();
        lock.secondaries = tail.0.unwrap_or_default();
        (lock.rollback_ts, lock.last_change, lock.txn_source) = (tail.1, tail.2, tail.3);
        (lock.is_locked_with_conflict, lock.generation) = (tail.4, tail.5);
        lock
    })
}

const ALL: &[LockType] = &[
    LockType::Put,
    LockType::Delete,
    LockType::Lock,
    LockType::Pessimistic,
];
const SHARED: &[LockType] = &[LockType::Lock, LockType::Pessimistic];

const WRITE_TYPES: &[WriteType] = &[
    WriteType::Put,
    WriteType::Delete,
    WriteType::Lock,
    WriteType::Rollback,
];

fn write() -> impl Strategy<Value = Write> {
    let fields = (
        prop::sample::select(WRITE_TYPES),
        ts(),
        short_value(),
        any::<bool>(),
        option::of(ts()),
        last_change(),
        any::<u64>(),
    );
    fields.prop_map(|fields| Write {
        write_type: fields.0,
        start_ts: fields.1,
        short_value: fields.2,
        has_overlapped_rollback: fields.3,
        gc_fence: fields.4,
        last_change: fields.5,
        txn_source: fields.6,
    })
}

proptest! {
    #[test]
    fn key_round_trip_and_order(a in vec(any::<u8>(), 0..30), b in vec(any::<u8>(), 0..30)) {
        let (key_a, key_b) = (Key::from_raw(&a), Key::from_raw(&b));
        prop_assert_eq!(key_a.to_raw().unwrap(), a.clone());
        prop_assert_eq!(key_a.cmp(&key_b), a.cmp(&b));
        prop_assert_eq!(key_a.is_encoded_from(&b), a == b);
        prop_assert!(!key_b.as_encoded().starts_with(key_a.as_encoded()) || a == b);
    }

    #[test]
    fn newer_versions_sort_first(raw in vec(any::<u8>(), 0..20), x in ts(), y in ts()) {
        let key = Key::from_raw(&raw);
        let (at_x, at_y) = (key.clone().append_ts(x), key.clone().append_ts(y));
        prop_assert_eq!(at_x.cmp(&at_y), y.cmp(&x));
        prop_assert_eq!(Key::split_on_ts_for(at_x.as_encoded()).unwrap(), (key.as_encoded(), x));
        prop_assert!(Key::is_user_key_eq(at_x.as_encoded(), key.as_encoded()));
    }

    #[test]
    fn lock_round_trip(lock in lock(ALL)) {
        let bytes = lock.to_bytes();
        prop_assert_eq!(Lock::parse(&bytes), Ok(lock.clone()));
        prop_assert_eq!(LockValue::parse(&bytes), Ok(LockValue::Exclusive(lock)));
    }

    #[test]
    fn container_round_trip(members in vec(lock(SHARED), 0..5), shrink_only in any::<bool>()) {
        let mut locks = SharedLocks::new();
        locks.shrink_only = shrink_only;
        for member in members {
            prop_assert!(locks.insert(member).is_ok());
        }
        prop_assert_eq!(LockValue::parse(&locks.to_bytes()), Ok(LockValue::Shared(locks)));
    }

    #[test]
    fn write_round_trip(write in write()) {
        prop_assert_eq!(Write::parse(&write.to_bytes()), Ok(write));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(mut bytes in vec(any::<u8>(), 0..60), head in any::<u8>()) {
        let _ = (LockValue::parse(&bytes), Write::parse(&bytes));
        let _ = Key::from_encoded(bytes.clone()).to_raw();
        if let Some(first) = bytes.first_mut() {
            *first = b"PDLSHR"[usize::from(head) % 6];
        }
        let _ = (LockValue::parse(&bytes), Write::parse(&bytes));
    }

    #[test]
    fn cutting_a_lock_short_does_no_harm(lock in lock(ALL), cut in any::<prop::sample::Index>()) {
        let bytes = lock.to_bytes();
        let _ = LockValue::parse(&bytes[..cut.index(bytes.len())]);
    }
}
