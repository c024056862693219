//! Every row of the RPC table, over the wire: live ones answer, the others say UNIMPLEMENTED.

use futures::executor::block_on;
use futures::{SinkExt as _, StreamExt as _};
use grpcio::RpcStatusCode;
use service::rpc_table::{RPCS, Shape, State};

use crate::fixture::Fixture;

#[test]
fn every_rpc_is_what_the_table_says() {
    let fixture = Fixture::new();
    // An empty message is valid for every request, and a streaming method that nobody implements
    // refuses a unary call just as well.
    for rpc in RPCS {
        if (rpc.state, rpc.shape) == (State::Live, Shape::Duplex) {
            let (mut sender, mut receiver) = fixture.open_bytes(rpc.name);
            block_on(sender.close()).unwrap();
            assert!(block_on(receiver.next()).is_none(), "{}", rpc.name);
            continue;
        }
        let outcome = fixture.call_bytes(rpc.name, &[]);
        match (rpc.state, outcome) {
            (State::Live, Ok(_)) => assert_eq!(rpc.shape, Shape::Unary, "{}", rpc.name),
            (State::Unimplemented, Err(grpcio::Error::RpcFailure(status))) => {
                assert_eq!(status.code(), RpcStatusCode::UNIMPLEMENTED, "{}", rpc.name);
            }
            (state, outcome) => panic!("{} is {state:?} but {outcome:?}", rpc.name),
        }
    }
}

#[test]
fn a_method_that_nobody_knows_is_unimplemented() {
    let fixture = Fixture::new();
    match fixture.call_bytes("KvTeleport", &[]) {
        Err(grpcio::Error::RpcFailure(status)) => {
            assert_eq!(status.code(), RpcStatusCode::UNIMPLEMENTED);
        }
        other => panic!("{other:?}"),
    }
}
