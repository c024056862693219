//! Raw RPCs on stores whose values expire and whose raw keys have versions, and the destruction of ranges.

use api_version::{ApiV1, ApiV1Ttl, ApiV2, KvFormat};
use kvproto::kvrpcpb::*;

use crate::fixture::Fixture;

/// A store, and the envelope and the beginning of keys for it.
struct Store {
    fixture: Fixture,
    prefix: &'static [u8],
}

impl Store {
    fn new<F: KvFormat>() -> Store {
        Store {
            fixture: Fixture::in_format::<F>(),
            prefix: if F::HAS_VERSIONS { b"r\0\0\0" } else { b"" },
        }
    }

    fn context(&self) -> Context {
        let mut context = self.fixture.context();
        if !self.prefix.is_empty() {
            context.set_api_version(APIVersion::V2);
        }
        context
    }

    fn key(&self, name: &str) -> Vec<u8> {
        [self.prefix, name.as_bytes()].concat()
    }

    fn put(&self, name: &str, ttl: u64) -> RawPutResponse {
        let mut request = RawPutRequest::default();
        request.set_context(self.context());
        request.set_key(self.key(name));
        request.set_value(name.as_bytes().to_vec());
        request.set_ttl(ttl);
        self.fixture.client.raw_put(&request).unwrap()
    }

    fn ttl(&self, name: &str) -> RawGetKeyTTLResponse {
        let mut request = RawGetKeyTTLRequest::default();
        request.set_context(self.context());
        request.set_key(self.key(name));
        self.fixture.client.raw_get_key_ttl(&request).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut range = KeyRange::default();
        range.set_start_key(self.key("a"));
        range.set_end_key(self.key("z"));
        let mut request = RawBatchScanRequest::default();
        request.set_context(self.context());
        request.mut_ranges().push(range);
        request.set_each_limit(100);
        let response = self.fixture.client.raw_batch_scan(&request).unwrap();
        let name = |pair: &KvPair| {
            assert!(!pair.has_error(), "{pair:?}");
            String::from_utf8(pair.get_key()[self.prefix.len()..].to_vec()).unwrap()
        };
        response.get_kvs().iter().map(name).collect()
    }

    fn destroy(&self, start: &[u8], end: &[u8]) -> UnsafeDestroyRangeResponse {
        let mut request = UnsafeDestroyRangeRequest::default();
        // Not for a region: nothing in the envelope is looked at but the cluster.
        request.set_start_key(start.to_vec());
        request.set_end_key(end.to_vec());
        self.fixture.client.unsafe_destroy_range(&request).unwrap()
    }
}

fn time_to_live<F: KvFormat>() {
    let store = Store::new::<F>();
    assert_eq!(store.put("k", 1000), RawPutResponse::default());
    let response = store.ttl("k");
    assert!(
        (990..=1000).contains(&response.get_ttl()) && !response.get_not_found(),
        "{response:?}"
    );
    assert_eq!(store.put("k", 0), RawPutResponse::default());
    assert_eq!(store.ttl("k"), RawGetKeyTTLResponse::default());
    let absent = store.ttl("none");
    assert!(absent.get_not_found() && absent.get_error().is_empty());

    let mut request = RawCASRequest::default();
    request.set_context(store.context());
    request.set_key(store.key("k"));
    request.set_previous_value(b"k".to_vec());
    request.set_value(b"new".to_vec());
    request.set_ttl(500);
    let response = store.fixture.client.raw_compare_and_swap(&request).unwrap();
    assert!(response.get_succeed(), "{response:?}");
    assert!((490..=500).contains(&store.ttl("k").get_ttl()));
    request.set_previous_value(b"new".to_vec());
    request.set_delete(true);
    let response = store.fixture.client.raw_compare_and_swap(&request).unwrap();
    assert!(response.get_succeed(), "{response:?}");
    assert!(store.ttl("k").get_not_found());

    // The old field is for all pairs, the new one for each.
    let mut request = RawBatchPutRequest::default();
    request.set_context(store.context());
    for name in ["a", "b"] {
        let mut pair = KvPair::default();
        pair.set_key(store.key(name));
        request.mut_pairs().push(pair);
    }
    request.set_ttl(70);
    let client = &store.fixture.client;
    assert_eq!(
        client.raw_batch_put(&request).unwrap(),
        RawBatchPutResponse::default()
    );
    for name in ["a", "b"] {
        assert!((60..=70).contains(&store.ttl(name).get_ttl()), "{name}");
    }
    request.set_ttls(vec![0, 30]);
    client.raw_batch_put(&request).unwrap();
    assert_eq!(store.ttl("a").get_ttl(), 0);
    assert!((20..=30).contains(&store.ttl("b").get_ttl()));
    request.set_ttls(vec![1, 2, 3]);
    assert_eq!(
        client.raw_batch_put(&request).unwrap().get_error(),
        "The length of ttls does not equal to the length of pairs"
    );
    assert_eq!(store.names(), ["a", "b"]);
}

#[test]
fn values_expire_in_v1ttl_and_v2() {
    time_to_live::<ApiV1Ttl>();
    time_to_live::<ApiV2>();
}

#[test]
fn a_store_without_time_to_live_says_so() {
    let store = Store::new::<ApiV1>();
    let text = "ttl is not enabled, but get put request with ttl";
    assert_eq!(store.put("k", 1).get_error(), text);
    assert_eq!(store.ttl("k").get_error(), text);
}

fn destroys<F: KvFormat>() {
    let store = Store::new::<F>();
    for name in ["aa", "bb", "cc"] {
        store.put(name, 0);
    }
    let response = store.destroy(&store.key("b"), &store.key("c"));
    assert_eq!(response, UnsafeDestroyRangeResponse::default());
    assert_eq!(store.names(), ["aa", "cc"]);
    store.put("bb", 0);
    assert_eq!(store.names(), ["aa", "bb", "cc"]);

    for (start, end, reason) in [
        (&b""[..], &b"z"[..], "both bounds must be given"),
        (b"a", b"", "both bounds must be given"),
        (b"", b"", "both bounds must be given"),
        (b"b", b"a", "the start lies after the end"),
        (b"a", &[b'z'; 9 << 10], "max key size exceeded"),
    ] {
        let response = store.destroy(start, end);
        assert!(response.get_error().contains(reason), "{response:?}");
        assert!(!response.has_region_error());
    }
    assert_eq!(
        store.destroy(b"a", b"a"),
        UnsafeDestroyRangeResponse::default()
    );
    assert_eq!(store.names(), ["aa", "bb", "cc"]);
}

#[test]
fn ranges_are_destroyed_in_every_format() {
    destroys::<ApiV1Ttl>();
    destroys::<ApiV2>();
    // Bounds are encoded in V1, raw keys are not: between these they fall alike.
    destroys::<ApiV1>();
}

/// Locks, records and values go, and with them the transactions that they belong to.
#[test]
fn destroying_takes_transactional_data_of_every_kind() {
    let store = Store::new::<ApiV1>();
    let fixture = &store.fixture;
    fixture.put(b"a", b"short", 1, 2);
    fixture.put(b"b", &[7; 1000], 3, 4);
    fixture.prewrite(b"c", &[8; 1000], 5);
    fixture.put(b"d", b"stays", 6, 7);
    assert_eq!(
        store.destroy(b"a", b"d"),
        UnsafeDestroyRangeResponse::default()
    );
    let mut request = ScanRequest::default();
    request.set_context(fixture.context());
    request.set_version(u64::MAX);
    request.set_limit(10);
    let response = fixture.client.kv_scan(&request).unwrap();
    let keys: Vec<&[u8]> = response.get_pairs().iter().map(KvPair::get_key).collect();
    assert_eq!(keys, [b"d"]);
    let mut request = MvccGetByKeyRequest::default();
    request.set_context(fixture.context());
    for key in [b"a", b"b", b"c"] {
        request.set_key(key.to_vec());
        let response = fixture.client.mvcc_get_by_key(&request).unwrap();
        assert_eq!(response.get_info(), &MvccInfo::default(), "{key:?}");
    }
}

#[test]
fn what_v2_refuses() {
    let store = Store::new::<ApiV2>();
    let mut request = RawGetKeyTTLRequest::default();
    request.set_context(store.context());
    for (key, text) in [
        (&b""[..], "Key mode mismatched"),
        (b"x\0\0\0k", "Key mode mismatched"),
        (b"k", "Key mode mismatched"),
        (&[b'r'; 9 << 10], "max key size exceeded"),
    ] {
        request.set_key(key.to_vec());
        let response = store.fixture.client.raw_get_key_ttl(&request).unwrap();
        assert!(response.get_error().contains(text), "{response:?}");
    }
    request.set_key(store.key("k"));
    request.set_cf("default".to_owned());
    let response = store.fixture.client.raw_get_key_ttl(&request).unwrap();
    assert_eq!(
        response.get_error(),
        "cf is deprecated in API V2, cf name: default"
    );
    request.set_context(store.fixture.context());
    let response = store.fixture.client.raw_get_key_ttl(&request).unwrap();
    assert_eq!(
        response.get_error(),
        "Api version in request does not match with TiKV storage, cmd: raw_get_key_ttl, storage: \
         V2, request: V1"
    );
}
