//! Names of the commands, as errors and metrics show them.

use std::fmt;

/// Declares the kinds with their names, once.
macro_rules! command_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)+) => {
        /// A command of a client.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum CommandKind {
            $($(#[$doc])* $kind,)+
        }

        impl CommandKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// The name, in lower case with underscores.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

command_kinds! {
    /// Read one key.
    Get = "get",
    /// Read several keys.
    BatchGet = "batch_get",
    /// Several single reads that arrived together.
    BatchGetCommand = "batch_get_command",
    /// Read what the transaction itself flushed.
    BufferBatchGet = "buffer_batch_get",
    /// Read a range.
    Scan = "scan",
    /// Find locks.
    ScanLock = "scan_lock",
    /// First phase of a commit.
    Prewrite = "prewrite",
    /// Write a part of a pipelined transaction.
    Flush = "flush",
    /// Lock keys before the prewrite.
    AcquirePessimisticLock = "acquire_pessimistic_lock",
    /// Second phase of a commit.
    Commit = "commit",
    /// Roll one key back when its lock has expired.
    Cleanup = "cleanup",
    /// Roll several keys back.
    Rollback = "rollback",
    /// Release locks acquired before the prewrite.
    PessimisticRollback = "pessimistic_rollback",
    /// Keep a transaction alive.
    TxnHeartBeat = "txn_heart_beat",
    /// Find out what became of a transaction.
    CheckTxnStatus = "check_txn_status",
    /// Find out whether an asynchronous commit is complete.
    CheckSecondaryLocks = "check_secondary_locks",
    /// Commit or roll back the locks of finished transactions.
    ResolveLock = "resolve_lock",
    /// The same for keys that are known.
    ResolveLockLite = "resolve_lock_lite",
    /// Delete a range without a transaction.
    DeleteRange = "delete_range",
    /// Show what is stored for a key.
    KeyMvcc = "key_mvcc",
    /// Show what is stored for the key of a transaction.
    StartTsMvcc = "start_ts_mvcc",
    /// Bring a range back to an earlier state.
    FlashbackToVersion = "flashback_to_version",
    /// Read one raw key.
    RawGet = "raw_get",
    /// Read several raw keys.
    RawBatchGet = "raw_batch_get",
    /// Read a raw range.
    RawScan = "raw_scan",
    /// Read several raw ranges.
    RawBatchScan = "raw_batch_scan",
    /// Write one raw key.
    RawPut = "raw_put",
    /// Write several raw keys.
    RawBatchPut = "raw_batch_put",
    /// Delete one raw key.
    RawDelete = "raw_delete",
    /// Delete several raw keys.
    RawBatchDelete = "raw_batch_delete",
    /// Delete a raw range.
    RawDeleteRange = "raw_delete_range",
    /// Read how long a raw value still lives.
    RawGetKeyTtl = "raw_get_key_ttl",
    /// Replace a raw value if it is the expected one.
    RawCompareAndSwap = "raw_compare_and_swap",
    /// Raw writes that exclude compare-and-swap.
    RawAtomicStore = "raw_atomic_store",
    /// Checksum of raw ranges.
    RawChecksum = "raw_checksum",
    /// Run a plugin over raw data.
    RawCoprocessor = "raw_coprocessor",
}

impl CommandKind {
    /// Whether the command works on raw data, outside transactions.
    #[must_use]
    pub fn is_raw(self) -> bool {
        self >= Self::RawGet
    }
}

impl fmt::Debug for CommandKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for CommandKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_commands_are_named_so() {
        for kind in CommandKind::ALL {
            assert_eq!(kind.is_raw(), kind.name().starts_with("raw_"), "{kind}");
        }
    }
}
