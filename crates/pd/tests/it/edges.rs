//! The calls at the edges of a cluster: garbage collection, keyspaces, ranges of regions, scattering;
//! what they answer, and how they refuse.

use std::sync::Arc;

use futures::executor::block_on;
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{CallOption, ChannelBuilder, MetadataBuilder, RpcStatusCode, WriteFlags};
use kvproto::keyspacepb::KeyspaceState;
use kvproto::pdpb::ErrorType;
use kvproto::{keyspacepb, metapb, pdpb};
use test_case::test_case;

use crate::world::{World, region};

fn code<T: std::fmt::Debug>(result: grpcio::Result<T>) -> RpcStatusCode {
    match result {
        Err(grpcio::Error::RpcFailure(status)) => status.code(),
        other => panic!("{other:?}"),
    }
}

fn keyspaces(world: &World) -> keyspacepb::KeyspaceClient {
    let channel = ChannelBuilder::new(Arc::clone(&world.env)).connect(&world.address);
    keyspacepb::KeyspaceClient::new(channel)
}

fn scope(keyspace_id: u32) -> pdpb::KeyspaceScope {
    let mut scope = pdpb::KeyspaceScope::default();
    scope.set_keyspace_id(keyspace_id);
    scope
}

fn gc_state(world: &World) -> pdpb::GCState {
    let request = request!(
        world,
        pdpb::GetGCStateRequest,
        set_include_global_gc_barriers(true)
    );
    granted!(world, world.pd.get_gc_state(&request)).take_gc_state()
}

fn advance(world: &World, target: u64) -> pdpb::AdvanceTxnSafePointResponse {
    let request = request!(world, pdpb::AdvanceTxnSafePointRequest, set_target(target));
    granted!(world, world.pd.advance_txn_safe_point(&request))
}

#[test]
fn safe_points_advance_within_barriers_and_survive() {
    let mut world = World::bootstrapped();
    let set = request!(
        world,
        pdpb::SetGCBarrierRequest,
        set_barrier_id("cdc".to_owned()),
        set_barrier_ts(300),
        set_ttl_seconds(i64::MAX)
    );
    let info = granted!(world, world.pd.set_gc_barrier(&set)).take_new_barrier_info();
    assert_eq!(
        (info.get_barrier_ts(), info.get_ttl_seconds()),
        (300, i64::MAX)
    );
    let global = request!(
        world,
        pdpb::SetGlobalGCBarrierRequest,
        set_barrier_id("br".to_owned()),
        set_barrier_ts(250),
        set_ttl_seconds(3600)
    );
    granted!(world, world.pd.set_global_gc_barrier(&global));
    let advanced = advance(&world, 400);
    assert_eq!(advanced.get_new_txn_safe_point(), 250);
    assert!(advanced.get_blocker_description().contains("\"br\""));
    world.restart();

    let delete = request!(
        world,
        pdpb::DeleteGlobalGCBarrierRequest,
        set_barrier_id("br".to_owned())
    );
    let deleted = granted!(world, world.pd.delete_global_gc_barrier(&delete));
    assert_eq!(deleted.get_deleted_barrier_info().get_barrier_ts(), 250);
    let deleted = granted!(world, world.pd.delete_global_gc_barrier(&delete));
    assert!(!deleted.has_deleted_barrier_info());
    let advanced = advance(&world, 400);
    assert_eq!(
        (
            advanced.get_old_txn_safe_point(),
            advanced.get_new_txn_safe_point()
        ),
        (250, 300)
    );
    let collect = request!(world, pdpb::AdvanceGCSafePointRequest, set_target(280));
    let advanced = granted!(world, world.pd.advance_gc_safe_point(&collect));
    assert_eq!(advanced.get_new_gc_safe_point(), 280);
    world.restart();

    let state = gc_state(&world);
    assert_eq!(
        (state.get_txn_safe_point(), state.get_gc_safe_point()),
        (300, 280)
    );
    assert!(!state.get_is_keyspace_level_gc());
    assert_eq!(state.get_keyspace_scope().get_keyspace_id(), u32::MAX);
    assert_eq!(state.get_gc_barriers()[0].get_barrier_id(), "cdc");
    let all = request!(world, pdpb::GetAllKeyspacesGCStatesRequest);
    let all = granted!(world, world.pd.get_all_keyspaces_gc_states(&all));
    let ids: Vec<u32> = all
        .get_gc_states()
        .iter()
        .map(|state| state.get_keyspace_scope().get_keyspace_id())
        .collect();
    assert_eq!(ids, [0, u32::MAX]);
    assert_eq!(all.get_gc_states()[1].get_gc_barriers().len(), 1);
    let all = request!(world, pdpb::GetAllGCSafePointV2Request);
    let all = granted!(world, world.pd.get_all_gc_safe_point_v2(&all));
    assert_eq!(all.get_gc_safe_points()[0].get_gc_safe_point(), 280);
    let one = request!(world, pdpb::GetGCSafePointV2Request, set_keyspace_id(0));
    let one = granted!(world, world.pd.get_gc_safe_point_v2(&one));
    assert_eq!(one.get_safe_point(), 280);
}

/// What a request is refused with, and one of its words.
type Refused = (ErrorType, &'static str);

#[test_case(None, u64::MAX, (ErrorType::UNKNOWN, "newest timestamp"); "future")]
#[test_case(None, 99, (ErrorType::UNKNOWN, "decrease"); "backwards")]
#[test_case(Some(0), 200, (ErrorType::UNKNOWN, "no garbage collection of its own"); "delegating")]
#[test_case(Some(77), 200, (ErrorType::ENTRY_NOT_FOUND, "does not exist"); "unknown keyspace")]
fn bad_targets_are_refused(keyspace_id: Option<u32>, target: u64, (kind, words): Refused) {
    let world = World::bootstrapped();
    advance(&world, 100);
    let mut request = request!(world, pdpb::AdvanceTxnSafePointRequest, set_target(target));
    if let Some(id) = keyspace_id {
        request.set_keyspace_scope(scope(id));
    }
    let (got, text) = refused!(world.pd.advance_txn_safe_point(&request));
    assert_eq!((got, text.contains(words)), (kind, true), "{text}");
    assert_eq!(gc_state(&world).get_txn_safe_point(), 100);
}

#[test_case("", 200, 10, "empty"; "no id")]
#[test_case("gc_worker", 200, 10, "is no id"; "reserved id")]
#[test_case("a", 99, 10, "behind"; "behind the point")]
#[test_case("a", 200, 0, "positive"; "no time")]
#[test_case("a", 200, i64::MIN, "positive"; "negative time")]
fn bad_barriers_are_refused(id: &str, ts: u64, ttl: i64, words: &str) {
    let world = World::bootstrapped();
    advance(&world, 100);
    let one = request!(
        world,
        pdpb::SetGCBarrierRequest,
        set_barrier_id(id.to_owned()),
        set_barrier_ts(ts),
        set_ttl_seconds(ttl)
    );
    let all = request!(
        world,
        pdpb::SetGlobalGCBarrierRequest,
        set_barrier_id(id.to_owned()),
        set_barrier_ts(ts),
        set_ttl_seconds(ttl)
    );
    for (kind, text) in [
        refused!(world.pd.set_gc_barrier(&one)),
        refused!(world.pd.set_global_gc_barrier(&all)),
    ] {
        assert_eq!(
            (kind, text.contains(words)),
            (ErrorType::UNKNOWN, true),
            "{text}"
        );
    }
}

#[test]
fn names_of_barriers_are_bounded_and_identities_refused() {
    let world = World::bootstrapped();
    let mut request = request!(
        world,
        pdpb::SetGCBarrierRequest,
        set_barrier_id("x".repeat(1 << 20)),
        set_ttl_seconds(1)
    );
    let (_, text) = refused!(world.pd.set_gc_barrier(&request));
    assert!(text.contains("1048576 bytes") && text.len() < 200);
    request.mut_keyspace_scope().mut_keyspace_identity();
    let (_, text) = refused!(world.pd.set_gc_barrier(&request));
    assert!(text.contains("identities"), "{text}");
    let mut legacy = request!(world, pdpb::UpdateServiceSafePointV2Request);
    legacy.set_service_id(vec![0xff]);
    let (_, text) = refused!(world.pd.update_service_safe_point_v2(&legacy));
    assert!(text.contains("UTF-8"), "{text}");
}

#[test]
fn the_old_calls_move_the_same_points() {
    let world = World::bootstrapped();
    let update = request!(world, pdpb::UpdateGCSafePointV2Request, set_safe_point(50));
    let response = granted!(world, world.pd.update_gc_safe_point_v2(&update));
    assert_eq!(response.get_new_safe_point(), 50);
    let service = request!(
        world,
        pdpb::UpdateServiceSafePointV2Request,
        set_service_id(b"cdc".to_vec()),
        set_safe_point(60),
        set_ttl(100)
    );
    granted!(world, world.pd.update_service_safe_point_v2(&service));
    assert_eq!(gc_state(&world).get_gc_barriers()[0].get_barrier_ts(), 60);
    assert_eq!(advance(&world, 70).get_new_txn_safe_point(), 60);
}

#[test]
fn the_external_timestamp_and_the_cluster_are_kept() {
    let mut world = World::bootstrapped();
    let set = request!(world, pdpb::SetExternalTimestampRequest, set_timestamp(700));
    granted!(world, world.pd.set_external_timestamp(&set));
    assert_eq!(
        refused!(world.pd.set_external_timestamp(&set)).0,
        ErrorType::UNKNOWN
    );
    let config = request!(world, pdpb::GetClusterConfigRequest);
    let mut cluster = granted!(world, world.pd.get_cluster_config(&config)).take_cluster();
    assert_eq!(cluster.get_id(), world.cluster_id);
    cluster.set_max_peer_count(1);
    let put = request!(
        world,
        pdpb::PutClusterConfigRequest,
        set_cluster(cluster.clone())
    );
    granted!(world, world.pd.put_cluster_config(&put));
    world.restart();
    let get = request!(world, pdpb::GetExternalTimestampRequest);
    let told = granted!(world, world.pd.get_external_timestamp(&get));
    assert_eq!(told.get_timestamp(), 700);
    let told = granted!(world, world.pd.get_cluster_config(&config));
    assert_eq!(told.get_cluster(), &cluster);
    let wrong = request!(
        world,
        pdpb::PutClusterConfigRequest,
        set_cluster(metapb::Cluster::default())
    );
    assert_eq!(
        refused!(world.pd.put_cluster_config(&wrong)).0,
        ErrorType::UNKNOWN
    );
    let min = request!(world, pdpb::GetMinTSRequest);
    let first = granted!(world, world.pd.get_min_ts(&min)).take_timestamp();
    let second = granted!(world, world.pd.get_min_ts(&min)).take_timestamp();
    let number = |ts: &pdpb::Timestamp| (ts.get_physical(), ts.get_logical());
    assert!(number(&second) > number(&first));
}

#[test]
fn unknown_stores_have_resolved_nothing() {
    let world = World::bootstrapped();
    for (store_id, expected) in [(1, None), (0, Some("not found")), (9, Some("not found"))] {
        let report = request!(
            world,
            pdpb::ReportMinResolvedTsRequest,
            set_store_id(store_id),
            set_min_resolved_ts(5)
        );
        let (_, text) = refused!(world.pd.report_min_resolved_ts(&report));
        assert_eq!(text.is_empty(), expected.is_none(), "{text}");
        assert!(text.contains(expected.unwrap_or_default()));
    }
}

#[test]
fn ranges_of_regions_are_scanned_and_holes_told() {
    let world = World::bootstrapped();
    let range = |start: &str, end: &str| {
        let mut range = pdpb::KeyRange::default();
        range.set_start_key(start.as_bytes().to_vec());
        range.set_end_key(end.as_bytes().to_vec());
        range
    };
    let mut scan = request!(
        world,
        pdpb::BatchScanRegionsRequest,
        set_contain_all_key_range(true)
    );
    for ranges in [vec![range("", "")], vec![range("a", "b"), range("c", "d")]] {
        for limit in [i32::MIN, 0, 1, i32::MAX] {
            scan.set_ranges(ranges.clone().into());
            scan.set_limit(limit);
            let found = granted!(world, world.pd.batch_scan_regions(&scan));
            assert_eq!(found.get_regions()[0].get_region(), &region(2, "", "", 1));
            assert_eq!(found.get_regions().len(), 1);
            assert_eq!(found.get_regions()[0].get_leader().get_id(), 20);
        }
    }
    scan.set_ranges(vec![range("b", "c"), range("a", "b")].into());
    assert_eq!(
        refused!(world.pd.batch_scan_regions(&scan)).0,
        ErrorType::UNKNOWN
    );
    // The right half is nobody's.
    block_on(async {
        let (mut sink, mut answers) = world.pd.region_heartbeat().unwrap();
        for (half, term) in [(region(2, "", "m", 2), 6), (region(2, "", "", 1), 6)] {
            let mut heartbeat = crate::world::heartbeat(half, term);
            heartbeat.set_header(world.header());
            sink.send((heartbeat, WriteFlags::default())).await.unwrap();
        }
        // The second is stale, hence answered; by then the first was taken.
        assert!(
            answers
                .next()
                .await
                .unwrap()
                .unwrap()
                .get_header()
                .has_error()
        );
    });
    scan.set_ranges(vec![range("a", "z")].into());
    let kind = ErrorType::REGIONS_NOT_CONTAIN_ALL_KEY_RANGE;
    assert_eq!(refused!(world.pd.batch_scan_regions(&scan)).0, kind);
    scan.set_contain_all_key_range(false);
    let found = granted!(world, world.pd.batch_scan_regions(&scan));
    assert_eq!(found.get_regions().len(), 1);
}

#[test]
fn many_regions_are_queried_at_once() {
    let world = World::bootstrapped();
    block_on(async {
        let (mut sink, mut answers) = world.pd.query_region().unwrap();
        let mut query = request!(
            world,
            pdpb::QueryRegionRequest,
            set_ids(vec![2, 2, 0, 99]),
            set_keys(vec![b"a".to_vec(), vec![0xff; 1 << 16]].into()),
            set_prev_keys(vec![b"a".to_vec()].into())
        );
        sink.send((query.clone(), WriteFlags::default()))
            .await
            .unwrap();
        let found = granted!(world, answers.next().await.unwrap());
        assert_eq!(found.get_key_id_map(), [2, 2]);
        assert_eq!(found.get_prev_key_id_map(), [0]);
        assert_eq!(found.get_regions_by_id().len(), 1);
        let region_two = &found.get_regions_by_id()[&2];
        assert_eq!(region_two.get_region(), &region(2, "", "", 1));
        query.mut_header().set_cluster_id(3);
        // It ends the stream, which may be known before the send has ended.
        let _ = sink.send((query, WriteFlags::default())).await;
        let status = code(answers.next().await.unwrap());
        assert_eq!(status, RpcStatusCode::FAILED_PRECONDITION);
    });
}

#[test]
fn scattering_is_granted_for_regions_that_exist() {
    let world = World::bootstrapped();
    let mut scatter = request!(
        world,
        pdpb::ScatterRegionRequest,
        set_regions_id(vec![2, 7])
    );
    let response = granted!(world, world.pd.scatter_region(&scatter));
    assert_eq!(response.get_finished_percentage(), 50);
    assert_eq!(response.get_failed_regions_id(), [7]);
    scatter.clear_regions_id();
    let (kind, text) = refused!(world.pd.scatter_region(&scatter));
    assert_eq!(
        (kind, text.as_str()),
        (ErrorType::REGION_NOT_FOUND, "region 0 not found")
    );
    scatter.set_region(region(9, "a", "b", 2));
    granted!(world, world.pd.scatter_region(&scatter));
    let operator = request!(world, pdpb::GetOperatorRequest, set_region_id(2));
    let (kind, text) = refused!(world.pd.get_operator(&operator));
    assert_eq!(
        (kind, text.as_str()),
        (ErrorType::REGION_NOT_FOUND, "Not Found")
    );
}

#[test]
fn single_splits_are_prepared_and_reported() {
    let world = World::bootstrapped();
    let mut ask = request!(world, pdpb::AskSplitRequest);
    assert_eq!(
        refused!(world.pd.ask_split(&ask)).0,
        ErrorType::REGION_NOT_FOUND
    );
    ask.set_region(region(2, "", "", 1));
    let ids = granted!(world, world.pd.ask_split(&ask));
    assert!(ids.get_new_region_id() > 0 && ids.get_new_peer_ids().len() == 1);
    let mut report = request!(
        world,
        pdpb::ReportSplitRequest,
        set_left(region(9, "", "m", 2)),
        set_right(region(2, "m", "", 2))
    );
    granted!(world, world.pd.report_split(&report));
    report.clear_left();
    assert_eq!(
        refused!(world.pd.report_split(&report)).0,
        ErrorType::UNKNOWN
    );
}

#[test]
fn keyspaces_change_their_state_and_are_watched() {
    let world = World::bootstrapped();
    let client = keyspaces(&world);
    block_on(async {
        let watch = request!(world, keyspacepb::WatchKeyspacesRequest);
        let mut told = client.watch_keyspaces(&watch).unwrap();
        let first = granted!(world, told.next().await.unwrap());
        assert_eq!(first.get_keyspaces()[0].get_name(), "DEFAULT");
        let wrong = client
            .watch_keyspaces(&keyspacepb::WatchKeyspacesRequest::default())
            .unwrap()
            .next()
            .await;
        assert_eq!(code(wrong.unwrap()), RpcStatusCode::FAILED_PRECONDITION);
    });
    for (id, kind) in [
        (0, ErrorType::UNKNOWN),
        (5, ErrorType::ENTRY_NOT_FOUND),
        (u32::MAX, ErrorType::ENTRY_NOT_FOUND),
    ] {
        let mut update = request!(
            world,
            keyspacepb::UpdateKeyspaceStateRequest,
            set_state(KeyspaceState::DISABLED)
        );
        update.set_id(id);
        assert_eq!(refused!(client.update_keyspace_state(&update)).0, kind);
    }
    let mut page = request!(
        world,
        keyspacepb::GetAllKeyspacesRequest,
        set_limit(u32::MAX)
    );
    page.set_start_id(u32::MAX);
    let page = granted!(world, client.get_all_keyspaces(&page));
    assert_eq!(page.get_keyspaces().len(), 0);
}

/// With one member every call is already where it would be forwarded to.
#[test]
fn forwarding_ends_at_the_only_member() {
    let world = World::bootstrapped();
    for (key, value) in [
        ("pd-allow-follower-handle", ""),
        ("pd-forwarded-host", "http://127.0.0.1:1"),
    ] {
        let mut metadata = MetadataBuilder::new();
        metadata.add_str(key, value).unwrap();
        let option = CallOption::default().headers(metadata.build());
        let request = request!(world, pdpb::GetRegionRequest);
        let found = granted!(world, world.pd.get_region_opt(&request, option.clone()));
        assert_eq!(found.get_region().get_id(), 2);
        let ids = request!(world, pdpb::AllocIDRequest);
        granted!(world, world.pd.alloc_id_opt(&ids, option));
    }
}
