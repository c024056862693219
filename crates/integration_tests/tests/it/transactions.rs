//! Optimistic transactions of the published client.

use futures::future::join_all;
use integration_tests::TikvServer;
use tikv_client::{
    Error, Key, KvPair, Timestamp, TimestampExt, TransactionClient, TransactionOptions,
};

use crate::clients::{self, begin, optimistic, read, timestamp, write};

fn text(bytes: impl Into<Vec<u8>>) -> String {
    String::from_utf8(bytes.into()).unwrap()
}

fn texts(pairs: impl Iterator<Item = KvPair>) -> Vec<(String, String)> {
    pairs
        .map(|KvPair(key, value)| (text(key), text(value)))
        .collect()
}

fn keys(keys: impl Iterator<Item = Key>) -> Vec<String> {
    keys.map(text).collect()
}

#[tokio::test]
async fn a_commit_is_seen_by_those_who_begin_later() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    let mut early = begin(&client).await;

    let mut writer = begin(&client).await;
    writer.put("a".to_owned(), "1".to_owned()).await.unwrap();
    writer.put("b".to_owned(), "2".to_owned()).await.unwrap();
    assert_eq!(
        writer.get("a".to_owned()).await.unwrap(),
        Some(b"1".to_vec())
    );
    assert_eq!(read(&client, "a").await, None);
    let commit_ts = writer.commit().await.unwrap().unwrap();
    assert!(commit_ts.version() > writer.start_timestamp().version());

    assert_eq!(read(&client, "a").await.as_deref(), Some("1"));
    assert_eq!(read(&client, "b").await.as_deref(), Some("2"));
    assert_eq!(early.get("a".to_owned()).await.unwrap(), None);
    early.rollback().await.unwrap();

    let mut deleter = begin(&client).await;
    deleter.delete("a".to_owned()).await.unwrap();
    deleter.commit().await.unwrap();
    assert_eq!(read(&client, "a").await, None);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_rollback_leaves_nothing() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    let mut transaction = begin(&client).await;
    transaction
        .put("a".to_owned(), "1".to_owned())
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(read(&client, "a").await, None);
    let now = client.current_timestamp().await.unwrap();
    assert!(client.scan_locks(&now, .., 10).await.unwrap().is_empty());
    assert!(matches!(
        transaction.commit().await,
        Err(Error::OperationAfterCommitError)
    ));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_second_writer_of_a_key_gets_a_conflict() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    write(&client, &[("k", "0")]).await;
    let mut first = begin(&client).await;
    let mut second = begin(&client).await;
    for (transaction, value) in [(&mut first, "1"), (&mut second, "2")] {
        transaction.get("k".to_owned()).await.unwrap();
        transaction
            .put("k".to_owned(), value.to_owned())
            .await
            .unwrap();
        transaction
            .put(format!("of {value}"), String::new())
            .await
            .unwrap();
    }
    let committed = first.commit().await.unwrap().unwrap().version();
    let error = second.commit().await.unwrap_err();
    let conflict = conflict_in(&error).unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(conflict.0, second.start_timestamp().version());
    assert_eq!(conflict.1, first.start_timestamp().version());
    assert_eq!(conflict.2, committed);
    second.rollback().await.unwrap();

    assert_eq!(read(&client, "k").await.as_deref(), Some("1"));
    assert_eq!(read(&client, "of 2").await, None);
    server.stop().await.unwrap();
}

/// Start of the loser, start and commit of the winner.
fn conflict_in(error: &Error) -> Option<(u64, u64, u64)> {
    match error {
        Error::KeyError(error) => error.conflict.as_ref().map(|conflict| {
            (
                conflict.start_ts,
                conflict.conflict_ts,
                conflict.conflict_commit_ts,
            )
        }),
        Error::ExtractedErrors(errors) | Error::MultipleKeyErrors(errors) => {
            errors.iter().find_map(conflict_in)
        }
        _ => None,
    }
}

#[tokio::test]
async fn every_snapshot_keeps_its_state() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    let mut moments = vec![timestamp(&client).await];
    for version in 0..10 {
        write(&client, &[("k", &version.to_string()), ("other", "x")]).await;
        moments.push(timestamp(&client).await);
    }
    let mut deleter = begin(&client).await;
    deleter.delete("k".to_owned()).await.unwrap();
    deleter.commit().await.unwrap();

    for (version, moment) in moments.iter().enumerate() {
        let mut snapshot = client.snapshot(Timestamp::from_version(*moment), optimistic());
        let found = snapshot.get("k".to_owned()).await.unwrap().map(text);
        let expected = version.checked_sub(1).map(|version| version.to_string());
        assert_eq!(found, expected, "at {moment}");
        assert_eq!(
            snapshot.key_exists("k".to_owned()).await.unwrap(),
            version > 0
        );
        let listed = snapshot.scan_keys(.., 10).await.unwrap().count();
        assert_eq!(listed, if version > 0 { 2 } else { 0 });
    }
    assert_eq!(read(&client, "k").await, None);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn scans_go_both_ways_and_see_what_is_buffered() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    let names: Vec<String> = (0..300).map(|n| format!("k{n:03}")).collect();
    let mut writer = begin(&client).await;
    for name in &names {
        writer
            .put(name.clone(), format!("value of {name}"))
            .await
            .unwrap();
    }
    writer.commit().await.unwrap();

    let mut reader = begin(&client).await;
    let range = || "k010".to_owned().."k290".to_owned();
    let forward = texts(reader.scan(range(), 1_000).await.unwrap());
    assert_eq!(forward.len(), 280);
    assert_eq!(forward[0], ("k010".to_owned(), "value of k010".to_owned()));
    assert!(forward.is_sorted());
    let mut backward = texts(reader.scan_reverse(range(), 1_000).await.unwrap());
    backward.reverse();
    assert_eq!(backward, forward);
    assert_eq!(
        keys(reader.scan_keys(.., 3).await.unwrap()),
        ["k000", "k001", "k002"]
    );
    assert_eq!(
        keys(reader.scan_keys_reverse(.., 2).await.unwrap()),
        ["k299", "k298"]
    );
    assert_eq!(reader.scan("x".to_owned().., 10).await.unwrap().count(), 0);

    reader
        .put("k1005".to_owned(), "new".to_owned())
        .await
        .unwrap();
    reader.delete("k101".to_owned()).await.unwrap();
    let merged = keys(reader.scan_keys("k100".to_owned().., 3).await.unwrap());
    assert_eq!(merged, ["k100", "k1005", "k102"]);
    reader.rollback().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn batch_get_returns_what_exists() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    // Longer than what a lock or write record holds itself.
    let long = "x".repeat(1_000);
    write(&client, &[("a", "1"), ("b", &long), ("c", "")]).await;
    let mut deleter = begin(&client).await;
    deleter.delete("c".to_owned()).await.unwrap();
    deleter.commit().await.unwrap();
    let mut reader = begin(&client).await;
    let asked = ["a", "b", "c", "d"].map(str::to_owned);
    let mut found = texts(reader.batch_get(asked).await.unwrap());
    found.sort();
    assert_eq!(
        found,
        [("a".to_owned(), "1".to_owned()), ("b".to_owned(), long)]
    );
    reader.rollback().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn insert_refuses_a_key_that_exists() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    let insert = async |key: &str| {
        let mut transaction = begin(&client).await;
        transaction
            .insert(key.to_owned(), "inserted".to_owned())
            .await
            .unwrap();
        let result = transaction.commit().await;
        if result.is_err() {
            transaction.rollback().await.unwrap();
        }
        result
    };
    insert("k").await.unwrap();
    let error = insert("k").await.unwrap_err();
    assert!(format!("{error:?}").contains("AlreadyExist"), "{error:?}");
    let mut deleter = begin(&client).await;
    deleter.delete("k".to_owned()).await.unwrap();
    deleter.commit().await.unwrap();
    insert("k").await.unwrap();
    assert_eq!(read(&client, "k").await.as_deref(), Some("inserted"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_large_transaction_is_whole() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    // About 2 MiB: some hundred prewrite and commit requests.
    let mut writer = begin(&client).await;
    for n in 0..2_000 {
        writer
            .put(format!("k{n:04}"), format!("{n:01000}"))
            .await
            .unwrap();
    }
    writer.commit().await.unwrap();
    let mut reader = begin(&client).await;
    let found = texts(
        reader
            .scan("k".to_owned().."l".to_owned(), 10_000)
            .await
            .unwrap(),
    );
    assert_eq!(found.len(), 2_000);
    let right = |(n, (key, value)): (usize, &(String, String))| {
        *key == format!("k{n:04}") && *value == format!("{n:01000}")
    };
    assert!(found.iter().enumerate().all(right));
    reader.rollback().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_among_many() {
    const CLIENTS: usize = 4;
    const UPDATES: usize = 15;
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    write(&client, &[("n", "0"), ("m", "0")]).await;
    join_all((0..CLIENTS).map(|_| raise_both(&client, UPDATES))).await;
    let expected = (CLIENTS * UPDATES).to_string();
    assert_eq!(read(&client, "n").await, Some(expected.clone()));
    assert_eq!(read(&client, "m").await, Some(expected));
    server.stop().await.unwrap();
}

async fn raise_both(client: &TransactionClient, times: usize) {
    let mut done = 0;
    while done < times {
        let mut transaction = begin(client).await;
        let raised = async {
            for key in ["n", "m"] {
                let value = transaction.get(key.to_owned()).await?.unwrap();
                let number: u64 = text(value).parse().unwrap();
                transaction
                    .put(key.to_owned(), (number + 1).to_string())
                    .await?;
            }
            transaction.commit().await
        };
        match raised.await {
            Ok(_) => done += 1,
            Err(_) => transaction.rollback().await.unwrap(),
        }
    }
}

#[tokio::test]
async fn gc_moves_the_safe_point_forward_only() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    write(&client, &[("k", "1")]).await;
    let earlier = client.current_timestamp().await.unwrap();
    let later = client.current_timestamp().await.unwrap();
    assert!(client.gc(later).await.unwrap());
    assert!(!client.gc(earlier).await.unwrap());
    assert_eq!(read(&client, "k").await.as_deref(), Some("1"));
    server.stop().await.unwrap();
}

/// The ways to commit in which the server chooses the timestamp.
fn server_commits() -> [TransactionOptions; 3] {
    [
        optimistic().use_async_commit(),
        optimistic().try_one_pc(),
        optimistic().use_async_commit().try_one_pc(),
    ]
}

#[tokio::test]
async fn a_commit_whose_timestamp_the_server_chooses_is_seen_by_those_who_begin_later() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    for (round, options) in server_commits().into_iter().enumerate() {
        let value = round.to_string();
        let mut early = begin(&client).await;
        let mut writer = client.begin_with_options(options.clone()).await.unwrap();
        for n in 0..40 {
            writer.put(format!("k{n}"), value.clone()).await.unwrap();
        }
        // A read above the start of the writer: the commit has to land above it.
        let mut between = begin(&client).await;
        let before = between.get("k7".to_owned()).await.unwrap();
        let commit_ts = writer.commit().await.unwrap().unwrap();
        let read_at = between.start_timestamp().version();
        assert!(commit_ts.version() > read_at, "{options:?}");
        for key in ["k0", "k7", "k39"] {
            assert_eq!(
                read(&client, key).await.as_deref(),
                Some(&*value),
                "{options:?}"
            );
        }
        let again = between.get("k39".to_owned()).await.unwrap();
        assert_eq!(again, before, "{options:?}");
        assert_eq!(early.get("k39".to_owned()).await.unwrap(), before);
        between.rollback().await.unwrap();
        early.rollback().await.unwrap();
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_second_writer_gets_a_conflict_whoever_chooses_the_timestamp() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::transactional(&server).await;
    for options in server_commits() {
        let mut first = client.begin_with_options(options.clone()).await.unwrap();
        let mut second = client.begin_with_options(options.clone()).await.unwrap();
        for writer in [&mut first, &mut second] {
            // Without its read the second could come after the first: the server may choose any timestamp that no
            // read has passed.
            writer.get("k".to_owned()).await.unwrap();
            writer.put("k".to_owned(), "v".to_owned()).await.unwrap();
        }
        let commit_ts = first.commit().await.unwrap().unwrap();
        let error = second.commit().await.unwrap_err();
        let (.., conflict_commit_ts) = conflict_in(&error).unwrap();
        assert_eq!(conflict_commit_ts, commit_ts.version(), "{options:?}");
        second.rollback().await.unwrap();
    }
    server.stop().await.unwrap();
}
