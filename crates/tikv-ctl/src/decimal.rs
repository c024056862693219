//! Decimal numbers inside TiDB keys: MySQL's packed form behind a byte of precision and a byte of
//! scale.
//!
//! Nine decimal digits take four bytes, big-endian; what is left over on either side takes as few
//! bytes as hold it. The highest bit is flipped, and every bit of a negative number besides, so that
//! bytes compare as numbers do.

/// Digits in a full group, and the bytes it takes.
const GROUP_DIGITS: usize = 9;
const GROUP_BYTES: usize = 4;
/// Bytes for so many digits that do not fill a group.
const PARTIAL_BYTES: [usize; GROUP_DIGITS] = [0, 1, 1, 2, 2, 3, 3, 4, 4];
/// The largest precision and scale that MySQL knows.
const PRECISION_MAX: usize = 65;
const SCALE_MAX: usize = 30;

/// The number at the beginning of `rest`, which then stands behind it; nothing when there is none.
pub(crate) fn decode(rest: &mut &[u8]) -> Option<String> {
    let [precision, scale, ..] = **rest else {
        return None;
    };
    let (precision, scale) = (usize::from(precision), usize::from(scale));
    if precision == 0 || precision > PRECISION_MAX || scale > SCALE_MAX || scale > precision {
        return None;
    }
    let whole = precision - scale;
    let length = bytes_of(whole) + bytes_of(scale);
    let mut packed = rest.get(2..2 + length)?.to_vec();
    let negative = packed[0] & 0x80 == 0;
    packed[0] ^= 0x80;
    if negative {
        packed.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let (head, tail) = packed.split_at(bytes_of(whole));
    let mut digits = String::new();
    // The odd group stands first before the point, and last behind it.
    let (odd, groups) = head.split_at(PARTIAL_BYTES[whole % GROUP_DIGITS]);
    push_group(&mut digits, odd, whole % GROUP_DIGITS)?;
    push_groups(&mut digits, groups)?;
    let significant = digits.trim_start_matches('0');
    let mut text = if negative { "-" } else { "" }.to_owned();
    text.push_str(if significant.is_empty() {
        "0"
    } else {
        significant
    });
    if scale > 0 {
        let (groups, odd) = tail.split_at(scale / GROUP_DIGITS * GROUP_BYTES);
        let mut digits = String::new();
        push_groups(&mut digits, groups)?;
        push_group(&mut digits, odd, scale % GROUP_DIGITS)?;
        text.push('.');
        text.push_str(&digits);
    }
    *rest = &rest[2 + length..];
    Some(text)
}

fn bytes_of(digits: usize) -> usize {
    digits / GROUP_DIGITS * GROUP_BYTES + PARTIAL_BYTES[digits % GROUP_DIGITS]
}

fn push_groups(text: &mut String, groups: &[u8]) -> Option<()> {
    groups
        .chunks(GROUP_BYTES)
        .try_for_each(|group| push_group(text, group, GROUP_DIGITS))
}

fn push_group(text: &mut String, bytes: &[u8], digits: usize) -> Option<()> {
    if digits == 0 {
        return Some(());
    }
    let number = bytes
        .iter()
        .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let group = format!("{number:0digits$}");
    // More digits than there is room for: no decimal number looks like this.
    if group.len() > digits {
        return None;
    }
    text.push_str(&group);
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use test_case::test_case;

    use super::*;

    // 1234567890.1234 as decimal(14, 4) is the example of MySQL's own documentation of the form.
    #[test_case("0e04810dfb38d204d2", Some("1234567890.1234"); "documented")]
    #[test_case("0e047ef204c72dfb2d", Some("-1234567890.1234"); "documented, negative")]
    #[test_case("0100 80", Some("0"); "zero")]
    #[test_case("0202 8c", Some("0.12"); "no whole part")]
    #[test_case("0a00 80000000ff", Some("255"); "whole groups")]
    #[test_case("0a00 80ffffffff", None; "a group with too many digits")]
    #[test_case("0000", None; "no precision")]
    #[test_case("0103 80", None; "scale above precision")]
    #[test_case("4200", None; "precision above the largest")]
    #[test_case("0e04810dfb", None; "cut short")]
    fn decoded(hex: &str, text: Option<&str>) {
        let bytes = hex::decode(hex.replace(' ', "")).unwrap();
        let mut rest = bytes.as_slice();
        assert_eq!(decode(&mut rest).as_deref(), text);
        assert_eq!(rest.is_empty(), text.is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_a_fall(bytes: Vec<u8>) {
            let _ = decode(&mut bytes.as_slice());
        }
    }
}
