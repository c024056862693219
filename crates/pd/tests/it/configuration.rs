//! What clients keep in the placement driver and share: the global configuration, meta storage,
//! resource groups.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::executor::block_on;
use grpcio::{ChannelBuilder, RpcStatusCode};
use kvproto::pdpb::ErrorType;
use kvproto::{meta_storagepb, pdpb, resource_manager};

use crate::world::World;

fn code<T: std::fmt::Debug>(result: grpcio::Result<T>) -> RpcStatusCode {
    match result {
        Err(grpcio::Error::RpcFailure(status)) => status.code(),
        other => panic!("{other:?}"),
    }
}

fn change(name: &str, value: &str) -> pdpb::GlobalConfigItem {
    let mut item = pdpb::GlobalConfigItem::default();
    item.set_name(name.to_owned());
    item.set_payload(value.as_bytes().to_vec());
    item
}

#[test]
fn the_global_configuration_is_stored_loaded_and_watched() {
    let mut world = World::new();
    let mut store = pdpb::StoreGlobalConfigRequest::default();
    store.set_changes(vec![change("a", "1"), change("b", "2")].into());
    assert!(!world.pd.store_global_config(&store).unwrap().has_error());
    let mut load = pdpb::LoadGlobalConfigRequest::default();
    load.set_names(vec!["a".to_owned(), "none".to_owned()].into());
    let loaded = world.pd.load_global_config(&load).unwrap();
    let [a, none] = loaded.get_items() else {
        panic!("{loaded:?}");
    };
    assert_eq!((a.get_payload(), a.get_value()), (b"1".as_slice(), "1"));
    assert_eq!(
        none.get_error().get_field_type(),
        ErrorType::GLOBAL_CONFIG_NOT_FOUND
    );
    let revision = loaded.get_revision();
    world.restart();
    block_on(async {
        let mut watch = pdpb::WatchGlobalConfigRequest::default();
        watch.set_revision(revision + 1);
        let mut told = world.pd.watch_global_config(&watch).unwrap();
        let mut delete = change("b", "");
        delete.set_kind(pdpb::EventType::DELETE);
        store.set_changes(vec![delete].into());
        let stored = world.pd.store_global_config_async(&store).unwrap().await;
        assert!(!stored.unwrap().has_error());
        let first = granted!(world, told.next().await.unwrap());
        let [gone] = first.get_changes() else {
            panic!("{first:?}");
        };
        assert_eq!(gone.get_kind(), pdpb::EventType::DELETE);
        assert_eq!(gone.get_name(), "/global/config/b");
        assert_eq!(
            (gone.get_value(), first.get_revision()),
            ("2", revision + 1)
        );
    });
    load.clear_names();
    let all = world.pd.load_global_config(&load).unwrap();
    let names: Vec<&str> = all.get_items().iter().map(|item| item.get_name()).collect();
    assert_eq!(names, ["/global/config/a"]);
    // The same name twice is no change that could be made.
    store.set_changes(vec![change("x", "1"), change("x", "2")].into());
    let error = world.pd.store_global_config(&store).unwrap().take_error();
    assert_eq!(error.get_field_type(), ErrorType::INVALID_VALUE);
    let many = (0..1000).map(|n| change(&n.to_string(), "")).collect();
    store.set_changes(many);
    assert!(world.pd.store_global_config(&store).unwrap().has_error());
}

fn meta(world: &World) -> meta_storagepb::MetaStorageClient {
    let channel = ChannelBuilder::new(Arc::clone(&world.env)).connect(&world.address);
    meta_storagepb::MetaStorageClient::new(channel)
}

fn meta_header(cluster_id: u64) -> meta_storagepb::RequestHeader {
    let mut header = meta_storagepb::RequestHeader::default();
    header.set_cluster_id(cluster_id);
    header
}

#[test]
fn meta_storage_keeps_revisions_and_tells_changes() {
    let world = World::new();
    let client = meta(&world);
    let mut put = meta_storagepb::PutRequest::default();
    put.set_header(meta_header(world.cluster_id));
    put.set_key(b"k".to_vec());
    put.set_value(b"1".to_vec());
    put.set_prev_kv(true);
    let first = granted!(world, client.put(&put));
    put.set_value(b"2".to_vec());
    let second = granted!(world, client.put(&put));
    assert_eq!(second.get_prev_kv().get_value(), b"1");
    let revision = second.get_header().get_revision();
    assert_eq!(revision, first.get_header().get_revision() + 1);

    let mut get = meta_storagepb::GetRequest::default();
    get.set_header(meta_header(world.cluster_id));
    get.set_key(b"k".to_vec());
    let found = granted!(world, client.get(&get));
    let kv = &found.get_kvs()[0];
    assert_eq!(
        (kv.get_value(), kv.get_version(), kv.get_mod_revision()),
        (b"2".as_slice(), 2, revision)
    );
    get.set_revision(revision - 1);
    let old = granted!(world, client.get(&get));
    assert_eq!(old.get_kvs()[0].get_value(), b"1");

    block_on(async {
        let mut watch = meta_storagepb::WatchRequest::default();
        watch.set_header(meta_header(world.cluster_id));
        watch.set_key(b"k".to_vec());
        watch.set_start_revision(revision);
        let mut told = client.watch(&watch).unwrap();
        let past = granted!(world, told.next().await.unwrap());
        assert_eq!(past.get_events()[0].get_kv().get_value(), b"2");
        let mut delete = meta_storagepb::DeleteRequest::default();
        delete.set_header(meta_header(world.cluster_id));
        delete.set_key(b"k".to_vec());
        assert_eq!(
            granted!(world, client.delete_async(&delete).unwrap().await).get_deleted(),
            1
        );
        let gone = granted!(world, told.next().await.unwrap());
        let kind = gone.get_events()[0].get_field_type();
        assert_eq!(kind, meta_storagepb::Event_EventType::DELETE);
    });
    // Refusals: no key, the future, another cluster.
    get.set_revision(i64::MAX);
    let (kind, text) = refused!(client.get(&get));
    assert_eq!(kind, meta_storagepb::ErrorType::UNKNOWN);
    assert!(text.contains("future"), "{text}");
    put.clear_key();
    assert_eq!(
        refused!(client.put(&put)).0,
        meta_storagepb::ErrorType::UNKNOWN
    );
    put.set_header(meta_header(3));
    assert_eq!(code(client.put(&put)), RpcStatusCode::FAILED_PRECONDITION);
    let nothing = meta_storagepb::WatchRequest::default();
    let ended = block_on(client.watch(&nothing).unwrap().next()).unwrap();
    assert_eq!(code(ended), RpcStatusCode::FAILED_PRECONDITION);
}

#[test]
fn resource_groups_are_kept() {
    let mut world = World::new();
    let connect = |world: &World| {
        let channel = ChannelBuilder::new(Arc::clone(&world.env))
            .use_local_subchannel_pool(true)
            .connect(&world.address);
        resource_manager::ResourceManagerClient::new(channel)
    };
    let client = connect(&world);
    let list = resource_manager::ListResourceGroupsRequest::default();
    let groups = client.list_resource_groups(&list).unwrap().take_groups();
    assert_eq!(groups[0].get_name(), "default");
    let mut group = groups[0].clone();
    group.set_name("batch".to_owned());
    let mut put = resource_manager::PutResourceGroupRequest::default();
    put.set_group(group.clone());
    assert!(!client.add_resource_group(&put).unwrap().has_error());
    assert!(client.add_resource_group(&put).unwrap().has_error());
    world.restart();
    let client = connect(&world);
    let mut get = resource_manager::GetResourceGroupRequest::default();
    get.set_resource_group_name("batch".to_owned());
    let found = client.get_resource_group(&get).unwrap();
    assert_eq!(found.get_group(), &group);
    let mut delete = resource_manager::DeleteResourceGroupRequest::default();
    delete.set_resource_group_name("batch".to_owned());
    assert!(!client.delete_resource_group(&delete).unwrap().has_error());
    assert!(client.delete_resource_group(&delete).unwrap().has_error());
    assert!(client.get_resource_group(&get).unwrap().has_error());
    assert!(client.modify_resource_group(&put).unwrap().has_error());
}

#[test]
fn many_changes_at_once_share_their_writes_and_all_hold() {
    let mut world = World::bootstrapped();
    let calls: Vec<_> = (0..500)
        .map(|n| {
            let mut store = pdpb::StoreGlobalConfigRequest::default();
            store.set_changes(vec![change(&format!("k{n}"), "v")].into());
            world.pd.store_global_config_async(&store).unwrap()
        })
        .collect();
    for outcome in block_on(futures::future::join_all(calls)) {
        assert!(!outcome.unwrap().has_error());
    }
    world.restart();
    let load = pdpb::LoadGlobalConfigRequest::default();
    let all = world.pd.load_global_config(&load).unwrap();
    assert_eq!(all.get_items().len(), 500);
}
