//! Pessimistic transactions of the published client.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use grpcio::{ChannelBuilder, EnvBuilder};
use integration_tests::{TikvServer, get};
use kvproto::kvrpcpb::GetLockWaitInfoRequest;
use kvproto::tikvpb::TikvClient;
use tikv_client::{CheckLevel, Error, Transaction, TransactionClient, TransactionOptions};
use tokio::time::Instant;

use crate::clients::{self, begin, read, write};

/// A pessimistic transaction that may be dropped without a panic, as in a test that fails.
async fn pessimistic(client: &TransactionClient) -> Transaction {
    let options = TransactionOptions::new_pessimistic().drop_check(CheckLevel::None);
    client.begin_with_options(options).await.unwrap()
}

fn key(name: &str) -> String {
    name.to_owned()
}

#[tokio::test]
async fn what_is_locked_is_read_written_and_committed() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    write(&client, &[("a", "1"), ("b", "2")]).await;

    let mut transaction = pessimistic(&client).await;
    let found = transaction.get_for_update(key("a")).await.unwrap();
    assert_eq!(found, Some(b"1".to_vec()));
    assert_eq!(transaction.get_for_update(key("none")).await.unwrap(), None);
    let both = transaction
        .batch_get_for_update([key("a"), key("b")])
        .await
        .unwrap();
    assert_eq!(both.len(), 2);
    transaction.put(key("a"), key("10")).await.unwrap();
    transaction.insert(key("new"), key("20")).await.unwrap();
    transaction.delete(key("b")).await.unwrap();
    transaction.lock_keys([key("c"), key("d")]).await.unwrap();
    assert_eq!(
        transaction.get(key("a")).await.unwrap(),
        Some(b"10".to_vec())
    );
    // Readers are not kept waiting by locks that protect nothing yet.
    assert_eq!(read(&client, "a").await.as_deref(), Some("1"));
    assert!(transaction.send_heart_beat().await.unwrap() > 0);
    transaction.commit().await.unwrap();

    assert_eq!(read(&client, "a").await.as_deref(), Some("10"));
    assert_eq!(read(&client, "b").await, None);
    assert_eq!(read(&client, "new").await.as_deref(), Some("20"));
    let now = client.current_timestamp().await.unwrap();
    assert!(client.scan_locks(&now, .., 10).await.unwrap().is_empty());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_rollback_lets_the_next_one_in() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    let mut first = pessimistic(&client).await;
    first.lock_keys([key("k")]).await.unwrap();
    let mut second = pessimistic(&client).await;
    let waits = tokio::spawn(async move {
        second.put(key("k"), key("2")).await?;
        second.commit().await
    });
    until_somebody_waits(&server).await;
    assert!(!waits.is_finished());
    first.rollback().await.unwrap();
    // Woken, it is told to try again; a client that does not is told so.
    let outcome = waits.await.unwrap();
    assert!(outcome.is_ok() || is_conflict(&outcome.unwrap_err()));
    server.stop().await.unwrap();
}

/// Waits until a lock request waits in the server.
async fn until_somebody_waits(server: &TikvServer) {
    let environment = Arc::new(EnvBuilder::new().cq_count(1).build());
    let channel = ChannelBuilder::new(environment).connect(&server.client_address().to_string());
    let tikv = TikvClient::new(channel);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let asked = tikv.get_lock_wait_info_async(&GetLockWaitInfoRequest::default());
        let answer = asked.unwrap().await.unwrap();
        if !answer.get_entries().is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "nobody waits for a lock");
    }
}

fn is_conflict(error: &Error) -> bool {
    format!("{error:?}").contains("conflict: Some")
}

/// Adds one to a key, starting over as often as it must.
async fn increment(client: &TransactionClient) {
    loop {
        let mut transaction = pessimistic(client).await;
        let added = async {
            let found = transaction.get_for_update(key("n")).await?;
            let before: u64 = found.map_or(0, |bytes| {
                String::from_utf8(bytes).unwrap().parse().unwrap()
            });
            transaction.put(key("n"), (before + 1).to_string()).await?;
            transaction.commit().await
        };
        match added.await {
            Ok(_) => return,
            Err(_) => drop(transaction.rollback().await),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_increment_is_lost() {
    const CLIENTS: u64 = 8;
    const EACH: u64 = 10;
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    join_all((0..CLIENTS).map(|_| async {
        for _ in 0..EACH {
            increment(&client).await;
        }
    }))
    .await;
    let sum = (CLIENTS * EACH).to_string();
    assert_eq!(read(&client, "n").await, Some(sum));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_deadlock_is_told_to_one_of_the_two() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    let (mut first, mut second) = (pessimistic(&client).await, pessimistic(&client).await);
    first.lock_keys([key("a")]).await.unwrap();
    second.lock_keys([key("b")]).await.unwrap();
    let waits = tokio::spawn(async move {
        let outcome = first.lock_keys([key("b")]).await;
        (first, outcome)
    });
    until_somebody_waits(&server).await;
    let victim = second.lock_keys([key("a")]).await.unwrap_err();
    let text = format!("{victim:?}");
    assert!(text.contains("deadlock: Some"), "{text}");
    second.rollback().await.unwrap();
    let (mut first, _) = waits.await.unwrap();
    drop(first.rollback().await);
    let mut after = begin(&client).await;
    after.put(key("a"), key("1")).await.unwrap();
    after.put(key("b"), key("1")).await.unwrap();
    after.commit().await.unwrap();
    let metrics = get(server.status_address(), "/metrics").await.unwrap().body;
    for seen in [
        "tikv_lock_wait_ends_total{reason=\"deadlock\"} 1",
        "tikv_lock_wait_ends_total{reason=\"retry\"} 1",
        "tikv_lock_wait_queue_entries_gauge_vec{type=\"waiters\"} 0",
        "tikv_lock_manager_waiter_lifetime_duration_count 2",
    ] {
        assert!(metrics.contains(seen), "{seen}\n{metrics}");
    }
    server.stop().await.unwrap();
}
