//! One call to whoever leads a region: found, sent, and repeated while that may help.
//!
//! It must never repeat for ever, and never sends an envelope that it did not look up just before.

use std::sync::Arc;
use std::time::Duration;

use kvproto::errorpb;
use kvproto::kvrpcpb::{
    CheckSecondaryLocksRequest, CheckSecondaryLocksResponse, CheckTxnStatusRequest,
    CheckTxnStatusResponse, Context, KeyError, PessimisticRollbackRequest,
    PessimisticRollbackResponse, ResolveLockRequest, ResolveLockResponse, ScanLockRequest,
    ScanLockResponse,
};
use logger::Redacted;
use runtime::{Clock, Runtime, Timer};

use super::stores::{CallError, CallFuture, Place, Stores};

/// How long a call is repeated: enough for an election or a restart.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause after the first failure; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// A request to a region.
pub(super) trait RegionCall: Send {
    /// What answers it.
    type Answer: Send;
    fn context_mut(&mut self) -> &mut Context;
    fn send<'a>(self, stores: &'a dyn Stores, place: &Place) -> CallFuture<'a, Self::Answer>;
    /// What stands in the way for the moment.
    fn obstacle(answer: &Self::Answer) -> Option<String>;
}

macro_rules! region_calls {
    ($($request:ty => $answer:ty, $send:ident, $blocked:expr;)*) => {$(
        impl RegionCall for $request {
            type Answer = $answer;

            fn context_mut(&mut self) -> &mut Context {
                self.mut_context()
            }

            fn send<'a>(self, stores: &'a dyn Stores, place: &Place) -> CallFuture<'a, $answer> {
                stores.$send(place, self)
            }

            fn obstacle(answer: &$answer) -> Option<String> {
                if answer.has_region_error() {
                    return Some(region_error(answer.get_region_error()));
                }
                let blocked: fn(&$answer) -> Option<String> = $blocked;
                blocked(answer)
            }
        }
    )*};
}

region_calls! {
    ScanLockRequest => ScanLockResponse, scan_lock, in_flight;
    CheckTxnStatusRequest => CheckTxnStatusResponse, check_txn_status, |_| None;
    CheckSecondaryLocksRequest => CheckSecondaryLocksResponse, check_secondary_locks, |_| None;
    ResolveLockRequest => ResolveLockResponse, resolve_lock, |_| None;
    PessimisticRollbackRequest => PessimisticRollbackResponse, pessimistic_rollback, |_| None;
}

/// A lock that is being written cannot be listed: it will be there, or not, in a moment.
fn in_flight(answer: &ScanLockResponse) -> Option<String> {
    let locked = answer.get_error().has_locked();
    locked.then(|| "a lock is being written".to_owned())
}

/// The kind of a region error, without the keys that it may name.
fn region_error(error: &errorpb::Error) -> String {
    let kinds = [
        (error.has_not_leader(), "not leader"),
        (error.has_region_not_found(), "region not found"),
        (error.has_key_not_in_region(), "key not in region"),
        (error.has_epoch_not_match(), "epoch not match"),
        (error.has_server_is_busy(), "server is busy"),
        (error.has_store_not_match(), "store not match"),
        (error.has_mismatch_peer_id(), "peer not match"),
        (error.has_disk_full(), "disk full"),
        (error.has_FlashbackInProgress(), "flashback in progress"),
    ];
    let kind = kinds.iter().find(|(holds, _)| *holds);
    kind.map_or("region error", |(_, text)| text).to_owned()
}

/// What a store says of a key, without the key.
pub(super) fn key_error(error: &KeyError) -> String {
    let kinds = [
        (error.has_locked(), "key is locked"),
        (error.has_conflict(), "write conflict"),
        (error.has_commit_ts_expired(), "commit ts expired"),
        (error.has_txn_not_found(), "transaction not found"),
        (error.has_txn_lock_not_found(), "lock not found"),
        (error.has_primary_mismatch(), "primary mismatch"),
        (error.has_shared_lock_lost(), "shared lock lost"),
    ];
    match kinds.iter().find(|(holds, _)| *holds) {
        Some((_, text)) => (*text).to_owned(),
        None => Redacted(error.get_abort()).to_string(),
    }
}

/// Makes calls; see the module.
pub(super) struct Caller {
    stores: Arc<dyn Stores>,
    clock: Clock,
    timer: Timer,
}

impl Caller {
    pub(super) fn new(stores: Arc<dyn Stores>, runtime: &Runtime) -> Caller {
        Caller {
            stores,
            clock: runtime.clock.clone(),
            timer: runtime.timer.clone(),
        }
    }

    pub(super) fn stores(&self) -> &dyn Stores {
        &*self.stores
    }

    /// Sends what `build` makes of the region of `key` (in the encoding of region boundaries). The
    /// region may be another one each time; the answer comes with the one that gave it.
    pub(super) async fn call<R: RegionCall>(
        &self,
        key: &[u8],
        mut build: impl FnMut(&Place) -> R + Send,
    ) -> Result<(Place, R::Answer), CallError> {
        let give_up = self.clock.now() + PATIENCE;
        let mut pause = PAUSE_MIN;
        loop {
            let failure = match self.attempt(key, &mut build).await {
                Err(CallError::Failed(text)) => text,
                answered => return answered,
            };
            if self.clock.now() + pause > give_up {
                return Err(CallError::Failed(failure));
            }
            self.timer.sleep(pause).await;
            pause = PAUSE_MAX.min(pause * 2);
        }
    }

    async fn attempt<R: RegionCall>(
        &self,
        key: &[u8],
        build: &mut (impl FnMut(&Place) -> R + Send),
    ) -> Result<(Place, R::Answer), CallError> {
        let place = self.stores.locate(key)?;
        let mut request = build(&place);
        *request.context_mut() = place.context.clone();
        let answer = request.send(self.stores(), &place).await?;
        match R::obstacle(&answer) {
            Some(text) => Err(CallError::Failed(format!(
                "region {} on store {}: {text}",
                place.context.get_region_id(),
                place.store_id
            ))),
            None => Ok((place, answer)),
        }
    }
}
