//! Values of the lock column family, as in section 3 of the formats facts.

use kvproto::kvrpcpb::Op;
use test_case::test_case;
use txn_types::{Error, LastChange, Lock, LockType, LockValue, SharedLocks, TimeStamp};

fn lock(lock_type: LockType) -> Lock {
    Lock::new(lock_type, b"pk".to_vec(), 100.into(), 3000)
}

fn put_v() -> Lock {
    Lock {
        short_value: Some(b"v".to_vec()),
        ..lock(LockType::Put)
    }
}

fn full() -> Lock {
    Lock {
        for_update_ts: 110.into(),
        txn_size: 2,
        min_commit_ts: 120.into(),
        use_async_commit: true,
        secondaries: vec![b"k1".to_vec(), b"k2".to_vec()],
        rollback_ts: vec![105.into()],
        last_change: LastChange::Exist {
            ts: 90.into(),
            versions: 3,
        },
        txn_source: 1,
        ..put_v()
    }
}

#[test_case(put_v(), "5004706b64b817760176"; "put")]
#[test_case(lock(LockType::Delete), "4404706b64b817"; "delete")]
#[test_case(Lock { txn_size: 16, ..lock(LockType::Lock) },
    "4c04706b64b817740000000000000010"; "lock")]
#[test_case(Lock { for_update_ts: 110.into(), min_commit_ts: 111.into(), ..lock(LockType::Pessimistic) },
    "5304706b64b81766000000000000006e63000000000000006f"; "pessimistic")]
#[test_case(full(),
    "5004706b64b81776017666000000000000006e7400000000000000026300000000000000786102046b31046b32720100000000000000696c000000000000005a037301";
    "everything")]
#[test_case(Lock { min_commit_ts: 101.into(), use_async_commit: true, ..put_v() },
    "5004706b64b8177601766300000000000000656100"; "secondary of an asynchronous commit")]
#[test_case(Lock { for_update_ts: 130.into(), last_change: LastChange::NotExist,
        is_locked_with_conflict: true, ..lock(LockType::Pessimistic) },
    "5304706b64b8176600000000000000826c00000000000000000146"; "locked with conflict")]
#[test_case(Lock { txn_size: u64::MAX, min_commit_ts: 101.into(), generation: 1, ..put_v() },
    "5004706b64b81776017674ffffffffffffffff630000000000000065670000000000000001"; "flushed")]
fn exclusive(lock: Lock, bytes: &str) {
    assert_eq!(hex::encode(lock.to_bytes()), bytes);
    let bytes = hex::decode(bytes).unwrap();
    assert_eq!(Lock::parse(&bytes), Ok(lock.clone()));
    assert_eq!(LockValue::parse(&bytes), Ok(LockValue::Exclusive(lock)));
    assert!(!LockValue::is_shared(&bytes));
}

#[test]
fn ancient_lock_without_time_to_live() {
    let parsed = Lock::parse(&hex::decode("4404706b64").unwrap()).unwrap();
    assert_eq!(
        parsed,
        Lock {
            ttl: 0,
            ..lock(LockType::Delete)
        }
    );
}

#[test]
fn stops_at_an_unknown_tag() {
    for tag in ["7a", "54", "00"] {
        let bytes = hex::decode(format!("5004706b64b817760176{tag}66ffff")).unwrap();
        assert_eq!(Lock::parse(&bytes), Ok(put_v()), "tag {tag}");
    }
}

#[test]
fn empty_short_value_is_a_value() {
    let lock = Lock {
        short_value: Some(Vec::new()),
        ..lock(LockType::Put)
    };
    assert_eq!(hex::encode(lock.to_bytes()), "5004706b64b8177600");
    assert_eq!(Lock::parse(&lock.to_bytes()), Ok(lock));
}

#[test]
fn longest_short_value() {
    let lock = Lock {
        short_value: Some(vec![7; 255]),
        ..lock(LockType::Put)
    };
    assert_eq!(Lock::parse(&lock.to_bytes()), Ok(lock));
}

#[test_case(""; "nothing")]
#[test_case("58"; "unknown type")]
#[test_case("50"; "no primary")]
#[test_case("5004706b"; "no start timestamp")]
#[test_case("5004706b64b81776"; "short value without length")]
#[test_case("5004706b64b817760576"; "short value cut off")]
#[test_case("5004706b64b81766000000"; "number cut off")]
#[test_case("5004706b64b81761ffffffffffffffff7f"; "absurd number of secondaries")]
#[test_case("5004706b64b81772ffffffffffffffff7f"; "absurd number of rollbacks")]
#[test_case("5004706b64b8176c000000000000005a00"; "last change at no distance")]
#[test_case("48"; "container without body")]
#[test_case("4868"; "container without count")]
#[test_case("4869"; "container without flags")]
#[test_case("4869026800"; "container with unknown flags")]
#[test_case("486801"; "container with a missing member")]
#[test_case("48680114 5004706b64b817760176"; "container with an exclusive member")]
#[test_case("4868020c4c04706b64000c4c04706b6400"; "container with two members of one transaction")]
fn refuses_a_broken_value(bytes: &str) {
    let bytes = hex::decode(bytes.replace(' ', "")).unwrap();
    assert!(LockValue::parse(&bytes).is_err());
}

#[test]
fn a_container_is_no_lock() {
    let bytes = hex::decode("486800").unwrap();
    assert_eq!(Lock::parse(&bytes), Err(Error::LockType(b'H')));
}

fn member_s() -> Lock {
    Lock {
        for_update_ts: 110.into(),
        ..lock(LockType::Pessimistic)
    }
}

fn member_l() -> Lock {
    Lock::new(LockType::Lock, b"p2".to_vec(), 102.into(), 3000)
}

fn container(members: Vec<Lock>, shrink_only: bool) -> SharedLocks {
    let mut locks = SharedLocks::new();
    locks.shrink_only = shrink_only;
    for member in members {
        assert_eq!(locks.insert(member), Ok(None));
    }
    locks
}

#[test_case(container(vec![member_s(), member_l()], false),
    "486802205304706b64b81766000000000000006e0e4c04703266b817"; "two members")]
#[test_case(container(vec![member_s()], true),
    "4869016801205304706b64b81766000000000000006e"; "shrink only")]
fn shared(locks: SharedLocks, bytes: &str) {
    assert_eq!(hex::encode(locks.to_bytes()), bytes);
    let bytes = hex::decode(bytes).unwrap();
    assert!(LockValue::is_shared(&bytes));
    let parsed = LockValue::parse(&bytes).unwrap();
    assert_eq!(parsed, LockValue::Shared(locks));
    assert_eq!(parsed.to_bytes(), bytes);
}

#[test]
fn members_in_any_order_are_read() {
    let bytes = hex::decode("4868020e4c04703266b817205304706b64b81766000000000000006e").unwrap();
    let expected = container(vec![member_s(), member_l()], false);
    assert_eq!(LockValue::parse(&bytes), Ok(LockValue::Shared(expected)));
}

#[test]
fn members_come_and_go() {
    let mut locks = container(vec![member_s(), member_l()], false);
    assert_eq!(locks.insert(put_v()), Err(Box::new(put_v())));
    let prewritten = lock(LockType::Lock);
    assert_eq!(locks.insert(prewritten.clone()), Ok(Some(member_s())));
    assert_eq!(locks.get(100.into()), Some(&prewritten));
    assert_eq!(
        LockValue::Shared(locks.clone()).lock_of(102.into()),
        Some(&member_l())
    );
    assert!(locks.contains(102.into()) && !locks.contains(103.into()));
    assert_eq!(locks.remove(100.into()), Some(prewritten));
    assert_eq!(locks.len(), 1);
    locks.retain(|lock| lock.ts == TimeStamp::new(100));
    assert!(locks.is_empty());
}

#[test]
fn lock_info_of_an_exclusive_lock() {
    let info = full().into_lock_info(b"k".to_vec());
    assert_eq!(info.get_primary_lock(), b"pk");
    assert_eq!(info.get_lock_version(), 100);
    assert_eq!(info.get_key(), b"k");
    assert_eq!(info.get_lock_ttl(), 3000);
    assert_eq!(info.get_txn_size(), 2);
    assert_eq!(info.get_lock_type(), Op::Put);
    assert_eq!(info.get_lock_for_update_ts(), 110);
    assert!(info.get_use_async_commit());
    assert_eq!(info.get_min_commit_ts(), 120);
    assert_eq!(info.get_secondaries(), [b"k1".to_vec(), b"k2".to_vec()]);
    let ops = [
        (LockType::Put, Op::Put),
        (LockType::Delete, Op::Del),
        (LockType::Lock, Op::Lock),
        (LockType::Pessimistic, Op::PessimisticLock),
    ];
    for (lock_type, op) in ops {
        assert_eq!(
            lock(lock_type).into_lock_info(Vec::new()).get_lock_type(),
            op
        );
    }
}

#[test]
fn lock_info_of_a_container() {
    let locks = container(vec![member_s(), member_l()], true);
    let info = LockValue::Shared(locks).into_lock_info(b"k".to_vec());
    assert_eq!(info.get_key(), b"k");
    assert_eq!(info.get_lock_type(), Op::SharedLock);
    assert_eq!((info.get_lock_version(), info.get_lock_ttl()), (0, 0));
    assert!(info.get_primary_lock().is_empty());
    let members = info.get_shared_lock_infos();
    assert_eq!(members.len(), 2);
    assert_eq!(members[0].get_lock_type(), Op::PessimisticLock);
    assert_eq!(members[1].get_lock_version(), 102);
    assert_eq!(members[1].get_key(), b"k");
}

#[test]
fn debug_output_shows_no_user_data() {
    let text = format!(
        "{:?}",
        Lock {
            primary: b"secret".to_vec(),
            ..full()
        }
    );
    assert!(!text.contains("secret") && !text.contains("115"), "{text}");
    assert!(text.contains("TimeStamp(100)"), "{text}");
}
