//! What a key means to TiDB: table rows, index entries, schema metadata.
//!
//! The shapes are those of TiDB's key encoding: `t` and `m` keys, datums with one flag byte each in
//! the order-preserving form. Input is the key as the client sees it: without the data prefix, not
//! memcomparable, without timestamp. Must never: fail on bytes that are no TiDB key; there is simply
//! no meaning then, and bytes behind a known beginning are shown as they are.

use std::fmt;

use serde::Serialize;

use crate::decimal;
use crate::escape::escape;

const TABLE: u8 = b't';
const META: u8 = b'm';
const ROW: &[u8] = b"_r";
const INDEX: &[u8] = b"_i";

/// A key of TiDB.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum TidbKey {
    /// The beginning of everything of a table.
    Table { table_id: i64 },
    /// A row with an integer for its primary key.
    Row { table_id: i64, handle: i64 },
    /// A row whose primary key consists of columns.
    ClusteredRow { table_id: i64, columns: Vec<Datum> },
    /// An entry of an index.
    Index {
        table_id: i64,
        index_id: i64,
        columns: Vec<Datum>,
    },
    /// The schema and its versions.
    Meta { key: String, field: Option<String> },
}

/// A value inside a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Datum {
    /// NULL.
    Null,
    /// Text or bytes, escaped.
    Bytes(String),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer; also enumerations, sets, bits and times.
    Uint(u64),
    /// A floating-point number.
    Float(f64),
    /// A decimal number.
    Decimal(String),
    /// A duration in nanoseconds.
    Duration(i64),
    /// The end of a range that includes everything.
    Max,
    /// What could not be decoded, escaped.
    Rest(String),
}

/// The meaning of `key`, if it has one.
pub(crate) fn decode(key: &[u8]) -> Option<TidbKey> {
    match key.split_first()? {
        (&TABLE, rest) => decode_table(rest),
        (&META, rest) => decode_meta(rest),
        _ => None,
    }
}

fn decode_table(mut rest: &[u8]) -> Option<TidbKey> {
    let table_id = codec::number::decode_i64(&mut rest).ok()?;
    if rest.is_empty() {
        return Some(TidbKey::Table { table_id });
    }
    if let Some(mut handle) = rest.strip_prefix(ROW) {
        // Eight bytes are an integer: no column takes exactly that with its flag.
        if handle.len() == 8 {
            let handle = codec::number::decode_i64(&mut handle).ok()?;
            return Some(TidbKey::Row { table_id, handle });
        }
        let columns = datums(handle);
        return Some(TidbKey::ClusteredRow { table_id, columns });
    }
    let mut rest = rest.strip_prefix(INDEX)?;
    let index_id = codec::number::decode_i64(&mut rest).ok()?;
    Some(TidbKey::Index {
        table_id,
        index_id,
        columns: datums(rest),
    })
}

fn decode_meta(mut rest: &[u8]) -> Option<TidbKey> {
    let key = codec::bytes::decode_bytes(&mut rest).ok()?;
    // The kind of the structure (string, list, hash) stands between key and field.
    codec::number::decode_u64(&mut rest).ok()?;
    let field = codec::bytes::decode_bytes(&mut rest).ok();
    Some(TidbKey::Meta {
        key: escape(&key),
        field: field.map(|field| escape(&field)),
    })
}

fn datums(mut rest: &[u8]) -> Vec<Datum> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let before = rest;
        match datum(&mut rest) {
            Some(datum) => found.push(datum),
            None => {
                found.push(Datum::Rest(escape(before)));
                break;
            }
        }
    }
    found
}

fn datum(rest: &mut &[u8]) -> Option<Datum> {
    let (&flag, behind) = rest.split_first()?;
    *rest = behind;
    Some(match flag {
        0 => Datum::Null,
        1 => Datum::Bytes(escape(&codec::bytes::decode_bytes(rest).ok()?)),
        2 => Datum::Bytes(escape(codec::bytes::decode_compact_bytes(rest).ok()?)),
        3 => Datum::Int(codec::number::decode_i64(rest).ok()?),
        4 => Datum::Uint(codec::number::decode_u64(rest).ok()?),
        5 => Datum::Float(codec::number::decode_f64(rest).ok()?),
        6 => Datum::Decimal(decimal::decode(rest)?),
        7 => Datum::Duration(codec::number::decode_i64(rest).ok()?),
        8 => Datum::Int(codec::number::decode_var_i64(rest).ok()?),
        9 => Datum::Uint(codec::number::decode_var_u64(rest).ok()?),
        250 => Datum::Max,
        _ => return None,
    })
}

impl fmt::Display for TidbKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TidbKey::Table { table_id } => write!(f, "table {table_id}"),
            TidbKey::Row { table_id, handle } => write!(f, "table {table_id}, row {handle}"),
            TidbKey::ClusteredRow { table_id, columns } => {
                write!(f, "table {table_id}, row ({})", list(columns))
            }
            TidbKey::Index {
                table_id,
                index_id,
                columns,
            } => write!(f, "table {table_id}, index {index_id} ({})", list(columns)),
            TidbKey::Meta { key, field: None } => write!(f, "metadata {key}"),
            TidbKey::Meta {
                key,
                field: Some(field),
            } => write!(f, "metadata {key}, field {field}"),
        }
    }
}

fn list(columns: &[Datum]) -> String {
    let columns: Vec<_> = columns.iter().map(Datum::to_string).collect();
    columns.join(", ")
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Null => f.write_str("NULL"),
            Datum::Bytes(text) => write!(f, "\"{text}\""),
            Datum::Int(number) => write!(f, "{number}"),
            Datum::Uint(number) => write!(f, "{number}"),
            Datum::Float(number) => write!(f, "{number:?}"),
            Datum::Decimal(text) => f.write_str(text),
            Datum::Duration(nanos) => write!(f, "{nanos}ns"),
            Datum::Max => f.write_str("MAX"),
            Datum::Rest(text) => write!(f, "?\"{text}\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use test_case::test_case;

    use super::*;

    fn meaning(hex: &str) -> String {
        decode(&hex::decode(hex).unwrap()).map_or("none".to_owned(), |key| key.to_string())
    }

    // The first two are the examples of the formats reference.
    #[test_case("74800000000000002d5f728000000000000001", "table 45, row 1"; "row")]
    #[test_case("74800000000000002d", "table 45"; "table")]
    #[test_case("74800000000000002d5f727fffffffffffffff", "table 45, row -1"; "negative handle")]
    #[test_case("74800000000000002d5f720161626300000000fb", "table 45, row (?\"\\001abc\\000\\000\\000\\000\\373\")"; "broken padding is shown")]
    #[test_case("74800000000000002d5f72016162630000000000fa", "table 45, row (\"abc\")"; "clustered row")]
    #[test_case("74800000000000002d5f698000000000000002038000000000000007", "table 45, index 2 (7)"; "integer index")]
    #[test_case("74800000000000002d5f6980000000000000020004000000000000000 9fa".replace(' ', "").as_str(), "table 45, index 2 (NULL, 9, MAX)"; "null, unsigned, max")]
    #[test_case("74800000000000002d5f69800000000000000205bff8000000000000", "table 45, index 2 (1.5)"; "float")]
    #[test_case("6d44424c697374000000fc0000000000000068", "none"; "cut short")]
    #[test_case("6d44427300000000000 0f90000000000000068".replace(' ', "").as_str(), "none"; "wrong padding")]
    #[test_case("7a", "none"; "another key")]
    #[test_case("", "none"; "empty")]
    fn means(hex: &str, text: &str) {
        assert_eq!(meaning(hex), text);
    }

    #[test]
    fn metadata_has_key_and_field() {
        let mut key = vec![META];
        codec::bytes::encode_bytes(&mut key, b"DBs");
        codec::number::encode_u64(&mut key, u64::from(b'h'));
        let whole = key.clone();
        codec::bytes::encode_bytes(&mut key, b"DB:2");
        assert_eq!(decode(&whole).unwrap().to_string(), "metadata DBs");
        assert_eq!(
            decode(&key).unwrap().to_string(),
            "metadata DBs, field DB:2"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_a_fall(bytes: Vec<u8>, table in any::<bool>()) {
            let mut key = vec![if table { TABLE } else { META }];
            key.extend_from_slice(&bytes);
            let _ = decode(&key).map(|key| key.to_string());
        }
    }
}
