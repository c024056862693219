//! A running placement driver for tests, and the words they speak to it.

use std::sync::Arc;

use engine_mem::MemEngine;
use grpcio::{ChannelBuilder, EnvBuilder, Environment};
use kvproto::{metapb, pdpb};
use pd::{PdConfig, Server};
use runtime::Runtime;

/// A server with its engine, and a client that speaks the bare protocol.
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) env: Arc<Environment>,
    pub(crate) engine: MemEngine,
    pub(crate) server: Option<Server>,
    pub(crate) address: String,
    pub(crate) pd: pdpb::PdClient,
    pub(crate) cluster_id: u64,
}

impl World {
    pub(crate) fn new() -> World {
        let runtime = Runtime::system("pd-test", 2).unwrap();
        let env = Arc::new(EnvBuilder::new().cq_count(1).name_prefix("client").build());
        let engine = MemEngine::new();
        let server = start(&engine, &runtime, "127.0.0.1:0");
        let address = address_of(&server);
        let channel = ChannelBuilder::new(Arc::clone(&env)).connect(&address);
        World {
            cluster_id: server.cluster_id(),
            pd: pdpb::PdClient::new(channel),
            runtime,
            env,
            engine,
            server: Some(server),
            address,
        }
    }

    /// A cluster with the first store and region.
    pub(crate) fn bootstrapped() -> World {
        let world = World::new();
        let response = world.pd.bootstrap(&world.bootstrap_request()).unwrap();
        assert!(!response.get_header().has_error(), "{response:?}");
        world
    }

    /// Stops the server, loses what was not synced, and starts another on the same port.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.engine = self.engine.crash();
        let server = start(&self.engine, &self.runtime, &self.address);
        assert_eq!(server.cluster_id(), self.cluster_id);
        self.server = Some(server);
        let channel = ChannelBuilder::new(Arc::clone(&self.env))
            .use_local_subchannel_pool(true)
            .connect(&self.address);
        self.pd = pdpb::PdClient::new(channel);
    }

    pub(crate) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown();
        }
    }

    pub(crate) fn header(&self) -> pdpb::RequestHeader {
        let mut header = pdpb::RequestHeader::default();
        header.set_cluster_id(self.cluster_id);
        header
    }

    pub(crate) fn bootstrap_request(&self) -> pdpb::BootstrapRequest {
        let mut request = pdpb::BootstrapRequest::default();
        request.set_header(self.header());
        request.set_store(store(1));
        request.set_region(region(2, "", "", 1));
        request
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
        self.runtime.shutdown();
    }
}

pub(crate) fn start(engine: &MemEngine, runtime: &Runtime, address: &str) -> Server {
    let config = PdConfig {
        name: "pd-test".to_owned(),
        client_urls: vec![format!("http://{address}")],
        ..PdConfig::default()
    };
    Server::start(config, engine.clone(), runtime).unwrap()
}

fn address_of(server: &Server) -> String {
    let urls = server.client_urls();
    urls[0].strip_prefix("http://").unwrap().to_owned()
}

pub(crate) fn store(id: u64) -> metapb::Store {
    let mut store = metapb::Store::default();
    store.set_id(id);
    store.set_address(format!("127.0.0.1:{}", 20_000 + id));
    store.set_version("8.5.5".to_owned());
    store
}

/// A region on store 1, with conf version 1 and its id times ten as peer.
pub(crate) fn region(id: u64, start: &str, end: &str, version: u64) -> metapb::Region {
    let mut region = metapb::Region::default();
    region.set_id(id);
    region.set_start_key(start.as_bytes().to_vec());
    region.set_end_key(end.as_bytes().to_vec());
    region.mut_region_epoch().set_conf_ver(1);
    region.mut_region_epoch().set_version(version);
    let mut peer = metapb::Peer::default();
    peer.set_id(id * 10);
    peer.set_store_id(1);
    region.mut_peers().push(peer);
    region
}

pub(crate) fn heartbeat(region: metapb::Region, term: u64) -> pdpb::RegionHeartbeatRequest {
    let mut heartbeat = pdpb::RegionHeartbeatRequest::default();
    heartbeat.set_leader(region.get_peers()[0].clone());
    heartbeat.set_region(region);
    heartbeat.set_term(term);
    heartbeat
}
