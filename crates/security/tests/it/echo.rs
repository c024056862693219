//! A gRPC service of one unary call and one stream that give back what they got, and its client.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use grpcio::{
    CallOption, Channel, ChannelBuilder, Client, ClientDuplexReceiver, ClientDuplexSender,
    Environment, GrpcSlice, Marshaller, MessageReader, Method, MethodType, Server, ServerBuilder,
    ServiceBuilder, WriteFlags,
};
use security::Security;

const BYTES: Marshaller<Vec<u8>> = Marshaller {
    ser: |bytes, slice| {
        *slice = GrpcSlice::from(bytes.clone());
        Ok(())
    },
    de: |mut reader: MessageReader| {
        let mut bytes = Vec::new();
        match reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(grpcio::Error::Codec(error.into())),
        }
    },
};

const UNARY: Method<Vec<u8>, Vec<u8>> = Method {
    ty: MethodType::Unary,
    name: "/echo.Echo/Unary",
    req_mar: BYTES,
    resp_mar: BYTES,
};

const STREAM: Method<Vec<u8>, Vec<u8>> = Method {
    ty: MethodType::Duplex,
    name: "/echo.Echo/Stream",
    req_mar: BYTES,
    resp_mar: BYTES,
};

/// A running server.
pub(crate) struct Echo {
    _server: Server,
    pub(crate) addr: String,
}

impl Echo {
    pub(crate) fn start(security: &Security) -> Echo {
        let service = ServiceBuilder::new()
            .add_unary_handler(&UNARY, |context, bytes, sink| {
                context.spawn(sink.success(bytes).map(drop));
            })
            .add_duplex_streaming_handler(&STREAM, |context, requests, mut sink| {
                let echoed = requests.map(|bytes| bytes.map(|b| (b, WriteFlags::default())));
                context.spawn(async move {
                    let mut echoed = echoed;
                    if sink.send_all(&mut echoed).await.is_ok() {
                        let _ = sink.close().await;
                    }
                });
            })
            .build();
        let builder = ServerBuilder::new(Arc::new(Environment::new(2))).register_service(service);
        let mut server = security.guard(builder).build().unwrap();
        let credentials = security.server_credentials();
        let port = server
            .add_listening_port("127.0.0.1:0", credentials)
            .unwrap();
        server.start();
        Echo {
            _server: server,
            addr: format!("127.0.0.1:{port}"),
        }
    }
}

/// A channel's two calls.
pub(crate) struct EchoClient(Client);

pub(crate) type Open = (ClientDuplexSender<Vec<u8>>, ClientDuplexReceiver<Vec<u8>>);

impl EchoClient {
    pub(crate) fn new(channel: Channel) -> EchoClient {
        EchoClient(Client::new(channel))
    }

    /// Over a channel of its own, as `security` makes it.
    pub(crate) fn connect(security: &Security, env: &Arc<Environment>, addr: &str) -> EchoClient {
        EchoClient::new(security.channel(builder(env), addr))
    }

    pub(crate) fn call(&self, bytes: &[u8]) -> grpcio::Result<Vec<u8>> {
        self.0.unary_call(&UNARY, &bytes.to_vec(), options())
    }

    pub(crate) fn open(&self) -> Open {
        self.0
            .duplex_streaming(&STREAM, CallOption::default())
            .unwrap()
    }
}

/// One message there and back.
pub(crate) async fn exchange(open: &mut Open, bytes: &[u8]) -> grpcio::Result<Vec<u8>> {
    let (sink, responses) = open;
    sink.send((bytes.to_vec(), WriteFlags::default())).await?;
    responses
        .next()
        .await
        .unwrap_or(Err(grpcio::Error::RemoteStopped))
}

pub(crate) fn builder(env: &Arc<Environment>) -> ChannelBuilder {
    ChannelBuilder::new(Arc::clone(env)).use_local_subchannel_pool(true)
}

/// What hangs fails instead.
fn options() -> CallOption {
    CallOption::default().timeout(Duration::from_secs(20))
}
