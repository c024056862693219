//! Stores over gRPC: the same calls that clients make, routed by what the placement driver knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use grpcio::{
    CallOption, ChannelBuilder, ClientUnaryReceiver, Environment, Error as GrpcError, RpcStatusCode,
};
use kvproto::kvrpcpb::{
    CheckSecondaryLocksRequest, CheckSecondaryLocksResponse, CheckTxnStatusRequest,
    CheckTxnStatusResponse, CommandPri, Context, PessimisticRollbackRequest,
    PessimisticRollbackResponse, ResolveLockRequest, ResolveLockResponse, ScanLockRequest,
    ScanLockResponse,
};
use kvproto::tikvpb::TikvClient;
use parking_lot::Mutex;
use security::Security;

use super::stores::{CallError, CallFuture, Place, Stores};
use crate::cluster::Cluster;
use crate::oracle::Oracle;
use crate::state::PdState;
use crate::stores::is_removed;

/// After it a call is given up.
const CALL_TIMEOUT_MS: u64 = 20_000;
/// How often a store that is away is dialled.
const DIAL_PAUSE_MIN: Duration = Duration::from_millis(100);
const DIAL_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Bytes of an answer: far more than a page of locks has.
const ANSWER_BYTES_MAX: i32 = 32 << 20;

/// See the module.
pub(crate) struct GrpcStores {
    cluster: Cluster,
    oracle: Arc<Oracle>,
    security: Security,
    env: Arc<Environment>,
    /// By store, with its address. Empty between runs.
    clients: Mutex<HashMap<u64, (String, TikvClient)>>,
}

impl GrpcStores {
    /// Calls on the threads of `env`.
    pub(crate) fn new(
        cluster: Cluster,
        oracle: Arc<Oracle>,
        security: Security,
        env: Arc<Environment>,
    ) -> GrpcStores {
        GrpcStores {
            cluster,
            oracle,
            security,
            env,
            clients: Mutex::default(),
        }
    }

    /// The client of a store, and where that is.
    fn client(&self, store_id: u64) -> Result<(String, TikvClient), CallError> {
        let address = self.cluster.read(|state| address(state, store_id))?;
        let mut clients = self.clients.lock();
        if let Some((known, client)) = clients.get(&store_id)
            && *known == address
        {
            return Ok((address, client.clone()));
        }
        let builder = ChannelBuilder::new(Arc::clone(&self.env))
            .max_receive_message_len(ANSWER_BYTES_MAX)
            .max_send_message_len(-1)
            .initial_reconnect_backoff(DIAL_PAUSE_MIN)
            .max_reconnect_backoff(DIAL_PAUSE_MAX)
            .use_local_subchannel_pool(true);
        let client = TikvClient::new(self.security.channel(builder, &address));
        clients.insert(store_id, (address.clone(), client.clone()));
        Ok((address, client))
    }

    fn call<T: Send + Unpin + 'static>(
        &self,
        place: &Place,
        send: impl FnOnce(&TikvClient, CallOption) -> grpcio::Result<ClientUnaryReceiver<T>>,
    ) -> CallFuture<'_, T> {
        let store_id = place.store_id;
        let begun = self.client(store_id).map(|(address, client)| {
            let options = CallOption::default().timeout(Duration::from_millis(CALL_TIMEOUT_MS));
            (address, send(&client, options))
        });
        async move {
            let (address, sent) = begun?;
            let answered = match sent {
                Ok(receiver) => receiver.await,
                Err(error) => Err(error),
            };
            answered.map_err(|error| failure(store_id, &address, &error))
        }
        .boxed()
    }
}

fn failure(store_id: u64, address: &str, error: &GrpcError) -> CallError {
    let text = format!("store {store_id} at {address}: {error}");
    match error {
        GrpcError::RpcFailure(status) if status.code() == RpcStatusCode::RESOURCE_EXHAUSTED => {
            CallError::TooLarge(text)
        }
        _ => CallError::Failed(text),
    }
}

fn address(state: &PdState, store_id: u64) -> Result<String, CallError> {
    let known = state.stores().get(store_id);
    let known = known.filter(|info| !is_removed(&info.store));
    match known {
        Some(info) => Ok(info.store.get_address().to_owned()),
        None => Err(CallError::Failed(format!("store {store_id} is gone"))),
    }
}

fn place(state: &PdState, key: &[u8]) -> Result<Place, CallError> {
    let Some(info) = state.regions().find(key) else {
        // Which keys these are is in the regions' listing, not in the log.
        let text = "no region is known to hold some of the keys";
        return Err(CallError::Failed(text.to_owned()));
    };
    let region = &info.region;
    let Some(leader) = info.known_leader() else {
        let text = format!("nobody is known to lead region {}", region.get_id());
        return Err(CallError::Failed(text));
    };
    let mut context = Context::default();
    context.set_region_id(region.get_id());
    context.set_region_epoch(region.get_region_epoch().clone());
    context.set_peer(leader.clone());
    // Whoever waits for an answer goes first.
    context.set_priority(CommandPri::Low);
    context.set_not_fill_cache(true);
    context.set_max_execution_duration_ms(CALL_TIMEOUT_MS);
    Ok(Place {
        end: region.get_end_key().to_vec(),
        store_id: leader.get_store_id(),
        context,
    })
}

impl Stores for GrpcStores {
    fn locate(&self, key: &[u8]) -> Result<Place, CallError> {
        self.cluster.read(|state| place(state, key))
    }

    fn timestamp(&self) -> CallFuture<'_, u64> {
        async move {
            let granted = self.oracle.timestamps(1).await;
            granted
                .map(|timestamp| timestamp.to_u64())
                .map_err(|error| CallError::Failed(error.to_string()))
        }
        .boxed()
    }

    fn run_ended(&self) {
        self.clients.lock().clear();
    }

    fn scan_lock(&self, place: &Place, it: ScanLockRequest) -> CallFuture<'_, ScanLockResponse> {
        self.call(place, |client, opt| client.kv_scan_lock_async_opt(&it, opt))
    }

    fn check_txn_status(
        &self,
        place: &Place,
        it: CheckTxnStatusRequest,
    ) -> CallFuture<'_, CheckTxnStatusResponse> {
        self.call(place, |client, opt| {
            client.kv_check_txn_status_async_opt(&it, opt)
        })
    }

    fn check_secondary_locks(
        &self,
        place: &Place,
        it: CheckSecondaryLocksRequest,
    ) -> CallFuture<'_, CheckSecondaryLocksResponse> {
        self.call(place, |client, opt| {
            client.kv_check_secondary_locks_async_opt(&it, opt)
        })
    }

    fn resolve_lock(
        &self,
        place: &Place,
        it: ResolveLockRequest,
    ) -> CallFuture<'_, ResolveLockResponse> {
        self.call(place, |client, opt| {
            client.kv_resolve_lock_async_opt(&it, opt)
        })
    }

    fn pessimistic_rollback(
        &self,
        place: &Place,
        it: PessimisticRollbackRequest,
    ) -> CallFuture<'_, PessimisticRollbackResponse> {
        self.call(place, |client, opt| {
            client.kv_pessimistic_rollback_async_opt(&it, opt)
        })
    }
}
