//! Bounds on what one request may carry, and the checks against them.
//! Must never: allocate in proportion to what a client merely claims.

use std::sync::atomic::{AtomicUsize, Ordering};

use online_config::ReadableSize;
use txn_types::{Key, TimeStamp};

use crate::memory::{MemoryLease, MemoryQuota};
use crate::{Config, Error, Result};

/// The limits in force. They may change between two checks of one request, each of which stands alone.
#[derive(Debug)]
pub struct Limits {
    max_key_size: AtomicUsize,
    max_write_size: AtomicUsize,
    max_read_size: AtomicUsize,
}

impl Limits {
    /// The limits of `config`.
    pub fn new(config: &Config) -> Self {
        Self {
            max_key_size: bytes(config.max_key_size).into(),
            max_write_size: bytes(config.max_write_size).into(),
            max_read_size: bytes(config.max_read_size).into(),
        }
    }

    /// Takes over the limits of `config`.
    pub(crate) fn reconfigure(&self, config: &Config) {
        let set = |limit: &AtomicUsize, size| limit.store(bytes(size), Ordering::Relaxed);
        set(&self.max_key_size, config.max_key_size);
        set(&self.max_write_size, config.max_write_size);
        set(&self.max_read_size, config.max_read_size);
    }

    /// Most bytes that one request may write.
    pub fn max_write_size(&self) -> usize {
        self.max_write_size.load(Ordering::Relaxed)
    }

    /// Most bytes that one answer may have.
    pub fn max_read_size(&self) -> usize {
        self.max_read_size.load(Ordering::Relaxed)
    }

    /// A transactional key that must name something.
    pub fn check_key(&self, key: &Key) -> Result<()> {
        if key.is_encoded_from(b"") {
            return Err(Error::EmptyKey);
        }
        self.check_bound(key)
    }

    /// A transactional key that only bounds a range, and so may be empty.
    pub fn check_bound(&self, key: &Key) -> Result<()> {
        self.check_size(key.as_encoded().len())
    }

    /// A raw key that must name something.
    pub fn check_raw_key(&self, key: &[u8]) -> Result<()> {
        if key.is_empty() {
            return Err(Error::EmptyKey);
        }
        self.check_raw_bound(key)
    }

    /// A raw key that only bounds a range.
    pub fn check_raw_bound(&self, key: &[u8]) -> Result<()> {
        self.check_size(key.len())
    }

    /// A value to be written.
    pub fn check_value(&self, value: &[u8]) -> Result<()> {
        let (size, limit) = (value.len(), self.max_write_size());
        if size > limit {
            return Err(Error::ValueTooLarge { size, limit });
        }
        Ok(())
    }

    fn check_size(&self, size: usize) -> Result<()> {
        // Longest key: encoded for transactions, plain for raw access.
        let limit = self.max_key_size.load(Ordering::Relaxed);
        if size > limit {
            return Err(Error::KeyTooLarge { size, limit });
        }
        Ok(())
    }
}

fn bytes(size: ReadableSize) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

/// A timestamp that a transaction can have started or committed at.
pub(crate) fn check_ts(field: &'static str, ts: TimeStamp) -> Result<()> {
    if ts.is_zero() || ts.is_max() {
        return Err(Error::InvalidTimestamp { field, ts });
    }
    Ok(())
}

/// Half-open ranges: the start may equal the end (an empty range) and an absent end is unbounded.
pub(crate) fn check_range(start: &[u8], end: Option<&[u8]>) -> Result<()> {
    match end {
        Some(end) if start > end => Err(invalid_range(start, end, "the start lies after the end")),
        _ => Ok(()),
    }
}

/// The same for transactional keys; the error names them as the client knows them.
pub(crate) fn check_key_range(start: &Key, end: Option<&Key>) -> Result<()> {
    match end {
        Some(end) if start > end => {
            let raw = |key: &Key| key.to_raw().unwrap_or_default();
            check_range(&raw(start), Some(&raw(end)))
        }
        _ => Ok(()),
    }
}

/// The error for a range, with keys in hexadecimal.
pub(crate) fn invalid_range(start: &[u8], end: &[u8], reason: &'static str) -> Error {
    Error::InvalidRange {
        start: to_hex(start),
        end: to_hex(end),
        reason,
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a pair costs in memory besides its bytes, until it is on the wire.
const PAIR_OVERHEAD: usize = 128;

/// What a key of a request costs in memory besides its bytes.
const KEY_OVERHEAD: usize = 48;

/// What the keys of a request, of these lengths, take in memory.
pub(crate) fn request_bytes(keys: impl IntoIterator<Item = usize>) -> usize {
    keys.into_iter()
        .fold(0, |sum: usize, len| sum.saturating_add(len + KEY_OVERHEAD))
}

/// Counts what a read has collected, and takes the memory for it.
#[derive(Debug)]
pub(crate) struct ReadBudget {
    limit: usize,
    used: usize,
    quota: MemoryQuota,
    memory: Option<MemoryLease>,
}

impl ReadBudget {
    pub(crate) fn new(limits: &Limits, quota: &MemoryQuota) -> Self {
        Self {
            limit: limits.max_read_size.load(Ordering::Relaxed),
            used: 0,
            quota: quota.clone(),
            memory: None,
        }
    }

    /// Fails once the answer would be larger than allowed, with this pair of so many bytes.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<()> {
        let bytes = bytes.saturating_add(PAIR_OVERHEAD);
        self.used = self.used.saturating_add(bytes);
        if self.used > self.limit {
            return Err(Error::ReadTooLarge { limit: self.limit });
        }
        match &mut self.memory {
            Some(memory) => memory.grow(bytes),
            None => {
                self.memory = Some(self.quota.take(bytes)?);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            max_key_size: 18.into(),
            max_write_size: 4.into(),
            max_read_size: 10.into(),
        }
    }

    #[test]
    fn keys_are_bounded_by_their_encoded_length() {
        // 15 bytes encode to two groups of nine, 16 to three.
        limits().check_key(&Key::from_raw(&[b'k'; 15])).unwrap();
        let err = limits().check_key(&Key::from_raw(&[b'k'; 16])).unwrap_err();
        assert_eq!(
            err.to_string(),
            "max key size exceeded, size: 27, limit: 18"
        );
        limits().check_raw_key(&[b'k'; 18]).unwrap();
        assert!(matches!(
            limits().check_raw_key(&[b'k'; 19]),
            Err(Error::KeyTooLarge { .. })
        ));
    }

    #[test]
    fn empty_keys_bound_ranges_but_name_nothing() {
        assert!(matches!(
            limits().check_key(&Key::from_raw(b"")),
            Err(Error::EmptyKey)
        ));
        limits().check_bound(&Key::from_raw(b"")).unwrap();
        assert!(matches!(limits().check_raw_key(b""), Err(Error::EmptyKey)));
        limits().check_raw_bound(b"").unwrap();
    }

    #[test]
    fn values_ranges_and_timestamps_are_bounded() {
        limits().check_value(b"1234").unwrap();
        assert!(matches!(
            limits().check_value(b"12345"),
            Err(Error::ValueTooLarge { size: 5, .. })
        ));
        check_range(b"a", Some(b"a")).unwrap();
        check_range(b"a", None).unwrap();
        assert_eq!(
            check_range(b"b", Some(b"a")).unwrap_err().to_string(),
            "invalid range, start: 62, end: 61: the start lies after the end"
        );
        assert!(check_ts("start_version", TimeStamp::zero()).is_err());
        assert!(check_ts("start_version", TimeStamp::max()).is_err());
        check_ts("start_version", TimeStamp::new(1)).unwrap();
    }

    #[test]
    fn answers_are_bounded_by_their_limit_and_by_the_memory_of_all() {
        let limits = Limits {
            max_read_size: 1000.into(),
            ..limits()
        };
        let quota = MemoryQuota::new(1200);
        let mut budget = ReadBudget::new(&limits, &quota);
        // Two pairs of 500 bytes as they stand in memory.
        let pair = 500 - PAIR_OVERHEAD;
        budget.take(pair).unwrap();
        budget.take(pair).unwrap();
        assert_eq!(quota.used(), 1000);
        assert!(matches!(
            budget.take(0),
            Err(Error::ReadTooLarge { limit: 1000 })
        ));
        let mut other = ReadBudget::new(&limits, &quota);
        assert!(matches!(
            other.take(pair),
            Err(Error::MemoryQuotaExceeded { capacity: 1200 })
        ));
        drop(budget);
        other.take(pair).unwrap();
        drop(other);
        assert_eq!(quota.used(), 0);
    }
}
