//! The gRPC server of a store: services in, a listening server out.
//!
//! It owns the gRPC server and the health board. It knows nothing of engines and placement: these
//! come inside `Storage`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api_version::KvFormat;
use grpcio::Environment;
use kv::Engine;
use lock_manager::LockManager;
use runtime::Runtime;
use security::Security;
use service::{HealthService, InFlight, Service, ServiceIdentity, ServingStatus, SlowLog};
use storage::Storage;

use crate::builder::{BuilderFactory, GrpcBuilderFactory as _, ServiceFactory};
use crate::config::ServerConfig;
use crate::{Error, Result};

/// How long answers that have been given may take to leave.
const LAST_WORD_MAX: Duration = Duration::from_millis(200);
/// How long calls that were cut off have to wind up.
const CUT_OFF_MAX: Duration = Duration::from_millis(500);

/// How a server is set up, apart from what it serves.
pub struct ServerOptions {
    /// Limits and threads.
    pub config: ServerConfig,
    /// Bytes that gRPC may use for its buffers.
    pub memory_quota: u64,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Certificates of the port.
    pub security: Security,
    /// Services beside those of the store.
    pub more: Vec<ServiceFactory>,
    /// Hears of slow requests.
    pub slow_log: SlowLog,
}

/// A gRPC server of a store.
pub struct Server {
    grpc: grpcio::Server,
    in_flight: InFlight,
    health: HealthService,
    runtime: Runtime,
    drain: Duration,
}

impl Server {
    /// Registers the services of a store over `storage` and binds the address. Nothing is answered
    /// before [`Server::start`].
    pub fn new<L: LockManager, F: KvFormat>(
        options: ServerOptions,
        identity: ServiceIdentity,
        storage: Storage<impl Engine, L, F>,
        health: HealthService,
        env: Arc<Environment>,
        runtime: &Runtime,
    ) -> Result<Server> {
        let ServerOptions {
            config,
            memory_quota,
            addr,
            security,
            more,
            slow_log,
        } = options;
        let drain = config.graceful_shutdown_timeout.0;
        let service = Service::new(storage, identity, runtime.clock.clone());
        let message_bytes_max = usize::try_from(config.max_grpc_send_msg_len.0);
        let service = service
            .with_slow_log(slow_log)
            .with_message_bytes_max(message_bytes_max.unwrap_or(usize::MAX));
        let in_flight = service.in_flight();
        let credentials = security.server_credentials();
        let factory = BuilderFactory::new(service, health.clone(), more, config, memory_quota)
            .with_security(security);
        let mut grpc = factory
            .create_builder(env)
            .build()
            .map_err(|error| Error::Grpc(error.to_string()))?;
        grpc.add_listening_port(addr.to_string(), credentials)
            .map_err(|error| Error::Grpc(format!("cannot listen on {addr}: {error}")))?;
        Ok(Server {
            grpc,
            in_flight,
            health,
            runtime: runtime.clone(),
            drain,
        })
    }

    /// Begins to answer.
    pub fn start(&mut self) {
        self.grpc.start();
        self.health.set("", ServingStatus::Serving);
    }

    /// Refuses new requests, waits for those in progress as long as the configuration says, and cuts
    /// off the rest.
    pub async fn shutdown(mut self) {
        self.health.shutdown();
        let mut drained = self.grpc.shutdown();
        self.in_flight.close();
        let none = self.in_flight.none();
        if self.runtime.timer.timeout(self.drain, none).await.is_err() {
            let requests = self.in_flight.count();
            tracing::warn!(requests, timeout = ?self.drain, "requests in progress are cut off");
        }
        // What is left are watchers that read their last word, connections that say nothing, and
        // what took too long.
        let last_word = self.runtime.timer.timeout(LAST_WORD_MAX, &mut drained);
        if last_word.await.is_ok() {
            return;
        }
        self.grpc.cancel_all_calls();
        if self
            .runtime
            .timer
            .timeout(CUT_OFF_MAX, &mut drained)
            .await
            .is_err()
        {
            tracing::debug!("gRPC has connections that do not end");
        }
    }
}
