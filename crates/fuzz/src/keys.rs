//! Keys: what decodes is exactly what would have been encoded, and encodings sort as what they encode.

use api_version::{ApiV1, ApiV1Ttl, ApiV2, ApiVersion, CommandKind, KeyMode, KvFormat};
use codec::{bytes, number};
use txn_types::{Key, TimeStamp};

use crate::allocated::bounded_by;
use crate::input::Input;

/// The forms of keys and of what they consist of.
pub fn keys(data: &[u8]) {
    memcomparable(data, bytes::decode_bytes, bytes::encode_bytes);
    memcomparable(data, bytes::decode_bytes_desc, bytes::encode_bytes_desc);
    ascending(data);
    numbers(data);
    user_key(data);
    stored_key(data);
    order(data);
    raw_formats(data);
    admission(data);
    store_keys(data);
}

type DecodeBytes = fn(&mut &[u8]) -> codec::Result<Vec<u8>>;
type EncodeBytes = fn(&mut Vec<u8>, &[u8]);

fn memcomparable(data: &[u8], decode: DecodeBytes, encode: EncodeBytes) {
    let mut rest = data;
    match bounded_by(data.len(), || decode(&mut rest)) {
        Ok(raw) => {
            let read = &data[..data.len() - rest.len()];
            let mut again = Vec::new();
            encode(&mut again, &raw);
            assert_eq!(again, read, "a string has one encoding");
            assert_eq!(bytes::encoded_len(raw.len()), read.len());
        }
        Err(_) => assert_eq!(rest, data, "a refused input is left as it was"),
    }
    let mut encoded = Vec::new();
    encode(&mut encoded, data);
    encoded.extend_from_slice(data);
    let mut rest = &encoded[..];
    assert_eq!(decode(&mut rest).as_deref(), Ok(data));
    assert_eq!(rest, data, "what follows is not touched");
}

/// Three ways to look at one encoding agree.
fn ascending(data: &[u8]) {
    let mut rest = data;
    let decoded = bytes::decode_bytes(&mut rest);
    let read = data.len() - rest.len();
    let measured = bytes::encoded_prefix_len(data);
    assert_eq!(
        measured.map_err(drop),
        decoded.as_ref().map(|_| read).map_err(drop)
    );
    let mut in_place = data.to_vec();
    match (bytes::decode_bytes_in_place(&mut in_place), decoded) {
        (Ok(()), Ok(raw)) => assert_eq!(in_place, raw),
        (Err(_), Err(_)) => assert_eq!(in_place, data),
        (in_place, decoded) => panic!("{in_place:?} in place, {decoded:?} else"),
    }
}

/// Decodes a number and encodes it again; the answer is how many bytes it was.
fn number_of<T: Copy + PartialEq + std::fmt::Debug>(
    data: &[u8],
    decode: impl Fn(&mut &[u8]) -> codec::Result<T>,
    encode: impl Fn(&mut Vec<u8>, T),
    is_canonical: bool,
) {
    let mut rest = data;
    match decode(&mut rest) {
        Ok(value) => {
            let read = &data[..data.len() - rest.len()];
            let mut again = Vec::new();
            encode(&mut again, value);
            if is_canonical {
                assert_eq!(again, read);
            }
            assert!(again.len() <= read.len(), "we write the shortest form");
            assert_eq!(decode(&mut &again[..]), Ok(value));
        }
        Err(_) => assert_eq!(rest, data),
    }
}

fn numbers(data: &[u8]) {
    number_of(data, number::decode_u64, number::encode_u64, true);
    number_of(data, number::decode_u64_desc, number::encode_u64_desc, true);
    number_of(data, number::decode_i64, number::encode_i64, true);
    number_of(data, number::decode_i64_desc, number::encode_i64_desc, true);
    number_of(data, number::decode_var_u64, number::encode_var_u64, false);
    number_of(data, number::decode_var_i64, number::encode_var_i64, false);
    let mut rest = data;
    if let Ok(float) = number::decode_f64(&mut rest) {
        let mut again = Vec::new();
        number::encode_f64(&mut again, float);
        // Bits, because no number equals itself when it is none.
        let bits = number::decode_f64(&mut &again[..]).map(f64::to_bits);
        assert_eq!(bits, Ok(float.to_bits()));
    }
    let mut rest = data;
    match bounded_by(0, || number::decode_var_i64(&mut &*data)) {
        Ok(_) => {
            if let Ok(raw) = bytes::decode_compact_bytes(&mut rest) {
                let mut again = Vec::new();
                bytes::encode_compact_bytes(&mut again, raw);
                assert_eq!(bytes::decode_compact_bytes(&mut &again[..]), Ok(raw));
            }
        }
        Err(_) => assert!(bytes::decode_compact_bytes(&mut rest).is_err()),
    }
}

/// The bytes as a user's key.
fn user_key(raw: &[u8]) {
    let key = Key::from_raw(raw);
    assert_eq!(key.to_raw().as_deref().map_err(drop), Ok(raw));
    assert!(key.is_encoded_from(raw));
    let ts = TimeStamp::new(Input(raw).number());
    let versioned = key.clone().append_ts(ts);
    assert_eq!(versioned.decode_ts().map_err(drop), Ok(ts));
    let split = Key::split_on_ts_for(versioned.as_encoded());
    assert_eq!(split.map_err(drop), Ok((key.as_encoded(), ts)));
    assert!(Key::is_user_key_eq(
        versioned.as_encoded(),
        key.as_encoded()
    ));
    assert!(!Key::is_user_key_eq(key.as_encoded(), key.as_encoded()));
    assert_eq!(versioned.truncate_ts().map_err(drop), Ok(key));
    let data_key = ::keys::data_key(raw);
    assert_eq!(::keys::origin_key(&data_key).map_err(drop), Ok(raw));
    let end = ::keys::data_end_key(raw);
    assert_eq!(::keys::origin_end_key(&end).map_err(drop), Ok(raw));
}

/// The bytes as a key of the engine.
fn stored_key(stored: &[u8]) {
    let key = Key::from_encoded_slice(stored);
    let mut rest = stored;
    let is_whole = bytes::decode_bytes(&mut rest).is_ok() && rest.is_empty();
    match bounded_by(stored.len(), || key.to_raw()) {
        Ok(raw) => {
            let again = Key::from_raw(&raw);
            assert!(stored.starts_with(again.as_encoded()));
            assert_eq!(again == key, is_whole);
            assert_eq!(key.is_encoded_from(&raw), is_whole);
        }
        Err(_) => assert!(!is_whole),
    }
    match Key::split_on_ts_for(stored) {
        Ok((user, ts)) => {
            assert_eq!(Key::from_encoded_slice(user).append_ts(ts), key);
            assert!(Key::is_user_key_eq(stored, user));
            assert_eq!(Key::truncate_ts_for(stored).map_err(drop), Ok(user));
        }
        Err(_) => assert!(stored.len() < txn_types::TS_LEN),
    }
    // A key is shown whatever it is.
    let _ = format!("{key} {key:?}");
}

/// Two user keys with a timestamp each: keys ascend, versions of one key descend.
fn order(data: &[u8]) {
    let mut input = Input(data);
    let (a, a_ts) = (input.bytes(), TimeStamp::new(input.number()));
    let (b, b_ts) = (input.bytes(), TimeStamp::new(input.number()));
    let (a_key, b_key) = (Key::from_raw(a), Key::from_raw(b));
    assert_eq!(a_key.cmp(&b_key), a.cmp(b));
    assert_eq!(a_key.is_encoded_from(b), a == b);
    let (a_version, b_version) = (a_key.append_ts(a_ts), b_key.append_ts(b_ts));
    assert_eq!(a_version.cmp(&b_version), a.cmp(b).then(b_ts.cmp(&a_ts)));
    let desc = |raw| {
        let mut out = Vec::new();
        bytes::encode_bytes_desc(&mut out, raw);
        out
    };
    assert_eq!(desc(a).cmp(&desc(b)), b.cmp(a));
    let v2 = |raw, ts| ApiV2::encode_raw_key(raw, Some(ts));
    assert_eq!(
        v2(a, a_ts).cmp(&v2(b, b_ts)),
        a.cmp(b).then(b_ts.cmp(&a_ts))
    );
}

/// Raw keys as each format stores them.
fn raw_formats(data: &[u8]) {
    fn check<F: KvFormat>(data: &[u8]) {
        if let Ok((user, ts)) = F::decode_raw_key(data) {
            assert_eq!(ts.is_some(), F::HAS_VERSIONS);
            let again = F::encode_raw_key(&user, ts);
            let again = again.as_encoded();
            let decoded = F::decode_raw_key(again).map_err(drop);
            assert_eq!(decoded, Ok((user, ts)));
            // Junk between key and version is dropped; there is none in what a store wrote.
            assert!(again.len() <= data.len());
            assert!(again.len() < data.len() || again == data);
        }
        let ts = F::HAS_VERSIONS.then(|| TimeStamp::new(Input(data).number()));
        let stored = F::encode_raw_key(data, ts);
        let decoded = F::decode_raw_key(stored.as_encoded()).map_err(drop);
        assert_eq!(decoded, Ok((data.to_vec(), ts)));
        assert_eq!(
            F::key_mode(data),
            match data.first() {
                Some(b'r') if F::HAS_VERSIONS => KeyMode::Raw,
                Some(b'x') if F::HAS_VERSIONS => KeyMode::Txn,
                Some(b'm' | b't') if F::HAS_VERSIONS => KeyMode::TiDb,
                _ => KeyMode::Unknown,
            }
        );
    }
    check::<ApiV1>(data);
    check::<ApiV1Ttl>(data);
    check::<ApiV2>(data);
}

/// Whom a store of each format lets in: a key is judged as the range from it to its successor in its keyspace is.
fn admission(data: &[u8]) {
    const VERSIONS: [ApiVersion; 3] = [ApiVersion::V1, ApiVersion::V1ttl, ApiVersion::V2];
    let mut input = Input(data);
    let kind = CommandKind::ALL[usize::from(input.byte()) % CommandKind::ALL.len()];
    let (start, end) = (input.bytes(), input.bytes());
    for storage in VERSIONS {
        for request in VERSIONS {
            let key = |key| api_version::check_api_version(storage, request, kind, [key]).is_ok();
            let range = |start, end| {
                let ranges = [(start, end)];
                api_version::check_api_version_ranges(storage, request, kind, ranges).is_ok()
            };
            if range(start, end) && !start.is_empty() {
                assert!(
                    key(start),
                    "a range that is let in begins with a key that is"
                );
            }
            if key(start) && start.len() > 1 {
                let successor = [start, &[0]].concat();
                assert!(range(start, &successor), "a key and the range of it alone");
            }
        }
    }
}

/// The keys of a store's own records.
fn store_keys(data: &[u8]) {
    if let Ok((region, index)) = ::keys::decode_raft_log_key(data) {
        assert_eq!(&::keys::raft_log_key(region, index)[..], data);
    }
    if let Ok((region, suffix)) = ::keys::decode_region_raft_key(data) {
        assert_eq!(
            [&::keys::region_raft_prefix(region)[..], &[suffix]].concat(),
            data
        );
    }
    if let Ok((region, suffix)) = ::keys::decode_region_meta_key(data) {
        assert_eq!(
            [&::keys::region_meta_prefix(region)[..], &[suffix]].concat(),
            data
        );
    }
    if let Ok(origin) = ::keys::origin_key(data) {
        assert_eq!(::keys::data_key(origin), data);
    }
    if let Ok(origin) = ::keys::origin_end_key(data)
        && !origin.is_empty()
    {
        assert_eq!(::keys::data_end_key(origin), data);
    }
}
