//! The published client, connected to a server under test.

use std::time::Duration;

use integration_tests::TikvServer;
use tikv_client::{
    CheckLevel, Config, KvPair, RawClient, TimestampExt, Transaction, TransactionClient,
    TransactionOptions,
};

/// Far more than any request takes, so that a busy machine does not look like a broken server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A raw client.
pub(crate) async fn raw(server: &TikvServer) -> RawClient {
    RawClient::new_with_config(server.pd_endpoints(), config())
        .await
        .unwrap()
}

/// A transactional client.
pub(crate) async fn transactional(server: &TikvServer) -> TransactionClient {
    TransactionClient::new_with_config(server.pd_endpoints(), config())
        .await
        .unwrap()
}

/// A raw client of API V2, in the default keyspace.
pub(crate) async fn raw_in_keyspace(server: &TikvServer) -> RawClient {
    let config = config().with_default_keyspace();
    RawClient::new_with_config(server.pd_endpoints(), config)
        .await
        .unwrap()
}

/// A transactional client of API V2, in the default keyspace.
pub(crate) async fn transactional_in_keyspace(server: &TikvServer) -> TransactionClient {
    let config = config().with_default_keyspace();
    TransactionClient::new_with_config(server.pd_endpoints(), config)
        .await
        .unwrap()
}

/// Settings that suit a busy machine.
pub(crate) fn config() -> Config {
    Config::default().with_timeout(REQUEST_TIMEOUT)
}

/// Options of an optimistic transaction that may be dropped without a panic, as in a test that fails.
pub(crate) fn optimistic() -> TransactionOptions {
    TransactionOptions::new_optimistic().drop_check(CheckLevel::None)
}

/// An optimistic transaction.
pub(crate) async fn begin(client: &TransactionClient) -> Transaction {
    client.begin_with_options(optimistic()).await.unwrap()
}

/// Writes pairs in one transaction and returns its commit timestamp.
pub(crate) async fn write(client: &TransactionClient, pairs: &[(&str, &str)]) -> u64 {
    let mut transaction = begin(client).await;
    for (key, value) in pairs {
        transaction
            .put((*key).to_owned(), (*value).to_owned())
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap().unwrap().version()
}

/// Reads a key in a transaction of its own.
pub(crate) async fn read(client: &TransactionClient, key: &str) -> Option<String> {
    let mut transaction = begin(client).await;
    let value = transaction.get(key.to_owned()).await.unwrap();
    transaction.rollback().await.unwrap();
    value.map(|bytes| String::from_utf8(bytes).unwrap())
}

/// A fresh timestamp.
pub(crate) async fn timestamp(client: &TransactionClient) -> u64 {
    client.current_timestamp().await.unwrap().version()
}

/// Pairs whose bytes are all text.
pub(crate) fn texts(pairs: Vec<KvPair>) -> Vec<(String, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    pairs
        .into_iter()
        .map(|KvPair(key, value)| (text(key.into()), text(value)))
        .collect()
}

/// Pairs as the client takes them.
pub(crate) fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}
