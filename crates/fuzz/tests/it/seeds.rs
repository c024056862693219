//! Where fuzzing begins: what real encoders write, and what they never would.

use api_version::{ApiV1Ttl, ApiV2, KvFormat, RawValue};
use kvproto::etcdserverpb::{
    Compare, Compare_CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest,
};
use protobuf::Message;
use txn_types::{
    Key, LastChange, Lock, LockType, Protected, SharedLocks, TimeStamp, Write, WriteType,
};

use test_support::sample::message;
use test_support::varint::varint;

type Seeds = Vec<(String, Vec<u8>)>;

/// The seeds of every target.
pub(crate) fn all() -> Vec<(&'static str, Seeds)> {
    vec![
        ("config", config()),
        ("etcd", etcd()),
        ("frames", frames()),
        ("keys", keys()),
        ("lock", lock()),
        ("raw_values", raw_values()),
        ("write", write()),
    ]
}

fn named<const N: usize>(seeds: [(&str, Vec<u8>); N]) -> Seeds {
    seeds
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .collect()
}

/// With the last byte cut off, and with one too many.
fn with_torn(mut seeds: Seeds) -> Seeds {
    for (name, bytes) in seeds.clone() {
        if let Some((_, torn)) = bytes.split_last() {
            seeds.push((format!("{name}-torn"), torn.to_vec()));
        }
        seeds.push((format!("{name}-longer"), [bytes, vec![0xff]].concat()));
    }
    seeds
}

fn ts() -> TimeStamp {
    TimeStamp::compose(1_700_000_000_000, 7)
}

fn keys() -> Seeds {
    let encoded = |raw: &[u8]| Key::from_raw(raw).into_encoded();
    let versioned = |raw: &[u8]| Key::from_raw(raw).append_ts(ts()).into_encoded();
    let desc = |raw: &[u8]| {
        let mut out = Vec::new();
        codec::bytes::encode_bytes_desc(&mut out, raw);
        out
    };
    // The keyspace 7 of API V2, and what TiDB writes: a row, an entry of an index, metadata.
    let keyspace = |kind: u8| [&[kind, 0, 0, 7][..], b"key"].concat();
    let row = b"t\x80\x00\x00\x00\x00\x00\x00\x2a_r\x80\x00\x00\x00\x00\x00\x00\x01";
    let index = b"t\x80\x00\x00\x00\x00\x00\x00\x2a_i\x80\x00\x00\x00\x00\x00\x00\x01\x03\x80\0\0\0\0\0\0\x05";
    let mut two = vec![1, b'a'];
    two.extend(ts().into_inner().to_le_bytes());
    two.extend([2, b'a', 0]);
    two.extend(1u64.to_le_bytes());
    with_torn(named([
        ("empty-encoded", encoded(b"")),
        ("one-group", encoded(b"12345678")),
        ("zeros", encoded(&[0; 9])),
        ("ones", encoded(&[0xff; 8])),
        ("versioned", versioned(b"key")),
        ("desc", desc(b"12345678")),
        ("keyspace-raw", keyspace(b'r')),
        ("keyspace-txn", versioned(&keyspace(b'x'))),
        ("row", versioned(row)),
        ("index", encoded(index)),
        ("meta", encoded(b"mDB:1\x00\x00\x00\x00\xfb\x00")),
        ("raft-log", ::keys::raft_log_key(9, 10).to_vec()),
        ("raft-state", ::keys::raft_state_key(9).to_vec()),
        ("region-state", ::keys::region_state_key(9).to_vec()),
        ("data", ::keys::data_key(&versioned(b"k"))),
        ("two-keys", two),
        ("bad-marker", vec![0, 0, 0, 0, 0, 0, 0, 0, 3]),
        ("bad-padding", vec![0, 0, 0, 0, 0, 0, 0, 1, 0xf7]),
        (
            "overlong",
            vec![0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        ),
        ("endless", vec![0xff; 11]),
        (
            "claims-much",
            vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ),
    ]))
}

fn full_lock(lock_type: LockType, start: u64) -> Lock {
    let mut lock = Lock::new(lock_type, b"primary".to_vec(), start.into(), 3000);
    lock.for_update_ts = ts();
    lock.txn_size = 16;
    lock.min_commit_ts = ts().next();
    lock.use_async_commit = true;
    lock.secondaries = vec![b"a".to_vec(), Vec::new(), vec![b'c'; 40]];
    lock.rollback_ts = vec![1.into(), 2.into()];
    lock.last_change = LastChange::Exist {
        ts: ts().prev(),
        versions: 3,
    };
    lock.txn_source = 1;
    lock.is_locked_with_conflict = true;
    lock.generation = 4;
    lock
}

fn lock() -> Seeds {
    let mut put = full_lock(LockType::Put, 5);
    put.short_value = Some(b"short".to_vec());
    let plain = Lock::new(LockType::Delete, b"k".to_vec(), ts(), 0);
    let mut pessimistic = full_lock(LockType::Pessimistic, 6);
    pessimistic.last_change = LastChange::NotExist;
    let mut shared = SharedLocks::new();
    shared.shrink_only = true;
    for start in [5, 6] {
        shared.insert(full_lock(LockType::Lock, start)).unwrap();
    }
    let behind = |fields: &[u8]| [plain.to_bytes(), fields.to_vec()].concat();
    let many = varint(u64::MAX);
    with_torn(named([
        ("put", put.to_bytes()),
        ("delete", plain.to_bytes()),
        ("pessimistic", pessimistic.to_bytes()),
        ("shared", shared.to_bytes()),
        ("shared-empty", SharedLocks::new().to_bytes()),
        ("many-secondaries", behind(&[&b"a"[..], &many].concat())),
        ("many-rollbacks", behind(&[&b"r"[..], &many].concat())),
        (
            "no-secondaries",
            behind(&[b"a"[..].to_vec(), varint(30), vec![0; 30]].concat()),
        ),
        ("newer-field", behind(b"\x01anything")),
        (
            "primary-claims-much",
            [&b"P"[..], &varint(u64::MAX - 1)].concat(),
        ),
    ]))
}

fn write() -> Seeds {
    let put = Write::new(WriteType::Put, ts(), Some(b"short".to_vec()));
    let mut skipped = Write::new(WriteType::Lock, ts(), None);
    skipped.last_change = LastChange::Exist {
        ts: ts().prev(),
        versions: 9,
    };
    skipped.txn_source = 1 << 40;
    let mut nothing_below = Write::new(WriteType::Rollback, ts(), None);
    nothing_below.last_change = LastChange::NotExist;
    with_torn(named([
        ("put", put.to_bytes()),
        (
            "empty-value",
            Write::new(WriteType::Put, ts(), Some(Vec::new())).to_bytes(),
        ),
        (
            "delete",
            Write::new(WriteType::Delete, ts(), None).to_bytes(),
        ),
        (
            "fenced",
            put.with_overlapped_rollback(Some(ts())).to_bytes(),
        ),
        (
            "unfenced",
            Write::new(WriteType::Put, ts(), None)
                .with_overlapped_rollback(None)
                .to_bytes(),
        ),
        ("skipped", skipped.to_bytes()),
        ("nothing-below", nothing_below.to_bytes()),
        (
            "protected",
            Write::new_rollback(ts(), Protected::Yes).to_bytes(),
        ),
        (
            "rollback",
            Write::new_rollback(ts(), Protected::No).to_bytes(),
        ),
        ("short-claims-much", [&b"P\x01v"[..], &[0xff]].concat()),
        ("newer-field", b"P\x01\x01anything".to_vec()),
    ]))
}

fn raw_values() -> Seeds {
    let value = |expire_ts, is_delete| RawValue {
        user_value: &b"value"[..],
        expire_ts,
        is_delete,
    };
    with_torn(named([
        ("plain", b"value".to_vec()),
        (
            "ttl",
            ApiV1Ttl::encode_raw_value(value(Some(1_700_000_000), false)),
        ),
        ("ttl-never", ApiV1Ttl::encode_raw_value(value(None, false))),
        ("v2", ApiV2::encode_raw_value(value(None, false))),
        (
            "v2-ttl",
            ApiV2::encode_raw_value(value(Some(u64::MAX), false)),
        ),
        ("v2-deleted", ApiV2::DELETED.to_vec()),
        ("v2-all", ApiV2::encode_raw_value(value(Some(0), true))),
        ("v2-short", vec![0, 0, 1]),
        ("v2-unknown-flag", b"value\x04".to_vec()),
    ]))
}

fn config() -> Seeds {
    let text = |text: &str| text.as_bytes().to_vec();
    let deep = format!("a = {}", "[".repeat(2_000));
    named([
        ("empty", Vec::new()),
        (
            "default",
            text(&server::config::Config::default().to_toml()),
        ),
        (
            "usual",
            text(
                "memory-usage-limit = \"1GiB\"\n[server]\naddr = \"0.0.0.0:20160\"\nlabels = { zone = \"z1\" }\n\
                 [storage]\napi-version = 2\nenable-ttl = true\n[storage.block-cache]\ncapacity = \"256MiB\"\n\
                 [pd]\nendpoints = [\"pd-0:2379\", \"http://pd-1:2379\"]\n[log]\nlevel = \"warn\"\n",
            ),
        ),
        ("no-toml", text("=")),
        ("nul", text("a = \"\0\"")),
        ("unknown", text("[servre]\nadr = 1\n")),
        (
            "wrong-types",
            text("server = 3\n[storage]\ndata-dir = []\n[log]\nlevel = {}\n"),
        ),
        (
            "absurd",
            text(
                "memory-usage-limit = \"18446744073709551615B\"\n[server]\ngrpc-concurrency = 18446744073709551615\n",
            ),
        ),
        (
            "negative",
            text(
                "[server]\ngrpc-concurrency = -1\nend-point-request-max-handle-duration = \"-1s\"\n",
            ),
        ),
        (
            "sizes",
            text(
                "[rocksdb.defaultcf]\nwrite-buffer-size = \"1e400GiB\"\nblock-size = \"NaNKiB\"\n",
            ),
        ),
        (
            "durations",
            text("[raftstore]\npd-store-heartbeat-tick-interval = \"99999999999999999999d\"\n"),
        ),
        (
            "refused",
            text(
                "[security.encryption]\ndata-encryption-method = \"aes128-ctr\"\n[storage]\nengine = \"partitioned-raft-kv\"\n",
            ),
        ),
        ("twice", text("[server]\n[server]\n")),
        ("deep", text(&deep)),
        ("no-text", vec![0xff, 0xfe]),
    ])
}

/// One request of the etcd target: kind, length, message.
fn step(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn bytes_of(message: &impl Message) -> Vec<u8> {
    message.write_to_bytes().unwrap()
}

fn put(key: &[u8], value: &[u8], lease: i64) -> PutRequest {
    let mut put = PutRequest::default();
    put.set_key(key.to_vec());
    put.set_value(value.to_vec());
    put.set_lease(lease);
    put
}

fn etcd() -> Seeds {
    let mut delete = DeleteRangeRequest::default();
    delete.set_key(b"a".to_vec());
    delete.set_range_end(b"z".to_vec());
    delete.set_prev_kv(true);
    let mut range = RangeRequest::default();
    range.set_key(vec![0]);
    range.set_range_end(vec![0]);
    range.set_limit(2);
    let mut compare = Compare::default();
    compare.set_key(b"a".to_vec());
    compare.set_target(Compare_CompareTarget::CREATE);
    compare.set_create_revision(0);
    let mut op = RequestOp::default();
    op.set_request_put(put(b"a", b"1", 0));
    let mut txn = TxnRequest::default();
    txn.mut_compare().push(compare);
    txn.mut_success().push(op);
    let mut inner = RequestOp::default();
    inner.set_request_txn(txn.clone());
    let mut read = RequestOp::default();
    read.set_request_range(range.clone());
    txn.mut_failure().push(inner);
    txn.mut_failure().push(read);
    let number = |number: i64| number.to_le_bytes();
    let puts: Vec<u8> = (0..20)
        .flat_map(|n| step(0, &bytes_of(&put(b"k", &[n; 200], 0))))
        .collect();
    let history = [
        step(0, &bytes_of(&put(b"a", b"1", 0))),
        step(0, &bytes_of(&put(b"b", b"2", 0))),
        step(3, &bytes_of(&range)),
        step(1, &bytes_of(&delete)),
        step(4, &number(3)),
        step(2, &bytes_of(&txn)),
        step(2, &bytes_of(&txn)),
    ];
    let leases = [
        step(5, &number(5 << 8 | 1)),
        step(0, &bytes_of(&put(b"leased", b"1", 5 << 8 | 1))),
        step(255, &[]),
        step(5, &number(i64::MAX)),
        step(6, &number(5 << 8 | 1)),
    ];
    named([
        ("history", history.concat()),
        ("leases", leases.concat()),
        ("full", puts),
        (
            "compact-absurdly",
            [step(4, &number(i64::MAX)), step(4, &number(i64::MIN))].concat(),
        ),
        ("no-message", step(2, &[0xff; 9])),
        ("claim", step(0, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])),
    ])
}

fn frames() -> Seeds {
    let types: Vec<&str> = fuzz::frame_types().collect();
    let number = |name: &str| types.iter().position(|found| *found == name).unwrap() as u8;
    let frame = |name: &str, bytes: &[u8]| [&[number(name)], bytes].concat();
    let mut seeds: Seeds = types
        .iter()
        .map(|name| (format!("all-of-{name}"), frame(name, &message(name, None))))
        .collect();
    let batch = "tikvpb.BatchCommandsRequest";
    let nested = |levels: usize| {
        // A transaction of etcd in a transaction, and so on.
        (0..levels).fold(Vec::new(), |inner: Vec<u8>, _| {
            let txn = [&[0x22][..], &varint(inner.len() as u64), &inner].concat();
            [&[0x12][..], &varint(txn.len() as u64), &txn].concat()
        })
    };
    let bad: [(&str, &str, Vec<u8>); 15] = [
        ("bomb", batch, [0x0a, 0x00].repeat(1_000)),
        ("large-bomb", batch, [0x0a, 0x00].repeat(9_000)),
        (
            "claim",
            batch,
            [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f].to_vec(),
        ),
        (
            "claim-before-a-bomb",
            batch,
            [
                vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x07],
                [0x0a, 0x00].repeat(9_000),
            ]
            .concat(),
        ),
        ("endless-tag", batch, vec![0xff; 16]),
        (
            "wide-tag",
            batch,
            [0x8a, 0x80, 0x80, 0x80, 0x10, 0x00].repeat(3),
        ),
        (
            "wide-length",
            batch,
            vec![0xfa, 0x01, 0x81, 0x80, 0x80, 0x80, 0x10, 0x00],
        ),
        (
            "packed",
            batch,
            [vec![0x12, 0xc8, 0x01], vec![1; 200]].concat(),
        ),
        (
            "packed-claim",
            batch,
            vec![0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ),
        (
            "group",
            batch,
            vec![0xfb, 0x01, 0x0a, 0x01, 0xff, 0xfc, 0x01],
        ),
        ("groups", batch, [0xfb, 0x01].repeat(1_000)),
        ("group-end", batch, vec![0x0c]),
        ("nested", "etcdserverpb.TxnRequest", nested(30)),
        ("nested-too-deep", "etcdserverpb.TxnRequest", nested(120)),
        (
            "unknown",
            "kvrpcpb.RawGetRequest",
            (500..900u64)
                .flat_map(|n| [varint(n << 3), vec![0]].concat())
                .collect(),
        ),
    ];
    seeds.extend(
        bad.into_iter()
            .map(|(name, of, bytes)| (name.to_owned(), frame(of, &bytes))),
    );
    seeds
}
