//! Every unary call: what it answers, and how it refuses.

use std::sync::Arc;

use grpcio::{ChannelBuilder, RpcStatusCode};
use kvproto::pdpb::ErrorType;
use kvproto::{healthpb, keyspacepb, metapb, pdpb};
use pd::{PdConfig, Server};

use crate::world::{World, region, store};

/// Fills in the header and makes the call.
macro_rules! call {
    ($world:expr, $request:ident) => {{
        $request.set_header($world.header());
        $request.clone()
    }};
}

/// The error of a response's header.
macro_rules! refused {
    ($response:expr) => {{
        let response = $response.unwrap();
        let header = response.get_header();
        assert!(header.has_error(), "{response:?}");
        let error = header.get_error();
        (error.get_field_type(), error.get_message().to_owned())
    }};
}

fn status<T: std::fmt::Debug>(result: grpcio::Result<T>) -> (RpcStatusCode, String) {
    match result {
        Err(grpcio::Error::RpcFailure(status)) => (status.code(), status.message().to_owned()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_are_told_to_everybody() {
    let world = World::new();
    for cluster_id in [0, world.cluster_id, 999] {
        let mut request = pdpb::GetMembersRequest::default();
        request.mut_header().set_cluster_id(cluster_id);
        let response = granted!(world, world.pd.get_members(&request));
        let [member] = response.get_members() else {
            panic!("{response:?}");
        };
        assert_ne!(member.get_member_id(), 0);
        assert_eq!(
            member.get_client_urls(),
            [format!("http://{}", world.address)]
        );
        assert_eq!(response.get_leader(), member);
        assert_eq!(response.get_etcd_leader(), member);
        // Clients compare whole answers to see whether anything changed.
        assert_eq!(world.pd.get_members(&request).unwrap(), response);
    }
    let info = world
        .pd
        .get_cluster_info(&pdpb::GetClusterInfoRequest::default());
    let info = granted!(world, info);
    assert_eq!(info.get_serviceModes(), [pdpb::ServiceMode::PD_SVC_MODE]);
}

/// Calls every cluster-bound unary call with a request made by `$make` and hands each outcome,
/// the header of the response, to `$check`.
macro_rules! for_every_call {
    ($pd:expr, $header:expr, $check:expr, $($method:ident($request:ident)),* $(,)?) => {
        $({
            let mut request = pdpb::$request::default();
            request.set_header($header);
            let outcome = $pd.$method(&request).map(|response| response.get_header().clone());
            $check(stringify!($method), outcome);
        })*
    };
}

/// The calls that need a first region.
macro_rules! bound_to_region {
    ($pd:expr, $header:expr, $check:expr) => {
        for_every_call!(
            $pd,
            $header,
            $check,
            get_store(GetStoreRequest),
            put_store(PutStoreRequest),
            get_all_stores(GetAllStoresRequest),
            get_region(GetRegionRequest),
            get_prev_region(GetRegionRequest),
            get_region_by_id(GetRegionByIDRequest),
            scan_regions(ScanRegionsRequest),
            ask_batch_split(AskBatchSplitRequest),
            report_batch_split(ReportBatchSplitRequest),
            get_gc_safe_point(GetGCSafePointRequest),
            update_gc_safe_point(UpdateGCSafePointRequest),
            update_service_gc_safe_point(UpdateServiceGCSafePointRequest),
            report_min_resolved_ts(ReportMinResolvedTsRequest),
            batch_scan_regions(BatchScanRegionsRequest),
            scatter_region(ScatterRegionRequest),
            get_operator(GetOperatorRequest),
            ask_split(AskSplitRequest),
            report_split(ReportSplitRequest),
            get_cluster_config(GetClusterConfigRequest),
            put_cluster_config(PutClusterConfigRequest),
            set_external_timestamp(SetExternalTimestampRequest),
            get_external_timestamp(GetExternalTimestampRequest),
            get_gc_state(GetGCStateRequest),
            get_all_keyspaces_gc_states(GetAllKeyspacesGCStatesRequest),
            advance_txn_safe_point(AdvanceTxnSafePointRequest),
            advance_gc_safe_point(AdvanceGCSafePointRequest),
            set_gc_barrier(SetGCBarrierRequest),
            delete_gc_barrier(DeleteGCBarrierRequest),
            set_global_gc_barrier(SetGlobalGCBarrierRequest),
            delete_global_gc_barrier(DeleteGlobalGCBarrierRequest),
            get_gc_safe_point_v2(GetGCSafePointV2Request),
            update_gc_safe_point_v2(UpdateGCSafePointV2Request),
            update_service_safe_point_v2(UpdateServiceSafePointV2Request),
            get_all_gc_safe_point_v2(GetAllGCSafePointV2Request),
        );
    };
}

#[test]
fn a_wrong_cluster_id_fails_every_call() {
    let world = World::bootstrapped();
    for got in [0, 5, u64::MAX] {
        let mut header = pdpb::RequestHeader::default();
        header.set_cluster_id(got);
        let expected = format!(
            "mismatch cluster id, need {} but got {got}",
            world.cluster_id
        );
        let check = |method: &str, outcome: grpcio::Result<pdpb::ResponseHeader>| {
            let (code, text) = status(outcome);
            assert_eq!(code, RpcStatusCode::FAILED_PRECONDITION, "{method}");
            assert_eq!(text, expected, "{method}");
        };
        bound_to_region!(world.pd, header.clone(), check);
        for_every_call!(
            world.pd,
            header.clone(),
            check,
            bootstrap(BootstrapRequest),
            is_bootstrapped(IsBootstrappedRequest),
            alloc_id(AllocIDRequest),
            is_snapshot_recovering(IsSnapshotRecoveringRequest),
            store_heartbeat(StoreHeartbeatRequest),
            get_min_ts(GetMinTSRequest),
            sync_max_ts(SyncMaxTSRequest),
            get_dc_location_info(GetDCLocationInfoRequest),
        );
    }
}

#[test]
fn before_the_bootstrap_calls_say_so() {
    let world = World::new();
    let check = |method: &str, outcome: grpcio::Result<pdpb::ResponseHeader>| {
        let header = outcome.unwrap();
        let error = header.get_error();
        assert_eq!(
            error.get_field_type(),
            ErrorType::NOT_BOOTSTRAPPED,
            "{method}"
        );
        assert_eq!(
            error.get_message(),
            "cluster is not bootstrapped",
            "{method}"
        );
        assert_eq!(header.get_cluster_id(), world.cluster_id, "{method}");
    };
    bound_to_region!(world.pd, world.header(), check);
    let mut request = pdpb::StoreHeartbeatRequest::default();
    request.mut_stats().set_store_id(1);
    let response = world.pd.store_heartbeat(&call!(world, request));
    assert_eq!(refused!(response).0, ErrorType::NOT_BOOTSTRAPPED);
}

#[test]
fn bootstrap_once_with_a_store_and_a_region() {
    let mut world = World::new();
    let mut asked = pdpb::IsBootstrappedRequest::default();
    let asked = call!(world, asked);
    assert!(!granted!(world, world.pd.is_bootstrapped(&asked)).get_bootstrapped());
    let mut bare = pdpb::BootstrapRequest::default();
    let (kind, text) = refused!(world.pd.bootstrap(&call!(world, bare)));
    assert_eq!(
        (kind, text.contains("are needed")),
        (ErrorType::UNKNOWN, true),
        "{text}"
    );
    let mut request = world.bootstrap_request();
    request.mut_region().mut_peers()[0].set_store_id(4);
    assert_eq!(refused!(world.pd.bootstrap(&request)).0, ErrorType::UNKNOWN);
    assert!(!granted!(world, world.pd.is_bootstrapped(&asked)).get_bootstrapped());

    let request = world.bootstrap_request();
    let response = granted!(world, world.pd.bootstrap(&request));
    assert!(response.has_replication_status());
    assert!(granted!(world, world.pd.is_bootstrapped(&asked)).get_bootstrapped());
    let again = refused!(world.pd.bootstrap(&request));
    assert_eq!(again.0, ErrorType::ALREADY_BOOTSTRAPPED);
    world.restart();
    let again = refused!(world.pd.bootstrap(&request));
    assert_eq!(again.0, ErrorType::ALREADY_BOOTSTRAPPED);
}

#[test]
fn ids_grow_over_restarts() {
    let mut world = World::new();
    let mut highest = 0;
    for round in 0..6 {
        for count in [0, 1, 5, 1500] {
            let mut request = pdpb::AllocIDRequest::default();
            request.set_count(count);
            let response = granted!(world, world.pd.alloc_id(&call!(world, request)));
            assert_eq!(response.get_count(), count.max(1));
            assert!(response.get_id() - u64::from(count.max(1)) >= highest);
            highest = response.get_id();
        }
        if round % 2 == 1 {
            world.restart();
        }
    }
}

#[test]
fn snapshot_recovery_does_not_go_on() {
    let world = World::new();
    let mut request = pdpb::IsSnapshotRecoveringRequest::default();
    let response = world.pd.is_snapshot_recovering(&call!(world, request));
    assert!(!granted!(world, response).get_marked());
}

#[test]
fn stores_register_report_and_are_told() {
    let mut world = World::bootstrapped();
    let mut put = pdpb::PutStoreRequest::default();
    put.set_store(store(7));
    let response = granted!(world, world.pd.put_store(&call!(world, put)));
    assert!(response.has_replication_status());

    let mut heartbeat = pdpb::StoreHeartbeatRequest::default();
    let (code, text) = status(world.pd.store_heartbeat(&call!(world, heartbeat)));
    assert_eq!(
        (code, text.contains("stats")),
        (RpcStatusCode::INVALID_ARGUMENT, true)
    );
    heartbeat.mut_stats().set_store_id(7);
    heartbeat.mut_stats().set_capacity(1 << 30);
    let response = granted!(world, world.pd.store_heartbeat(&heartbeat));
    assert_eq!(response.get_cluster_version(), "8.5.5");
    assert_eq!(response.get_state(), metapb::NodeState::Serving);
    assert!(response.has_replication_status());
    heartbeat.mut_stats().set_store_id(8);
    let refused_stranger = refused!(world.pd.store_heartbeat(&heartbeat));
    assert_eq!(
        refused_stranger,
        (ErrorType::UNKNOWN, "store 8 not found".to_owned())
    );

    let mut get = pdpb::GetStoreRequest::default();
    get.set_store_id(7);
    let response = granted!(world, world.pd.get_store(&call!(world, get)));
    assert_eq!(response.get_store().get_address(), store(7).get_address());
    assert!(response.get_store().get_last_heartbeat() > 0);
    assert_eq!(response.get_stats().get_capacity(), 1 << 30);
    get.set_store_id(70);
    let (kind, text) = refused!(world.pd.get_store(&get));
    assert_eq!(kind, ErrorType::UNKNOWN);
    assert_eq!(text, "invalid store ID 70, not found");

    world.restart();
    let mut all = pdpb::GetAllStoresRequest::default();
    all.set_exclude_tombstone_stores(true);
    let response = granted!(world, world.pd.get_all_stores(&call!(world, all)));
    let ids: Vec<u64> = response
        .get_stores()
        .iter()
        .map(metapb::Store::get_id)
        .collect();
    assert_eq!(ids, [1, 7]);

    let mut old = store(9);
    old.set_version("7.5.0".to_owned());
    put.set_store(old);
    let (kind, text) = refused!(world.pd.put_store(&put));
    assert_eq!(
        (kind, text.contains("version should compatible")),
        (ErrorType::UNKNOWN, true)
    );
    put.clear_store();
    assert_eq!(refused!(world.pd.put_store(&put)).0, ErrorType::UNKNOWN);
}

#[test]
fn regions_are_found_by_key_id_and_range() {
    let world = World::bootstrapped();
    let mut by_key = pdpb::GetRegionRequest::default();
    by_key.set_region_key(b"anything".to_vec());
    let response = granted!(world, world.pd.get_region(&call!(world, by_key)));
    assert_eq!(response.get_region(), &region(2, "", "", 1));
    assert_eq!(response.get_leader().get_id(), 20);
    let previous = granted!(world, world.pd.get_prev_region(&by_key));
    assert!(!previous.has_region() && !previous.has_leader());
    let mut by_id = pdpb::GetRegionByIDRequest::default();
    by_id.set_region_id(2);
    let response = granted!(world, world.pd.get_region_by_id(&call!(world, by_id)));
    assert!(response.has_region());
    for unknown in [0, 3, u64::MAX] {
        by_id.set_region_id(unknown);
        assert!(!granted!(world, world.pd.get_region_by_id(&by_id)).has_region());
    }
    let mut scan = pdpb::ScanRegionsRequest::default();
    for limit in [-1, 0, 1, i32::MAX] {
        scan.set_limit(limit);
        let response = granted!(world, world.pd.scan_regions(&call!(world, scan)));
        assert_eq!(response.get_regions().len(), 1);
        assert_eq!(response.get_region_metas().len(), 1);
        assert_eq!(response.get_leaders()[0].get_id(), 20);
    }
    scan.set_start_key(b"z".to_vec());
    scan.set_end_key(b"a".to_vec());
    assert_eq!(
        granted!(world, world.pd.scan_regions(&scan))
            .get_regions()
            .len(),
        0
    );
}

#[test]
fn splits_are_prepared_and_reported() {
    let world = World::bootstrapped();
    let mut ask = pdpb::AskBatchSplitRequest::default();
    ask.set_split_count(3);
    let (kind, text) = refused!(world.pd.ask_batch_split(&call!(world, ask)));
    assert_eq!(kind, ErrorType::REGION_NOT_FOUND);
    assert_eq!(text, "missing region for split");
    ask.set_region(region(2, "", "", 1));
    let response = granted!(world, world.pd.ask_batch_split(&ask));
    assert_eq!(response.get_ids().len(), 3);
    assert!(
        response
            .get_ids()
            .iter()
            .all(|id| id.get_new_peer_ids().len() == 1)
    );
    for count in [0, u32::MAX] {
        ask.set_split_count(count);
        assert_eq!(
            refused!(world.pd.ask_batch_split(&ask)).0,
            ErrorType::UNKNOWN
        );
    }
    let mut report = pdpb::ReportBatchSplitRequest::default();
    report.set_regions(vec![region(9, "", "m", 2), region(2, "m", "", 2)].into());
    granted!(world, world.pd.report_batch_split(&call!(world, report)));
    report.mut_regions().swap(0, 1);
    assert_eq!(
        refused!(world.pd.report_batch_split(&report)).0,
        ErrorType::UNKNOWN
    );
}

#[test]
fn safe_points_move_forward_and_survive() {
    let mut world = World::bootstrapped();
    let mut update = pdpb::UpdateGCSafePointRequest::default();
    for (target, reached) in [(100, 100), (7, 100), (0, 100), (200, 200)] {
        update.set_safe_point(target);
        let response = world.pd.update_gc_safe_point(&call!(world, update));
        assert_eq!(granted!(world, response).get_new_safe_point(), reached);
    }
    update.set_safe_point(u64::MAX);
    let (kind, text) = refused!(world.pd.update_gc_safe_point(&update));
    assert_eq!(
        (kind, text.contains("newest timestamp")),
        (ErrorType::UNKNOWN, true),
        "{text}"
    );

    let mut barrier = pdpb::UpdateServiceGCSafePointRequest::default();
    barrier.set_service_id(b"ticdc".to_vec());
    barrier.set_TTL(3600);
    barrier.set_safe_point(300);
    let response = world
        .pd
        .update_service_gc_safe_point(&call!(world, barrier));
    let response = granted!(world, response);
    assert_eq!(response.get_service_id(), b"gc_worker");
    assert_eq!(response.get_min_safe_point(), 200);
    barrier.set_service_id(vec![0xff]);
    let refused = refused!(world.pd.update_service_gc_safe_point(&barrier));
    assert_eq!(refused.0, ErrorType::UNKNOWN);

    world.restart();
    let mut get = pdpb::GetGCSafePointRequest::default();
    let response = granted!(world, world.pd.get_gc_safe_point(&call!(world, get)));
    assert_eq!(response.get_safe_point(), 200);
    update.set_safe_point(400);
    let response = granted!(world, world.pd.update_gc_safe_point(&update));
    assert_eq!(response.get_new_safe_point(), 300);
    let mut resolved = pdpb::ReportMinResolvedTsRequest::default();
    resolved.set_store_id(1);
    granted!(
        world,
        world.pd.report_min_resolved_ts(&call!(world, resolved))
    );
}

#[test]
fn the_default_keyspace_exists() {
    let mut world = World::bootstrapped();
    world.restart();
    let channel = ChannelBuilder::new(Arc::clone(&world.env)).connect(&world.address);
    let client = keyspacepb::KeyspaceClient::new(channel);
    let mut load = keyspacepb::LoadKeyspaceRequest::default();
    load.set_name("DEFAULT".to_owned());
    let response = granted!(world, client.load_keyspace(&call!(world, load)));
    let keyspace = response.get_keyspace().clone();
    assert!(keyspace.has_id() && keyspace.get_id() == 0);
    assert_eq!(keyspace.get_state(), keyspacepb::KeyspaceState::ENABLED);
    load.set_name("other".to_owned());
    assert_eq!(
        refused!(client.load_keyspace(&load)).0,
        ErrorType::ENTRY_NOT_FOUND
    );
    let mut by_id = keyspacepb::LoadKeyspaceByIDRequest::default();
    by_id.set_id(0);
    let response = granted!(world, client.load_keyspace_by_id(&call!(world, by_id)));
    assert_eq!(response.get_keyspace(), &keyspace);
    by_id.set_id(1);
    assert_eq!(
        refused!(client.load_keyspace_by_id(&by_id)).0,
        ErrorType::ENTRY_NOT_FOUND
    );
    let mut look = keyspacepb::LookupKeyspaceRequest::default();
    look.set_name("DEFAULT".to_owned());
    let response = granted!(world, client.lookup_keyspace(&call!(world, look)));
    assert_eq!(response.get_keyspaces(), std::slice::from_ref(&keyspace));
    let mut all = keyspacepb::GetAllKeyspacesRequest::default();
    let response = granted!(world, client.get_all_keyspaces(&call!(world, all)));
    assert_eq!(response.get_keyspaces(), [keyspace]);
    let wrong = status(client.load_keyspace(&keyspacepb::LoadKeyspaceRequest::default()));
    assert_eq!(wrong.0, RpcStatusCode::FAILED_PRECONDITION);
}

#[test]
fn health_is_told_for_the_whole_server() {
    let world = World::new();
    let channel = ChannelBuilder::new(Arc::clone(&world.env)).connect(&world.address);
    let client = healthpb::HealthClient::new(channel);
    let mut request = healthpb::HealthCheckRequest::default();
    let response = client.check(&request).unwrap();
    let serving = healthpb::HealthCheckResponse_ServingStatus::SERVING;
    assert_eq!(response.get_status(), serving);
    request.set_service("nonsense".to_owned());
    assert_eq!(status(client.check(&request)).0, RpcStatusCode::NOT_FOUND);
}

#[test]
fn a_taken_port_and_bad_settings_are_refused_in_words() {
    let world = World::new();
    let config = |url: &str| PdConfig {
        client_urls: vec![url.to_owned()],
        ..PdConfig::default()
    };
    let engine = engine_mem::MemEngine::new();
    let taken = Server::start(config(&world.address), engine.clone(), &world.runtime);
    let text = taken.err().unwrap().to_string();
    assert!(
        text.contains("in use") && text.contains(&world.address),
        "{text}"
    );
    let wrong = Server::start(config("https://a:1"), engine, &world.runtime);
    let text = wrong.err().unwrap().to_string();
    assert!(
        text.contains("client-urls") && text.contains("https"),
        "{text}"
    );
}

#[test]
fn a_wildcard_is_not_advertised() {
    let world = World::new();
    let config = PdConfig {
        client_urls: vec!["0.0.0.0:0".to_owned(), "127.0.0.1:0".to_owned()],
        ..PdConfig::default()
    };
    let engine = engine_mem::MemEngine::new();
    let server = Server::start(config.clone(), engine.clone(), &world.runtime).unwrap();
    let urls = server.client_urls();
    assert_eq!(urls.len(), 2);
    for url in urls {
        assert!(
            url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"),
            "{url}"
        );
    }
    drop(server);
    let config = PdConfig {
        advertise_client_urls: vec!["http://pd.example:0".to_owned()],
        ..config
    };
    let server = Server::start(config, engine, &world.runtime).unwrap();
    let [url] = &server.client_urls()[..] else {
        panic!("one url");
    };
    assert!(
        url.starts_with("http://pd.example:") && !url.ends_with(":0"),
        "{url}"
    );
}
