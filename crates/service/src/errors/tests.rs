//! The whole mapping, written out: `testdata/errors.txt` has for each error what a client reads.
//! `BLESS=1` rewrites it.

use std::fmt::Write as _;
use std::path::Path;

use concurrency_manager::ConcurrencyManager;
use engine_traits::Cf;
use kvproto::deadlock::WaitForEntry;
use kvproto::kvrpcpb::{LockInfo, MvccInfo, Op};
use mvcc::{PessimisticLockLoss, WriteConflictReason};
use txn_types::{Assertion, TimeStamp};

use super::*;

const REGION: u64 = 2;

fn ts(number: u64) -> TimeStamp {
    TimeStamp::from(number)
}

fn lock() -> Box<LockInfo> {
    let mut lock = LockInfo::default();
    lock.set_primary_lock(b"p".to_vec());
    lock.set_lock_version(10);
    lock.set_key(b"k".to_vec());
    lock.set_lock_ttl(3000);
    lock.set_txn_size(2);
    lock.set_lock_type(Op::Put);
    Box::new(lock)
}

fn info() -> Option<Box<MvccInfo>> {
    let mut info = MvccInfo::default();
    info.mut_lock().set_start_ts(11);
    Some(Box::new(info))
}

fn wait() -> WaitForEntry {
    let mut wait = WaitForEntry::default();
    wait.set_txn(10);
    wait.set_wait_for_txn(11);
    wait.set_key(b"k".to_vec());
    wait.set_key_hash(8);
    wait
}

fn conflict(reason: WriteConflictReason) -> mvcc::Error {
    mvcc::Error::WriteConflict {
        start_ts: ts(10),
        conflict_start_ts: ts(11),
        conflict_commit_ts: ts(12),
        key: b"k".to_vec(),
        primary: b"p".to_vec(),
        reason,
    }
}

fn mvcc_errors() -> Vec<mvcc::Error> {
    let (start_ts, commit_ts, key) = (ts(10), ts(20), b"k".to_vec());
    vec![
        mvcc::Error::KeyIsLocked(lock()),
        conflict(WriteConflictReason::Optimistic),
        conflict(WriteConflictReason::PessimisticRetry),
        conflict(WriteConflictReason::SelfRolledBack),
        conflict(WriteConflictReason::RcCheckTs),
        conflict(WriteConflictReason::LazyUniquenessCheck),
        mvcc::Error::AlreadyExist { key: key.clone() },
        mvcc::Error::TxnLockNotFound {
            start_ts,
            commit_ts,
            key: key.clone(),
            mvcc_info: None,
        },
        mvcc::Error::TxnLockNotFound {
            start_ts,
            commit_ts,
            key: key.clone(),
            mvcc_info: info(),
        },
        mvcc::Error::TxnNotFound {
            start_ts,
            key: key.clone(),
        },
        mvcc::Error::CommitTsExpired {
            start_ts,
            commit_ts,
            key: key.clone(),
            min_commit_ts: ts(30),
            mvcc_info: info(),
        },
        mvcc::Error::CommitTsTooLarge {
            start_ts,
            min_commit_ts: ts(30),
            max_commit_ts: ts(25),
        },
        mvcc::Error::AssertionFailed {
            start_ts,
            key: key.clone(),
            assertion: Assertion::NotExist,
            existing_start_ts: ts(3),
            existing_commit_ts: ts(4),
        },
        mvcc::Error::PrimaryMismatch(lock()),
        mvcc::Error::LockTypeNotMatch {
            start_ts,
            key: key.clone(),
            pessimistic: true,
        },
        mvcc::Error::PessimisticLockNotFound {
            start_ts,
            key: key.clone(),
            reason: PessimisticLockLoss::LockMissingAmendFail,
        },
        mvcc::Error::PessimisticLockRolledBack {
            start_ts,
            key: key.clone(),
        },
        mvcc::Error::LockIfExistsFailed {
            start_ts,
            key: key.clone(),
        },
        mvcc::Error::Deadlock {
            start_ts,
            lock_ts: ts(11),
            lock_key: key.clone(),
            deadlock_key_hash: 7,
            wait_chain: vec![wait()],
        },
        mvcc::Error::Committed {
            start_ts,
            commit_ts,
            key: key.clone(),
        },
        mvcc::Error::InvalidTxnTso {
            start_ts,
            commit_ts: ts(9),
        },
        mvcc::Error::InvalidRequest("parts contradict".to_owned()),
        mvcc::Error::DefaultNotFound { key: key.clone() },
        mvcc::Error::Corruption {
            cf: Cf::Lock,
            key: key.clone(),
            source: txn_types::Error::LockType(0xff),
        },
        mvcc::Error::InvalidKey(txn_types::Error::KeyWithoutTs { len: 3 }),
        mvcc::Error::Inconsistent {
            start_ts,
            key,
            detail: "two commits",
        },
        mvcc::Error::Kv(kv::Error::Engine(engine_traits::Error::Io(
            "disk".to_owned(),
        ))),
    ]
}

fn errors() -> Vec<Error> {
    let cm = ConcurrencyManager::new(ts(1));
    cm.set_max_ts_limit(ts(100));
    let invalid_max_ts = cm.update_max_ts(ts(101), "get").unwrap_err();
    let region_error = kv::region_error::stale_command();
    let io = engine_traits::Error::Io("disk".to_owned());
    let mut errors: Vec<Error> = mvcc_errors().into_iter().map(Error::Mvcc).collect();
    errors.extend([
        Error::Kv(kv::Error::Region(Box::new(region_error))),
        Error::Kv(kv::Error::Engine(io)),
        Error::Kv(kv::Error::Closed),
        Error::Kv(kv::Error::DeadlineExceeded),
        Error::SchedTooBusy,
        Error::ReadPoolBusy {
            estimated_wait: std::time::Duration::from_micros(12_345),
        },
        Error::FlowControl {
            reason: "too many level-0 files wait to be merged",
            backoff: std::time::Duration::from_millis(1500),
        },
        Error::MemoryQuotaExceeded { capacity: 1000 },
        Error::Closed,
        Error::DeadlineExceeded,
        Error::InvalidMaxTsUpdate(invalid_max_ts),
        Error::BelowSafePoint(concurrency_manager::BelowSafePoint {
            ts: ts(10),
            safe_point: ts(11),
        }),
        Error::ApiVersion(api_version_error()),
        Error::EmptyKey,
        Error::KeyTooLarge {
            size: 9001,
            limit: 8192,
        },
        Error::ValueTooLarge {
            size: 9_000_000,
            limit: 8_388_608,
        },
        Error::WriteTooLarge {
            size: 9_000_000,
            limit: 8_388_608,
        },
        Error::ReadTooLarge { limit: 1024 },
        Error::InvalidTimestamp {
            field: "start_version",
            ts: TimeStamp::max(),
        },
        Error::InvalidRange {
            start: "62".to_owned(),
            end: "61".to_owned(),
            reason: "the start lies after the end",
        },
        Error::InvalidCf("nowhere".to_owned()),
        Error::CfDeprecated("write".to_owned()),
        Error::MaxTimestampNotSynced {
            reason: "the placement driver is away".to_owned(),
        },
        Error::TtlNotEnabled,
        Error::TtlCountMismatch,
        Error::InvalidRequest("no keys".to_owned()),
        Error::Unsupported("async commit".to_owned()),
    ]);
    errors
}

fn api_version_error() -> api_version::Error {
    api_version::Error::ApiVersionNotMatched {
        cmd: api_version::CommandKind::Get,
        storage: api_version::ApiVersion::V1,
        request: api_version::ApiVersion::V2,
    }
}

/// The name of a variant. Exhaustive, so that a new variant does not build until it is thought of; the
/// list above is compared with what these two name.
fn name(error: &Error) -> &'static str {
    match error {
        Error::Mvcc(error) => mvcc_name(error),
        Error::Kv(_) => "Kv",
        Error::SchedTooBusy => "SchedTooBusy",
        Error::ReadPoolBusy { .. } => "ReadPoolBusy",
        Error::FlowControl { .. } => "FlowControl",
        Error::MemoryQuotaExceeded { .. } => "MemoryQuotaExceeded",
        Error::Closed => "Closed",
        Error::DeadlineExceeded => "DeadlineExceeded",
        Error::InvalidMaxTsUpdate(_) => "InvalidMaxTsUpdate",
        Error::BelowSafePoint(_) => "BelowSafePoint",
        Error::ApiVersion(_) => "ApiVersion",
        Error::EmptyKey => "EmptyKey",
        Error::KeyTooLarge { .. } => "KeyTooLarge",
        Error::ValueTooLarge { .. } => "ValueTooLarge",
        Error::WriteTooLarge { .. } => "WriteTooLarge",
        Error::ReadTooLarge { .. } => "ReadTooLarge",
        Error::InvalidTimestamp { .. } => "InvalidTimestamp",
        Error::InvalidRange { .. } => "InvalidRange",
        Error::InvalidCf(_) => "InvalidCf",
        Error::CfDeprecated(_) => "CfDeprecated",
        Error::MaxTimestampNotSynced { .. } => "MaxTimestampNotSynced",
        Error::TtlNotEnabled => "TtlNotEnabled",
        Error::TtlCountMismatch => "TtlCountMismatch",
        Error::InvalidRequest(_) => "InvalidRequest",
        Error::Unsupported(_) => "Unsupported",
    }
}

fn mvcc_name(error: &mvcc::Error) -> &'static str {
    match error {
        mvcc::Error::KeyIsLocked(_) => "Mvcc KeyIsLocked",
        mvcc::Error::WriteConflict { .. } => "Mvcc WriteConflict",
        mvcc::Error::AlreadyExist { .. } => "Mvcc AlreadyExist",
        mvcc::Error::TxnLockNotFound { .. } => "Mvcc TxnLockNotFound",
        mvcc::Error::TxnNotFound { .. } => "Mvcc TxnNotFound",
        mvcc::Error::CommitTsExpired { .. } => "Mvcc CommitTsExpired",
        mvcc::Error::CommitTsTooLarge { .. } => "Mvcc CommitTsTooLarge",
        mvcc::Error::AssertionFailed { .. } => "Mvcc AssertionFailed",
        mvcc::Error::PrimaryMismatch(_) => "Mvcc PrimaryMismatch",
        mvcc::Error::LockTypeNotMatch { .. } => "Mvcc LockTypeNotMatch",
        mvcc::Error::PessimisticLockNotFound { .. } => "Mvcc PessimisticLockNotFound",
        mvcc::Error::PessimisticLockRolledBack { .. } => "Mvcc PessimisticLockRolledBack",
        mvcc::Error::LockIfExistsFailed { .. } => "Mvcc LockIfExistsFailed",
        mvcc::Error::Deadlock { .. } => "Mvcc Deadlock",
        mvcc::Error::Committed { .. } => "Mvcc Committed",
        mvcc::Error::InvalidTxnTso { .. } => "Mvcc InvalidTxnTso",
        mvcc::Error::InvalidRequest(_) => "Mvcc InvalidRequest",
        mvcc::Error::DefaultNotFound { .. } => "Mvcc DefaultNotFound",
        mvcc::Error::Corruption { .. } => "Mvcc Corruption",
        mvcc::Error::InvalidKey(_) => "Mvcc InvalidKey",
        mvcc::Error::Inconsistent { .. } => "Mvcc Inconsistent",
        mvcc::Error::Kv(_) => "Mvcc Kv",
    }
}

/// Variants that [`name`] and [`mvcc_name`] know.
const VARIANTS: usize = 46;

#[test]
fn every_variant_is_written_out() {
    let mut text = String::new();
    let mut names = std::collections::BTreeSet::new();
    for error in errors() {
        names.insert(name(&error));
        let _ = writeln!(text, "{}: {error}\n----", name(&error));
        let _ = match failure(&error, REGION) {
            Failure::Region(error) => writeln!(text, "region_error {error:?}\n"),
            Failure::Key { error, text: plain } => {
                writeln!(text, "key_error {error:?}\ntext {plain}\n")
            }
        };
    }
    assert_eq!(
        names.len(),
        VARIANTS,
        "a variant is missing from errors(): {names:?}"
    );

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/errors.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "BLESS=1 rewrites {}", path.display());
}

#[test]
fn a_region_error_inside_a_pair_becomes_text() {
    let error = pair_error(&Error::SchedTooBusy, REGION);
    assert_eq!(error.get_abort(), "scheduler is busy");
    let error = pair_error(&Error::Mvcc(mvcc::Error::KeyIsLocked(lock())), REGION);
    assert_eq!(error.get_locked().get_key(), b"k");
}
