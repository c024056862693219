//! RPCs whose messages are bytes as they are, so that a test can send what is no message. Must never decode them.

use std::io::Read as _;

use grpcio::{GrpcSlice, Marshaller, MessageReader, Method, MethodType};

/// The method of that path, `/package.Service/Name`. On the wire all shapes are alike: messages there, messages back, a
/// status.
#[must_use]
pub fn method(ty: MethodType, path: &str) -> Method<Vec<u8>, Vec<u8>> {
    let marshaller = || Marshaller {
        ser: write_bytes,
        de: read_bytes,
    };
    Method {
        ty,
        // gRPC wants a name that lives as long as the program; a test has few of them.
        name: Box::leak(path.to_owned().into_boxed_str()),
        req_mar: marshaller(),
        resp_mar: marshaller(),
    }
}

// The shape of a marshaller's function is gRPC's.
#[expect(clippy::ptr_arg, reason = "a marshaller takes the message type itself")]
fn write_bytes(bytes: &Vec<u8>, to: &mut GrpcSlice) -> grpcio::Result<()> {
    *to = GrpcSlice::from(bytes.clone());
    Ok(())
}

fn read_bytes(mut from: MessageReader) -> grpcio::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)
        .map_err(|error| grpcio::Error::Codec(Box::new(error)))?;
    Ok(bytes)
}
