//! The client over gRPC: who the leader is, retries, and the tasks of its streams.
//!
//! 1. Every attempt of a call takes the current connection. When it fails in a way that another
//!    leader or a later moment may heal, the client looks for the leader and tries again.
//! 2. Searches are single: whoever fails on a connection that was replaced meanwhile just takes
//!    the new one. Between fruitless searches the wait doubles up to its bound.
//! 3. The streams have tasks of their own, which follow the connection in the same way.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use futures::pin_mut;
use grpcio::{CallOption, ClientUnaryReceiver, Environment, RpcStatusCode};
use kvproto::{metapb, pdpb};
use parking_lot::{Mutex, RwLock};
use runtime::{Runtime, Shutdown, ShutdownTrigger, shutdown_pair};
use security::Security;

use crate::bell::Bell;
use crate::connection::{Connection, Connector};
use crate::outbox::HeartbeatOutbox;
use crate::tso_batcher::TsoBatcher;
use crate::{Config, Error, ReconnectHandler, RegionHeartbeatHandler, Result};
use crate::{reports, tso_stream};

/// A [`PdClient`](crate::PdClient) over gRPC. Clones share everything; the tasks end with the last
/// clone or with [`close`](RpcClient::close).
#[derive(Clone)]
pub struct RpcClient {
    pub(crate) inner: Arc<Inner>,
    /// Triggers when the last client is dropped: the tasks share `Inner`, but not this.
    trigger: Arc<ShutdownTrigger>,
}

/// Buckets that wait to be reported, newest per region; see [`reports`].
#[derive(Default)]
pub(crate) struct BucketReports {
    pub(crate) waiting: Mutex<std::collections::BTreeMap<u64, pdpb::ReportBucketsRequest>>,
    pub(crate) bell: Bell,
}

/// What clients and tasks share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) runtime: Runtime,
    pub(crate) cluster_id: u64,
    pub(crate) closed: Shutdown,
    connector: Connector,
    connection: RwLock<Arc<Connection>>,
    /// The next wait between searches. Held while a search runs, so that there is one at a time.
    search: futures::lock::Mutex<Duration>,
    pub(crate) reconnect_handler: Mutex<Option<ReconnectHandler>>,
    pub(crate) region_handler: Mutex<Option<RegionHeartbeatHandler>>,
    pub(crate) outbox: Mutex<HeartbeatOutbox>,
    pub(crate) outbox_bell: Bell,
    pub(crate) buckets: BucketReports,
    pub(crate) tso: Mutex<TsoBatcher>,
    pub(crate) tso_bell: Bell,
}

impl RpcClient {
    /// Finds the cluster's leader and starts the streams. Fails when no leader is found within
    /// the connect timeout. Every connection is encrypted when `security` has certificates.
    pub async fn connect(
        config: Config,
        security: Security,
        env: Arc<Environment>,
        runtime: &Runtime,
    ) -> Result<RpcClient> {
        config.validate()?;
        if !security.is_enabled() {
            config.validate_plain()?;
        }
        let connector = Connector {
            env,
            security,
            endpoints: config.endpoints.clone(),
            timeout: config.request_timeout,
        };
        let deadline = runtime.clock.now() + config.connect_timeout;
        let nobody = pdpb::GetMembersResponse::default();
        let mut wait = config.retry_interval;
        let connection = loop {
            match connector.find_leader(&nobody, None, 0).await {
                Ok(connection) => break connection,
                Err(error @ Error::Unreachable { .. }) => {
                    if runtime.clock.now() + wait > deadline {
                        return Err(error);
                    }
                    runtime.timer.sleep(wait).await;
                    wait = (wait * 2).min(config.retry_interval_max);
                }
                Err(error) => return Err(error),
            }
        };
        let (trigger, closed) = shutdown_pair();
        let inner = Arc::new(Inner {
            cluster_id: connection.cluster_id(),
            search: futures::lock::Mutex::new(config.retry_interval),
            config,
            runtime: runtime.clone(),
            closed,
            connector,
            connection: RwLock::new(Arc::new(connection)),
            reconnect_handler: Mutex::default(),
            region_handler: Mutex::default(),
            outbox: Mutex::default(),
            outbox_bell: Bell::default(),
            buckets: BucketReports::default(),
            tso: Mutex::default(),
            tso_bell: Bell::default(),
        });
        tso_stream::spawn(&inner);
        reports::spawn(&inner);
        Ok(RpcClient {
            inner,
            trigger: Arc::new(trigger),
        })
    }

    /// Ends the streams and fails calls that are still made. Idempotent.
    pub fn close(&self) {
        self.trigger.trigger();
    }

    /// The members as the leader named them when it was last found.
    pub fn members(&self) -> pdpb::GetMembersResponse {
        self.inner.connection().members.clone()
    }

    /// Sends reports of buckets; see [`PdClient::report_buckets`](crate::PdClient::report_buckets).
    pub(crate) fn queue_buckets(
        &self,
        epoch: metapb::RegionEpoch,
        buckets: metapb::Buckets,
    ) -> Result<()> {
        if self.inner.closed.is_triggered() {
            return Err(Error::Closed);
        }
        let mut request = pdpb::ReportBucketsRequest::default();
        request.set_header(self.inner.header());
        request.set_region_epoch(epoch);
        let region_id = buckets.get_region_id();
        request.set_buckets(buckets);
        let reports = &self.inner.buckets;
        reports.waiting.lock().insert(region_id, request);
        reports.bell.ring();
        Ok(())
    }
}

impl Inner {
    /// The connection to use now.
    pub(crate) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection.read())
    }

    /// The header of every request.
    pub(crate) fn header(&self) -> pdpb::RequestHeader {
        let mut header = pdpb::RequestHeader::default();
        header.set_cluster_id(self.cluster_id);
        header
    }

    /// One unary call with its retries. `send` starts an attempt, `header_of` finds the header of
    /// the answer.
    pub(crate) async fn call<Resp: Unpin>(
        &self,
        method: &'static str,
        send: impl Fn(&Connection, CallOption) -> grpcio::Result<ClientUnaryReceiver<Resp>>,
        header_of: impl Fn(&Resp) -> &pdpb::ResponseHeader,
    ) -> Result<Resp> {
        let mut attempts = 0;
        loop {
            if self.closed.is_triggered() {
                return Err(Error::Closed);
            }
            let connection = self.connection();
            let options = CallOption::default().timeout(self.config.request_timeout);
            let answer = match send(&connection, options) {
                Ok(receiver) => receiver.await,
                Err(error) => Err(error),
            };
            let error = match answer {
                Ok(response) => {
                    let header = header_of(&response);
                    if !header.has_error() {
                        return Ok(response);
                    }
                    return Err(Error::from_header(method, header.get_error()));
                }
                Err(error) => error,
            };
            if attempts == self.config.leader_retries || !is_worth_retrying(&error) {
                return Err(call_error(method, &error));
            }
            attempts += 1;
            match self.reconnect(connection.generation).await {
                Ok(()) | Err(Error::Unreachable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks for the leader, unless somebody already replaced the connection of this generation.
    /// After a fruitless search it waits before it returns, so that callers may just loop.
    pub(crate) async fn reconnect(&self, failed_generation: u64) -> Result<()> {
        let mut wait = self.search.lock().await;
        let current = self.connection();
        if current.generation != failed_generation {
            return Ok(());
        }
        let search = self.connector.find_leader(
            &current.members,
            Some(self.cluster_id),
            failed_generation + 1,
        );
        match self.unless_closed(search).await? {
            Ok(connection) => {
                *wait = self.config.retry_interval;
                *self.connection.write() = Arc::new(connection);
            }
            Err(error) => {
                let pause = self.runtime.timer.sleep(*wait);
                *wait = (*wait * 2).min(self.config.retry_interval_max);
                self.unless_closed(pause).await?;
                return Err(error);
            }
        }
        drop(wait);
        tracing::info!(
            cluster_id = self.cluster_id,
            "connected to placement driver"
        );
        let handler = self.reconnect_handler.lock().clone();
        if let Some(handler) = handler {
            handler();
        }
        Ok(())
    }

    /// The future's output, or [`Error::Closed`] when the client is closed first.
    pub(crate) async fn unless_closed<F: Future>(&self, future: F) -> Result<F::Output> {
        let closed = self.closed.wait();
        pin_mut!(closed, future);
        match select(closed, future).await {
            Either::Left(_) => Err(Error::Closed),
            Either::Right((output, _)) => Ok(output),
        }
    }
}

/// Whether another leader, or the same one later, may answer better. Refusals that concern the
/// request itself come back unchanged however often they are repeated.
fn is_worth_retrying(error: &grpcio::Error) -> bool {
    match error {
        grpcio::Error::RpcFailure(status) => match status.code() {
            RpcStatusCode::UNAVAILABLE
            | RpcStatusCode::DEADLINE_EXCEEDED
            | RpcStatusCode::CANCELLED
            | RpcStatusCode::RESOURCE_EXHAUSTED => true,
            _ => ["not leader", "no leader", "is not served", "not primary"]
                .iter()
                .any(|words| status.message().contains(words)),
        },
        grpcio::Error::CallFailure(_)
        | grpcio::Error::RpcFinished(_)
        | grpcio::Error::RemoteStopped => true,
        _ => false,
    }
}

fn call_error(method: &'static str, error: &grpcio::Error) -> Error {
    match error {
        grpcio::Error::RpcFailure(status) if status.code() == RpcStatusCode::DEADLINE_EXCEEDED => {
            Error::Timeout { method }
        }
        grpcio::Error::QueueShutdown => Error::Closed,
        other => Error::Rpc {
            method,
            detail: other.to_string(),
        },
    }
}
