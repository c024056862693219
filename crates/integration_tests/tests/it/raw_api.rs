//! Every raw operation of the published client, in API V1.
//!
//! The client's `scan` goes on after the last region until it has as many pairs as were asked for,
//! unless the range has no end; so scans here either have no end or find what they ask for, and what
//! needs a bounded range that holds less is asked over the wire.

use futures::future::join_all;
use integration_tests::TikvServer;
use kvproto::kvrpcpb::{ChecksumAlgorithm, RawChecksumRequest, RawScanRequest};
use tikv_client::{ColumnFamily, Key, RawClient};

use crate::clients::{self, owned, texts};
use crate::wire::{self, Wire};

fn key(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn key_texts(keys: Vec<Key>) -> Vec<String> {
    keys.into_iter()
        .map(|key| String::from_utf8(key.into()).unwrap())
        .collect()
}

async fn put_all(client: &RawClient, pairs: &[(&str, &str)]) {
    client.batch_put(owned(pairs)).await.unwrap();
}

#[tokio::test]
async fn put_get_and_delete() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::raw(&server).await;
    assert_eq!(client.get(key("k")).await.unwrap(), None);
    client.put(key("k"), key("1")).await.unwrap();
    client.put(key("k"), key("2")).await.unwrap();
    assert_eq!(client.get(key("k")).await.unwrap(), Some(key("2")));
    client.delete(key("k")).await.unwrap();
    client.delete(key("k")).await.unwrap();
    assert_eq!(client.get(key("k")).await.unwrap(), None);

    // An empty value is a value, and any byte may be in a key.
    client
        .put(vec![0, 0xff, 0, b'z'], Vec::new())
        .await
        .unwrap();
    assert_eq!(
        client.get(vec![0, 0xff, 0, b'z']).await.unwrap(),
        Some(Vec::new())
    );
    assert_eq!(client.get(vec![0, 0xff, 0]).await.unwrap(), None);

    // As large as the client's default settings can carry.
    let large = vec![7; 3 << 20];
    client.put(key("large"), large.clone()).await.unwrap();
    assert_eq!(client.get(key("large")).await.unwrap(), Some(large));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn batches() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::raw(&server).await;
    // Several requests: the client cuts a batch at 16 KiB.
    let pairs: Vec<(String, String)> = (0..2_000)
        .map(|n| (format!("k{n:04}"), format!("{n:040}")))
        .collect();
    client.batch_put(pairs.clone()).await.unwrap();

    let mut asked: Vec<String> = pairs.iter().map(|(key, _)| key.clone()).collect();
    asked.push("missing".to_owned());
    let mut found = texts(client.batch_get(asked.clone()).await.unwrap());
    found.sort();
    assert_eq!(found, pairs);

    client.batch_delete(asked[..1_999].to_vec()).await.unwrap();
    let left = texts(client.batch_get(asked).await.unwrap());
    assert_eq!(left, pairs[1_999..]);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn scans_go_both_ways() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::raw(&server).await;
    let all = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "")];
    put_all(&client, &all).await;

    let pairs = |pairs: &[(&str, &str)]| owned(pairs);
    let from_b = client
        .scan("b".to_owned()..String::new(), 100)
        .await
        .unwrap();
    assert_eq!(texts(from_b), pairs(&all[1..]));
    let middle = client
        .scan("b".to_owned()..="d".to_owned(), 3)
        .await
        .unwrap();
    assert_eq!(texts(middle), pairs(&all[1..4]));
    let limited = client.scan("a".to_owned()..String::new(), 2).await.unwrap();
    assert_eq!(texts(limited), pairs(&all[..2]));
    let keys = client
        .scan_keys("a".to_owned()..String::new(), 100)
        .await
        .unwrap();
    assert_eq!(key_texts(keys), ["a", "b", "c", "d", "e"]);

    let down = client
        .scan_reverse("b".to_owned().."e".to_owned(), 3)
        .await
        .unwrap();
    assert_eq!(texts(down), pairs(&[("d", "4"), ("c", "3"), ("b", "2")]));
    let last = client
        .scan_keys_reverse("a".to_owned()..String::new(), 2)
        .await
        .unwrap();
    assert_eq!(key_texts(last), ["e", "d"]);

    let ranges = vec![
        "a".to_owned().."c".to_owned(),
        "d".to_owned().."f".to_owned(),
    ];
    let both = client.batch_scan(ranges.clone(), 10).await.unwrap();
    assert_eq!(
        texts(both),
        pairs(&[("a", "1"), ("b", "2"), ("d", "4"), ("e", "")])
    );
    let first_of_both = client.batch_scan_keys(ranges, 1).await.unwrap();
    assert_eq!(key_texts(first_of_both), ["a", "d"]);

    let wire = Wire::connect(&server).await;
    let mut bounded = RawScanRequest::default();
    bounded.set_start_key(key("bb"));
    bounded.set_end_key(key("d"));
    bounded.set_limit(100);
    bounded.set_key_only(true);
    let found = wire.call(bounded).await;
    assert_eq!(found.get_kvs().len(), 1, "{found:?}");
    assert_eq!(
        (found.get_kvs()[0].get_key(), found.get_kvs()[0].get_value()),
        (&b"c"[..], &b""[..])
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn delete_range_takes_its_start_and_leaves_its_end() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::raw(&server).await;
    put_all(&client, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]).await;
    client
        .delete_range("b".to_owned().."d".to_owned())
        .await
        .unwrap();
    let keys = client
        .scan_keys(String::new()..String::new(), 100)
        .await
        .unwrap();
    assert_eq!(key_texts(keys), ["a", "d"]);
    // What was deleted can be written again.
    client.put(key("b"), key("5")).await.unwrap();
    assert_eq!(client.get(key("b")).await.unwrap(), Some(key("5")));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn column_families_are_apart() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::raw(&server).await;
    let families = [
        ColumnFamily::Default,
        ColumnFamily::Lock,
        ColumnFamily::Write,
    ];
    for family in families.clone() {
        let value = format!("{family:?}").into_bytes();
        client.with_cf(family).put(key("k"), value).await.unwrap();
    }
    assert_eq!(
        client.get(key("k")).await.unwrap(),
        Some(b"Default".to_vec())
    );
    client
        .with_cf(ColumnFamily::Lock)
        .delete(key("k"))
        .await
        .unwrap();
    for (family, expected) in families
        .into_iter()
        .zip([Some("Default"), None, Some("Write")])
    {
        let found = client.with_cf(family).get(key("k")).await.unwrap();
        assert_eq!(found.as_deref(), expected.map(str::as_bytes));
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn compare_and_swap() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::raw(&server).await.with_atomic_for_cas();
    let swap = async |previous: Option<&str>, new: &str| {
        client
            .compare_and_swap(key("k"), previous.map(key), key(new))
            .await
            .unwrap()
    };
    assert_eq!(swap(Some("0"), "1").await, (None, false));
    assert_eq!(swap(None, "1").await, (None, true));
    assert_eq!(swap(None, "2").await, (Some(key("1")), false));
    assert_eq!(swap(Some("1"), "2").await, (Some(key("1")), true));
    assert_eq!(swap(Some("1"), "3").await, (Some(key("2")), false));
    assert_eq!(client.get(key("k")).await.unwrap(), Some(key("2")));
    client.delete(key("k")).await.unwrap();
    assert_eq!(swap(None, "4").await, (None, true));
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_swap_is_lost_among_many() {
    const CLIENTS: u64 = 4;
    const SWAPS: u64 = 25;
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::raw(&server).await.with_atomic_for_cas();
    let raise = async |client: RawClient| {
        let mut done = 0;
        let mut known: Option<Vec<u8>> = None;
        while done < SWAPS {
            let number = known.as_deref().map_or(0, number_of);
            let next = (number + 1).to_string().into_bytes();
            let (found, swapped) = client
                .compare_and_swap(key("n"), known.clone(), next.clone())
                .await
                .unwrap();
            known = if swapped { Some(next) } else { found };
            done += u64::from(swapped);
        }
    };
    join_all((0..CLIENTS).map(|_| raise(client.clone()))).await;
    let total = client.get(key("n")).await.unwrap().unwrap();
    assert_eq!(number_of(&total), CLIENTS * SWAPS);
    server.stop().await.unwrap();
}

fn number_of(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).unwrap().parse().unwrap()
}

/// A swap must see writers that know nothing of swaps: a plain put that was acknowledged before the
/// swap was sent decides whether it succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_sees_plain_writers() {
    let mut server = TikvServer::start().await.unwrap();
    let plain = clients::raw(&server).await;
    let atomic = plain.with_atomic_for_cas();
    for round in 0..50 {
        let ours = format!("swap {round}").into_bytes();
        let theirs = format!("put {round}").into_bytes();
        plain.put(key("k"), key("start")).await.unwrap();
        let (swap, put) = futures::join!(
            atomic.compare_and_swap(key("k"), Some(key("start")), ours.clone()),
            plain.put(key("k"), theirs.clone()),
        );
        put.unwrap();
        let (previous, swapped) = swap.unwrap();
        let found = plain.get(key("k")).await.unwrap().unwrap();
        // Either the swap came first and the put covered it, or the put came first and the swap
        // failed. A swap that succeeded over the put would have lost it.
        assert_eq!(found, theirs, "swapped: {swapped}, previous: {previous:?}");
        assert_eq!(swapped, previous == Some(key("start")));
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn time_to_live_is_refused_in_v1() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::raw(&server).await;
    let error = client
        .put_with_ttl(key("k"), key("v"), 10)
        .await
        .unwrap_err();
    assert!(
        format!("{error:?}").to_lowercase().contains("ttl"),
        "{error:?}"
    );
    assert_eq!(client.get(key("k")).await.unwrap(), None);
    let error = client.get_key_ttl_secs(key("k")).await.unwrap_err();
    assert!(
        format!("{error:?}").contains("ttl is not enabled"),
        "{error:?}"
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn checksums() {
    let mut server = TikvServer::start().await.unwrap();
    let client = clients::raw(&server).await;
    let pairs = [("a", "1"), ("b", ""), ("cc", "333")];
    put_all(&client, &pairs).await;
    let wire = Wire::connect(&server).await;
    let mut request = RawChecksumRequest::default();
    request.set_algorithm(ChecksumAlgorithm::Crc64_Xor);
    request.mut_ranges().push(wire::range(b"a", b"b"));
    request.mut_ranges().push(wire::range(b"b", b""));
    let answer = wire.call(request).await;
    assert_eq!(answer.get_error(), "");
    assert_eq!((answer.get_total_kvs(), answer.get_total_bytes()), (3, 8));
    let expected = pairs.iter().fold(0, |sum, (key, value)| {
        sum ^ crc64(key.bytes().chain(value.bytes()))
    });
    assert_eq!(answer.get_checksum(), expected);
    server.stop().await.unwrap();
}

/// CRC-64/XZ, bit by bit.
fn crc64(bytes: impl Iterator<Item = u8>) -> u64 {
    const REVERSED_POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;
    !bytes.fold(u64::MAX, |mut crc, byte| {
        crc ^= u64::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ REVERSED_POLYNOMIAL
            } else {
                crc >> 1
            };
        }
        crc
    })
}

#[test]
fn the_checksum_is_the_usual_one() {
    assert_eq!(crc64(b"123456789".iter().copied()), 0x995D_C9BB_DF19_39FA);
}
