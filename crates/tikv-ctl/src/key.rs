//! One key in all its forms: as bytes, as stored, and what it means.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;
use txn_types::Key;

use crate::escape::{escape, unescape};
use crate::tidb_key::{self, TidbKey};

/// How a key is written on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyForm {
    /// Text with escapes: `\n`, `\377`, `\xff`
    #[default]
    Escaped,
    /// Hexadecimal digits
    Hex,
}

/// The bytes of a key, or of a value, that a person wrote.
pub(crate) fn parse(text: &str, form: KeyForm) -> Result<Vec<u8>, String> {
    match form {
        KeyForm::Escaped => unescape(text),
        KeyForm::Hex => hex::decode(text).map_err(|error| error.to_string()),
    }
}

/// What can be said about a key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct KeyReport {
    /// The key as given.
    escaped: String,
    hex: String,
    /// Its form in the store and in the boundaries of regions, in hexadecimal.
    encoded_hex: String,
    /// The mode and keyspace that its API V2 prefix names.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_v2: Option<ApiV2Prefix>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tidb: Option<TidbKey>,
    /// The key itself was given in the form of the store: what it encodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    decoded: Option<DecodedKey>,
}

/// A key found inside an encoded one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DecodedKey {
    escaped: String,
    hex: String,
    /// The timestamp behind the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tidb: Option<TidbKey>,
}

/// The first four bytes of a key under API V2.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ApiV2Prefix {
    mode: &'static str,
    keyspace_id: u32,
}

impl KeyReport {
    pub(crate) fn of(key: &[u8]) -> KeyReport {
        KeyReport {
            escaped: escape(key),
            hex: hex::encode(key),
            encoded_hex: hex::encode(Key::from_raw(key).as_encoded()),
            api_v2: ApiV2Prefix::of(key),
            tidb: meaning(key),
            decoded: DecodedKey::of(key),
        }
    }
}

/// What a key means to TiDB, with or without the prefix of a keyspace.
pub(crate) fn meaning(key: &[u8]) -> Option<TidbKey> {
    tidb_key::decode(key).or_else(|| match ApiV2Prefix::of(key) {
        Some(ApiV2Prefix { mode: "txn", .. }) => tidb_key::decode(&key[4..]),
        _ => None,
    })
}

impl ApiV2Prefix {
    fn of(key: &[u8]) -> Option<ApiV2Prefix> {
        let (&[mode, high, middle, low], _) = key.split_first_chunk()?;
        let mode = match mode {
            b'x' => "txn",
            b'r' => "raw",
            _ => return None,
        };
        let keyspace_id = u32::from_be_bytes([0, high, middle, low]);
        Some(ApiV2Prefix { mode, keyspace_id })
    }
}

impl DecodedKey {
    fn of(key: &[u8]) -> Option<DecodedKey> {
        let mut rest = key;
        let inner = codec::bytes::decode_bytes(&mut rest).ok()?;
        let ts = match rest.len() {
            0 => None,
            8 => Some(codec::number::decode_u64_desc(&mut rest).ok()?),
            _ => return None,
        };
        Some(DecodedKey {
            escaped: escape(&inner),
            hex: hex::encode(&inner),
            ts,
            tidb: meaning(&inner),
        })
    }
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key      {}", self.escaped)?;
        writeln!(f, "hex      {}", self.hex)?;
        write!(f, "encoded  {}", self.encoded_hex)?;
        if let Some(prefix) = &self.api_v2 {
            let ApiV2Prefix { mode, keyspace_id } = prefix;
            write!(f, "\napi v2   {mode}, keyspace {keyspace_id}")?;
        }
        if let Some(tidb) = &self.tidb {
            write!(f, "\ntidb     {tidb}")?;
        }
        if let Some(decoded) = &self.decoded {
            write!(f, "\ndecodes  {} (hex {})", decoded.escaped, decoded.hex)?;
            if let Some(ts) = decoded.ts {
                write!(f, " at {}", crate::timestamp::show(ts))?;
            }
            if let Some(tidb) = &decoded.tidb {
                write!(f, ": {tidb}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_row_is_decoded_and_explained() {
        let encoded = "7480000000000000ff2d5f728000000000ff0000010000000000fafffffffffffffff5";
        let report = KeyReport::of(&parse(encoded, KeyForm::Hex).unwrap());
        let decoded = report.decoded.as_ref().unwrap();
        assert_eq!(decoded.ts, Some(10));
        assert_eq!(decoded.hex, "74800000000000002d5f728000000000000001");
        let text = report.to_string();
        assert!(text.contains("table 45, row 1"), "{text}");
    }

    #[test]
    fn keyspaces_are_named() {
        let report = KeyReport::of(b"x\x00\x01\x02k");
        assert_eq!(
            report.api_v2,
            Some(ApiV2Prefix {
                mode: "txn",
                keyspace_id: 258
            })
        );
        assert_eq!(report.encoded_hex, "780001026b000000fc");
        assert!(report.decoded.is_none());
    }

    #[test]
    fn a_table_inside_a_keyspace_has_its_meaning() {
        let mut key = b"x\x00\x00\x01".to_vec();
        key.extend(hex::decode("74800000000000002d").unwrap());
        assert_eq!(meaning(&key).unwrap().to_string(), "table 45");
    }
}
