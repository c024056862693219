//! A store in memory with a gRPC server, and a client that is connected to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api_version::{ApiV1, KvFormat};
use concurrency_manager::ConcurrencyManager;
use engine_mem::MemEngine;
use futures::FutureExt as _;
use grpcio::{
    CallOption, Channel, ChannelBuilder, Client, ClientDuplexReceiver, ClientDuplexSender,
    Environment, Method, MethodType, ServerBuilder, ServerCredentials,
};
use kv::{Engine as _, LocalEngine, LocalRegion};
use kvproto::kvrpcpb::{Context, Mutation, Op, PrewriteRequest};
use kvproto::tikvpb::{TikvClient, create_tikv};
use lock_manager::NoDetector;
use runtime::Runtime;
use service::{HealthService, InFlight, Service, ServiceIdentity};
use storage::{CausalTs, Storage, TsoSource};
use test_support::bytes_rpc;
use txn_types::TimeStamp;

pub(crate) const CLUSTER: u64 = 7;
pub(crate) const STORE: u64 = 1;
pub(crate) const REGION: u64 = 2;

pub(crate) struct Fixture {
    pub(crate) client: TikvClient,
    pub(crate) channel: Channel,
    pub(crate) health: HealthService,
    pub(crate) region: LocalRegion,
    pub(crate) in_flight: InFlight,
    engine: LocalEngine<MemEngine>,
    server: grpcio::Server,
    runtime: Runtime,
    pools: [yatp::Pool; 2],
}

/// A timestamp oracle that counts.
fn oracle() -> TsoSource {
    let last = AtomicU64::new(0);
    Arc::new(move |count| {
        let count = u64::from(count);
        let last = last.fetch_add(count, Ordering::SeqCst) + count;
        futures::future::ready(Ok(TimeStamp::from(last))).boxed()
    })
}

fn region() -> LocalRegion {
    LocalRegion::all_keys(REGION, STORE, 3)
}

impl Fixture {
    /// A store of V1.
    pub(crate) fn new() -> Fixture {
        Fixture::in_format::<ApiV1>()
    }

    /// A store of any format.
    pub(crate) fn in_format<F: KvFormat>() -> Fixture {
        let runtime = Runtime::system("service-test", 1).unwrap();
        let region = region();
        let engine = LocalEngine::new(
            MemEngine::new(),
            region.clone(),
            &runtime,
            kv::Config::default(),
            Arc::new(|reason| panic!("{reason}")),
        );
        let pool = |name| yatp::Builder::new(name).threads(1).build(&runtime).unwrap();
        let pools = [pool("read"), pool("sched")];
        let storage = Storage::<_, _, F>::new(
            engine.clone(),
            NoDetector,
            ConcurrencyManager::new(TimeStamp::from(1)),
            &runtime,
            pools[0].clone(),
            pools[1].clone(),
            &storage::Config::default(),
        )
        .with_causal_ts(CausalTs::new(oracle(), &runtime));
        let identity = ServiceIdentity {
            cluster_id: CLUSTER,
            store_id: STORE,
        };
        let service = Service::new(storage, identity, runtime.clock.clone());
        let in_flight = service.in_flight();
        let health = HealthService::new();
        let env = Arc::new(Environment::new(1));
        // As the server's: larger than the largest write.
        let args = ChannelBuilder::new(env.clone())
            .max_receive_message_len(16 << 20)
            .build_args();
        let mut server = ServerBuilder::new(env.clone())
            .channel_args(args)
            .register_service(create_tikv(service))
            .register_service(kvproto::healthpb::create_health(health.clone()))
            .build()
            .unwrap();
        let port = server
            .add_listening_port("127.0.0.1:0", ServerCredentials::insecure())
            .unwrap();
        server.start();
        let channel = ChannelBuilder::new(env).connect(&format!("127.0.0.1:{port}"));
        let client = TikvClient::new(channel.clone());
        Fixture {
            client,
            channel,
            health,
            region,
            in_flight,
            engine,
            server,
            runtime,
            pools,
        }
    }

    /// Requests that ended in a panic.
    pub(crate) fn panics(&self) -> u64 {
        self.pools.iter().map(yatp::Pool::panics).sum()
    }

    pub(crate) fn context(&self) -> Context {
        self.region.context()
    }

    /// Ends the flashback that somebody has prepared.
    pub(crate) fn leave_flashback(&self) {
        let start_ts = self.engine.region_now().get_flashback_start_ts();
        let finish = self
            .engine
            .finish_flashback(self.context(), start_ts.into());
        futures::executor::block_on(finish).unwrap();
    }

    /// Locks `key` with a value, in a transaction of which it is the primary.
    pub(crate) fn prewrite(&self, key: &[u8], value: &[u8], start_ts: u64) {
        let response = self
            .client
            .kv_prewrite(&self.prewrite_request(key, value, start_ts))
            .unwrap();
        assert!(response.get_errors().is_empty(), "{response:?}");
        assert!(!response.has_region_error(), "{response:?}");
    }

    pub(crate) fn prewrite_request(
        &self,
        key: &[u8],
        value: &[u8],
        start_ts: u64,
    ) -> PrewriteRequest {
        let mut mutation = Mutation::default();
        mutation.set_op(Op::Put);
        mutation.set_key(key.to_vec());
        mutation.set_value(value.to_vec());
        let mut request = PrewriteRequest::default();
        request.set_context(self.context());
        request.mut_mutations().push(mutation);
        request.set_primary_lock(key.to_vec());
        request.set_start_version(start_ts);
        request.set_lock_ttl(3000);
        request
    }

    /// Writes `key` in a transaction of its own.
    pub(crate) fn put(&self, key: &[u8], value: &[u8], start_ts: u64, commit_ts: u64) {
        self.prewrite(key, value, start_ts);
        let mut request = kvproto::kvrpcpb::CommitRequest::default();
        request.set_context(self.context());
        request.set_start_version(start_ts);
        request.set_commit_version(commit_ts);
        request.mut_keys().push(key.to_vec());
        let response = self.client.kv_commit(&request).unwrap();
        assert!(
            !response.has_error() && !response.has_region_error(),
            "{response:?}"
        );
        assert_eq!(response.get_commit_version(), commit_ts);
    }

    /// Waits until no request is in progress.
    pub(crate) fn wait_for_none(&self) {
        let timer = &self.runtime.timer;
        let none = timer.timeout(Duration::from_secs(20), self.in_flight.none());
        assert!(
            futures::executor::block_on(none).is_ok(),
            "requests in progress"
        );
    }

    /// Calls a method by name with bytes as they are.
    pub(crate) fn call_bytes(&self, rpc: &str, request: &[u8]) -> grpcio::Result<Vec<u8>> {
        let client = Client::new(self.channel.clone());
        let method = method(MethodType::Unary, rpc);
        client.unary_call(&method, &request.to_vec(), CallOption::default())
    }

    /// Opens a stream by name, of bytes as they are.
    pub(crate) fn open_bytes(
        &self,
        rpc: &str,
    ) -> (ClientDuplexSender<Vec<u8>>, ClientDuplexReceiver<Vec<u8>>) {
        let client = Client::new(self.channel.clone());
        let method = method(MethodType::Duplex, rpc);
        client
            .duplex_streaming(&method, CallOption::default())
            .unwrap()
    }
}

fn method(ty: MethodType, rpc: &str) -> Method<Vec<u8>, Vec<u8>> {
    bytes_rpc::method(ty, &format!("/tikvpb.Tikv/{rpc}"))
}

impl Drop for Fixture {
    fn drop(&mut self) {
        futures::executor::block_on(self.server.shutdown()).unwrap();
        for pool in &self.pools {
            pool.shutdown();
        }
        self.runtime.shutdown();
    }
}
