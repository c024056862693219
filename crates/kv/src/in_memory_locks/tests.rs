//! What a table takes, gives out, and keeps.

use txn_types::{LastChange, LockType};

use super::*;

const STAMP: RegionStamp = RegionStamp {
    term: 6,
    version: 1,
};

fn key(name: &str) -> Key {
    Key::from_raw(name.as_bytes())
}

fn lock(start_ts: u64) -> PessimisticLock {
    PessimisticLock {
        primary: b"p".as_slice().into(),
        start_ts: start_ts.into(),
        ttl: 3000,
        for_update_ts: start_ts.into(),
        min_commit_ts: 0.into(),
        last_change: LastChange::NotExist,
        is_locked_with_conflict: false,
    }
}

fn locks(names: &[&str]) -> Vec<(Key, PessimisticLock)> {
    names.iter().map(|name| (key(name), lock(10))).collect()
}

fn table(limits: LockTableLimits) -> (RegionLocks, LockTableQuota) {
    let quota = LockTableQuota::new(limits);
    (RegionLocks::new(STAMP, quota.clone()), quota)
}

fn with(names: &[&str]) -> (RegionLocks, LockTableQuota) {
    let (table, quota) = table(LockTableLimits::default());
    assert!(table.at(STAMP).insert(&locks(names)));
    (table, quota)
}

fn names(locks: &[(Key, Lock)]) -> Vec<String> {
    let name = |(key, _): &(Key, Lock)| String::from_utf8(key.to_raw().unwrap()).unwrap();
    locks.iter().map(name).collect()
}

fn delete(name: &str) -> Modify {
    Modify::Delete(Cf::Lock, key(name))
}

#[test]
fn a_lock_is_read_as_it_would_be_stored() {
    let (table, _) = with(&["a"]);
    let found = table.at(STAMP).get(&key("a")).unwrap().unwrap();
    assert_eq!(found, lock(10).to_lock());
    assert_eq!(found.lock_type, LockType::Pessimistic);
    assert_eq!(table.at(STAMP).get(&key("b")).unwrap(), None);
}

#[test]
fn another_term_or_version_is_a_region_error_and_adds_nothing() {
    let (table, _) = with(&["a"]);
    for (term, version, field) in [(7, 1, "stale_command"), (6, 2, "epoch_not_match")] {
        let later = table.at(RegionStamp { term, version });
        let Err(Error::Region(error)) = later.get(&key("a")) else {
            panic!("a table of another state was read");
        };
        assert_eq!(error.has_stale_command(), field == "stale_command");
        assert_eq!(error.has_epoch_not_match(), field == "epoch_not_match");
        assert!(later.scan(None, None, |_, _| true, 1).is_err());
        assert!(!later.insert(&locks(&["b"])));
    }
    table.step_down(STAMP);
    assert!(table.at(STAMP).get(&key("a")).is_err());
}

#[test]
fn limits_of_region_and_store_refuse_whole_requests() {
    let one = locks(&["a"]);
    let (measured, quota) = with(&["a"]);
    let bytes = quota.used();
    assert!(bytes <= 400, "{bytes} bytes for a lock on a small key");
    drop(measured);
    assert_eq!(quota.used(), 0, "a table that goes gives its bytes back");

    let (table, quota) = table(LockTableLimits {
        region_bytes: bytes,
        store_bytes: bytes,
    });
    assert!(!table.at(STAMP).insert(&locks(&["a", "b"])));
    assert!(table.at(STAMP).insert(&one));
    assert!(!table.at(STAMP).insert(&locks(&["b"])));
    let other = RegionLocks::new(STAMP, quota.clone());
    assert!(!other.at(STAMP).insert(&locks(&["b"])), "the store is full");
    quota.set_limits(LockTableLimits::default());
    assert!(other.at(STAMP).insert(&locks(&["b"])));
    // The same transaction's lock again takes no more room.
    assert!(table.at(STAMP).insert(&one));
    assert_eq!(quota.used(), 2 * bytes);
}

#[test]
fn a_removal_is_marked_first_and_done_when_applied() {
    let (table, quota) = with(&["a", "b"]);
    let release = table.write_begins(&[delete("a"), delete("x")]).unwrap();
    assert!(table.at(STAMP).get(&key("a")).unwrap().is_some());
    assert_eq!(names(&table.begin_transfer()), ["b"]);
    release.applied();
    assert_eq!(table.at(STAMP).get(&key("a")).unwrap(), None);
    let put = Modify::Put(Cf::Lock, key("b"), Vec::new());
    table.write_begins(&[put]).unwrap().applied();
    assert!(table.is_empty());
    assert_eq!(quota.used(), 0);
    assert!(table.write_begins(&[delete("a")]).is_none());
}

#[test]
fn a_removal_that_failed_leaves_the_lock_to_be_handed_over() {
    let (table, _) = with(&["a"]);
    table.write_begins(&[delete("a")]).unwrap().failed();
    assert_eq!(names(&table.begin_transfer()), ["a"]);
}

#[test]
fn trap_28_leader_transfer_with_in_memory_locks() {
    let (table, _) = with(&["a", "b"]);
    let release = table.write_begins(&[delete("a")]).unwrap();
    let handed_over = table.begin_transfer();
    assert_eq!(names(&handed_over), ["b"]);
    assert_eq!(table.status(), LockTableStatus::TransferringLeader);
    assert!(!table.at(STAMP).insert(&locks(&["c"])));
    // It fails, and the table is as before; then it succeeds.
    table.thaw();
    assert!(table.at(STAMP).insert(&locks(&["c"])));
    release.applied();
    assert_eq!(names(&table.begin_transfer()), ["b", "c"]);
    table.step_down(RegionStamp {
        term: 7,
        version: 1,
    });
    assert!(table.is_empty());
    table.thaw();
    assert_eq!(table.status(), LockTableStatus::NotLeader);
    let again = RegionStamp {
        term: 8,
        version: 1,
    };
    table.lead(again);
    assert!(table.at(again).insert(&locks(&["a"])));
}

#[test]
fn a_merge_takes_the_removals_under_way_along() {
    let (table, _) = with(&["a", "b"]);
    let release = table.write_begins(&[delete("a")]).unwrap();
    assert_eq!(names(&table.begin_merge()), ["a", "b"]);
    assert_eq!(table.status(), LockTableStatus::MergingRegion);
    release.failed();
    table.thaw();
    table.begin_flashback();
    assert_eq!(table.status(), LockTableStatus::IsInFlashback);
    assert_eq!(table.len(), 2);
    assert!(!table.at(STAMP).insert(&locks(&["c"])));
}

#[test]
fn a_split_gives_each_region_its_part() {
    let (table, quota) = with(&["a", "b", "c", "d"]);
    let before = quota.used();
    let parts = table.split(2, &[key("b"), key("d")]);
    let now = RegionStamp {
        term: 6,
        version: 2,
    };
    assert!(table.at(STAMP).get(&key("a")).is_err());
    let held = |part: &RegionLocks| names(&part.at(now).scan(None, None, |_, _| true, 9).unwrap());
    assert_eq!(held(&table), ["a"]);
    assert_eq!(held(&parts[0]), ["b", "c"]);
    assert_eq!(held(&parts[1]), ["d"]);
    assert_eq!(quota.used(), before);
    drop(parts);
    assert_eq!(quota.used() * 4, before);
}

#[test]
fn ranges_are_scanned_and_deleted() {
    let (table, _) = with(&["a", "b", "c", "d"]);
    let view = table.at(STAMP);
    let scan = |start: Option<&str>, end: Option<&str>, limit| {
        let (start, end) = (start.map(key), end.map(key));
        names(
            &view
                .scan(start.as_ref(), end.as_ref(), |k, _| *k != key("b"), limit)
                .unwrap(),
        )
    };
    assert_eq!(scan(None, None, 2), ["a", "c"]);
    assert_eq!(scan(Some("b"), Some("d"), 9), ["c"]);
    assert!(scan(Some("d"), Some("b"), 9).is_empty());
    let delete = |start, end| {
        let range = Modify::DeleteRange(Cf::Lock, start, end);
        table.write_begins(&[range]).unwrap().applied();
    };
    delete(key("b"), key("d"));
    assert_eq!(scan(None, None, 9), ["a", "d"]);
    delete(key("a"), Key::from_encoded(Vec::new()));
    assert!(table.is_empty());
}
