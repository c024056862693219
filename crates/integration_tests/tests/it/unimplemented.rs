//! Every RPC of the schema: the live ones answer, all others answer `UNIMPLEMENTED`.

use std::collections::BTreeSet;

use grpcio::RpcStatusCode;
use integration_tests::TikvServer;
use protobuf::Message;
use protobuf::descriptor::FileDescriptorSet;

use crate::wire::{LIVE, LIVE_STREAMS, Outcome, Wire};

fn schema() -> BTreeSet<String> {
    let set = FileDescriptorSet::parse_from_bytes(kvproto::FILE_DESCRIPTOR_SET).unwrap();
    let file = set
        .get_file()
        .iter()
        .find(|file| file.get_name() == "tikvpb.proto")
        .unwrap();
    let service = file
        .get_service()
        .iter()
        .find(|service| service.get_name() == "Tikv")
        .unwrap();
    service
        .get_method()
        .iter()
        .map(|method| method.get_name().to_owned())
        .collect()
}

fn live() -> impl Iterator<Item = &'static str> {
    let unary = LIVE.iter().map(|rpc| rpc.name);
    unary.chain(LIVE_STREAMS.iter().copied())
}

#[tokio::test]
async fn what_is_not_live_is_unimplemented() {
    let mut server = TikvServer::start().await.unwrap();
    let wire = Wire::connect(&server).await;
    let live: BTreeSet<String> = live().map(str::to_owned).collect();
    let schema = schema();
    assert!(live.is_subset(&schema));
    for name in schema.difference(&live) {
        let path: &'static str = format!("/tikvpb.Tikv/{name}").leak();
        // On the wire a stream of one message looks like a single request.
        let error = wire.send_bytes(path, Vec::new()).await.expect_err(name);
        assert_eq!(
            error.code(),
            RpcStatusCode::UNIMPLEMENTED,
            "{name}: {error}"
        );
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_live_answers() {
    let mut server = TikvServer::start().await.unwrap();
    let wire = Wire::connect(&server).await;
    for rpc in LIVE {
        let outcome = rpc.send(&wire, wire.envelope()).await;
        // Some have nothing to find, such as the status of a transaction that nobody began.
        assert!(
            matches!(outcome, Outcome::Done(_) | Outcome::Refused(_)),
            "{}: {outcome:?}",
            rpc.name
        );
    }
    server.stop().await.unwrap();
}

#[test]
fn the_published_table_says_the_same() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rpc-coverage.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (table, _) = page.split_once("# Placement driver").unwrap();
    let published: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            (cells.get(3) == Some(&"live")).then(|| cells[1])
        })
        .collect();
    assert_eq!(published, live().collect());
}
