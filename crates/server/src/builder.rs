//! How a gRPC server comes to its services and limits.
//!
//! [`GrpcBuilderFactory`] is the seam: whoever embeds a node can register services of its own beside
//! those of the store. Every limit is finite: message sizes, streams of a connection, memory.

use std::sync::Arc;

use grpcio::{ChannelBuilder, Environment, ResourceQuota, ServerBuilder};
use kvproto::healthpb::create_health;
use kvproto::tikvpb::{Tikv, create_tikv};
use online_config::ReadableSize;
use security::Security;
use service::HealthService;

use crate::config::ServerConfig;

/// Makes a gRPC service that is registered beside those of the store.
pub type ServiceFactory = Box<dyn Fn() -> grpcio::Service + Send>;

/// Makes gRPC servers with all services registered.
pub trait GrpcBuilderFactory {
    /// A server on `env` that is not bound to an address yet.
    fn create_builder(&self, env: Arc<Environment>) -> ServerBuilder;
}

/// Registers the services of a store: key-value, health, and what an embedder adds.
pub struct BuilderFactory<S> {
    kv_service: S,
    health: HealthService,
    more: Vec<ServiceFactory>,
    config: ServerConfig,
    memory_quota: u64,
    security: Security,
}

impl<S: Tikv + Send + Clone + 'static> BuilderFactory<S> {
    /// For `kv_service`, within the limits of `config` and `memory_quota` bytes of buffers, plain.
    pub fn new(
        kv_service: S,
        health: HealthService,
        more: Vec<ServiceFactory>,
        config: ServerConfig,
        memory_quota: u64,
    ) -> Self {
        BuilderFactory {
            kv_service,
            health,
            more,
            config,
            memory_quota,
            security: Security::disabled(),
        }
    }

    /// Lets the servers refuse calls of clients that are not on the lists of `security`.
    #[must_use]
    pub fn with_security(mut self, security: Security) -> Self {
        self.security = security;
        self
    }
}

impl<S: Tikv + Send + Clone + 'static> GrpcBuilderFactory for BuilderFactory<S> {
    fn create_builder(&self, env: Arc<Environment>) -> ServerBuilder {
        let config = &self.config;
        let quota = ResourceQuota::new(Some("tikv-server"))
            .resize_memory(usize::try_from(self.memory_quota).unwrap_or(usize::MAX));
        let args = ChannelBuilder::new(env.clone())
            .set_resource_quota(quota)
            .max_concurrent_stream(i32::try_from(config.grpc_concurrent_stream).unwrap_or(i32::MAX))
            .stream_initial_window_size(int(config.grpc_stream_initial_window_size))
            .max_receive_message_len(int(config.max_grpc_recv_msg_len))
            .max_send_message_len(int(config.max_grpc_send_msg_len))
            .keepalive_time(config.grpc_keepalive_time.0)
            .keepalive_timeout(config.grpc_keepalive_timeout.0)
            // A connection without requests is asked, too: who went away silently would hold it for ever.
            .keepalive_permit_without_calls(true)
            .http2_max_pings_without_data(0)
            // Clients ask every ten seconds whether an idle connection lives: that is no attack.
            .http2_max_ping_strikes(i32::MAX)
            // A second server on the same address must fail, not take half of the connections.
            .reuse_port(false)
            .build_args();
        let mut builder = ServerBuilder::new(env)
            .channel_args(args)
            .register_service(create_tikv(self.kv_service.clone()))
            .register_service(create_health(self.health.clone()));
        for factory in &self.more {
            builder = builder.register_service(factory());
        }
        self.security.guard(builder)
    }
}

fn int(size: ReadableSize) -> i32 {
    i32::try_from(size.0).unwrap_or(i32::MAX)
}
