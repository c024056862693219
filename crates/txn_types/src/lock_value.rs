//! What a value of the lock column family can be: one lock, or a container of shared locks.
//!
//! A container holds the locks of several transactions that exclude writers but not each other. It
//! never blocks a reader. Its members are stored in the order of their start timestamps; other
//! servers store them in any order, so the bytes must not be compared across replicas.

use std::collections::BTreeMap;

use codec::bytes::{decode_compact_bytes, encode_compact_bytes};
use codec::number::{decode_var_u64, encode_var_u64};
use kvproto::kvrpcpb;

use crate::{Error, Lock, LockType, Result, TimeStamp};

const TYPE_SHARED: u8 = b'H';
const TAG_FLAGS: u8 = b'i';
const TAG_MEMBERS: u8 = b'h';
const FLAG_SHRINK_ONLY: u8 = 1;

/// Locks of several transactions on one key that exclude writers but not each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedLocks {
    /// No transaction may join, because a writer waits for the key.
    pub shrink_only: bool,
    members: BTreeMap<TimeStamp, Lock>,
}

impl SharedLocks {
    /// A container without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The lock of the transaction that started at `ts`.
    #[must_use]
    pub fn get(&self, ts: TimeStamp) -> Option<&Lock> {
        self.members.get(&ts)
    }

    /// Whether the transaction that started at `ts` is a member.
    #[must_use]
    pub fn contains(&self, ts: TimeStamp) -> bool {
        self.members.contains_key(&ts)
    }

    /// Adds or replaces the lock of its transaction; returns what it replaced.
    ///
    /// Only pessimistic and lock-only members can be shared; any other lock is handed back as the
    /// error.
    pub fn insert(&mut self, lock: Lock) -> std::result::Result<Option<Lock>, Box<Lock>> {
        match lock.lock_type {
            LockType::Pessimistic | LockType::Lock => Ok(self.members.insert(lock.ts, lock)),
            LockType::Put | LockType::Delete => Err(Box::new(lock)),
        }
    }

    /// Takes the lock of the transaction that started at `ts` out.
    pub fn remove(&mut self, ts: TimeStamp) -> Option<Lock> {
        self.members.remove(&ts)
    }

    /// Members in the order of their start timestamps.
    pub fn iter(&self) -> impl Iterator<Item = &Lock> {
        self.members.values()
    }

    /// Keeps the members for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&Lock) -> bool) {
        self.members.retain(|_, lock| keep(lock));
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the last member left; such a container is deleted, not stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![TYPE_SHARED];
        if self.shrink_only {
            out.extend_from_slice(&[TAG_FLAGS, FLAG_SHRINK_ONLY]);
        }
        out.push(TAG_MEMBERS);
        encode_var_u64(&mut out, self.members.len() as u64);
        for lock in self.members.values() {
            encode_compact_bytes(&mut out, &lock.to_bytes());
        }
        out
    }

    /// Reads the stored form behind its type byte.
    fn parse_body(mut input: &[u8]) -> Result<Self> {
        let mut locks = Self::new();
        if let Some((&TAG_FLAGS, rest)) = input.split_first() {
            let (flags, rest) = rest.split_first().ok_or(Error::Lock("flags cut off"))?;
            if flags & !FLAG_SHRINK_ONLY != 0 {
                return Err(Error::Lock("unknown flags of a shared container"));
            }
            locks.shrink_only = flags & FLAG_SHRINK_ONLY != 0;
            input = rest;
        }
        match input.split_first() {
            Some((&TAG_MEMBERS, rest)) => input = rest,
            _ => return Err(Error::Lock("shared container without members field")),
        }
        for _ in 0..decode_var_u64(&mut input)? {
            let member = Lock::parse(decode_compact_bytes(&mut input)?)?;
            match locks.insert(member) {
                Ok(None) => {}
                Ok(Some(_)) => return Err(Error::Lock("two shared members of one transaction")),
                Err(_) => return Err(Error::Lock("exclusive lock inside a shared container")),
            }
        }
        Ok(locks)
    }

    /// What clients see: the key, and one entry for each member.
    #[must_use]
    pub fn into_lock_info(self, raw_key: Vec<u8>) -> kvrpcpb::LockInfo {
        let members: Vec<_> = self
            .members
            .into_values()
            .map(|lock| lock.into_lock_info(raw_key.clone()))
            .collect();
        let mut info = kvrpcpb::LockInfo::default();
        info.set_key(raw_key);
        info.set_lock_type(kvrpcpb::Op::SharedLock);
        info.set_shared_lock_infos(members.into());
        info
    }
}

/// A value of the lock column family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockValue {
    /// The lock of one transaction.
    Exclusive(Lock),
    /// The locks of several.
    Shared(SharedLocks),
}

impl LockValue {
    /// Reads the stored form of either kind.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        match bytes.split_first() {
            Some((&TYPE_SHARED, body)) => Ok(Self::Shared(SharedLocks::parse_body(body)?)),
            _ => Ok(Self::Exclusive(Lock::parse(bytes)?)),
        }
    }

    /// Whether stored bytes are a container of shared locks, which no reader has to look into.
    #[must_use]
    pub fn is_shared(bytes: &[u8]) -> bool {
        bytes.first() == Some(&TYPE_SHARED)
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Exclusive(lock) => lock.to_bytes(),
            Self::Shared(locks) => locks.to_bytes(),
        }
    }

    /// The lock of the transaction that started at `ts`, exclusive or as a member.
    #[must_use]
    pub fn lock_of(&self, ts: TimeStamp) -> Option<&Lock> {
        match self {
            Self::Exclusive(lock) => Some(lock).filter(|lock| lock.ts == ts),
            Self::Shared(locks) => locks.get(ts),
        }
    }

    /// What clients see of the lock. `raw_key` is the user key that it is on.
    #[must_use]
    pub fn into_lock_info(self, raw_key: Vec<u8>) -> kvrpcpb::LockInfo {
        match self {
            Self::Exclusive(lock) => lock.into_lock_info(raw_key),
            Self::Shared(locks) => locks.into_lock_info(raw_key),
        }
    }
}

impl From<Lock> for LockValue {
    fn from(lock: Lock) -> Self {
        Self::Exclusive(lock)
    }
}
