//! Crate root: the modules and what they offer to the layers above. It must never hold logic.
#![doc = include_str!("../README.md")]

mod api;
mod at_once;
mod config;
mod deadline;
mod destroy_range;
mod error;
mod flow_control;
mod get_runs;
mod limits;
mod memory;
mod memory_locks;
pub mod metrics;
mod pipelined;
pub mod raw;
mod read_pool;
mod reads;
mod statistics;
mod storage;
pub mod txn;

pub use config::{ActionOnInvalidUpdate, Config, ConfigProblem, FlowControlConfig, MaxTsConfig};
pub use error::{Error, Result};
pub use flow_control::FlowControl;
pub use get_runs::{GetCommand, RawGetCommand, Room, RunConsumer};
pub use limits::Limits;
pub use memory::MemoryQuota;
pub use mvcc::{KvPair, ValueEntry};
pub use raw::{
    CasRequest, CasResult, CausalTs, Checksum, RawKvPair, RawScanRequest, TsoSource, expiry_filter,
};
pub use reads::ScanOptions;
pub use storage::Storage;
pub use txn::command::{TxnCommand, WriteCommand};
pub use txn::commands::{
    AcquirePessimisticLock, BatchRollback, CheckSecondaryLocks, CheckTxnStatus, Cleanup,
    CleanupResult, Commit, Flush, KeyLocked, PessimisticLocked, PessimisticRollback, Prewrite,
    PrewriteResult, ResolveLock, SecondaryLocksStatus, TxnHeartBeat, TxnStatus,
};
