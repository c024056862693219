//! The commands: one file each, from the request to the decision.
//!
//! A request is checked twice: where it is converted, for what needs no configuration, and in `validate`, for what
//! does. The decision then relies on both.
//! Must never: share state between commands, or decide outside `process_write`.

mod acquire_pessimistic_lock;
mod batch_rollback;
mod check_secondary_locks;
mod check_txn_status;
mod cleanup;
mod commit;
mod flashback;
mod flashback_steps;
mod flush;
mod pessimistic_rollback;
mod prewrite;
mod prewrite_request;
mod resolve_lock;
mod resolve_lock_batch;
mod resolve_lock_lite;
mod txn_heart_beat;

pub use acquire_pessimistic_lock::{AcquirePessimisticLock, PessimisticLocked};
pub(super) use acquire_pessimistic_lock::{Granted, KIND as ACQUIRE_KIND, LockDecision};
pub use batch_rollback::BatchRollback;
pub use check_secondary_locks::{CheckSecondaryLocks, SecondaryLocksStatus};
pub use check_txn_status::CheckTxnStatus;
pub use cleanup::{Cleanup, CleanupResult};
pub use commit::Commit;
pub use flashback::{Flashback, PrepareFlashback};
pub use flush::Flush;
pub use pessimistic_rollback::PessimisticRollback;
pub use prewrite::{Prewrite, PrewriteResult};
pub use resolve_lock::ResolveLock;
pub use resolve_lock_lite::ResolveLockLite;
pub use txn_heart_beat::TxnHeartBeat;

pub use super::actions::acquire_pessimistic_lock::KeyLocked;
pub use super::actions::check_txn_status::TxnStatus;

use kvproto::kvrpcpb;
use txn_types::Key;

use crate::{Error, Result};

/// The keys of a request, encoded.
fn encode_keys(raw: impl IntoIterator<Item = Vec<u8>>) -> Vec<Key> {
    raw.into_iter().map(|key| Key::from_raw(&key)).collect()
}

/// A command over keys must name at least one.
fn check_some_keys(keys: &[Key]) -> Result<()> {
    if keys.is_empty() {
        Err(Error::InvalidRequest("no keys".to_owned()))
    } else {
        Ok(())
    }
}

/// Transactions kept in files are a feature of another server; treating one as an ordinary transaction would
/// answer wrongly.
fn refuse_txn_file(is_txn_file: bool) -> Result<()> {
    if is_txn_file {
        return Err(Error::Unsupported(
            "file-based transactions (is_txn_file)".to_owned(),
        ));
    }
    Ok(())
}

/// Takes the envelope out of a request.
fn take_context(ctx: Option<kvrpcpb::Context>) -> kvrpcpb::Context {
    ctx.unwrap_or_default()
}
