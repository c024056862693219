//! Bootstrap against a real placement driver in this process, with the crashes that its steps allow.

use std::sync::Arc;

use engine_mem::MemEngine;
use engine_traits::Peekable as _;
use futures::executor::block_on;
use grpcio::Environment;
use pd_client::RpcClient;
use runtime::Runtime;
use security::Security;

use super::*;

struct Cluster {
    client: RpcClient,
    server: pd::Server,
    runtime: Runtime,
}

impl Cluster {
    fn new() -> Cluster {
        let runtime = Runtime::system("bootstrap-test", 1).unwrap();
        let config = pd::PdConfig {
            client_urls: vec!["127.0.0.1:0".to_owned()],
            ..pd::PdConfig::default()
        };
        let server = pd::Server::start(config, MemEngine::new(), &runtime).unwrap();
        let config = pd_client::Config::new(server.client_urls());
        let env = Arc::new(Environment::new(1));
        let client = block_on(RpcClient::connect(
            config,
            Security::disabled(),
            env,
            &runtime,
        ))
        .unwrap();
        Cluster {
            client,
            server,
            runtime,
        }
    }

    fn bootstrap(&self, engine: &MemEngine) -> Result<Identity> {
        self.bootstrap_as(engine, ApiVersion::V1)
    }

    fn bootstrap_as(&self, engine: &MemEngine, format: ApiVersion) -> Result<Identity> {
        let mut store = metapb::Store::default();
        store.set_address("127.0.0.1:20160".to_owned());
        store.set_version(crate::COMPATIBLE_VERSION.to_owned());
        block_on(bootstrap(engine, &self.client, store, format))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.client.close();
        self.server.shutdown();
        self.runtime.shutdown();
    }
}

fn write(engine: &MemEngine, change: impl FnOnce(&mut <MemEngine as KvEngine>::WriteBatch)) {
    let mut batch = engine.write_batch();
    change(&mut batch);
    engine.write(batch, &SYNCED).unwrap();
}

#[test]
fn the_first_store_bootstraps_and_comes_back_as_itself() {
    let cluster = Cluster::new();
    let engine = MemEngine::new();
    let identity = cluster.bootstrap(&engine).unwrap();
    assert_eq!(identity.cluster_id, cluster.client.cluster_id());
    assert_eq!(identity.peer.get_store_id(), identity.store_id);
    assert_eq!(identity.region.get_region_epoch().get_version(), 1);
    assert!(identity.region.get_start_key().is_empty() && identity.region.get_end_key().is_empty());
    let known = block_on(cluster.client.get_region(Vec::new()))
        .unwrap()
        .unwrap();
    assert_eq!(known.region, identity.region);
    let (store, _) = block_on(cluster.client.get_store(identity.store_id)).unwrap();
    assert_eq!(store.get_address(), "127.0.0.1:20160");

    let ident = read_ident(&engine).unwrap().unwrap();
    assert_eq!(ident.get_store_id(), identity.store_id);
    assert_eq!(
        engine
            .get(Cf::Default, keys::PREPARE_BOOTSTRAP_KEY)
            .unwrap(),
        None
    );
    let region_id = identity.region.get_id();
    let apply: raft_serverpb::RaftApplyState =
        read(&engine, Cf::Raft, &keys::apply_state_key(region_id))
            .unwrap()
            .unwrap();
    assert_eq!(
        (
            apply.get_applied_index(),
            apply.get_truncated_state().get_term()
        ),
        (5, 5)
    );

    // All of it survives a crash, and a second bootstrap changes nothing.
    let survived = engine.crash();
    assert_eq!(cluster.bootstrap(&survived).unwrap(), identity);
}

#[test]
fn a_crash_before_the_answer_is_known_is_recovered() {
    let cluster = Cluster::new();
    let engine = MemEngine::new();
    let identity = cluster.bootstrap(&engine).unwrap();
    // As if the answer of the placement driver had been lost: the mark is still there.
    let region = bytes(&identity.region).unwrap();
    write(&engine, |batch| {
        batch.put(Cf::Default, keys::PREPARE_BOOTSTRAP_KEY, &region)
    });
    assert_eq!(cluster.bootstrap(&engine).unwrap(), identity);
    assert_eq!(
        engine
            .get(Cf::Default, keys::PREPARE_BOOTSTRAP_KEY)
            .unwrap(),
        None
    );
}

#[test]
fn a_crash_after_the_identity_keeps_the_store_id() {
    let cluster = Cluster::new();
    let engine = MemEngine::new();
    identify(&engine, cluster.client.cluster_id(), 4711);
    assert_eq!(cluster.bootstrap(&engine).unwrap().store_id, 4711);
}

#[test]
fn a_store_that_lost_the_race_drops_its_region() {
    let cluster = Cluster::new();
    cluster.bootstrap(&MemEngine::new()).unwrap();
    let engine = MemEngine::new();
    identify(&engine, cluster.client.cluster_id(), 4711);
    let region = block_on(prepare_region(&engine, &cluster.client, 4711)).unwrap();
    let error = cluster.bootstrap(&engine).unwrap_err();
    assert!(
        matches!(error, Error::NoRegion { store_id: 4711, .. }),
        "{error}"
    );
    assert_eq!(
        engine
            .get(Cf::Default, keys::PREPARE_BOOTSTRAP_KEY)
            .unwrap(),
        None
    );
    let state = keys::region_state_key(region.get_id());
    assert_eq!(engine.get(Cf::Raft, &state).unwrap(), None);
}

#[test]
fn a_second_store_cannot_join() {
    let cluster = Cluster::new();
    cluster.bootstrap(&MemEngine::new()).unwrap();
    let error = cluster
        .bootstrap(&MemEngine::new())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("without replication a second store cannot join"),
        "{error}"
    );
}

#[test]
fn data_of_another_cluster_is_refused() {
    let cluster = Cluster::new();
    let engine = MemEngine::new();
    identify(&engine, 4711, 1);
    let error = cluster.bootstrap(&engine).unwrap_err();
    assert!(
        matches!(error, Error::ClusterIdMismatch { stored: 4711, .. }),
        "{error}"
    );
}

#[test]
fn data_without_an_identity_is_refused() {
    let cluster = Cluster::new();
    let engine = MemEngine::new();
    write(&engine, |batch| batch.put(Cf::Lock, b"zk", b"v"));
    let error = cluster.bootstrap(&engine).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { cf: "lock" }), "{error}");
}

#[test]
fn an_identity_that_cannot_be_read_is_refused() {
    let cluster = Cluster::new();
    let engine = MemEngine::new();
    write(&engine, |batch| {
        batch.put(Cf::Default, keys::STORE_IDENT_KEY, b"\xff")
    });
    let error = cluster.bootstrap(&engine).unwrap_err().to_string();
    assert!(error.contains("local state under key 0101"), "{error}");
}

fn identify(engine: &MemEngine, cluster_id: u64, store_id: u64) {
    let mut ident = raft_serverpb::StoreIdent::default();
    ident.set_cluster_id(cluster_id);
    ident.set_store_id(store_id);
    write_ident(engine, &ident).unwrap();
}

/// The format of a store in `from` with data under `key`, after `to` was asked for.
fn switched(from: ApiVersion, to: ApiVersion, cf: Cf, key: Option<&[u8]>) -> Result<ApiVersion> {
    let engine = MemEngine::new();
    let mut ident = raft_serverpb::StoreIdent::default();
    ident.set_store_id(1);
    ident.set_api_version(from.into());
    write_ident(&engine, &ident).unwrap();
    if let Some(key) = key {
        write(&engine, |batch| {
            batch.put(cf, &keys::data_key(key), b"v");
        });
    }
    adopt_format(&engine, ident.clone(), from).unwrap();
    let adopted = adopt_format(&engine, ident, to);
    let stored = read_ident(&engine).unwrap().unwrap();
    let format = stored.get_api_version().into();
    assert_eq!(stored.get_store_id(), 1);
    assert_eq!(format, if adopted.is_ok() { to } else { from });
    adopted.map(|()| format)
}

#[test]
fn a_store_keeps_its_format() {
    let cluster = Cluster::new();
    let engine = MemEngine::new();
    let identity = cluster.bootstrap_as(&engine, ApiVersion::V2).unwrap();
    let ident = read_ident(&engine).unwrap().unwrap();
    assert_eq!(ApiVersion::from(ident.get_api_version()), ApiVersion::V2);
    write(&engine, |batch| batch.put(Cf::Default, b"zr", b"v"));
    let again = cluster.bootstrap_as(&engine, ApiVersion::V2).unwrap();
    assert_eq!(again, identity);
    let error = cluster.bootstrap_as(&engine, ApiVersion::V1).unwrap_err();
    assert!(matches!(error, Error::FormatMismatch { .. }), "{error}");
}

#[test]
fn the_format_changes_only_where_nothing_depends_on_it() {
    use ApiVersion::{V1, V1ttl, V2};
    for (from, to) in [
        (V1, V2),
        (V2, V1),
        (V1, V1ttl),
        (V1ttl, V1),
        (V1ttl, V2),
        (V2, V1ttl),
    ] {
        assert_eq!(switched(from, to, Cf::Default, None).unwrap(), to);
        // TiDB's data is the same in V1 and V2; a store with time to live cannot have it.
        let tidb_moves = from != V1ttl && to != V1ttl;
        for key in [&b"m"[..], b"mKey", b"t", b"t\x80"] {
            let moves = switched(from, to, Cf::Write, Some(key)).is_ok();
            assert_eq!(moves, tidb_moves, "{key:?} from {from:?} to {to:?}");
        }
        for (cf, key) in [
            (Cf::Default, &b"a"[..]),
            (Cf::Lock, b"n"),
            (Cf::Write, b"r\0\0\0k"),
            (Cf::Default, b"u"),
            (Cf::Default, b"x\0\0\0k"),
            (Cf::Default, b"\xff"),
        ] {
            let error = switched(from, to, cf, Some(key)).unwrap_err();
            let Error::FormatMismatch {
                stored,
                configured,
                cf: named,
            } = &error
            else {
                panic!("{error}");
            };
            assert_eq!((*stored, *configured, *named), (from, to, cf.name()));
            let text = error.to_string();
            assert!(text.contains(&format!("{from:?}")) && text.contains(&format!("{to:?}")));
        }
    }
}
