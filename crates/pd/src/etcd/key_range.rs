//! A range of keys as the protocol writes it: a key, and an end that is missing, `\0` or a key.

use std::ops::Bound;

/// Both ends, as an ordered map takes them.
pub type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Keys from `start` to `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    start: Vec<u8>,
    end: Bound<Vec<u8>>,
}

impl KeyRange {
    /// No end: the single key. The end `\0`: all keys from `key` on. Else all from `key` to before
    /// the end.
    pub fn new(key: &[u8], range_end: &[u8]) -> KeyRange {
        KeyRange {
            start: key.to_vec(),
            end: match range_end {
                b"" => Bound::Included(key.to_vec()),
                b"\0" => Bound::Unbounded,
                end => Bound::Excluded(end.to_vec()),
            },
        }
    }

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        match &self.end {
            Bound::Excluded(end) => *end <= self.start,
            _ => false,
        }
    }

    /// Whether the key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        let before_end = match &self.end {
            Bound::Included(end) => key <= end.as_slice(),
            Bound::Excluded(end) => key < end.as_slice(),
            Bound::Unbounded => true,
        };
        before_end && key >= self.start.as_slice()
    }

    /// The bounds for an ordered map; none when the range is empty, because maps refuse such bounds.
    pub fn bounds(&self) -> Option<Bounds<'_>> {
        if self.is_empty() {
            return None;
        }
        let end = match &self.end {
            Bound::Included(end) => Bound::Included(end.as_slice()),
            Bound::Excluded(end) => Bound::Excluded(end.as_slice()),
            Bound::Unbounded => Bound::Unbounded,
        };
        Some((Bound::Included(self.start.as_slice()), end))
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case(b"b", b"", &[b"b"]; "single")]
    #[test_case(b"b", b"c", &[b"b", b"bb"]; "half open")]
    #[test_case(b"b", b"\0", &[b"b", b"bb", b"c"]; "from key")]
    #[test_case(b"\0", b"\0", &[b"a", b"b", b"bb", b"c"]; "all")]
    #[test_case(b"b", b"b", &[]; "empty")]
    #[test_case(b"c", b"a", &[]; "backwards")]
    fn contains_what_the_protocol_says(key: &[u8], end: &[u8], expected: &[&[u8]]) {
        let range = KeyRange::new(key, end);
        let all: [&[u8]; 4] = [b"a", b"b", b"bb", b"c"];
        let found: Vec<&[u8]> = all.into_iter().filter(|key| range.contains(key)).collect();
        assert_eq!(found, expected);
        assert_eq!(range.bounds().is_none(), expected.is_empty());
    }
}
