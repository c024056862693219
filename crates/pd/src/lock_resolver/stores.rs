//! The seam to the outside: where keys are, what time it is, and the five calls that stores answer.

use futures::future::BoxFuture;
use kvproto::kvrpcpb::{
    CheckSecondaryLocksRequest, CheckSecondaryLocksResponse, CheckTxnStatusRequest,
    CheckTxnStatusResponse, Context, PessimisticRollbackRequest, PessimisticRollbackResponse,
    ResolveLockRequest, ResolveLockResponse, ScanLockRequest, ScanLockResponse,
};

/// Where a key is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Place {
    /// The end of the region in the encoding of region boundaries; empty is unbounded.
    pub(crate) end: Vec<u8>,
    /// The store that leads it.
    pub(crate) store_id: u64,
    /// The envelope of requests to it: region, epoch, peer.
    pub(crate) context: Context,
}

/// Why a call has no answer, or none of use. The texts name the store or the region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// The answer would be larger than what is taken.
    #[error("the answer is too large: {0}")]
    TooLarge(String),
    /// Everything else. To try again may help.
    #[error("{0}")]
    Failed(String),
}

/// The answer to come. Dropping it takes the call back.
pub(crate) type CallFuture<'a, T> = BoxFuture<'a, Result<T, CallError>>;

/// What a run needs of the world. Every call ends within a bounded time.
pub(crate) trait Stores: Send + Sync + 'static {
    /// The region that holds a key (in the encoding of region boundaries), and who leads it.
    fn locate(&self, key: &[u8]) -> Result<Place, CallError>;
    /// A timestamp above all that were handed out before.
    fn timestamp(&self) -> CallFuture<'_, u64>;
    /// A run has ended: what it used can be let go.
    fn run_ended(&self);

    /// KvScanLock
    fn scan_lock(
        &self,
        place: &Place,
        request: ScanLockRequest,
    ) -> CallFuture<'_, ScanLockResponse>;
    /// KvCheckTxnStatus
    fn check_txn_status(
        &self,
        place: &Place,
        request: CheckTxnStatusRequest,
    ) -> CallFuture<'_, CheckTxnStatusResponse>;
    /// KvCheckSecondaryLocks
    fn check_secondary_locks(
        &self,
        place: &Place,
        request: CheckSecondaryLocksRequest,
    ) -> CallFuture<'_, CheckSecondaryLocksResponse>;
    /// KvResolveLock
    fn resolve_lock(
        &self,
        place: &Place,
        request: ResolveLockRequest,
    ) -> CallFuture<'_, ResolveLockResponse>;
    /// KVPessimisticRollback
    fn pessimistic_rollback(
        &self,
        place: &Place,
        request: PessimisticRollbackRequest,
    ) -> CallFuture<'_, PessimisticRollbackResponse>;
}
