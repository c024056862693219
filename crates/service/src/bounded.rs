//! The live handlers once more, with a decoder that looks before it allocates.
//!
//! The generated registration decodes whatever is not too long, and [`crate::parts`] tells why that is not enough.
//! gRPC finds handlers by their path and the last registration of a path holds, so these take the place of the
//! generated ones; what is not live keeps the generated handler. Nothing here knows what a request means.

use std::io::Read as _;
use std::sync::LazyLock;

use grpcio::{Marshaller, MessageReader, Method, MethodType, ServiceBuilder, pb_de, pb_ser};
use kvproto::kvrpcpb;
use kvproto::tikvpb::{BatchCommandsRequest, BatchCommandsResponse, Tikv};
use protobuf::Message;

use crate::parts;
use crate::rpc_table::{self, RPCS, RpcId};
use crate::rpcs::live_rpcs;

/// Messages up to this length are decoded at once: the worst of them takes some megabytes.
const SMALL: usize = 64 << 10;
/// The most memory that a decoded message may take.
const DECODED_MAX: u64 = 32 << 20;

static PATHS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let path = |rpc: &rpc_table::Rpc| format!("/tikvpb.Tikv/{}", rpc.name);
    RPCS.iter().map(path).collect()
});

fn method<Req: Message, Resp: Message>(rpc: RpcId, ty: MethodType) -> Method<Req, Resp> {
    Method {
        ty,
        name: PATHS[rpc.index()].as_str(),
        req_mar: Marshaller {
            ser: pb_ser,
            de: decode,
        },
        resp_mar: Marshaller {
            ser: pb_ser,
            de: pb_de,
        },
    }
}

fn codec(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> grpcio::Error {
    grpcio::Error::Codec(error.into())
}

fn decode<M: Message>(mut reader: MessageReader) -> grpcio::Result<M> {
    if reader.len() <= SMALL {
        return pb_de(reader);
    }
    // gRPC holds these bytes already, so the length is no mere claim.
    let mut bytes = Vec::with_capacity(reader.len());
    reader.read_to_end(&mut bytes).map_err(codec)?;
    drop(reader);
    if !parts::fits(M::descriptor_static().full_name(), &bytes, DECODED_MAX) {
        // gRPC shows the debug form to the client: a text is the readable one.
        return Err(codec(format!(
            "the message has too many parts: it would take more than {DECODED_MAX} bytes of memory"
        )));
    }
    M::parse_from_bytes(&bytes).map_err(codec)
}

macro_rules! add_handlers {
    ($(
        $handler:ident = $future:path: $request:ident => $response:ident $(, batch $case:ident)?;
    )*) => {
        fn add_unary<S: Tikv + Clone + Send + 'static>(
            mut builder: ServiceBuilder,
            service: &S,
        ) -> ServiceBuilder {
            $({
                const RPC: RpcId = rpc_table::live(stringify!($handler));
                let mut service = service.clone();
                let method = method::<kvrpcpb::$request, kvrpcpb::$response>(RPC, MethodType::Unary);
                builder = builder.add_unary_handler(&method, move |ctx, request, sink| {
                    service.$handler(ctx, request, sink);
                });
            })*
            builder
        }
    };
}

live_rpcs!(add_handlers);

/// The live handlers of `service`. To be registered after those of `create_tikv`.
pub fn bounded_handlers<S: Tikv + Clone + Send + 'static>(service: S) -> grpcio::Service {
    const BATCH: RpcId = rpc_table::live("batch_commands");
    let batch = method::<BatchCommandsRequest, BatchCommandsResponse>(BATCH, MethodType::Duplex);
    let builder = add_unary(ServiceBuilder::new(), &service);
    let mut service = service;
    builder
        .add_duplex_streaming_handler(&batch, move |ctx, requests, sink| {
            service.batch_commands(ctx, requests, sink);
        })
        .build()
}
