//! The streams: timestamps in order, heartbeats with their effects, idle ones that end on time.

use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{ChannelBuilder, RpcStatusCode, WriteFlags};
use kvproto::{pdpb, resource_manager};

use crate::world::{World, heartbeat, region};

fn tso_request(world: &World, count: u32) -> pdpb::TsoRequest {
    let mut request = pdpb::TsoRequest::default();
    request.set_header(world.header());
    request.set_count(count);
    request
}

fn code<T: std::fmt::Debug>(outcome: Option<grpcio::Result<T>>) -> RpcStatusCode {
    match outcome {
        Some(Err(grpcio::Error::RpcFailure(status))) => status.code(),
        other => panic!("{other:?}"),
    }
}

/// Sends what ends the stream: that may be known before the send has ended.
async fn send_or_ended<T>(
    sink: &mut (impl futures::Sink<(T, WriteFlags), Error = grpcio::Error> + Unpin),
    message: T,
) {
    match sink.send((message, WriteFlags::default())).await {
        Ok(()) | Err(grpcio::Error::RpcFinished(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Sends all requests at once and returns the answers as (first, last).
fn timestamps(world: &World, counts: &[u32]) -> Vec<(u64, u64)> {
    block_on(async {
        let (mut sink, mut responses) = world.pd.tso().unwrap();
        sink.enhance_batch(true);
        let requests: Vec<_> = counts
            .iter()
            .map(|count| tso_request(world, *count))
            .collect();
        let send = async {
            let mut items = futures::stream::iter(
                requests
                    .into_iter()
                    .map(|request| Ok((request, WriteFlags::default()))),
            );
            // A call that the server has ended is judged by its answers, which tell why.
            match sink.send_all(&mut items).await {
                Ok(()) | Err(grpcio::Error::RpcFinished(_)) => {}
                Err(error) => panic!("{error}"),
            }
            match sink.close().await {
                Ok(()) | Err(grpcio::Error::RpcFinished(_)) => {}
                Err(error) => panic!("{error}"),
            }
        };
        let receive = async {
            let mut ranges = Vec::new();
            for count in counts {
                let response = responses.next().await.unwrap().unwrap();
                assert_eq!(response.get_header().get_cluster_id(), world.cluster_id);
                assert!(!response.get_header().has_error());
                assert_eq!(response.get_count(), *count);
                let timestamp = response.get_timestamp();
                let last =
                    (timestamp.get_physical() << 18 | timestamp.get_logical()).cast_unsigned();
                ranges.push((last - u64::from(*count) + 1, last));
            }
            assert!(responses.next().await.is_none());
            ranges
        };
        futures::join!(send, receive).1
    })
}

/// One timestamp.
pub(crate) fn timestamp(world: &World) -> u64 {
    timestamps(world, &[1])[0].1
}

/// Reports a region on a stream of its own, and waits until that is known.
pub(crate) fn report_region(world: &World, heartbeat: pdpb::RegionHeartbeatRequest) {
    block_on(async {
        let (mut sink, mut responses) = world.pd.region_heartbeat().unwrap();
        sink.send((heartbeat, WriteFlags::default())).await.unwrap();
        sink.close().await.unwrap();
        if let Some(refusal) = responses.next().await {
            panic!("{refusal:?}");
        }
    });
}

#[test]
fn timestamps_grow_within_streams_between_them_and_over_restarts() {
    let mut world = World::new();
    let mut highest = 0;
    for round in 0..4 {
        let counts: Vec<u32> = (0..500).map(|n| 1 + (n * 37) % 2000).collect();
        for (first, last) in timestamps(&world, &counts) {
            assert!(first > highest, "{first} after {highest}");
            highest = last;
        }
        if round % 2 == 0 {
            world.restart();
        }
    }
}

#[test]
fn timestamps_follow_the_wall_clock() {
    let world = World::new();
    let (_, last) = timestamps(&world, &[1])[0];
    let now = world.runtime.clock.unix_millis();
    assert!(
        (last >> 18).abs_diff(now) < 5_000,
        "{} at {now}",
        last >> 18
    );
}

#[test]
fn bad_timestamp_requests_end_the_stream() {
    let world = World::new();
    let mut foreign = tso_request(&world, 1);
    foreign.mut_header().set_cluster_id(3);
    for (bad, expected) in [
        (tso_request(&world, 0), RpcStatusCode::INVALID_ARGUMENT),
        (
            tso_request(&world, u32::MAX),
            RpcStatusCode::INVALID_ARGUMENT,
        ),
        (foreign, RpcStatusCode::FAILED_PRECONDITION),
    ] {
        block_on(async {
            let (mut sink, mut responses) = world.pd.tso().unwrap();
            let good = tso_request(&world, 2);
            sink.send((good, WriteFlags::default())).await.unwrap();
            assert_eq!(responses.next().await.unwrap().unwrap().get_count(), 2);
            send_or_ended(&mut sink, bad).await;
            assert_eq!(code(responses.next().await), expected);
        });
    }
}

#[test]
fn heartbeats_change_what_is_told_of_regions() {
    let mut world = World::bootstrapped();
    block_on(async {
        let (mut sink, mut responses) = world.pd.region_heartbeat().unwrap();
        let mut send = async |region: kvproto::metapb::Region, term: u64| {
            let mut request = heartbeat(region, term);
            request.set_header(world.header());
            sink.send((request, WriteFlags::default())).await.unwrap();
        };
        send(region(9, "", "m", 2), 6).await;
        send(region(2, "m", "", 2), 6).await;
        // Refused, hence answered; by then the two before were taken.
        send(region(2, "", "", 1), 6).await;
        let refusal = responses.next().await.unwrap().unwrap();
        let error = refusal.get_header().get_error();
        assert_eq!(error.get_field_type(), pdpb::ErrorType::UNKNOWN);
        assert!(error.get_message().contains("stale"), "{error:?}");
        assert_eq!(refusal.get_target_peer().get_id(), 20);
        assert_eq!(refusal.get_region_id(), 2);
        send(region(0, "", "", 1), 6).await;
        let refusal = responses.next().await.unwrap().unwrap();
        assert!(refusal.get_header().has_error());
    });
    // Leaders report their regions again, so nobody waits for them to be synced; but what is
    // synced later takes them along.
    let mut ids = pdpb::AllocIDRequest::default();
    ids.set_header(world.header());
    world.pd.alloc_id(&ids).unwrap();
    world.restart();
    let mut request = pdpb::GetRegionRequest::default();
    request.set_header(world.header());
    request.set_region_key(b"x".to_vec());
    let found = world.pd.get_region(&request).unwrap();
    assert_eq!(found.get_region(), &region(2, "m", "", 2));
    assert_eq!(found.get_leader().get_id(), 20);
    let previous = world.pd.get_prev_region(&request).unwrap();
    assert_eq!(previous.get_region(), &region(9, "", "m", 2));
}

#[test]
fn heartbeats_of_strangers_end_the_stream() {
    let world = World::bootstrapped();
    let mut foreign = heartbeat(region(2, "", "", 1), 1);
    foreign.mut_header().set_cluster_id(3);
    let mut unknown_store = heartbeat(region(2, "", "", 1), 1);
    unknown_store.set_header(world.header());
    unknown_store.mut_leader().set_store_id(55);
    for (request, expected) in [
        (foreign, RpcStatusCode::FAILED_PRECONDITION),
        (unknown_store, RpcStatusCode::UNKNOWN),
    ] {
        block_on(async {
            let (mut sink, mut responses) = world.pd.region_heartbeat().unwrap();
            send_or_ended(&mut sink, request).await;
            assert_eq!(code(responses.next().await), expected);
        });
    }
    let early = World::new();
    block_on(async {
        let (mut sink, mut responses) = early.pd.region_heartbeat().unwrap();
        let mut request = heartbeat(region(2, "", "", 1), 1);
        request.set_header(early.header());
        sink.send((request, WriteFlags::default())).await.unwrap();
        let answer = responses.next().await.unwrap().unwrap();
        let kind = answer.get_header().get_error().get_field_type();
        assert_eq!(kind, pdpb::ErrorType::NOT_BOOTSTRAPPED);
    });
}

#[test]
fn buckets_are_accepted() {
    let world = World::bootstrapped();
    block_on(async {
        let (mut sink, response) = world.pd.report_buckets().unwrap();
        for version in 1..4 {
            let mut request = pdpb::ReportBucketsRequest::default();
            request.set_header(world.header());
            request.mut_buckets().set_version(version);
            sink.send((request, WriteFlags::default())).await.unwrap();
        }
        sink.close().await.unwrap();
        let response = response.await.unwrap();
        assert!(!response.get_header().has_error());
        assert_eq!(response.get_header().get_cluster_id(), world.cluster_id);

        let (mut sink, response) = world.pd.report_buckets().unwrap();
        send_or_ended(&mut sink, pdpb::ReportBucketsRequest::default()).await;
        let status = code(Some(response.await));
        assert_eq!(status, RpcStatusCode::FAILED_PRECONDITION);
    });
}

#[test]
fn tokens_are_plenty() {
    let world = World::new();
    let channel = ChannelBuilder::new(Arc::clone(&world.env)).connect(&world.address);
    let client = resource_manager::ResourceManagerClient::new(channel);
    block_on(async {
        let (mut sink, mut responses) = client.acquire_token_buckets().unwrap();
        let mut request = resource_manager::TokenBucketsRequest::default();
        let mut group = resource_manager::TokenBucketRequest::default();
        group.set_resource_group_name("default".to_owned());
        let mut item = resource_manager::RequestUnitItem::default();
        item.set_value(500.0);
        group.mut_ru_items().mut_request_r_u().push(item);
        request.mut_requests().push(group);
        sink.send((request, WriteFlags::default())).await.unwrap();
        let response = responses.next().await.unwrap().unwrap();
        let [granted] = response.get_responses() else {
            panic!("{response:?}");
        };
        assert_eq!(granted.get_resource_group_name(), "default");
        let tokens = granted.get_granted_r_u_tokens()[0].get_granted_tokens();
        assert!(tokens.get_tokens() > 500.0);
        assert_eq!(tokens.get_settings().get_burst_limit(), -1);
    });
}

#[test]
fn a_stop_ends_live_streams_within_seconds() {
    let mut world = World::bootstrapped();
    let channel = ChannelBuilder::new(Arc::clone(&world.env)).connect(&world.address);
    let tokens = resource_manager::ResourceManagerClient::new(channel);
    block_on(async {
        let (mut tso, mut tso_answers) = world.pd.tso().unwrap();
        let request = tso_request(&world, 1);
        tso.send((request, WriteFlags::default())).await.unwrap();
        tso_answers.next().await.unwrap().unwrap();
        let (_heartbeats, mut heartbeat_answers) = world.pd.region_heartbeat().unwrap();
        let (_buckets, bucket_answer) = world.pd.report_buckets().unwrap();
        let (mut sink, mut token_answers) = tokens.acquire_token_buckets().unwrap();
        let nothing = resource_manager::TokenBucketsRequest::default();
        sink.send((nothing, WriteFlags::default())).await.unwrap();
        token_answers.next().await.unwrap().unwrap();

        let started = world.runtime.clock.now();
        world.stop();
        let took = world.runtime.clock.now() - started;
        assert!(took < Duration::from_secs(4), "{took:?}");
        assert_eq!(code(tso_answers.next().await), RpcStatusCode::UNAVAILABLE);
        assert!(heartbeat_answers.next().await.unwrap().is_err());
        assert!(token_answers.next().await.unwrap().is_err());
        assert!(bucket_answer.await.is_err());
    });
}
