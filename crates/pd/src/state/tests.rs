//! Tests of the whole state: bootstrap, splits, heartbeats, and what a restart finds.

use engine_mem::MemEngine;
use kvproto::metapb::Peer;
use test_case::test_case;

use super::*;
use crate::gc::{Moment, NULL_KEYSPACE, Place, Points, ServiceUpdate};
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

const NOW: Moment = Moment {
    ts: 1000,
    seconds: 10,
};

/// Sets or, without a value, deletes a key of the revisioned store.
fn etcd_put(disk: &mut Disk, key: &str, value: Option<&str>) {
    use kvproto::etcdserverpb::{DeleteRangeRequest, PutRequest};
    let changes = match value {
        Some(value) => {
            let mut request = PutRequest::default();
            request.set_key(key.as_bytes().to_vec());
            request.set_value(value.as_bytes().to_vec());
            disk.state.etcd().plan_put(&request).unwrap().0
        }
        None => {
            let mut request = DeleteRangeRequest::default();
            request.set_key(key.as_bytes().to_vec());
            disk.state.etcd().plan_delete_range(&request).unwrap().0
        }
    };
    disk.commit(changes.into_iter().map(Change::Etcd).collect());
}

fn etcd_text(disk: &Disk, key: &str) -> Option<String> {
    let kv = disk.state.etcd().get(key.as_bytes())?;
    Some(String::from_utf8(kv.get_value().to_vec()).unwrap())
}

fn own_gc_keyspace(disk: &mut Disk, name: &str) -> u32 {
    let config = vec![("gc_management_type".to_owned(), "keyspace_level".to_owned())];
    let planned = disk.state.keyspaces().plan_create(name, config, 5);
    let (changes, meta) = planned.unwrap();
    disk.commit(changes);
    meta.get_id()
}

#[test]
fn safe_points_and_barriers_survive_a_restart() {
    let mut disk = Disk::bootstrapped();
    let keyspace = own_gc_keyspace(&mut disk, "own");
    for (scope, id) in [
        (NULL_KEYSPACE, "br"),
        (keyspace, "br"),
        (NULL_KEYSPACE, "native_br"),
    ] {
        let update = ServiceUpdate {
            service_id: id,
            ttl: 60,
            safe_point: 300,
        };
        let (changes, _) = disk.state.plan_gc_service(scope, update, NOW).unwrap();
        disk.commit(changes);
    }
    for scope in [NULL_KEYSPACE, keyspace] {
        let (changes, reached) = disk.state.plan_gc_update(scope, 500, NOW).unwrap();
        assert_eq!(reached, 300);
        disk.commit(changes);
    }
    disk.commit(vec![Change::GcClaimed(true)]);
    disk.restart();
    for scope in [NULL_KEYSPACE, keyspace] {
        assert_eq!(disk.state.gc().points(scope), Points { txn: 300, gc: 300 });
        let (_, reached) = disk.state.plan_gc_update(scope, 500, NOW).unwrap();
        assert_eq!(reached, 300);
    }
    assert!(disk.state.gc().is_claimed());
    // What was planned but not written is as if it had never been asked for.
    let (changes, deleted) = disk.state.plan_gc_delete_service("native_br").unwrap();
    assert_eq!(
        (changes.len(), deleted.map(|barrier| barrier.ts)),
        (1, Some(300))
    );
    disk.restart();
    let global = disk.state.gc().live_barriers(Place::Global, NOW).count();
    assert_eq!(global, 1);
    disk.commit(vec![Change::GcClaimed(false)]);
    disk.restart();
    assert!(!disk.state.gc().is_claimed());
}

#[test]
fn the_copy_of_the_safe_point_follows_it() {
    let mut disk = Disk::bootstrapped();
    let keyspace = own_gc_keyspace(&mut disk, "own");
    let key = "/tidb/store/gcworker/saved_safe_point";
    let own_key = format!("/keyspaces/tidb/{keyspace}{key}");
    assert_eq!(etcd_text(&disk, key), None);
    let (changes, _) = disk.state.plan_gc_update(NULL_KEYSPACE, 500, NOW).unwrap();
    disk.commit(changes);
    let (changes, _) = disk.state.plan_gc_advance_txn(keyspace, 70, NOW).unwrap();
    disk.commit(changes);
    disk.restart();
    assert_eq!(etcd_text(&disk, key).as_deref(), Some("500"));
    assert_eq!(etcd_text(&disk, &own_key).as_deref(), Some("70"));
    // Nothing moves, nothing is written.
    let (changes, _) = disk.state.plan_gc_update(NULL_KEYSPACE, 400, NOW).unwrap();
    assert_eq!(changes, []);
}

#[test]
fn running_transactions_hold_the_safe_point_back() {
    let mut disk = Disk::bootstrapped();
    let keyspace = own_gc_keyspace(&mut disk, "own");
    etcd_put(&mut disk, "/tidb/server/minstartts/b", Some("90"));
    etcd_put(&mut disk, "/tidb/server/minstartts/a", Some("40"));
    // Neither of these is below the prefix.
    etcd_put(&mut disk, "/tidb/server/minstartts", Some("1"));
    etcd_put(&mut disk, "/tidb/server/minstartts0", Some("1"));
    let advance = |disk: &mut Disk, scope: u32, target: u64| {
        let planned = disk.state.plan_gc_advance_txn(scope, target, NOW);
        let (changes, advanced) = planned.unwrap();
        disk.commit(changes);
        (advanced.new, advanced.blocker)
    };
    let (reached, blocker) = advance(&mut disk, NULL_KEYSPACE, 100);
    assert_eq!(
        (reached, blocker.as_str()),
        (40, "min start ts /tidb/server/minstartts/a at 40")
    );
    etcd_put(&mut disk, "/tidb/server/minstartts/a", None);
    assert_eq!(advance(&mut disk, NULL_KEYSPACE, 100).0, 90);
    // A keyspace of its own has transactions of its own.
    assert_eq!(advance(&mut disk, keyspace, 100).0, 100);
    let own = format!("/keyspaces/tidb/{keyspace}/tidb/server/minstartts/x");
    for unreadable in ["", "x", "-1", "99999999999999999999"] {
        etcd_put(&mut disk, &own, Some(unreadable));
        let (reached, blocker) = advance(&mut disk, keyspace, 200);
        assert_eq!(reached, 100);
        assert!(blocker.starts_with("unreadable min start ts"), "{blocker}");
    }
}

#[test]
fn scopes_are_those_of_keyspaces_with_points_of_their_own() {
    let mut disk = Disk::bootstrapped();
    let own = own_gc_keyspace(&mut disk, "own");
    let state = &disk.state;
    for caller in [Caller::User, Caller::Collector] {
        for null in [None, Some(1 << 24), Some(u32::MAX)] {
            assert_eq!(state.gc_scope(null, caller), Ok(NULL_KEYSPACE));
        }
        assert_eq!(state.gc_scope(Some(own), caller), Ok(own));
        let unknown = state.gc_scope(Some((1 << 24) - 1), caller);
        assert!(matches!(unknown, Err(Error::EntryNotFound(_))));
    }
    assert_eq!(state.gc_scope(Some(0), Caller::User), Ok(NULL_KEYSPACE));
    assert!(state.gc_scope(Some(0), Caller::Collector).is_err());
}

#[test]
fn the_own_run_stays_within_every_limit_and_stops_when_claimed() {
    let mut disk = Disk::bootstrapped();
    let run = |disk: &mut Disk, target: u64| {
        let before = disk.state.gc().points(NULL_KEYSPACE);
        let (changes, aim) = disk.state.plan_gc_begin(target, NOW).unwrap();
        disk.commit(changes);
        let begun = disk.state.gc().points(NULL_KEYSPACE);
        assert_eq!(begun.gc, before.gc, "locks come first");
        assert_eq!(aim, (begun.txn > before.gc).then_some(begun.txn));
        let (changes, points) = disk.state.plan_gc_end(aim.unwrap_or(0)).unwrap();
        disk.commit(changes);
        assert_eq!(disk.state.gc().points(NULL_KEYSPACE), points);
        assert_eq!(points.txn, points.gc);
        points.gc
    };
    assert_eq!(run(&mut disk, 100), 100);
    assert_eq!(run(&mut disk, 50), 100);
    etcd_put(&mut disk, "/tidb/server/minstartts/a", Some("150"));
    let resolved = disk.state.plan_min_resolved(1, 130).unwrap();
    disk.commit(resolved);
    assert_eq!(run(&mut disk, 200), 130);
    let resolved = disk.state.plan_min_resolved(1, 190).unwrap();
    disk.commit(resolved);
    assert_eq!(run(&mut disk, 200), 150);
    etcd_put(&mut disk, "/tidb/server/minstartts/a", None);
    let (changes, _) = disk
        .state
        .gc()
        .plan_set_barrier(Place::Global, "br", 160, 60, NOW)
        .unwrap();
    disk.commit(changes);
    assert_eq!(run(&mut disk, 200), 160);
    disk.restart();
    // Nobody has told yet what is resolved, but the barrier still stands.
    assert_eq!(run(&mut disk, 200), 160);
    disk.commit(vec![Change::BarrierDelete(Place::Global, "br".to_owned())]);
    disk.commit(vec![Change::GcClaimed(true)]);
    assert_eq!(run(&mut disk, 200), 160);
    disk.commit(vec![Change::GcClaimed(false)]);
    assert_eq!(run(&mut disk, 200), 200);
    assert!(disk.state.plan_gc_begin(NOW.ts + 1, NOW).is_err());
    let nothing = PdState::default().plan_gc_begin(5, NOW).unwrap();
    assert_eq!(nothing, (Vec::new(), None));
}

#[test]
fn a_run_that_is_cut_short_is_taken_up_where_it_was() {
    let mut disk = Disk::bootstrapped();
    let (changes, aim) = disk.state.plan_gc_begin(100, NOW).unwrap();
    disk.commit(changes);
    assert_eq!(aim, Some(100));
    disk.restart();
    assert_eq!(
        disk.state.gc().points(NULL_KEYSPACE),
        Points { txn: 100, gc: 0 }
    );
    // The same aim, or none at all, finds the rest of the work.
    let (changes, aim) = disk.state.plan_gc_begin(0, NOW).unwrap();
    assert_eq!((changes, aim), (Vec::new(), Some(100)));
    // A transaction that is alive held it back.
    let (changes, _) = disk.state.plan_gc_end(40).unwrap();
    disk.commit(changes);
    assert_eq!(
        disk.state.gc().points(NULL_KEYSPACE),
        Points { txn: 100, gc: 40 }
    );
    assert_eq!(disk.state.plan_gc_end(30).unwrap().0, []);
    assert!(disk.state.plan_gc_end(101).is_err(), "beyond txn");
    disk.commit(vec![Change::GcClaimed(true)]);
    assert_eq!(disk.state.plan_gc_end(50).unwrap().0, []);
    assert_eq!(disk.state.plan_gc_begin(0, NOW).unwrap().1, None);
}

#[test]
fn the_external_timestamp_grows_up_to_the_present() {
    let mut disk = Disk::bootstrapped();
    assert_eq!(disk.state.external_ts(), 0);
    for (ts, accepted) in [
        (0, false),
        (500, true),
        (500, false),
        (499, false),
        (1001, false),
        (u64::MAX, false),
        (1000, true),
    ] {
        let planned = disk.state.plan_external_ts(ts, NOW);
        assert_eq!(planned.is_ok(), accepted, "{ts}");
        disk.commit(planned.unwrap_or_default());
        disk.restart();
    }
    assert_eq!(disk.state.external_ts(), 1000);
    let early = PdState::default().plan_external_ts(5, NOW);
    assert_eq!(early, Err(Error::NotBootstrapped));
}

#[test]
fn the_lowest_of_all_live_stores_is_resolved() {
    let mut disk = Disk::bootstrapped();
    let tell = |disk: &mut Disk, store_id, ts| {
        let planned = disk.state.plan_min_resolved(store_id, ts);
        planned.map(|changes| {
            disk.commit(changes);
            disk.state.stores().min_resolved_ts()
        })
    };
    assert_eq!(tell(&mut disk, 1, 50), Ok(50));
    let mut second = first_store();
    second.set_id(4);
    second.set_address("127.0.0.1:20161".to_owned());
    let changes = disk.state.plan_put_store(second).unwrap();
    disk.commit(changes);
    // The second has not told yet, and what was told holds.
    assert_eq!(tell(&mut disk, 1, 90), Ok(50));
    assert_eq!(tell(&mut disk, 4, 70), Ok(70));
    assert_eq!(tell(&mut disk, 4, 10), Ok(70));
    let told = disk.state.stores().get(4).unwrap().min_resolved_ts();
    assert_eq!(told, 10);
    for unknown in [0, 9, u64::MAX] {
        assert!(tell(&mut disk, unknown, 80).is_err());
    }
}

#[test]
fn the_size_of_the_cluster_changes_and_its_id_does_not() {
    let mut disk = Disk::bootstrapped();
    let mut asked = disk.state.cluster().unwrap().clone();
    assert_eq!((asked.get_id(), asked.get_max_peer_count()), (77, 3));
    asked.set_max_peer_count(5);
    let changes = disk.state.plan_put_cluster(&asked).unwrap();
    disk.commit(changes);
    disk.restart();
    assert_eq!(disk.state.cluster().unwrap(), &asked);
    asked.set_max_peer_count(0);
    assert!(disk.state.plan_put_cluster(&asked).is_err());
    asked.set_id(78);
    assert!(disk.state.plan_put_cluster(&asked).is_err());
}

#[test]
fn keyspaces_survive_a_restart() {
    let mut disk = Disk::bootstrapped();
    let id = own_gc_keyspace(&mut disk, "own");
    let (changes, meta) = disk
        .state
        .keyspaces()
        .plan_state(id, kvproto::keyspacepb::KeyspaceState::DISABLED, 9)
        .unwrap();
    disk.commit(changes);
    disk.restart();
    assert_eq!(disk.state.keyspaces().by_name("own").unwrap(), &meta);
    assert_eq!(own_gc_keyspace(&mut disk, "next"), id + 1);
}
