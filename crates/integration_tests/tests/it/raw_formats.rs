//! API V1TTL and V2 by the published client: values that expire, raw data and transactions side by side in
//! a keyspace, all of it over restarts; and what a server does with data of another format.
//!
//! In a keyspace every range of the client has an end, and the client's scan of such a range goes on until
//! it has as many pairs as were asked for; so scans here find what they ask for.

use std::path::Path;
use std::time::Duration;

use integration_tests::{TikvServer, get};
use kvproto::kvrpcpb::{RawPutRequest, RawScanRequest, UnsafeDestroyRangeRequest};
use tikv_client::{Key, KvPair, RawClient};
use tokio::time::{Instant, interval};

use crate::clients::{self, begin, owned, read, texts, write};
use crate::wire::{Outcome, Wire};

const V1TTL: &str = "[storage]\nenable-ttl = true";
const V2: &str = "[storage]\napi-version = 2\nenable-ttl = true";

/// How long a value that lives for seconds may take to be gone, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

async fn start(format: &str) -> TikvServer {
    TikvServer::builder().config(format).start().await.unwrap()
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

async fn until_gone(client: &RawClient, key: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = interval(Duration::from_millis(50));
    while client.get(bytes(key)).await.unwrap().is_some() {
        assert!(Instant::now() < deadline, "{key} does not expire");
        ticks.tick().await;
    }
}

/// Every raw operation with values that live for ever, for long, and for a moment.
async fn values_expire(server: &mut TikvServer, client: &RawClient) {
    client.put(bytes("ever"), bytes("1")).await.unwrap();
    client
        .put_with_ttl(bytes("long"), bytes("2"), 1000)
        .await
        .unwrap();
    client
        .put_with_ttl(bytes("moment"), bytes("3"), 1)
        .await
        .unwrap();
    let ttl = async |key: &str| client.get_key_ttl_secs(bytes(key)).await.unwrap();
    assert_eq!(ttl("ever").await, Some(0));
    assert!((900..=1000).contains(&ttl("long").await.unwrap()));
    assert_eq!(ttl("none").await, None);
    until_gone(client, "moment").await;
    assert_eq!(ttl("moment").await, None);
    let found = client
        .scan("a".to_owned().."z".to_owned(), 2)
        .await
        .unwrap();
    assert_eq!(texts(found), owned(&[("ever", "1"), ("long", "2")]));
    let found = client
        .batch_get(["moment", "long", "ever"].map(str::to_owned))
        .await
        .unwrap();
    assert_eq!(found.len(), 2);

    let batch = owned(&[("p", "1"), ("q", "2")]);
    client
        .batch_put_with_ttl(batch, vec![0, 500])
        .await
        .unwrap();
    assert_eq!(ttl("p").await, Some(0));
    assert!((400..=500).contains(&ttl("q").await.unwrap()));

    // A swap sees an expired value as absent.
    let atomic = client.with_atomic_for_cas();
    client
        .put_with_ttl(bytes("swapped"), bytes("old"), 1)
        .await
        .unwrap();
    until_gone(client, "swapped").await;
    let swap = atomic.compare_and_swap(bytes("swapped"), None, bytes("new"));
    assert_eq!(swap.await.unwrap(), (None, true));
    assert_eq!(
        client.get(bytes("swapped")).await.unwrap(),
        Some(bytes("new"))
    );

    // An expired value stays away, and the others stay, when the server comes back.
    server.kill().unwrap();
    server.restart().await.unwrap();
    assert_eq!(client.get(bytes("moment")).await.unwrap(), None);
    assert_eq!(client.get(bytes("ever")).await.unwrap(), Some(bytes("1")));
    assert!((1..=1000).contains(&ttl("long").await.unwrap()));
    // What is written after a restart covers what was written before.
    client.put(bytes("ever"), bytes("after")).await.unwrap();
    assert_eq!(
        client.get(bytes("ever")).await.unwrap(),
        Some(bytes("after"))
    );
    client.delete(bytes("ever")).await.unwrap();
    assert_eq!(client.get(bytes("ever")).await.unwrap(), None);
    client
        .delete_range("a".to_owned().."z".to_owned())
        .await
        .unwrap();
    assert_eq!(client.get(bytes("long")).await.unwrap(), None);
}

async fn config_says(server: &TikvServer, api_version: u64, enable_ttl: bool) {
    let page = get(server.status_address(), "/config").await.unwrap();
    let config: serde_json::Value = serde_json::from_str(&page.body).unwrap();
    assert_eq!(config["storage"]["api-version"], api_version);
    assert_eq!(config["storage"]["enable-ttl"], enable_ttl);
}

#[tokio::test]
async fn v1ttl() {
    let mut server = start(V1TTL).await;
    config_says(&server, 1, true).await;
    let client = clients::raw(&server).await;
    values_expire(&mut server, &client).await;

    // It is for raw data only.
    let transactions = clients::transactional(&server).await;
    let mut transaction = begin(&transactions).await;
    let error = transaction.get(bytes("k")).await.unwrap_err();
    assert!(
        format!("{error:?}").contains("Api version in request does not match"),
        "{error:?}"
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn v2_raw() {
    let mut server = start(V2).await;
    config_says(&server, 2, true).await;
    let client = clients::raw_in_keyspace(&server).await;
    values_expire(&mut server, &client).await;
    // A client without keyspace speaks V1, and its keys belong to nobody.
    let stranger = clients::raw(&server).await;
    let error = stranger.get(bytes("k")).await.unwrap_err();
    assert!(
        format!("{error:?}").contains("Api version in request does not match"),
        "{error:?}"
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn v2_transactions_beside_raw_data() {
    let mut server = start(V2).await;
    for round in 0..2 {
        // The client cannot take timestamps when its stream of them broke within a second.
        let raw = clients::raw_in_keyspace(&server).await;
        let client = clients::transactional_in_keyspace(&server).await;
        if round > 0 {
            assert_eq!(raw.get(bytes("k")).await.unwrap(), Some(bytes("raw 0")));
            assert_eq!(read(&client, "k").await.as_deref(), Some("first 0"));
        }
        raw.put(bytes("k"), bytes(&format!("raw {round}")))
            .await
            .unwrap();
        let first = format!("first {round}");
        let long = "long ".repeat(100);
        write(&client, &[("k", &first), ("l", "2"), ("m", &long)]).await;
        assert_eq!(read(&client, "k").await.as_deref(), Some(&first[..]));
        assert_eq!(read(&client, "m").await.as_deref(), Some(&long[..]));

        let mut transaction = begin(&client).await;
        let found: Vec<KvPair> = transaction
            .scan("k".to_owned().."m".to_owned(), 2)
            .await
            .unwrap()
            .collect();
        assert_eq!(texts(found), owned(&[("k", &first), ("l", "2")]));
        transaction.delete(bytes("l")).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(read(&client, "l").await, None);

        // Two transactions on one key: the second to commit is told.
        let (mut one, mut two) = (begin(&client).await, begin(&client).await);
        one.put(bytes("c"), bytes("one")).await.unwrap();
        two.put(bytes("c"), bytes("two")).await.unwrap();
        one.commit().await.unwrap();
        two.commit().await.unwrap_err();
        assert_eq!(read(&client, "c").await.as_deref(), Some("one"));

        let value = raw.get(bytes("k")).await.unwrap();
        assert_eq!(value, Some(bytes(&format!("raw {round}"))));
        let keys: Vec<Key> = raw
            .scan_keys("a".to_owned().."z".to_owned(), 1)
            .await
            .unwrap();
        assert_eq!(keys, [Key::from(bytes("k"))], "raw scans see raw data only");
        server.kill().unwrap();
        server.restart().await.unwrap();
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn data_of_one_format_is_not_served_in_another() {
    let mut server = start(V2).await;
    let client = clients::raw_in_keyspace(&server).await;
    client.put(bytes("k"), bytes("v")).await.unwrap();
    server.stop().await.unwrap();
    for other in ["", V1TTL] {
        let home = server.copy_home().unwrap();
        let error = TikvServer::builder()
            .config(other)
            .start_in(home)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("the data directory is in format V2"),
            "{error}"
        );
    }
    server.restart().await.unwrap();
    assert_eq!(client.get(bytes("k")).await.unwrap(), Some(bytes("v")));
    server.stop().await.unwrap();

    // A server that never stored anything may change its mind.
    let mut empty = start("").await;
    empty.stop().await.unwrap();
    let mut moved = TikvServer::builder()
        .config(V2)
        .start_in(empty.copy_home().unwrap())
        .await
        .unwrap();
    let client = clients::raw_in_keyspace(&moved).await;
    client.put(bytes("k"), bytes("v")).await.unwrap();
    moved.stop().await.unwrap();
}

fn bytes_of(directory: &Path) -> u64 {
    integration_tests::allocated_bytes(directory).unwrap()
}

#[tokio::test]
async fn a_destroyed_range_takes_no_space() {
    const VALUE: usize = 64 << 10;
    const VALUES: u64 = 400;
    let mut server = TikvServer::start().await.unwrap();
    let wire = Wire::connect(&server).await;
    let mut noise = 1_u64;
    for n in 0..VALUES {
        let value = (0..VALUE).map(|_| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (noise >> 56) as u8
        });
        let mut request = RawPutRequest::default();
        request.set_key(format!("doomed {n:04}").into_bytes());
        request.set_value(value.collect());
        assert_eq!(wire.call(request).await.get_error(), "");
    }
    for key in ["a", "z"] {
        let mut request = RawPutRequest::default();
        request.set_key(bytes(key));
        assert_eq!(wire.call(request).await.get_error(), "");
    }
    let data = server.data_dir();
    let used = bytes_of(&data);
    assert!(used > VALUES * VALUE as u64, "{used} bytes");
    let mut request = UnsafeDestroyRangeRequest::default();
    request.set_start_key(bytes("d"));
    request.set_end_key(bytes("e"));
    assert_eq!(wire.call(request).await.get_error(), "");
    let left = bytes_of(&data);
    assert!(left < VALUES * VALUE as u64 / 10, "{left} of {used} bytes");

    let mut request = RawScanRequest::default();
    request.set_limit(10);
    let answer = wire.call(request).await;
    let keys: Vec<&[u8]> = answer.get_kvs().iter().map(|pair| pair.get_key()).collect();
    assert_eq!(keys, [b"a", b"z"]);
    let refused = wire
        .try_with::<UnsafeDestroyRangeRequest>(|request| request.set_end_key(Vec::new()))
        .await;
    assert!(
        matches!(&refused, Outcome::Refused(errors) if errors[0].contains("both bounds")),
        "{refused:?}"
    );
    server.stop().await.unwrap();
}
