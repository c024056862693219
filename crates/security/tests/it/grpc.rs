//! Who may call a gRPC server, and who may not.

use std::sync::Arc;

use futures::executor::block_on;
use grpcio::{ChannelCredentialsBuilder, Environment, RpcStatusCode};
use security::{Config, Security};

use crate::authority::{Authority, Dir, Pair, Validity};
use crate::echo::{Echo, EchoClient, builder, exchange};

struct Stage {
    authority: Authority,
    server: Dir,
    env: Arc<Environment>,
}

impl Stage {
    fn new() -> Stage {
        let authority = Authority::new("test authority");
        let server = Dir::new(&authority.pem(), &authority.server());
        Stage {
            authority,
            server,
            env: Arc::new(Environment::new(1)),
        }
    }

    fn echo(&self, edit: impl FnOnce(&mut Config)) -> Echo {
        let mut config = self.server.config();
        edit(&mut config);
        Echo::start(&Security::new(&config).unwrap())
    }

    fn call_as(&self, pair: &Pair, addr: &str) -> grpcio::Result<Vec<u8>> {
        let client = Dir::new(&self.authority.pem(), pair);
        EchoClient::connect(&client.security(), &self.env, addr).call(b"hello")
    }
}

fn refused_as(answer: grpcio::Result<Vec<u8>>) -> (RpcStatusCode, String) {
    match answer {
        Err(grpcio::Error::RpcFailure(status) | grpcio::Error::RpcFinished(Some(status))) => {
            (status.code(), status.message().to_owned())
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_certified_client_is_served() {
    let stage = Stage::new();
    let echo = stage.echo(|_| {});
    let pair = stage.authority.certify("anybody", &[]);
    assert_eq!(stage.call_as(&pair, &echo.addr).unwrap(), b"hello");
}

#[test]
fn without_certificates_everything_is_plain() {
    let plain = Security::new(&Config::default()).unwrap();
    assert!(!plain.is_enabled());
    assert_eq!(plain.scheme(), "http");
    let echo = Echo::start(&plain);
    let env = Arc::new(Environment::new(1));
    let client = EchoClient::connect(&plain, &env, &echo.addr);
    assert_eq!(client.call(b"hello").unwrap(), b"hello");
}

#[test]
fn whom_the_authority_has_not_certified_is_refused() {
    let stage = Stage::new();
    let echo = stage.echo(|_| {});
    assert_eq!(stage.server.security().scheme(), "https");

    let plain = EchoClient::connect(&Security::disabled(), &stage.env, &echo.addr);
    assert_eq!(refused_as(plain.call(b"")).0, RpcStatusCode::UNAVAILABLE);

    let no_certificate = ChannelCredentialsBuilder::new()
        .root_cert(stage.authority.pem().into_bytes())
        .build();
    let channel = builder(&stage.env)
        .set_credentials(no_certificate)
        .connect(&echo.addr);
    let silent = EchoClient::new(channel).call(b"");
    assert_eq!(refused_as(silent).0, RpcStatusCode::UNAVAILABLE);

    // Of the same name, so that only the signature tells them apart.
    let impostor = Authority::new("test authority").certify("anybody", &[]);
    let answer = stage.call_as(&impostor, &echo.addr);
    assert_eq!(refused_as(answer).0, RpcStatusCode::UNAVAILABLE);

    let expired = stage
        .authority
        .certify_until("anybody", &[], Validity::Expired);
    let answer = stage.call_as(&expired, &echo.addr);
    assert_eq!(refused_as(answer).0, RpcStatusCode::UNAVAILABLE);
}

#[test]
fn a_client_refuses_a_server_of_another_authority() {
    let stage = Stage::new();
    let echo = stage.echo(|_| {});
    let pair = stage.authority.certify("anybody", &[]);
    let client = Dir::new(&Authority::new("other").pem(), &pair);
    let answer = EchoClient::connect(&client.security(), &stage.env, &echo.addr).call(b"");
    assert_eq!(refused_as(answer).0, RpcStatusCode::UNAVAILABLE);
}

#[test]
fn names_on_a_list_pass() {
    let stage = Stage::new();
    let echo = stage.echo(|config| {
        config.cert_allowed_cn = ["good", "better"].map(str::to_owned).into();
        config.cert_allowed_san = ["app.example", "10.1.2.3"].map(str::to_owned).into();
    });
    for pair in [
        stage.authority.certify("good", &[]),
        stage
            .authority
            .certify("bad", &["x.example", "app.example"]),
        stage.authority.certify("bad", &["10.1.2.3"]),
    ] {
        assert_eq!(stage.call_as(&pair, &echo.addr).unwrap(), b"hello");
    }
}

#[test]
fn names_on_no_list_are_told_so() {
    let stage = Stage::new();
    let echo = stage.echo(|config| {
        config.cert_allowed_cn = ["good".to_owned()].into();
        config.cert_allowed_san = ["app.example".to_owned()].into();
    });
    // A name counts on its own list only.
    let pair = stage.authority.certify("app.example", &["good"]);
    let (code, message) = refused_as(stage.call_as(&pair, &echo.addr));
    assert_eq!(code, RpcStatusCode::UNAUTHENTICATED);
    assert_eq!(
        message,
        "the client certificate's common name \"app.example\" and alternative names [\"good\"] are \
         not on the server's lists"
    );

    let client = Dir::new(&stage.authority.pem(), &pair);
    let client = EchoClient::connect(&client.security(), &stage.env, &echo.addr);
    let mut open = client.open();
    let (code, _) = refused_as(block_on(exchange(&mut open, b"")));
    assert_eq!(code, RpcStatusCode::UNAUTHENTICATED);
}
