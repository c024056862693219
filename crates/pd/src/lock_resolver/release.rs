//! Takes the locks of an ended transaction away, on given keys.

use kvproto::kvrpcpb::{PessimisticRollbackRequest, ResolveLockRequest};

use super::LockResolver;
use super::attempts::key_error;
use super::page::{TxnKey, TxnLocks, encoded, within};
use super::stores::{CallError, Place};

impl LockResolver {
    /// Commits what the transaction prewrote, or rolls it back. The answer is why some of it stays,
    /// in the words of a store.
    pub(super) async fn finish(
        &self,
        txn: &TxnKey,
        locks: &TxnLocks,
        commit_ts: Option<u64>,
    ) -> Result<Option<String>, CallError> {
        let keys: Vec<Vec<u8>> = locks.keys.iter().cloned().collect();
        let mut rest = keys.as_slice();
        let mut refused = None;
        while let Some(first) = rest.first() {
            let mut sent = 0;
            let build = |place: &Place| {
                sent = within(rest, &place.end).max(1);
                let mut request = ResolveLockRequest::default();
                request.set_start_version(txn.start_ts);
                request.set_commit_version(commit_ts.unwrap_or_default());
                request.set_keys(rest[..sent].to_vec().into());
                request
            };
            let (_, answer) = self.caller.call(&encoded(first), build).await?;
            if answer.has_error() {
                refused = Some(key_error(answer.get_error()));
            }
            rest = &rest[sent..];
        }
        Ok(refused)
    }

    /// Takes the locks of statements back, which leaves no trace.
    pub(super) async fn forget(
        &self,
        txn: &TxnKey,
        locks: &TxnLocks,
    ) -> Result<Option<String>, CallError> {
        let keys: Vec<Vec<u8>> = locks.keys.iter().cloned().collect();
        let mut rest = keys.as_slice();
        let mut refused = None;
        while let Some(first) = rest.first() {
            let mut sent = 0;
            let build = |place: &Place| {
                sent = within(rest, &place.end).max(1);
                let mut request = PessimisticRollbackRequest::default();
                request.set_start_version(txn.start_ts);
                // What a later statement has locked again stays; the next walk will ask anew.
                request.set_for_update_ts(match locks.for_update_ts {
                    0 => u64::MAX,
                    latest => latest,
                });
                request.set_keys(rest[..sent].to_vec().into());
                request
            };
            let (_, answer) = self.caller.call(&encoded(first), build).await?;
            if let Some(error) = answer.get_errors().first() {
                refused = Some(key_error(error));
            }
            rest = &rest[sent..];
        }
        Ok(refused)
    }
}
