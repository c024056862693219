//! The transactional RPCs: reads, both phases, and the ways to end what somebody left behind.

use kvproto::kvrpcpb::*;

use crate::fixture::Fixture;

fn get(fixture: &Fixture, key: &[u8], version: u64) -> GetResponse {
    let mut request = GetRequest::default();
    request.set_context(fixture.context());
    request.set_key(key.to_vec());
    request.set_version(version);
    request.set_need_commit_ts(true);
    let response = fixture.client.kv_get(&request).unwrap();
    assert!(!response.has_region_error(), "{response:?}");
    response
}

#[test]
fn a_commit_is_seen_from_its_timestamp_on() {
    let fixture = Fixture::new();
    fixture.put(b"k", b"v", 10, 20);
    let response = get(&fixture, b"k", 20);
    assert_eq!(
        (response.get_value(), response.get_commit_ts()),
        (&b"v"[..], 20)
    );
    assert!(get(&fixture, b"k", 19).get_not_found());
    assert_eq!(get(&fixture, b"k", u64::MAX).get_value(), b"v");

    let details = response.get_exec_details_v2();
    assert_eq!(details.get_scan_detail_v2().get_processed_versions(), 1);
    assert!(details.get_scan_detail_v2().get_total_versions() >= 1);
    assert!(details.get_time_detail_v2().get_total_rpc_wall_time_ns() > 0);
    assert!(details.get_time_detail().get_total_rpc_wall_time_ns() > 0);
}

#[test]
fn a_lock_stops_reads_at_and_above_it() {
    let fixture = Fixture::new();
    fixture.put(b"k", b"old", 5, 6);
    fixture.prewrite(b"k", b"new", 10);
    assert_eq!(get(&fixture, b"k", 9).get_value(), b"old");
    let response = get(&fixture, b"k", 10);
    let locked = response.get_error().get_locked();
    assert_eq!(
        (locked.get_key(), locked.get_lock_version()),
        (&b"k"[..], 10)
    );
    assert_eq!(locked.get_lock_ttl(), 3000);

    let mut request = BatchGetRequest::default();
    request.set_context(fixture.context());
    request.set_keys(vec![b"k".to_vec(), b"x".to_vec()].into());
    request.set_version(10);
    let response = fixture.client.kv_batch_get(&request).unwrap();
    assert_eq!(response.get_pairs().len(), 1, "{response:?}");
    let pair = &response.get_pairs()[0];
    assert!(pair.get_key().is_empty() && pair.get_error().get_locked().get_key() == b"k");

    request.mut_context().set_resolved_locks(vec![10]);
    let response = fixture.client.kv_batch_get(&request).unwrap();
    assert_eq!(response.get_pairs()[0].get_value(), b"old");
    request.mut_context().clear_resolved_locks();
    request.mut_context().set_committed_locks(vec![10]);
    let response = fixture.client.kv_batch_get(&request).unwrap();
    assert_eq!(response.get_pairs()[0].get_value(), b"new");
}

#[test]
fn scans_in_both_directions() {
    let fixture = Fixture::new();
    for key in ["a", "b", "c", "d"] {
        fixture.put(key.as_bytes(), key.as_bytes(), 10, 20);
    }
    let scan = |change: fn(&mut ScanRequest)| {
        let mut request = ScanRequest::default();
        request.set_context(fixture.context());
        request.set_limit(10);
        request.set_version(30);
        change(&mut request);
        let response = fixture.client.kv_scan(&request).unwrap();
        assert!(
            !response.has_error() && !response.has_region_error(),
            "{response:?}"
        );
        let show = |pair: &KvPair| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            format!("{}={}", text(pair.get_key()), text(pair.get_value()))
        };
        response
            .get_pairs()
            .iter()
            .map(show)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(scan(|_| {}), "a=a b=b c=c d=d");
    assert_eq!(scan(|request| request.set_limit(2)), "a=a b=b");
    assert_eq!(scan(|request| request.set_version(19)), "");
    assert_eq!(
        scan(|request| {
            request.set_reverse(true);
            request.set_start_key(b"d".to_vec());
            request.set_end_key(b"b".to_vec());
            request.set_key_only(true);
        }),
        "c= b="
    );
    assert_eq!(scan(|request| request.set_sample_step(2)), "a=a c=c");
}

#[test]
fn conflicts_and_retries() {
    let fixture = Fixture::new();
    fixture.put(b"k", b"v", 10, 20);
    let request = fixture.prewrite_request(b"k", b"w", 15);
    let response = fixture.client.kv_prewrite(&request).unwrap();
    let error = &response.get_errors()[0];
    let conflict = error.get_conflict();
    assert_eq!(conflict.get_start_ts(), 15);
    assert_eq!(
        (
            conflict.get_conflict_ts(),
            conflict.get_conflict_commit_ts()
        ),
        (10, 20)
    );
    assert_eq!(conflict.get_reason(), WriteConflict_Reason::Optimistic);
    assert!(error.get_retryable().contains("WriteConflict"), "{error:?}");

    // A commit that is repeated answers what it answered.
    let mut request = CommitRequest::default();
    request.set_context(fixture.context());
    request.set_start_version(10);
    request.set_commit_version(20);
    request.mut_keys().push(b"k".to_vec());
    assert_eq!(
        fixture
            .client
            .kv_commit(&request)
            .unwrap()
            .get_commit_version(),
        20
    );
    request.set_start_version(11);
    let response = fixture.client.kv_commit(&request).unwrap();
    assert_eq!(
        response.get_error().get_txn_lock_not_found().get_key(),
        b"k"
    );
    assert!(
        response
            .get_error()
            .get_retryable()
            .contains("TxnLockNotFound"),
        "{response:?}"
    );
}

#[test]
fn rollback_cleanup_and_heart_beat() {
    let fixture = Fixture::new();
    fixture.prewrite(b"a", b"1", 10);
    let mut request = TxnHeartBeatRequest::default();
    request.set_context(fixture.context());
    request.set_primary_lock(b"a".to_vec());
    request.set_start_version(10);
    request.set_advise_lock_ttl(9000);
    assert_eq!(
        fixture
            .client
            .kv_txn_heart_beat(&request)
            .unwrap()
            .get_lock_ttl(),
        9000
    );

    let mut request = BatchRollbackRequest::default();
    request.set_context(fixture.context());
    request.set_start_version(10);
    request.mut_keys().push(b"a".to_vec());
    let response = fixture.client.kv_batch_rollback(&request).unwrap();
    assert!(
        !response.has_error() && !response.has_region_error(),
        "{response:?}"
    );
    let response = fixture
        .client
        .kv_prewrite(&fixture.prewrite_request(b"a", b"1", 10))
        .unwrap();
    let reason = response.get_errors()[0].get_conflict().get_reason();
    assert_eq!(reason, WriteConflict_Reason::SelfRolledBack);

    fixture.prewrite(b"b", b"1", 30);
    let mut request = CleanupRequest::default();
    request.set_context(fixture.context());
    request.set_key(b"b".to_vec());
    request.set_start_version(30);
    let response = fixture.client.kv_cleanup(&request).unwrap();
    assert!(
        !response.has_error() && response.get_commit_version() == 0,
        "{response:?}"
    );
    fixture.put(b"b", b"2", 40, 50);
    request.set_start_version(40);
    assert_eq!(
        fixture
            .client
            .kv_cleanup(&request)
            .unwrap()
            .get_commit_version(),
        50
    );
}

/// A timestamp of the oracle, so many milliseconds after its start.
fn ts(millis: u64) -> u64 {
    millis << 18
}

#[test]
fn status_of_a_transaction() {
    let fixture = Fixture::new();
    let start = ts(1000);
    let status = |lock_ts, caller, current, rollback| {
        let mut request = CheckTxnStatusRequest::default();
        request.set_context(fixture.context());
        request.set_primary_key(b"p".to_vec());
        request.set_lock_ts(lock_ts);
        request.set_caller_start_ts(caller);
        request.set_current_ts(current);
        request.set_rollback_if_not_exist(rollback);
        let response = fixture.client.kv_check_txn_status(&request).unwrap();
        assert!(!response.has_region_error(), "{response:?}");
        response
    };
    let none = status(start, start, start, false);
    assert_eq!(none.get_error().get_txn_not_found().get_start_ts(), start);

    fixture.prewrite(b"p", b"v", start);
    let alive = status(start, 0, ts(1001), false);
    assert_eq!(
        (alive.get_lock_ttl(), alive.get_commit_version()),
        (3000, 0)
    );
    assert_eq!(alive.get_lock_info().get_primary_lock(), b"p");
    assert_eq!(alive.get_lock_info().get_key(), b"p");

    let expired = status(start, 0, ts(4001), false);
    assert_eq!(expired.get_action(), Action::TTLExpireRollback);
    assert_eq!(
        (expired.get_lock_ttl(), expired.has_lock_info()),
        (0, false)
    );
    let rolled_back = status(start, 0, ts(4001), false);
    assert_eq!(rolled_back.get_action(), Action::NoAction);

    let absent = status(ts(5000), 0, ts(5000), true);
    assert_eq!(absent.get_action(), Action::LockNotExistRollback);

    fixture.put(b"p", b"v", ts(6000), ts(6001));
    let committed = status(ts(6000), 0, ts(9000), false);
    assert_eq!(committed.get_commit_version(), ts(6001));
    assert_eq!(committed.get_lock_ttl(), 0);
}

#[test]
fn status_asked_on_a_secondary_names_the_primary() {
    let fixture = Fixture::new();
    let mut prewrite = PrewriteRequest::default();
    prewrite.set_context(fixture.context());
    prewrite.set_primary_lock(b"p".to_vec());
    prewrite.set_start_version(ts(1000));
    prewrite.set_lock_ttl(3000);
    let mut mutation = Mutation::default();
    mutation.set_key(b"s".to_vec());
    mutation.set_value(b"v".to_vec());
    prewrite.mut_mutations().push(mutation);
    let prewritten = fixture.client.kv_prewrite(&prewrite).unwrap();
    assert!(prewritten.get_errors().is_empty(), "{prewritten:?}");

    let mut request = CheckTxnStatusRequest::default();
    request.set_context(fixture.context());
    request.set_primary_key(b"s".to_vec());
    request.set_lock_ts(ts(1000));
    request.set_current_ts(ts(1001));
    let response = fixture.client.kv_check_txn_status(&request).unwrap();
    assert_eq!(response.get_lock_info().get_key(), b"p", "{response:?}");
    assert_eq!(response.get_lock_info().get_primary_lock(), b"p");
}

#[test]
fn locks_are_found_and_resolved() {
    let fixture = Fixture::new();
    for (key, start_ts) in [("a", 10), ("b", 11), ("c", 12)] {
        fixture.prewrite(key.as_bytes(), b"v", start_ts);
    }
    let locks = || {
        let mut request = ScanLockRequest::default();
        request.set_context(fixture.context());
        request.set_max_version(11);
        let response = fixture.client.kv_scan_lock(&request).unwrap();
        assert!(
            !response.has_error() && !response.has_region_error(),
            "{response:?}"
        );
        response
            .get_locks()
            .iter()
            .map(|lock| lock.get_lock_version())
            .collect::<Vec<_>>()
    };
    assert_eq!(locks(), [10, 11]);

    let mut lite = ResolveLockRequest::default();
    lite.set_context(fixture.context());
    lite.set_start_version(10);
    lite.set_commit_version(20);
    lite.mut_keys().push(b"a".to_vec());
    let response = fixture.client.kv_resolve_lock(&lite).unwrap();
    assert!(
        !response.has_error() && !response.has_region_error(),
        "{response:?}"
    );
    assert_eq!(locks(), [11]);
    assert_eq!(get(&fixture, b"a", 20).get_value(), b"v");

    let mut batch = ResolveLockRequest::default();
    batch.set_context(fixture.context());
    let mut info = TxnInfo::default();
    info.set_txn(11);
    batch.mut_txn_infos().push(info);
    let response = fixture.client.kv_resolve_lock(&batch).unwrap();
    assert!(
        !response.has_error() && !response.has_region_error(),
        "{response:?}"
    );
    assert_eq!(locks(), Vec::<u64>::new());
    assert!(get(&fixture, b"b", 20).get_not_found());

    let mut full = ResolveLockRequest::default();
    full.set_context(fixture.context());
    full.set_start_version(12);
    full.set_commit_version(21);
    let response = fixture.client.kv_resolve_lock(&full).unwrap();
    assert!(
        !response.has_error() && !response.has_region_error(),
        "{response:?}"
    );
    assert_eq!(get(&fixture, b"c", 21).get_value(), b"v");
}

#[test]
fn history_and_its_end() {
    let fixture = Fixture::new();
    fixture.put(b"k", b"v", 10, 20);
    fixture.prewrite(b"k", b"w", 30);

    let mut request = MvccGetByKeyRequest::default();
    request.set_context(fixture.context());
    request.set_key(b"k".to_vec());
    let response = fixture.client.mvcc_get_by_key(&request).unwrap();
    assert_eq!(response.get_info().get_lock().get_start_ts(), 30);
    assert_eq!(response.get_info().get_writes()[0].get_commit_ts(), 20);

    let mut request = MvccGetByStartTsRequest::default();
    request.set_context(fixture.context());
    request.set_start_ts(10);
    let response = fixture.client.mvcc_get_by_start_ts(&request).unwrap();
    assert_eq!(response.get_key(), b"k");
    assert_eq!(response.get_info().get_writes()[0].get_start_ts(), 10);
    request.set_start_ts(99);
    let response = fixture.client.mvcc_get_by_start_ts(&request).unwrap();
    assert!(
        response.get_key().is_empty() && !response.has_info(),
        "{response:?}"
    );

    let mut request = DeleteRangeRequest::default();
    request.set_context(fixture.context());
    request.set_start_key(b"a".to_vec());
    request.set_end_key(b"z".to_vec());
    let response = fixture.client.kv_delete_range(&request).unwrap();
    assert_eq!(response, DeleteRangeResponse::default());
    assert!(get(&fixture, b"k", 40).get_not_found());
}

#[test]
fn the_server_chooses_the_timestamp_of_async_and_one_phase_commits() {
    let fixture = Fixture::new();
    get(&fixture, b"p", 50);
    let mut request = fixture.prewrite_request(b"p", b"v", 10);
    request.set_use_async_commit(true);
    request.set_secondaries(vec![b"s".to_vec()].into());
    let response = fixture.client.kv_prewrite(&request).unwrap();
    assert!(response.get_errors().is_empty(), "{response:?}");
    assert_eq!(response.get_min_commit_ts(), 51);
    assert_eq!(response.get_one_pc_commit_ts(), 0);

    let mut secondaries = CheckSecondaryLocksRequest::default();
    secondaries.set_context(fixture.context());
    secondaries.set_start_version(10);
    secondaries.set_keys(vec![b"p".to_vec()].into());
    let check = |request: &_| fixture.client.kv_check_secondary_locks(request).unwrap();
    let response = check(&secondaries);
    assert_eq!(response.get_locks().len(), 1);
    let lock = &response.get_locks()[0];
    assert!(lock.get_use_async_commit());
    assert_eq!(lock.get_min_commit_ts(), 51);
    assert_eq!(lock.get_secondaries(), [b"s".to_vec()]);
    assert!(response.has_exec_details_v2());

    secondaries.set_keys(vec![b"s".to_vec()].into());
    let response = check(&secondaries);
    assert!(!response.has_error() && !response.has_region_error());
    assert!(response.get_locks().is_empty());
    assert_eq!(response.get_commit_ts(), 0);

    let mut request = fixture.prewrite_request(b"k", b"v", 60);
    request.set_try_one_pc(true);
    let response = fixture.client.kv_prewrite(&request).unwrap();
    assert_eq!(response.get_one_pc_commit_ts(), 61);
    assert_eq!(response.get_min_commit_ts(), 0);
    assert_eq!(get(&fixture, b"k", 61).get_commit_ts(), 61);
    secondaries.set_keys(vec![b"k".to_vec()].into());
    secondaries.set_start_version(60);
    assert_eq!(check(&secondaries).get_commit_ts(), 61);
}
