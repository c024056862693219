//! Locks and histories of keys, and the explanations that follow from them.

use kvproto::kvrpcpb::MvccValue;
use test_case::test_case;

use super::*;
use crate::lock_view::tests::{at, lock};

/// A record of the transaction that began at `start` ms, committed at `commit` ms.
fn write(op: Op, start: u64, commit: u64, value: &[u8]) -> MvccWrite {
    let mut write = MvccWrite::default();
    write.set_field_type(op);
    write.set_start_ts(at(start).into_inner());
    write.set_commit_ts(at(commit).into_inner());
    write.set_short_value(value.to_vec());
    write
}

fn history(writes: &[MvccWrite]) -> MvccInfo {
    let mut info = MvccInfo::default();
    info.set_writes(writes.to_vec().into());
    info
}

fn committed(start: u64, commit: u64) -> MvccInfo {
    history(&[write(Op::Put, start, commit, b"v")])
}

fn rolled_back() -> MvccInfo {
    history(&[write(Op::Rollback, 0, 0, b"")])
}

/// The commit of another transaction at the start of ours, with our rollback beside it.
fn overlapped() -> MvccInfo {
    let mut other = write(Op::Put, 1, 0, b"v");
    other.set_has_overlapped_rollback(true);
    history(&[other])
}

fn async_primary() -> LockInfo {
    let mut primary = lock(b"p", b"p", Op::Put);
    primary.set_use_async_commit(true);
    primary
}

fn of_another() -> LockInfo {
    let mut other = lock(b"p", b"q", Op::Put);
    other.set_lock_version(at(7).into_inner());
    other
}

#[test_case(None, committed(0, 9), 10, &Fate::Committed { commit_ts: at(9).into_inner() }; "committed")]
#[test_case(None, committed(1, 9), 10, &Fate::Unknown; "somebody else committed")]
#[test_case(None, rolled_back(), 10, &Fate::RolledBack; "rolled back")]
#[test_case(None, overlapped(), 10, &Fate::RolledBack; "rolled back beside a commit")]
#[test_case(None, history(&[write(Op::Lock, 0, 9, b"")]), 10, &Fate::Committed { commit_ts: at(9).into_inner() }; "the primary was only locked")]
#[test_case(Some(lock(b"p", b"p", Op::Put)), MvccInfo::default(), 2000, &Fate::Alive { ttl_left_ms: 1000 }; "alive")]
#[test_case(Some(lock(b"p", b"p", Op::Put)), MvccInfo::default(), 3001, &Fate::Expired { async_commit: false }; "expired")]
#[test_case(Some(async_primary()), MvccInfo::default(), 3001, &Fate::Expired { async_commit: true }; "perhaps committed")]
#[test_case(Some(lock(b"p", b"q", Op::PessimisticLock)), MvccInfo::default(), 1, &Fate::OtherPrimary { primary: "q".to_owned() }; "the primary is another key")]
#[test_case(Some(of_another()), MvccInfo::default(), 1, &Fate::Unknown; "somebody else has the primary")]
#[test_case(Some(of_another()), committed(0, 5), 9, &Fate::Committed { commit_ts: at(5).into_inner() }; "committed and locked again")]
#[test_case(None, MvccInfo::default(), 1, &Fate::Unknown; "nothing")]
fn the_primary_decides(primary: Option<LockInfo>, info: MvccInfo, now: u64, expected: &Fate) {
    let own = lock(b"k", b"p", Op::Put);
    assert_eq!(&fate(&own, primary.as_ref(), &info, at(now)), expected);
}

#[test]
fn a_share_of_the_primary_counts() {
    let mut primary = lock(b"p", b"", Op::SharedLock);
    primary.set_lock_version(0);
    primary
        .mut_shared_lock_infos()
        .push(lock(b"p", b"p", Op::SharedPessimisticLock));
    let own = lock(b"k", b"p", Op::Put);
    let state = fate(&own, Some(&primary), &MvccInfo::default(), at(1000));
    assert_eq!(state, Fate::Alive { ttl_left_ms: 2000 });
}

fn min_commit(ms: u64) -> LockInfo {
    let mut pushed = lock(b"k", b"p", Op::Put);
    pushed.set_min_commit_ts(at(ms).into_inner());
    pushed
}

fn long_value() -> MvccInfo {
    let mut info = history(&[write(Op::Put, 1, 2, b"")]);
    let mut value = MvccValue::default();
    value.set_start_ts(at(1).into_inner());
    value.set_value(b"long".to_vec());
    info.mut_values().push(value);
    info
}

fn fenced(fence: u64) -> MvccInfo {
    let mut record = write(Op::Put, 1, 2, b"v");
    record.set_has_gc_fence(true);
    record.set_gc_fence(at(fence).into_inner());
    history(&[record])
}

fn newer_on_top() -> MvccInfo {
    history(&[
        write(Op::Put, 5000, 6000, b"later"),
        write(Op::Rollback, 50, 50, b""),
        write(Op::Lock, 30, 40, b""),
        write(Op::Put, 1, 2, b"v"),
    ])
}

fn deleted() -> MvccInfo {
    history(&[write(Op::Del, 3, 4, b""), write(Op::Put, 1, 2, b"v")])
}

#[test_case(None, committed(1, 2), "value v"; "a value")]
#[test_case(None, long_value(), "value long"; "a long value")]
#[test_case(None, newer_on_top(), "value v"; "below what is newer and what changes nothing")]
#[test_case(None, deleted(), "nothing"; "a deletion")]
#[test_case(None, fenced(100), "nothing"; "behind a fence")]
#[test_case(None, fenced(101), "value v"; "before a fence")]
#[test_case(None, MvccInfo::default(), "nothing"; "no record")]
#[test_case(Some(lock(b"k", b"p", Op::Put)), committed(1, 2), "lock over v"; "a lock")]
#[test_case(Some(lock(b"k", b"p", Op::Del)), deleted(), "lock over nothing"; "a lock over nothing")]
#[test_case(Some(lock(b"k", b"p", Op::Lock)), committed(1, 2), "value v"; "a lock without a value")]
#[test_case(Some(lock(b"k", b"p", Op::PessimisticLock)), committed(1, 2), "value v"; "a pessimistic lock")]
#[test_case(Some(min_commit(101)), committed(1, 2), "value v"; "a lock that commits later")]
#[test_case(Some(min_commit(100)), committed(1, 2), "lock over v"; "a lock that may commit now")]
fn a_reader_at_100_sees(lock: Option<LockInfo>, info: MvccInfo, expected: &str) {
    let seen = match reader(lock.as_ref(), &info, at(100)) {
        Reader::Value { value, .. } => format!("value {value}"),
        Reader::Nothing => "nothing".to_owned(),
        Reader::Lock { below: Some(value) } => format!("lock over {value}"),
        Reader::Lock { below: None } => "lock over nothing".to_owned(),
    };
    assert_eq!(seen, expected);
}

fn wait(txn: u64, key: &[u8], ms: u64) -> WaitForEntry {
    let mut entry = WaitForEntry::default();
    entry.set_txn(txn);
    entry.set_key(key.to_vec());
    entry.set_wait_time(ms);
    entry
}

fn findings(lock: Option<LockInfo>, primary: (Option<LockInfo>, MvccInfo), now: u64) -> Findings {
    Findings {
        key: b"k".to_vec(),
        now: at(now),
        primary: lock.is_some().then_some(primary),
        lock,
        info: committed(1, 2),
        waits: Some(vec![
            wait(7, b"k", 10),
            wait(8, b"x", 20),
            wait(9, b"k", 30),
        ]),
    }
}

#[test]
fn everything_is_told_in_order() {
    let found = findings(
        Some(lock(b"k", b"p", Op::Put)),
        (None, committed(0, 9)),
        4000,
    );
    let (start, commit) = (at(0).into_inner(), at(9).into_inner());
    let text = Explanation::new(&found).to_string();
    assert_eq!(
        text,
        format!(
            "key     k\n\
             lock    put, transaction {start} (2025-11-22T17:00:00.000Z), 4s old, primary \"p\", ttl 3s is over\n\
             state   committed at {commit} (2025-11-22T17:00:00.009Z)\n\
             waits   transaction 9, for 30ms\n\
             waits   transaction 7, for 10ms\n\
             reader  is blocked by the lock; if it goes without a commit, sees \"v\"\n\
             next    nothing is lost: the transaction is committed at {commit}, the next reader of this key commits this \
             key too, `tikv-ctl txn get 'k'` does it now"
        )
    );
}

#[test]
fn a_program_reads_the_same() {
    let found = findings(
        Some(lock(b"k", b"p", Op::Put)),
        (Some(lock(b"p", b"p", Op::Put)), MvccInfo::default()),
        1000,
    );
    let json = serde_json::to_value(Explanation::new(&found)).unwrap();
    assert_eq!(json["transaction"]["state"], "alive");
    assert_eq!(json["transaction"]["ttl-left-ms"], 2000);
    assert_eq!(json["reader"]["sees"], "lock");
    assert_eq!(json["reader"]["below"], "v");
    assert_eq!(json["lock"]["age-ms"], 1000);
    assert_eq!(json["waiters"][0]["start-ts"], 9);

    let free = Findings {
        waits: None,
        ..findings(None, (None, MvccInfo::default()), 1000)
    };
    let json = serde_json::to_value(Explanation::new(&free)).unwrap();
    assert!(json["lock"].is_null() && json["transaction"].is_null() && json["waiters"].is_null());
    assert_eq!(json["reader"]["value"], "v");
    assert_eq!(json["next"], "nothing: no lock is on this key");
}

#[test_case(Op::Put, &Fate::RolledBack, "txn get"; "a reader removes it")]
#[test_case(Op::PessimisticLock, &Fate::RolledBack, "the next writer"; "only a writer removes it")]
#[test_case(Op::PessimisticLock, &Fate::Committed { commit_ts: 9 }, "without this key"; "a pessimistic lock is left over")]
#[test_case(Op::Put, &Fate::Alive { ttl_left_ms: 1500 }, "another 1s 500ms"; "wait")]
#[test_case(Op::Put, &Fate::Expired { async_commit: true }, "all of its keys"; "ask all")]
#[test_case(Op::Put, &Fate::Expired { async_commit: false }, "rolls it back"; "roll back")]
#[test_case(Op::PessimisticLock, &Fate::OtherPrimary { primary: "q".to_owned() }, "look at \"q\""; "another primary")]
#[test_case(Op::Put, &Fate::Unknown, "neither lock nor record"; "unknown")]
fn one_sentence_says_what_to_do(op: Op, fate: &Fate, part: &str) {
    let sentence = next("k", Some(&lock(b"k", b"p", op)), Some(fate));
    assert!(sentence.contains(part), "{sentence}");
    assert!(
        !sentence.contains(". ") && !sentence.ends_with('.'),
        "{sentence}"
    );
}
