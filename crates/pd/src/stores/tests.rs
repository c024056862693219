//! Tests of the stores: registration, heartbeats, versions, states.

use test_case::test_case;

use super::*;

fn store(id: u64, address: &str, version: &str) -> Store {
    let mut store = Store::default();
    store.set_id(id);
    store.set_address(address.to_owned());
    store.set_version(version.to_owned());
    store
}

fn label(key: &str, value: &str) -> StoreLabel {
    let mut label = StoreLabel::default();
    label.set_key(key.to_owned());
    label.set_value(value.to_owned());
    label
}

fn stats(id: u64) -> StoreStats {
    let mut stats = StoreStats::default();
    stats.set_store_id(id);
    stats.set_capacity(7);
    stats
}

fn apply(stores: &mut Stores, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::StorePut(store) => stores.put(*store),
            Change::StoreSeen { stats, unix_nanos } => stores.see(*stats, unix_nanos),
            Change::ClusterVersion(version) => stores.set_cluster_version(version),
            other => panic!("{other:?} is no change of a store"),
        }
    }
}

fn put(stores: &mut Stores, store: Store) -> Result<()> {
    let changes = stores.plan_put(store)?;
    apply(stores, changes);
    Ok(())
}

fn beat(stores: &mut Stores, id: u64, regions: usize, unix_nanos: i64) -> Result<bool> {
    let changes = stores.plan_heartbeat(stats(id), regions, unix_nanos)?;
    let persisted = matches!(changes[0], Change::StorePut(_));
    apply(stores, changes);
    Ok(persisted)
}

fn two_stores() -> Stores {
    let mut stores = Stores::default();
    put(&mut stores, store(1, "a:1", "8.5.5")).unwrap();
    put(&mut stores, store(2, "b:1", "8.5.6")).unwrap();
    stores
}

#[test_case(store(0, "x:1", "8.5.5"), "must not be 0"; "no id")]
#[test_case(store(3, "", "8.5.5"), "no address"; "no address")]
#[test_case(store(3, "x:1", "eight"), "invalid store version"; "nonsense version")]
#[test_case(store(3, "x:1", "8.4.0"), "should compatible with version 8.5.5"; "too old")]
#[test_case(store(3, "a:1", "8.5.5"), "already registered by store 1"; "address of another")]
fn bad_stores_are_refused(bad: Store, words: &str) {
    let text = two_stores().plan_put(bad).unwrap_err().to_string();
    assert!(text.contains(words), "{text}");
}

#[test]
fn peer_addresses_are_unique_when_given() {
    let mut stores = Stores::default();
    let mut first = store(1, "a:1", "8.5.5");
    first.set_peer_address("p:1".to_owned());
    put(&mut stores, first).unwrap();
    let mut second = store(2, "b:1", "8.5.5");
    second.set_peer_address("p:1".to_owned());
    assert!(put(&mut stores, second.clone()).is_err());
    second.set_peer_address("p:2".to_owned());
    put(&mut stores, second).unwrap();
}

#[test]
fn a_known_store_changes_what_is_its_own_and_keeps_its_states() {
    let mut stores = Stores::default();
    let mut first = store(1, "a:1", "8.5.5");
    first.set_labels(vec![label("zone", "1"), label("host", "h1")].into());
    first.set_node_state(NodeState::Serving);
    put(&mut stores, first).unwrap();
    beat(&mut stores, 1, 0, 42).unwrap();
    let mut again = store(1, "c:9", "8.5.7");
    again.set_labels(vec![label("host", "h2"), label("disk", "ssd")].into());
    again.set_state(StoreState::Offline);
    again.set_git_hash("abc".to_owned());
    put(&mut stores, again).unwrap();
    let now = &stores.get(1).unwrap().store;
    assert_eq!((now.get_address(), now.get_version()), ("c:9", "8.5.7"));
    assert_eq!((now.get_git_hash(), now.get_last_heartbeat()), ("abc", 42));
    assert_eq!(now.get_state(), StoreState::Up);
    assert_eq!(now.get_node_state(), NodeState::Serving);
    let labels = [
        label("zone", "1"),
        label("host", "h2"),
        label("disk", "ssd"),
    ];
    assert_eq!(now.get_labels(), labels);
}

#[test]
fn removed_stores_stay_removed_and_free_their_address() {
    let mut stores = two_stores();
    let mut gone = store(1, "a:1", "8.5.5");
    gone.set_state(StoreState::Tombstone);
    gone.set_node_state(NodeState::Removed);
    stores.put(gone);
    let error = Err(Error::StoreTombstone(1));
    assert_eq!(put(&mut stores, store(1, "n:1", "8.5.5")), error);
    assert_eq!(beat(&mut stores, 1, 0, 0).map(drop), error);
    put(&mut stores, store(3, "a:1", "8.5.5")).unwrap();
    assert!(stores.get(1).is_some());
}

#[test]
fn the_cluster_version_is_the_lowest_of_the_stores_and_never_falls() {
    let mut stores = Stores::default();
    assert_eq!(stores.cluster_version(), "");
    for (id, version, cluster) in [
        (1, "8.5.5", "8.5.5"),
        (2, "8.5.7", "8.5.5"),
        (1, "8.5.6", "8.5.6"),
        (1, "9.0.0", "8.5.7"),
        (3, "v8.5.1", "8.5.7"),
        (3, "9.1.0", "8.5.7"),
        (2, "9.0.0", "9.0.0"),
    ] {
        put(&mut stores, store(id, &format!("s{id}:1"), version)).unwrap();
        assert_eq!(stores.cluster_version(), cluster, "store {id} at {version}");
    }
}

#[test]
fn a_heartbeat_of_a_stranger_is_refused() {
    let text = beat(&mut two_stores(), 9, 0, 0).unwrap_err().to_string();
    assert_eq!(text, "store 9 not found");
}

#[test]
fn heartbeats_reach_the_disk_now_and_then() {
    let minute = 60 * 1_000_000_000;
    let mut stores = two_stores();
    let start = 1_700_000_000_000_000_000;
    assert!(beat(&mut stores, 1, 0, start).unwrap());
    for later in 1..5 {
        assert!(!beat(&mut stores, 1, 0, start + later * minute).unwrap());
    }
    assert!(beat(&mut stores, 1, 0, start + 5 * minute).unwrap());
    let info = stores.get(1).unwrap();
    assert_eq!(info.store.get_last_heartbeat(), start + 5 * minute);
    assert_eq!(info.stats.get_capacity(), 7);
}

#[test_case(0, 0, NodeState::Serving; "tiny cluster")]
#[test_case(99, 0, NodeState::Serving; "still tiny")]
#[test_case(100, 0, NodeState::Preparing; "large cluster")]
#[test_case(100, 48 * 3600, NodeState::Serving; "large cluster, after two days")]
fn new_stores_begin_to_serve(regions: usize, uptime_seconds: i64, expected: NodeState) {
    let mut stores = Stores::default();
    let mut new = store(1, "a:1", "8.5.5");
    new.set_node_state(NodeState::Preparing);
    new.set_start_timestamp(1_000);
    put(&mut stores, new).unwrap();
    let now = (1_000 + uptime_seconds) * 1_000_000_000;
    beat(&mut stores, 1, regions, now).unwrap();
    assert_eq!(stores.get(1).unwrap().store.get_node_state(), expected);
}
