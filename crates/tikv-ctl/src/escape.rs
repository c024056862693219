//! Bytes as a person types and reads them: printable ASCII as it is, everything else escaped.
//!
//! Written form: `\n`, `\r`, `\t`, `\"`, `\\`, and three octal digits for any other byte, as the
//! original tool prints them. Read form: the same, and `\xhh`. What is written reads back as the
//! bytes it was written from. Must never: guess what a malformed escape could mean.

use std::fmt::Write as _;

/// The escaped form of `bytes`.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(char::from(byte)),
            // A String takes whatever is written to it.
            _ => drop(write!(text, "\\{byte:03o}")),
        }
    }
    text
}

/// The bytes that `text` stands for. Characters beyond ASCII stand for their UTF-8 bytes.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let Some((&kind, behind)) = rest.split_first() else {
            return Err("a backslash at the end".to_owned());
        };
        let (byte, length) = match kind {
            b'n' => (b'\n', 1),
            b'r' => (b'\r', 1),
            b't' => (b'\t', 1),
            b'"' | b'\'' | b'\\' => (kind, 1),
            b'x' => (digits(behind, 2, 16)?, 3),
            b'0'..=b'7' => (digits(rest, 3, 8)?, 3),
            _ => return Err(format!("\\{} is no escape", char::from(kind))),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    Ok(bytes)
}

/// The byte written with the first `count` digits of `text`.
fn digits(text: &[u8], count: usize, radix: u32) -> Result<u8, String> {
    let wanted =
        || format!("an escape with {count} digits of base {radix} is cut short or too large");
    let digits = text.get(..count).ok_or_else(wanted)?;
    // A sign would be taken for a digit.
    if !digits
        .iter()
        .all(|digit| char::from(*digit).is_digit(radix))
    {
        return Err(wanted());
    }
    let digits = std::str::from_utf8(digits).map_err(|_| wanted())?;
    u8::from_str_radix(digits, radix).map_err(|_| wanted())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use test_case::test_case;

    use super::*;

    #[test_case(b"abc", "abc"; "plain")]
    #[test_case(b"a\"b\\c", "a\\\"b\\\\c"; "quote and backslash")]
    #[test_case(b"\n\r\t", "\\n\\r\\t"; "named")]
    #[test_case(b"t\x80\x00\xff", "t\\200\\000\\377"; "octal")]
    #[test_case("ü".as_bytes(), "\\303\\274"; "beyond ascii")]
    fn written(bytes: &[u8], text: &str) {
        assert_eq!(escape(bytes), text);
    }

    #[test_case("a\\x00\\xfFb", b"a\x00\xffb"; "hexadecimal")]
    #[test_case("ü", "ü".as_bytes(); "utf 8")]
    #[test_case("\\'", b"'"; "single quote")]
    #[test_case("\\0011", b"\x011"; "three octal digits, not four")]
    fn read(text: &str, bytes: &[u8]) {
        assert_eq!(unescape(text).unwrap(), bytes);
    }

    #[test_case("\\"; "nothing behind")]
    #[test_case("\\q"; "no escape")]
    #[test_case("\\x1"; "one digit")]
    #[test_case("\\x+1"; "a sign")]
    #[test_case("\\400"; "above a byte")]
    #[test_case("\\08"; "no octal digit")]
    #[test_case("\\xü"; "no digit at all")]
    fn refused(text: &str) {
        assert!(unescape(text).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes: Vec<u8>) {
            prop_assert_eq!(unescape(&escape(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = unescape(&text);
        }
    }
}
