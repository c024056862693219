//! Requests that no state of the data could make valid: each gets its own error, and the store goes on.

use kvproto::kvrpcpb::{self, APIVersion};
use storage::{Commit, Error, Prewrite, RawScanRequest, ScanOptions};
use txn_types::{Key, TimeStamp};

use crate::driver::{World, tracker};

fn versioned(world: &World, version: APIVersion) -> kvrpcpb::Context {
    let mut ctx = world.context();
    ctx.set_api_version(version);
    ctx
}

#[test]
fn api_version_is_checked_where_the_protocol_says() {
    let world = World::new(1);
    let ctx = || versioned(&world, APIVersion::V2);
    let text = |cmd: &str| {
        format!(
            "Api version in request does not match with TiKV storage, cmd: {cmd}, storage: V1, \
             request: V2"
        )
    };
    let key = || Key::from_raw(b"x");
    let ts = TimeStamp::new(5);
    let storage = &world.storage;
    let get = world
        .run(storage.get(ctx(), key(), ts, false, tracker()))
        .unwrap_err();
    assert_eq!(get.to_string(), text("get"));
    let batch = world.run(storage.batch_get(ctx(), vec![key()], ts, false, tracker()));
    assert_eq!(batch.unwrap_err().to_string(), text("batch_get"));
    let options = ScanOptions {
        limit: 1,
        ..ScanOptions::default()
    };
    let scan = world.run(storage.scan(ctx(), key(), None, options, ts, tracker()));
    assert_eq!(scan.unwrap_err().to_string(), text("scan"));

    let mut req = kvrpcpb::PrewriteRequest::default();
    req.set_context(ctx());
    req.set_start_version(10);
    req.set_primary_lock(b"x".to_vec());
    req.mut_mutations().push(kvrpcpb::Mutation::default());
    let prewrite = Prewrite::try_from(req).unwrap();
    let refused = world.run(storage.sched_txn_command(prewrite, tracker()));
    assert_eq!(refused.unwrap_err().to_string(), text("prewrite"));

    let raw = world.run(storage.raw_get(ctx(), String::new(), b"r".to_vec(), tracker()));
    assert_eq!(raw.unwrap_err().to_string(), text("raw_get"));
    let pair = (b"r".to_vec(), b"v".to_vec());
    let raw = world.run(storage.raw_put(ctx(), String::new(), pair, 0, tracker()));
    assert_eq!(raw.unwrap_err().to_string(), text("raw_put"));
    let raw = world.run(storage.raw_scan(
        ctx(),
        String::new(),
        RawScanRequest {
            limit: 1,
            ..RawScanRequest::default()
        },
        tracker(),
    ));
    assert_eq!(raw.unwrap_err().to_string(), text("raw_scan"));
    assert_eq!(world.show(None), ["nothing"]);

    // Whatever cleans up after a transaction gets through.
    let mut req = kvrpcpb::CommitRequest::default();
    req.set_context(ctx());
    req.set_start_version(10);
    req.set_commit_version(20);
    req.set_keys(vec![b"x".to_vec()].into());
    let commit = Commit::try_from(req).unwrap();
    let refused = world.run(storage.sched_txn_command(commit, tracker()));
    assert!(matches!(
        refused,
        Err(Error::Mvcc(mvcc::Error::TxnLockNotFound { .. }))
    ));
    let locks = storage.scan_lock(ctx(), ts, None, None, 0, tracker());
    assert!(world.run(locks).unwrap().is_empty());
}

#[test]
fn region_errors_come_through_as_they_are() {
    let world = World::new(1);
    let mut ctx = world.context();
    ctx.mut_peer().set_store_id(77);
    let read = world
        .storage
        .raw_get(ctx.clone(), String::new(), b"k".to_vec(), tracker());
    let Err(Error::Kv(kv::Error::Region(error))) = world.run(read) else {
        panic!("a region error");
    };
    assert_eq!(error.get_store_not_match().get_request_store_id(), 77);
    let pair = (b"k".to_vec(), b"v".to_vec());
    let write = world
        .storage
        .raw_put(ctx.clone(), String::new(), pair, 0, tracker());
    assert!(matches!(
        world.run(write),
        Err(Error::Kv(kv::Error::Region(_)))
    ));
    let (start, end) = (Key::from_raw(b"a"), Key::from_raw(b"b"));
    let notified = world.storage.delete_range(ctx, start, end, true, tracker());
    assert!(matches!(
        world.run(notified),
        Err(Error::Kv(kv::Error::Region(_)))
    ));
}

#[test]
fn reads_are_bounded_in_bytes() {
    let config = storage::Config {
        max_write_size: online_config::ReadableSize(10_000),
        max_read_size: online_config::ReadableSize(10_000),
        ..storage::Config::default()
    };
    let world = World::over(engine_mem::MemEngine::new(), 1, &config);
    for n in 0..3u8 {
        let pair = (vec![b'a' + n], vec![0; 4000]);
        let put = world
            .storage
            .raw_put(world.context(), String::new(), pair, 0, tracker());
        world.run(put).unwrap();
    }
    let scan = |limit| {
        let request = RawScanRequest {
            limit,
            ..RawScanRequest::default()
        };
        let scan = world
            .storage
            .raw_scan(world.context(), String::new(), request, tracker());
        world.run(scan)
    };
    assert_eq!(scan(2).unwrap().len(), 2);
    let too_much = scan(usize::MAX).unwrap_err();
    assert_eq!(
        too_much.to_string(),
        "max read size exceeded, limit: 10000: ask for fewer keys"
    );
}
