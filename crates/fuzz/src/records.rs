//! The values of the lock and write column families.
//!
//! A newer writer may append fields that are ignored, and a field may stand twice, so bytes need not come back as
//! they were; but what was understood comes back, and what we write is read as it was written.

use txn_types::{Lock, LockType, LockValue, SharedLocks, TimeStamp, Write, WriteRef, WriteType};

use crate::allocated::bounded_by;
use crate::input::Input;

/// Values of the lock column family: of one transaction, or of several.
pub fn lock(data: &[u8]) {
    let parsed = bounded_by(data.len(), || LockValue::parse(data));
    let single = bounded_by(data.len(), || Lock::parse(data));
    match &parsed {
        Ok(LockValue::Shared(_)) => {
            assert!(LockValue::is_shared(data));
            assert!(single.is_err());
        }
        Ok(LockValue::Exclusive(exclusive)) => {
            assert!(!LockValue::is_shared(data));
            assert_eq!(single.as_ref().map_err(drop), Ok(exclusive));
        }
        Err(_) => assert!(single.is_err()),
    }
    if let Ok(value) = parsed {
        lock_comes_back(&value);
        // What a client is told of it.
        let info = value.clone().into_lock_info(b"k".to_vec());
        assert_eq!(info.get_key(), b"k");
        let _ = format!("{value:?}");
    }
    let mut input = Input(data);
    let mut members = SharedLocks::new();
    members.shrink_only = input.flag();
    for _ in 0..usize::from(input.byte() % 4) {
        let member = some_lock(&mut input);
        lock_comes_back(&LockValue::Exclusive(member.clone()));
        let ts = member.ts;
        match members.insert(member) {
            Ok(_) => assert!(members.contains(ts)),
            Err(refused) => assert!(matches!(
                refused.lock_type,
                LockType::Put | LockType::Delete
            )),
        }
    }
    lock_comes_back(&LockValue::Shared(members));
}

fn lock_comes_back(value: &LockValue) {
    let bytes = value.to_bytes();
    let again = bounded_by(bytes.len(), || LockValue::parse(&bytes));
    assert_eq!(again.as_ref().map_err(drop), Ok(value));
    assert_eq!(again.map(|again| again.to_bytes()).map_err(drop), Ok(bytes));
}

fn some_lock(input: &mut Input<'_>) -> Lock {
    const TYPES: [LockType; 4] = [
        LockType::Put,
        LockType::Delete,
        LockType::Lock,
        LockType::Pessimistic,
    ];
    let lock_type = TYPES[usize::from(input.byte()) % TYPES.len()];
    let primary = input.bytes().to_vec();
    let mut lock = Lock::new(lock_type, primary, input.number().into(), input.number());
    lock.short_value = input.flag().then(|| input.bytes().to_vec());
    lock.for_update_ts = input.number().into();
    lock.txn_size = input.number();
    lock.min_commit_ts = input.number().into();
    lock.use_async_commit = input.flag();
    if lock.use_async_commit {
        let count = input.byte() % 8;
        lock.secondaries = (0..count).map(|_| input.bytes().to_vec()).collect();
    }
    let count = input.byte() % 8;
    lock.rollback_ts = (0..count).map(|_| input.number().into()).collect();
    lock.txn_source = input.number();
    lock.is_locked_with_conflict = input.flag();
    lock.generation = input.number();
    lock
}

/// Records of the write column family, owned and borrowed.
pub fn write(data: &[u8]) {
    let borrowed = bounded_by(0, || WriteRef::parse(data));
    let owned = bounded_by(data.len(), || Write::parse(data));
    match (&borrowed, &owned) {
        (Ok(borrowed), Ok(owned)) => {
            assert_eq!(&borrowed.to_owned(), owned);
            assert_eq!(&owned.as_ref(), borrowed);
            assert_eq!(borrowed.to_bytes(), owned.to_bytes());
            assert_eq!(
                borrowed.is_protected_rollback(),
                owned.is_protected_rollback()
            );
            for ts in [0, 1, Input(data).number(), u64::MAX] {
                let ts = TimeStamp::new(ts);
                assert_eq!(borrowed.is_valid_at(ts), owned.is_valid_at(ts));
                let _ = owned.last_change_seen_from_above(ts);
            }
            write_comes_back(owned);
        }
        (Err(_), Err(_)) => {}
        _ => panic!("borrowed {borrowed:?}, owned {owned:?}"),
    }
    write_comes_back(&some_write(&mut Input(data)));
}

fn write_comes_back(write: &Write) {
    let bytes = write.to_bytes();
    assert_eq!(Write::parse(&bytes).as_ref().map_err(drop), Ok(write));
    assert_eq!(WriteRef::parse(&bytes).map_err(drop), Ok(write.as_ref()));
}

fn some_write(input: &mut Input<'_>) -> Write {
    const TYPES: [WriteType; 4] = [
        WriteType::Put,
        WriteType::Delete,
        WriteType::Lock,
        WriteType::Rollback,
    ];
    let write_type = TYPES[usize::from(input.byte()) % TYPES.len()];
    let start_ts = TimeStamp::new(input.number());
    let short_value = input.flag().then(|| input.bytes().to_vec());
    let mut write = Write::new(write_type, start_ts, short_value);
    if input.flag() {
        let fence = input.flag().then(|| input.number().into());
        write = write.with_overlapped_rollback(fence);
    }
    write.txn_source = input.number();
    write
}
