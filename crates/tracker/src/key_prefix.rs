//! The beginning of a key, kept without an allocation: a request notes its key before anybody knows
//! whether the note will be read. Must never be taken for the key itself.

/// Bytes that are kept: a row key of TiDB with its handle, and then some.
const KEPT_MAX: usize = 40;

/// The beginning of a key and its length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyPrefix {
    kept: [u8; KEPT_MAX],
    len: usize,
}

/// Of no key.
impl Default for KeyPrefix {
    fn default() -> Self {
        Self::of(&[])
    }
}

impl KeyPrefix {
    /// The beginning of `key`.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let mut kept = [0; KEPT_MAX];
        let count = key.len().min(KEPT_MAX);
        kept[..count].copy_from_slice(&key[..count]);
        Self {
            kept,
            len: key.len(),
        }
    }

    /// What is kept of the key.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.kept[..self.len.min(KEPT_MAX)]
    }

    /// The length of the whole key.
    #[must_use]
    pub fn key_len(&self) -> usize {
        self.len
    }
}

/// Without the bytes: whoever logs them uses the redacting wrapper.
impl std::fmt::Debug for KeyPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyPrefix({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_keys_are_kept_whole_and_long_ones_cut() {
        for len in [0, 1, KEPT_MAX, KEPT_MAX + 1, 5000] {
            let key = vec![7; len];
            let prefix = KeyPrefix::of(&key);
            assert_eq!(prefix.key_len(), len);
            assert_eq!(prefix.bytes(), &key[..len.min(KEPT_MAX)]);
        }
        assert_eq!(
            format!("{:?}", KeyPrefix::of(b"secret")),
            "KeyPrefix(6 bytes)"
        );
    }
}
