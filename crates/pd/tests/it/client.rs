//! `pd_client::RpcClient` against a real server, also while that goes away and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::executor::block_on;
use pd_client::{Config, Error, PdClient, RpcClient};
use security::Security;
use txn_types::TimeStamp;

use crate::world::{World, heartbeat, region, store};

fn connect(world: &World) -> RpcClient {
    let config = Config::new(vec![format!("http://{}", world.address)]);
    block_on(RpcClient::connect(
        config,
        Security::disabled(),
        Arc::clone(&world.env),
        &world.runtime,
    ))
    .unwrap()
}

fn bootstrapped() -> (World, RpcClient) {
    let world = World::new();
    let client = connect(&world);
    block_on(client.bootstrap_cluster(store(1), region(2, "", "", 1))).unwrap();
    (world, client)
}

/// Asks until the answer pleases, which other tasks must bring about.
fn eventually(world: &World, mut pleases: impl AsyncFnMut() -> bool) {
    block_on(async {
        for _ in 0..500 {
            if pleases().await {
                return;
            }
            world.runtime.timer.sleep(Duration::from_millis(20)).await;
        }
        panic!("it never came to pass");
    });
}

#[test]
fn every_call_makes_its_way() {
    let (world, client) = bootstrapped();
    block_on(async {
        assert_eq!(client.cluster_id(), world.cluster_id);
        assert_eq!(client.members().get_members().len(), 1);
        assert!(client.is_bootstrapped().await.unwrap());
        let again = client
            .bootstrap_cluster(store(1), region(2, "", "", 1))
            .await;
        assert_eq!(again.map(drop), Err(Error::AlreadyBootstrapped));
        let first = client.alloc_id(1).await.unwrap();
        assert_eq!(client.alloc_id(10).await.unwrap(), first + 10);
        assert!(!client.is_snapshot_recovering().await.unwrap());

        client.put_store(store(5)).await.unwrap();
        let mut stats = kvproto::pdpb::StoreStats::default();
        stats.set_store_id(5);
        stats.set_used_size(9);
        let answer = client.store_heartbeat(stats).await.unwrap();
        assert_eq!(answer.get_cluster_version(), "8.5.5");
        let (found, stats) = client.get_store(5).await.unwrap();
        assert_eq!(
            (found.get_address(), stats.get_used_size()),
            (store(5).get_address(), 9)
        );
        assert_eq!(client.get_all_stores(false).await.unwrap().len(), 2);
        let Err(Error::Refused {
            method, message, ..
        }) = client.get_store(6).await
        else {
            panic!("found");
        };
        assert_eq!(
            (method, message.as_str()),
            ("GetStore", "invalid store ID 6, not found")
        );

        let found = client.get_region(b"k".to_vec()).await.unwrap().unwrap();
        assert_eq!(found.region, region(2, "", "", 1));
        assert_eq!(found.leader.unwrap().get_id(), 20);
        assert_eq!(client.get_prev_region(b"k".to_vec()).await.unwrap(), None);
        assert!(client.get_region_by_id(2).await.unwrap().is_some());
        assert_eq!(client.get_region_by_id(3).await.unwrap(), None);
        let all = client
            .scan_regions(Vec::new(), Vec::new(), 0)
            .await
            .unwrap();
        assert_eq!(all.len(), 1);

        let reason = kvproto::pdpb::SplitReason::SIZE;
        let ids = client
            .ask_batch_split(region(2, "", "", 1), 2, reason)
            .await
            .unwrap();
        assert_eq!(ids.len(), 2);
        let halves = vec![region(9, "", "m", 2), region(2, "m", "", 2)];
        client.report_batch_split(halves).await.unwrap();

        assert_eq!(
            client.get_gc_safe_point().await.unwrap(),
            TimeStamp::from(0)
        );
        let reached = client
            .update_gc_safe_point(TimeStamp::from(77))
            .await
            .unwrap();
        assert_eq!(reached, TimeStamp::from(77));
        client
            .report_min_resolved_ts(5, TimeStamp::from(1))
            .await
            .unwrap();
        assert_eq!(client.load_keyspace("DEFAULT").await.unwrap().get_id(), 0);
        let missing = client.load_keyspace("nope").await;
        assert!(
            matches!(missing, Err(Error::EntryNotFound(_))),
            "{missing:?}"
        );
        let buckets = kvproto::metapb::Buckets::default();
        client
            .report_buckets(kvproto::metapb::RegionEpoch::default(), buckets)
            .unwrap();
    });
}

#[test]
fn timestamps_of_many_callers_are_apart() {
    let world = World::new();
    let client = connect(&world);
    block_on(async {
        let asks = (0..2_000u32).map(|n| {
            let count = 1 + n % 7;
            let answer = client.get_tso(count);
            async move { (count, answer.await.unwrap().into_inner()) }
        });
        let mut ranges: Vec<(u64, u64)> = futures::future::join_all(asks)
            .await
            .into_iter()
            .map(|(count, last)| (last - u64::from(count) + 1, last))
            .collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
        assert!(client.get_tso(0).await.is_err());
        assert!(client.get_tso(u32::MAX).await.is_err());
    });
}

#[test]
fn a_restart_is_survived_by_calls_timestamps_and_heartbeats() {
    let (mut world, client) = bootstrapped();
    let reconnects = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reconnects);
    client.handle_reconnect(Arc::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    client
        .region_heartbeat(heartbeat(region(2, "", "", 5), 3))
        .unwrap();
    let reported = async |client: &RpcClient| {
        let found = client.get_region_by_id(2).await.unwrap().unwrap();
        found.region.get_region_epoch().get_version() == 5
    };
    eventually(&world, async || reported(&client).await);
    let mut highest = block_on(client.get_tso(5)).unwrap();
    for _ in 0..2 {
        // What a crash forgets of heartbeats (the term) must come again by itself.
        world.restart();
        let next = block_on(client.get_tso(5)).unwrap();
        assert!(next > highest, "{next:?} after {highest:?}");
        highest = next;
        assert!(block_on(client.is_bootstrapped()).unwrap());
        let mut old_term = heartbeat(region(2, "", "", 5), 2);
        old_term.set_header(world.header());
        // Only a server that heard term 3 again refuses term 2.
        eventually(&world, async || {
            use futures::{SinkExt as _, StreamExt as _};
            let (mut sink, mut answers) = world.pd.region_heartbeat().unwrap();
            let request = (old_term.clone(), grpcio::WriteFlags::default());
            sink.send(request).await.unwrap();
            sink.close().await.unwrap();
            match answers.next().await {
                Some(Ok(answer)) => answer.get_header().has_error(),
                _ => false,
            }
        });
    }
    assert!(reconnects.load(Ordering::Relaxed) >= 2);
}

#[test]
fn what_cannot_be_reached_is_said() {
    let world = World::new();
    let mut config = Config::new(vec!["127.0.0.1:1".to_owned(), world.address.clone()]);
    // One good endpoint is enough.
    let client = block_on(RpcClient::connect(
        config.clone(),
        Security::disabled(),
        Arc::clone(&world.env),
        &world.runtime,
    ));
    assert_eq!(client.unwrap().cluster_id(), world.cluster_id);
    config.endpoints.pop();
    config.connect_timeout = Duration::from_millis(300);
    let nobody = block_on(RpcClient::connect(
        config,
        Security::disabled(),
        Arc::clone(&world.env),
        &world.runtime,
    ));
    let Err(Error::Unreachable { endpoints, .. }) = nobody.map(drop) else {
        panic!("connected");
    };
    assert_eq!(endpoints, ["127.0.0.1:1"]);
}

#[test]
fn another_cluster_on_the_same_port_is_refused() {
    let (mut world, client) = bootstrapped();
    world.stop();
    let other = crate::world::start(
        &engine_mem::MemEngine::new(),
        &world.runtime,
        &world.address,
    );
    let outcome = block_on(client.is_bootstrapped());
    let foreign = matches!(
        outcome,
        Err(Error::ClusterIdMismatch { .. } | Error::Rpc { .. })
    );
    assert!(foreign, "{outcome:?}");
    other.shutdown();
}

#[test]
fn a_closed_client_answers_at_once() {
    let (world, client) = bootstrapped();
    let waiting = client.get_tso(1);
    client.close();
    assert_eq!(block_on(client.is_bootstrapped()), Err(Error::Closed));
    assert_eq!(
        client.region_heartbeat(heartbeat(region(2, "", "", 1), 1)),
        Err(Error::Closed)
    );
    // Asked before, the answer may have been on its way.
    let _ = block_on(waiting);
    assert_eq!(block_on(client.get_tso(1)), Err(Error::Closed));
    drop(world);
}
