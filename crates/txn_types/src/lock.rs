//! One lock as the lock column family stores it.
//!
//! The value starts with the kind, the primary key, the start timestamp and the time to live; tagged
//! optional fields follow in a fixed order. A reader stops at the first tag that it does not know,
//! so a field that a newer server appends does no harm.

use codec::bytes::{decode_compact_bytes, encode_compact_bytes};
use codec::number::{decode_u64, decode_var_u64, encode_u64, encode_var_u64};
use kvproto::kvrpcpb;

use crate::{Error, LastChange, Result, TimeStamp, Value, is_short_value};

const TYPE_PUT: u8 = b'P';
const TYPE_DELETE: u8 = b'D';
const TYPE_LOCK: u8 = b'L';
const TYPE_PESSIMISTIC: u8 = b'S';

const TAG_SHORT_VALUE: u8 = b'v';
const TAG_FOR_UPDATE_TS: u8 = b'f';
const TAG_TXN_SIZE: u8 = b't';
const TAG_MIN_COMMIT_TS: u8 = b'c';
const TAG_ASYNC_COMMIT: u8 = b'a';
const TAG_ROLLBACK_TS: u8 = b'r';
const TAG_LAST_CHANGE: u8 = b'l';
const TAG_TXN_SOURCE: u8 = b's';
const TAG_LOCKED_WITH_CONFLICT: u8 = b'F';
const TAG_GENERATION: u8 = b'g';

/// What the transaction that holds a lock is about to do with the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockType {
    /// Write a value.
    Put,
    /// Delete the key.
    Delete,
    /// Nothing but keep others from writing.
    Lock,
    /// Not decided yet: acquired by a statement before the prewrite.
    Pessimistic,
}

impl LockType {
    fn to_u8(self) -> u8 {
        match self {
            Self::Put => TYPE_PUT,
            Self::Delete => TYPE_DELETE,
            Self::Lock => TYPE_LOCK,
            Self::Pessimistic => TYPE_PESSIMISTIC,
        }
    }

    fn from_u8(byte: u8) -> Result<Self> {
        match byte {
            TYPE_PUT => Ok(Self::Put),
            TYPE_DELETE => Ok(Self::Delete),
            TYPE_LOCK => Ok(Self::Lock),
            TYPE_PESSIMISTIC => Ok(Self::Pessimistic),
            other => Err(Error::LockType(other)),
        }
    }

    /// The name of this kind in responses.
    #[must_use]
    pub fn to_op(self) -> kvrpcpb::Op {
        match self {
            Self::Put => kvrpcpb::Op::Put,
            Self::Delete => kvrpcpb::Op::Del,
            Self::Lock => kvrpcpb::Op::Lock,
            Self::Pessimistic => kvrpcpb::Op::PessimisticLock,
        }
    }
}

/// A lock of one transaction on one key.
#[derive(Clone, PartialEq, Eq)]
pub struct Lock {
    /// What the holder is about to do.
    pub lock_type: LockType,
    /// Raw key whose lock decides the fate of the transaction.
    pub primary: Vec<u8>,
    /// Start timestamp of the holder.
    pub ts: TimeStamp,
    /// Milliseconds after `ts` for which the holder counts as alive.
    pub ttl: u64,
    /// The value of a `Put`, when it is short.
    pub short_value: Option<Value>,
    /// Non-zero exactly when the holder is a pessimistic transaction.
    pub for_update_ts: TimeStamp,
    /// Keys in the transaction; zero when unknown.
    pub txn_size: u64,
    /// The commit timestamp will not be below this; zero when nothing is promised.
    pub min_commit_ts: TimeStamp,
    /// Whether the transaction is committed once all its locks are written.
    pub use_async_commit: bool,
    /// Raw keys of the other locks; only on the primary of an asynchronous commit.
    pub secondaries: Vec<Vec<u8>>,
    /// Start timestamps of other transactions that were rolled back on this key under this lock.
    pub rollback_ts: Vec<TimeStamp>,
    /// Where the newest data version below the lock is.
    pub last_change: LastChange,
    /// Who issued the transaction, for change feeds.
    pub txn_source: u64,
    /// Whether a pessimistic lock was granted although a newer version existed.
    pub is_locked_with_conflict: bool,
    /// Flush number of a pipelined transaction; zero otherwise.
    pub generation: u64,
}

impl Lock {
    /// A lock with nothing optional set.
    #[must_use]
    pub fn new(lock_type: LockType, primary: Vec<u8>, ts: TimeStamp, ttl: u64) -> Self {
        Self {
            lock_type,
            primary,
            ts,
            ttl,
            short_value: None,
            for_update_ts: TimeStamp::zero(),
            txn_size: 0,
            min_commit_ts: TimeStamp::zero(),
            use_async_commit: false,
            secondaries: Vec::new(),
            rollback_ts: Vec::new(),
            last_change: LastChange::Unknown,
            txn_source: 0,
            is_locked_with_conflict: false,
            generation: 0,
        }
    }

    /// Whether the lock was acquired before the prewrite.
    #[must_use]
    pub fn is_pessimistic(&self) -> bool {
        self.lock_type == LockType::Pessimistic
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size_hint());
        out.push(self.lock_type.to_u8());
        encode_compact_bytes(&mut out, &self.primary);
        encode_var_u64(&mut out, self.ts.into_inner());
        encode_var_u64(&mut out, self.ttl);
        if let Some(value) = &self.short_value {
            put_short_value(&mut out, value);
        }
        put_u64_unless_zero(&mut out, TAG_FOR_UPDATE_TS, self.for_update_ts.into_inner());
        put_u64_unless_zero(&mut out, TAG_TXN_SIZE, self.txn_size);
        put_u64_unless_zero(&mut out, TAG_MIN_COMMIT_TS, self.min_commit_ts.into_inner());
        if self.use_async_commit {
            out.push(TAG_ASYNC_COMMIT);
            encode_var_u64(&mut out, self.secondaries.len() as u64);
            for key in &self.secondaries {
                encode_compact_bytes(&mut out, key);
            }
        }
        if !self.rollback_ts.is_empty() {
            out.push(TAG_ROLLBACK_TS);
            encode_var_u64(&mut out, self.rollback_ts.len() as u64);
            for ts in &self.rollback_ts {
                encode_u64(&mut out, ts.into_inner());
            }
        }
        put_last_change(&mut out, TAG_LAST_CHANGE, self.last_change);
        if self.txn_source != 0 {
            out.push(TAG_TXN_SOURCE);
            encode_var_u64(&mut out, self.txn_source);
        }
        if self.is_locked_with_conflict {
            out.push(TAG_LOCKED_WITH_CONFLICT);
        }
        put_u64_unless_zero(&mut out, TAG_GENERATION, self.generation);
        out
    }

    /// Reads the stored form of a single lock.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let (first, rest) = bytes.split_first().ok_or(Error::Lock("empty value"))?;
        let lock_type = LockType::from_u8(*first)?;
        let mut input = rest;
        let primary = decode_compact_bytes(&mut input)?.to_vec();
        let ts = TimeStamp::new(decode_var_u64(&mut input)?);
        // The oldest writers stored no time to live.
        let ttl = if input.is_empty() {
            0
        } else {
            decode_var_u64(&mut input)?
        };
        let mut lock = Self::new(lock_type, primary, ts, ttl);
        while let Some((tag, rest)) = input.split_first() {
            input = rest;
            if !lock.parse_field(*tag, &mut input)? {
                break;
            }
        }
        Ok(lock)
    }

    /// Reads one optional field; `false` when the tag is unknown.
    fn parse_field(&mut self, tag: u8, input: &mut &[u8]) -> Result<bool> {
        match tag {
            TAG_SHORT_VALUE => {
                let value = take_short_value(input).ok_or(Error::Lock("short value cut off"))?;
                self.short_value = Some(value.to_vec());
            }
            TAG_FOR_UPDATE_TS => self.for_update_ts = decode_u64(input)?.into(),
            TAG_TXN_SIZE => self.txn_size = decode_u64(input)?,
            TAG_MIN_COMMIT_TS => self.min_commit_ts = decode_u64(input)?.into(),
            TAG_ASYNC_COMMIT => {
                self.use_async_commit = true;
                self.secondaries.clear();
                // Grows with what is really there, not with the count that is claimed.
                for _ in 0..decode_var_u64(input)? {
                    self.secondaries.push(decode_compact_bytes(input)?.to_vec());
                }
            }
            TAG_ROLLBACK_TS => {
                self.rollback_ts.clear();
                for _ in 0..decode_var_u64(input)? {
                    self.rollback_ts.push(decode_u64(input)?.into());
                }
            }
            TAG_LAST_CHANGE => {
                self.last_change =
                    take_last_change(input)?.ok_or(Error::Lock("last change at no distance"))?;
            }
            TAG_TXN_SOURCE => self.txn_source = decode_var_u64(input)?,
            TAG_LOCKED_WITH_CONFLICT => self.is_locked_with_conflict = true,
            TAG_GENERATION => self.generation = decode_u64(input)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn size_hint(&self) -> usize {
        const NUMBER_MAX: usize = 10;
        let strings: usize = self
            .secondaries
            .iter()
            .map(|key| key.len() + NUMBER_MAX)
            .sum();
        1 + self.primary.len()
            + self.short_value.as_ref().map_or(0, |value| 2 + value.len())
            + strings
            + self.rollback_ts.len() * size_of::<u64>()
            + 6 * NUMBER_MAX
    }

    /// What clients see of the lock. `raw_key` is the user key that it is on.
    #[must_use]
    pub fn into_lock_info(self, raw_key: Vec<u8>) -> kvrpcpb::LockInfo {
        let mut info = kvrpcpb::LockInfo::default();
        info.set_primary_lock(self.primary);
        info.set_lock_version(self.ts.into_inner());
        info.set_key(raw_key);
        info.set_lock_ttl(self.ttl);
        info.set_txn_size(self.txn_size);
        info.set_lock_type(self.lock_type.to_op());
        info.set_lock_for_update_ts(self.for_update_ts.into_inner());
        info.set_use_async_commit(self.use_async_commit);
        info.set_min_commit_ts(self.min_commit_ts.into_inner());
        info.set_secondaries(self.secondaries.into());
        info
    }
}

/// Shows everything but user data, of which only the length appears.
impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lock")
            .field("lock_type", &self.lock_type)
            .field("primary_len", &self.primary.len())
            .field("ts", &self.ts)
            .field("ttl", &self.ttl)
            .field("short_value_len", &self.short_value.as_ref().map(Vec::len))
            .field("for_update_ts", &self.for_update_ts)
            .field("txn_size", &self.txn_size)
            .field("min_commit_ts", &self.min_commit_ts)
            .field("use_async_commit", &self.use_async_commit)
            .field("secondaries", &self.secondaries.len())
            .field("rollback_ts", &self.rollback_ts)
            .field("last_change", &self.last_change)
            .field("txn_source", &self.txn_source)
            .field("is_locked_with_conflict", &self.is_locked_with_conflict)
            .field("generation", &self.generation)
            .finish()
    }
}

fn put_u64_unless_zero(out: &mut Vec<u8>, tag: u8, value: u64) {
    if value != 0 {
        out.push(tag);
        encode_u64(out, value);
    }
}

/// Appends a short value; its length fits one byte by definition of "short".
pub(crate) fn put_short_value(out: &mut Vec<u8>, value: &[u8]) {
    assert!(
        is_short_value(value),
        "a value of {} bytes is not short",
        value.len()
    );
    out.push(TAG_SHORT_VALUE);
    out.push(value.len() as u8);
    out.extend_from_slice(value);
}

/// Takes what [`put_short_value`] wrote behind its tag.
pub(crate) fn take_short_value<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = input.split_first()?;
    let (value, rest) = rest.split_at_checked(usize::from(*len))?;
    *input = rest;
    Some(value)
}

/// Appends what is known of the last change.
pub(crate) fn put_last_change(out: &mut Vec<u8>, tag: u8, last_change: LastChange) {
    if let Some((ts, versions)) = last_change.to_parts() {
        out.push(tag);
        encode_u64(out, ts.into_inner());
        encode_var_u64(out, versions);
    }
}

/// Takes what [`put_last_change`] wrote behind its tag; `None` inside when it makes no sense.
pub(crate) fn take_last_change(input: &mut &[u8]) -> Result<Option<LastChange>> {
    let ts = TimeStamp::new(decode_u64(input)?);
    let versions = decode_var_u64(input)?;
    Ok(LastChange::from_parts(ts, versions))
}
