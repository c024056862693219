//! Every cell of the acceptance matrix, and the texts of the refusals.

use api_version::ApiVersion::{V1, V1ttl, V2, V3};
use api_version::{ApiVersion, CommandKind, Error, check_api_version, check_api_version_ranges};
use kvproto::kvrpcpb::APIVersion;
use test_case::test_case;

/// Keys of each kind; a command over one of them is accepted, refused for the version, or for the
/// key.
const KEYS: [&[u8]; 6] = [b"r1", b"x1", b"m1", b"t1", b"a1", b""];

/// One letter for each of `KEYS`.
fn outcomes(storage: ApiVersion, request: ApiVersion, cmd: CommandKind) -> String {
    let outcome = |key: &&[u8]| match check_api_version(storage, request, cmd, [*key]) {
        Ok(()) => 'a',
        Err(Error::ApiVersionNotMatched { .. }) => 'v',
        Err(Error::InvalidKeyMode { .. }) => 'k',
        Err(other) => panic!("{other}"),
    };
    KEYS.iter().map(outcome).collect()
}

#[test_case(V1, V1, "aaaaaa", "aaaaaa")]
#[test_case(V1, V1ttl, "vvvvvv", "vvvvvv")]
#[test_case(V1, V2, "vvvvvv", "vvvvvv")]
#[test_case(V1, V3, "vvvvvv", "vvvvvv")]
#[test_case(V1ttl, V1, "aaaaaa", "vvvvvv")]
#[test_case(V1ttl, V1ttl, "vvvvvv", "vvvvvv")]
#[test_case(V1ttl, V2, "vvvvvv", "vvvvvv")]
#[test_case(V1ttl, V3, "vvvvvv", "vvvvvv")]
#[test_case(V2, V1, "vvvvvv", "kkaakk")]
#[test_case(V2, V1ttl, "vvvvvv", "vvvvvv")]
#[test_case(V2, V2, "akkkkk", "kakkkk")]
#[test_case(V2, V3, "vvvvvv", "vvvvvv")]
fn matrix(storage: ApiVersion, request: ApiVersion, raw: &str, txn: &str) {
    for cmd in CommandKind::ALL {
        let expected = match cmd {
            CommandKind::ScanLock => "aaaaaa",
            cmd if cmd.is_raw() => raw,
            _ => txn,
        };
        assert_eq!(outcomes(storage, request, *cmd), expected, "{cmd}");
    }
}

#[test]
fn one_wrong_key_of_several_is_named() {
    let keys: [&[u8]; 3] = [b"x1", b"\xab\xcd", b"x2"];
    let error = check_api_version(V2, V2, CommandKind::Prewrite, keys).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Key mode mismatched with the request mode, cmd: prewrite, storage: V2, key: ABCD"
    );
    assert_eq!(check_api_version(V2, V2, CommandKind::Prewrite, []), Ok(()));
}

#[test_case(
    V1,
    V2,
    CommandKind::RawGet,
    "Api version in request does not match with TiKV storage, cmd: raw_get, storage: V1, request: V2"
)]
#[test_case(
    V1ttl,
    V1,
    CommandKind::Get,
    "Api version in request does not match with TiKV storage, cmd: get, storage: V1ttl, request: V1"
)]
#[test_case(
    V2,
    V1ttl,
    CommandKind::RawCompareAndSwap,
    "Api version in request does not match with TiKV storage, cmd: raw_compare_and_swap, storage: V2, request: V1ttl"
)]
fn version_mismatch_text(storage: ApiVersion, request: ApiVersion, cmd: CommandKind, text: &str) {
    let error = check_api_version(storage, request, cmd, []).unwrap_err();
    assert_eq!(error.to_string(), text);
    let error = check_api_version_ranges(storage, request, cmd, []).unwrap_err();
    assert_eq!(error.to_string(), text);
}

#[test_case(b"x1", b"x2", true; "within the kind")]
#[test_case(b"x", b"y", true; "the whole kind")]
#[test_case(b"x1", b"y", true; "to the end of the kind")]
#[test_case(b"x1", b"y1", false; "beyond the kind")]
#[test_case(b"x1", b"", false; "open above")]
#[test_case(b"", b"x1", false; "open below")]
#[test_case(b"", b"", false; "everything")]
#[test_case(b"r1", b"r2", false; "another kind")]
#[test_case(b"r1", b"x1", false; "over two kinds")]
#[test_case(b"\xff", b"", false; "above every kind")]
fn ranges_of_v2(start: &[u8], end: &[u8], accepted: bool) {
    let result = check_api_version_ranges(V2, V2, CommandKind::Scan, [(start, end)]);
    assert_eq!(result.is_ok(), accepted, "{result:?}");
    assert!(check_api_version_ranges(V1, V1, CommandKind::Scan, [(start, end)]).is_ok());
    assert!(check_api_version_ranges(V2, V2, CommandKind::ScanLock, [(start, end)]).is_ok());
}

#[test]
fn range_mismatch_text() {
    let range: (&[u8], &[u8]) = (b"\xab", b"");
    let error = check_api_version_ranges(V2, V2, CommandKind::RawScan, [range]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Key mode mismatched with the request mode, cmd: raw_scan, storage: V2, \
         range: (Some(\"AB\"), None)"
    );
}

#[test]
fn tidb_ranges_through_v1() {
    let check = |start: &'static [u8], end: &'static [u8]| {
        check_api_version_ranges(V2, V1, CommandKind::Scan, [(start, end)]).is_ok()
    };
    assert!(check(b"t1", b"t2") && check(b"t", b"u") && check(b"m", b"n") && check(b"m1", b"t2"));
    assert!(!check(b"t1", b"") && !check(b"x1", b"x2"));
}

#[test]
fn versions_of_the_wire() {
    let pairs = [
        (V1, APIVersion::V1),
        (V1ttl, APIVersion::V1TTL),
        (V2, APIVersion::V2),
        (V3, APIVersion::V3),
    ];
    for (ours, wire) in pairs {
        assert_eq!(ApiVersion::from(wire), ours);
        assert_eq!(APIVersion::from(ours), wire);
    }
}
