//! Tests of the whole state: bootstrap, splits, heartbeats, and what a restart finds.

use engine_mem::MemEngine;
use kvproto::metapb::Peer;
use test_case::test_case;

use super::*;
use crate::gc::Moment;
use crate::meta_store::{EngineMetaStore, MetaBatch};

fn first_store() -> Store {
    let mut store = Store::default();
    store.set_id(1);
    store.set_address("127.0.0.1:20160".to_owned());
    store.set_version("8.5.5".to_owned());
    store
}

fn first_region() -> Region {
    let mut region = Region::default();
    region.set_id(2);
    region.mut_region_epoch().set_version(1);
    region.mut_region_epoch().set_conf_ver(1);
    let mut peer = Peer::default();
    peer.set_id(3);
    peer.set_store_id(1);
    region.mut_peers().push(peer);
    region
}

/// The state on a disk that can crash.
struct Disk {
    engine: MemEngine,
    state: PdState,
}

impl Disk {
    fn new() -> Disk {
        Disk {
            engine: MemEngine::new(),
            state: PdState::default(),
        }
    }

    fn bootstrapped() -> Disk {
        let mut disk = Disk::new();
        let plan = disk
            .state
            .plan_bootstrap(77, first_store(), first_region(), 5)
            .unwrap();
        disk.commit(plan);
        disk
    }

    fn commit(&mut self, changes: Vec<Change>) {
        let mut batch = MetaBatch::default();
        for change in &changes {
            change.encode(&mut batch).unwrap();
        }
        EngineMetaStore::new(self.engine.clone())
            .write(batch)
            .unwrap();
        for change in changes {
            self.state.apply(change);
        }
        self.state.regions().check_invariants().unwrap();
    }

    fn restart(&mut self) {
        self.engine = self.engine.crash();
        let store = EngineMetaStore::new(self.engine.clone());
        self.state = PdState::load(&store).unwrap();
    }

    fn heartbeat(&mut self, region: Region, term: u64) -> Result<()> {
        let mut heartbeat = RegionHeartbeatRequest::default();
        heartbeat.set_leader(region.get_peers()[0].clone());
        heartbeat.set_region(region);
        heartbeat.set_term(term);
        let changes = self.state.plan_region_heartbeat(heartbeat)?;
        self.commit(changes);
        Ok(())
    }
}

#[test_case(|s, _| s.set_id(0), "store id"; "store id 0")]
#[test_case(|s, _| s.set_address(String::new()), "no address"; "no address")]
#[test_case(|s, _| s.set_version("x".into()), "invalid store version"; "version")]
#[test_case(|_, r| r.set_id(0), "region id"; "region id 0")]
#[test_case(|_, r| r.set_start_key(b"a".to_vec()), "all keys"; "start key")]
#[test_case(|_, r| r.set_end_key(b"a".to_vec()), "all keys"; "end key")]
#[test_case(|_, r| r.mut_peers().clear(), "one peer is needed, got 0"; "no peer")]
#[test_case(|_, r| r.mut_peers().push(Peer::default()), "one peer is needed, got 2"; "two peers")]
#[test_case(|_, r| r.mut_peers()[0].set_id(0), "peer id"; "peer id 0")]
#[test_case(|_, r| r.mut_peers()[0].set_store_id(9), "on the first store"; "peer elsewhere")]
fn bootstrap_is_checked(spoil: fn(&mut Store, &mut Region), words: &str) {
    let (mut store, mut region) = (first_store(), first_region());
    spoil(&mut store, &mut region);
    let error = PdState::default().plan_bootstrap(77, store, region, 5);
    let text = error.unwrap_err().to_string();
    assert!(text.contains(words), "{text}");
}

#[test]
fn bootstrap_happens_once_and_as_a_whole() {
    let mut disk = Disk::new();
    // A crash before the write leaves nothing.
    disk.state
        .plan_bootstrap(77, first_store(), first_region(), 5)
        .unwrap();
    disk.restart();
    assert!(!disk.state.is_bootstrapped());
    assert_eq!(
        disk.state.plan_put_store(first_store()),
        Err(Error::NotBootstrapped)
    );

    let mut disk = Disk::bootstrapped();
    disk.restart();
    let state = &disk.state;
    assert!(state.is_bootstrapped());
    assert_eq!(state.regions().find(b"any").unwrap().region, first_region());
    assert_eq!(state.stores().get(1).unwrap().store, first_store());
    assert_eq!(state.stores().cluster_version(), "8.5.5");
    assert_eq!(state.keyspaces().by_id(0).unwrap().get_name(), "DEFAULT");
    let again = state.plan_bootstrap(77, first_store(), first_region(), 5);
    assert_eq!(again, Err(Error::AlreadyBootstrapped));
    // Even a request that is wrong in itself hears that first.
    let wrong = state.plan_bootstrap(77, Store::default(), Region::default(), 5);
    assert_eq!(wrong, Err(Error::AlreadyBootstrapped));
}

#[test]
fn ids_are_never_given_twice_across_restarts() {
    let mut disk = Disk::new();
    let mut highest = 0;
    for round in 0..20 {
        for count in [1, 0, 700, 1, 3000] {
            let (changes, last) = disk.state.plan_ids(count).unwrap();
            assert!(last - u64::from(count.max(1)) >= highest);
            highest = last;
            disk.commit(changes);
        }
        if round % 3 == 0 {
            disk.restart();
        }
    }
}

#[test]
fn heartbeats_bring_regions_and_a_restart_keeps_their_shape() {
    let mut disk = Disk::bootstrapped();
    let (mut left, mut right) = (first_region(), first_region());
    left.set_id(9);
    left.set_end_key(b"m".to_vec());
    left.mut_region_epoch().set_version(2);
    right.set_start_key(b"m".to_vec());
    right.mut_region_epoch().set_version(2);
    disk.heartbeat(left.clone(), 6).unwrap();
    // The old region covered both halves; it is gone, on disk too.
    disk.restart();
    assert!(disk.state.regions().get(2).is_none());
    disk.heartbeat(right.clone(), 6).unwrap();
    disk.heartbeat(right.clone(), 7).unwrap();
    let stale = disk.heartbeat(first_region(), 9).unwrap_err().to_string();
    assert!(stale.contains("region is stale"), "{stale}");
    disk.restart();
    assert_eq!(disk.state.regions().find(b"a").unwrap().region, left);
    let known = disk.state.regions().find(b"m").unwrap();
    assert_eq!(known.region, right);
    // Terms and leaders are not kept.
    assert_eq!((known.term, known.leader.as_ref()), (0, None));
}

#[test_case(|r| r.mut_region().set_id(0), "region id"; "id 0")]
#[test_case(|r| r.mut_region().mut_peers().clear(), "no peers"; "no peers")]
#[test_case(|r| r.clear_leader(), "no leader"; "no leader")]
#[test_case(|r| r.mut_leader().set_store_id(8), "store 8 not found"; "unknown store")]
#[test_case(|r| { r.mut_region().set_start_key(b"b".to_vec()); r.mut_region().set_end_key(b"a".to_vec()) }, "ends before"; "reversed range")]
#[test_case(|r| { r.mut_region().set_start_key(b"b".to_vec()); r.mut_region().set_end_key(b"b".to_vec()) }, "ends before"; "empty range")]
fn bad_heartbeats_are_refused(spoil: fn(&mut RegionHeartbeatRequest), words: &str) {
    let disk = Disk::bootstrapped();
    let mut heartbeat = RegionHeartbeatRequest::default();
    heartbeat.set_region(first_region());
    heartbeat.set_leader(first_region().get_peers()[0].clone());
    spoil(&mut heartbeat);
    let error = disk.state.plan_region_heartbeat(heartbeat).unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn splits_get_ids_for_every_peer() {
    let mut disk = Disk::bootstrapped();
    let mut region = first_region();
    let mut second = Peer::default();
    second.set_id(4);
    second.set_store_id(5);
    region.mut_peers().push(second);
    let (changes, ids) = disk.state.plan_split(&region, 2).unwrap();
    disk.commit(changes);
    let flat: Vec<u64> = ids
        .iter()
        .flat_map(|id| [&[id.get_new_region_id()], id.get_new_peer_ids()].concat())
        .collect();
    assert_eq!(flat, [1, 2, 3, 4, 5, 6]);
    let (_, ids) = disk.state.plan_split(&region, 1).unwrap();
    assert_eq!(ids[0].get_new_region_id(), 7);
    let mut stale = region.clone();
    stale.mut_region_epoch().set_version(0);
    for (region, count, words) in [
        (&stale, 1, "is behind region 2"),
        (&region, 0, "must not be 0"),
        (&region, u32::MAX, "needs more than"),
        (&Region::default(), 1, "region id"),
    ] {
        let text = disk
            .state
            .plan_split(region, count)
            .unwrap_err()
            .to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn reported_splits_are_contiguous() {
    let part = |id: u64, start: &str, end: &str| {
        let mut region = first_region();
        region.set_id(id);
        region.set_start_key(start.as_bytes().to_vec());
        region.set_end_key(end.as_bytes().to_vec());
        region
    };
    let good = [part(1, "", "b"), part(2, "b", "c"), part(3, "c", "")];
    assert_eq!(check_split_regions(&good), Ok(()));
    assert!(check_split_regions(&good[..1]).is_err());
    assert!(check_split_regions(&[part(1, "", "b"), part(2, "c", "")]).is_err());
    assert!(check_split_regions(&[part(1, "a", ""), part(2, "", "a")]).is_err());
}

#[test]
fn safe_points_and_barriers_survive_a_restart() {
    let mut disk = Disk::bootstrapped();
    let now = Moment {
        ts: 1000,
        seconds: 10,
    };
    let (changes, _) = disk
        .state
        .gc()
        .plan_service_update("br", 60, 300, now)
        .unwrap();
    disk.commit(changes);
    let (changes, reached) = disk.state.gc().plan_update(500, now).unwrap();
    assert_eq!(reached, 300);
    disk.commit(changes);
    disk.restart();
    let gc = disk.state.gc();
    assert_eq!((gc.txn_safe_point(), gc.gc_safe_point()), (300, 300));
    let (_, reached) = gc.plan_update(500, now).unwrap();
    assert_eq!(reached, 300);
}
