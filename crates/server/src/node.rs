//! A whole node in one object: [`NodeBuilder::start`] and [`Node::shutdown`].
//!
//! Nothing is global but metrics, so two nodes can live in one process. What is started is noted in
//! [`Parts`] at once; a start that fails half-way and a shutdown take the same way back, in this
//! order: no new requests, drain, end the heartbeats and the garbage collection, answer the writes that
//! were admitted, stop the pools, leave the placement driver, stop the embedded one, and last release the
//! data directory.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api_version::{ApiV1, ApiV1Ttl, ApiV2, ApiVersion, KvFormat};
use concurrency_manager::ConcurrencyManager;
use engine_traits::KvEngine;
use futures::FutureExt as _;
use kv::{Engine as _, LocalEngine, LocalRegion, OnFatal, Snapshot as _, SnapshotContext};
use pd_client::{PdClient, RpcClient};
use runtime::{Runtime, ShutdownTrigger, shutdown_pair};
use security::{ClientCertificate, HttpVersions, Security};
use service::{HealthService, ServiceIdentity, SlowLog};
use yatp::Pool;

use crate::below::Below;
use crate::bootstrap::{Identity, bootstrap};
use crate::builder::ServiceFactory;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::disk_watch::DiskWatch;
use crate::engines::{Engines, RocksEngines};
use crate::gc::{GarbageCollection, know_safe_point};
use crate::grpc_threads::GrpcThreads;
use crate::heartbeat::{Heartbeats, Intervals, first_max_ts_limit, store_description};
use crate::net::{self, Reservation};
use crate::node_state::NodeState;
use crate::online::ConfigController;
use crate::server::{Server, ServerOptions};
use crate::status::{HeapProfiler, StatusOptions, StatusServer};
use crate::{Error, Result, pessimistic, sys};

/// Where a node can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addrs {
    /// Where clients connect, as they are told.
    pub advertised: String,
    /// Where the status server is, as others are told; empty when there is none.
    pub advertised_status: String,
    /// Where gRPC listens.
    pub listen: Option<SocketAddr>,
    /// Where the status server listens.
    pub status: Option<SocketAddr>,
    /// The placement drivers, embedded or not.
    pub pd: Vec<String>,
}

/// Starts nodes.
pub struct NodeBuilder {
    config: Config,
    services: Vec<ServiceFactory>,
    on_fatal: OnFatal,
    log: Option<Arc<logger::Guard>>,
    config_file: Option<PathBuf>,
    heap: Option<Arc<dyn HeapProfiler>>,
}

impl NodeBuilder {
    /// A node with this configuration. A write or sync that the disk refuses ends the process: what
    /// reached the disk is unknown, and an answer either way could be a lie.
    pub fn new(config: Config) -> Self {
        let on_fatal: OnFatal = Arc::new(|reason: &str| {
            tracing::error!(reason, "the engine failed, the process ends");
            std::process::abort();
        });
        NodeBuilder {
            config,
            services: Vec::new(),
            on_fatal,
            log: None,
            config_file: None,
            heap: None,
        }
    }

    /// Lets changes of the configuration reach the log of the process: its level and redaction.
    /// Without it these keys cannot change.
    #[must_use]
    pub fn log(mut self, log: Arc<logger::Guard>) -> Self {
        self.log = Some(log);
        self
    }

    /// Writes changes of the configuration to this file, from which it was read.
    #[must_use]
    pub fn config_file(mut self, path: PathBuf) -> Self {
        self.config_file = Some(path);
        self
    }

    /// Lets the status server show who holds the memory of the process.
    #[must_use]
    pub fn heap_profiler(mut self, heap: Arc<dyn HeapProfiler>) -> Self {
        self.heap = Some(heap);
        self
    }

    /// Replaces the end of the process after an engine failure.
    #[must_use]
    pub fn on_fatal(mut self, on_fatal: OnFatal) -> Self {
        self.on_fatal = on_fatal;
        self
    }

    /// Registers another gRPC service on the node's port.
    #[must_use]
    pub fn service(mut self, factory: ServiceFactory) -> Self {
        self.services.push(factory);
        self
    }

    /// Starts the node on RocksDB in the data directory. It answers requests when this returns.
    pub fn start(self) -> Result<Node> {
        self.start_on(RocksEngines)
    }

    /// Starts the node on other engines.
    pub fn start_on<E: Engines>(self, engines: E) -> Result<Node> {
        let problems = self.config.validate();
        if !problems.is_empty() {
            return Err(Error::Config(problems));
        }
        let security = Security::new(&self.config.security.tls)?;
        let data_dir = DataDir::open(&self.config.storage.data_dir)?;
        let threads = self.config.server.background_thread_count;
        let runtime = Runtime::system("node", threads).map_err(Error::Thread)?;
        let config = ConfigController::new(self.config.clone(), self.config_file.clone());
        let state = NodeState::new(config);
        let threads = GrpcThreads::new(self.config.server.grpc_threads());
        let mut parts = Parts::new(runtime, security, data_dir, state, threads);
        match futures::executor::block_on(parts.start(self, engines)) {
            Ok((addrs, identity)) => Ok(Node {
                addrs,
                identity,
                parts: Some(parts),
            }),
            Err(error) => {
                futures::executor::block_on(parts.stop());
                Err(error)
            }
        }
    }
}

/// A running node.
pub struct Node {
    addrs: Addrs,
    identity: Identity,
    parts: Option<Parts>,
}

impl Node {
    /// Starts a node on RocksDB.
    pub fn start(config: Config) -> Result<Node> {
        NodeBuilder::new(config).start()
    }

    /// Where it can be reached.
    pub fn addrs(&self) -> &Addrs {
        &self.addrs
    }

    /// What it is in its cluster.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Drains and stops, within the time that the configuration allows plus a moment.
    pub async fn shutdown(mut self) {
        if let Some(parts) = self.parts.take() {
            parts.stop().await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            futures::executor::block_on(parts.stop());
        }
    }
}

/// What is running.
struct Parts {
    runtime: Runtime,
    security: Security,
    state: Arc<NodeState>,
    slow_log: SlowLog,
    status: Option<StatusServer>,
    pd_server: Option<pd::Server>,
    pd_client: Option<RpcClient>,
    heartbeats: Option<ShutdownTrigger>,
    gc: Option<GarbageCollection>,
    server: Option<Server>,
    threads: GrpcThreads,
    pools: Vec<Pool>,
    close_engine: Option<futures::future::BoxFuture<'static, ()>>,
    /// Released last.
    data_dir: DataDir,
}

impl Parts {
    fn new(
        runtime: Runtime,
        security: Security,
        data_dir: DataDir,
        state: NodeState,
        threads: GrpcThreads,
    ) -> Parts {
        Parts {
            runtime,
            security,
            state: Arc::new(state),
            slow_log: SlowLog::default(),
            status: None,
            pd_server: None,
            pd_client: None,
            heartbeats: None,
            gc: None,
            server: None,
            threads,
            pools: Vec::new(),
            close_engine: None,
            data_dir,
        }
    }

    async fn start<E: Engines>(
        &mut self,
        builder: NodeBuilder,
        engines: E,
    ) -> Result<(Addrs, Identity)> {
        let NodeBuilder {
            config,
            services,
            on_fatal,
            log,
            heap,
            ..
        } = builder;
        let started = self.runtime.clock.unix_millis() / 1000;
        let memory = config.memory_plan();
        if memory.total() > memory.limit {
            tracing::warn!(?memory, "the parts are set to more than memory-usage-limit");
        }
        self.take_changes(&config, log);
        let reserved = Reservation::new("server.addr", &config.server.addr)?;
        let mut addrs = Addrs {
            advertised: net::advertised(config.server.advertised(), reserved.addr()),
            listen: Some(reserved.addr()),
            ..Addrs::default()
        };
        if !config.server.status_addr.is_empty() {
            let options = StatusOptions {
                node: self.state.clone(),
                // Monitors may look without a certificate; the paths that tell more ask for one.
                acceptor: self.security.http_acceptor(
                    &self.runtime,
                    ClientCertificate::Optional,
                    HttpVersions::One,
                ),
                heap,
            };
            let status = StatusServer::start(&config.server.status_addr, options, &self.runtime)?;
            addrs.advertised_status =
                net::advertised(config.server.advertised_status(), status.addr());
            addrs.status = Some(status.addr());
            self.status = Some(status);
        }
        addrs.pd = self.start_pd(&config, &engines, on_fatal.clone())?;
        let pd_client = self.connect_pd(&addrs.pd).await?;

        let engine = engines.open_kv(&self.data_dir.kv(), &config)?;
        self.resize_cache_on_change(&engines, &engine);
        self.state.engine.store(true, Ordering::Relaxed);
        let pd: Arc<dyn PdClient> = Arc::new(pd_client);
        let format = config.storage.format();
        let description = store_description(&config, &addrs, started);
        let identity = bootstrap(&engine, pd.as_ref(), description, format).await?;

        let concurrency = self.concurrency_manager(&config, pd.as_ref()).await?;
        know_safe_point(pd.as_ref(), &concurrency).await?;
        let local = LocalEngine::new(
            engine.clone(),
            LocalRegion {
                region: identity.region.clone(),
                store_id: identity.store_id,
                peer: identity.peer.clone(),
            },
            &self.runtime,
            config.local_engine(),
            on_fatal,
        );
        let closing = local.clone();
        self.close_engine = Some(async move { closing.close().await }.boxed());
        self.start_heartbeats(&config, &identity, &concurrency, pd.clone(), &local)
            .await?;
        let detector = pessimistic::detector(
            &config.pessimistic_txn(),
            pd.clone(),
            self.security.clone(),
            self.threads.env(),
            &self.runtime,
        );
        let below = Below {
            local,
            concurrency,
            pd,
            detector,
        };
        let addr = reserved.addr();
        match format {
            ApiVersion::V1ttl => {
                self.serve::<_, ApiV1Ttl>(&config, services, &identity, below, addr)?;
            }
            ApiVersion::V2 => self.serve::<_, ApiV2>(&config, services, &identity, below, addr)?,
            // No configuration asks for V3.
            ApiVersion::V1 | ApiVersion::V3 => {
                self.serve::<_, ApiV1>(&config, services, &identity, below, addr)?;
            }
        }
        drop(reserved);
        self.state.set_identity(identity.clone());
        self.state.serving.store(true, Ordering::Relaxed);
        Ok((addrs, identity))
    }
}

impl Parts {
    /// Lets changes of the configuration reach the log of the process and the slow log.
    fn take_changes(&self, config: &Config, log: Option<Arc<logger::Guard>>) {
        self.slow_log.set_threshold(config.slow_log_threshold.0);
        let controller = self.state.config();
        let slow_log = self.slow_log.clone();
        controller.register(&["slow-log-threshold"], move |config| {
            slow_log.set_threshold(config.slow_log_threshold.0);
        });
        if let Some(log) = log {
            controller.register(&["log.level", "security.redact-info-log"], move |config| {
                log.set_level(config.log.level);
                logger::set_redact_mode(config.security.redact_mode());
            });
        }
    }

    /// Lets changes of the configuration reach the cache of the engine.
    fn resize_cache_on_change<E: Engines>(&self, engines: &E, engine: &E::Kv) {
        if let Some(resize) = engines.resize_cache(engine) {
            let keys = &["storage.block-cache.capacity"];
            let controller = self.state.config();
            controller.register(keys, move |config| resize(config.memory_plan().block_cache));
        }
    }

    /// Starts the embedded placement driver, unless there is another. Returns the addresses.
    fn start_pd<E: Engines>(
        &mut self,
        config: &Config,
        engines: &E,
        on_fatal: OnFatal,
    ) -> Result<Vec<String>> {
        if !config.pd.endpoints.is_empty() {
            return Ok(config.pd.endpoints.clone());
        }
        let embedded = &config.pd.embedded;
        // pd says only "cannot bind"; this says why.
        let reserved = Reservation::new("pd.embedded.addr", &embedded.addr)?;
        let engine = engines.open_pd(&self.data_dir.pd(), config)?;
        let advertised = match embedded.advertise_addr.as_str() {
            "" => &embedded.addr,
            set => set,
        };
        let pd_config = pd::PdConfig {
            client_urls: vec![reserved.addr().to_string()],
            advertise_client_urls: vec![net::advertised(advertised, reserved.addr())],
            version: crate::COMPATIBLE_VERSION.to_owned(),
            gc_life_time: embedded.gc_life_time.0,
            gc_run_interval: embedded.gc_run_interval.0,
            gc_reclaim: embedded.gc_reclaim,
            etcd: embedded.etcd.limits(),
            security: self.security.clone(),
            on_fatal,
            ..pd::PdConfig::default()
        };
        let server = pd::Server::start_on(pd_config, engine, &self.runtime, self.threads.env())
            .map_err(|error| Error::EmbeddedPd(error.to_string()))?;
        let urls = server.client_urls();
        let online = server.online_settings();
        self.state
            .config()
            .register_below("pd.embedded.", move |config| {
                let embedded = &config.pd.embedded;
                online.set_gc(embedded.gc_life_time.0, embedded.gc_run_interval.0);
                online.set_etcd_limits(embedded.etcd.limits());
            });
        self.pd_server = Some(server);
        Ok(urls)
    }

    async fn connect_pd(&mut self, endpoints: &[String]) -> Result<RpcClient> {
        let env = self.threads.env();
        let config = pd_client::Config::new(endpoints.to_vec());
        let security = self.security.clone();
        let client = RpcClient::connect(config, security, env, &self.runtime).await?;
        self.pd_client = Some(client.clone());
        self.state.pd.store(true, Ordering::Relaxed);
        Ok(client)
    }

    async fn concurrency_manager(
        &self,
        config: &Config,
        pd: &dyn PdClient,
    ) -> Result<ConcurrencyManager> {
        let now = pd.get_tso(1).await?;
        let action = config
            .storage
            .storage
            .max_ts
            .action_on_invalid_update
            .into();
        let concurrency = ConcurrencyManager::with_action(now, action);
        concurrency.set_max_ts_limit(first_max_ts_limit(now));
        Ok(concurrency)
    }

    async fn start_heartbeats<E: KvEngine>(
        &mut self,
        config: &Config,
        identity: &Identity,
        concurrency: &ConcurrencyManager,
        pd: Arc<dyn PdClient>,
        local: &LocalEngine<E>,
    ) -> Result<()> {
        let envelope = SnapshotContext::new(local.region().context());
        let snapshot = local.async_snapshot(envelope).await?;
        let (trigger, shutdown) = shutdown_pair();
        self.heartbeats = Some(trigger);
        let raftstore = &config.raftstore;
        let watch = DiskWatch {
            local: local.clone(),
            data_dir: self.data_dir.path().to_owned(),
            capacity: raftstore.capacity.0,
            reserve: config.storage.reserve_space.0,
            runtime: self.runtime.clone(),
            shutdown: shutdown.clone(),
        };
        watch.start();
        let intervals = Arc::new(Intervals::new(raftstore));
        let changed = intervals.clone();
        let keys = &[
            "raftstore.pd-heartbeat-tick-interval",
            "raftstore.pd-store-heartbeat-tick-interval",
        ];
        let controller = self.state.config();
        controller.register(keys, move |config| changed.set(&config.raftstore));
        let heartbeats = Heartbeats {
            identity: identity.clone(),
            local: local.clone(),
            data_dir: self.data_dir.path().to_owned(),
            capacity: raftstore.capacity.0,
            intervals: intervals.clone(),
            term: snapshot.term().map_or(0, NonZeroU64::get),
            concurrency: concurrency.clone(),
            pd,
            runtime: self.runtime.clone(),
            shutdown,
        };
        heartbeats.start();
        Ok(())
    }

    fn pool(&mut self, name: &str, threads: usize) -> Result<Pool> {
        let pool = yatp::Builder::new(name)
            .threads(threads)
            .build(&self.runtime)
            .map_err(|error| Error::Thread(std::io::Error::other(error)))?;
        self.pools.push(pool.clone());
        Ok(pool)
    }

    fn serve<E: KvEngine, F: KvFormat>(
        &mut self,
        config: &Config,
        mut services: Vec<ServiceFactory>,
        identity: &Identity,
        below: Below<E>,
        addr: SocketAddr,
    ) -> Result<()> {
        let settings = config.storage();
        let reads = self.pool("unified-read", config.readpool.threads())?;
        let commands = self.pool("sched-worker", settings.scheduler_threads(sys::cpu_count()))?;
        let detector = below.detector.clone();
        services.push(pessimistic::service(&detector));
        self.collect_garbage::<E, F>(config, &below)?;
        let storage = below.storage::<F>(reads, commands, &settings, &self.runtime)?;
        let changed = storage.clone();
        self.state
            .config()
            .register_below("storage.", move |config| {
                let bounds = config.local_engine();
                let local = changed.engine();
                local.set_write_limits(bounds.max_write_bytes, bounds.max_pending_bytes);
                changed.reconfigure(&config.storage());
            });
        pessimistic::apply(&config.pessimistic_txn(), &storage, &detector);
        let changed = storage.clone();
        let online = self.state.config();
        online.register_below("pessimistic-txn.", move |config| {
            pessimistic::apply(&config.pessimistic_txn(), &changed, &detector);
        });
        let options = ServerOptions {
            config: config.server.clone(),
            memory_quota: config.memory_plan().grpc,
            addr,
            security: self.security.clone(),
            more: services,
            slow_log: self.slow_log.clone(),
        };
        let identity = ServiceIdentity {
            cluster_id: identity.cluster_id,
            store_id: identity.store_id,
        };
        let health = HealthService::new();
        let env = self.threads.env();
        let mut server = Server::new(options, identity, storage, health, env, &self.runtime)?;
        server.start();
        self.server = Some(server);
        Ok(())
    }

    fn collect_garbage<E: KvEngine, F: KvFormat>(
        &mut self,
        config: &Config,
        below: &Below<E>,
    ) -> Result<()> {
        let Below {
            local,
            concurrency,
            pd,
            ..
        } = below;
        let pd = pd.clone();
        let gc = GarbageCollection::start::<E, F>(config, local, concurrency, pd, &self.runtime)?;
        let settings = gc.settings().clone();
        let online = self.state.config();
        online.register_below("gc.", move |config| settings.set(&config.gc));
        self.gc = Some(gc);
        Ok(())
    }

    /// The way back; each step is skipped when its part was never started.
    async fn stop(mut self) {
        self.state.serving.store(false, Ordering::Relaxed);
        // Those who take changes hold what is taken down now.
        self.state.config().close();
        if let Some(server) = self.server.take() {
            server.shutdown().await;
        }
        drop(self.heartbeats.take());
        if let Some(gc) = self.gc.take() {
            gc.stop(&self.runtime).await;
        }
        if let Some(close_engine) = self.close_engine.take() {
            close_engine.await;
        }
        for pool in self.pools.drain(..) {
            pool.shutdown();
        }
        if let Some(pd_client) = self.pd_client.take() {
            pd_client.close();
        }
        if let Some(pd_server) = self.pd_server.take() {
            pd_server.shutdown();
        }
        self.threads.end(&self.runtime).await;
        if let Some(status) = self.status.take() {
            status.shutdown().await;
        }
        self.runtime.shutdown();
    }
}
