//! TLS from outside: the commands of docs/security.md as they stand there, strangers at each port,
//! and certificates that are replaced under load.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grpcio::{CallOption, ChannelBuilder, ChannelCredentialsBuilder, Environment, RpcStatusCode};
use integration_tests::{PdServer, TikvServer, Trust, binaries, get, request};
use kvproto::kvrpcpb;
use kvproto::tikvpb::TikvClient;
use tempfile::TempDir;
use tikv_client::{Config, RawClient, TransactionClient};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::clients;

const PAGE: &str = include_str!("../../../../docs/security.md");
const PATIENCE: Duration = Duration::from_secs(30);

/// The fenced blocks of one language of the page, in order.
fn blocks(language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = PAGE.split(&fence).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The block that has these words in it.
fn block(words: &str) -> String {
    let found: Vec<_> = blocks("sh")
        .into_iter()
        .filter(|block| block.contains(words))
        .collect();
    assert_eq!(found.len(), 1, "blocks with {words:?}");
    found[0].clone()
}

/// A directory with the certificates that the page makes.
struct Site {
    dir: TempDir,
}

impl Site {
    fn new() -> Site {
        let site = Site {
            dir: TempDir::with_prefix("tikv-tls-").unwrap(),
        };
        site.run(&block("openssl req -x509"));
        site
    }

    fn cert(&self, name: &str) -> PathBuf {
        self.dir.path().join("certs").join(name)
    }

    /// Runs commands as a person would, in this directory.
    fn output(&self, script: &str) -> Output {
        let programs = binaries::tikv_server().unwrap();
        binaries::tikv_ctl().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", programs.parent().unwrap().display());
        Command::new("/bin/sh")
            .args(["-e", "-c", script])
            .current_dir(self.dir.path())
            .env("PATH", path)
            .output()
            .unwrap()
    }

    fn run(&self, script: &str) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self.output(script);
        let said = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{script}\n{said}");
        String::from_utf8(stdout).unwrap()
    }

    /// The page's configuration, with the paths as seen from anywhere.
    fn config(&self) -> String {
        let [config] = &blocks("toml")[..] else {
            panic!("one configuration on the page");
        };
        let certs = format!("\"{}/", self.dir.path().join("certs").display());
        config.replace("\"certs/", &certs)
    }

    async fn start(&self) -> TikvServer {
        let builder = TikvServer::builder().config(&self.config());
        builder.trust(self.anonymous()).start().await.unwrap()
    }

    fn anonymous(&self) -> Trust {
        Trust::anonymous(&self.cert("ca.pem")).unwrap()
    }

    fn certified(&self) -> Trust {
        let (cert, key) = (self.cert("client.pem"), self.cert("client-key.pem"));
        Trust::certified(&self.cert("ca.pem"), &cert, &key).unwrap()
    }

    fn client(&self) -> Config {
        clients::config().with_security(
            self.cert("ca.pem"),
            self.cert("client.pem"),
            self.cert("client-key.pem"),
        )
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.cert(name)).unwrap()
    }
}

/// A block with the addresses of a server under test.
fn with_addresses(block: &str, server: &TikvServer) -> String {
    let pd = &server.pd_endpoints()[0];
    let status = server.status_address().to_string();
    block
        .replace("127.0.0.1:2379", pd)
        .replace("127.0.0.1:20180", &status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_commands_work() {
    let site = Site::new();
    let mode = fs::metadata(site.cert("server-key.pem")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o077, 0);
    let mut server = site.start().await;
    for (words, expected) in [
        ("20180/config", "\"redact-info-log\""),
        ("/pd/api/v1/version", "version"),
        ("tikv-ctl", "127.0.0.1"),
    ] {
        let script = with_addresses(&block(words), &server);
        let said = tokio::task::block_in_place(|| site.run(&script));
        assert!(said.contains(expected), "{script}\n{said}");
    }

    let raw = RawClient::new_with_config(server.pd_endpoints(), site.client()).await;
    let raw = raw.unwrap();
    raw.put("raw".to_owned(), "1".to_owned()).await.unwrap();
    let value = raw.get("raw".to_owned()).await.unwrap();
    assert_eq!(value.as_deref(), Some(&b"1"[..]));
    let transactional =
        TransactionClient::new_with_config(server.pd_endpoints(), site.client()).await;
    let transactional = transactional.unwrap();
    clients::write(&transactional, &[("txn", "2")]).await;
    let value = clients::read(&transactional, "txn").await;
    assert_eq!(value.as_deref(), Some("2"));

    let anonymous = site.anonymous();
    let status = server.status_address();
    let before = anonymous.shown_by(status).await.unwrap();
    site.run(&block("certs/server.new certs/server.pem"));
    assert_ne!(anonymous.shown_by(status).await.unwrap(), before);
    raw.put("raw".to_owned(), "3".to_owned()).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_placement_driver_apart_speaks_tls_too() {
    let site = Site::new();
    let command = block("pd-server").replace("certs/", &format!("{}/", site.cert("").display()));
    let flags = command.split_whitespace().skip(1).map(str::to_owned);
    let often = "--gc-life-time 10s --gc-run-interval 10s".split_whitespace();
    let flags = flags.chain(often.map(str::to_owned));
    let mut pd = PdServer::start_with(flags.collect()).await.unwrap();
    let mut server = TikvServer::builder()
        .config(&site.config())
        .trust(site.anonymous())
        .pd_endpoints(format!("https://{}", pd.address()))
        .start()
        .await
        .unwrap();
    let endpoints = vec![pd.address().to_string()];
    let raw = RawClient::new_with_config(endpoints, site.client()).await;
    raw.unwrap()
        .put("k".to_owned(), "v".to_owned())
        .await
        .unwrap();
    // It reaches the store's port as well, where it looks for locks.
    let certified = site.certified();
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = interval(Duration::from_millis(200));
    loop {
        let path = "/pd/api/v1/gc/safepoint";
        let answer = certified.get(pd.address(), path).await.unwrap();
        let points: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        if points["gc_safe_point"].as_u64().unwrap() > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{}", answer.body);
        ticks.tick().await;
    }
    server.stop().await.unwrap();
    pd.stop().await.unwrap();
}

/// How one raw get ends over a channel with these certificates.
fn raw_get(server: SocketAddr, files: Option<[Vec<u8>; 3]>) -> Result<(), RpcStatusCode> {
    let builder = ChannelBuilder::new(Arc::new(Environment::new(1)));
    let builder = match files {
        None => builder,
        Some([ca, cert, key]) => {
            let mut credentials = ChannelCredentialsBuilder::new().root_cert(ca);
            if !cert.is_empty() {
                credentials = credentials.cert(cert, key);
            }
            builder.set_credentials(credentials.build())
        }
    };
    let client = TikvClient::new(builder.connect(&server.to_string()));
    let mut request = kvrpcpb::RawGetRequest::default();
    request.set_key(b"k".to_vec());
    match client.raw_get_opt(&request, CallOption::default().timeout(PATIENCE)) {
        Ok(_) => Ok(()),
        Err(grpcio::Error::RpcFailure(status) | grpcio::Error::RpcFinished(Some(status))) => {
            Err(status.code())
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_at_every_port() {
    let site = Site::new();
    site.run(
        "openssl req -newkey rsa:2048 -nodes -subj /CN=other -keyout certs/other-key.pem \
         -out certs/other.csr && \
         openssl x509 -req -in certs/other.csr -CA certs/ca.pem -CAkey certs/ca-key.pem \
         -CAcreateserial -days 365 -extfile certs/names.cnf -out certs/other.pem",
    );
    let mut server = site.start().await;

    let store = server.client_address();
    let ca = || site.read("ca.pem");
    let known = [ca(), site.read("client.pem"), site.read("client-key.pem")];
    let other = [ca(), site.read("other.pem"), site.read("other-key.pem")];
    tokio::task::block_in_place(|| {
        assert_eq!(raw_get(store, Some(known)), Ok(()));
        assert_eq!(raw_get(store, None), Err(RpcStatusCode::UNAVAILABLE));
        let silent = [ca(), Vec::new(), Vec::new()];
        assert_eq!(
            raw_get(store, Some(silent)),
            Err(RpcStatusCode::UNAVAILABLE)
        );
        assert_eq!(
            raw_get(store, Some(other)),
            Err(RpcStatusCode::UNAUTHENTICATED)
        );
    });

    // The published client speaks to the placement driver first.
    let plain = RawClient::new_with_config(server.pd_endpoints(), clients::config());
    assert!(plain.await.is_err());
    let other = clients::config().with_security(
        site.cert("ca.pem"),
        site.cert("other.pem"),
        site.cert("other-key.pem"),
    );
    let other = RawClient::new_with_config(server.pd_endpoints(), other);
    assert!(other.await.is_err());

    let status = server.status_address();
    assert!(
        get(status, "/status").await.is_err(),
        "plain HTTP is answered"
    );
    for path in ["/status", "/metrics", "/ready"] {
        let answer = site.anonymous().get(status, path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
    }
    let change = b"{\"slow-log-threshold\": \"7s\"}".as_slice();
    let level = b"{\"log_level\": \"warn\"}".as_slice();
    let closed = [
        ("GET", "/config", b"".as_slice()),
        ("POST", "/config?persist=false", change),
        ("PUT", "/log-level", level),
        ("POST", "/log-level", level),
        ("GET", "/region/1", b""),
        ("GET", "/debug/pprof/cmdline", b""),
        ("GET", "/debug/pprof/symbol", b""),
        ("POST", "/debug/pprof/symbol", b"0x1"),
        ("GET", "/debug/pprof/profile?seconds=1", b""),
        ("GET", "/debug/pprof/heap_activate", b""),
        ("GET", "/debug/pprof/heap", b""),
        ("GET", "/debug/pprof/heap_deactivate", b""),
    ];
    let (anonymous, certified) = (site.anonymous(), site.certified());
    let before = certified.get(status, "/config").await.unwrap();
    assert_eq!(before.status, 200, "{}", before.body);
    for (method, path, body) in closed {
        let plain = request(status, method, path, &[], body).await;
        assert!(plain.is_err(), "{method} {path} is answered in plain text");
        let stranger = anonymous.request(status, method, path, body).await.unwrap();
        assert_eq!(stranger.status, 403, "{method} {path}");
    }
    let after = certified.get(status, "/config").await.unwrap();
    assert_eq!(after.body, before.body, "a stranger has changed something");
    for (method, path, body) in closed {
        let known = certified.request(status, method, path, body).await.unwrap();
        assert_ne!(known.status, 403, "{method} {path}");
    }
    let after = certified.get(status, "/config").await.unwrap().body;
    assert!(after.contains("\"7s\""), "{after}");
    server.check_healthy().unwrap();
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rotation_under_load_fails_no_request() {
    const ROUNDS: usize = 8;
    let site = Arc::new(Site::new());
    let mut server = site.start().await;
    let endpoints = server.pd_endpoints();
    let done = Arc::new(AtomicBool::new(false));
    let (served, mut rounds) = mpsc::unbounded_channel();

    let mut load = JoinSet::new();
    for worker in 0..4 {
        let (site, endpoints) = (site.clone(), endpoints.clone());
        let (done, served) = (done.clone(), served.clone());
        let kept = RawClient::new_with_config(endpoints.clone(), site.client());
        let kept = kept.await.unwrap();
        load.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                kept.put(format!("raw-{worker}"), "old".to_owned())
                    .await
                    .unwrap();
                // New handshakes with both ports, beside connections and streams that stay.
                let new = TransactionClient::new_with_config(endpoints.clone(), site.client());
                let new = new.await.unwrap();
                let key = format!("txn-{worker}");
                clients::write(&new, &[(&key, "new")]).await;
                assert_eq!(clients::read(&new, &key).await.as_deref(), Some("new"));
                served.send(()).unwrap();
            }
        });
    }
    // Each certificate serves each worker, give or take one.
    let mut serve = async || {
        for _ in 0..8 {
            tokio::select! {
                round = rounds.recv() => round.unwrap(),
                ended = load.join_next() => panic!("a worker ended: {ended:?}"),
            }
        }
    };

    let anonymous = site.anonymous();
    let rotate = block("certs/server.new certs/server.pem");
    for _ in 0..ROUNDS {
        let before = anonymous.shown_by(server.status_address()).await.unwrap();
        tokio::task::block_in_place(|| site.run(&rotate));
        let after = anonymous.shown_by(server.status_address()).await.unwrap();
        assert_ne!(after, before);
        serve().await;
    }
    // A broken one: the log complains, clients do not notice.
    let good = site.read("server.pem");
    fs::write(site.cert("server.pem"), "nonsense").unwrap();
    serve().await;
    fs::write(site.cert("server.pem"), good).unwrap();

    done.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    let log = server.log();
    let complaints: Vec<_> = log
        .lines()
        .filter(|line| line.contains("[ERROR]"))
        .collect();
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(
        complaints[0].contains("the old ones stay in use"),
        "{complaints:?}"
    );
    server.terminate().unwrap();
    assert!(server.wait(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn certificates_that_cannot_be_used_stop_the_start_in_words() {
    let site = Site::new();
    let text = site.config().replace("server-key.pem", "client-key.pem");
    let config = site.dir.path().join("server.toml");
    fs::write(&config, text).unwrap();
    let data = site.dir.path().join("data");
    let said = refusal(&config, &data);
    assert!(said.contains("security: key-path"), "{said}");
    assert!(said.contains("not the key of the certificate"), "{said}");
    assert!(!data.exists());
    fs::write(&config, "[security]\nca-path = \"/ca.pem\"\n").unwrap();
    let said = refusal(&config, &data);
    assert!(said.contains("security.cert-path = \"\""), "{said}");
}

fn refusal(config: &Path, data: &Path) -> String {
    let output = Command::new(binaries::tikv_server().unwrap())
        .args(["--config", config.to_str().unwrap()])
        .args(["--data-dir", data.to_str().unwrap()])
        .args(["--addr", "127.0.0.1:0", "--status-addr", "127.0.0.1:0"])
        .args(["--pd-addr", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}
