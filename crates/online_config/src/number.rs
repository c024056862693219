//! Decimal numbers in front of units. Exact: no floating point, so that `0.1s` is what it says.

/// Digits after the point that are kept: enough for nanoseconds in days.
const MAX_FRACTION_DIGITS: usize = 15;

/// A non-negative decimal number: `digits / 10^fraction_digits`.
pub(crate) struct Decimal {
    digits: u128,
    fraction_digits: u32,
}

impl Decimal {
    /// Reads `12` or `1.5`: ASCII digits, at most one point, a digit somewhere.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let empty = whole.is_empty() && fraction.is_empty();
        if empty || !all_digits(whole) || !all_digits(fraction) || whole.len() > 20 {
            return None;
        }
        if fraction.len() > MAX_FRACTION_DIGITS {
            return None;
        }
        let digits = format!("0{whole}{fraction}").parse().ok()?;
        // At most MAX_FRACTION_DIGITS.
        Some(Self {
            digits,
            fraction_digits: fraction.len() as u32,
        })
    }

    /// The number times `scale`, rounded down to a whole number.
    pub(crate) fn scaled(&self, scale: u64) -> Option<u64> {
        let product = self.digits.checked_mul(u128::from(scale))?;
        u64::try_from(product / 10_u128.pow(self.fraction_digits)).ok()
    }
}

/// Splits a text behind its leading number.
pub(crate) fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}
