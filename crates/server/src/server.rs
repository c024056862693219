//! The gRPC server of a store: services in, a listening server out.
//!
//! It owns the gRPC server and the health board. It knows nothing of engines and placement: these
//! come inside `Storage`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api_version::KvFormat;
use grpcio::{Environment, ServerCredentials};
use kv::Engine;
use lock_manager::LockManager;
use runtime::Runtime;
use service::{HealthService, Service, ServiceIdentity, ServingStatus};
use storage::Storage;

use crate::builder::{BuilderFactory, GrpcBuilderFactory as _, ServiceFactory};
use crate::config::ServerConfig;
use crate::{Error, Result};

/// How a server is set up, apart from what it serves.
pub struct ServerOptions {
    /// Limits and threads.
    pub config: ServerConfig,
    /// Bytes that gRPC may use for its buffers.
    pub memory_quota: u64,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Services beside those of the store.
    pub more: Vec<ServiceFactory>,
}

/// A gRPC server of a store.
pub struct Server {
    grpc: grpcio::Server,
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
            more,
        } = options;
        let drain = config.graceful_shutdown_timeout.0;
        let service = Service::new(storage, identity, runtime.clock.clone());
        let factory = BuilderFactory::new(service, health.clone(), more, config, memory_quota);
        let mut grpc = factory
            .create_builder(env)
            .build()
            .map_err(|error| Error::Grpc(error.to_string()))?;
        grpc.add_listening_port(addr.to_string(), ServerCredentials::insecure())
            .map_err(|error| Error::Grpc(format!("cannot listen on {addr}: {error}")))?;
        Ok(Server {
            grpc,
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
        let drained = self.grpc.shutdown();
        if self
            .runtime
            .timer
            .timeout(self.drain, drained)
            .await
            .is_err()
        {
            tracing::warn!(timeout = ?self.drain, "requests in progress are cut off");
            self.grpc.cancel_all_calls();
        }
    }
}
