//! `rpc_table` against the wire: every RPC is called, and answers as the table says.

use std::sync::Arc;

use futures::executor::block_on;
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{
    CallOption, ChannelBuilder, Client, Marshaller, Method, MethodType, RpcStatusCode, WriteFlags,
};

use crate::world::World;

/// The empty message, whatever its type.
fn encode(_: &Vec<u8>, _: &mut grpcio::GrpcSlice) -> grpcio::Result<()> {
    Ok(())
}

fn decode(_: grpcio::MessageReader) -> grpcio::Result<Vec<u8>> {
    Ok(Vec::new())
}

/// On the wire all shapes are alike: messages there, messages back, a status.
fn call(client: &Client, path: &'static str) -> Option<RpcStatusCode> {
    let method = Method {
        ty: MethodType::Duplex,
        name: path,
        req_mar: Marshaller {
            ser: encode,
            de: decode,
        },
        resp_mar: Marshaller {
            ser: encode,
            de: decode,
        },
    };
    let (mut sink, mut answers) = client
        .duplex_streaming(&method, CallOption::default())
        .unwrap();
    block_on(async {
        // Whoever does not know the method may be gone before the message has left.
        let _ = sink.send((Vec::new(), WriteFlags::default())).await;
        let _ = sink.close().await;
        match answers.next().await {
            Some(Err(grpcio::Error::RpcFailure(status))) => Some(status.code()),
            Some(Ok(_)) | None => None,
            Some(Err(error)) => panic!("{path}: {error}"),
        }
    })
}

#[test]
fn every_rpc_answers_as_the_table_says() {
    let world = World::bootstrapped();
    let channel = ChannelBuilder::new(Arc::clone(&world.env)).connect(&world.address);
    let client = Client::new(channel);
    for service in pd::rpc_table::services() {
        for rpc in &service.rpcs {
            // It follows everything from the present on, so it has nothing to say here.
            if rpc.name == "WatchGlobalConfig" {
                assert!(rpc.live);
                continue;
            }
            let path = format!("/{}/{}", service.name, rpc.name);
            let status = call(&client, Box::leak(path.clone().into_boxed_str()));
            let live = status != Some(RpcStatusCode::UNIMPLEMENTED);
            assert_eq!(live, rpc.live, "{path}");
        }
    }
}
