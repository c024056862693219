//! A running placement driver: state loaded, tasks started, port bound; and the way down.

use std::net::TcpListener;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use engine_traits::KvEngine;
use futures::future::{Either, join_all, select};
use grpcio::{ChannelBuilder, EnvBuilder, Environment, ResourceQuota, ServerBuilder};
use kvproto::{etcdserverpb, healthpb, keyspacepb, meta_storagepb, pdpb, resource_manager};
use parking_lot::Mutex;
use runtime::{JoinHandle, Runtime, ShutdownTrigger, Timer, shutdown_pair};
use security::{ClientCertificate, HttpVersions};

use crate::cluster::Cluster;
use crate::config::split_url;
use crate::etcd_upkeep;
use crate::front::{self, Ends, SharedGrpc};
use crate::gc_report::GcReports;
use crate::gc_worker::GcWorker;
use crate::http;
use crate::lock_resolver::{GrpcStores, LockResolver};
use crate::meta_store::{EngineMetaStore, MetaBatch, MetaStore, number_value, parse_number};
use crate::online::OnlineSettings;
use crate::oracle::Oracle;
use crate::service::{Service, Shared};
use crate::{Error, PdConfig, Result};

/// The largest message that is taken: far above what any report or request of a client needs. While it is decoded it
/// is in memory up to three times.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// How long open calls have to end by themselves when the server stops.
const GRACE: Duration = Duration::from_secs(1);
/// How long cancelled calls have to wind up.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

const CLUSTER_ID_KEY: &[u8] = b"cluster_id";
const MEMBER_ID_KEY: &[u8] = b"member_id";

/// Where it listens.
type HostPort = (String, u16);

/// A running placement driver. Dropping it stops it like [`shutdown`](Server::shutdown).
pub struct Server {
    service: Service,
    online: OnlineSettings,
    runtime: Runtime,
    /// Absent once it is stopped.
    running: Mutex<Option<Running>>,
}

struct Running {
    grpc: SharedGrpc,
    /// Stops everything that is long-lived, and new connections.
    stop: ShutdownTrigger,
    /// Ends the connections of the port.
    close: ShutdownTrigger,
    port: JoinHandle<()>,
    /// Those that write to the engine.
    tasks: [JoinHandle<()>; 2],
}

impl Server {
    /// Loads the metadata from `engine`, or begins a new cluster in it, and serves. The engine may
    /// be shared: only keys that begin with `pd/` are touched. When this returns, the port answers.
    pub fn start<E: KvEngine>(config: PdConfig, engine: E, runtime: &Runtime) -> Result<Server> {
        config.validate()?;
        let threads = EnvBuilder::new()
            .cq_count(config.grpc_threads)
            .name_prefix("pd-grpc")
            .build();
        Server::start_valid(config, engine, runtime, Arc::new(threads))
    }

    /// Does what [`start`](Self::start) does, with calls on the threads of `env` instead of threads of
    /// its own. A program with several gRPC servers and clients should have one environment: an idle
    /// one polls for the sockets of the others, and hands over what it finds thread by thread.
    pub fn start_on<E: KvEngine>(
        config: PdConfig,
        engine: E,
        runtime: &Runtime,
        env: Arc<Environment>,
    ) -> Result<Server> {
        config.validate()?;
        Server::start_valid(config, engine, runtime, env)
    }

    fn start_valid<E: KvEngine>(
        config: PdConfig,
        engine: E,
        runtime: &Runtime,
        env: Arc<Environment>,
    ) -> Result<Server> {
        let store: Arc<dyn MetaStore> = Arc::new(EngineMetaStore::new(engine));
        let (cluster_id, member_id) = identity(&*store, runtime)?;
        let (stop, stopped) = shutdown_pair();
        let fatal = &config.on_fatal;
        let (cluster, meta_task) = Cluster::start(
            Arc::clone(&store),
            config.etcd,
            fatal.clone(),
            runtime,
            stopped.clone(),
        )?;
        drop(runtime.spawner.spawn(etcd_upkeep::run(
            cluster.clone(),
            runtime.clone(),
            stopped.clone(),
        )));
        let (oracle, tso_task) = Oracle::start(store, fatal.clone(), runtime, stopped.clone())?;

        let online = OnlineSettings::new(&config, cluster.clone());
        let stores = GrpcStores::new(
            cluster.clone(),
            Arc::clone(&oracle),
            config.security.clone(),
            Arc::clone(&env),
        );
        let gc_reports = GcReports::default();
        let gc_worker = GcWorker {
            schedule: online.schedule(),
            cluster: cluster.clone(),
            oracle: Arc::clone(&oracle),
            resolver: LockResolver::new(Arc::new(stores), runtime),
            reports: gc_reports.clone(),
            runtime: runtime.clone(),
        };
        drop(runtime.spawner.spawn(gc_worker.run(stopped.clone())));

        let service = Service::new(Shared {
            cluster_id,
            member: OnceLock::new(),
            cluster,
            oracle,
            gc_reports,
            runtime: runtime.clone(),
            stop: stopped.clone(),
        });
        let (listeners, bound) = listen(&config)?;
        let mut member = pdpb::Member::default();
        member.set_name(config.name.clone());
        member.set_member_id(member_id);
        member.set_client_urls(advertised(&config, &bound).into());
        member.set_binary_version(config.version.clone());
        member.set_git_hash(config.git_hash.clone());
        // Calls are taken from here on, so the member is in place before.
        service.set_member(member);
        let mut grpc = build_grpc(&config, &service, env)?;
        grpc.start();
        let grpc = SharedGrpc::new(Mutex::new(grpc));
        let certificate = ClientCertificate::Required;
        let acceptor = config
            .security
            .http_acceptor(runtime, certificate, HttpVersions::TwoAndOne);
        let (close, closed) = shutdown_pair();
        let port = front::serve(
            listeners,
            SharedGrpc::clone(&grpc),
            http::router(service.clone(), config),
            acceptor,
            runtime,
            Ends {
                accepting: stopped,
                connections: closed,
            },
        )?;
        tracing::info!(
            cluster_id,
            member_id,
            urls = ?service.client_urls(),
            "placement driver serves"
        );
        Ok(Server {
            service,
            online,
            runtime: runtime.clone(),
            running: Mutex::new(Some(Running {
                grpc,
                stop,
                close,
                port,
                tasks: [meta_task, tso_task],
            })),
        })
    }

    /// The URLs under which clients reach it.
    pub fn client_urls(&self) -> Vec<String> {
        self.service.client_urls()
    }

    /// The id of the cluster, never 0.
    pub fn cluster_id(&self) -> u64 {
        self.service.cluster_id()
    }

    /// A handle to what may change while it runs.
    pub fn online_settings(&self) -> OnlineSettings {
        self.online.clone()
    }

    /// Ends streams, lets other calls finish, frees the port. It takes seconds at most and may be
    /// called again, also from within a task.
    pub fn shutdown(&self) {
        let Some(running) = self.running.lock().take() else {
            return;
        };
        let timer = self.runtime.timer.clone();
        let (done, waiting) = mpsc::channel();
        // A thread of its own: an executor that happens to run the caller cannot be entered twice.
        let spawner = &self.runtime.spawner;
        drop(spawner.spawn_dedicated("pd-stop", async move {
            running.stop(&timer).await;
            // The caller waits for this and nothing else.
            let _ = done.send(());
        }));
        match waiting.recv() {
            Ok(()) => tracing::info!("placement driver stopped"),
            // The runtime was stopped first and dropped the task, and the server with it.
            Err(_) => tracing::warn!("placement driver dropped after its runtime"),
        }
    }
}

impl Running {
    async fn stop(self, timer: &Timer) {
        self.stop.trigger();
        let mut ended = Box::pin(self.grpc.lock().shutdown());
        let mut all_ended = ends_within(timer, GRACE, &mut ended).await;
        if !all_ended {
            self.grpc.lock().cancel_all_calls();
            all_ended = ends_within(timer, CANCEL_GRACE, &mut ended).await;
        }
        if !all_ended {
            tracing::warn!("calls of the placement driver did not end in time");
            // Its memory is still in use by those calls.
            std::mem::forget(self.grpc);
        }
        self.close.trigger();
        if !ends_within(timer, CANCEL_GRACE, self.port).await {
            tracing::warn!("the port of the placement driver did not close in time");
        }
        // Nothing may be written any more once whoever owns the engine goes on.
        let tasks = Box::pin(join_all(self.tasks));
        if !ends_within(timer, CANCEL_GRACE, tasks).await {
            tracing::warn!("tasks of the placement driver did not end in time");
        }
    }
}

async fn ends_within(timer: &Timer, limit: Duration, future: impl Future + Unpin) -> bool {
    let timeout = Box::pin(timer.sleep(limit));
    matches!(select(future, timeout).await, Either::Left(_))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The ids of cluster and member: from the last run, or new ones that are on disk before anybody
/// hears of them.
fn identity(store: &dyn MetaStore, runtime: &Runtime) -> Result<(u64, u64)> {
    let saved = |key: &[u8]| match store.get(key)? {
        Some(value) => parse_number(key, &value).map(Some),
        None => Ok(None),
    };
    let saved_cluster_id = saved(CLUSTER_ID_KEY)?;
    let saved_member_id = saved(MEMBER_ID_KEY)?;
    let seconds = runtime.clock.unix_millis() / 1000;
    let cluster_id = saved_cluster_id.unwrap_or_else(|| new_cluster_id(seconds, runtime));
    let member_id = saved_member_id.unwrap_or_else(|| runtime.rng.u64() | 1);
    if saved_cluster_id.is_none() || saved_member_id.is_none() {
        let mut batch = MetaBatch::default();
        batch.put(CLUSTER_ID_KEY.to_vec(), number_value(cluster_id));
        batch.put(MEMBER_ID_KEY.to_vec(), number_value(member_id));
        store.write(batch)?;
    }
    Ok((cluster_id, member_id))
}

/// Seconds in the upper half keep ids of different clusters apart, chance in the lower half those
/// of the same second. Never 0, whatever the clock says.
fn new_cluster_id(seconds: u64, runtime: &Runtime) -> u64 {
    let id = (seconds << 32) | (runtime.rng.u64() >> 32);
    id.max(1)
}

fn build_grpc(
    config: &PdConfig,
    service: &Service,
    env: Arc<Environment>,
) -> Result<grpcio::Server> {
    let quota = ResourceQuota::new(Some("pd")).resize_memory(config.grpc_memory_quota);
    // The constant is far below the range of i32.
    let message_bytes_max = i32::try_from(MESSAGE_BYTES_MAX).unwrap_or(i32::MAX);
    let args = ChannelBuilder::new(Arc::clone(&env))
        .max_concurrent_stream(config.grpc_concurrent_streams)
        .max_receive_message_len(message_bytes_max)
        .max_send_message_len(-1)
        .set_resource_quota(quota)
        // Clients ping every 10 s, also when no call is open.
        .http2_min_recv_ping_interval_without_data(Duration::from_secs(5))
        .http2_max_ping_strikes(0)
        .keepalive_permit_without_calls(true)
        .keepalive_time(Duration::from_secs(10))
        .keepalive_timeout(Duration::from_secs(3))
        .build_args();
    let builder = ServerBuilder::new(env)
        .channel_args(args)
        .register_service(pdpb::create_pd(service.clone()))
        .register_service(keyspacepb::create_keyspace(service.clone()))
        .register_service(resource_manager::create_resource_manager(service.clone()))
        .register_service(etcdserverpb::create_kv(service.clone()))
        .register_service(etcdserverpb::create_lease(service.clone()))
        .register_service(etcdserverpb::create_watch(service.clone()))
        .register_service(etcdserverpb::create_cluster(service.clone()))
        .register_service(etcdserverpb::create_maintenance(service.clone()))
        .register_service(meta_storagepb::create_meta_storage(service.clone()))
        .register_service(healthpb::create_health(service.clone()));
    // Who may connect was decided at the port.
    builder.build().map_err(|error| Error::Listen {
        address: config.client_urls.join(", "),
        detail: error.to_string(),
    })
}

/// Takes every address of the settings; the answer has the ports that were picked for port 0.
fn listen(config: &PdConfig) -> Result<(Vec<TcpListener>, Vec<HostPort>)> {
    let (mut listeners, mut bound) = (Vec::new(), Vec::new());
    for url in &config.client_urls {
        let (host, port) = split_url(url).map_err(Error::Config)?;
        let (listener, address) = front::listen(&format!("{host}:{port}"))?;
        listeners.push(listener);
        bound.push((host.to_owned(), address.port()));
    }
    Ok((listeners, bound))
}

/// The URLs that clients are told.
fn advertised(config: &PdConfig, bound: &[HostPort]) -> Vec<String> {
    let scheme = config.security.scheme();
    if config.advertise_client_urls.is_empty() {
        return bound
            .iter()
            .map(|(host, port)| match host.as_str() {
                // Nobody can dial a wildcard.
                "0.0.0.0" => format!("{scheme}://127.0.0.1:{port}"),
                "[::]" => format!("{scheme}://[::1]:{port}"),
                _ => format!("{scheme}://{host}:{port}"),
            })
            .collect();
    }
    let urls = config.advertise_client_urls.iter().enumerate();
    urls.filter_map(|(position, url)| {
        let (host, port) = split_url(url).ok()?;
        let port = match bound.get(position).or(bound.first()) {
            Some((_, picked)) if port == 0 => *picked,
            _ => port,
        };
        Some(format!("{scheme}://{host}:{port}"))
    })
    .collect()
}
