//! Transactions that no client of good will would send: each gets a precise error or what it is due, nothing is lost,
//! and the server takes a bounded amount of memory.

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use grpcio::{ChannelBuilder, EnvBuilder, WriteFlags};
use kvproto::deadlock::{DeadlockClient, DeadlockRequest, DeadlockRequestType};
use kvproto::kvrpcpb::{
    BatchRollbackRequest, CheckTxnStatusRequest, CommitRequest, GetRequest, Mutation, Op,
    PessimisticLockRequest, PrewriteRequest, ScanLockRequest,
};

use tokio::time::{interval, timeout};

use crate::limits::{MILLION, Measured, keys};
use crate::wire::{Wire, put};

/// The prewrite of the primary of an asynchronous commit with so many others.
fn prewrite_with(wire: &Wire, secondaries: usize, start_ts: u64) -> PrewriteRequest {
    let mut request = PrewriteRequest::default();
    request.set_context(wire.envelope());
    request.mut_mutations().push(put(b"primary", b"v"));
    request.set_primary_lock(b"primary".to_vec());
    request.set_start_version(start_ts);
    request.set_lock_ttl(1);
    request.set_use_async_commit(true);
    request.set_secondaries(keys(secondaries).into());
    request
}

async fn locks(wire: &Wire) -> usize {
    let mut request = ScanLockRequest::default();
    request.set_max_version(100);
    wire.call(request).await.get_locks().len()
}

async fn roll_back(wire: &Wire, key: &[u8], start_ts: u64) {
    let mut request = BatchRollbackRequest::default();
    request.mut_keys().push(key.to_vec());
    request.set_start_version(start_ts);
    let response = wire.call(request).await;
    assert!(!response.has_error(), "{response:?}");
}

#[tokio::test]
async fn a_million_secondaries_are_refused_and_a_tenth_of_them_is_kept() {
    let measured = Measured::start().await;
    let wire = &measured.wire;
    let refused = wire.ask(&prewrite_with(wire, MILLION, 10)).await;
    let text = format!("{refused:?}");
    assert!(text.contains("too many parts"), "{text}");
    assert_eq!(locks(wire).await, 0, "whole or not at all");
    let taken = wire.call(prewrite_with(wire, MILLION / 10, 20)).await;
    assert!(taken.get_errors().is_empty() && !taken.has_region_error());
    // Whoever resolves it learns all of them.
    let mut status = CheckTxnStatusRequest::default();
    status.set_primary_key(b"primary".to_vec());
    status.set_lock_ts(20);
    let status = wire.call(status).await;
    assert_eq!(status.get_lock_info().get_secondaries().len(), MILLION / 10);
    roll_back(wire, b"primary", 20).await;
    assert_eq!(locks(wire).await, 0);
    measured.check("a million secondaries");
    measured.end().await;
}

#[tokio::test]
async fn commits_that_are_not_the_transactions_own_change_nothing() {
    let measured = Measured::start().await;
    let wire = &measured.wire;
    wire.prewrite(b"k", &[b"k"], 10, 3_600_000).await;
    let commit = |start_ts, commit_ts| {
        let mut request = CommitRequest::default();
        request.mut_keys().push(b"k".to_vec());
        request.set_start_version(start_ts);
        request.set_commit_version(commit_ts);
        wire.call(request)
    };
    // Before its start, of somebody who never wrote here, and of nobody.
    let before = commit(10, 9).await;
    assert!(
        before.get_error().get_abort().contains("InvalidTxnTso"),
        "{before:?}"
    );
    let foreign = commit(11, 12).await;
    assert!(foreign.get_error().has_txn_lock_not_found(), "{foreign:?}");
    let nobody = commit(0, 12).await;
    assert!(
        nobody.has_error() || nobody.has_region_error(),
        "{nobody:?}"
    );
    assert_eq!(locks(wire).await, 1);
    let own = commit(10, 13).await;
    assert!(!own.has_error(), "{own:?}");
    let mut get = GetRequest::default();
    get.set_key(b"k".to_vec());
    get.set_version(13);
    assert_eq!(wire.call(get).await.get_value(), b"of a dead client");
    measured.end().await;
}

#[tokio::test]
async fn a_lock_request_after_the_rollback_is_refused() {
    let measured = Measured::start().await;
    let wire = &measured.wire;
    roll_back(wire, b"k", 10).await;
    let mut late = PessimisticLockRequest::default();
    let mut mutation = Mutation::default();
    mutation.set_op(Op::PessimisticLock);
    mutation.set_key(b"k".to_vec());
    late.mut_mutations().push(mutation);
    late.set_primary_lock(b"k".to_vec());
    late.set_start_version(10);
    late.set_for_update_ts(20);
    late.set_lock_ttl(3000);
    let refused = wire.call(late).await;
    let text = refused.get_errors()[0].get_abort();
    assert!(text.contains("PessimisticLockRolledBack"), "{refused:?}");
    assert_eq!(locks(wire).await, 0);
    measured.end().await;
}

#[tokio::test]
async fn a_store_that_floods_the_detector_costs_a_bounded_amount() {
    const EDGES: u64 = 200_000;
    // Edges live as long as a wait may last.
    let config = "[pessimistic-txn]\nwait-memory-limit = \"8MiB\"\nwait-for-lock-timeout = \"1s\"";
    let measured = Measured::start_with(config).await;
    let environment = Arc::new(EnvBuilder::new().cq_count(1).build());
    let address = measured.server.client_address().to_string();
    let channel = ChannelBuilder::new(environment).connect(&address);
    let client = DeadlockClient::new(channel);
    let (mut requests, mut responses) = client.detect().unwrap();
    let wait = |txn: u64, holder: u64| {
        let mut request = DeadlockRequest::default();
        request.set_tp(DeadlockRequestType::Detect);
        let entry = request.mut_entry();
        entry.set_txn(txn);
        entry.set_wait_for_txn(holder);
        entry.set_key_hash(txn);
        entry.set_key(txn.to_be_bytes().repeat(16));
        request
    };
    // No circle among them: each waits for the next.
    for txn in 1..=EDGES {
        let flags = WriteFlags::default().buffer_hint(!txn.is_multiple_of(1000));
        requests.send((wait(txn, txn + 1), flags)).await.unwrap();
    }
    // A small one is found once old edges have made room: who waits asks again.
    let (first, second) = (EDGES + 10, EDGES + 11);
    let mut asked = interval(Duration::from_millis(200));
    let found = loop {
        asked.tick().await;
        for request in [wait(first, second), wait(second, first)] {
            let sent = requests.send((request, WriteFlags::default())).await;
            sent.unwrap();
        }
        let answer = timeout(Duration::from_millis(200), responses.next());
        if let Ok(answer) = answer.await {
            break answer.unwrap().unwrap();
        }
    };
    assert!(
        [first, second].contains(&found.get_entry().get_txn()),
        "{found:?}"
    );
    measured.check("a flood of edges");
    requests.close().await.unwrap();
    measured.end().await;
}
