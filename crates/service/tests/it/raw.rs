//! The raw RPCs when all goes well.

use kvproto::kvrpcpb::*;

use crate::fixture::Fixture;

fn put(fixture: &Fixture, key: &[u8], value: &[u8]) {
    let mut request = RawPutRequest::default();
    request.set_context(fixture.context());
    request.set_key(key.to_vec());
    request.set_value(value.to_vec());
    let response = fixture.client.raw_put(&request).unwrap();
    assert_eq!(response, RawPutResponse::default());
}

fn get(fixture: &Fixture, key: &[u8]) -> Option<Vec<u8>> {
    let mut request = RawGetRequest::default();
    request.set_context(fixture.context());
    request.set_key(key.to_vec());
    let mut response = fixture.client.raw_get(&request).unwrap();
    assert!(
        response.get_error().is_empty() && !response.has_region_error(),
        "{response:?}"
    );
    (!response.get_not_found()).then(|| response.take_value())
}

fn pairs(kvs: &[KvPair]) -> Vec<(&[u8], &[u8])> {
    kvs.iter()
        .map(|pair| {
            assert!(!pair.has_error(), "{pair:?}");
            (pair.get_key(), pair.get_value())
        })
        .collect()
}

#[test]
fn put_get_delete() {
    let fixture = Fixture::new();
    assert_eq!(get(&fixture, b"k"), None);
    put(&fixture, b"k", b"v");
    assert_eq!(get(&fixture, b"k"), Some(b"v".to_vec()));
    put(&fixture, b"k", b"");
    assert_eq!(
        get(&fixture, b"k"),
        Some(Vec::new()),
        "an empty value is a value"
    );
    let mut request = RawDeleteRequest::default();
    request.set_context(fixture.context());
    request.set_key(b"k".to_vec());
    assert_eq!(
        fixture.client.raw_delete(&request).unwrap(),
        RawDeleteResponse::default()
    );
    assert_eq!(get(&fixture, b"k"), None);
}

#[test]
fn batches() {
    let fixture = Fixture::new();
    let mut request = RawBatchPutRequest::default();
    request.set_context(fixture.context());
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
        let mut pair = KvPair::default();
        pair.set_key(key.into());
        pair.set_value(value.into());
        request.mut_pairs().push(pair);
    }
    let response = fixture.client.raw_batch_put(&request).unwrap();
    assert_eq!(response, RawBatchPutResponse::default());

    let mut request = RawBatchGetRequest::default();
    request.set_context(fixture.context());
    request.set_keys(vec![b"a".to_vec(), b"x".to_vec(), b"c".to_vec()].into());
    let response = fixture.client.raw_batch_get(&request).unwrap();
    assert_eq!(
        pairs(response.get_pairs()),
        [(&b"a"[..], &b"1"[..]), (b"c", b"3")]
    );

    let mut request = RawBatchDeleteRequest::default();
    request.set_context(fixture.context());
    request.set_keys(vec![b"a".to_vec(), b"b".to_vec()].into());
    let response = fixture.client.raw_batch_delete(&request).unwrap();
    assert_eq!(response, RawBatchDeleteResponse::default());
    assert_eq!(
        (get(&fixture, b"a"), get(&fixture, b"c")),
        (None, Some(b"3".to_vec()))
    );
}

#[test]
fn scans() {
    let fixture = Fixture::new();
    for key in ["a", "b", "c", "d"] {
        put(&fixture, key.as_bytes(), key.as_bytes());
    }
    let mut request = RawScanRequest::default();
    request.set_context(fixture.context());
    request.set_start_key(b"b".to_vec());
    request.set_limit(2);
    let response = fixture.client.raw_scan(&request).unwrap();
    assert_eq!(
        pairs(response.get_kvs()),
        [(&b"b"[..], &b"b"[..]), (b"c", b"c")]
    );

    request.set_reverse(true);
    request.set_key_only(true);
    request.set_start_key(b"d".to_vec());
    request.set_end_key(b"b".to_vec());
    request.set_limit(10);
    let response = fixture.client.raw_scan(&request).unwrap();
    assert_eq!(
        pairs(response.get_kvs()),
        [(&b"c"[..], &b""[..]), (b"b", b"")]
    );

    let mut request = RawBatchScanRequest::default();
    request.set_context(fixture.context());
    for (start, end) in [("c", ""), ("a", "c")] {
        let mut range = KeyRange::default();
        range.set_start_key(start.into());
        range.set_end_key(end.into());
        request.mut_ranges().push(range);
    }
    request.set_each_limit(2);
    request.set_key_only(true);
    let response = fixture.client.raw_batch_scan(&request).unwrap();
    let keys: Vec<&[u8]> = pairs(response.get_kvs())
        .iter()
        .map(|(key, _)| *key)
        .collect();
    assert_eq!(keys, [b"c", b"d", b"a", b"b"]);
}

#[test]
fn delete_range_and_checksum() {
    let fixture = Fixture::new();
    for key in ["a", "b", "c"] {
        put(&fixture, key.as_bytes(), b"v");
    }
    let mut request = RawChecksumRequest::default();
    request.set_context(fixture.context());
    let mut range = KeyRange::default();
    range.set_start_key(b"a".to_vec());
    range.set_end_key(b"c".to_vec());
    request.mut_ranges().push(range);
    let response = fixture.client.raw_checksum(&request).unwrap();
    assert_eq!(
        (response.get_total_kvs(), response.get_total_bytes()),
        (2, 4)
    );
    assert_ne!(response.get_checksum(), 0);

    let mut request = RawDeleteRangeRequest::default();
    request.set_context(fixture.context());
    request.set_start_key(b"a".to_vec());
    request.set_end_key(b"c".to_vec());
    let response = fixture.client.raw_delete_range(&request).unwrap();
    assert_eq!(response, RawDeleteRangeResponse::default());
    assert_eq!(
        (get(&fixture, b"b"), get(&fixture, b"c")),
        (None, Some(b"v".to_vec()))
    );
}

#[test]
fn compare_and_swap() {
    let fixture = Fixture::new();
    let mut request = RawCASRequest::default();
    request.set_context(fixture.context());
    request.set_key(b"k".to_vec());
    request.set_value(b"1".to_vec());
    request.set_previous_not_exist(true);
    let response = fixture.client.raw_compare_and_swap(&request).unwrap();
    assert!(
        response.get_succeed() && response.get_previous_not_exist(),
        "{response:?}"
    );

    let response = fixture.client.raw_compare_and_swap(&request).unwrap();
    assert!(
        !response.get_succeed() && !response.get_previous_not_exist(),
        "{response:?}"
    );
    assert_eq!(response.get_previous_value(), b"1");

    request.set_previous_not_exist(false);
    request.set_previous_value(b"1".to_vec());
    request.set_delete(true);
    let response = fixture.client.raw_compare_and_swap(&request).unwrap();
    assert!(response.get_succeed(), "{response:?}");
    assert_eq!(get(&fixture, b"k"), None);
}

#[test]
fn column_families_are_apart() {
    let fixture = Fixture::new();
    let mut request = RawPutRequest::default();
    request.set_context(fixture.context());
    request.set_key(b"k".to_vec());
    request.set_value(b"v".to_vec());
    request.set_cf("write".to_owned());
    assert_eq!(
        fixture.client.raw_put(&request).unwrap(),
        RawPutResponse::default()
    );
    assert_eq!(get(&fixture, b"k"), None);
}
