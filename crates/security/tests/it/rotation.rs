//! Files that change under a running gRPC server, with clients that do not pause.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use futures::executor::block_on;
use grpcio::Environment;
use rustls::ClientConnection;
use security::Security;

use crate::authority::{Authority, Dir, Pair};
use crate::echo::{Echo, EchoClient, exchange};
use crate::files::Output;
use crate::http::{connector, loopback};

/// The certificate that a new connection to `addr` is shown.
fn shown(ca: &str, pair: &Pair, addr: &str) -> Vec<u8> {
    let config = Arc::clone(connector(ca, Some(pair), &["h2"]).config());
    let mut connection = ClientConnection::new(config, loopback()).unwrap();
    let mut socket = TcpStream::connect(addr).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).unwrap();
    }
    connection.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn rotation_under_load_fails_no_call() {
    const ROUNDS: usize = 20;
    let authority = Authority::new("a");
    let dir = Dir::new(&authority.pem(), &authority.server());
    let echo = Echo::start(&dir.security());
    let app = authority.certify("app", &[]);
    let client_dir = Dir::new(&authority.pem(), &app);
    let client = client_dir.security();
    let env = Arc::new(Environment::new(1));

    // Open before, in use throughout, open after.
    let streaming = EchoClient::connect(&client, &env, &echo.addr);
    let mut stream = streaming.open();
    block_on(exchange(&mut stream, b"before")).unwrap();

    let (done, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let _end = Done(&done);
                let old = EchoClient::connect(&client, &env, &echo.addr);
                while !done.load(Ordering::Relaxed) {
                    // A handshake each, beside a connection that stays.
                    let new = EchoClient::connect(&client, &env, &echo.addr);
                    assert_eq!(new.call(b"new").unwrap(), b"new");
                    assert_eq!(old.call(b"old").unwrap(), b"old");
                    calls.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            let _end = Done(&done);
            for round in 0..ROUNDS {
                // The server's, then the clients', file by file: for a moment they do not fit.
                let pair = authority.server();
                dir.write("key.pem", &pair.key);
                dir.write("cert.pem", &pair.cert);
                assert_eq!(shown(&authority.pem(), &app, &echo.addr), pair.der);
                let pair = authority.certify("app", &[]);
                client_dir.write("cert.pem", &pair.cert);
                client_dir.write("key.pem", &pair.key);
                let word = round.to_string();
                let answer = block_on(exchange(&mut stream, word.as_bytes()));
                assert_eq!(answer.unwrap(), word.as_bytes());
                // So that each reading serves calls.
                let before = calls.load(Ordering::Relaxed);
                while calls.load(Ordering::Relaxed) < before + 6 && !done.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            }
        });
    });
    assert!(calls.load(Ordering::Relaxed) >= 6 * ROUNDS as u64);
}

/// Ends load and rotation together, also when either fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn rotation_to_unusable_files_changes_nothing_but_the_log() {
    let authority = Authority::new("a");
    let first = authority.server();
    let dir = Dir::new(&authority.pem(), &first);
    let security = dir.security();
    let echo = Echo::start(&security);
    let app = authority.certify("app", &[]);
    let ca = authority.pem();

    for (file, text) in [
        ("cert.pem", "nonsense"),
        ("key.pem", ""),
        (
            "ca.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ),
    ] {
        let good = std::fs::read_to_string(dir.path(file)).unwrap();
        dir.write(file, text);
        assert_eq!(shown(&ca, &app, &echo.addr), first.der);
        dir.write(file, &good);
        assert_eq!(shown(&ca, &app, &echo.addr), first.der);
    }

    dir.write("cert.pem", "nonsense");
    let said = Output::of(|| {
        for _ in 0..3 {
            use_once(&security);
        }
    });
    // The server's own handshakes are logged elsewhere; they share what was told.
    assert_eq!(said.matches("[ERROR]").count(), 1, "{said}");
    assert!(
        said.contains("cert.pem: no PEM certificate in it"),
        "{said}"
    );
    assert!(said.contains("the old ones stay in use"), "{said}");

    let next = authority.server();
    dir.write("cert.pem", &next.cert);
    dir.write("key.pem", &next.key);
    let said = Output::of(|| use_once(&security));
    assert!(said.contains("certificates loaded"), "{said}");
    assert_eq!(shown(&ca, &app, &echo.addr), next.der);
}

/// Lets `security` look at its files in this thread.
fn use_once(security: &Security) {
    let env = Arc::new(Environment::new(1));
    drop(EchoClient::connect(security, &env, "127.0.0.1:1"));
}

#[test]
fn rotation_of_the_authority_passes_through_both() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let both = format!("{}{}", old.pem(), new.pem());
    let dir = Dir::new(&old.pem(), &old.server());
    let echo = Echo::start(&dir.security());
    let env = Arc::new(Environment::new(1));
    let call = |by: &Authority| {
        let client = Dir::new(&both, &by.certify("app", &[]));
        let client = EchoClient::connect(&client.security(), &env, &echo.addr);
        client.call(b"").is_ok()
    };
    assert_eq!((call(&old), call(&new)), (true, false));
    dir.write("ca.pem", &both);
    assert_eq!((call(&old), call(&new)), (true, true));
    let pair = new.server();
    dir.write("key.pem", &pair.key);
    dir.write("cert.pem", &pair.cert);
    dir.write("ca.pem", &new.pem());
    assert_eq!((call(&old), call(&new)), (false, true));
}
