//! Records of the write column family, as in section 4 of the formats facts.

use test_case::test_case;
use txn_types::{LastChange, LockType, Protected, TimeStamp, Write, WriteRef, WriteType};

fn put(start_ts: u64) -> Write {
    Write::new(WriteType::Put, start_ts.into(), Some(b"v".to_vec()))
}

fn lock_with(last_change: LastChange) -> Write {
    Write {
        last_change,
        ..Write::new(WriteType::Lock, 100.into(), None)
    }
}

#[test_case(put(100), "5064760176"; "put")]
#[test_case(Write::new(WriteType::Delete, 100.into(), None), "4464"; "delete")]
#[test_case(lock_with(LastChange::Exist { ts: 90.into(), versions: 3 }),
    "4c646c000000000000005a03"; "lock over a data version")]
#[test_case(lock_with(LastChange::NotExist), "4c646c000000000000000001"; "lock over nothing")]
#[test_case(Write::new_rollback(100.into(), Protected::Yes), "5264760170"; "protected rollback")]
#[test_case(Write::new_rollback(100.into(), Protected::No), "5264"; "rollback")]
#[test_case(put(90).with_overlapped_rollback(Some(0.into())),
    "505a76017652460000000000000000"; "overlapped, fence at nothing")]
#[test_case(Write::new(WriteType::Put, 90.into(), None).with_overlapped_rollback(Some(150.into())),
    "505a52460000000000000096"; "overlapped, long value, fence")]
#[test_case(Write { txn_source: 1, ..put(100) }, "50647601765301"; "with a source")]
fn record(write: Write, bytes: &str) {
    assert_eq!(hex::encode(write.to_bytes()), bytes);
    let bytes = hex::decode(bytes).unwrap();
    assert_eq!(Write::parse(&bytes), Ok(write.clone()));
    let borrowed = WriteRef::parse(&bytes).unwrap();
    assert_eq!(borrowed, write.as_ref());
    assert_eq!(borrowed.to_bytes(), bytes);
}

#[test]
fn overlapped_without_fence() {
    let write = put(90).with_overlapped_rollback(None);
    assert_eq!(hex::encode(write.to_bytes()), "505a76017652");
    assert_eq!(Write::parse(&write.to_bytes()), Ok(write));
}

#[test]
fn stops_at_an_unknown_tag() {
    for tag in ["7a", "00", "50"] {
        let bytes = hex::decode(format!("5064760176{tag}46ff")).unwrap();
        assert_eq!(Write::parse(&bytes), Ok(put(100)), "tag {tag}");
    }
}

#[test_case(""; "nothing")]
#[test_case("5864"; "unknown type")]
#[test_case("50"; "no start timestamp")]
#[test_case("5080"; "start timestamp cut off")]
#[test_case("506476"; "short value without length")]
#[test_case("5064760276"; "short value cut off")]
#[test_case("50645246000000"; "fence cut off")]
#[test_case("4c646c00"; "last change cut off")]
#[test_case("4c646c000000000000005a00"; "last change at no distance")]
#[test_case("506453"; "source cut off")]
fn refuses_a_broken_record(bytes: &str) {
    assert!(Write::parse(&hex::decode(bytes).unwrap()).is_err());
}

#[test_case(None, 30, true; "no fence")]
#[test_case(Some(0), 30, true; "nothing newer existed")]
#[test_case(Some(20), 30, false; "below the read")]
#[test_case(Some(20), 20, false; "at the read")]
#[test_case(Some(20), 19, true; "above the read")]
#[test_case(Some(20), u64::MAX, false; "read of the latest")]
fn gc_fence(fence: Option<u64>, read_ts: u64, valid: bool) {
    let write = Write {
        gc_fence: fence.map(TimeStamp::new),
        ..put(10)
    };
    assert_eq!(write.is_valid_at(read_ts.into()), valid);
}

#[test]
fn only_rollbacks_are_protected() {
    assert!(Write::new_rollback(1.into(), true.into()).is_protected_rollback());
    assert!(!Write::new_rollback(1.into(), false.into()).is_protected_rollback());
    let put_p = Write::new(WriteType::Put, 1.into(), Some(b"p".to_vec()));
    assert!(!put_p.is_protected_rollback());
}

#[test]
fn commit_of_a_lock_keeps_its_type() {
    assert_eq!(
        WriteType::from_lock_type(LockType::Put),
        Some(WriteType::Put)
    );
    assert_eq!(
        WriteType::from_lock_type(LockType::Delete),
        Some(WriteType::Delete)
    );
    assert_eq!(
        WriteType::from_lock_type(LockType::Lock),
        Some(WriteType::Lock)
    );
    assert_eq!(WriteType::from_lock_type(LockType::Pessimistic), None);
}

#[test]
fn last_change_moves_up_one_record_at_a_time() {
    let first = put(100).last_change_seen_from_above(110.into());
    assert_eq!(
        first,
        LastChange::Exist {
            ts: 110.into(),
            versions: 1
        }
    );
    let second = lock_with(first).last_change_seen_from_above(120.into());
    assert_eq!(
        second,
        LastChange::Exist {
            ts: 110.into(),
            versions: 2
        }
    );
    let delete = Write::new(WriteType::Delete, 1.into(), None);
    assert_eq!(
        delete.last_change_seen_from_above(2.into()),
        LastChange::Exist {
            ts: 2.into(),
            versions: 1
        }
    );
    for kept in [LastChange::NotExist, LastChange::Unknown] {
        assert_eq!(
            lock_with(kept).last_change_seen_from_above(120.into()),
            kept
        );
    }
}
