//! One change that a transaction asks for.

use kvproto::kvrpcpb;

use crate::{Key, LockType, Value};

/// What a transaction asks to do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MutationOp {
    /// Write a value.
    Put,
    /// Delete the key.
    Delete,
    /// Lock the key without changing it.
    Lock,
    /// Lock the key without changing it, beside others who do the same.
    SharedLock,
    /// Write a value, provided that the key does not exist.
    Insert,
    /// Only make sure that the key does not exist.
    CheckNotExists,
}

impl MutationOp {
    /// Whether the key must not exist.
    #[must_use]
    pub fn should_not_exist(self) -> bool {
        matches!(self, Self::Insert | Self::CheckNotExists)
    }

    /// Whether a value comes with it.
    #[must_use]
    pub fn has_value(self) -> bool {
        matches!(self, Self::Put | Self::Insert)
    }

    /// The lock that a prewrite leaves; checking alone leaves none.
    #[must_use]
    pub fn lock_type(self) -> Option<LockType> {
        match self {
            Self::Put | Self::Insert => Some(LockType::Put),
            Self::Delete => Some(LockType::Delete),
            Self::Lock | Self::SharedLock => Some(LockType::Lock),
            Self::CheckNotExists => None,
        }
    }
}

/// What the client believes about the key, to be checked at prewrite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assertion {
    /// Nothing.
    #[default]
    None,
    /// It exists.
    Exist,
    /// It does not exist.
    NotExist,
}

impl From<kvrpcpb::Assertion> for Assertion {
    fn from(assertion: kvrpcpb::Assertion) -> Self {
        match assertion {
            kvrpcpb::Assertion::None => Self::None,
            kvrpcpb::Assertion::Exist => Self::Exist,
            kvrpcpb::Assertion::NotExist => Self::NotExist,
        }
    }
}

impl From<Assertion> for kvrpcpb::Assertion {
    fn from(assertion: Assertion) -> Self {
        match assertion {
            Assertion::None => Self::None,
            Assertion::Exist => Self::Exist,
            Assertion::NotExist => Self::NotExist,
        }
    }
}

/// One change that a transaction asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct Mutation {
    /// What to do.
    pub op: MutationOp,
    /// The user key, without a timestamp.
    pub key: Key,
    /// The value of a `Put` or `Insert`; empty otherwise.
    pub value: Value,
    /// What the client believes about the key.
    pub assertion: Assertion,
}

impl Mutation {
    /// A change without an assertion.
    #[must_use]
    pub fn new(op: MutationOp, key: Key, value: Value) -> Self {
        Self {
            op,
            key,
            value,
            assertion: Assertion::None,
        }
    }
}

/// Shows everything but the value, of which only the length appears.
impl std::fmt::Debug for Mutation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutation")
            .field("op", &self.op)
            .field("key", &self.key)
            .field("value_len", &self.value.len())
            .field("assertion", &self.assertion)
            .finish()
    }
}
