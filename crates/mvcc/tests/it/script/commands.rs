//! The commands of the golden scripts.

use std::fmt::Write as _;

use engine_mem::{MemEngine, MemSnapshot};
use engine_traits::Cf;
use kvproto::kvrpcpb::LockInfo;
use mvcc::{
    Direction, Error, IsolationLevel, PointGetter, ReadView, ReplicaRead, Scanner, SnapshotReader,
    Statistics, TxnCommitRecord, ValueEntry, WriteConflictReason, find_start_ts, mvcc_info,
};
use txn_types::{
    Key, LastChange, Lock, LockType, Protected, SharedLocks, TimeStamp, TsSet, Write, WriteType,
    is_short_value,
};

use super::Args;
use crate::store::{Store, TestSnapshot};

/// Runs one command and answers what it prints.
pub(super) fn run(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    match args.command {
        "put" | "delete" | "lock" | "rollback" => write_record(store, args),
        "lock-put" | "lock-delete" | "lock-lock" | "lock-pessimistic" => write_lock(store, args),
        "lock-shared" => write_shared_lock(store, args),
        "raw" => write_raw(store, args),
        "get" => get(store, args),
        "scan" => scan(store, args),
        "commit-record" => commit_record(store, args),
        "seek-write" => seek_write(store, args),
        "get-write" => get_write(store, args),
        "load-lock" => load_lock(store, args),
        "scan-locks" => scan_locks(store, args),
        "range-has-write" => range_has_write(store, args),
        "mvcc-by-key" => mvcc_by_key(store, args),
        "mvcc-by-start-ts" => mvcc_by_start_ts(store, args),
        other => panic!("unknown command {other}"),
    }
}

fn key(args: &Args<'_>) -> Key {
    Key::from_raw(args.need("k").as_bytes())
}

fn ts(args: &Args<'_>, name: &'static str) -> TimeStamp {
    args.number(name)
        .unwrap_or_else(|| panic!("needs {name}="))
        .into()
}

/// `x*300` is a long value.
fn value(text: &str) -> Vec<u8> {
    match text.split_once('*') {
        Some((unit, times)) => unit.repeat(times.parse().unwrap()).into_bytes(),
        None => text.as_bytes().to_vec(),
    }
}

fn show_value(value: &[u8]) -> String {
    match value.first() {
        Some(first) if value.len() > 16 => format!("{}*{}", *first as char, value.len()),
        _ => format!("{:?}", String::from_utf8_lossy(value)),
    }
}

fn last_change(args: &Args<'_>) -> LastChange {
    match args.get("last") {
        None => LastChange::Unknown,
        Some("none") => LastChange::NotExist,
        Some(text) => {
            let (ts, versions) = text.split_once('/').unwrap();
            let ts: u64 = ts.parse().unwrap();
            LastChange::Exist {
                ts: ts.into(),
                versions: versions.parse().unwrap(),
            }
        }
    }
}

/// The short form of a value; a long one goes to the default column family, unless it is `lost`.
fn store_value(store: &Store<MemEngine>, args: &Args<'_>, start: TimeStamp) -> Option<Vec<u8>> {
    let value = value(args.need("v"));
    let lost = args.flag("lost");
    if is_short_value(&value) && !lost {
        return Some(value);
    }
    if !lost {
        store.put_default(&key(args), start, value);
    }
    None
}

fn write_record(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    let start = ts(args, "start");
    let (write_type, commit, short_value) = match args.command {
        "put" => (
            WriteType::Put,
            ts(args, "commit"),
            store_value(store, args, start),
        ),
        "delete" => (WriteType::Delete, ts(args, "commit"), None),
        "lock" => (WriteType::Lock, ts(args, "commit"), None),
        _ => {
            let protected = Protected::from(args.flag("protected"));
            (
                WriteType::Rollback,
                start,
                Write::new_rollback(start, protected).short_value,
            )
        }
    };
    let mut write = Write::new(write_type, start, short_value);
    write.has_overlapped_rollback = args.flag("overlapped");
    write.gc_fence = args.number("fence").map(TimeStamp::new);
    write.last_change = last_change(args);
    store.put_write(&key(args), commit, &write);
    String::new()
}

fn new_lock(store: &Store<MemEngine>, args: &Args<'_>, lock_type: LockType) -> Lock {
    let start = ts(args, "start");
    let primary = args.get("primary").unwrap_or("p").as_bytes().to_vec();
    let mut lock = Lock::new(lock_type, primary, start, 3000);
    if lock_type == LockType::Put {
        lock.short_value = store_value(store, args, start);
    }
    lock.min_commit_ts = args.number("min").unwrap_or_default().into();
    lock.use_async_commit = args.flag("async");
    lock.last_change = last_change(args);
    lock
}

fn write_lock(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    let lock_type = match args.command {
        "lock-put" => LockType::Put,
        "lock-delete" => LockType::Delete,
        "lock-lock" => LockType::Lock,
        _ => LockType::Pessimistic,
    };
    store.put_lock(&key(args), new_lock(store, args, lock_type));
    String::new()
}

fn write_shared_lock(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    let mut locks = SharedLocks::new();
    for start in args.numbers("starts") {
        let lock = Lock::new(LockType::Pessimistic, b"p".to_vec(), start.into(), 3000);
        locks.insert(lock).unwrap();
    }
    store.put(Cf::Lock, key(args), locks.to_bytes());
    String::new()
}

/// Puts bytes that need not make sense.
fn write_raw(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    let cf = Cf::from_name(args.need("cf")).unwrap();
    let mut key = match args.get("encoded") {
        Some(encoded) => Key::from_encoded(hex::decode(encoded).unwrap()),
        None => key(args),
    };
    if let Some(ts) = args.number("ts") {
        key = key.append_ts(ts.into());
    }
    store.put(cf, key, hex::decode(args.need("hex")).unwrap());
    String::new()
}

fn isolation(args: &Args<'_>) -> IsolationLevel {
    match args.get("iso") {
        None | Some("si") => IsolationLevel::Si,
        Some("rc") => IsolationLevel::Rc,
        Some("rcts") => IsolationLevel::RcCheckTs,
        Some(other) => panic!("unknown isolation {other}"),
    }
}

fn replica(args: &Args<'_>) -> ReplicaRead {
    if args.flag("replica") {
        ReplicaRead::Yes
    } else {
        ReplicaRead::No
    }
}

fn show_entry(entry: &ValueEntry) -> String {
    let at = match entry.commit_ts {
        Some(ts) => format!("@{ts}"),
        None => " through its lock".to_owned(),
    };
    format!("{}{at}", show_value(&entry.value))
}

fn show_statistics(statistics: &Statistics) -> String {
    let mut out = String::new();
    for cf in Cf::DATA {
        let c = statistics.cf(cf).unwrap();
        let counters = [
            ("get", c.get),
            ("seek", c.seek),
            ("seek_for_prev", c.seek_for_prev),
            ("next", c.next),
            ("prev", c.prev),
            ("processed", c.processed_keys),
        ];
        let counted: String = counters
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!(" {name}={count}"))
            .collect();
        if !counted.is_empty() {
            writeln!(out, "  {cf}:{counted}").unwrap();
        }
    }
    writeln!(out, "  bytes: {}", statistics.processed_size).unwrap();
    out
}

fn show_error(error: &Error) -> String {
    match error {
        Error::KeyIsLocked(info) => format!("locked: {}", show_lock_info(info)),
        Error::WriteConflict {
            start_ts,
            conflict_start_ts,
            conflict_commit_ts,
            key,
            primary,
            reason,
        } => {
            assert_eq!(*reason, WriteConflictReason::RcCheckTs);
            let key = match Key::from_encoded(key.clone()).truncate_ts() {
                Ok(user) if user.to_raw().is_ok() => {
                    format!("{}@", String::from_utf8_lossy(&user.to_raw().unwrap()))
                        + &Key::decode_ts_from(key).unwrap().to_string()
                }
                _ => String::from_utf8_lossy(key).into_owned(),
            };
            format!(
                "write conflict: start={start_ts} conflict_start={conflict_start_ts} \
                 conflict_commit={conflict_commit_ts} key={key} primary={:?} reason={reason:?}",
                String::from_utf8_lossy(primary)
            )
        }
        error => format!("error: {error}"),
    }
}

fn show_lock_info(info: &LockInfo) -> String {
    let mut out = format!(
        "key={} start={} primary={} type={:?}",
        String::from_utf8_lossy(info.get_key()),
        info.get_lock_version(),
        String::from_utf8_lossy(info.get_primary_lock()),
        info.get_lock_type(),
    );
    for member in info.get_shared_lock_infos() {
        write!(out, " member={}", member.get_lock_version()).unwrap();
    }
    out
}

fn view(args: &Args<'_>) -> ReadView {
    ReadView {
        isolation: isolation(args),
        bypass: TsSet::from_u64s(&args.numbers("bypass")),
        access: TsSet::from_u64s(&args.numbers("access")),
        replica_read: replica(args),
        need_commit_ts: args.flag("need-commit-ts"),
        key_only: args.flag("key-only"),
        fill_cache: !args.flag("no-cache"),
        ..ReadView::new(ts(args, "ts"))
    }
}

fn get(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    let mut getter = PointGetter::new(store.snapshot(), view(args));
    let mut out = String::new();
    for raw in args.need("k").split(',') {
        let text = match getter.get(&Key::from_raw(raw.as_bytes())) {
            Ok(Some(entry)) => show_entry(&entry),
            Ok(None) => "not found".to_owned(),
            Err(error) => show_error(&error),
        };
        writeln!(out, "{raw}: {text}").unwrap();
    }
    if args.flag("stats") {
        out.push_str(&show_statistics(&getter.take_statistics()));
    }
    out
}

fn scan(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    let bound = |name| {
        args.get(name)
            .map(|raw: &str| Key::from_raw(raw.as_bytes()))
    };
    let direction = if args.flag("reverse") {
        Direction::Backward
    } else {
        Direction::Forward
    };
    let range = (bound("from"), bound("to"));
    let mut scanner = Scanner::new(store.snapshot(), view(args), direction, range).unwrap();
    let limit = args.number("limit").unwrap_or(u64::MAX) as usize;
    let sample_step = args.number("sample").unwrap_or_default() as usize;
    let mut out = String::new();
    match scanner.scan(limit, sample_step) {
        Err(error) => writeln!(out, "{}", show_error(&error)).unwrap(),
        Ok(pairs) => {
            for pair in pairs {
                match pair {
                    Ok((raw, entry)) => {
                        let raw = String::from_utf8_lossy(&raw).into_owned();
                        writeln!(out, "{raw}: {}", show_entry(&entry)).unwrap();
                    }
                    Err(error) => writeln!(out, "{}", show_error(&error)).unwrap(),
                }
            }
            if out.is_empty() {
                out.push_str("nothing\n");
            }
        }
    }
    if args.flag("stats") {
        out.push_str(&show_statistics(&scanner.take_statistics()));
    }
    out
}

fn reader(store: &Store<MemEngine>, args: &Args<'_>) -> SnapshotReader<TestSnapshot<MemSnapshot>> {
    let start = args.number("start").unwrap_or_default();
    SnapshotReader::new(start.into(), store.snapshot(), true)
}

fn show_write(commit_ts: TimeStamp, write: &Write) -> String {
    let mut out = format!(
        "{:?}@{commit_ts} start={}",
        write.write_type, write.start_ts
    );
    if let Some(value) = &write.short_value {
        write!(out, " {}", show_value(value)).unwrap();
    }
    if write.has_overlapped_rollback {
        out.push_str(" overlapped");
    }
    if let Some(fence) = write.gc_fence {
        write!(out, " fence={fence}").unwrap();
    }
    out
}

fn commit_record(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    match reader(store, args).get_txn_commit_record(&key(args)) {
        Ok(TxnCommitRecord::None { overlapped: None }) => "none\n".to_owned(),
        Ok(TxnCommitRecord::None {
            overlapped: Some(overlapped),
        }) => {
            let start = ts(args, "start");
            let write = show_write(start, &overlapped.write);
            format!(
                "none, in its place {write}, gc_fence {}\n",
                overlapped.gc_fence
            )
        }
        Ok(TxnCommitRecord::SingleRecord { commit_ts, write }) => {
            format!("record {}\n", show_write(commit_ts, &write))
        }
        Ok(TxnCommitRecord::OverlappedRollback { commit_ts }) => {
            format!("overlapped rollback@{commit_ts}\n")
        }
        Err(error) => format!("{}\n", show_error(&error)),
    }
}

fn show_found(found: mvcc::Result<Option<(TimeStamp, Write)>>) -> String {
    match found {
        Ok(Some((commit_ts, write))) => format!("{}\n", show_write(commit_ts, &write)),
        Ok(None) => "nothing\n".to_owned(),
        Err(error) => format!("{}\n", show_error(&error)),
    }
}

fn seek_write(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    show_found(reader(store, args).seek_write(&key(args), ts(args, "ts")))
}

fn get_write(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    show_found(reader(store, args).get_write(&key(args), ts(args, "ts")))
}

fn load_lock(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    match reader(store, args).load_lock(&key(args)) {
        Ok(Some(lock)) => {
            format!(
                "{}\n",
                show_lock_info(&lock.into_lock_info(args.need("k").into()))
            )
        }
        Ok(None) => "nothing\n".to_owned(),
        Err(error) => format!("{}\n", show_error(&error)),
    }
}

fn scan_locks(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    let bound = |name| {
        args.get(name)
            .map(|raw: &str| Key::from_raw(raw.as_bytes()))
    };
    let (from, to) = (bound("from"), bound("to"));
    let max = ts(args, "max");
    let limit = args.number("limit").unwrap_or_default() as usize;
    let mut reader = SnapshotReader::new(TimeStamp::zero(), store.snapshot(), false);
    let scanned = reader.scan_locks(from.as_ref(), to.as_ref(), |_, lock| lock.ts <= max, limit);
    let mut out = String::new();
    match scanned {
        Err(error) => writeln!(out, "{}", show_error(&error)).unwrap(),
        Ok(scanned) => {
            for (key, lock) in scanned.locks {
                let info = lock.into_lock_info(key.to_raw().unwrap());
                writeln!(out, "{}", show_lock_info(&info)).unwrap();
            }
            let end = if scanned.has_remain {
                "there may be more"
            } else {
                "that is all"
            };
            writeln!(out, "{end}").unwrap();
        }
    }
    if args.flag("stats") {
        out.push_str(&show_statistics(&reader.take_statistics()));
    }
    out
}

fn range_has_write(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    let bound = |name: &'static str| Key::from_raw(args.need(name).as_bytes());
    format!(
        "{}\n",
        reader(store, args)
            .range_has_write(&bound("from"), &bound("to"))
            .unwrap()
    )
}

fn mvcc_by_key(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    let mut statistics = Statistics::default();
    match mvcc_info(&store.snapshot(), &key(args), &mut statistics) {
        Err(error) => format!("{}\n", show_error(&error)),
        Ok(info) => show_mvcc_info(info),
    }
}

fn show_mvcc_info(info: mvcc::MvccInfo) -> String {
    let info = info.into_proto();
    let mut out = String::new();
    if info.has_lock() {
        let lock = info.get_lock();
        writeln!(
            out,
            "lock {:?} start={} primary={} short={:?} last_change={}/{}",
            lock.get_field_type(),
            lock.get_start_ts(),
            String::from_utf8_lossy(lock.get_primary()),
            String::from_utf8_lossy(lock.get_short_value()),
            lock.get_last_change_ts(),
            lock.get_versions_to_last_change(),
        )
        .unwrap();
    }
    for write in info.get_writes() {
        let fence = if write.get_has_gc_fence() {
            format!(" fence={}", write.get_gc_fence())
        } else {
            String::new()
        };
        writeln!(
            out,
            "write {:?}@{} start={} short={:?} overlapped={}{fence} last_change={}/{}",
            write.get_field_type(),
            write.get_commit_ts(),
            write.get_start_ts(),
            String::from_utf8_lossy(write.get_short_value()),
            write.get_has_overlapped_rollback(),
            write.get_last_change_ts(),
            write.get_versions_to_last_change(),
        )
        .unwrap();
    }
    for value in info.get_values() {
        writeln!(
            out,
            "value start={} {}",
            value.get_start_ts(),
            show_value(value.get_value())
        )
        .unwrap();
    }
    if out.is_empty() {
        "nothing\n".to_owned()
    } else {
        out
    }
}

fn mvcc_by_start_ts(store: &Store<MemEngine>, args: &Args<'_>) -> String {
    let mut statistics = Statistics::default();
    let snapshot = store.snapshot();
    match find_start_ts(&snapshot, ts(args, "ts"), &mut statistics) {
        Err(error) => format!("{}\n", show_error(&error)),
        Ok(None) => "nothing\n".to_owned(),
        Ok(Some(key)) => {
            let raw = String::from_utf8(key.to_raw().unwrap()).unwrap();
            let info = mvcc_info(&snapshot, &key, &mut statistics).unwrap();
            format!("key {raw}\n{}", show_mvcc_info(info))
        }
    }
}
