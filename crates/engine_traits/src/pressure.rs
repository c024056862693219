//! How far an engine is behind with what it does after a write: flushes and compactions.
//!
//! An engine that falls too far behind holds its writers back, all at once and for as long as it likes. Whoever
//! admits writes looks at these figures, and slows writers down one by one before it comes to that. Unlike
//! [`EngineStats`](crate::EngineStats) they are inputs of a decision, and cheap enough to be read ten times a second.

use crate::Cf;

/// What waits to be done for one column family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    /// Write buffers that are full and not flushed.
    pub immutable_mem_tables: u64,
    /// Files that lie over each other, waiting to be merged into the sorted levels.
    pub level0_files: u64,
    /// Bytes that compactions still have to rewrite, roughly.
    pub pending_compaction_bytes: u64,
}

/// The backlog of one column family, and how much of it the engine bears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CfPressure {
    /// Which one.
    pub cf: Cf,
    /// What waits now.
    pub backlog: Backlog,
    /// Where the engine begins to hold writers back by itself. All above zero.
    pub limit: Backlog,
    /// Bytes that fill one write buffer. Above zero.
    pub mem_table_bytes: u64,
}

/// What an engine does to its writers right now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum HeldBack {
    /// They write as fast as they can.
    #[default]
    Free,
    /// They are slowed down.
    Slowed,
    /// They wait.
    Stopped,
}

/// The pressure on an engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WritePressure {
    /// One entry for each column family of [`Cf::DATA`], in that order.
    pub cfs: [CfPressure; Cf::DATA.len()],
    /// Whether it has come too far already.
    pub held_back: HeldBack,
}
