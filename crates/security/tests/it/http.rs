//! The acceptor of HTTP ports: who passes the handshake and as whom.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use runtime::{Runtime, Stepper};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use security::{ClientCertificate, Config, HttpAcceptor, HttpVersions, Peer, Security};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::TlsConnector;

use crate::authority::{Authority, Dir, Pair, Validity};

/// A client that trusts `ca` and shows `pair`.
pub(crate) fn connector(ca: &str, pair: Option<&Pair>, protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(der.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from(pair.der.clone())];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    TlsConnector::from(Arc::new(config))
}

pub(crate) fn loopback() -> ServerName<'static> {
    ServerName::try_from("127.0.0.1").unwrap()
}

struct Stage {
    authority: Authority,
    server: Dir,
    runtime: Runtime,
}

impl Stage {
    fn new() -> Stage {
        let authority = Authority::new("test authority");
        let server = Dir::new(&authority.pem(), &authority.server());
        Stage {
            authority,
            server,
            runtime: Runtime::system("http-test", 1).unwrap(),
        }
    }

    fn acceptor(&self, certificate: ClientCertificate) -> HttpAcceptor {
        let config = Config {
            cert_allowed_cn: ["good".to_owned()].into(),
            cert_allowed_san: ["app.example".to_owned()].into(),
            ..self.server.config()
        };
        Security::new(&config)
            .unwrap()
            .http_acceptor(&self.runtime, certificate, HttpVersions::One)
            .unwrap()
    }

    /// Who the client is for the server, after a word each way.
    fn meet(&self, acceptor: &HttpAcceptor, pair: Option<&Pair>) -> io::Result<Peer> {
        let client = connector(&self.authority.pem(), pair, &["http/1.1"]);
        let (near, far) = duplex(1 << 16);
        block_on(meet(acceptor, &client, near, far))
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    futures::executor::block_on(future)
}

async fn meet(
    acceptor: &HttpAcceptor,
    client: &TlsConnector,
    near: DuplexStream,
    far: DuplexStream,
) -> io::Result<Peer> {
    let serve = async {
        let mut accepted = acceptor.accept(far).await?;
        assert!(!accepted.is_http2);
        accepted.stream.write_all(b"pong").await?;
        accepted.stream.shutdown().await?;
        Ok::<_, io::Error>(accepted.peer)
    };
    let ask = async {
        let mut stream = client.connect(loopback(), near).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert_eq!(answer, "pong");
        Ok::<_, io::Error>(())
    };
    let (served, asked) = futures::join!(serve, ask);
    // A client of TLS 1.3 may believe in a handshake that the server has refused, until it reads.
    assert_eq!(served.is_ok(), asked.is_ok(), "{served:?} {asked:?}");
    served
}

#[test]
fn where_a_certificate_is_required_only_listed_ones_pass() {
    let stage = Stage::new();
    let acceptor = stage.acceptor(ClientCertificate::Required);
    let authority = &stage.authority;
    for pair in [
        authority.certify("good", &[]),
        authority.certify("bad", &["app.example"]),
    ] {
        assert_eq!(stage.meet(&acceptor, Some(&pair)).unwrap(), Peer::Known);
    }
    let impostor = Authority::new("test authority");
    for pair in [
        None,
        Some(authority.certify("bad", &["x.example"])),
        Some(authority.certify_until("good", &[], Validity::Expired)),
        Some(impostor.certify("good", &[])),
    ] {
        stage.meet(&acceptor, pair.as_ref()).unwrap_err();
    }
}

#[test]
fn where_it_is_optional_others_are_strangers() {
    let stage = Stage::new();
    let acceptor = stage.acceptor(ClientCertificate::Optional);
    let authority = &stage.authority;
    let good = authority.certify("good", &[]);
    let bad = authority.certify("bad", &[]);
    assert_eq!(stage.meet(&acceptor, Some(&good)).unwrap(), Peer::Known);
    assert_eq!(stage.meet(&acceptor, Some(&bad)).unwrap(), Peer::Stranger);
    assert_eq!(stage.meet(&acceptor, None).unwrap(), Peer::Stranger);
    let impostor = Authority::new("test authority").certify("good", &[]);
    stage.meet(&acceptor, Some(&impostor)).unwrap_err();
}

#[test]
fn without_certificates_there_is_no_acceptor() {
    let runtime = Runtime::system("http-test", 1).unwrap();
    let plain = Security::disabled();
    let acceptor = plain.http_acceptor(&runtime, ClientCertificate::Required, HttpVersions::One);
    assert!(acceptor.is_none());
}

#[test]
fn the_version_is_agreed_in_the_handshake() {
    let stage = Stage::new();
    let acceptor = stage
        .server
        .security()
        .http_acceptor(
            &stage.runtime,
            ClientCertificate::Required,
            HttpVersions::TwoAndOne,
        )
        .unwrap();
    let pair = stage.authority.certify("any", &[]);
    for (protocols, expected) in [
        (&["h2"][..], true),
        (&["grpc-exp", "h2"], true),
        (&["http/1.1"], false),
        (&["h2", "http/1.1"], false),
        (&[], false),
    ] {
        let client = connector(&stage.authority.pem(), Some(&pair), protocols);
        let (near, far) = duplex(1 << 16);
        let both = async { futures::join!(acceptor.accept(far), client.connect(loopback(), near)) };
        let (accepted, connected) = block_on(both);
        connected.unwrap();
        assert_eq!(accepted.unwrap().is_http2, expected, "{protocols:?}");
    }
}

#[test]
fn a_peer_that_says_nothing_is_left() {
    let authority = Authority::new("a");
    let dir = Dir::new(&authority.pem(), &authority.server());
    let stepper = Stepper::new(1);
    let acceptor = dir
        .security()
        .http_acceptor(
            &stepper.runtime(),
            ClientCertificate::Required,
            HttpVersions::One,
        )
        .unwrap();
    let (_near, far) = duplex(64);
    let mut accept = Box::pin(acceptor.accept(far));
    assert!((&mut accept).now_or_never().is_none());
    stepper.advance(Duration::from_secs(11));
    let error = match accept.now_or_never().unwrap() {
        Ok(_) => panic!("a handshake with nobody"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn rotation_reaches_the_next_connection() {
    let stage = Stage::new();
    let acceptor = stage
        .server
        .security()
        .http_acceptor(
            &stage.runtime,
            ClientCertificate::Optional,
            HttpVersions::One,
        )
        .unwrap();
    let client = connector(&stage.authority.pem(), None, &[]);
    let shown = || {
        let (near, far) = duplex(1 << 16);
        let both = async { futures::join!(acceptor.accept(far), client.connect(loopback(), near)) };
        let (accepted, connected) = block_on(both);
        accepted.unwrap();
        let stream = connected.unwrap();
        let (_, connection) = stream.get_ref();
        connection.peer_certificates().unwrap()[0].to_vec()
    };
    let first = shown();
    let pair = stage.authority.server();
    stage.server.write("cert.pem", &pair.cert);
    // The new certificate has no key yet.
    assert_eq!(shown(), first);
    stage.server.write("key.pem", &pair.key);
    assert_eq!(shown(), pair.der);
}
