//! What a history consists of: the transactions, as their clients saw them.
//! Must never know what the store holds; that is asked afterwards.

use std::collections::BTreeMap;

pub(super) type RawKey = Vec<u8>;
pub(super) type RawValue = Vec<u8>;

/// How a transaction is to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CommitMode {
    TwoPhases,
    Async,
    OnePhase,
    /// In two phases, the first of which goes along with the writes. For optimistic transactions only.
    Pipelined,
}

/// How it sees to it that nobody else changes what it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LockMode {
    /// It finds out at the end.
    Optimistic,
    /// It locks first, and starts over when it was woken.
    Pessimistic,
    /// It locks first, and what it is given when it is woken is good.
    ForceLock,
}

/// What the client of a transaction was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Told {
    Committed(u64),
    Failed,
    /// It died before it heard.
    Nothing,
}

/// A value that a transaction saw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Read {
    pub(super) key: RawKey,
    pub(super) value: Option<RawValue>,
    /// What it is the newest version at.
    pub(super) at: u64,
    /// Whether the key was locked with it, so that nobody else can have changed it until the commit.
    pub(super) locked: bool,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Txn {
    pub(super) start: u64,
    pub(super) locking: LockMode,
    pub(super) commit: CommitMode,
    pub(super) reads: Vec<Read>,
    pub(super) writes: BTreeMap<RawKey, RawValue>,
    pub(super) told: Told,
}

impl Txn {
    pub(super) fn new(start: u64, locking: LockMode, commit: CommitMode) -> Self {
        Txn {
            start,
            locking,
            commit,
            reads: Vec::new(),
            writes: BTreeMap::new(),
            told: Told::Failed,
        }
    }
}
