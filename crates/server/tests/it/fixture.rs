//! Nodes on engines in memory, clients, and a plain HTTP request.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine_mem::MemEngine;
use grpcio::{ChannelBuilder, Environment};
use kvproto::kvrpcpb::{Context, RawGetRequest, RawPutRequest};
use kvproto::tikvpb::TikvClient;
use online_config::ReadableDuration;
use server::config::Config;
use server::{Engines, Node, NodeBuilder, Result};

/// Engines in memory that outlive a node, as disks do.
#[derive(Clone)]
pub(crate) struct MemEngines {
    kv: Arc<Mutex<MemEngine>>,
    pd: MemEngine,
}

impl MemEngines {
    pub(crate) fn new() -> MemEngines {
        MemEngines {
            kv: Arc::new(Mutex::new(MemEngine::new())),
            pd: MemEngine::new(),
        }
    }
}

impl Engines for MemEngines {
    type Kv = MemEngine;
    type Pd = MemEngine;

    fn open_kv(&self, _: &Path, _: &Config) -> Result<MemEngine> {
        // What the last node did not sync, and what it had the engine do, is over with it.
        let mut kv = self.kv.lock().unwrap();
        *kv = kv.crash();
        Ok(kv.clone())
    }

    fn open_pd(&self, _: &Path, _: &Config) -> Result<MemEngine> {
        Ok(self.pd.clone())
    }
}

/// All ports are chosen by the system.
pub(crate) fn config(data_dir: &Path) -> Config {
    let mut config = Config::default();
    config.storage.data_dir = data_dir.to_owned();
    config.server.addr = "127.0.0.1:0".to_owned();
    config.server.status_addr = "127.0.0.1:0".to_owned();
    config.server.grpc_concurrency = 1;
    config.server.graceful_shutdown_timeout = ReadableDuration(Duration::from_secs(2));
    config.pd.embedded.addr = "127.0.0.1:0".to_owned();
    config
}

pub(crate) fn start(data_dir: &Path, engines: &MemEngines) -> Node {
    NodeBuilder::new(config(data_dir))
        .start_on(engines.clone())
        .unwrap()
}

pub(crate) fn stop(node: Node) {
    futures::executor::block_on(node.shutdown());
}

pub(crate) fn client(node: &Node) -> TikvClient {
    let env = Arc::new(Environment::new(1));
    TikvClient::new(ChannelBuilder::new(env).connect(&node.addrs().advertised))
}

pub(crate) fn context(node: &Node) -> Context {
    let identity = node.identity();
    let mut context = Context::default();
    context.set_region_id(identity.region.get_id());
    context.set_region_epoch(identity.region.get_region_epoch().clone());
    context.set_peer(identity.peer.clone());
    context.set_cluster_id(identity.cluster_id);
    context
}

pub(crate) fn put(node: &Node, key: &[u8], value: &[u8]) {
    let mut request = RawPutRequest::default();
    request.set_context(context(node));
    request.set_key(key.to_vec());
    request.set_value(value.to_vec());
    let response = client(node).raw_put(&request).unwrap();
    assert!(
        response.get_error().is_empty() && !response.has_region_error(),
        "{response:?}"
    );
}

pub(crate) fn get(node: &Node, key: &[u8]) -> Option<Vec<u8>> {
    let mut request = RawGetRequest::default();
    request.set_context(context(node));
    request.set_key(key.to_vec());
    let mut response = client(node).raw_get(&request).unwrap();
    assert!(
        response.get_error().is_empty() && !response.has_region_error(),
        "{response:?}"
    );
    (!response.get_not_found()).then(|| response.take_value())
}

/// Status line and body of a GET.
pub(crate) fn http_get(addr: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}
