//! Records of the write column family: commits and rollbacks.

use codec::number::{decode_u64, decode_var_u64, encode_u64, encode_var_u64};

use crate::lock::{put_last_change, put_short_value, take_last_change, take_short_value};
use crate::{Error, LastChange, LockType, Result, TimeStamp, Value};

const TYPE_PUT: u8 = b'P';
const TYPE_DELETE: u8 = b'D';
const TYPE_LOCK: u8 = b'L';
const TYPE_ROLLBACK: u8 = b'R';

const TAG_SHORT_VALUE: u8 = b'v';
const TAG_OVERLAPPED_ROLLBACK: u8 = b'R';
const TAG_GC_FENCE: u8 = b'F';
const TAG_LAST_CHANGE: u8 = b'l';
const TAG_TXN_SOURCE: u8 = b'S';

/// Short value that marks a rollback record as protected.
const PROTECTED_ROLLBACK: &[u8] = b"p";

/// What a record says happened to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteType {
    /// A value was written.
    Put,
    /// The key was deleted.
    Delete,
    /// The key was locked by a committed transaction and not changed.
    Lock,
    /// A transaction was rolled back.
    Rollback,
}

impl WriteType {
    fn to_u8(self) -> u8 {
        match self {
            Self::Put => TYPE_PUT,
            Self::Delete => TYPE_DELETE,
            Self::Lock => TYPE_LOCK,
            Self::Rollback => TYPE_ROLLBACK,
        }
    }

    fn from_u8(byte: u8) -> Result<Self> {
        match byte {
            TYPE_PUT => Ok(Self::Put),
            TYPE_DELETE => Ok(Self::Delete),
            TYPE_LOCK => Ok(Self::Lock),
            TYPE_ROLLBACK => Ok(Self::Rollback),
            other => Err(Error::WriteType(other)),
        }
    }

    /// The record that a commit of such a lock leaves; a pessimistic lock leaves none.
    #[must_use]
    pub fn from_lock_type(lock_type: LockType) -> Option<Self> {
        match lock_type {
            LockType::Put => Some(Self::Put),
            LockType::Delete => Some(Self::Delete),
            LockType::Lock => Some(Self::Lock),
            LockType::Pessimistic => None,
        }
    }

    /// Whether the record is a version of the data.
    #[must_use]
    pub fn is_data(self) -> bool {
        matches!(self, Self::Put | Self::Delete)
    }
}

/// Whether a rollback record must survive the collapsing of rollbacks and later commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protected {
    /// It must.
    Yes,
    /// It may disappear.
    No,
}

impl From<bool> for Protected {
    fn from(protected: bool) -> Self {
        if protected { Self::Yes } else { Self::No }
    }
}

/// A record of the write column family.
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    /// What happened.
    pub write_type: WriteType,
    /// Start timestamp of the transaction that did it.
    pub start_ts: TimeStamp,
    /// The value of a `Put`, when it is short; the protection mark of a `Rollback`.
    pub short_value: Option<Value>,
    /// A protected rollback of the transaction that started at this record's commit timestamp is
    /// folded in.
    pub has_overlapped_rollback: bool,
    /// Set when the record was rewritten to fold a rollback in: the commit timestamp of the next
    /// newer data version at that time, zero when there was none.
    pub gc_fence: Option<TimeStamp>,
    /// Where the newest data version below is; only of `Lock` and `Rollback`.
    pub last_change: LastChange,
    /// Who issued the transaction, for change feeds.
    pub txn_source: u64,
}

impl Write {
    /// A commit record with nothing optional set.
    #[must_use]
    pub fn new(write_type: WriteType, start_ts: TimeStamp, short_value: Option<Value>) -> Self {
        Self {
            write_type,
            start_ts,
            short_value,
            has_overlapped_rollback: false,
            gc_fence: None,
            last_change: LastChange::Unknown,
            txn_source: 0,
        }
    }

    /// The record of a rollback.
    #[must_use]
    pub fn new_rollback(start_ts: TimeStamp, protected: Protected) -> Self {
        let mark = match protected {
            Protected::Yes => Some(PROTECTED_ROLLBACK.to_vec()),
            Protected::No => None,
        };
        Self::new(WriteType::Rollback, start_ts, mark)
    }

    /// This record with a rollback of another transaction folded in.
    #[must_use]
    pub fn with_overlapped_rollback(mut self, gc_fence: Option<TimeStamp>) -> Self {
        self.has_overlapped_rollback = true;
        self.gc_fence = gc_fence;
        self
    }

    /// Reads the stored form.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Ok(WriteRef::parse(bytes)?.to_owned())
    }

    /// The record with its value borrowed.
    #[must_use]
    pub fn as_ref(&self) -> WriteRef<'_> {
        WriteRef {
            write_type: self.write_type,
            start_ts: self.start_ts,
            short_value: self.short_value.as_deref(),
            has_overlapped_rollback: self.has_overlapped_rollback,
            gc_fence: self.gc_fence,
            last_change: self.last_change,
            txn_source: self.txn_source,
        }
    }

    /// What a record written directly above this one, which is at `commit_ts`, knows about the
    /// last change.
    #[must_use]
    pub fn last_change_seen_from_above(&self, commit_ts: TimeStamp) -> LastChange {
        if self.write_type.is_data() {
            LastChange::Exist {
                ts: commit_ts,
                versions: 1,
            }
        } else {
            self.last_change.seen_from_above()
        }
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.as_ref().to_bytes()
    }

    /// Whether this is a protected rollback.
    #[must_use]
    pub fn is_protected_rollback(&self) -> bool {
        self.as_ref().is_protected_rollback()
    }

    /// See [`WriteRef::is_valid_at`].
    #[must_use]
    pub fn is_valid_at(&self, read_ts: TimeStamp) -> bool {
        self.as_ref().is_valid_at(read_ts)
    }
}

/// Shows everything but the value, of which only the length appears.
impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Write")
            .field("write_type", &self.write_type)
            .field("start_ts", &self.start_ts)
            .field("short_value_len", &self.short_value.as_ref().map(Vec::len))
            .field("has_overlapped_rollback", &self.has_overlapped_rollback)
            .field("gc_fence", &self.gc_fence)
            .field("last_change", &self.last_change)
            .field("txn_source", &self.txn_source)
            .finish()
    }
}

/// A record whose value is still where it was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WriteRef<'a> {
    /// See [`Write::write_type`].
    pub write_type: WriteType,
    /// See [`Write::start_ts`].
    pub start_ts: TimeStamp,
    /// See [`Write::short_value`].
    pub short_value: Option<&'a [u8]>,
    /// See [`Write::has_overlapped_rollback`].
    pub has_overlapped_rollback: bool,
    /// See [`Write::gc_fence`].
    pub gc_fence: Option<TimeStamp>,
    /// See [`Write::last_change`].
    pub last_change: LastChange,
    /// See [`Write::txn_source`].
    pub txn_source: u64,
}

impl<'a> WriteRef<'a> {
    /// Reads the stored form.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let (first, mut input) = bytes.split_first().ok_or(Error::Write("empty value"))?;
        let write_type = WriteType::from_u8(*first)?;
        let start_ts = TimeStamp::new(decode_var_u64(&mut input)?);
        let mut write = Self {
            write_type,
            start_ts,
            short_value: None,
            has_overlapped_rollback: false,
            gc_fence: None,
            last_change: LastChange::Unknown,
            txn_source: 0,
        };
        while let Some((tag, rest)) = input.split_first() {
            input = rest;
            match *tag {
                TAG_SHORT_VALUE => {
                    let value = take_short_value(&mut input);
                    write.short_value = Some(value.ok_or(Error::Write("short value cut off"))?);
                }
                TAG_OVERLAPPED_ROLLBACK => write.has_overlapped_rollback = true,
                TAG_GC_FENCE => write.gc_fence = Some(decode_u64(&mut input)?.into()),
                TAG_LAST_CHANGE => {
                    write.last_change = take_last_change(&mut input)?
                        .ok_or(Error::Write("last change at no distance"))?;
                }
                TAG_TXN_SOURCE => write.txn_source = decode_var_u64(&mut input)?,
                // A newer writer knows more fields; they come last.
                _ => break,
            }
        }
        Ok(write)
    }

    /// The record with a copy of its value.
    #[must_use]
    pub fn to_owned(&self) -> Write {
        Write {
            write_type: self.write_type,
            start_ts: self.start_ts,
            short_value: self.short_value.map(<[u8]>::to_vec),
            has_overlapped_rollback: self.has_overlapped_rollback,
            gc_fence: self.gc_fence,
            last_change: self.last_change,
            txn_source: self.txn_source,
        }
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Type, start timestamp, and every optional field at its longest but the value.
        const FIXED_MAX: usize = 1 + 10 + 2 + 1 + 9 + 19 + 11;
        let mut out = Vec::with_capacity(FIXED_MAX + self.short_value.map_or(0, <[u8]>::len));
        out.push(self.write_type.to_u8());
        encode_var_u64(&mut out, self.start_ts.into_inner());
        if let Some(value) = self.short_value {
            put_short_value(&mut out, value);
        }
        if self.has_overlapped_rollback {
            out.push(TAG_OVERLAPPED_ROLLBACK);
        }
        if let Some(fence) = self.gc_fence {
            out.push(TAG_GC_FENCE);
            encode_u64(&mut out, fence.into_inner());
        }
        put_last_change(&mut out, TAG_LAST_CHANGE, self.last_change);
        if self.txn_source != 0 {
            out.push(TAG_TXN_SOURCE);
            encode_var_u64(&mut out, self.txn_source);
        }
        out
    }

    /// Whether this is a protected rollback.
    #[must_use]
    pub fn is_protected_rollback(&self) -> bool {
        self.write_type == WriteType::Rollback && self.short_value == Some(PROTECTED_ROLLBACK)
    }

    /// Whether a reader at `read_ts` that finds this record as the latest may take it as such.
    ///
    /// Garbage collection is local to a replica while the rewriting of a record is replicated. The
    /// rewrite can thus bring a version back that was collected, together with the newer version
    /// that hid it. The fence names that newer version: a reader that would have seen it must not
    /// see the revived one.
    #[must_use]
    pub fn is_valid_at(&self, read_ts: TimeStamp) -> bool {
        self.gc_fence
            .is_none_or(|fence| fence.is_zero() || fence > read_ts)
    }
}

impl std::fmt::Debug for WriteRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_owned().fmt(f)
    }
}
